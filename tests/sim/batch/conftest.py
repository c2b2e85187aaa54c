"""Tests that take minutes are run when asked for: `pytest -m long tests/sim/batch`."""

import pytest


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes minutes; runs with -m long only")


def pytest_collection_modifyitems(config, items):
    if "long" in config.getoption("-m"):
        return
    for item in items:
        if item.get_closest_marker("long") is not None:
            item.add_marker(pytest.mark.skip(reason="takes minutes; run it with: pytest -m long"))
