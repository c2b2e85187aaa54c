#!/usr/bin/env bash
# Installs the Debian/Ubuntu packages of a list (default: debian-packages.txt) that are missing, and only those.
# Usage: tools/debian-packages.sh [--check] [LIST]     --check prints what is missing and exits 1, installing nothing
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

check=no
if [ "${1:-}" = --check ]; then check=yes; shift; fi
list=${1:-$here/debian-packages.txt}

if ! command -v dpkg-query >/dev/null; then
  echo "debian-packages: no dpkg here; make sure that the equivalents of these are installed:" \
    "$(sed -E '/^#|^ *$/d; s/ .*//' "$list" | tr '\n' ' ')" >&2
  exit 0
fi

missing=()
while read -r package _; do
  case $package in ''|'#'*) continue ;; esac
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done <"$list"

if [ ${#missing[@]} -eq 0 ]; then exit 0; fi
if [ $check = yes ]; then echo "${missing[*]}"; exit 1; fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null || ! { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
    echo "debian-packages: missing ${missing[*]}, and this account may not install them." \
      "Ask an administrator to run: apt-get install -y ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi

echo "debian-packages: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { "${as_root[@]}" apt-get update -q && \
       "${as_root[@]}" apt-get install -q -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
  tail -n 5 "$log" >&2
  echo "debian-packages: apt-get could not install ${missing[*]}; install them by hand and run this again" >&2
  exit 1
fi
