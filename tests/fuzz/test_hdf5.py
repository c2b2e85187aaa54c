"""Files of demonstrations of any content: every verb answers with what is in them or with a reason, and never dies.

The short form runs with the other tests, D2PPO_LONG=1 the long one. Cases run in a process of their own: a crash or a
hang of HDF5's library would take this one along.
"""

import os
import selectors
import subprocess
import sys
from pathlib import Path

import pytest

from .hdf5_cases import write_sound

CASES = 1000 if "D2PPO_LONG" in os.environ else 48
STEP_S = 60.0
"""Longer than any step of a case takes on a busy machine; a damaged size may cost the library 2 GB and seconds."""
pytestmark = pytest.mark.timeout(3600 if "D2PPO_LONG" in os.environ else 300)


def run(folder: Path, first: int, count: int) -> tuple[list[str], str]:
    """Cases as they were answered, and how the process failed in the one after them; empty where it did not."""
    command = [sys.executable, str(Path(__file__).with_name("hdf5_cases.py")), str(folder), str(first), str(count)]
    answers: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        selector = selectors.DefaultSelector()
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(STEP_S):
                process.kill()
                return answers, f"no answer within {STEP_S} s"
            line = process.stdout.readline()
            if not line:
                break
            if " " in line:
                answers.append(line.strip())
        failure = process.stderr.read()[-1500:] if process.wait() else ""
        return answers, f"exit code {process.returncode}: {failure}" if process.returncode else ""


def test_whatever_a_file_holds_it_is_read_or_refused_with_a_reason(tmp_path: Path) -> None:
    write_sound(tmp_path / "sound.hdf5")
    (tmp_path / "out").mkdir()
    first, failures, refused = 0, [], 0
    while first < CASES:
        answers, failure = run(tmp_path, first, CASES - first)
        refused += sum(not answer.endswith(" read") for answer in answers)
        first += len(answers)
        if failure:
            failures.append(f"case {first}: {failure}")
            first += 1
    assert not failures, "\n".join(failures)
    assert refused > CASES // 3, f"only {refused} of {CASES} were odd enough to be refused"


def test_a_sound_file_is_read_by_all_of_them(tmp_path: Path) -> None:
    write_sound(tmp_path / "sound.hdf5")
    (tmp_path / "out").mkdir()
    command = "import sys; from pathlib import Path; import hdf5_cases as c; f = Path(sys.argv[1]); "
    command += "print(c.use(f / 'sound.hdf5', f / 'out', 0) or 'read')"
    done = subprocess.run(
        [sys.executable, "-c", command, str(tmp_path)],
        capture_output=True, text=True, cwd=Path(__file__).parent, check=False,
    )  # fmt: skip
    assert done.stdout == "read\n", done.stdout + done.stderr
