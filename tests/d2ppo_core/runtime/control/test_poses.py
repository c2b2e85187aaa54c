"""Named poses come from YAML and must suit the robot."""

import pytest

from d2ppo_core.errors import ConfigError
from d2ppo_core.runtime.control.poses import load_poses
from d2ppo_core.runtime.safety.robots import FR3, PANDA

READY = "ready: [0, -0.785398, 0, -2.356194, 0, 1.570796, 0.785398]"


def test_poses_come_from_text_or_a_file(tmp_path):
    wanted = {"ready": (0.0, -0.785398, 0.0, -2.356194, 0.0, 1.570796, 0.785398)}
    assert load_poses(READY, PANDA) == wanted
    (tmp_path / "poses.yaml").write_text(READY)
    assert load_poses(str(tmp_path / "poses.yaml"), PANDA) == wanted
    assert load_poses("", PANDA) == {}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("shelf: [0, 1]", r"pose shelf needs 7 joint angles in rad, got \[0, 1\]"),
        ("shelf: [0, 0, 0, a, 0, 2, 0]", "pose shelf needs 7 joint angles"),
        ("shelf: [0, 0, 0, -1.5, 0, .nan, 0]", r"pose shelf: joint 6 of a panda must lie in \[-0.0175, 3.7525\]"),
        ("- 1", "poses must map names to 7 joint angles, got list"),
        ("a: [", "poses cannot be read"),
        ("nowhere.yaml", "poses cannot be read: .*No such file"),
    ],
)
def test_what_is_no_pose_of_this_robot_is_refused(source, text):
    with pytest.raises(ConfigError, match=text):
        load_poses(source, PANDA)


def test_limits_are_those_of_the_robot():
    low = "low: [0, 0, 0, -1.5, 0, 0.2, 0]"
    assert load_poses(low, PANDA)
    with pytest.raises(ConfigError, match="joint 6 of a fr3"):
        load_poses(low, FR3)
