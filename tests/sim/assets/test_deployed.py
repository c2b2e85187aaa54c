"""The committed worlds of Can, Square and Transport are what the command makes of those of training."""

import shutil
from pathlib import Path

import mujoco
import numpy as np
import pytest

from d2ppo_core.errors import WorldError
from sim.assets.deployed import DEPLOYED, build_deployed
from sim.assets.saved import load_picture_model
from sim.tasks import task_named
from sim.tasks.base import ASSETS


@pytest.mark.parametrize("task", DEPLOYED)
def test_command_makes_the_committed_file_again(task: str):
    committed = task_named(task).model_path
    again = committed.with_name(f".again-{task}.xml")
    try:
        assert build_deployed(ASSETS, task, again).read_text() == committed.read_text()
    finally:
        again.unlink(missing_ok=True)


@pytest.mark.parametrize("task", DEPLOYED)
def test_what_a_policy_sees_stays_but_the_arm_is_frankas(task: str):
    deployed, training = mujoco.MjModel.from_xml_path(str(task_named(task).model_path)), load_picture_model(task)
    assert [deployed.camera(i).name for i in range(deployed.ncam)] == [
        training.camera(i).name for i in range(training.ncam)
    ]
    seen = {deployed.geom(i).name for i in range(deployed.ngeom) if deployed.geom_group[i] == 1}
    gone = {training.geom(i).name for i in range(training.ngeom) if training.geom_group[i] == 1} - seen
    parked = task_named(task).parked
    assert all(training.body(training.geom_bodyid[training.geom(name).id]).name in parked for name in gone)
    for arm in range(task_named(task).num_arms):
        ratio = deployed.body(f"robot{arm}_link1").mass[0] / training.body(f"robot{arm}_link1").mass[0]
        assert ratio != pytest.approx(1.0, abs=0.1)
        assert deployed.joint(f"robot{arm}_joint1").qposadr[0] == 9 * arm
    assert np.isclose(deployed.opt.timestep, 1e-3)


def test_a_training_world_that_was_never_built_is_named(tmp_path: Path):
    shutil.rmtree(tmp_path)
    with pytest.raises(WorldError, match=r"no robosuite\.xml of task 'can'"):
        build_deployed(tmp_path, "can")
