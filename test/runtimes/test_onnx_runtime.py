"""ONNX Runtime and torch compute the same, and graphs that do not fit are refused."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from policy import small

from ebt_policy_ros.assemble import assemble_all
from ebt_policy_ros.core.errors import BundleError, SettingsError, ShapeError
from ebt_policy_ros.core.minimise import starting_noise
from ebt_policy_ros.core.types import NormalisedObservation, Outcome
from ebt_policy_ros.policy.graphs import PARITY_FILE, camera_graph, graph_path, is_exported
from ebt_policy_ros.runtimes.torch_runtime import TorchMinimiser

onnxruntime = pytest.importorskip("onnxruntime", reason="needs pip install 'ebt-policy-ros[onnx]'")
pytest.importorskip("onnxscript", reason="needs pip install 'ebt-policy-ros[onnx]'")

from ebt_policy_ros.policy.export import Reference, export, made_up  # noqa: E402
from ebt_policy_ros.runtimes import onnx_sessions  # noqa: E402
from ebt_policy_ros.runtimes.onnx_runtime import OnnxMinimiser  # noqa: E402

from .whole_bundle import whole_bundle  # noqa: E402


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(bundle, folder with its files and graphs)."""
    folder = tmp_path_factory.mktemp("exported")
    bundle = whole_bundle().save(folder)
    export(bundle, folder)
    return bundle, folder


@pytest.fixture(params=[False, True], ids=["arrays", "bound"])
def both(exported, request):
    """(ONNX Runtime, torch); values as arrays, and left on the device between graphs."""
    bundle, folder = exported
    return OnnxMinimiser(bundle, folder, "cpu", bound=request.param), TorchMinimiser(bundle, "cpu")


@pytest.mark.parametrize(("steps", "starts"), [(1, 1), (2, 1), (2, 5), (4, 8)])
def test_both_runtimes_come_to_the_same(both, steps, starts):
    onnx, other = both
    for seed in range(3):
        mine, theirs = (one.minimise(small.observation(seed), steps=steps, starts=starts, seed=seed) for one in both)
        np.testing.assert_allclose(mine.chunk, theirs.chunk, atol=1e-4)
        np.testing.assert_allclose(mine.trace, theirs.trace, rtol=1e-4)
        np.testing.assert_allclose(mine.candidate_energies, theirs.candidate_energies, rtol=1e-4)
        np.testing.assert_allclose(mine.row_errors, theirs.row_errors, rtol=1e-3)
        assert mine.terms == pytest.approx(theirs.terms, rel=1e-3)
        assert (mine.outcome, mine.steps) == (theirs.outcome, theirs.steps) == (Outcome.DESCENDED, steps)
        assert mine.gradient_norm == pytest.approx(theirs.gradient_norm, rel=1e-3)
        assert mine.network_evaluations == steps
        score = onnx.score(small.observation(seed), mine.chunk)
        assert score == pytest.approx(other.score(small.observation(seed), mine.chunk), rel=1e-4)


def test_both_agree_with_the_plain_networks_in_float64(exported):
    bundle, folder = exported
    reference = Reference(bundle)
    runtimes = (OnnxMinimiser(bundle, folder, "cpu"), TorchMinimiser(bundle, "cpu"))
    for seed, seen in enumerate(made_up(bundle, 20)):
        start = np.random.default_rng(seed).standard_normal((1, small.HORIZON, small.JOINTS)).astype(np.float32)
        chunk, energies = reference.descend(seen, start, 2)
        for runtime in runtimes:
            minimum = runtime.minimise(seen, steps=2, starts=1, seed=0, warm_start=start[0])
            best = int(energies[:, 0].argmin())
            assert best == 2
            np.testing.assert_allclose(minimum.chunk, chunk[0], atol=1e-4)
            np.testing.assert_allclose(minimum.trace, energies[:, 0], rtol=1e-3)


def test_steps_alone_come_to_the_chunks_of_a_whole_descent(both):
    onnx, _ = both
    start = starting_noise(3, 1, small.HORIZON, small.JOINTS)
    minimum = onnx.descend(onnx.observe(small.observation()), start, 2)
    assert minimum.trace.argmin() == 2
    np.testing.assert_array_equal(onnx.advance(onnx.observe(small.observation()), start, 2)[0], minimum.chunk)


def test_a_descent_that_may_not_go_on_is_the_shorter_one(both):
    onnx, _ = both
    stopped = onnx.minimise(small.observation(), steps=8, starts=2, seed=0, may_step=lambda taken: taken < 3)
    shorter = onnx.minimise(small.observation(), steps=3, starts=2, seed=0)
    assert (stopped.steps, len(stopped.trace)) == (3, 4)
    np.testing.assert_array_equal(stopped.chunk, shorter.chunk)


def test_rows_that_time_overtakes_stay_those_of_the_warm_start(both):
    onnx, other = both
    warm = np.full((small.HORIZON, small.JOINTS), 0.25)
    thought = {"steps": 2, "starts": 3, "seed": 0, "warm_start": warm, "frozen_rows": 2}
    chunk = onnx.minimise(small.observation(), **thought).chunk
    np.testing.assert_array_equal(chunk[:2], warm[:2])
    np.testing.assert_allclose(chunk, other.minimise(small.observation(), **thought).chunk, atol=1e-4)


def test_a_number_that_is_not_finite_is_an_outcome(exported):
    bundle, folder = exported
    minimiser = OnnxMinimiser(bundle, folder, "cpu")
    warm = np.full((small.HORIZON, small.JOINTS), 1e39)  # infinite in single precision
    minimum = minimiser.minimise(small.observation(), steps=2, starts=1, seed=0, warm_start=warm)
    assert minimum.outcome is Outcome.NON_FINITE


@pytest.mark.parametrize("size", [(16, 16), (33, 50), (64, 48), (11, 9)])
def test_pictures_of_another_size_are_resized_as_torch_does(both, size):
    onnx, torch_runtime = both
    picture = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    with torch.inference_mode():
        floats = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
        wanted = (small.SIZE, small.SIZE)
        resized = torch.nn.functional.interpolate(floats, wanted, mode="bilinear", antialias=True).round()
        theirs = torch_runtime.network.encoders[0](resized / 127.5 - 1)
    np.testing.assert_allclose(onnx._host(onnx._features(0, picture)), theirs.numpy(), atol=1e-3)
    seen = NormalisedObservation({"front": picture}, np.zeros(small.JOINTS))
    mine, other = (one.minimise(seen, steps=2, starts=1, seed=0) for one in both)
    np.testing.assert_allclose(mine.chunk, other.chunk, atol=1e-2)  # torch's filter for bytes: a grey level at most


def test_pictures_are_encoded_ahead_and_once(both, monkeypatch):
    onnx, _ = both
    graph, passes = onnx._graphs[camera_graph(0)], []

    class Counted:
        def run(self, **given):
            passes.append(1)
            return graph.run(**given)

    monkeypatch.setitem(onnx._graphs, camera_graph(0), Counted())
    seen = small.observation(3)
    onnx.encode_ahead({**seen.images, "other": seen.images["front"]})
    first = onnx.minimise(seen, steps=1, starts=1, seed=0)
    again = onnx.minimise(NormalisedObservation(seen.images, seen.positions), steps=1, starts=1, seed=0)
    np.testing.assert_array_equal(first.chunk, again.chunk)
    assert len(passes) == 1


def test_whoever_may_read_the_weights_may_read_all_of_an_export(exported):
    _, folder = exported
    modes = {path.name: path.stat().st_mode for path in folder.iterdir()}
    assert PARITY_FILE in modes
    assert set(modes.values()) == {modes["weights.safetensors"]}


def test_it_runs_without_torch(exported):
    _, folder = exported
    code = (
        "import sys, numpy as np\n"
        "from ebt_policy_ros.policy.bundle import Bundle\n"
        "from ebt_policy_ros.runtimes.onnx_runtime import OnnxMinimiser\n"
        "from ebt_policy_ros.core.types import NormalisedObservation\n"
        f"bundle = Bundle.load({str(folder)!r})\n"
        f"runtime = OnnxMinimiser(bundle, {str(folder)!r}, 'cpu')\n"
        "seen = NormalisedObservation({'front': np.zeros((16, 16, 3), np.uint8)}, np.zeros(3))\n"
        "print(runtime.minimise(seen, steps=2, starts=1, seed=0).steps, 'torch' in sys.modules)\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["2", "False"]


def test_what_does_not_fit_is_refused_with_what_to_do(exported, tmp_path):
    bundle, folder = exported
    with pytest.raises(BundleError, match="does not exist; run `ebt-policy export"):
        OnnxMinimiser(bundle, tmp_path, "cpu")
    with pytest.raises(BundleError, match=r"exported from weights .* again"):
        OnnxMinimiser(whole_bundle(1), folder, "cpu")
    with pytest.raises(BundleError, match="method is 'dp'"):
        OnnxMinimiser(small.bundle_of(small.network(), method="dp"), folder, "cpu")
    with pytest.raises(ShapeError, match="'front' is missing"):
        OnnxMinimiser(bundle, folder, "cpu").minimise(NormalisedObservation({}, np.zeros(3)), steps=1, starts=1, seed=0)
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        for device in ("cuda", "cuda:1", "tensorrt"):
            with pytest.raises(SettingsError, match="onnx-gpu"):
                OnnxMinimiser(bundle, folder, device)
    for device in ("gpu", "cuda:one", "cuda:-1"):
        with pytest.raises(SettingsError, match=f"device '{device}': expected auto, cpu"):
            OnnxMinimiser(bundle, folder, device)
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    graph_path(tmp_path, "energy").write_bytes(b"no graph")
    with pytest.raises(BundleError, match="cannot be loaded"):
        OnnxMinimiser(bundle, tmp_path, "cpu")


@pytest.mark.parametrize("device", ["cuda:1", "tensorrt"])
def test_a_provider_that_does_not_come_up_is_no_silent_fallback(exported, device, tmp_path, monkeypatch, capfd):
    """onnxruntime-gpu names providers whose libraries are missing, and then runs on the CPU without a word."""
    bundle, folder = exported
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "")  # so that it is restored
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE")
    asked = []
    real = onnxruntime.InferenceSession

    def without_libraries(path, options, providers):
        asked.append(providers)
        return real(path, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", without_libraries)
    every = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: every)
    looked_for = []

    def preload():
        looked_for.append(len(asked))
        sys.stdout.write("Failed to load libcublasLt.so.13: it is not there\nPlease follow a link\n")

    monkeypatch.setattr(onnxruntime, "preload_dlls", preload, raising=False)
    with pytest.raises(
        SettingsError, match=r"could not load its .*\(Failed to load libcublasLt.so.13: it is not there\)"
    ):
        OnnxMinimiser(bundle, folder, device)
    assert looked_for == [0]  # before the first session, where pip puts them
    assert "Failed" not in capfd.readouterr().out
    assert os.environ.get("NVIDIA_TF32_OVERRIDE") == ("0" if device == "tensorrt" else None)
    if device == "tensorrt":
        assert Path(dict(asked[0])["TensorrtExecutionProvider"]["trt_engine_cache_path"]).is_dir()
    else:
        assert not (tmp_path / "cache").exists()
    names = [name for name, _ in asked[0]]
    assert names == (every if device == "tensorrt" else every[1:])
    assert dict(asked[0])["CUDAExecutionProvider"] == {"device_id": 1 if device == "cuda:1" else 0, "use_tf32": 0}


@pytest.mark.parametrize(("seen", "device"), [(False, "cpu"), (True, "cuda")])
def test_auto_is_the_gpu_where_there_is_one(exported, seen, device, monkeypatch):
    """onnxruntime-gpu names its providers on a machine without a GPU, too."""
    bundle, _ = exported
    every = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: every)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr(onnx_sessions, "has_gpu", lambda: seen)
    assert onnx_sessions.target_of("auto", bundle).device == device


def test_tensorrt_refuses_the_ten_bits_of_tf32(exported, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["TensorrtExecutionProvider"])
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    with pytest.raises(SettingsError, match="NVIDIA_TF32_OVERRIDE is set, but not to 0"):
        onnx_sessions.target_of("tensorrt", exported[0])


@pytest.mark.parametrize(("answers", "is_there"), [((0, 0, 2), True), ((0, 0, 0), False), ((100, 0, 1), False)])
def test_the_driver_says_whether_there_is_a_gpu(answers, is_there, monkeypatch):
    begun, counted, count = answers

    def tell(place):
        place._obj.value = count
        return counted

    driver = SimpleNamespace(cuInit=lambda flags: begun, cuDeviceGetCount=tell)
    monkeypatch.setattr(onnx_sessions.ctypes, "CDLL", lambda name: driver)
    assert onnx_sessions.has_gpu() is is_there


def test_without_a_driver_there_is_no_gpu(monkeypatch):
    def absent(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(onnx_sessions.ctypes, "CDLL", absent)
    assert not onnx_sessions.has_gpu()


def test_graphs_that_compute_something_else_are_refused(exported, tmp_path):
    from safetensors.numpy import load_file, save_file

    bundle, folder = exported
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    told = load_file(folder / PARITY_FILE)
    save_file({**told, "chunks": told["chunks"] + 1e-3}, tmp_path / PARITY_FILE)
    with pytest.raises(BundleError, match=r"actions differ by 0\.001"):
        OnnxMinimiser(bundle, tmp_path, "cpu")
    (tmp_path / PARITY_FILE).unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        OnnxMinimiser(bundle, tmp_path, "cpu")


def test_the_pipeline_takes_it_where_it_is_asked_for_or_faster(exported, tmp_path):
    from ebt_policy_ros.core.settings import JointSettings, RobotSettings

    bundle, folder = exported
    joints = tuple(
        JointSettings(joint.name, "prismatic" if joint.unit == "m" else "revolute", -1.0, 1.0, 1.0, 5.0)
        for joint in bundle.joints
    )
    robot = RobotSettings("three", joints)
    assert is_exported(folder)
    assert isinstance(assemble_all(folder, robot, runtime="onnxruntime").minimiser, OnnxMinimiser)
    assert isinstance(assemble_all(folder, robot, device="cpu").minimiser, OnnxMinimiser)
    assert isinstance(assemble_all(folder, robot, runtime="torch").minimiser, TorchMinimiser)
    bundle.save(tmp_path)
    assert not is_exported(tmp_path)
    assert isinstance(assemble_all(tmp_path, robot).minimiser, TorchMinimiser)
    with pytest.raises(BundleError, match="ebt-policy export"):
        assemble_all(tmp_path, robot, runtime="onnxruntime")
