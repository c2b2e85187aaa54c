#!/usr/bin/env bash
# Builds ros2_ws into a virtual environment, so that nothing has to be sourced; does nothing when no input changed.
# Usage: tools/build-ros.sh VENV [ROS_PREFIX]     ROS_PREFIX: a full ROS 2 install, or another environment with the
#                                                 wheels; empty: the wheels in VENV
# Runs in a checkout and in an installed wheel (d2ppo doctor --fix-ros), where nothing may be linked: an upgrade would
# replace the nodes and not the messages.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$(cd "${1:?usage: build-ros.sh VENV [ROS_PREFIX]}" && pwd)
ros_prefix=${2:-}
root=$PWD
stamp=$venv/.d2ppo/ros2_ws
mkdir -p "$venv/.d2ppo"

link=(--symlink-install)
if [ ! -f pyproject.toml ]; then link=(); fi

# Contents count where colcon reads them; Python sources and launch files that are linked only by their names.
hash=$({
  if [ ${#link[@]} -gt 0 ]; then
    find ros2_ws/src -type f \( -name '*.msg' -o -name '*.srv' -o -name '*.action' -o -name CMakeLists.txt \
      -o -name package.xml -o -name setup.py -o -name setup.cfg \) -print0 | sort -z | xargs -0 -r sha256sum
    find launch -type f -not -name '*.pyc' | sort
  else
    find ros2_ws/src launch -type f -not -name '*.pyc' -print0 | sort -z | xargs -0 -r sha256sum
  fi
  cat tools/build-ros.sh
  echo "$root $venv $ros_prefix $(cat "$venv/.d2ppo/wheels" 2>/dev/null || true)"
} | sha256sum | cut -c1-16)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$hash" ]; then exit 0; fi

start=$SECONDS
if [ -f "$ros_prefix/setup.sh" ]; then
  set +u
  # shellcheck disable=SC1091
  . "$ros_prefix/setup.sh"
  set -u
else
  export AMENT_PREFIX_PATH=$venv${ros_prefix:+:$ros_prefix} CMAKE_PREFIX_PATH=$venv${ros_prefix:+:$ros_prefix}
fi
if [ -z "$ros_prefix" ]; then "$venv/bin/python" tools/repair_ros_wheels.py; fi
export PATH=$venv/bin:$PATH VIRTUAL_ENV=$venv
command -v colcon >/dev/null ||
  { echo "setup: colcon is missing; it comes with the extra ros, or as python3-colcon-common-extensions" >&2; exit 1; }

# Interfaces are copied. In a checkout Python and launch packages are linked: an edit needs no rebuild.
build() {
  colcon --log-base "$venv/.d2ppo/colcon-log" build --base-paths ros2_ws/src --build-base "$venv/.d2ppo/colcon" \
    --merge-install --install-base "$venv" --event-handlers console_direct- console_stderr- status- "$@" \
    --cmake-args -DPython3_EXECUTABLE="$venv/bin/python" -DPYTHON_EXECUTABLE="$venv/bin/python" -DBUILD_TESTING=OFF
}
# Of an older version, modules and metadata would stay beside the new ones.
rm -rf "$venv/.d2ppo/colcon/d2ppo_nodes" "$venv"/lib/python3*/site-packages/d2ppo_{nodes,interfaces}{,-*.egg-info}
log=$venv/.d2ppo/colcon.log
if ! { build --packages-select d2ppo_interfaces && \
       build ${link[@]+"${link[@]}"} --packages-skip d2ppo_interfaces; } >"$log" 2>&1 </dev/null; then
  grep -rhE 'error|Error' "$venv/.d2ppo/colcon-log/latest_build" 2>/dev/null | head -n 10 >&2 || true
  tail -n 15 "$log" >&2
  echo "setup: colcon failed; the whole log is $log" >&2
  exit 1
fi
# Linked Python packages are on the path only where colcon's hooks are sourced; a .pth makes them so for this Python.
find "$venv/lib" -maxdepth 3 -name '*.egg-link' | while read -r link; do
  head -n 1 "$link" >"${link%.egg-link}.pth"
done
echo "$hash" >"$stamp"
echo "setup: ROS packages (colcon): $((SECONDS - start)) s"
