#!/usr/bin/env bash
# Looks for ROS 2 installed from apt (or built from source) and prints its prefix, or nothing when there is none.
# A prefix counts when it has setup.sh and an rclpy for the Python version given ($1, e.g. 3.12).
set -euo pipefail
version=${1:?usage: find-ros.sh PYTHON_VERSION}
IFS=: read -ra prefixes <<<"${AMENT_PREFIX_PATH:-}"
for prefix in ${prefixes[@]+"${prefixes[@]}"} "${ROS_ROOT:-/opt/ros}"/*; do
  [ -f "$prefix/setup.sh" ] || continue
  for packages in "$prefix/lib/python$version"/{site,dist}-packages "$prefix/local/lib/python$version/dist-packages"; do
    if [ -d "$packages/rclpy" ] && [ ! -f "$prefix/pyvenv.cfg" ]; then echo "$prefix"; exit 0; fi
  done
done
