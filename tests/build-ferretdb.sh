#!/bin/sh
# Builds FerretDB 1 with its SQLite backend, for the tests of the backend mongodb, where there is no
# mongod: once, into the user's cache. Prints nothing when there is nothing to do; a failure is told
# and is no failure of this script: then those tests skip, or fail in CI.
set -eu

version=v1.24.2
target=${XDG_CACHE_HOME:-$HOME/.cache}/wakizashi/ferretdb-$version

without() {
  echo "$1; the tests of the backend mongodb will be skipped (fail in CI)"
  exit 0
}

if [ -n "${MONGODB_URI:-}" ] || command -v mongod >/dev/null || [ -x "$target" ]; then exit 0; fi
command -v go >/dev/null || without "missing: mongod, or go 1.24 or later to build FerretDB with"

echo "building FerretDB $version into $target, once; this takes a minute or two"
mkdir -p "$(dirname "$target")"
work=$(mktemp -d "$target.XXXXXX")
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
# Its own toolchain, and SQLite in Go: no other compiler, nothing but Go modules.
export GOTOOLCHAIN=local GOFLAGS= GOWORK=off CGO_ENABLED=0
# `go install MODULE@VERSION` would make a program that refuses to start: it wants to be told its
# version in a file that the module lacks. So it is built in a copy of the module, where go.sum is.
if (
  cd "$work"
  go mod download -json "github.com/FerretDB/FerretDB@$version" > download.json
  cp -r "$(sed -n 's/^.*"Dir": "\(.*\)",*$/\1/p' download.json)" source
  chmod -R u+w source
  echo "$version" > source/build/version/version.txt
  cd source
  go build -trimpath -tags ferretdb_no_postgresql -o ../ferretdb ./cmd/ferretdb
) > "$work/log" 2>&1; then
  mv "$work/ferretdb" "$target"
else
  tail -n 5 "$work/log"
  without "FerretDB can't be built"
fi
