"""Stacks and cells by name, from a checkout as from an installed wheel."""

from pathlib import Path

import pytest

from d2ppo_core import shipped
from d2ppo_core.errors import ConfigError
from d2ppo_core.shipped import is_checkout, named_file, shipped_names

ROOT = Path(__file__).parents[2]


def test_a_checkout_has_everything_at_its_top() -> None:
    assert is_checkout() and shipped.shipped() == ROOT
    assert shipped.shipped("tools/build-ros.sh").is_file()


def test_a_wheel_has_everything_inside_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "launch/cells").mkdir(parents=True)
    (tmp_path / "launch/cells/ours.yaml").write_text("{}")
    monkeypatch.setattr(shipped, "_IN_A_WHEEL", tmp_path)
    assert not is_checkout()
    assert shipped_names("cell") == {"ours": tmp_path / "launch/cells/ours.yaml"}
    assert shipped_names("stack") == {}
    with pytest.raises(ConfigError, match="there is no stack 'sim'; known: none"):
        named_file("stack", "sim")


@pytest.mark.parametrize("kind", ["cell", "stack"])
def test_an_unknown_name_lists_the_known_ones_and_a_path_that_is_none_is_named(kind: str, tmp_path: Path) -> None:
    known = ", ".join(sorted(shipped_names(kind)))
    with pytest.raises(ConfigError, match=f"there is no {kind} 'simm'; known: {known}$"):
        named_file(kind, "simm")
    with pytest.raises(ConfigError, match=f"there is no {kind} file {tmp_path}/none.yaml"):
        named_file(kind, str(tmp_path / "none.yaml"))


def test_a_path_is_taken_before_a_name(tmp_path: Path) -> None:
    own = tmp_path / "sim.yaml"
    own.write_text("{}")
    assert named_file("stack", str(own)) == own
