"""A simulated robot whose time passes only as a test grants it: python fault_robot.py ADDRESS CLOCK_FILE VERSION.

Each line on the input is a JSON list, a call and its arguments, and is answered by one line of JSON. The clock file
holds two int64: the world's time and the time up to which it may run, ns.
"""

import json
import sys
import threading
import time
from typing import Any

import numpy as np

from d2ppo_core.runtime.safety.robots import PANDA
from sim.fci.gripper_server import GripperServer
from sim.fci.kinematic_arm import KinematicArm
from sim.fci.robot_server import RobotServer
from sim.fci.wire import Error, RobotMode

CREEP_S = 0.02
"""Without a grant a millisecond passes this rarely: a client at rest that waits for a state gets one."""

PATIENCE_S = 3.0
"""A client that a busy machine holds up for less than this loses no command."""


class Witness:
    """What the robot saw: errors, and the greatest share of a Panda's joint limits while a client moved it."""

    def __init__(self, server: RobotServer, arm: KinematicArm) -> None:
        self._robot, self._arm, self._reflex = server._robot, arm, server._robot.reflex
        self._robot.reflex = self._take_reflex  # type: ignore[method-assign]
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.errors: list[str] = []
        self.shares = np.zeros(3)
        self._rates: list[np.ndarray] = []

    def _take_reflex(self, error: Error) -> None:
        self.errors.append(error.name.lower())
        self._reflex(error)

    def look(self, _: Any) -> None:
        """After every millisecond."""
        if self._robot.motion is None:
            self._rates.clear()
            return
        self._rates = [*self._rates[-2:], self._arm.dq_rad_s.copy()]
        rates = np.array(self._rates)
        for order, limit in enumerate((PANDA.dq_rad_s, PANDA.ddq_rad_s2, PANDA.dddq_rad_s3)):
            if len(rates) > order:
                share = np.abs(np.diff(rates, order, axis=0)[-1] / 1e-3**order / limit).max()
                self.shares[order] = max(self.shares[order], share)


class FaultRobot:
    """A robot on the ideal arm, and what a test may ask of it."""

    def __init__(self, address: str, clock_file: str, version: int) -> None:
        self._arm = KinematicArm()
        hand = GripperServer(self._arm, address)
        self._server = RobotServer(
            self._arm, address, version=version, gripper=hand, real_time=False, patience_s=PATIENCE_S
        )
        self._clock = np.memmap(clock_file, dtype=np.int64, mode="r+", shape=(2,))
        self._witness = Witness(self._server, self._arm)
        self._calls = {"inject": self.inject, "end": self.end, "reset": self.reset, "told": self.told}

    def serve(self, stop: threading.Event) -> None:
        """Run until `stop` is set."""
        while not stop.is_set():
            until = time.perf_counter() + CREEP_S
            while self._clock[0] >= self._clock[1] and time.perf_counter() < until:
                time.sleep(3e-4)
            self._server.run_cycle()
            self._witness.look(None)
            self._clock[0] = self._arm.time_ns
        self._server.close()

    def answer(self, line: str) -> str:
        """One call, in the world's thread."""
        name, *arguments = json.loads(line)
        return json.dumps(self._server.call(lambda: self._calls[name](*arguments), timeout_s=10.0))

    def inject(self, fault: str, duration_s: float = 0.0, amount: float = 0.0) -> str:
        """Start a fault."""
        return self._server.faults.inject(fault, duration_s, amount)

    def end(self, fault: str) -> str:
        """End one fault, if it still runs."""
        running = self._server.faults._running.pop(fault, None)
        if running is not None:
            running.stop()
        return fault

    def reset(self, q_rad: list[float]) -> str:
        """No faults, no errors, the arm somewhere at rest."""
        self._server.faults.inject("clear")
        robot = self._server._robot
        robot.stop()
        robot._state.fields["errors"][:] = False
        robot._recovering, robot.mode = 0, RobotMode.IDLE
        self._server.place_arm(np.array(q_rad), 0.04)
        self._witness.forget()
        return "reset"

    def told(self) -> dict[str, Any]:
        """What happened since the last reset, and how the arm is now."""
        witness, arm = self._witness, self._arm
        return {
            "errors": witness.errors,
            "shares": witness.shares.tolist(),
            "q_rad": arm.q_rad.tolist(),
            "dq_rad_s": arm.dq_rad_s.tolist(),
            "width_m": arm.fingers.width_m,
        }


def main(address: str, clock_file: str, version: str) -> None:
    """Serve until the input ends."""
    stop, robot = threading.Event(), FaultRobot(address, clock_file, int(version))
    thread = threading.Thread(target=robot.serve, args=(stop,), daemon=True)
    thread.start()
    print("ready", flush=True)
    for line in sys.stdin:
        print(robot.answer(line), flush=True)
    stop.set()
    thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
