"""What the numbers of an action mean: steps of the training controller, or the goals that those steps lead to.

Per arm, gripper last (+1 closes, −1 opens):

- ``osc_delta`` (7): translation and rotation vector, each entry in [−1, 1] of a scale, in the frame of the robot's
  base. robosuite's OSC_POSE makes of them its goal: goal = *measured* pose ⊕ scaled delta.
- ``ee_absolute`` (10): that goal itself, in the world frame of the observations: position of the grip site in m, as
  ``robot0_eef_pos``; then the first two columns of the hand's rotation matrix, whose quaternion is
  ``robot0_eef_quat``. Six numbers, because no representation by fewer than five is continuous, which networks need
  (Zhou et al., CVPR 2019).

A goal that is further from the arm than a delta of 1 reaches is brought as near, by every place that executes one:
no policy asks the controller for more than it was asked for in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

OSC_DELTA, EE_ABSOLUTE = "osc_delta", "ee_absolute"
REPRESENTATIONS = (OSC_DELTA, EE_ABSOLUTE)
SIZES: Mapping[str, int] = MappingProxyType({OSC_DELTA: 7, EE_ABSOLUTE: 10})
"""Numbers per arm."""
FRAMES: Mapping[str, str] = MappingProxyType({OSC_DELTA: "base", EE_ABSOLUTE: "world"})
TRANSLATION_SCALE_M, ROTATION_SCALE_RAD = 0.05, 0.5
"""What an entry of 1 asks for in osc_delta."""


def bounded(actions: NDArray[Any], representation: str) -> NDArray[Any]:
    """Actions of a policy as worlds take them: deltas within [-1, 1], goals as they are."""
    return actions.clip(-1.0, 1.0) if representation == OSC_DELTA else actions
