#!/usr/bin/env bash
# Runs a command in the environment $VENV (default .venv), with a full ROS 2 install sourced when the set-up chose one.
# Usage: tools/run.sh d2ppo doctor
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
VENV=${VENV:-.venv}
case $VENV in /*) ;; *) VENV=$root/$VENV ;; esac
if [ ! -x "$VENV/bin/python" ]; then echo "run: no environment at $VENV; run 'make setup' first" >&2; exit 2; fi

if [ -n "${_ROS_WHEELS_BOOTSTRAP_COMPLETE:-}" ]; then unset _ROS_WHEELS_BOOTSTRAP_COMPLETE LD_LIBRARY_PATH; fi
unset PYTHONHOME
ros_prefix=$(cat "$VENV/.d2ppo/venv" 2>/dev/null || true)
set +u
# shellcheck disable=SC1091
if [ -n "$ros_prefix" ]; then . "$ros_prefix/setup.sh"; . "$VENV/local_setup.sh"; fi
set -u
export VIRTUAL_ENV=$VENV PATH=$VENV/bin:$PATH
exec "$@"
