"""Sessions of ONNX Runtime: which provider runs a graph, where its values lie, and what to do when one is missing."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ebt_policy_ros.core.errors import BundleError, SettingsError
from ebt_policy_ros.policy.bundle import Bundle

_CPU, _CUDA, _TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
_GPU_PROVIDERS = {"cuda": _CUDA, "tensorrt": _TENSORRT}
_INSTALL = "pip uninstall onnxruntime, pip install 'ebt-policy-ros[onnx-gpu]'"
_MOST_STARTS = 64
"""Candidates that TensorRT's engines are built for."""


class Graph:
    """One session whose values are numpy arrays: on the CPU binding them would only cost."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def run(self, **inputs: Any) -> Sequence[Any]:
        """What the graph gives, in its order."""
        return self._session.run(None, inputs)  # type: ignore[no-any-return]


class BoundGraph:
    """One session whose values stay on the device."""

    def __init__(self, session: Any, target: Target) -> None:
        self._session, self._target = session, target
        self._outputs = [output.name for output in session.get_outputs()]

    def run(self, **inputs: Any) -> Sequence[Any]:
        """OrtValues in, OrtValues out, in the graph's order."""
        binding = self._session.io_binding()
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        for name in self._outputs:
            binding.bind_output(name, self._target.device, self._target.index)
        self._session.run_with_iobinding(binding)
        return list(binding.get_outputs())


class Target(NamedTuple):
    """Where graphs run."""

    device: str
    """Of the values: 'cpu' or 'cuda'."""
    index: int
    providers: list[tuple[str, dict[str, Any]]]
    """With their options, the wanted one first."""
    missed: str = ""
    """Libraries that were looked for and not found."""


def target_of(device: str, bundle: Bundle) -> Target:
    """For 'auto', 'cpu', 'cuda', 'cuda:<index>', 'tensorrt' or 'tensorrt:<index>'. SettingsError for what this
    onnxruntime was built without."""
    try:
        import onnxruntime
    except ImportError as error:
        raise SettingsError(f"runtime 'onnxruntime' needs the package ({error}): pip install onnxruntime") from error
    had = onnxruntime.get_available_providers()
    if device == "auto":
        device = "cuda" if _CUDA in had and has_gpu() else "cpu"
    if device == "cpu":
        return Target("cpu", 0, [(_CPU, {})])
    kind, _, number = device.partition(":")
    index = int(number) if number.isdigit() else 0
    if kind not in _GPU_PROVIDERS or number not in ("", str(index)):
        raise SettingsError(f"device '{device}': expected auto, cpu, cuda, cuda:<index>, tensorrt or tensorrt:<index>")
    if _GPU_PROVIDERS[kind] not in had:
        raise SettingsError(f"device '{device}': this onnxruntime has {', '.join(had)}; {_INSTALL}, or use device cpu")
    providers = [(_CUDA, {"device_id": index, "use_tf32": 0}), (_CPU, {})]  # float32 means so
    if kind == "tensorrt":  # CUDA stays behind it for operators that it lacks
        # Its provider has no option for it; the libraries of this process read it when they are loaded.
        if os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0") != "0":
            raise SettingsError("NVIDIA_TF32_OVERRIDE is set, but not to 0: TensorRT would not compute in float32")
        providers.insert(0, (_TENSORRT, _tensorrt_options(index, bundle)))
    return Target("cuda", index, providers, _load_libraries())


def has_gpu() -> bool:
    """Whether NVIDIA's driver sees a GPU. onnxruntime-gpu names its providers on every machine."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def _load_libraries() -> str:
    """CUDA and cuDNN of pip's nvidia packages, which onnxruntime does not look for by itself; what it missed."""
    import onnxruntime

    told = io.StringIO()
    if hasattr(onnxruntime, "preload_dlls"):  # since 1.21
        with contextlib.redirect_stdout(told):
            onnxruntime.preload_dlls()
    return "; ".join(line for line in told.getvalue().splitlines() if line.startswith("Failed"))


def _tensorrt_options(index: int, bundle: Bundle) -> dict[str, Any]:
    """Engines are built once, for all numbers of candidates up to ``_MOST_STARTS``, and kept in the user's cache."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = home / "ebt_policy_ros" / "tensorrt" / bundle.weights_sha256[:16]
    try:
        cache.mkdir(parents=True, exist_ok=True)  # onnxruntime makes the last folder only
    except OSError as error:
        raise SettingsError(
            f"TensorRT's engines have nowhere to go ({error}); name a folder in XDG_CACHE_HOME"
        ) from error
    rows = f"{bundle.chunk.horizon}x{len(bundle.joints)}"
    return {
        "device_id": index,
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(cache),
        "trt_profile_min_shapes": f"chunks:1x{rows}",
        "trt_profile_opt_shapes": f"chunks:1x{rows}",
        "trt_profile_max_shapes": f"chunks:{_MOST_STARTS}x{rows}",
    }


def options_of(num_threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = num_threads, 1
    options.log_severity_level = 3
    return options


def open_session(path: Path, options: Any, target: Target) -> Any:
    """BundleError for what is no graph; SettingsError where a provider does not come up: onnxruntime would go on
    without it, and without a word."""
    import onnxruntime

    if not path.is_file():
        raise BundleError(f"{path} does not exist; run `ebt-policy export --model {path.parent}` first")
    wanted = target.providers[0][0]
    # TensorRT names a profile only where the graph has its input, and takes it ill elsewhere.
    has_chunks = path.stem in ("descent", "energy", "critic")
    providers = [
        (name, given if has_chunks else {key: value for key, value in given.items() if "_profile_" not in key})
        for name, given in target.providers
    ]
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's errors have no other common base
        raise BundleError(f"{path} cannot be loaded: {error}") from error
    if wanted not in session.get_providers():
        raise SettingsError(
            f"onnxruntime could not load its {wanted} ({target.missed or 'its libraries were found'}): is there a GPU, "
            f"and are CUDA and cuDNN ({_INSTALL}) and TensorRT of the versions that it was built for? Or use device cpu"
        )
    return session
