"""What is to happen on the way to success: an expert's episodes pass it in order, and a start holds none of it."""

import numpy as np
import pytest

pytest.importorskip("robosuite", reason="robosuite is not installed (pip install --no-deps robosuite==1.5.2)")

from sim.experts.recording import Recording, attempt
from sim.robosuite.env import RobosuiteEnv
from sim.tasks import task_named

IN_ORDER = {
    "lift": [],
    "can": [["held", "over_its_place"]],
    "square": [["held", "over_its_place"]],
    "transport": [["lid_off", "hammer_held", "handed_over", "hammer_in_bin"], ["trash_in_bin", "hammer_in_bin"]],
}


@pytest.mark.parametrize("task", IN_ORDER)
def test_an_experts_episode_passes_the_stages_in_order(task):
    recording = Recording(task=task, seed=5, skill_min=0.9, images=False, worlds="batched")
    with recording.studio() as studio:
        episode = next(e for e in (attempt(studio, recording, index) for index in range(4)) if e is not None)
    stages = task_named(task).stages(episode.next_observations)
    assert set(stages) == {name for names in IN_ORDER[task] for name in names}
    assert not any(holds[0] for holds in task_named(task).stages(episode.observations).values())
    for names in IN_ORDER[task]:
        began = [int(np.argmax(stages[name])) for name in names]
        assert all(stages[name].any() for name in names)
        assert began == sorted(began) and len(set(began)) == len(began)
    if task == "transport":
        assert stages["lid_off"][-1] and stages["trash_in_bin"][-1] and stages["hammer_in_bin"][-1]
        assert not (stages["hammer_held"] & stages["handed_over"]).any()


def test_robosuite_names_the_stages_of_its_own_tasks_only():
    with RobosuiteEnv("can") as env:
        env.reset(0)
        assert env.stages(env.observe(images=False)) == {"held": False, "over_its_place": False}
