"""Chunks that a robot must not execute are refused with the reason."""

from dataclasses import replace

import numpy as np
import pytest

from d2ppo_core.runtime.control.chunk import ChunkRefusedError, TimedChunk


def chunk(count: int = 5) -> TimedChunk:
    return TimedChunk(
        stamp_ns=0,
        dt_ns=50_000_000,
        sequence=0,
        epoch=0,
        bundle_hash="",
        positions_m=np.zeros((count, 3)),
        quats_xyzw=np.tile([1.0, 0.0, 0.0, 0.0], (count, 1)),
        twists=np.zeros((count, 6)),
        gripper_width_m=np.zeros(count),
    )


def with_nan(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array[-1] = np.nan
    return array


def test_a_well_formed_chunk_passes_and_knows_its_end():
    chunk().refuse_if_malformed()
    assert chunk().end_ns == 200_000_000


@pytest.mark.parametrize("name", ["positions_m", "quats_xyzw", "twists", "gripper_width_m"])
def test_nan_is_refused_in_every_field(name):
    with pytest.raises(ChunkRefusedError, match=f"{name} holds NaN"):
        replace(chunk(), **{name: with_nan(getattr(chunk(), name))}).refuse_if_malformed()


def test_parts_of_unequal_length_are_refused():
    with pytest.raises(ChunkRefusedError, match=r"twists has shape \(4, 6\), wanted \(5, 6\)"):
        replace(chunk(), twists=np.zeros((4, 6))).refuse_if_malformed()


def test_an_empty_chunk_is_refused():
    with pytest.raises(ChunkRefusedError, match="at least one target"):
        chunk(0).refuse_if_malformed()


def test_a_quaternion_that_is_not_unit_is_refused():
    with pytest.raises(ChunkRefusedError, match=r"unit norm, worst is off by 0\.1"):
        replace(chunk(), quats_xyzw=np.tile([1.1, 0.0, 0.0, 0.0], (5, 1))).refuse_if_malformed()


@pytest.mark.parametrize("dt_ns", [0, 500_000, 2_000_000_000])
def test_a_period_out_of_range_is_refused(dt_ns):
    with pytest.raises(ChunkRefusedError, match="between 1 ms and 1 s"):
        replace(chunk(), dt_ns=dt_ns).refuse_if_malformed()
