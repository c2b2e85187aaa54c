"""What a marker promises in its reason is what happens: the skip is gone when its variable is set."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONG_TESTS = ["tests/sim/batch/test_parity.py", "tests/d2ppo_core/drivers/test_fault_matrix.py"]
PRINT_SKIPPED = """
import sys, pytest
class Skipped:
    def pytest_collection_finish(self, session):
        items = [i for i in session.items if i.get_closest_marker("long")]
        skipped = {m.kwargs["reason"] for i in items for m in i.iter_markers("skip")}
        print("LONG", len(items), sorted(skipped))
sys.exit(pytest.main(["--collect-only", "-q", *sys.argv[1:]], plugins=[Skipped()]))
"""


@pytest.mark.parametrize("asked", [False, True])
def test_long_tests_of_every_folder_run_when_asked_for_as_their_reason_says(asked):
    environment = {name: value for name, value in os.environ.items() if name != "D2PPO_LONG"}
    if asked:
        environment["D2PPO_LONG"] = "1"
    command = [sys.executable, "-c", PRINT_SKIPPED, *LONG_TESTS]
    output = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    (line,) = [line for line in output.splitlines() if line.startswith("LONG")]
    _, count, reasons = line.split(maxsplit=2)
    assert int(count) > 400
    assert reasons == ("[]" if asked else "['takes minutes; set D2PPO_LONG=1 to run it']")
