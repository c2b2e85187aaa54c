"""Swaps under a running policy node: done at a seam, refused with a reason, rolled back; the chunks never stop."""

import hashlib
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import helper, numpy_helper

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (extra ros)")

from click.testing import CliRunner  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from d2ppo_core.bundle import find_bundle, load_bundle  # noqa: E402
from d2ppo_interfaces.msg import PolicyStatus  # noqa: E402
from d2ppo_interfaces.srv import LoadPolicy  # noqa: E402
from d2ppo_nodes.cli.swap import swap  # noqa: E402
from d2ppo_nodes.convert import image_msg  # noqa: E402

from .test_policy_node import NAMESPACE, START_S, Peer, start_node  # noqa: E402

pytestmark = pytest.mark.slow
OLD = load_bundle("lift_image").hash


@pytest.fixture
def peer(ros_domain_id: int) -> Iterator[Peer]:
    """A peer beside a node that runs lift_image, and looks a fifth of a second before it takes over."""
    parameters = ("swap_shadow_s:=0.2", "swap_patience_s:=1.0", "swap_max_jump_m:=0.01")
    process, peer = start_node("bundle:=lift_image", *parameters), Peer(ros_domain_id)
    peer.observe_until(lambda: peer.chunks)
    yield peer
    peer.close()
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60.0)
    assert process.returncode == 0 and "Traceback" not in output, output


def variant(folder: Path, *, shift: float = 0.0, blinded: bool = False) -> Path:
    """lift_image under another hash.

    Args:
        folder: Where to; its name is the bundle's.
        shift: Added to the first number of every action.
        blinded: In pictures that are nearly white it answers what is no number.
    """
    shutil.copytree(find_bundle("lift_image"), folder)
    raw = yaml.safe_load((folder / "manifest.yaml").read_text())
    (folder / "manifest.yaml").write_text(yaml.safe_dump(raw | {"name": folder.name}))
    graph = onnx.load(folder / "policy.onnx")
    for node in graph.graph.node:
        node.output[:] = ["before" if name == "actions" else name for name in node.output]
    first = np.float32([shift, 0, 0, 0, 0, 0, 0])
    if blinded:
        graph.graph.node.extend(_nothing_in_white(graph))
    else:
        graph.graph.initializer.append(numpy_helper.from_array(np.float32(0.0), "nothing"))
    graph.graph.initializer.append(numpy_helper.from_array(first, "offset"))
    graph.graph.node.append(helper.make_node("Add", ["before", "offset"], ["shifted"]))
    graph.graph.node.append(helper.make_node("Add", ["shifted", "nothing"], ["actions"]))
    onnx.save(graph, folder / "policy.onnx")
    golden = dict(np.load(folder / "golden.npz"))
    np.savez(folder / "golden.npz", **golden | {"actions": golden["actions"] + first})
    names = ("policy.onnx", "manifest.yaml", "golden.npz")
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    (folder / "checksums.yaml").write_text(yaml.safe_dump(sums))
    return folder


def _nothing_in_white(graph: onnx.ModelProto) -> list[onnx.NodeProto]:
    """0 × √(240 − mean of the pictures): 0, or NaN in pictures that are nearly white."""
    graph.graph.initializer.append(numpy_helper.from_array(np.float32(240.0), "white"))
    graph.graph.initializer.append(numpy_helper.from_array(np.float32(0.0), "zero"))
    return [
        helper.make_node("Cast", ["images"], ["numbers"], to=onnx.TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["numbers"], ["mean"], keepdims=0),
        helper.make_node("Sub", ["white", "mean"], ["dark"]),
        helper.make_node("Sqrt", ["dark"], ["root"]),
        helper.make_node("Mul", ["zero", "root"], ["nothing"]),
    ]


def ask(peer: Peer, kind: type, service: str, request: object) -> object:
    """Call, and observe until the answer is there."""
    client = peer.node.create_client(kind, f"policy/{service}")
    assert client.wait_for_service(20.0)
    future = client.call_async(request)
    peer.observe_until(future.done)
    return future.result()


def swapped(peer: Peer, bundle: Path) -> LoadPolicy.Response:
    return ask(peer, LoadPolicy, "swap", LoadPolicy.Request(bundle_path=str(bundle)))


def test_a_bundle_takes_over_at_a_seam_and_gives_way_on_demand_without_a_chunk_missing(peer, tmp_path):
    new = variant(tmp_path / "new", shift=0.1)
    answer = swapped(peer, new)
    assert answer.success and answer.bundle_hash == load_bundle(new).hash, answer.message
    assert re.match(r"running new: at a seam of 0\.[3-7] mm, .* at the first target, ", answer.message), answer.message
    assert "chunks in the shadow" in answer.message
    peer.observe_until(lambda: peer.chunks[-1].bundle_hash == answer.bundle_hash)
    peer.observe_until(lambda: peer.status.bundle_name == "new" and peer.status.state == PolicyStatus.ACTIVE)
    back = ask(peer, Trigger, "roll_back", Trigger.Request())
    assert back.success and back.message == "running lift_image again"
    peer.observe_until(lambda: peer.chunks[-1].bundle_hash == OLD)
    assert not ask(peer, Trigger, "roll_back", Trigger.Request()).success
    assert all(b.sequence == a.sequence + 1 for a, b in pairwise(peer.chunks))
    hashes = [chunk.bundle_hash for chunk in peer.chunks]
    assert sum(a != b for a, b in pairwise(hashes)) == 2


def test_what_does_not_fit_or_jumps_is_refused_with_its_reason_and_the_old_one_goes_on(peer, tmp_path):
    cut = variant(tmp_path / "cut")
    (cut / "policy.onnx").write_bytes((cut / "policy.onnx").read_bytes()[:1000])
    for bundle, reason in (
        (find_bundle("lift_state"), "bundle lift_state has other cameras than lift_image, which runs"),
        (variant(tmp_path / "far", shift=1.5), "no seam within 1 s: "),
        (cut, "checksum mismatch in bundle cut: policy.onnx is damaged"),
        (tmp_path / "nowhere", "no bundle at"),
    ):
        answer = swapped(peer, bundle)
        assert not answer.success and reason in answer.message, answer.message
        assert answer.bundle_hash == OLD
    count = len(peer.chunks)
    peer.observe_until(lambda: len(peer.chunks) > count)
    assert {chunk.bundle_hash for chunk in peer.chunks} == {OLD}
    assert all(b.sequence == a.sequence + 1 for a, b in pairwise(peer.chunks))


def test_a_policy_that_answers_no_numbers_soon_after_its_seam_gives_way_by_itself(peer, tmp_path):
    new = variant(tmp_path / "blinded", blinded=True)
    answer = swapped(peer, new)
    assert answer.success, answer.message
    peer.observe_until(lambda: peer.chunks[-1].bundle_hash == load_bundle(new).hash)

    def dazzled() -> bool:
        stamp_ns = peer.observe(picture=False)
        peer.images.publish(image_msg(np.full((96, 96, 3), 255, np.uint8), stamp_ns, "wrist"))
        peer.spin(0.05)
        return peer.chunks[-1].bundle_hash == OLD

    deadline = time.monotonic() + START_S
    while not dazzled():
        assert time.monotonic() < deadline, peer.status
    peer.observe_until(lambda: peer.status.bundle_hash == OLD and peer.status.state == PolicyStatus.ACTIVE)
    poses = [(p.position.x, p.position.y, p.position.z) for chunk in peer.chunks for p in chunk.poses]
    assert np.isfinite(poses).all()
    assert not ask(peer, Trigger, "roll_back", Trigger.Request()).success


def test_the_command_line_swaps_and_rolls_back(peer, tmp_path, ros_domain_id):
    def run(*words: str) -> tuple[int, str]:
        found: list[tuple[int, str]] = []

        def work() -> None:
            result = CliRunner().invoke(swap, [*words, "--domain-id", str(ros_domain_id), "--timeout", "30"])
            found.append((result.exit_code, result.output.strip()))

        thread = threading.Thread(target=work)
        thread.start()
        peer.observe_until(lambda: not thread.is_alive())
        return found[0]

    new = variant(tmp_path / "new")
    code, said = run(str(new), "--shadow", "0.1")
    assert code == 0 and said.startswith(f"{NAMESPACE[1:]}/policy: running new: at a seam of 0.0 mm"), said
    assert run("--roll-back") == (0, f"{NAMESPACE[1:]}/policy: running lift_image again")
    code, said = run("--roll-back")
    assert code == 1 and said == f"d2ppo: {NAMESPACE[1:]}/policy: there is no policy to roll back to"
    assert CliRunner().invoke(swap, []).exit_code == 2
