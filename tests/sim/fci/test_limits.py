"""Which robot speaks which version, and what its server hands out and refuses then."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from d2ppo_core.errors import WorldError
from d2ppo_core.runtime.safety.robots import ROBOTS
from sim.fci.kinematic_arm import KinematicArm
from sim.fci.limits import SPOKEN, limits_of
from sim.fci.robot import Robot
from sim.fci.urdf import robot_urdf
from sim.fci.wire import PROTOCOLS


@pytest.mark.parametrize("robot", sorted(SPOKEN))
def test_a_robot_in_its_own_version_refuses_what_its_maker_publishes(robot):
    limits = Robot(KinematicArm(robot=robot), PROTOCOLS[SPOKEN[robot]]).limits
    for name in ("q_min_rad", "q_max_rad", "dq_rad_s", "ddq_rad_s2", "dddq_rad_s3", "speed", "acceleration", "elbow"):
        assert np.array_equal(getattr(limits, name), getattr(ROBOTS[robot], name)), name


def test_no_fr3_speaks_a_pandas_version():
    with pytest.raises(WorldError, match="no fr3 speaks robot-server version 5; take version 10"):
        Robot(KinematicArm(robot="fr3"), PROTOCOLS[5])


def test_an_fr3_hands_out_its_own_name_travel_speeds_and_masses():
    arm = KinematicArm(robot="fr3")
    urdf = ET.fromstring(robot_urdf(arm.model, limits_of("fr3", 10)))
    assert urdf.get("name") == "fr3"
    joints = [joint for joint in urdf.iter("joint") if joint.get("type") == "revolute"]
    for index, joint in enumerate(joints):
        limit = joint.find("limit")
        assert float(limit.get("lower")) == ROBOTS["fr3"].q_min_rad[index]
        assert float(limit.get("upper")) == ROBOTS["fr3"].q_max_rad[index]
        assert float(limit.get("velocity")) == ROBOTS["fr3"].dq_rad_s[index]
    masses = [float(link.find("inertial/mass").get("value")) for link in urdf.iter("link") if link.find("inertial")]
    assert np.allclose(masses, [2.92747, 2.93554, 2.24490, 2.61560, 2.32712, 1.81704, 0.62714], atol=1e-5)
