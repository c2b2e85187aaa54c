"""What the launch files share: a stack file as launch arguments and Node actions."""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, OpaqueFunction, SetEnvironmentVariable
from launch.events import Shutdown
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from d2ppo_core.errors import StackError
from d2ppo_core.stack.description import NAMESPACE, StackDescription
from d2ppo_core.stack.environment import stack_environment
from d2ppo_core.stack.loader import load_stack

NAMESPACE_TEXT = "Namespace of the nodes; two stacks in one ROS domain take two."


def yaml_text(value: object) -> str:
    """Return a default value as the text that ``name:=value`` would carry."""
    return str(value).lower() if isinstance(value, bool) else str(value)


class TakesTheLaunchDown:
    """What follows the end of a required node: all others end too, and its failure is the launch's.

    An error raised while launch runs is the only thing that reaches the exit code of ``ros2 launch``.
    """

    def __init__(self, label: str) -> None:
        """Take the name of the node that is required."""
        self._label = label

    def __call__(self, event: ProcessExited, context: LaunchContext) -> list[EmitEvent]:
        """End the launch, unless it ends already."""
        if context.is_shutdown:
            return []
        if event.returncode != 0:
            raise StackError(f"{self._label} ended with exit code {event.returncode}")
        return [EmitEvent(event=Shutdown(reason=f"{self._label} ended"))]


def node_actions(stack: StackDescription) -> list[Node]:
    """Return one Node action per node of a resolved stack; a required node takes the launch down with it."""
    return [
        Node(
            package=node.package,
            executable=node.executable,
            name=node.name,
            namespace=node.namespace or stack.namespace,
            parameters=[dict(node.parameters)],
            remappings=list(node.remappings.items()),
            output="screen",
            on_exit=TakesTheLaunchDown(node.label) if node.required else None,
        )
        for node in stack.nodes
    ]


def describe(name: str, documentation: dict[str, str]) -> LaunchDescription:
    """Return the launch description of stack ``name``; ``documentation`` says what each of its arguments is."""
    stack = load_stack(name)
    defaults = {**stack.arguments, NAMESPACE: stack.namespace}
    texts = {**documentation, NAMESPACE: NAMESPACE_TEXT}

    def set_environment(context: LaunchContext) -> list[SetEnvironmentVariable]:
        chosen = stack_environment(stack, base=context.environment)
        return [SetEnvironmentVariable(k, v) for k, v in chosen.items() if context.environment.get(k) != v]

    def start(context: LaunchContext) -> list[Node]:
        return node_actions(load_stack(name, {key: LaunchConfiguration(key).perform(context) for key in defaults}))

    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(key, default_value=yaml_text(value), description=texts[key])
                for key, value in defaults.items()
            ),
            OpaqueFunction(function=set_environment),
            OpaqueFunction(function=start),
        ]
    )
