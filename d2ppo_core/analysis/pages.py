"""HTML pages of one file: plots, pictures and films are inside them, nothing is fetched."""

import base64
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from d2ppo_core.output import writing_file
from d2ppo_core.recognise import PAGE_MARK, is_page

WHAT = "page of ours"
_HERE = "d2ppo_core.analysis"


def data_uri(kind: str, content: bytes) -> str:
    """Content of a media type (e.g. `image/png`) as an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def svg_uri(figure: Figure) -> str:
    """A figure as vector graphics: for lines and bars."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    return data_uri("image/svg+xml", buffer.getvalue().encode())


def png_uri(figure: Figure, dpi: int = 110) -> str:
    """A figure as pixels: for pictures and for clouds of points, which would be large as vectors."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return data_uri("image/png", buffer.getvalue())


def write_page(path: Path, template: str, *, package: str = _HERE, **values: Any) -> Path:
    """Render a template of a package, or of this one, to `path`, whose folder is created; `made` is the time now (UTC).

    Raises OutputError where something else than a page of ours is there, or nothing can be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(name) for name in dict.fromkeys((package, _HERE))]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    html = environment.get_template(template).render(made=made, mark=PAGE_MARK, **values)
    with writing_file(path, WHAT, is_page) as unfinished:
        unfinished.write_text(html, encoding="utf-8")
    return path
