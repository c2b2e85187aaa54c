"""Writes docs/reference/parameters.md from the nodes' tables: ``python tools/parameters_page.py``."""

from pathlib import Path

from d2ppo_core.stack.parameters import COMMON, Parameter, read_table

ROOT = Path(__file__).parents[1]
TABLES = ROOT / "ros2_ws/src/d2ppo_nodes/d2ppo_nodes/parameters"
PAGE = ROOT / "docs/reference/parameters.md"
HEAD = """# Parameters of the nodes

Made from the nodes' own tables by `tools/parameters_page.py`; do not edit. Set them with
`--set node.parameter=value`, in a stack file, or with `ros2 param set` while they may change:
*configure* until the node is configured, *always* at any time, *start* when the process starts only.
"""
WHEN = {"never": "start", "unconfigured": "configure", "always": "always"}


def row(parameter: Parameter) -> str:
    """Return one line of a table."""
    default = f"`{parameter.default}`" if parameter.default not in ("", []) else ""
    allowed = parameter.wanted.replace(" (in quotes)", "")
    cells = (f"`{parameter.name}`", default, allowed, WHEN[parameter.changes], parameter.description)
    return f"| {' | '.join(cells)} |"


def page() -> str:
    """Return the whole page."""
    parts = [HEAD]
    for path in sorted(TABLES.glob("*.yaml"), key=lambda path: (path.stem != COMMON, path.stem)):
        parts.append(f"## {'Every node' if path.stem == COMMON else path.stem}\n")
        parts.append("| name | default | value | may change | what |\n|---|---|---|---|---|")
        parts.append("\n".join(row(parameter) for parameter in read_table(path).values()) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
