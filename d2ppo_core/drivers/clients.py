"""The drivers of one robot by the client that the cell asks for, or by the one that speaks what the robot does."""

from collections.abc import Callable
from typing import Any

from d2ppo_core.compatibility import (
    AUTO,
    FRANKA_RS,
    FRANKY,
    client_named,
    explain_mismatch,
    franka_rs_installed,
    franky_speaks,
)
from d2ppo_core.drivers.franka import FrankaArm
from d2ppo_core.drivers.franka_config import FrankaConfig
from d2ppo_core.drivers.franka_gripper import FrankaGripper, GripperConfig, open_franky_hand
from d2ppo_core.drivers.franka_rs import FrankaRsArm
from d2ppo_core.drivers.franka_rs_hand import open_franka_rs_hand
from d2ppo_core.drivers.server_version import server_version
from d2ppo_core.errors import RobotError
from d2ppo_core.geometry import Array, RigidState
from d2ppo_core.runtime.control.protocols import ArmDriver, ArmReading

_ARMS: dict[str, Callable[[FrankaConfig], ArmDriver]] = {FRANKY: FrankaArm, FRANKA_RS: FrankaRsArm}
_HANDS: dict[str, Callable[[str], Any]] = {FRANKY: open_franky_hand, FRANKA_RS: open_franka_rs_hand}


def fitting_client(server: int) -> str:
    """Return the client for a robot-server version: franky where its build fits; RobotError when none does."""
    if franky_speaks() == server:
        return FRANKY
    if franka_rs_installed() and server in client_named(FRANKA_RS).servers:
        return FRANKA_RS
    raise RobotError(explain_mismatch(server, franky_speaks()))


def franka_drivers(config: FrankaConfig, hand: GripperConfig) -> tuple[ArmDriver, FrankaGripper]:
    """Return arm and hand, unconnected."""
    if config.client == AUTO:
        arm = ChosenArm(config)
        return arm, FrankaGripper(hand, arm.open_hand)
    return _ARMS[config.client](config), FrankaGripper(hand, _HANDS[config.client])


class ChosenArm:
    """An arm whose client is chosen each time it is connected, by what the robot speaks; implements ``ArmDriver``."""

    def __init__(self, config: FrankaConfig) -> None:
        """Remember the configuration; nothing is opened yet."""
        self._config = config
        self.client = FRANKY
        """The client in use; a guess until the first connection."""
        self._arm: ArmDriver = FrankaArm(config)

    @property
    def warning(self) -> str:
        """What a laboratory should know, one line; empty when nothing."""
        return self._arm.warning

    @property
    def commanded(self) -> RigidState | None:
        """Reference that the robot was told last."""
        return self._arm.commanded

    def connect(self) -> None:
        """Ask the robot for its version, choose, connect; RobotError when no installed client fits."""
        self.client = fitting_client(server_version(self._config.address))
        self._arm = _ARMS[self.client](self._config)
        self._arm.connect()

    def open_hand(self, address: str) -> Any:
        """Connect to the hand by the arm's client."""
        return _HANDS[self.client](address)

    def read(self) -> ArmReading:
        """Return the newest state."""
        return self._arm.read()

    def start_tracking(self) -> None:
        """Start the impedance controller."""
        self._arm.start_tracking()

    def track(self, reference: RigidState) -> None:
        """Set the reference of the running controller."""
        self._arm.track(reference)

    def start_joint_motion(self, q_rad: Array, speed: float = 1.0) -> None:
        """Start a slow joint motion."""
        self._arm.start_joint_motion(q_rad, speed)

    def motion_running(self) -> bool:
        """Tell whether a motion runs."""
        return self._arm.motion_running()

    def stop(self) -> None:
        """Stop any motion smoothly."""
        self._arm.stop()

    def recover(self) -> None:
        """Clear a reflex."""
        self._arm.recover()

    def close(self) -> None:
        """Stop and disconnect."""
        self._arm.close()
