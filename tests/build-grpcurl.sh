#!/bin/sh
# Builds grpcurl, a client that is not of this project, for the tests of reflection: once, into the
# user's cache. Prints nothing when there is nothing to do; a failure is told and is no failure of
# this script: then those tests skip, or fail in CI.
set -eu

version=v1.9.3
target=${XDG_CACHE_HOME:-$HOME/.cache}/wakizashi/grpcurl-$version

without() {
  echo "$1; the tests with grpcurl will be skipped (fail in CI)"
  exit 0
}

if command -v grpcurl >/dev/null || [ -x "$target" ]; then exit 0; fi
command -v go >/dev/null || without "missing: grpcurl, or go to build it with"

echo "building grpcurl $version into $target, once; this takes a minute or two"
mkdir -p "$(dirname "$target")"
work=$(mktemp -d "$target.XXXXXX")
trap 'rm -rf "$work"' EXIT
export GOTOOLCHAIN=local GOFLAGS= GOWORK=off CGO_ENABLED=0 GOBIN="$work"
if go install "github.com/fullstorydev/grpcurl/cmd/grpcurl@$version" > "$work/log" 2>&1; then
  mv "$work/grpcurl" "$target"
else
  tail -n 5 "$work/log"
  without "grpcurl can't be built"
fi
