"""Runs a node as a process of its own: from its start to an end that leaves the robot safe and says why."""

import contextlib
import gc
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType

import rclpy
import rclpy.logging
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions

from d2ppo_core.stack.starter import StarterWatch
from d2ppo_nodes.guarded import describe
from d2ppo_nodes.lifecycle import StackNode

_SPIN_SLICE_S = 0.2
_FAREWELL_S = 0.5
_THREADS_S = 2.0
_RCLPY_FAILURES = 100
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(node_class: type[StackNode]) -> int:
    """Run a node until SIGINT, SIGTERM, SIGHUP, its shutdown or the end of who started it.

    Returns:
        0 when it was asked to end and did so cleanly, 1 when it could not start or broke down; one line says why.
    """
    try:
        rclpy.init(args=sys.argv, signal_handler_options=SignalHandlerOptions.NO)
        node = node_class()
        _hear_signals(node)
        watch = StarterWatch(lambda pid: _leave_orphaned(node, pid))
    except Exception as error:  # e.g. a parameter of a wrong type, an unknown ROS argument
        rclpy.logging.get_logger(node_class.called).fatal(describe(error))
        return 1
    try:
        code = _run(node)
    finally:
        watch.close()
        for number in _SIGNALS:  # a second Ctrl-C must not disturb the interpreter's own end
            signal.signal(number, signal.SIG_IGN)
    end_without_hanging_threads(code)
    return code


def _run(node: StackNode) -> int:
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    started = True
    try:
        _renice(node)
        started = not node.flag("autostart") or _start(node)
        if started:
            gc.collect()
            gc.freeze()
            _serve(executor, node)
    finally:
        if not node.finalized:
            node.trigger_shutdown()
        executor.shutdown(timeout_sec=1.0)
        node.destroy_node()
        rclpy.try_shutdown()
    return 1 if node.failure or not (started or node.stopping) else 0


def end_without_hanging_threads(code: int) -> None:
    """End the process at once when a thread is still inside a library.

    The interpreter would end such a thread when it comes back, in the middle of C++ code that may not be left that way;
    the process then aborts ("terminate called without an active exception").
    """
    deadline_s = time.monotonic() + _THREADS_S
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(max(0.0, deadline_s - time.monotonic()))
    if left := [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]:
        with contextlib.suppress(OSError):  # who reads may be gone
            print(f"ended while {', '.join(left)} did not answer", file=sys.stderr, flush=True)
            sys.stdout.flush()
        os._exit(code)


def _hear_signals(node: StackNode) -> None:
    def request_stop(number: int, _: FrameType | None) -> None:
        node.stopping.append(number)

    for number in _SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup asked to be left alone
            signal.signal(number, request_stop)


def _leave_orphaned(node: StackNode, pid: int) -> None:
    node.get_logger().error(f"who started this node (process {pid}) is gone: it stops")
    os.kill(os.getpid(), signal.SIGTERM)


def _serve(executor: SingleThreadedExecutor, node: StackNode) -> None:
    """Serve callbacks until the node has a reason to end."""
    failures, farewell_s = 0, 0.0
    while not node.stopping and not node.failure:
        try:
            executor.spin_once(timeout_sec=_SPIN_SLICE_S)
            failures = 0
        except Exception as error:  # of rclpy's own services, or a message that it can't read; ours are guarded
            failures += 1
            node.get_logger().error(f"a callback of rclpy failed: {describe(error)}", throttle_duration_sec=1.0)
            if failures >= _RCLPY_FAILURES:
                node.failure = f"rclpy failed {failures} times in a row: {describe(error)}"
                node.get_logger().fatal(node.failure)
        if node.finalized:
            farewell_s = farewell_s or time.monotonic() + _FAREWELL_S
            if time.monotonic() > farewell_s:  # by then, who asked has got its answer
                return


def _renice(node: StackNode) -> None:
    """Take the wanted niceness; threads that are made later inherit it. Without the right to, go on as before."""
    wanted = node.integer("nice")
    if wanted == 0:
        return
    try:
        os.setpriority(os.PRIO_PROCESS, 0, wanted)
        # Linux may share the processor among sessions first; this node is a session of its own.
        with contextlib.suppress(FileNotFoundError):
            Path("/proc/self/autogroup").write_text(str(wanted), encoding="utf-8")
    except PermissionError:
        node.get_logger().info(f"runs at normal priority: nice {wanted} needs root or CAP_SYS_NICE")


def _start(node: StackNode) -> bool:
    done = TransitionCallbackReturn.SUCCESS
    return bool(node.trigger_configure() == done and node.trigger_activate() == done)
