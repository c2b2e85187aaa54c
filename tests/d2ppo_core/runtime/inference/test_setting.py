"""Which bundles belong to a stack; both sides are named where one does not."""

from dataclasses import replace

import numpy as np
import pytest

from d2ppo_core.bundle import load_bundle
from d2ppo_core.errors import BundleError
from d2ppo_core.manifest import Manifest
from d2ppo_core.runtime.inference.setting import Setting
from d2ppo_core.runtime.safety.cell import load_cell

SEEN = {"robot0_eye_in_hand": "wrist"}


@pytest.fixture(scope="module")
def can() -> Manifest:
    return load_bundle("can_image").manifest


def setting(cell: str, **changes: object) -> Setting:
    task = cell.removeprefix("sim_")
    stands = load_cell(cell).T_world_base
    whole = Setting(task=task, cameras=("wrist", "scene"), cell=cell, T_world_base=stands)
    return replace(whole, **changes)


def test_a_bundle_in_its_own_stack_is_taken(can):
    setting("sim_can").check(can, SEEN)
    Setting().check(can, {})  # nothing said, nothing refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "lift"}, r"is of task can, the stack of lift \(choose it with task:=can\); force:=true runs it"),
        ({"num_arms": 2}, "moves one arm, the stack 2 arms; force"),
        ({"cameras": ("front",)}, "sees through robot0_eye_in_hand, the stack's cameras are front; force"),
        (
            {"T_world_base": load_cell("sim_lift").T_world_base},
            r"at \(-0.5, -0.1, 0.912\) m, 0° in the world \(T_world_base\), the cell sim_can at \(-0.56, 0, 0.912\) m",
        ),
    ],
)
def test_what_does_not_belong_is_one_line_that_names_both_sides(can, changes, message):
    with pytest.raises(BundleError, match=f"bundle can_image .*{message}") as caught:
        setting("sim_can", **changes).check(can, SEEN)
    assert "\n" not in str(caught.value)


def test_all_that_is_wrong_is_said_at_once(can):
    assert setting("sim_lift").misfits(can, SEEN).count("; it ") == 1


def test_a_base_that_is_turned_is_another_cell(can):
    turned = load_cell("sim_can").T_world_base
    angle = np.radians(2.0)
    turned[:2, :2] = ((np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle)))
    assert "m, 2°" in setting("sim_can", T_world_base=turned).misfits(can, SEEN)
    turned[:3] = load_cell("sim_can").T_world_base[:3]
    turned[0, 3] += 0.003  # as well as a cell is measured
    assert not setting("sim_can", T_world_base=turned).misfits(can, SEEN)


def test_of_two_arms_each_has_to_stand_where_its_cell_says(pair_bundle):
    pair = load_bundle(pair_bundle).manifest
    cells = ("sim_transport_left", "sim_transport_right")
    bases = np.array([load_cell(cell).T_world_base for cell in cells])
    two = Setting(task="transport", num_arms=2, cell="+".join(cells), T_world_base=bases)
    two.check(pair, {})
    swapped = replace(two, T_world_base=bases[::-1])
    assert swapped.misfits(pair, {}).count("has its base at") == 2
    moved = bases.copy()
    moved[1, 0, 3] += 0.02
    line = replace(two, T_world_base=moved).misfits(pair, {})
    assert line.count("has its base at") == 1 and "the cell sim_transport_right at (0.02, 0.81, 0.912) m, -90" in line
    assert "moves 2 arms, the stack one arm" in replace(two, num_arms=1, T_world_base=bases[0]).misfits(pair, {})
