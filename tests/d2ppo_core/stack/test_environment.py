from xml.etree import ElementTree

import pytest

from d2ppo_core.errors import ConfigError
from d2ppo_core.stack.description import NodeDescription, StackDescription
from d2ppo_core.stack.environment import FASTDDS_PROFILE, stack_environment

STACK = StackDescription(
    name="s",
    namespace="panda",
    nodes=(NodeDescription(name="a", package="p", executable="e"),),
    environment={"MUJOCO_GL": "egl", "OMP_NUM_THREADS": "2"},
)


def test_the_callers_environment_wins_over_the_stack_and_the_stack_over_the_defaults() -> None:
    environment = stack_environment(STACK, base={"MUJOCO_GL": "osmesa"})
    assert environment["MUJOCO_GL"] == "osmesa"
    assert environment["OMP_NUM_THREADS"] == "2"
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert "PATH" not in environment


def test_a_chosen_domain_wins_and_a_wrong_one_is_refused() -> None:
    assert stack_environment(STACK, domain_id=7, base={"ROS_DOMAIN_ID": "3"})["ROS_DOMAIN_ID"] == "7"
    assert stack_environment(STACK, base={"ROS_DOMAIN_ID": "3"})["ROS_DOMAIN_ID"] == "3"
    with pytest.raises(ConfigError, match=r"ROS_DOMAIN_ID must be in \[0, 101\], got 102"):
        stack_environment(STACK, domain_id=102)


def test_the_shared_memory_segment_holds_several_images() -> None:
    root = ElementTree.parse(FASTDDS_PROFILE).getroot()
    sizes = [int(element.text or 0) for element in root.iter() if element.tag.endswith("segment_size")]
    assert sizes == [16 * 2**20]
