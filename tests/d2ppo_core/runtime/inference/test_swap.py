"""A swap's states, bounds and ways back, with shipped policies and chunks whose distance is known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from d2ppo_core.bundle import load_bundle
from d2ppo_core.errors import ActionError, BundleError, ConfigError
from d2ppo_core.geometry import RigidState, transform_from
from d2ppo_core.runtime.inference.osc import Targets
from d2ppo_core.runtime.inference.policy import Policy
from d2ppo_core.runtime.inference.swap import (
    MAX_LATE,
    Distance,
    HotSwap,
    Phase,
    SwapConfig,
    refuse_other_contract,
)

S = 10**9
NEAR = Distance(0.001, 0.01, 0.002, 0.02)
FAR = Distance(0.003, 0.01, 0.05, 0.02)


@pytest.fixture(scope="module")
def policies() -> tuple[Policy, Policy]:
    return Policy(load_bundle("lift_state")), Policy(load_bundle("lift_state"))


def in_shadow(new: Policy, **config: float) -> HotSwap:
    swap = HotSwap()
    swap.begin(SwapConfig(**config))
    swap.loaded(new, S)
    return swap


def chunk(*steps_m: float, turn_rad: float = 0.0) -> Targets:
    turn = Rotation.from_euler("z", turn_rad)
    states = [RigidState(transform_from([x, 0.0, 0.2], turn), np.zeros(6)) for x in (0.0, *steps_m)]
    return Targets(tuple(states), np.zeros(len(states)), 0.05)


def test_the_distance_is_that_of_the_first_target_and_the_worst_of_the_arm_that_is_further_off():
    near, far = chunk(0.01, 0.02), chunk(0.013, 0.05, turn_rad=0.1)
    one = Distance.between([near, near], [near, far], 4)
    assert (one.jump_m, one.worst_m) == pytest.approx((0.003, 0.03))
    assert (one.jump_rad, one.worst_rad) == pytest.approx((0.1, 0.1))
    assert str(one) == "3.0 mm, 5.7° at the first target, 30.0 mm, 5.7° at most"
    assert Distance.between([near], [near], 4) == Distance(0.0, 0.0, 0.0, 0.0)


def test_a_chunk_that_is_shorter_is_compared_as_far_as_it_goes():
    assert Distance.between([chunk(0.01)], [chunk(0.01, 0.5)], 4).worst_m == pytest.approx(0.0)


def test_what_is_not_executed_does_not_count():
    assert Distance.between([chunk(0.01, 0.02, 0.03)], [chunk(0.01, 0.025, 0.9)], 2).worst_m == pytest.approx(0.005)


def test_it_takes_over_after_its_time_in_the_shadow_and_not_before(policies):
    old, new = policies
    swap = in_shadow(new, shadow_s=1.0)
    assert swap.busy and swap.phase is Phase.SHADOW
    assert not swap.compare(NEAR, S + S // 2)
    assert swap.compare(NEAR, 2 * S) and swap.compared == 2
    assert swap.commit(old, 2 * S) is new and swap.previous is old
    assert swap.phase is Phase.WATCHED and not swap.busy and swap.candidate is None


def test_a_seam_beyond_the_bound_is_waited_for_and_then_the_policy_is_refused_with_the_distance(policies):
    swap = in_shadow(policies[1], shadow_s=1.0, patience_s=2.0)
    assert not swap.compare(FAR, 2 * S) and swap.phase is Phase.SEAM
    assert swap.compare(NEAR, 3 * S)
    swap = in_shadow(policies[1], shadow_s=1.0, patience_s=2.0)
    with pytest.raises(
        BundleError, match=r"no seam within 2 s: 3\.0 mm, 0\.6° at the first target, 50\.0 mm.*allowed are 20 mm"
    ):
        swap.compare(FAR, 5 * S)
    assert swap.phase is Phase.IDLE and swap.candidate is None


def test_a_turn_beyond_its_bound_is_no_seam_either(policies):
    assert not in_shadow(policies[1], shadow_s=0.0).compare(replace(NEAR, worst_rad=0.3), S)


def test_where_no_chunk_comes_the_swap_ends_by_itself(policies):
    swap = in_shadow(policies[1], shadow_s=1.0, patience_s=2.0)
    swap.check_silence(4 * S)
    with pytest.raises(BundleError, match="the running policy made no chunk for 3 s"):
        swap.check_silence(6 * S)
    swap.check_silence(60 * S)


def test_one_swap_at_a_time(policies):
    swap = in_shadow(policies[1])
    with pytest.raises(BundleError, match="another bundle is in the shadow; wait for it"):
        swap.begin(SwapConfig())
    swap.drop()
    swap.begin(SwapConfig())
    assert swap.phase is Phase.LOADING


def test_the_way_back_is_open_once(policies):
    old, new = policies
    swap = in_shadow(new)
    with pytest.raises(BundleError, match="no policy to roll back to"):
        swap.roll_back()
    swap.commit(old, S)
    assert swap.failed(6 * S) and not swap.failed(6 * S + 1)
    assert swap.roll_back() is old and swap.phase is Phase.IDLE and not swap.failed(S)
    with pytest.raises(BundleError, match="no policy to roll back to"):
        swap.roll_back()


def test_late_answers_in_a_row_are_a_failure_and_a_single_one_is_none(policies):
    swap = in_shadow(policies[1])
    for _ in range(3 * MAX_LATE):
        swap.pace(0.3, 0.2)
        swap.pace(0.1, 0.2)
    for _ in range(MAX_LATE - 1):
        swap.pace(0.3, 0.2)
    with pytest.raises(ActionError, match="3 chunks in a row took longer than the period of 200 ms"):
        swap.pace(0.3, 0.2)


@pytest.mark.parametrize("change", [{"shadow_s": -1.0}, {"max_jump_m": 0.0}, {"max_jump_rad": -0.1}])
def test_a_configuration_that_nothing_could_keep_is_refused(change):
    with pytest.raises(ConfigError, match="times of a swap must be >= 0 and its bounds positive"):
        SwapConfig(**change)


def test_another_contract_is_refused_by_name():
    image, state = (load_bundle(name).manifest for name in ("lift_image", "lift_state"))
    refuse_other_contract(image, image)
    with pytest.raises(BundleError, match="other cameras than lift_image, which runs: none, not robot0_eye"):
        refuse_other_contract(image, state)
    fast = replace(image, name="fast", action=replace(image.action, control_hz=10.0))
    with pytest.raises(BundleError, match=r"other actions than lift_image, which runs: control_hz 10\.0, not 20\.0"):
        refuse_other_contract(image, fast)
    fewer = replace(state, name="fewer", observations=state.observations[:-1], object_parts=())
    with pytest.raises(BundleError, match="bundle fewer has other observations than lift_state"):
        refuse_other_contract(state, fewer)
    moved = replace(image, name="moved", T_ee_site=tuple(np.eye(4)[[1, 2, 0, 3]].ravel()))
    with pytest.raises(BundleError, match="bundle moved has other T_ee_site than lift_image"):
        refuse_other_contract(image, moved)
