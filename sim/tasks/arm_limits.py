"""Where real arms stop: what a demonstration or an episode of training had better not need.

Simulated worlds let an arm lean on the ends of its joints and pass through its stretched-out posture, where no small
step of the hand has joint angles near by; a robot that does so stops itself.
"""

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.runtime.safety.robots import ROBOTS

MARGIN_RAD = 0.05
STRETCHED_RAD = -0.467
"""Of joint 4: shoulder, elbow and wrist in one line. It is the same for a Panda and an FR3."""
_ELBOW = 3


def _limits() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low = np.max([robot.q_min_rad for robot in ROBOTS.values()], axis=0) + MARGIN_RAD
    high = np.min([robot.q_max_rad for robot in ROBOTS.values()], axis=0) - MARGIN_RAD
    high[_ELBOW] = STRETCHED_RAD - MARGIN_RAD
    return low, high


LOW_RAD, HIGH_RAD = _limits()
"""(7,) of all robots that the stack drives, a margin inside of them, the elbow bent."""


def passed(q_rad: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether joint angles (..., 7) lie beyond them."""
    return np.asarray(((q_rad < LOW_RAD) | (q_rad > HIGH_RAD)).any(axis=-1))
