#!/usr/bin/env bash
# Prints the path of a Python that can make a virtual environment and build extensions. Candidates, in this order:
# $PYTHON if it is set, else python3.11, python3.12 and python3 on the PATH. Wanted: one of the versions in $WANTED_PYTHON.
set -euo pipefail
read -ra wanted <<<"${WANTED_PYTHON:-3.11 3.12}"

probe='
import sys, sysconfig, os
version = "%d.%d" % sys.version_info[:2]
if version not in sys.argv[1:]:
    sys.exit("it is Python " + version)
try:
    import ensurepip, venv
except ImportError:
    sys.exit("it has no venv module (Debian: python%s-venv)" % version)
if not os.path.isfile(os.path.join(sysconfig.get_path("include"), "Python.h")):
    sys.exit("it has no headers (Debian: python%s-dev)" % version)
print(os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable))
'

if [ -n "${PYTHON:-}" ]; then candidates=("$PYTHON"); else
  candidates=("${wanted[@]/#/python}" python3 "${wanted[@]/#//usr/bin/python}")
fi
why=()
for candidate in "${candidates[@]}"; do
  if ! command -v "$candidate" >/dev/null 2>&1; then why+=("$candidate: not found"); continue; fi
  if answer=$("$candidate" -c "$probe" "${wanted[@]}" 2>&1); then echo "$answer"; exit 0; fi
  why+=("$candidate: ${answer##*$'\n'}")
done
printf -v reasons '%s; ' "${why[@]}"
printf -v versions '%s or ' "${wanted[@]}"
echo "find-python: Python ${versions% or } is needed, and none is usable here (${reasons%; })." \
  "Install python$wanted, python$wanted-venv and python$wanted-dev, or set PYTHON=/path/to/python$wanted" >&2
exit 1
