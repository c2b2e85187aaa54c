"""The Franka Hand through franka-rs, with the methods of ``franky.Gripper``: its own calls block."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from d2ppo_core.compatibility import FRANKA_RS, client_named
from d2ppo_core.drivers.connect_errors import not_installed
from d2ppo_core.drivers.server_version import GRIPPER_PORT, server_version


class _Command:
    """A command under way."""

    def __init__(self, future: Future[bool]) -> None:
        self._future = future

    def wait(self, timeout_s: float) -> bool:
        """Wait; whether it is done."""
        try:
            self._future.exception(timeout_s)
        except TimeoutError:
            return False
        return True

    def get(self) -> bool:
        """Return the outcome; raises what went wrong."""
        return self._future.result()


class FrankaRsHand:
    """One connection; a command runs in a thread while the state is read."""

    def __init__(self, hand: Any) -> None:
        """Take a connected ``franka.Gripper``."""
        self._hand = hand
        self._pool = ThreadPoolExecutor(1, "franka-rs-hand")

    @property
    def state(self) -> Any:
        """The next state, with ``width`` and ``is_grasped``."""
        return self._hand.read_once()

    def homing_async(self) -> _Command:
        """Begin to find the fingers' travel."""
        return _Command(self._pool.submit(self._hand.homing))

    def move_async(self, width: float, speed: float) -> _Command:
        """Begin to move the fingers; m and m/s."""
        return _Command(self._pool.submit(self._hand.move, width, speed))

    def grasp_async(
        self, width: float, speed: float, force: float, *, epsilon_inner: float, epsilon_outer: float
    ) -> _Command:
        """Begin to close around something; m, m/s and N."""
        return _Command(self._pool.submit(self._hand.grasp, width, speed, force, epsilon_inner, epsilon_outer))

    def stop(self) -> None:
        """Stop the command under way."""
        self._hand.stop()


def open_franka_rs_hand(address: str) -> FrankaRsHand:
    """Connect to a hand; RobotError when franka-rs is not installed or nobody answers as a hand does."""
    try:
        import franka
    except ImportError as error:
        raise not_installed(client_named(FRANKA_RS), error) from error
    server_version(address, GRIPPER_PORT)
    return FrankaRsHand(franka.Gripper(address))
