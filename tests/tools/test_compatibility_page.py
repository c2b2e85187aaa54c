import runpy
from pathlib import Path


def test_the_page_of_what_fits_what_is_what_the_data_say() -> None:
    tool = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "compatibility_page.py"))
    assert tool["PAGE"].read_text(encoding="utf-8") == tool["page"](), "run python tools/compatibility_page.py"
