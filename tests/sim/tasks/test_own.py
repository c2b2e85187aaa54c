"""A task of the user's own: the Panda joins its scene twice, and whatever is wrong with it is one line."""

import shutil
from collections.abc import Callable
from pathlib import Path

import mujoco
import numpy as np
import pytest
from click.testing import CliRunner

from d2ppo_core.errors import ConfigError, D2ppoError, WorldError
from d2ppo_core.task_folders import VARIABLE
from sim.assets.apart import never_touching
from sim.assets.saved import load_physics_model
from sim.batch.env import BatchedEnv
from sim.cli.evaluate import evaluate
from sim.experts import expert_for
from sim.experts.recording import Recording
from sim.robosuite.env import RobosuiteEnv
from sim.tasks import task_named
from sim.world.world import World

EXAMPLE = Path(__file__).parents[3] / "examples" / "own_task" / "stack_cubes"
Broken = Callable[[str, str, str], str]


@pytest.fixture(autouse=True)
def nothing_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")


@pytest.fixture
def broken(tmp_path: Path) -> Broken:
    """Copy the example with one text of one file replaced; returns its path."""

    def make(part: str, old: str, new: str) -> str:
        folder = shutil.copytree(EXAMPLE, tmp_path / "stack_cubes")
        text = (folder / part).read_text(encoding="utf-8")
        assert old in text
        (folder / part).write_text(text.replace(old, new), encoding="utf-8")
        return str(folder)

    return make


def test_both_worlds_hold_the_scene_and_the_arm_that_belongs_there():
    task = task_named(str(EXAMPLE))
    training, live = (mujoco.MjModel.from_xml_path(str(path)) for path in (task.training_path, task.model_path))
    assert training.opt.timestep == 2e-3 and live.opt.timestep == 1e-3
    assert training.actuator("robot0_torq_j1").id == 0 and live.actuator("robot0_motor1").id == 0
    for model in (training, live):
        assert {"table", "red_cube", "green_cube"} < {model.body(i).name for i in range(model.nbody)}
        assert model.body("red_cube").mass[0] == pytest.approx(0.064, rel=1e-6)  # kg, of 4 cm at 1000 kg/m³
        assert model.geom("red_vis").group[0] == 1 and model.geom("red_vis").contype[0] == 0
        assert mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, "cube_main") < 0
    assert task.cell("fr3") == str(EXAMPLE / "cell_fr3.yaml") and not task.in_robosuite


def test_only_the_shipped_table_is_out_of_the_shoulders_reach(broken: Broken):
    path = broken("world.xml", "<worldbody>", '<worldbody><body name="shelf"><geom type="box" size=".1 .1 .1"/></body>')
    beside = {pair[0] for pair in never_touching(load_physics_model(path), task_named(path).furniture)}
    assert "table" in beside and "shelf" not in beside


def test_the_live_world_starts_as_the_batched_one_and_both_judge_alike():
    task = task_named(str(EXAMPLE))
    world = World(task, seed=7)
    with BatchedEnv("stack_cubes", 2, num_threads=1) as env:
        observation, _ = env.reset(seed=[7, 8])
        assert observation["object"].shape == (2, 16)
        red_m = observation["object"][0, :3]
        assert red_m == pytest.approx(world.data.body("red_cube").xpos, abs=1e-6)
        assert not world.is_success()
        stacked = env.states()
        for row in stacked:
            green = 1 + int(env.model.joint("green_joint").qposadr[0])
            red = 1 + int(env.model.joint("red_joint").qposadr[0])
            row[red : red + 3] = row[green : green + 3] + [0.0, 0.01, 0.045]
        env.set_states(stacked)
        _, _, _, _, info = env.step(np.zeros((2, 7), np.float32))
        assert info["success"].all()
    address = int(world.model.joint("red_joint").qposadr[0])
    world.data.qpos[address : address + 3] = world.data.body("green_cube").xpos + [0.0, 0.0, 0.045]
    world.update()
    assert world.is_success()


def test_the_recipe_makes_the_observation():
    task = task_named(str(EXAMPLE))
    taps = {"robot0_eef_pos": np.zeros((3, 3)), "robot0_eef_quat": np.tile([1.0, 0, 0, 0], (3, 1))}
    for name in ("red", "green"):
        taps |= {f"{name}_pos": np.ones((3, 3)), f"{name}_quat": np.tile([0.0, 0, 0, 1], (3, 1))}
    made = task.object_state(taps)
    assert made.shape == (3, task.object_size)
    assert made[0].tolist() == [1, 1, 1, 0, 0, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("part", "old", "new", "message"),
    [
        ("world.xml", '<include file="panda.xml"/>', "", "there is no arm in it; it needs <include file="),
        ("world.xml", "table.xml", "desk.xml", "cannot include desk.xml; there are panda.xml and table.xml"),
        ("world.xml", "<worldbody>", '<option timestep="1"/><worldbody>', "<option> is the Panda's to say"),
        ("world.xml", "<worldbody>", "<default><geom/></default><worldbody>", "would change the Panda"),
        ("world.xml", "</mujoco>", "", "world.xml: not an MJCF file: no element found"),
        ("world.xml", 'type="box"', 'type="bax"', "world.xml: XML Error: invalid keyword: 'bax'"),
        ("world.xml", 'body name="red_cube"', 'body name="cube"', "world.xml: the world has no body 'red_cube'"),
        (
            "world.xml",
            'name="red_joint"',
            'name="r"',
            "draw places green_joint, red_joint; the free joints .* are green_j",
        ),
        ("task.py", "TASK = ", "TISK = ", "task.py: wanted TASK = <an OwnTask>, got None"),
        ("task.py", "TABLE_M, RED", "1 / 0, RED", r"task.py: SyntaxError: .*task.py, line"),
        ("task.py", "import math\n", "import nowhere\n", r"task.py: ModuleNotFoundError: .* \(task.py, line 3\)"),
        ("task.py", '"red": "red_cube"', '"rad": "red_cube"', "recipe: red is none of the bodies rad, green"),
        ("task.py", '["red_pos"]', '["rot_pos"]', r"stack_cubes: success raised KeyError: 'rot_pos' \(task.py, line"),
        (
            "task.py",
            "over = np",
            "return red[..., 2]\n        over = np",
            "success must be true or false of every world",
        ),
        ("task.py", '"red_joint": red,', '"red_joint": red[:3],', "draw must place red_joint by 7 numbers"),
        ("task.py", "return Start(", "return str(", "stack_cubes: draw raised TypeError"),
    ],
)
def test_what_is_wrong_with_a_folder_is_one_line(broken: Broken, part: str, old: str, new: str, message: str):
    with pytest.raises(D2ppoError, match=message) as told:
        task_named(broken(part, old, new))
    assert "\n" not in str(told.value)


def test_a_success_that_raises_later_is_one_line_too(broken: Broken):
    path = broken("task.py", "over = np", "if np.min(red[..., 2]) < 0.5:\n            1 // 0\n        over = np")
    with BatchedEnv(path, 1, num_threads=1) as env:
        env.reset(seed=0)
        states = env.states()
        states[:, 1 + int(env.model.joint("red_joint").qposadr[0]) + 2] = 0.3  # it fell off the table
        env.set_states(states)
        with pytest.raises(WorldError, match=r"task stack_cubes: success raised ZeroDivisionError.*\(task.py, line"):
            env.step(np.zeros((1, 7), np.float32))


def test_robosuite_and_a_task_without_an_expert_are_refused_in_one_line(broken: Broken):
    path = broken("task.py", "    expert=expert,\n", "")
    for refused in (lambda: RobosuiteEnv(path), lambda: CliRunner().invoke(evaluate, [path, "--in", "both"])):
        with pytest.raises(ConfigError, match="robosuite does not have task stack_cubes"):
            if (result := refused()) is not None:
                raise result.exception
    with pytest.raises(ConfigError, match="no scripted expert for task stack_cubes; give its TASK one"):
        expert_for(path)
    with pytest.raises(ConfigError, match="robosuite does not have task stack_cubes"):
        Recording(task=str(EXAMPLE))
