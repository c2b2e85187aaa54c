"""How `d2ppo evaluate` was spelled before task and policy came first in all places."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from d2ppo_core.bundle import load_bundle
from d2ppo_core.errors import D2ppoError

_TASK, _STACK = "lift", "sim"


def new_spelling(args: Sequence[str]) -> str:
    """The present spelling of an old command line (the words after `d2ppo evaluate`); empty where it is not old."""
    old = {"--stack": "", "--bundle": "", "--task": ""}
    rest: list[str] = []
    words = iter(args)
    for word in words:
        name, equals, value = word.partition("=")
        if name in old:
            old[name] = value if equals else next(words, "")
        else:
            rest.append(word)
    in_a_place = any(word.partition("=")[0] == "--in" for word in rest)
    if not (old["--bundle"] or old["--task"] or (old["--stack"] and not in_a_place)):
        return ""
    stack = [] if old["--stack"] in ("", _STACK) else ["--stack", old["--stack"]]
    place = [] if in_a_place else ["--in", "stack"]
    task = old["--task"] or _task_of(old["--bundle"])
    policy = [old["--bundle"]] if old["--bundle"] else []
    return shlex.join(["d2ppo", "evaluate", task, *policy, *place, *stack, *rest])


def _task_of(bundle: str) -> str:
    try:
        return load_bundle(bundle).manifest.task if bundle else _TASK
    except D2ppoError:
        return _TASK
