"""The tests in two parts: in several processes those that may share the machine, then alone those that keep real time.

    python tools/run_tests.py [pytest's options]

TEST_WORKERS is the number of processes of the first part; 0 is none beside pytest's own, for a debugger. The second
part has one: a test that hangs ends it, fails, and the others go on in a new one. A test of the second part that fails
is run once more, for a machine may stall; it is named at the end. The last line counts both parts; the exit code is
pytest's, the worst of the two.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MOST_WORKERS = 4
NOTHING_COLLECTED = 5


def workers() -> int:
    """How many processes share the first part."""
    return int(os.environ.get("TEST_WORKERS") or min(MOST_WORKERS, len(os.sched_getaffinity(0))))


def run_part(name: str, options: list[str], tally: Path) -> tuple[int, dict[str, Any]]:
    """Run pytest on a part; its exit code and what it counted."""
    command = [sys.executable, "-m", "pytest", "--part", name, *options]
    code = subprocess.run(command, env={**os.environ, "D2PPO_TALLY": str(tally)}).returncode
    return code, json.loads(tally.read_text()) if tally.exists() else {}


def main(arguments: list[str]) -> int:
    """Run both parts, print one line on both, return the exit code."""
    begun_s, codes, tallies = time.monotonic(), [], []
    shared = ["-n", str(workers()), "--dist", "loadfile"]
    parts = {"shared": shared, "alone": ["-n", "1", "--reruns", "1"] if workers() else []}
    with tempfile.TemporaryDirectory() as folder:
        for name, options in parts.items():
            code, tally = run_part(name, [*options, *arguments], Path(folder) / name)
            codes.append(code)
            tallies.append(tally)
            if tally.get("stopped", True):
                break
    for word, kind in {"RUN TWICE": "reruns", "FAILED": "failures"}.items():
        for test in [test for tally in tallies for test in tally.get(kind, [])]:
            print(word, test)
    counts = {
        kind: sum(tally.get("counts", {}).get(kind, 0) for tally in tallies)
        for kind in ("failed", "error", "passed", "skipped", "rerun")
    }
    said = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    print(f"==== both parts: {said or 'no tests'} in {time.monotonic() - begun_s:.0f} s ====")
    ran = [code for code in codes if code != NOTHING_COLLECTED]
    return max(ran, key=abs) if ran else NOTHING_COLLECTED


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
