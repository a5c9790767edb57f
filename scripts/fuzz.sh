#!/usr/bin/env bash
# Runs every fuzz target of the module for a while, two at a time: "scripts/fuzz.sh 10s". An input that fails is kept by go
# test under testdata/fuzz of its package; commit it with the fix.
set -euo pipefail
cd "$(dirname "$0")/.."

targets=$(grep -rHE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+\(' . | sed -E 's|^(.*)/[^/]*:func (Fuzz[A-Za-z0-9_]+).*|\1 \2|' | sort)
echo "$(wc -l <<<"$targets") fuzz targets, ${1:-10s} each"
xargs -L 1 -P 2 bash -c 'echo "$1 $2" && exec go test -run "^\$" -fuzz "^$2\$" -fuzztime "$0" -parallel 1 "$1"' "${1:-10s}" <<<"$targets"
