"""A ROS 2 node of your own beside the stack: hears the arm's state, presses its buttons.

d2ppo up sim                           # in another terminal
python examples/ros_client.py          # the first argument is the stack's namespace, default /panda
"""

import sys
import time
from collections.abc import Callable

import rclpy
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from std_srvs.srv import Trigger

from d2ppo_interfaces.msg import ActionChunk, ArmState

PATIENCE_S = 60.0


class Operator(Node):
    """Sends the arm home, lets the policy drive for three seconds, and stops it."""

    def __init__(self, namespace: str) -> None:
        """Join the graph inside the stack's namespace."""
        super().__init__("operator", namespace=namespace)
        self.arm: ArmState | None = None
        self.chunks = 0
        self.create_subscription(ArmState, "arm/state", self._on_state, qos_profile_sensor_data)
        self.create_subscription(ActionChunk, "policy/chunk", self._on_chunk, 1)

    def _on_state(self, message: ArmState) -> None:
        self.arm = message

    def _on_chunk(self, _: ActionChunk) -> None:
        self.chunks += 1

    def wait(self, done: Callable[[], bool], what: str, timeout_s: float = PATIENCE_S) -> None:
        """Serve callbacks until `done`."""
        deadline = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {timeout_s:.0f} s for {what}")
            rclpy.spin_once(self, timeout_sec=0.1)

    def press(self, service: str) -> str:
        """Call one of the arm's buttons; a refusal is an answer, not an error."""
        client = self.create_client(Trigger, service)
        self.wait(client.service_is_ready, service)
        answer = client.call_async(Trigger.Request())
        self.wait(answer.done, f"an answer of {service}")
        result = answer.result()
        return f"{service}: {'done' if result.success else 'refused'}, {result.message}"


def main() -> None:
    """Drive for three seconds."""
    rclpy.init()
    operator = Operator(sys.argv[1] if len(sys.argv) > 1 else "/panda")
    operator.wait(lambda: operator.arm is not None, "the arm's state")
    print(operator.press("arm/home"))
    operator.wait(lambda: operator.arm.reason == "at home", "the arm at home")
    print(operator.press("arm/start"))
    end = time.monotonic() + 3.0
    operator.wait(lambda: time.monotonic() > end, "three seconds")
    print(operator.press("arm/stop"))
    print(f"{operator.chunks} chunks heard, {operator.arm.chunks_accepted} followed; the arm: {operator.arm.reason}")
    operator.destroy_node()
    rclpy.shutdown()


if __name__ == "__main__":
    main()
