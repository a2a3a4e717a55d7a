#!/bin/sh
# Builds kustomize, for the tests of deploy/kubernetes, where there is no kubectl that has a recent one
# in it: once, into the user's cache. Prints nothing when there is nothing to do; a failure is told and
# is no failure of this script: then those tests skip, or fail in CI.
set -eu

version=v5.7.1
target=${XDG_CACHE_HOME:-$HOME/.cache}/wakizashi/kustomize-$version

without() {
  echo "$1; the tests of deploy/kubernetes will be skipped (fail in CI)"
  exit 0
}

# Debian 12's kubectl, 1.20, has one without components.
if [ -x "$target" ] || kubectl version --client 2>/dev/null | grep -q 'Kustomize Version: v5'; then
  exit 0
fi
command -v go >/dev/null || without "missing: kubectl, or go 1.24 or later to build kustomize with"

echo "building kustomize $version into $target, once; this takes a minute"
mkdir -p "$(dirname "$target")"
work=$(mktemp -d "$target.XXXXXX")
trap 'rm -rf "$work"' EXIT
# Its own toolchain, and nothing but Go modules.
if GOTOOLCHAIN=local GOFLAGS= GOWORK=off CGO_ENABLED=0 GOBIN=$work \
  go install -trimpath "sigs.k8s.io/kustomize/kustomize/v5@$version" > "$work/log" 2>&1; then
  mv "$work/kustomize" "$target"
else
  tail -n 5 "$work/log"
  without "kustomize can't be built"
fi
