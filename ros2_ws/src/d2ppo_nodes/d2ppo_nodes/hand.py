"""The hand's actions under the names of franka_ros2: homing, move and grasp, and the service that stops it."""

from collections.abc import Callable
from typing import Any

from rclpy.action import ActionServer, CancelResponse
from rclpy.node import Node
from rclpy.task import Future
from std_srvs.srv import Trigger

from d2ppo_core.errors import D2ppoError
from d2ppo_core.runtime.control.protocols import GripperAct, GripperDriver, GripperOrder, GripperOutcome
from d2ppo_interfaces.action import Grasp, Homing, Move

_DONE = {GripperAct.MOVE: GripperOutcome.REACHED, GripperAct.GRASP: GripperOutcome.GRASPED}
_FAILURES = {
    GripperOutcome.MISSED: "nothing was grasped",
    GripperOutcome.FAILED: "the hand did not do it",
    GripperOutcome.NONE: "the hand was told something else",
}


class HandActions:
    """One order at a time; the newest replaces one that still runs."""

    def __init__(self, node: Node, hand: GripperDriver, order: Callable[[GripperOrder], int]) -> None:
        """Create the actions.

        Args:
            node: the arm node.
            hand: tells how orders come out.
            order: gives one to the hand, or raises D2ppoError with the reason why not.
        """
        self._hand, self._order = hand, order
        self._number, self._wanted = 0, GripperOutcome.REACHED
        self._end: Future | None = None
        self._goal: Any = None
        self._kind: Any = None
        orders: dict[str, tuple[Any, Callable[[Any], GripperOrder]]] = {
            "homing": (Homing, lambda _: GripperOrder(act=GripperAct.CALIBRATE)),
            "move": (Move, lambda goal: GripperOrder(act=GripperAct.MOVE, width_m=goal.width, speed_m_s=goal.speed)),
            "grasp": (Grasp, _grasp),
        }
        self._servers = [
            ActionServer(
                node,
                kind,
                f"franka_gripper/{name}",
                self._execute(kind, make),
                cancel_callback=lambda _: CancelResponse.ACCEPT,
            )
            for name, (kind, make) in orders.items()
        ]
        node.create_service(Trigger, "franka_gripper/stop", self._stop)

    def look(self) -> None:
        """Tell how far the present order is, and end it when the hand has done it, or something else."""
        if self._end is None:
            return
        reading = self._hand.reading
        if self._goal.is_cancel_requested:
            self._hand.hold()
            self._finish("cancelled")
        elif reading.order > self._number:
            self._finish(_FAILURES[GripperOutcome.NONE])
        elif reading.order == self._number and reading.outcome == self._wanted:
            self._finish("")
        elif reading.order == self._number and reading.outcome in _FAILURES:
            if reading.outcome == GripperOutcome.FAILED:
                self._hand.hold()  # or it would be tried again, when nobody expects it any more
            self._finish(reading.fault or _FAILURES[reading.outcome])
        else:
            self._tell(reading.width_m)

    def close(self) -> None:
        """End the present order and the actions."""
        self._finish("the arm node let the hand go")
        for server in self._servers:
            server.destroy()

    def _finish(self, error: str) -> None:
        end, self._end = self._end, None
        if end is not None:
            end.set_result(error)

    def _tell(self, width_m: float) -> None:
        feedback = self._kind.Feedback()
        feedback.current_width = width_m
        self._goal.publish_feedback(feedback)

    def _execute(self, kind: Any, make: Callable[[Any], GripperOrder]) -> Callable[[Any], Any]:
        async def execute(goal: Any) -> Any:
            try:
                order = make(goal.request)
                number = self._order(order)
            except D2ppoError as error:
                goal.abort()
                return kind.Result(success=False, error=str(error))
            self._finish(_FAILURES[GripperOutcome.NONE])
            self._number, self._wanted = number, _DONE.get(order.act, GripperOutcome.REACHED)
            self._kind, self._goal, self._end = kind, goal, Future()
            failure = await self._end
            if goal.is_cancel_requested:
                goal.canceled()
            elif failure:
                goal.abort()
            else:
                goal.succeed()
            return kind.Result(success=not failure, error=failure)

        return execute

    def _stop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._hand.hold()
        response.success, response.message = True, "fingers on the way to an opening stop; a grasp keeps its force"
        return response


def _grasp(goal: Any) -> GripperOrder:
    return GripperOrder(
        act=GripperAct.GRASP,
        width_m=goal.width,
        speed_m_s=goal.speed,
        force_n=goal.force,
        narrower_m=goal.epsilon.inner,
        wider_m=goal.epsilon.outer,
    )
