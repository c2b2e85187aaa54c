#!/usr/bin/env bash
# Writes tools/constraints.txt from the environment $VENV: every wheel that pip installed, local build tags cut off.
# Packages that only the ROS wheels or colcon registered (no ros- prefix, never asked from an index) are left out.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${VENV:-.venv}/bin/python
{
  echo "# Versions of all packages, direct and indirect, that were installed together and tested (Python 3.11)."
  echo "# pip install -c tools/constraints.txt ...; written by tools/freeze.sh"
  "$python" - <<'PY'
from importlib.metadata import distributions

rows = set()
for dist in distributions():
    name, version = dist.metadata["Name"], dist.version.split("+")[0]
    if (dist.read_text("INSTALLER") or "").strip() == "pip" and name not in ("pip", "d2ppo-panda"):
        rows.add(f"{name}=={version}")
print("\n".join(sorted(rows, key=str.lower)))
PY
} >tools/constraints.txt
