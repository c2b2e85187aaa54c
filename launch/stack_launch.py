"""What the launch files share: a stack file as launch arguments and Node actions."""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from d2ppo_core.stack.description import StackDescription
from d2ppo_core.stack.environment import stack_environment
from d2ppo_core.stack.loader import load_stack


def yaml_text(value: object) -> str:
    """Return a default value as the text that ``name:=value`` would carry."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def typed(text: str, default: object) -> object:
    """Return an argument's text as the type of its default."""
    if isinstance(default, bool):
        return text.lower() in ("true", "1", "yes", "on")
    return type(default)(text)


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
            on_exit=Shutdown(reason=f"{node.label} ended") if node.required else None,
        )
        for node in stack.nodes
    ]


def describe(name: str, documentation: dict[str, str]) -> LaunchDescription:
    """Return the launch description of stack ``name``; ``documentation`` says what each of its arguments is."""
    arguments = load_stack(name).arguments

    def start(context: LaunchContext) -> list[Node]:
        chosen = {key: LaunchConfiguration(key).perform(context) for key in arguments}
        return node_actions(load_stack(name, {key: typed(chosen[key], arguments[key]) for key in arguments}))

    environment = stack_environment(load_stack(name), base={})
    return LaunchDescription(
        [
            *(SetEnvironmentVariable(key, value) for key, value in environment.items()),
            *(
                DeclareLaunchArgument(key, default_value=yaml_text(value), description=documentation[key])
                for key, value in arguments.items()
            ),
            OpaqueFunction(function=start),
        ]
    )
