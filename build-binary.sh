#!/usr/bin/env bash
# Builds the single-file programs build/center and build/probe with PyInstaller, and beside each what
# it is made of: NAME.cdx.json and NAME-licences.txt, and for the probe the source of what needs it.
# Usage: ./build-binary.sh [VERSION]. Needs python3 (3.11 or later) with venv, and objdump.
set -euo pipefail
cd "$(dirname "$0")"

version=${1:-$(sed -nE 's/^__version__ = "(.*)"$/\1/p' src/wakizashi/__init__.py)}
commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
built=${BUILD_TIME:-$(date -u +%Y-%m-%dT%H:%M:%SZ)}
python=${PYTHON:-python3}
log=build/build.log

mkdir -p build/work
: > "$log"
trap 'code=$?; [ $code = 0 ] || { echo "build failed; the end of $log:" >&2; tail -n 30 "$log" >&2; }' EXIT

# What was built is recorded beside the package, in the bundle alone.
printf '{"version": "%s", "commit": "%s", "built": "%s"}\n' "$version" "$commit" "$built" \
  > build/work/_build.json

# What goes in is what the locks say, and the environment is made anew when they change.
locks=(requirements/binary.txt requirements/build.txt)
if ! cat "${locks[@]}" | cmp -s - build/work/venv/locks; then
  rm -rf build/work/venv
  "$python" -m venv build/work/venv >> "$log" 2>&1
  build/work/venv/bin/pip install --quiet --disable-pip-version-check --require-hashes \
    --only-binary :all: "${locks[@]/#/--requirement=}" >> "$log" 2>&1
  cat "${locks[@]}" > build/work/venv/locks
fi
build/work/venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
  --force-reinstall . >> "$log" 2>&1

bundle() { # name, what else to say to PyInstaller
  local name=$1
  shift
  echo "generating wakizashi $name"
  printf 'from wakizashi.%s.cli import main\n\nmain()\n' "$name" > "build/work/$name.py"
  build/work/venv/bin/pyinstaller --noconfirm --clean --onefile --name "$name" \
    --distpath build --workpath "build/work/$name" --specpath build/work \
    --add-data "$PWD/build/work/_build.json:wakizashi" \
    --exclude-module setuptools --exclude-module pkg_resources --exclude-module readline "$@" \
    "build/work/$name.py" >> "$log" 2>&1
  # What is in it, and on what terms; it refuses what is not in the locks.
  build/work/venv/bin/python -m supply.describe "$name" --to build --bundle "build/$name" \
    --path build/work/venv/lib/python3*/site-packages >> "$log" 2>&1
  echo "wakizashi $name generated"
}

# Engines and backends are found by listing their folders, which PyInstaller can't see.
bundle center --collect-submodules wakizashi.center.backends --hidden-import influxdb \
  --hidden-import redis --hidden-import pymongo --exclude-module scapy --exclude-module numpy
# scapy asks for windows to draw in and for libpcap, when it is told to; neither is what we use of it.
bundle probe --collect-submodules wakizashi.probe.engines --collect-data wakizashi.probe.bpf \
  --hidden-import numpy --exclude-module influxdb \
  --exclude-module matplotlib --exclude-module IPython --exclude-module tkinter \
  --exclude-module scapy.arch.libpcap --exclude-module scapy.libs.winpcapy
