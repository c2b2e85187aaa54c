#!/usr/bin/env bash
# Prints the path of a Python that can make a virtual environment and build extensions. Candidates, in this order:
# $PYTHON if it is set, else python3.11 and python3 on the PATH. Wanted: version 3.11 (or $WANTED_PYTHON).
set -euo pipefail
wanted=${WANTED_PYTHON:-3.11}

probe='
import sys, sysconfig, os
version = "%d.%d" % sys.version_info[:2]
if version != sys.argv[1]:
    sys.exit("it is Python " + version)
try:
    import ensurepip, venv
except ImportError:
    sys.exit("it has no venv module (Debian: python%s-venv)" % version)
if not os.path.isfile(os.path.join(sysconfig.get_path("include"), "Python.h")):
    sys.exit("it has no headers (Debian: python%s-dev)" % version)
print(os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable))
'

if [ -n "${PYTHON:-}" ]; then candidates=("$PYTHON"); else candidates=("python$wanted" python3 "/usr/bin/python$wanted"); fi
why=()
for candidate in "${candidates[@]}"; do
  if ! command -v "$candidate" >/dev/null 2>&1; then why+=("$candidate: not found"); continue; fi
  if answer=$("$candidate" -c "$probe" "$wanted" 2>&1); then echo "$answer"; exit 0; fi
  why+=("$candidate: ${answer##*$'\n'}")
done
printf -v reasons '%s; ' "${why[@]}"
echo "find-python: Python $wanted is needed, and none is usable here (${reasons%; })." \
  "Install python$wanted, python$wanted-venv and python$wanted-dev, or set PYTHON=/path/to/python$wanted" >&2
exit 1
