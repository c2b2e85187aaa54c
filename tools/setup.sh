#!/usr/bin/env bash
# Sets up everything that the project needs, and redoes only what changed since the last call:
#   Debian packages, a virtual environment with the wheels, the project itself (editable), the colcon-built ROS packages.
# Environment: VENV    where the virtual environment goes                (default .venv)
#              EXTRAS  extras of pyproject.toml to install                (default: all that the simulator stack needs)
#              D2PPO_TORCH_INDEX  package index with CPU builds of torch  (default: none; pip's own indexes)
#              D2PPO_ROS=wheels|apt|auto  where ROS 2 comes from          (default auto: apt's if it is there)
#              PYTHON  the interpreter to start from, 3.11 or 3.12        (default: python3.11, else python3.12)
set -euo pipefail
cd "$(dirname "$0")/.."
VENV=${VENV:-.venv}
case $VENV in /*) ;; *) VENV=$PWD/$VENV ;; esac
EXTRAS=${EXTRAS:-cpu,franka,realsense,sim,train,record,calibration,analysis,ray,lerobot,panel,dev,docs}
stamps=$VENV/.d2ppo

say() { echo "setup: $*"; }

# Environments whose ROS wheels set the loader's path leak it to their children; a fresh one starts without.
if [ -n "${_ROS_WHEELS_BOOTSTRAP_COMPLETE:-}" ]; then unset _ROS_WHEELS_BOOTSTRAP_COMPLETE LD_LIBRARY_PATH; fi
unset PYTHONHOME VIRTUAL_ENV

# digest FILE... : one hash over names and contents
digest() { sha256sum "$@" | sha256sum | cut -c1-16; }
# fresh STEP HASH : true when the step was done with the same inputs
fresh() { [ -f "$stamps/$1" ] && [ "$(cat "$stamps/$1")" = "$2" ]; }
stamp() { mkdir -p "$stamps" && echo "$2" >"$stamps/$1"; }

mkdir -p "$(dirname "$VENV")"
exec 9>"$VENV.lock"
flock -w 1800 9 || { say "another set-up of $VENV has been running for half an hour; end it and try again" >&2; exit 1; }

tools/debian-packages.sh

# --- which ROS 2 ---------------------------------------------------------------------------------------------------
ros_prefix='' wanted_python='3.11 3.12'
case ${D2PPO_ROS:=auto} in
  wheels) ;;
  auto|apt)
    for version in 3.12 3.11; do
      ros_prefix=$(tools/find-ros.sh $version)
      if [ -n "$ros_prefix" ]; then wanted_python=$version; break; fi
    done
    if [ -z "$ros_prefix" ] && [ "$D2PPO_ROS" = apt ]; then
      say "no ROS 2 for Python 3.11 or 3.12 under ${ROS_ROOT:-/opt/ros}; install ros-jazzy-ros-base or use D2PPO_ROS=wheels" >&2
      exit 1
    fi ;;
  *) say "D2PPO_ROS is '$D2PPO_ROS', wanted wheels, apt or auto" >&2; exit 2 ;;
esac

# --- virtual environment -------------------------------------------------------------------------------------------
if ! fresh venv "$ros_prefix" || ! "$VENV/bin/python" -c '' 2>/dev/null; then
  if ! python=$(WANTED_PYTHON=$wanted_python tools/find-python.sh 2>/dev/null); then
    for version in $wanted_python; do
      if tools/debian-packages.sh <(sed "s/3\.11/$version/" tools/python-packages.txt) 2>/dev/null; then break; fi
    done
    python=$(WANTED_PYTHON=$wanted_python tools/find-python.sh)
  fi
  say "virtual environment $VENV from $python"
  options=()
  if [ -n "$ros_prefix" ]; then options=(--system-site-packages); fi
  if [ -f "$stamps/venv" ]; then options+=(--clear); fi  # it was made for another ROS 2, or its Python is gone
  "$python" -m venv ${options[@]+"${options[@]}"} "$VENV"
  rm -rf "$stamps"
  stamp venv "$ros_prefix"
fi
if [ -n "$ros_prefix" ]; then
  say "ROS 2 found at $ros_prefix (Python $wanted_python): using it, the ros wheels are left out"
else
  EXTRAS=$EXTRAS,ros
fi
pip() { "$VENV/bin/python" -m pip --disable-pip-version-check --no-input "$@"; }
quiet() { # quiet WHAT COMMAND... : shows the log only when the command fails
  local what=$1 log=$stamps/$1.log; shift
  local start=$SECONDS
  if ! "$@" >"$log" 2>&1 </dev/null; then
    tail -n 15 "$log" >&2; say "$what failed; the whole log is $log" >&2; exit 1
  fi
  say "$what: $((SECONDS - start)) s"
}

install_cpu_torch() { # the torch of a plain index may bring 3 GB of CUDA libraries; an index of CPU builds avoids them
  local index=${D2PPO_TORCH_INDEX:-}
  local ask="import sys, urllib.request; urllib.request.urlopen(sys.argv[1] + '/torch/', timeout=10)"
  if [ -z "$index" ] || "$VENV/bin/python" -c 'import torch' 2>/dev/null; then return; fi
  if ! "$VENV/bin/python" -c "$ask" "$index" 2>/dev/null; then
    say "$index does not answer; taking torch from where pip finds it"
    return
  fi
  quiet torch pip install -c tools/constraints.txt --extra-index-url "$index" \
    "$(sed -n 's/^ *"\(torch==[^"]*\)".*/\1/p' pyproject.toml)"
}

# --- wheels --------------------------------------------------------------------------------------------------------
inputs=(pyproject.toml setup.py tools/constraints.txt tools/requirements-no-deps.txt)
hash=$(digest "${inputs[@]}")-$EXTRAS-$PWD
if ! fresh wheels "$hash"; then
  free_mib=$(df -Pm "$VENV" | awk 'NR == 2 {print $4}')
  if [ ! -f "$stamps/wheels" ] && [ "$free_mib" -lt 5000 ]; then
    say "only $free_mib MiB are free for $VENV, 5000 are needed; make room or set VENV to a folder elsewhere" >&2; exit 1
  fi
  say "wheels for [$EXTRAS]; the first time this downloads about 1.2 GB"
  quiet build-tools pip install -c tools/constraints.txt 'setuptools<80'
  case ,$EXTRAS, in
    *,gpu,*) ;;
    *,train,*) install_cpu_torch ;;
  esac
  quiet wheels pip install -c tools/constraints.txt --no-build-isolation -e ".[$EXTRAS]"
  case ,$EXTRAS, in *,sim,*)
    quiet no-deps pip install --no-deps --no-build-isolation -r tools/requirements-no-deps.txt ;;
  esac
  stamp wheels "$hash"
fi

# --- ROS packages --------------------------------------------------------------------------------------------------
tools/build-ros.sh "$VENV" "$ros_prefix"
