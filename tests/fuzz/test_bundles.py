"""Bundles of any content: loading one answers with a policy or with a reason, in bounded time, and never dies.

The short form runs with the other tests, D2PPO_LONG=1 the long one. Each case has right checksums: damage in transit is
another matter and found by them.
"""

import io
import os
import pickle
import shutil
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from d2ppo_core.bundle import ActionSpec, Golden, Manifest, ObservationSpec, find_bundle, load_bundle, write_bundle
from d2ppo_core.errors import BundleError
from d2ppo_core.runtime.inference.planner import ChunkPlanner, PlannerConfig
from d2ppo_core.runtime.inference.policy import Policy

EXAMPLES = 400 if "D2PPO_LONG" in os.environ else 60
FILES = ("policy.onnx", "manifest.yaml", "golden.npz")
fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=timedelta(seconds=15),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    derandomize="D2PPO_LONG" not in os.environ,
)
pytestmark = pytest.mark.timeout(1800 if "D2PPO_LONG" in os.environ else 120)


def tiny_graph() -> bytes:
    """A graph of actions = noise / 10 + mean of the state."""
    inputs = [
        helper.make_tensor_value_info("state", TensorProto.FLOAT, [1, 5]),
        helper.make_tensor_value_info("noise", TensorProto.FLOAT, [1, 4, 7]),
    ]
    nodes = [
        helper.make_node("ReduceMean", ["state"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["noise", "tenth"], ["scaled"]),
        helper.make_node("Add", ["scaled", "mean"], ["actions"]),
    ]
    tenth = helper.make_tensor("tenth", TensorProto.FLOAT, [], [0.1])
    output = helper.make_tensor_value_info("actions", TensorProto.FLOAT, [1, 4, 7])
    model = helper.make_model(
        helper.make_graph(nodes, "tiny", inputs, [output], [tenth]), opset_imports=[helper.make_opsetid("", 20)]
    )
    model.ir_version = 10
    return model.SerializeToString()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound") / "tiny"
    state, noise = np.full((1, 5), 0.2, np.float32), np.ones((1, 4, 7), np.float32)
    manifest = Manifest(
        name="tiny",
        task="lift",
        observations=(
            ObservationSpec(key="robot0_eef_pos", shape=(3,), dtype="float32", unit="m", frame="world"),
            ObservationSpec(key="robot0_gripper_qpos", shape=(2,), dtype="float32", unit="m", frame="hand"),
        ),
        action=ActionSpec(),
        pred_horizon=4,
        action_horizon=4,
        num_denoising_steps=10,
        sampler="none",
    )
    golden = Golden({"state": state, "noise": noise}, (0.1 * noise + state.mean()).astype(np.float32))
    write_bundle(folder, onnx=tiny_graph(), manifest=manifest, golden=golden)
    load(folder)
    return folder


def load(folder: Path) -> None:
    """What the policy node does with a bundle."""
    ChunkPlanner(Policy(load_bundle(folder)), PlannerConfig())


def answers(sound: Path, change: Callable[[Path], None]) -> str:
    """Change a copy of a sound bundle, mend its checksums, load it, and return the reason why it is refused."""
    import hashlib

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "tiny"
        shutil.copytree(sound, folder)
        change(folder)
        sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}
        (folder / "checksums.yaml").write_text(yaml.safe_dump(sums))
        try:
            load(folder)
        except BundleError as error:
            reason = str(error)
            assert "\n" not in reason and 10 < len(reason) < 1000, reason
            return reason
    return ""


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes with a few places overwritten, cut out, doubled or filled in; now and then anything at all."""
    if draw(st.integers(0, 15)) == 0:
        return draw(st.binary(max_size=200))
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 6))):
        at, length = draw(st.integers(0, max(0, len(data) - 1))), draw(st.integers(1, 16))
        kind = draw(st.sampled_from(("overwrite", "cut", "double", "insert", "truncate")))
        if kind == "overwrite":
            data[at : at + length] = draw(st.binary(min_size=length, max_size=length))
        elif kind == "cut":
            del data[at : at + length]
        elif kind == "double":
            data[at:at] = data[at : at + length]
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=length))
        elif draw(st.integers(0, 3)) == 0:
            del data[at:]
    return bytes(data)


odd_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(
        [0, -1, 10**30, 10**6, 1e308, -0.0, float("nan"), float("inf"), "", "\0", "1e400", "~", "wrist cam"]
    )
    | st.floats()
    | st.text(max_size=300)
    | st.binary(max_size=20)
    | st.dates(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def odd_manifest(draw: st.DrawFn, raw: dict[str, Any]) -> Any:
    """A manifest in which some values, keys or lists are others than they should be."""
    root: Any = yaml.safe_load(yaml.safe_dump(raw))
    for _ in range(draw(st.integers(1, 3))):
        node, depth = root, 0
        while isinstance(node, (dict, list)) and node and depth < 4:
            key = draw(st.sampled_from(sorted(node, key=str))) if isinstance(node, dict) else 0
            inner = node[key]
            if not isinstance(inner, (dict, list)) or not inner or draw(st.booleans()):
                break
            node, depth = inner, depth + 1
        if not isinstance(node, (dict, list)) or not node:
            continue
        kind = draw(st.sampled_from(("change", "drop", "add")))
        if kind == "change":
            node[key] = draw(odd_values)
        elif kind == "drop":
            del node[key]
        elif isinstance(node, dict):
            node[draw(st.text(max_size=8) | st.integers())] = draw(odd_values)
        else:
            node.append(draw(odd_values))
    return root


odd_arrays: st.SearchStrategy[Any] = st.sampled_from(
    [
        np.zeros(0, np.float32),
        np.full((1, 4, 7), np.nan, np.float32),
        np.zeros((1, 4, 7)),
        np.zeros((1, 4, 7), np.complex64),
        np.zeros((2, 4, 7), np.float32),
        np.zeros((1, 1, 1), np.float32),
        np.array(["text"]),
        np.array([{"a": print}], dtype=object),
        np.zeros((1, 5), ">f4"),
        np.zeros((), np.float32),
        np.zeros(3, [("x", "f4")]),
        np.zeros((1, 5), "M8[s]"),
    ]
)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_damaged_bytes_is_refused_with_a_reason(sound: Path, name: str) -> None:
    content = (sound / name).read_bytes()

    @fuzzed
    @given(damaged(content))
    def each(data: bytes) -> None:
        answers(sound, lambda folder: (folder / name).write_bytes(data))

    each()


def test_a_manifest_of_odd_values_is_refused_with_a_reason(sound: Path) -> None:
    raw = yaml.safe_load((sound / "manifest.yaml").read_text())

    @fuzzed
    @given(odd_manifest(raw))
    def each(odd: Any) -> None:
        answers(sound, lambda folder: (folder / "manifest.yaml").write_text(yaml.safe_dump(odd)))

    each()


@fuzzed
@given(st.dictionaries(st.sampled_from(["actions", "input_state", "input_noise", "input_images", "x"]), odd_arrays))
def test_a_golden_example_of_odd_arrays_is_refused_with_a_reason(sound: Path, arrays: dict[str, Any]) -> None:
    with np.load(sound / "golden.npz") as data:
        whole = {key: data[key] for key in data.files} | arrays
    assert answers(sound, lambda folder: np.savez(folder / "golden.npz", **whole)) or not set(arrays) & set(data.files)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("golden.npz", b"x" * 100, "cannot read golden.npz of bundle tiny"),
        ("golden.npz", pickle.dumps({"actions": 1}), "cannot read golden.npz of bundle tiny"),
        ("manifest.yaml", b"[" * 20_000, "cannot read manifest.yaml of bundle tiny"),
        ("manifest.yaml", b"a: &a [1]\nb: [*a, *a]\n", r"aliases \(\*name\) are not allowed"),
        ("manifest.yaml", b"x: " + b"y" * 300_000, "manifest.yaml has 0.3 MB, allowed 0.1"),
        ("manifest.yaml", b"date: 2026-99-99\n", "cannot read manifest.yaml of bundle tiny"),
        ("policy.onnx", b"", "ONNX Runtime cannot open bundle tiny on cpu"),
    ],
)
def test_what_was_once_a_traceback_or_a_hang_is_a_reason(sound: Path, name: str, content: bytes, reason: str) -> None:
    with pytest.raises(BundleError, match=reason):
        raise BundleError(answers(sound, lambda folder: (folder / name).write_bytes(content)))


def test_an_array_that_unpacks_to_more_than_it_may_is_refused_before_it_is_unpacked(sound: Path) -> None:
    content = io.BytesIO()
    np.savez_compressed(content, actions=np.zeros(80_000_000, np.float32))
    assert len(content.getvalue()) < 1_000_000
    reason = answers(sound, lambda folder: (folder / "golden.npz").write_bytes(content.getvalue()))
    assert "unpacks to 320 MB" in reason


@pytest.mark.parametrize("name", [*FILES, "checksums.yaml"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "dangling", "circle", "endless", "huge", "absent"])
def test_a_file_that_is_none_is_refused_with_a_reason(sound: Path, tmp_path: Path, name: str, kind: str) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(sound, folder)
    path = folder / name
    path.unlink()
    makers: dict[str, Callable[[], object]] = {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "dangling": lambda: path.symlink_to(tmp_path / "nowhere"),
        "circle": lambda: path.symlink_to(path),
        "endless": lambda: path.symlink_to("/dev/zero"),
        "huge": lambda: (path.touch(), os.truncate(path, 3_000_000_000)),
        "absent": lambda: None,
    }
    makers[kind]()
    with pytest.raises(BundleError, match=rf"bundle tiny(:| misses).*{name}"):
        load(folder)


@fuzzed
@given(st.text(max_size=300) | st.sampled_from(["~nobody/x", "\0", "a/" * 5000, "/dev/null", "", "/proc/1/root"]))
def test_a_name_that_is_no_bundles_is_refused_with_a_reason(name: str) -> None:
    with pytest.raises(BundleError, match="bundle"):
        load_bundle(find_bundle(name))
