#!/usr/bin/env bash
# Builds the images wakizashi-probe and wakizashi-center.
# Usage: ./build-container.sh [TAG]. Takes docker, podman or buildah, whichever is there.
# From the environment: BASE_IMAGE, PIP_INDEX_URL, APT_MIRROR.
set -euo pipefail
cd "$(dirname "$0")"

tag=${1:-latest}
builder=()
for tool in docker podman buildah; do
  # docker's client may be there without a daemon
  if command -v "$tool" > /dev/null && "$tool" info > /dev/null 2>&1; then
    builder=("$tool" build)
    break
  fi
done
if [ ${#builder[@]} = 0 ]; then
  echo "build-container.sh: none of docker, podman and buildah works here; install one of them, or start its daemon" >&2
  exit 1
fi

arguments=(
  --build-arg "COMMIT=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
  --build-arg "BUILD_TIME=$(date -u +%Y-%m-%dT%H:%M:%SZ)"
)
for name in BASE_IMAGE PIP_INDEX_URL APT_MIRROR; do
  if [ -n "${!name:-}" ]; then
    arguments+=(--build-arg "$name=${!name}")
  fi
done

for name in center probe; do
  echo "building wakizashi-$name:$tag"
  "${builder[@]}" "${arguments[@]}" -f "Dockerfile.$name" -t "wakizashi-$name:$tag" .
done
