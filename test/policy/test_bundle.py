import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from ebt_policy_ros.core.errors import BundleError
from ebt_policy_ros.policy.bundle import POLICY_FILE, WEIGHTS_FILE, Bundle, ChunkSpec

from . import small


@pytest.fixture
def saved(tmp_path):
    bundle = small.bundle_of(small.network(), provenance={"seed": 3})
    return bundle.save(tmp_path), tmp_path


def edit(directory, change):
    document = json.loads((directory / POLICY_FILE).read_text())
    change(document)
    (directory / POLICY_FILE).write_text(json.dumps(document))


def test_what_is_saved_is_loaded(saved):
    bundle, directory = saved
    again = Bundle.load(directory)
    assert again.weights_sha256 == bundle.weights_sha256 == small.bundle_of(small.network()).weights_sha256
    assert (again.cameras, again.joints, again.positions, again.chunk) == (
        bundle.cameras, bundle.joints, bundle.positions, bundle.chunk,
    )  # fmt: skip
    assert again.joint_names == ("shoulder", "elbow", "finger")
    assert again.provenance == {"seed": 3}
    assert again.tensors.keys() == bundle.tensors.keys()
    assert all(np.array_equal(again.tensors[name], tensor) for name, tensor in bundle.tensors.items())


def test_altered_weights_are_refused(saved):
    raw = bytearray((saved[1] / WEIGHTS_FILE).read_bytes())
    raw[-1] ^= 1
    (saved[1] / WEIGHTS_FILE).write_bytes(raw)
    with pytest.raises(BundleError, match="was altered"):
        Bundle.load(saved[1])


def test_a_calibration_of_other_weights_is_refused(saved):
    bundle, directory = saved
    replace(bundle, calibration={"weights_sha256": "0" * 64}).save(directory)
    with pytest.raises(BundleError, match="calibration belongs to weights 000000"):
        Bundle.load(directory)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(schema=2), "expected schema 1, got 2"),
        (lambda d: d.pop("joints"), "missing joints"),
        (lambda d: d["chunk"].update(execute_steps=5), "execute_steps <= horizon"),
        (lambda d: d["chunk"].update(speed=5), "speed"),
        (lambda d: d["statistics"]["actions"]["low"].pop(), "statistics.actions"),
        (lambda d: d["statistics"]["positions"]["low"].__setitem__(1, 5.0), "joint 'elbow'"),
        (lambda d: d["weights"].update(file="../weights.safetensors"), "plain file name"),
    ],
)
def test_a_wrong_field_is_named(saved, change, message):
    edit(saved[1], change)
    with pytest.raises(BundleError, match=message):
        Bundle.load(saved[1])


def test_missing_files_are_named(saved):
    (saved[1] / WEIGHTS_FILE).unlink()
    with pytest.raises(BundleError, match=WEIGHTS_FILE):
        Bundle.load(saved[1])
    with pytest.raises(BundleError, match=POLICY_FILE):
        Bundle.load(saved[1] / "nowhere")


def test_a_chunk_of_the_whole_horizon_is_allowed(tmp_path):
    small.bundle_of(small.network(), chunk=ChunkSpec(4, 0.05, 4)).save(tmp_path)
    assert Bundle.load(tmp_path).chunk.execute_steps == 4


def test_loading_needs_no_torch_and_no_pickle(saved):
    code = (
        f"import sys; from ebt_policy_ros.policy.bundle import Bundle; Bundle.load({str(saved[1])!r}); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
