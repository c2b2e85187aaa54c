"""Whose chunks are followed: one bundle since start, its announced successor, nobody else's."""

from dataclasses import replace

import numpy as np
import pytest

from d2ppo_core.runtime.control.chunk import REASONS, ChunkRefusedError, TimedChunk
from d2ppo_core.runtime.control.chunk_gate import QUIET_NS, ChunkGate

MS = 1_000_000
NOW_NS = 5_000 * MS
CHUNK = TimedChunk(
    stamp_ns=NOW_NS - 20 * MS,
    dt_ns=50 * MS,
    sequence=0,
    epoch=3,
    bundle_hash="one",
    positions_m=np.zeros((4, 3)),
    quats_xyzw=np.tile([0.0, 0.0, 0.0, 1.0], (4, 1)),
    twists=np.zeros((4, 6)),
    gripper_width_m=np.full(4, 0.08),
)


def admit(gate: ChunkGate, followed: TimedChunk | None = None, **changes) -> None:
    gate.admit(replace(CHUNK, **changes), followed, 3, NOW_NS)


def refused(gate: ChunkGate, followed: TimedChunk | None = None, **changes) -> str:
    with pytest.raises(ChunkRefusedError) as error:
        admit(gate, followed, **changes)
    assert error.value.reason in REASONS
    return error.value.reason


def test_the_first_chunk_after_start_fixes_the_bundle():
    gate = ChunkGate()
    admit(gate)
    assert gate.bundle_hash == "one"
    assert refused(gate, bundle_hash="two") == "bundle"
    gate.open()
    admit(gate, bundle_hash="two")
    assert refused(gate) == "bundle"


def test_an_announced_swap_is_followed_and_ends_the_old_bundle():
    gate = ChunkGate()
    gate.announce("one")
    admit(gate)
    gate.announce("two")
    admit(gate)
    assert gate.bundle_hash == "one", "until the first chunk of the new one"
    admit(gate, bundle_hash="two")
    assert refused(gate) == "bundle"
    gate.announce("three")
    gate.announce("four")
    admit(gate, bundle_hash="four")
    assert refused(gate, bundle_hash="three") == "bundle"


def test_a_policy_that_runs_beside_teleoperation_does_not_take_over():
    gate = ChunkGate()
    admit(gate, bundle_hash="teleop")
    gate.announce("one")
    assert refused(gate) == "bundle"
    gate.announce("two")
    assert refused(gate, bundle_hash="two") == "bundle"


def test_a_status_that_comes_after_the_first_chunk_still_lets_swaps_through():
    gate = ChunkGate()
    admit(gate)
    gate.announce("one")
    gate.announce("two")
    admit(gate, bundle_hash="two")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"epoch": 2}, "epoch"),
        ({"stamp_ns": NOW_NS + 21 * MS}, "future"),
        ({"stamp_ns": NOW_NS - 150 * MS}, "expired"),
        ({"dt_ns": 2_000 * MS}, "period"),
        ({"twists": np.full((4, 6), np.inf)}, "not_finite"),
        ({"quats_xyzw": np.full((4, 4), 0.51)}, "quaternion"),
        ({"positions_m": np.zeros((0, 3))}, "malformed"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_reason(changes, reason):
    assert refused(ChunkGate(), **changes) == reason


def test_a_refused_chunk_does_not_fix_the_bundle():
    gate = ChunkGate()
    assert refused(gate, bundle_hash="two", stamp_ns=NOW_NS - 900 * MS) == "expired"
    admit(gate)


def test_older_observations_than_the_followed_ones_are_refused_and_a_clock_step_is_not():
    gate = ChunkGate()
    assert refused(gate, CHUNK, stamp_ns=CHUNK.stamp_ns - 1) == "older"
    admit(gate, CHUNK, stamp_ns=NOW_NS + 19 * MS)


def test_of_two_publishers_that_send_at_the_same_time_the_first_is_followed_until_it_has_gone():
    gate = ChunkGate()
    admit(gate, source="/lab/policy 1")
    assert refused(gate, source="/lab/policy 2") == "rival"
    assert refused(gate) == "rival", "who does not say who he is is another one too"
    admit(gate, source="/lab/policy 1")
    later = replace(CHUNK, source="/lab/policy 2", stamp_ns=CHUNK.stamp_ns + QUIET_NS)
    gate.admit(later, None, 3, NOW_NS + QUIET_NS)
    assert refused(gate, source="/lab/policy 1") == "rival"
    gate.open()
    admit(gate, source="/lab/policy 1")
