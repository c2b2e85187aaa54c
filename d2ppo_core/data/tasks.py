"""What datasets call our tasks."""

from collections.abc import Mapping

ENV_NAMES: Mapping[str, str] = {
    "lift": "Lift",
    "can": "PickPlaceCan",
    "square": "NutAssemblySquare",
    "transport": "TwoArmTransport",
}
"""Task -> robosuite's class name, which a dataset carries in `env_args`."""


def env_name_of(task: str) -> str | None:
    """The `env_name` that a dataset of this task must have; None for a task of the user's own, which is not checked."""
    return ENV_NAMES.get(task)


def task_of_env(env_name: str) -> str:
    """Our name of robosuite's `env_name`; foreign environments keep theirs."""
    return next((task for task, name in ENV_NAMES.items() if name == env_name), env_name)
