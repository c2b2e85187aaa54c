"""How long files and functions may be: long enough for one concept, short enough to be read in one go."""

import ast
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("d2ppo_core", "sim", "calibration", "ros2_ws/src", "launch", "examples", "tools", "tests")
FILE_LINES, MEDIAN_LINES, FUNCTION_LINES = 350, 110, 60
TESTS_PER_SOURCE = 0.85
"""Lines of tests for each line of source, at least."""
Sources = dict[str, list[str]]


@pytest.fixture(scope="module")
def sources() -> Sources:
    """Lines of every Python file."""
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8").splitlines() for path in paths}


def test_no_file_is_too_long(sources: Sources) -> None:
    assert [f"{name}: {len(lines)}" for name, lines in sources.items() if len(lines) > FILE_LINES] == []
    assert median(len(lines) for lines in sources.values()) <= MEDIAN_LINES


def test_no_function_is_too_long(sources: Sources) -> None:
    long = []
    for name, lines in sources.items():
        for node in ast.walk(ast.parse("\n".join(lines), name)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES:
                    long.append(f"{name}: {node.name} {length}")
    assert long == []


def test_tests_keep_up_with_what_they_test(sources: Sources) -> None:
    tests = sum(len(lines) for name, lines in sources.items() if name.startswith("tests/"))
    source = sum(len(lines) for name, lines in sources.items() if not name.startswith("tests/"))
    files = f"{len(sources)} files, median {median(map(len, sources.values())):g} lines"
    print(f"\n  {files}; {tests} lines of tests for {source} of source: {tests / source:.3f}")
    assert tests >= TESTS_PER_SOURCE * source
