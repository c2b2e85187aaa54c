"""Sim node: one simulated world behind its robots' own wire protocol; it publishes `/clock` and the ground truth."""

import sys
import threading
import time
from collections.abc import Callable

from rosgraph_msgs.msg import Clock
from std_srvs.srv import SetBool

from d2ppo_core.errors import WorldError
from d2ppo_core.stack.stepping import DETERMINISTIC
from d2ppo_interfaces.msg import WorldState
from d2ppo_interfaces.srv import InjectFault, ResetWorld, StepWorld
from d2ppo_nodes.convert import time_msg
from d2ppo_nodes.lifecycle import StackNode
from d2ppo_nodes.object_truth import ObjectTruth
from d2ppo_nodes.qos import NEWEST
from d2ppo_nodes.running import run
from d2ppo_nodes.stepper import Stepper
from sim.fci.cell import RobotCell
from sim.fci.limits import SPOKEN
from sim.tasks import task_named
from sim.world.snapshots import SnapshotPublisher
from sim.world.world import World

_CLOCK_PERIOD_NS = 4_000_000
_SETTLE_S = 60.0
_SWITCH_INTERVAL_S = 1e-4
"""Python threads hand over this often: the 1 kHz loop must not wait for the services' thread."""


class SimNode(StackNode):
    """The world runs in a thread of its own; services reach it between two milliseconds."""

    called = "sim"
    claims = ("/clock",)
    _cell: RobotCell
    """From ``configure`` to ``cleanup``."""

    def __init__(self) -> None:
        """Create the node unconfigured."""
        super().__init__()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def configure(self) -> None:
        """Load the world, open the robots' ports and create the interfaces."""
        task = task_named(self.text("task"))
        addresses = self._addresses(len(task.arms))
        seed = self.integer("seed")
        rate_hz = self.number("frame_rate_hz")
        robot, protocol = self.text("robot"), self.text("protocol")
        version = SPOKEN[robot] if protocol == "auto" else int(protocol)
        world = World(task, seed, robot)
        deterministic = self.text("stepping") == DETERMINISTIC
        self._frame_period_ns = round(1e3 / rate_hz) * 1_000_000
        objects = (ObjectTruth(self, world, self._frame_period_ns).on_step,) if self.flag("objects") else ()
        on_step = (self._publish_clock, *objects, self._publish_frame)
        self._cell = RobotCell(
            world,
            addresses,
            version=version,
            on_step=on_step[::-1] if deterministic else on_step,  # a tick that is waited for comes last
            lockstep=self.flag("lockstep") or deterministic,
            real_time=self.flag("real_time") and not deterministic,
            patience_s=self.number("patience_s") if deterministic else None,
            exposed=self.flag("expose"),
        )
        self._clock_period_ns = _CLOCK_PERIOD_NS
        self._stepper = self._make_stepper(addresses[0]) if deterministic else None
        self._snapshots = SnapshotPublisher(addresses[0])
        self._clock_pub = self.create_publisher(Clock, "/clock", NEWEST)
        self._state_pub = self.create_publisher(WorldState, "sim/state", NEWEST)
        self.create_service(ResetWorld, "sim/reset_world", self._on_reset)
        self.create_service(SetBool, "sim/set_pause", self._on_pause)
        self.create_service(StepWorld, "sim/step", self._on_step)
        for index, arm in enumerate(task.arms):
            name = f"sim/{arm}/inject_fault" if len(task.arms) > 1 else "sim/inject_fault"
            self.create_service(InjectFault, name, self._injecting(index))
        self.get_logger().info(f"world {task.name!r} serves a {robot}, version {version}, on {' and '.join(addresses)}")

    def _make_stepper(self, address: str) -> Stepper:
        step_ms = self.integer("step_ms")
        self._clock_period_ns = step_ms * 1_000_000
        return Stepper(
            self._cell,
            address,
            step_ms=step_ms,
            frame_ms=self._frame_period_ns // 1_000_000,
            patience_s=self.number("patience_s"),
            stopped=self._stop.is_set,
            warn=self.get_logger().warning,
        )

    def _addresses(self, num_arms: int) -> tuple[str, ...]:
        first = self.text("robot_address")
        second = self.text("second_robot_address")
        return (first, second)[:num_arms]

    def activate(self) -> None:
        """Let simulated time run."""
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="world", daemon=True)
        self._thread.start()

    def deactivate(self) -> None:
        """Stop simulated time."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def cleanup(self) -> None:
        """Close the ports and the channel to the renderers."""
        self._cell.close()
        if self._stepper is not None:
            self._stepper.close()
        del self._cell
        self._snapshots.close()

    def _run(self) -> None:
        try:
            self._cell.serve(self._stop)
        except Exception as error:  # a world that stands still is worse than a node that ends
            self.failure = f"the world stopped: {type(error).__name__}: {error}"
            self.get_logger().fatal(self.failure)

    # --- every millisecond, in the world's thread ------------------------------------------------------------------

    def _publish_clock(self, world: World) -> None:
        if world.time_ns % self._clock_period_ns == 0:
            self._clock_pub.publish(Clock(clock=time_msg(world.time_ns)))
            if self._stepper is not None:
                self._stepper.tick(world.time_ns)

    def _publish_frame(self, world: World) -> None:
        if world.time_ns % self._frame_period_ns != 0:
            return
        if self._stepper is not None:
            self._stepper.frame(world.time_ns)
        snapshot = world.snapshot()
        self._snapshots.publish(snapshot)
        state = WorldState(
            task=world.task.name,
            episode=world.episode,
            seed=world.seed,
            success=world.is_success(),
            real_time_factor=self._cell.real_time_factor,
            commands_late=self._cell.commands_late,
            waits_given_up=self._stepper.given_up if self._stepper is not None else 0,
            qpos=snapshot.qpos,
        )
        state.header.stamp = time_msg(snapshot.stamp_ns)
        state.header.frame_id = "world"
        self._state_pub.publish(state)

    # --- services, in the executor's thread ------------------------------------------------------------------------

    def _on_reset(self, request: ResetWorld.Request, response: ResetWorld.Response) -> ResetWorld.Response:
        world = self._cell.world
        try:
            start = world.reset_objects if self._stepper is None else world.hold_start
            self._cell.call(lambda: start(request.seed))
            response.success, response.message = True, f"seed {request.seed}"
        except (TimeoutError, WorldError) as error:
            response.success, response.message = False, f"cannot reset the world: {error or 'it does not answer'}"
        response.episode = world.episode
        return response

    def _on_pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        cell, stepper = self._cell, self._stepper
        try:
            if stepper is None:
                cell.call(lambda: cell.pause(request.data))
            else:
                if request.data:
                    self._refuse_if_somebody_lacks(stepper)
                cell.call(lambda: stepper.pause(request.data))
                give_up = time.monotonic() + _SETTLE_S
                while request.data and not cell.is_paused and time.monotonic() < give_up:
                    time.sleep(1e-3)
            response.success = not request.data or cell.is_paused
            response.message = "paused" if request.data else "running"
            if not response.success and stepper is not None:
                response.message = f"cannot pause within {_SETTLE_S:g} s: {stepper.unsettled or 'time stands still'}"
        except (TimeoutError, WorldError) as error:
            response.success, response.message = False, str(error) or "the world does not answer"
        return response

    def _refuse_if_somebody_lacks(self, stepper: Stepper) -> None:
        lacking = sorted(set(self.text("waits_for").split()) - stepper.joined)
        if lacking:
            raise WorldError(f"nobody answers as {', '.join(lacking)} yet (parameter waits_for)")

    def _on_step(self, request: StepWorld.Request, response: StepWorld.Response) -> StepWorld.Response:
        cell, world = self._cell, self._cell.world
        try:
            until_ns = world.time_ns + request.milliseconds * 1_000_000
            cell.call(lambda: cell.allow_steps(request.milliseconds))
            give_up = time.monotonic() + 2.0 + request.milliseconds * 1e-2
            while world.time_ns < until_ns and time.monotonic() < give_up:
                time.sleep(1e-3)
            response.success = world.time_ns >= until_ns
            response.message = f"at {world.time_ns * 1e-9:.3f} s"
        except (TimeoutError, WorldError) as error:
            response.success, response.message = False, str(error) or "the world does not answer"
        return response

    def _injecting(self, arm: int) -> Callable[[InjectFault.Request, InjectFault.Response], InjectFault.Response]:
        def inject(request: InjectFault.Request, response: InjectFault.Response) -> InjectFault.Response:
            try:
                response.message = self._cell.inject_fault(arm, request.fault, request.duration_s, request.amount)
                response.success = True
                self.get_logger().warning(f"fault {request.fault!r}: {response.message}")
            except (TimeoutError, WorldError) as error:
                response.success, response.message = False, str(error) or "the world does not answer"
            return response

        return inject


def main() -> None:
    """Run the node."""
    sys.exit(run(SimNode))


if __name__ == "__main__":
    main()
