"""Definitions of messages are found by their files, with all that they are made of, however a field is written."""

from pathlib import Path

import pytest

from d2ppo_core.errors import RecordingError
from d2ppo_core.runtime.recording.definitions import definition, starts_with_header

RULE = "=" * 80


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prefix with packages of its own; no test sees definitions of another."""
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    definition.cache_clear()
    yield tmp_path
    definition.cache_clear()


def write(prefix: Path, datatype: str, *lines: str) -> None:
    package, _, name = datatype.split("/")
    path = prefix / "share" / package / "msg" / f"{name}.msg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def test_a_message_of_plain_fields_is_its_own_text(package: Path) -> None:
    write(package, "a_msgs/msg/Plain", "# what it is", "uint8 ON=1  # a constant", "float64[7] q_rad", "string<=5 name")
    assert definition("a_msgs/msg/Plain").splitlines()[1:] == [
        "uint8 ON=1  # a constant",
        "float64[7] q_rad",
        "string<=5 name",
    ]


@pytest.mark.parametrize(
    "field",
    ["Part part", "Part[] parts", "Part[3] parts", "Part[<=4] parts", "a_msgs/Part part", "  Part   part   # why"],
)
def test_a_part_is_found_however_it_is_written(package: Path, field: str) -> None:
    write(package, "a_msgs/msg/Whole", "bool yes", field)
    write(package, "a_msgs/msg/Part", "int32 number")
    assert definition("a_msgs/msg/Whole").endswith(f"{RULE}\nMSG: a_msgs/Part\nint32 number\n")


def test_parts_of_parts_and_of_other_packages_stand_there_once(package: Path) -> None:
    write(package, "a_msgs/msg/Whole", "b_msgs/Outer one", "b_msgs/Outer[] more", "Inner own")
    write(package, "b_msgs/msg/Outer", "Deep deep")
    write(package, "b_msgs/msg/Deep", "float32 x 1.5")
    write(package, "a_msgs/msg/Inner", "b_msgs/Deep deep")
    text = definition("a_msgs/msg/Whole")
    heads = [line for line in text.splitlines() if line.startswith("MSG: ")]
    assert heads == ["MSG: b_msgs/Outer", "MSG: b_msgs/Deep", "MSG: a_msgs/Inner"]


def test_what_only_a_comment_names_is_no_part(package: Path) -> None:
    write(package, "a_msgs/msg/Plain", "# Nothing here", "int32 x  # as Other other says", "", "#Other other")
    assert RULE not in definition("a_msgs/msg/Plain")


def test_a_header_counts_only_as_the_first_field(package: Path) -> None:
    write(package, "std_msgs/msg/Header", "builtin_interfaces/Time stamp", "string frame_id")
    write(package, "builtin_interfaces/msg/Time", "int32 sec", "uint32 nanosec")
    write(package, "a_msgs/msg/First", "", "# stamped", "std_msgs/Header header", "int32 x")
    write(package, "a_msgs/msg/None", "int32 x")
    assert starts_with_header("a_msgs/msg/First")
    assert not starts_with_header("a_msgs/msg/None")


def test_a_package_that_is_missing_is_named_with_where_it_was_sought(package: Path) -> None:
    write(package, "a_msgs/msg/Whole", "gone_msgs/Part part")
    with pytest.raises(RecordingError, match=f"gone_msgs/msg/Part is not in {package}.*is package gone_msgs installed"):
        definition("a_msgs/msg/Whole")
