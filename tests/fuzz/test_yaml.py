"""Cells, stacks and configurations with something wrong in them: one error that says what, never another exception."""

import copy
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from d2ppo_core.config.load import load_config, load_finetune_config
from d2ppo_core.errors import D2ppoError
from d2ppo_core.runtime.safety.cell import load_cell
from d2ppo_core.stack.loader import load_stack

ROOT = Path(__file__).parents[2]
EXAMPLES = 1000 if "D2PPO_LONG" in os.environ else 100
KINDS = {
    "cell": (load_cell, sorted((ROOT / "launch" / "cells").glob("*.yaml"))),
    "stack": (load_stack, sorted((ROOT / "launch" / "stacks").glob("*.yaml"))),
    "config": (load_config, sorted((ROOT / "d2ppo_core" / "config").glob("*.yaml"))),
    "finetune": (load_finetune_config, sorted((ROOT / "d2ppo_core" / "config").glob("*.yaml"))),
}
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=12),
    st.dates(),
    st.sampled_from(["panda", "$(namespace)", "$(nobody)", "1e3", "lift", "", "~", "..", "/", "\x00", "é"]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(SCALARS, inner, max_size=3), max_leaves=6
)
BYTES = st.one_of(
    st.just(b""), st.just(b"\xff"), st.just(b"\x00"), st.just(b"&a [*a]"), st.just(b"? {"), st.binary(max_size=6)
)


def places(content: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the ways to everything inside nested lists and mappings."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [way, *(found for key, value in inner for found in places(value, (*way, key)))]


def changed(content: Any, way: tuple[Any, ...], value: Any, what: str) -> Any:
    """Return a copy with something else, nothing, or something more at one place."""
    if not way:
        return value
    content = copy.deepcopy(content)
    parent = content
    for key in way[:-1]:
        parent = parent[key]
    if what == "removed":
        del parent[way[-1]]
    elif what == "added" and isinstance(parent, dict):
        parent[value if isinstance(value, (str, int, float, bool, type(None))) else "odd"] = value
    else:
        parent[way[-1]] = value
    return content


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.timeout(600)
def test_what_a_file_holds_is_taken_or_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    load, paths = KINDS[kind]
    originals = [(path, yaml.safe_load(path.read_text())) for path in paths]
    refused = 0

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def mutate(data: st.DataObject) -> None:
        nonlocal refused
        path, original = data.draw(st.sampled_from(originals))
        content = original
        for _ in range(data.draw(st.integers(1, 2))):
            way = data.draw(st.sampled_from(places(content)))
            content = changed(content, way, data.draw(VALUES), data.draw(st.sampled_from(["set", "removed", "added"])))
        file = tmp_path / "odd.yaml"
        raw = yaml.safe_dump(content, allow_unicode=True).encode("utf-8", "surrogatepass")
        if data.draw(st.booleans()):
            at = data.draw(st.integers(0, len(raw)))
            raw = raw[:at] + data.draw(BYTES) + raw[at:]
        file.write_bytes(raw)
        try:
            load(str(file))
        except D2ppoError as error:
            refused += 1
            assert str(error).strip() and "\n" not in str(error)

    mutate()
    assert refused > EXAMPLES // 10, "most of what was tried must be wrong, or this tries nothing"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"[" * 500, b"a: &a [*a]", b"\x00", b"- 1", b"!!python/object:os.system {}"]
)
def test_a_file_that_is_no_mapping_is_refused_and_names_itself(kind: str, content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "odd.yaml"
    file.write_bytes(content)
    with pytest.raises(D2ppoError, match=r"odd\.yaml"):
        KINDS[kind][0](str(file))
