"""The saved worlds hold robosuite's physics to the last bit, and little else."""

from pathlib import Path

import numpy as np
import pytest

from d2ppo_core.errors import ConfigError
from sim.assets.saved import load_physics_model, load_picture_model, model_path
from sim.tasks import TASKS
from sim.tasks.base import ASSETS

LARGEST_MIB = 12
FIELDS = {
    "body": ("body_mass", "body_inertia", "body_ipos", "body_iquat", "body_pos", "body_quat", "body_invweight0"),
    "joint": ("jnt_range", "jnt_stiffness", "jnt_pos", "jnt_axis", "jnt_solref", "jnt_solimp", "jnt_margin"),
    "geom": (
        "geom_size", "geom_pos", "geom_quat", "geom_friction", "geom_solref", "geom_solimp", "geom_margin", "geom_gap",
        "geom_condim", "geom_contype", "geom_conaffinity", "geom_rbound", "geom_aabb",
    ),
    "actuator": ("actuator_ctrlrange", "actuator_forcerange", "actuator_gainprm", "actuator_biasprm", "actuator_gear"),
}  # fmt: skip


@pytest.mark.parametrize("task", TASKS)
def test_everything_that_physics_reads_equals_robosuites_model(task):
    pytest.importorskip("robosuite")
    from sim.robosuite.env import RobosuiteEnv

    with RobosuiteEnv(task) as env:
        env.reset(0)
        wanted = env.raw.sim.model._model
        found = load_physics_model(task, skip_apart=False)
        for kind, fields in FIELDS.items():
            for index in range({"body": found.nbody, "joint": found.njnt, "geom": found.ngeom}.get(kind, found.nu)):
                name = getattr(found, kind)(index).name
                if not name or name.startswith("Visual"):
                    continue  # static helpers without a name, or without an effect
                other = getattr(wanted, kind)(name).id
                for field in fields:
                    assert np.array_equal(getattr(found, field)[index], getattr(wanted, field)[other]), (name, field)
        for field in ("dof_armature", "dof_damping", "dof_frictionloss", "dof_invweight0", "qpos0"):
            np.testing.assert_array_equal(getattr(found, field), getattr(wanted, field), err_msg=field)
        assert found.stat.meaninertia == wanted.stat.meaninertia
        for option in ("timestep", "impratio", "tolerance", "iterations", "cone", "solver", "integrator", "viscosity"):
            assert getattr(found.opt, option) == getattr(wanted.opt, option), option
        for mesh in (found.mesh(index).name for index in range(found.nmesh)):
            np.testing.assert_array_equal(vertices(found, mesh), vertices(wanted, mesh), err_msg=mesh)


def vertices(model, mesh):
    index = model.mesh(mesh).id
    first = model.mesh_vertadr[index]
    return model.mesh_vert[first : first + model.mesh_vertnum[index]]


@pytest.mark.parametrize("task", TASKS)
def test_cameras_are_in_the_pictures_world(task):
    model = load_picture_model(task)
    names = {model.camera(index).name for index in range(model.ncam)}
    assert names >= set(TASKS[task].robosuite.cameras)


def test_all_worlds_together_stay_small_and_name_files_of_this_folder_only():
    files = [path for path in ASSETS.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert sum(path.stat().st_size for path in files) <= LARGEST_MIB * 2**20
    for task in TASKS:
        text = model_path(task).read_text()
        assert 'file="/' not in text
        for name in text.split('file="')[1:]:
            assert (model_path(task).parent / Path(name.partition('"')[0])).resolve().is_relative_to(ASSETS)


def test_the_world_of_an_unknown_task_is_refused():
    with pytest.raises(ConfigError, match="unknown task 'juggling'; known are lift, can, square, transport"):
        model_path("juggling")
