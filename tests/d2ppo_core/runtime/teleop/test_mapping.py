"""What a deflection means: frames, locks, levels, dead zone, gripper, and targets that never jump."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from d2ppo_core.errors import ConfigError
from d2ppo_core.geometry import POINTING_DOWN_XYZW, RigidState, transform_from
from d2ppo_core.runtime.teleop.mapping import LOCKS, Mapping, MappingConfig
from d2ppo_core.runtime.teleop.sample import Button, Sample

DOWN = transform_from((0.5, 0.0, 0.3), Rotation.from_quat(POINTING_DOWN_XYZW))
CONFIG = MappingConfig(dead_zone=0.0, levels=(0.5, 1.0))


def deflected(*values: float, held: bool = True) -> Sample:
    return Sample(held=held, deflection=np.array(values, dtype=float))


def at_full_speed(**changes) -> Mapping:
    mapping = Mapping(replace(CONFIG, **changes))
    mapping.press(Button.FASTER)
    return mapping


def test_without_the_dead_man_switch_nothing_is_wanted():
    assert not Mapping(CONFIG).twist(deflected(1, 1, 1, 1, 1, 1, held=False), DOWN).any()


def test_levels_scale_the_greatest_speeds_and_end_where_they_end():
    mapping = Mapping(CONFIG)
    np.testing.assert_allclose(mapping.twist(deflected(1, 0, 0, 0, 0, 1), DOWN), (0.1, 0, 0, 0, 0, 0.4))
    for _ in range(3):
        assert mapping.press(Button.FASTER)
    np.testing.assert_allclose(mapping.twist(deflected(0, 1, 0, 0, 1, 0), DOWN), (0, 0.2, 0, 0, 0.8, 0))


def test_a_diagonal_is_no_faster_than_an_axis():
    twist = at_full_speed().twist(deflected(1, 1, 1, 1, 1, 1), DOWN)
    assert np.linalg.norm(twist[:3]) == pytest.approx(0.2) and np.linalg.norm(twist[3:]) == pytest.approx(0.8)


def test_the_dead_zone_is_cut_out_without_a_jump_at_its_end():
    mapping = at_full_speed(dead_zone=0.2)
    ways = [mapping.twist(deflected(x, 0, 0, 0, 0, 0), DOWN)[0] for x in (0.1, 0.2, 0.2001, -0.6, 1.0)]
    np.testing.assert_allclose(ways, (0, 0, 2.5e-5, -0.1, 0.2), atol=1e-6)


def test_the_tool_frame_is_the_base_frame_of_a_hand_that_looks_down_and_turns_with_it():
    mapping = at_full_speed(frame="tool")
    np.testing.assert_allclose(mapping.twist(deflected(0, 0.5, 0.5, 0.1, 0, 0), DOWN)[:3], (0, 0.1, 0.1), atol=1e-12)
    turned = DOWN.copy()
    turned[:3, :3] = Rotation.from_euler("z", 90, degrees=True).as_matrix() @ DOWN[:3, :3]
    np.testing.assert_allclose(mapping.twist(deflected(1, 0, 0, 0, 0, 0), turned)[:3], (0, 0.2, 0), atol=1e-12)


def test_in_the_camera_frame_forward_goes_into_the_picture():
    mapping = at_full_speed(frame="camera", R_ee_camera=np.eye(3))
    np.testing.assert_allclose(mapping.twist(deflected(1, 0, 0, 0, 0, 0), DOWN)[:3], 0.2 * DOWN[:3, 2], atol=1e-12)
    np.testing.assert_allclose(mapping.twist(deflected(0, 1, 0, 0, 0, 0), DOWN)[:3], -0.2 * DOWN[:3, 0], atol=1e-12)


def test_the_frame_button_offers_the_camera_only_where_there_is_one():
    names = []
    for camera in (None, np.eye(3)):
        mapping = Mapping(replace(CONFIG, R_ee_camera=camera))
        for _ in range(3):
            mapping.press(Button.FRAME)
            names.append(mapping.frame)
    assert names == ["tool", "base", "tool", "tool", "camera", "base"]


def test_locks_leave_one_kind_of_motion():
    mapping, seen = at_full_speed(), []
    for _ in LOCKS:
        twist = mapping.twist(deflected(1, 0, 0, 1, 0, 0), DOWN)
        seen.append((mapping.lock, bool(twist[:3].any()), bool(twist[3:].any())))
        mapping.press(Button.LOCK)
    assert seen == [("none", True, True), ("translation only", True, False), ("rotation only", False, True)]


def test_the_gripper_goes_on_holding_at_a_takeover_and_then_toggles_or_follows():
    mapping = Mapping(CONFIG)
    mapping.begin(0.041, grasped=True)
    assert mapping.width_m == 0.0
    mapping.begin(0.041, grasped=False)
    assert mapping.width_m == 0.041
    widths = []
    for _ in range(2):
        mapping.press(Button.GRIPPER)
        widths.append(mapping.width_m)
    assert widths == [0.0, 0.08]
    mapping.twist(Sample(held=True, opening=0.25), DOWN)
    assert mapping.width_m == pytest.approx(0.02)
    assert not mapping.press(Button.SUCCESS), "what the recorder hears changes nothing here"


def test_targets_start_from_the_command_and_change_its_velocity_within_the_bound():
    mapping = Mapping(CONFIG)
    reference = RigidState(DOWN, np.array((0.05, 0, 0, 0, 0, 0)))
    twist = np.array((-0.1, 0.1, 0, 0, 0, 0.5))
    targets = mapping.targets(twist, reference, RigidState(DOWN, np.zeros(6)))
    np.testing.assert_allclose(targets.states[0].pose, DOWN, atol=1e-12)
    np.testing.assert_array_equal(targets.states[0].twist, reference.twist)
    twists = np.array([state.twist for state in targets.states])
    steps = np.diff(twists, axis=0)
    assert np.linalg.norm(steps[:, :3], axis=1).max() <= CONFIG.acceleration_m_s2 * CONFIG.period_s + 1e-12
    ways = np.diff([state.pose[:3, 3] for state in targets.states], axis=0)
    np.testing.assert_allclose(ways, 0.5 * (twists[1:, :3] + twists[:-1, :3]) * CONFIG.period_s, atol=1e-12)
    assert len(targets.states) == len(targets.gripper_width_m) == CONFIG.targets


def test_an_arm_that_is_blocked_winds_nothing_up():
    mapping = Mapping(CONFIG)
    ahead = DOWN.copy()
    ahead[0, 3] += 0.2
    start = mapping.targets(np.zeros(6), RigidState(ahead, np.zeros(6)), RigidState(DOWN, np.zeros(6))).states[0]
    assert start.pose[0, 3] - DOWN[0, 3] == pytest.approx(CONFIG.max_lead_m)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"frame": "world"}, "frame must be one of base, tool, camera, got 'world'"),
        ({"frame": "camera"}, "frame camera needs camera_quat_xyzw"),
        ({"levels": (1.0, 0.5)}, "levels must rise"),
        ({"levels": (0.5, 1.5)}, "levels must rise"),
        ({"dead_zone": 1.0}, "dead_zone must lie in"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, text):
    with pytest.raises(ConfigError, match=text):
        MappingConfig(**changes)
