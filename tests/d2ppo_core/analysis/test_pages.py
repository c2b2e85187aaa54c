import base64
from pathlib import Path

import jinja2
import pytest
from matplotlib.figure import Figure

from d2ppo_core.analysis.pages import data_uri, png_uri, svg_uri, write_page


def figure() -> Figure:
    made = Figure(figsize=(2, 1))
    made.subplots().plot([0, 1], [1, 0])
    return made


def content(uri: str) -> bytes:
    return base64.b64decode(uri.partition("base64,")[2])


def test_a_figure_is_inside_its_address() -> None:
    assert b"<svg" in content(svg_uri(figure())) and svg_uri(figure()).startswith("data:image/svg+xml;")
    assert content(png_uri(figure())).startswith(b"\x89PNG")
    assert content(data_uri("video/mp4", b"\x00\x01")) == b"\x00\x01"


def test_a_value_that_the_template_lacks_is_an_error_and_leaves_no_page(tmp_path: Path) -> None:
    with pytest.raises(jinja2.UndefinedError):
        write_page(tmp_path / "page.html", "evaluation.html.j2")
    assert not (tmp_path / "page.html").exists()
