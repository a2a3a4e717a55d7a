#!/usr/bin/env bash
# Builds the images from mirrors that are near, for networks in China.
# Usage: PIP_INDEX_URL=… APT_MIRROR=… [BASE_IMAGE=…] ./build-container-cn.sh [TAG [OPTION…]]
set -euo pipefail

for name in PIP_INDEX_URL APT_MIRROR; do
  if [ -z "${!name:-}" ]; then
    echo "build-container-cn.sh: $name is not set; name the mirror to build from: PIP_INDEX_URL is" \
      "the URL of a Python package index, APT_MIRROR the URL of a Debian archive, BASE_IMAGE an" \
      "image with Python 3.11 or later" >&2
    exit 2
  fi
done
exec "$(dirname "$0")/build-container.sh" "$@"
