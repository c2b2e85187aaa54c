"""A lifecycle node that knows what it made, and whose callbacks can't end it: others depend on it."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from traceback import extract_tb
from typing import Any, TypeVar

from rcl_interfaces.msg import SetParametersResult
from rclpy.client import Client
from rclpy.lifecycle import LifecycleNode
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.service import Service
from rclpy.subscription import Subscription
from rclpy.time_source import TimeSource
from rclpy.timer import Timer

from d2ppo_core.errors import D2ppoError

_Entity = TypeVar("_Entity", Publisher, Client, Subscription, Service, Timer)

TIMER_FAILURES = 5
"""A timer that fails so many times in a row does not do the node's work: the node ends, safely."""


def describe(error: BaseException) -> str:
    """Return one line: the text of an error raised on purpose, else its type, text and where it came from."""
    text = " ".join(str(error).split())
    if isinstance(error, D2ppoError):
        return text
    frames = extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text}{where}"


class GuardedNode(LifecycleNode):
    """Publishers, subscriptions, services, clients and timers as rclpy's, but guarded and remembered.

    A message whose callback fails is dropped, a service whose callback fails answers that it failed, a timer is tried
    again and ends the node when it fails ``TIMER_FAILURES`` times in a row. Each failure is one line in the log.
    """

    failure = ""
    """Why the node broke down while it ran; ends its process. A refused transition does not."""
    _own: list[Any] | None = None
    """What the node made since ``remember_from_now``; None: nothing is remembered."""

    def create_publisher(self, *args: Any, **options: Any) -> Publisher:
        """Make and remember a publisher."""
        return self._remember(super().create_publisher(*args, **options))

    def create_client(self, *args: Any, **options: Any) -> Client:
        """Make and remember a client."""
        return self._remember(super().create_client(*args, **options))

    def create_subscription(
        self, msg_type: Any, topic: str, callback: Callable[..., Any], *args: Any, **options: Any
    ) -> Subscription:
        """Make and remember a subscription."""
        if isinstance(getattr(callback, "__self__", None), TimeSource):  # rclpy's own, which destroys it itself
            return super().create_subscription(msg_type, topic, callback, *args, **options)
        guarded = self._guarded(callback, f"a message of {topic} is dropped", lambda *_: None)
        return self._remember(super().create_subscription(msg_type, topic, guarded, *args, **options))

    def create_service(
        self, srv_type: Any, srv_name: str, callback: Callable[..., Any], *args: Any, **options: Any
    ) -> Service:
        """Make and remember a service."""

        def refuse(text: str, *_: Any) -> Any:
            response = srv_type.Response()
            for field, value in {"success": False, "message": text}.items():
                if hasattr(response, field):
                    setattr(response, field, value)
            return response

        guarded = self._guarded(callback, f"service {srv_name} failed", refuse)
        return self._remember(super().create_service(srv_type, srv_name, guarded, *args, **options))

    def create_timer(self, timer_period_sec: float, callback: Callable[[], Any], *args: Any, **options: Any) -> Timer:
        """Make and remember a timer."""
        failures = 0

        def tick() -> None:
            nonlocal failures
            try:
                callback()
                failures = 0
            except Exception as error:
                failures += 1
                text = f"the timer of {timer_period_sec:g} s failed: {describe(error)}"
                if failures < TIMER_FAILURES:
                    self.get_logger().error(text)
                elif not self.failure:
                    self.failure = f"{text}, {failures} times in a row"
                    self.get_logger().fatal(self.failure)

        return self._remember(super().create_timer(timer_period_sec, tick, *args, **options))

    def add_on_set_parameters_callback(self, callback: Callable[[list[Parameter]], SetParametersResult]) -> None:
        """Take a callback that judges parameters; one that fails refuses them."""

        def judge(parameters: list[Parameter]) -> SetParametersResult:
            try:
                return callback(parameters)
            except Exception as error:
                return SetParametersResult(successful=False, reason=describe(error))

        super().add_on_set_parameters_callback(judge)

    def destroy_own(self) -> None:
        """Destroy what this node made since it is there; what rclpy made for it, as its ``/clock``, stays."""
        own, self._own = self._own or [], None
        for entity in reversed(own):
            if isinstance(entity, Timer):
                self.destroy_timer(entity)
            elif isinstance(entity, Service):
                self.destroy_service(entity)
            elif isinstance(entity, Client):
                self.destroy_client(entity)
            elif isinstance(entity, Subscription):
                self.destroy_subscription(entity)
            else:
                self.destroy_publisher(entity)

    def remember_from_now(self) -> None:
        """Forget what was made so far: rclpy's constructor makes what the node must keep."""
        self._own = []

    @property
    def is_configured(self) -> bool:
        """Whether ``configure`` has begun, and nothing was cleaned up since."""
        return self._own is not None

    def _remember(self, entity: _Entity) -> _Entity:
        if self._own is not None:
            self._own.append(entity)
        return entity

    def _guarded(
        self, callback: Callable[..., Any], consequence: str, answer: Callable[..., Any]
    ) -> Callable[..., Any]:
        """Wrap a callback, asynchronous or not; ``answer`` gets the failure's text and is returned instead."""

        def failed(error: Exception) -> Any:
            text = f"{consequence}: {describe(error)}"
            self.get_logger().error(text, throttle_duration_sec=1.0)
            return answer(text)

        @functools.wraps(callback)
        def call(*args: Any) -> Any:
            try:
                return callback(*args)
            except Exception as error:
                return failed(error)

        @functools.wraps(callback)
        async def call_async(*args: Any) -> Any:
            try:
                return await callback(*args)
            except Exception as error:
                return failed(error)

        return call_async if inspect.iscoroutinefunction(callback) else call
