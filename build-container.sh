#!/usr/bin/env bash
# Builds the images wakizashi-probe and wakizashi-center.
# Usage: ./build-container.sh [TAG [OPTION…]]. Takes docker, podman or buildah, whichever is there, and
# gives it the options, such as --platform linux/arm64 or --no-cache.
# From the environment: BASE_IMAGE, an image with Python 3.11 or later; PIP_INDEX_URL and PIP_CERT,
# pip's own: an index, and the file of an authority to trust there; APT_MIRROR, a Debian archive.
set -euo pipefail
cd "$(dirname "$0")"

tag=${1:-latest}
options=("${@:2}")
die() {
  echo "build-container.sh: $1" >&2
  exit 2
}
[[ "$tag" =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$ ]] \
  || die "'$tag' is no tag: letters, digits, '_', '.' and '-', and neither of the last two first"
for name in PIP_INDEX_URL APT_MIRROR; do
  [[ "${!name:-http://x}" =~ ^https?://[^[:space:]#]+$ ]] \
    || die "$name: '${!name}' is no URL of the form https://HOST/PATH"
done
[ -r "${PIP_CERT:-/dev/null}" ] || die "PIP_CERT: there is no file '$PIP_CERT' to read"

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

# An index may be named with a password in it. So it is told in a file that is there while pip runs,
# and in no layer and no history.
secrets=$(mktemp -d)
trap 'rm -rf "$secrets"' EXIT
{
  echo "[global]"
  if [ -n "${PIP_INDEX_URL:-}" ]; then echo "index-url = $PIP_INDEX_URL"; fi
  if [ -n "${PIP_CERT:-}" ]; then echo "cert = /run/secrets/ca.pem"; fi
} > "$secrets/pip.conf"
cp "${PIP_CERT:-/dev/null}" "$secrets/ca.pem"
printf '%s' "${APT_MIRROR:-}" > "$secrets/apt-mirror"

arguments=(
  --secret "id=pip.conf,src=$secrets/pip.conf"
  --secret "id=ca.pem,src=$secrets/ca.pem"
  --secret "id=apt-mirror,src=$secrets/apt-mirror"
  --build-arg "VERSION=$(sed -nE 's/^__version__ = "(.*)"$/\1/p' src/wakizashi/__init__.py)"
  --build-arg "COMMIT=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
  --build-arg "BUILD_TIME=${BUILD_TIME:-$(date -u +%Y-%m-%dT%H:%M:%SZ)}"
)
if [ -n "${BASE_IMAGE:-}" ]; then
  arguments+=(--build-arg "BASE_IMAGE=$BASE_IMAGE")
fi

export DOCKER_BUILDKIT=1 # the secrets need it, and before docker 23 it was not the default
export BUILDAH_LAYERS=${BUILDAH_LAYERS:-true} # as docker and podman have it; else all is one layer
for name in center probe; do
  echo "building wakizashi-$name:$tag"
  "${builder[@]}" "${arguments[@]}" "${options[@]}" -f "Dockerfile.$name" -t "wakizashi-$name:$tag" .
done
