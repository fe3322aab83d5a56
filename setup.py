"""One description of the package for colcon (ament_python) and for pip."""

from pathlib import Path

from setuptools import find_packages, setup

try:  # setuptools >= 64; Humble's 59 has no PEP 660 and needs no exception from it
    from setuptools.command.editable_wheel import editable_wheel
except ImportError:
    editable_wheel = None

NAME = "ebt_policy_ros"
SHARED = ("launch", "config", "models")
"""Folders installed under share/ebt_policy_ros, as ament_index and ebt_policy_ros.resources expect them."""


def shared_files() -> list[tuple[str, list[str]]]:
    """(target folder, files) for the ament resource marker, package.xml and everything in ``SHARED``."""
    share = Path("share") / NAME
    by_target = {
        "share/ament_index/resource_index/packages": [f"resource/{NAME}"],
        str(share): ["package.xml"],
    }
    for folder in SHARED:
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in path.parts):
                by_target.setdefault(str(share / path.parent), []).append(str(path))
    return sorted(by_target.items())


commands = {}
if editable_wheel is not None:

    class EditableWheel(editable_wheel):  # type: ignore[misc, valid-type]
        """Leaves the data files out: copies in sys.prefix/share would hide later edits in the checkout."""

        def run(self) -> None:
            self.distribution.data_files = []
            super().run()

    commands["editable_wheel"] = EditableWheel

# Ranges say what should work; constraints.txt says what was tested together, and the Makefile installs that.
SIMULATION = ["robosuite==1.5.2", "mujoco>=3.3.7,<3.10", "numpy<2", "ml-dtypes<0.6", "PyOpenGL>=3.1"]
BASELINES = ["diffusers>=0.30"]  # schedulers of the Diffusion Policy baseline, as the literature uses them
# Parquet, video, HDF5 and charts. pyarrow 26 refuses numpy 1.26, which robosuite needs, without telling pip.
DATA = ["pyarrow>=14,<23", "av>=12", "h5py>=3.8", "matplotlib>=3.5"]
KINEMATICS = ["pin>=2.7"]  # Pinocchio; the newest that goes with numpy 1.26 is 2.7, ROS 2's package is newer
EXPORT = ["onnx>=1.16", "onnxscript>=0.5"]
ONNX = [*EXPORT, "onnxruntime>=1.18"]
ONNX_GPU = [*EXPORT, "onnxruntime-gpu[cuda,cudnn]>=1.21"]  # never beside onnxruntime: both are one Python package
CHECKS = ["pytest>=7", "pytest-xdist>=3.3", "hypothesis>=6", "ruff>=0.6", "mypy>=1.8", "import-linter>=2"]
TESTS = [*BASELINES, *DATA, *KINEMATICS, *ONNX, *CHECKS]

setup(
    name=NAME,
    version="0.1.0",
    description="A ROS 2 node that drives a robot arm with an Energy-Based Transformer policy",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    maintainer="ebt_policy_ros maintainers",
    maintainer_email="maintainers@ebt-policy-ros.example.org",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["py.typed"]},
    data_files=shared_files(),
    python_requires=">=3.10",
    install_requires=[
        "numpy>=1.21",
        "pyyaml>=5.4",
        "opencv-python-headless<5",  # OpenCV 5 breaks cv_bridge of nodes in the same process
        "torch>=2.4",
        "safetensors>=0.4",
        # The ROS graph on machines without ROS 2.
        "cyclonedds>=11.0.1,<12",
        "rosbags>=0.11.9,<0.12",  # brings apsw, backports.zstd and lz4, which bags/ uses as well
    ],
    extras_require={
        "sim": SIMULATION,
        "baselines": BASELINES,
        "data": DATA,
        "kinematics": KINEMATICS,
        "onnx": ONNX,
        "onnx-gpu": ONNX_GPU,
        "train": [*SIMULATION, *BASELINES, "tqdm>=4", "scipy>=1.7"],  # scipy: k-means of familiar observations
        "test": TESTS,
    },
    cmdclass=commands,
    zip_safe=True,
    entry_points={
        "console_scripts": [
            "ebt-policy = ebt_policy_ros.cli.main:main",
            "policy_node = ebt_policy_ros.cli.nodes:policy_node",
            "sim_node = ebt_policy_ros.cli.nodes:sim_node",
        ],
    },
)
