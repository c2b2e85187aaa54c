"""Reading demonstrations from a file, ours or robomimic's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.closing import Closing
from d2ppo_core.data import hdf5
from d2ppo_core.data.episode import Episode
from d2ppo_core.data.tasks import task_of_env
from d2ppo_core.errors import DataError
from d2ppo_core.task_folders import known_tasks

_LAYOUT = "; wanted robomimic's layout, a group 'data' of demonstrations demo_0, demo_1, …"
_RAW = (
    "is a raw recording of robosuite, without the attribute env_args; make a robomimic file of a copy by "
    "python -m robomimic.scripts.conversion.convert_robosuite --dataset COPY, then dataset_states_to_obs.py"
)
_NO_OBSERVATIONS = "; compute them with robomimic's dataset_states_to_obs.py"


class EpisodeReader(Closing):
    """Reads demonstrations; whatever is wrong with one is a DataError with file, demonstration and reason."""

    path: Path
    env_args: Mapping[str, Any]
    """robomimic's description of the environment."""
    names: tuple[str, ...]
    """Demonstrations in the order of their numbers."""
    filters: Mapping[str, tuple[str, ...]]
    """Named subsets of them, robomimic's `mask`."""

    def __init__(self, path: Path, *, env_name: str | None = None, filter_key: str | None = None) -> None:
        """Open the file.

        Args:
            path: the HDF5 file.
            env_name: robosuite's name of the task that the file must hold; None accepts any.
            filter_key: read only this subset, e.g. `train` or `20_percent`.

        Raises:
            DataError: missing, damaged or empty file, or one of another task, or without this subset.
        """
        self.path = path
        if not path.is_file():
            task = task_of_env(env_name) if env_name else path.stem if path.stem in known_tasks() else "lift"
            raise DataError(f"there is no dataset {path}; record one with: d2ppo demos {task} --out {path}")
        self._file = hdf5.open_file(path, "r")
        try:
            self._data = hdf5.subgroup(path, self._file, "data", _LAYOUT)
            self._is_ours = hdf5.is_ours(path, self._file)
            self.env_args = self._read_env_args(env_name)
            self.names = self._read_names()
            if not self.names:
                raise DataError(f"{path} holds no demonstrations")
            self.filters = self._read_filters()
            if filter_key is not None:
                self.names = self._subset(filter_key)
        except BaseException:
            self._file.close()
            raise

    def __len__(self) -> int:
        """Number of demonstrations."""
        return len(self.names)

    @property
    def env_name(self) -> str:
        """Name of the task in robosuite."""
        return str(self.env_args.get("env_name"))

    @property
    def env_kwargs(self) -> Mapping[str, Any]:
        """What the environment was made with; empty where the file does not say."""
        found = self.env_args.get("env_kwargs")
        return found if isinstance(found, dict) else {}

    @property
    def recording(self) -> Mapping[str, Any]:
        """How the demonstrations were made; empty in files that are not ours."""
        return hdf5.json_attribute(self.path, self._data, hdf5.RECORDING) if self._is_ours else {}

    def read(
        self, name: str, *, keys: Sequence[str] | None = None, next_observations: bool = False, finite: bool = True
    ) -> Episode:
        """One demonstration.

        Args:
            name: one of `names`.
            keys: observations to read, which must be numbers; None reads all.
            next_observations: also read the observations after each step.
            finite: whether to refuse numbers that are not finite.

        Raises:
            DataError: something is missing or damaged, or a number is not finite.
        """
        demo = hdf5.subgroup(self.path, self._data, name)
        attributes = hdf5.attributes(self.path, demo)
        model_xml = hdf5.as_text(attributes.pop("model_file", ""))
        steps = self._steps(demo, attributes.pop("num_samples", None))
        actions, expert_actions = self._both_actions(demo, steps)
        if not len(actions):
            raise DataError(f"{self.path}: {name} has no steps; delete it")
        episode = Episode(
            actions=actions,
            expert_actions=expert_actions,
            rewards=self._column(demo, "rewards", steps),
            dones=self._column(demo, "dones", steps),
            states=self._matrix(demo, "states", steps) if self._has(demo, "states") else np.zeros((steps, 0)),
            observations=self._observations(demo, "obs", keys, steps),
            next_observations=self._observations(demo, "next_obs", keys, steps) if next_observations else {},
            model_xml=model_xml,
            attributes=attributes,
        )
        if finite and (found := not_finite(episode)):
            raise DataError(
                f"{self.path}: {name}/{found}; mend it, delete {name}, or train on a subset without it "
                "(data.filter_key)"
            )
        return episode

    def position(self, name: str) -> int:
        """Index of a demonstration in `names`. Raises DataError where there is none of this name."""
        if name not in self.names:
            raise DataError(f"{self.path} has no {name!r}; it holds {self.names[0]} … {self.names[-1]}")
        return self.names.index(name)

    def has_observations(self, name: str) -> bool:
        """Whether a demonstration holds any; raw recordings of robomimic do not."""
        return self._has(hdf5.subgroup(self.path, self._data, name), "obs")

    def has_next_observations(self, name: str) -> bool:
        """Whether a demonstration holds the observations after each step too."""
        return self._has(hdf5.subgroup(self.path, self._data, name), "next_obs")

    def next_keys(self, name: str) -> tuple[str, ...]:
        """Names of the observations after each step."""
        demo = hdf5.subgroup(self.path, self._data, name)
        if not self._has(demo, "next_obs"):
            return ()
        return tuple(hdf5.names(self.path, hdf5.subgroup(self.path, demo, "next_obs")))

    def episodes(self, *, keys: Sequence[str] | None = None, finite: bool = True) -> Iterator[Episode]:
        """All demonstrations, one at a time. Raises as `read` does."""
        for name in self.names:
            yield self.read(name, keys=keys, finite=finite)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read_env_args(self, env_name: str | None) -> Mapping[str, Any]:
        held = hdf5.attributes(self.path, self._data)
        if "env_args" not in held:
            if "env" in held or "repository_version" in held:
                raise DataError(f"{self.path} {_RAW}")
            raise DataError(f"{self.path} does not say which environment it is from (attribute env_args of 'data')")
        env_args = hdf5.json_attribute(self.path, self._data, "env_args")
        if env_name is not None and env_args.get("env_name") != env_name:
            raise DataError(f"{self.path} must hold {env_name} demonstrations, got {env_args.get('env_name')}")
        return env_args

    def _read_names(self) -> tuple[str, ...]:
        """What is called `demo_<number>`, by number, after what else holds actions; the rest is somebody's."""
        found = []
        for name in hdf5.names(self.path, self._data):
            number = hdf5.demo_number(name)
            if number is not None or self._has(self._data, f"{name}/actions"):
                found.append((-1 if number is None else number, name))
        return tuple(name for _, name in sorted(found))

    def _read_filters(self) -> dict[str, tuple[str, ...]]:
        if not self._has(self._file, "mask"):
            return {}
        masks = hdf5.subgroup(self.path, self._file, "mask")
        return {
            key: tuple(hdf5.as_text(name) for name in hdf5.array(self.path, masks, key, text=True).reshape(-1))
            for key in hdf5.names(self.path, masks)
        }

    def _subset(self, filter_key: str) -> tuple[str, ...]:
        if filter_key not in self.filters:
            known = ", ".join(self.filters) or "none"
            raise DataError(f"{self.path} has no subset {filter_key!r}; its filter keys are {known}")
        wanted = set(self.filters[filter_key])
        if missing := sorted(wanted - set(self.names)):
            raise DataError(f"{self.path}: subset {filter_key!r} names {', '.join(missing)}, which the file lacks")
        if not wanted:
            raise DataError(f"{self.path}: subset {filter_key!r} is empty")
        return tuple(name for name in self.names if name in wanted)

    def _steps(self, demo: Any, num_samples: Any) -> int:
        """Number of control steps; a file of somebody else's that does not say has as many as actions."""
        if num_samples is None and self._is_ours:
            raise DataError(f"{self.path}: {demo.name[6:]} is unfinished; record again into the same file to repair it")
        with hdf5.reading(self.path, f"attribute num_samples of {demo.name}"):
            if num_samples is not None:
                return int(np.asarray(num_samples).item())
        return len(hdf5.array(self.path, demo, "actions"))

    def _both_actions(self, demo: Any, steps: int) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """What the controller got and what was meant; early files of ours kept the latter under `actions`."""
        actions = self._matrix(demo, "actions", steps)
        if self._has(demo, "executed_actions"):
            return self._matrix(demo, "executed_actions", steps), actions
        return actions, self._matrix(demo, "expert_actions", steps) if self._has(demo, "expert_actions") else None

    def _has(self, group: Any, key: str) -> bool:
        return hdf5.has(self.path, group, key)

    def _matrix(self, demo: Any, key: str, steps: int) -> NDArray[Any]:
        values = hdf5.array(self.path, demo, key, steps=steps)
        if values.ndim != 2:
            raise DataError(f"{self.path}: {demo.name}/{key} must be (T, D), got {values.shape}")
        return values

    def _column(self, demo: Any, key: str, steps: int) -> NDArray[Any]:
        """One number per step; raw robomimic files hold no rewards and no dones."""
        if not self._has(demo, key):
            return np.zeros(steps)
        values = hdf5.array(self.path, demo, key, steps=steps)
        if values.size != steps:
            raise DataError(f"{self.path}: {demo.name}/{key} must be (T,), got {values.shape}")
        return values.reshape(steps)

    def _observations(self, demo: Any, folder: str, keys: Sequence[str] | None, steps: int) -> dict[str, NDArray[Any]]:
        if not keys and keys is not None:
            return {}
        group = hdf5.subgroup(self.path, demo, folder, _NO_OBSERVATIONS if folder == "obs" else "")
        wanted = hdf5.names(self.path, group) if keys is None else keys
        return {key: hdf5.array(self.path, group, key, steps=steps, text=keys is None) for key in wanted}


def not_finite(episode: Episode) -> str:
    """Where an episode holds a number that is not finite, or too large for 32 bits; empty where it holds none."""
    arrays: dict[str, NDArray[Any] | None] = {
        "actions": episode.actions,
        "expert_actions": episode.expert_actions,
        "rewards": episode.rewards,
        "states": episode.states,
        **{f"obs/{key}": values for key, values in episode.observations.items()},
        **{f"next_obs/{key}": values for key, values in episode.next_observations.items()},
    }
    for name, values in arrays.items():
        if values is None or values.dtype.kind != "f":
            continue
        with np.errstate(over="ignore"):
            fine = np.isfinite(values.astype(np.float32, copy=False))
        if not fine.all():
            step, *rest = (int(index) for index in np.argwhere(~fine)[0])
            place = f" (component {', '.join(map(str, rest))})" if rest else ""
            return f"{name} is {values[(step, *rest)]} at step {step}{place}"
    return ""
