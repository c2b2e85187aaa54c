"""How much of what is public says what it is: ruff asks for each one, this counts those that it is told to skip too."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("d2ppo_core", "sim", "calibration", "ros2_ws/src/d2ppo_nodes/d2ppo_nodes")
LEAST = 0.98
Definition = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def public(node: Definition, name: str) -> Iterator[tuple[str, Definition]]:
    """Yield a definition and what can be named from outside in it; ``__init__`` and its like are public."""
    yield name, node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return
    for inner in node.body:
        if isinstance(inner, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if not inner.name.startswith("_") or inner.name.endswith("__"):
                yield from public(inner, f"{name}.{inner.name}")


def test_nearly_all_that_is_public_has_a_docstring() -> None:
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    found = [
        pair
        for path in paths
        for pair in public(ast.parse(path.read_text(encoding="utf-8")), str(path.relative_to(ROOT)))
    ]
    assert len(paths) > 300 and len(found) > 2000
    missing = [name for name, node in found if not ast.get_docstring(node)]
    share = 1 - len(missing) / len(found)
    print(f"docstrings: {len(found) - len(missing)} of {len(found)} ({100 * share:.1f} %)", *missing, sep="\n  ")
    assert share >= LEAST, "without a docstring: " + ", ".join(missing)
