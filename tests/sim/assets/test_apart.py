"""The pairs that collision detection skips are really out of reach, wherever the joints are."""

import itertools

import mujoco
import numpy as np
import pytest

from sim.assets.apart import never_touching
from sim.assets.saved import load_physics_model
from sim.tasks import TASKS

MARGIN_M = 0.02
"""Everything is at least this far apart but link 1, which turns above link 0."""
TURNTABLE_MARGIN_M = 9e-4
BEND_STEPS, TURN_STEPS = 16, 400


def smallest_gap(model, one, other, margin_m, steps):
    """Least distance of two bodies over a grid of the joints between them, where it is below `margin_m`."""
    data, bodies = mujoco.MjData(model), {model.body(one).id, model.body(other).id}
    for geom in range(model.ngeom):
        if model.geom_bodyid[geom] not in bodies:
            model.geom_contype[geom] = model.geom_conaffinity[geom] = 0
    model.geom_margin[:] = margin_m
    moving = [joint for joint in range(model.njnt) if in_between(model, joint, one, other)]
    assert 1 <= len(moving) <= 2
    grids = [np.linspace(*model.jnt_range[joint], steps) for joint in moving]
    gap = margin_m
    for q in itertools.product(*grids):
        data.qpos[model.jnt_qposadr[moving]] = q
        mujoco.mj_fwdPosition(model, data)
        gap = min([gap, *data.contact.dist])
    return gap


def in_between(model, joint, one, other):
    """Whether the joint moves one body relative to the other."""

    def carries(body):
        while body:
            if model.jnt_bodyid[joint] == body:
                return True
            body = model.body_parentid[body]
        return False

    return carries(model.body(one).id) != carries(model.body(other).id)


@pytest.mark.parametrize("task", TASKS)
def test_excluded_pairs_stay_apart_over_the_whole_range_of_the_joints(task):
    pairs = never_touching(load_physics_model(task))
    assert ("robot0_link0", "robot0_link1") in pairs
    for one, other in pairs:
        if one.endswith("link0") and other.endswith("link1"):
            assert (
                smallest_gap(load_physics_model(task, skip_apart=False), one, other, TURNTABLE_MARGIN_M, TURN_STEPS)
                > 8.9e-4
            )
        else:
            assert (
                smallest_gap(load_physics_model(task, skip_apart=False), one, other, MARGIN_M, BEND_STEPS) >= MARGIN_M
            )
