#!/usr/bin/env bash
# All figures of linked offices in one run, in Markdown: "scripts/bench-federation.sh /path/on/the/disk/to/measure". bin/ has to be built.
# Further arguments are ttload's, as "--only drain,group --queued 100000". Compare figures of one run with each other; nothing else should use the machine
# meanwhile. Most of the time goes into a million messages that wait for a link, which a peer may send no faster than its rate allows.
set -euo pipefail
cd "$(dirname "$0")/.."
base=$(realpath "${1:-.}")
shift $(($# < 1 ? $# : 1))
dir=$(mktemp -d "$base/.bench.XXXXXX")
trap 'rm -rf "$dir"' EXIT

printf '## What a signature costs on one core\n\n'
go test -run '^$' -bench 'BenchmarkSign|BenchmarkCheck' -benchtime 1s ./internal/scalemodel | awk '/^Benchmark/ { sub(/^Benchmark/, "", $1); sub(/-[0-9]+$/, "", $1); printf "- %s: %.0f µs, %.0f/s\n", $1, $3 / 1000, 1e9 / $3 }'

printf '\n## Linked offices\n'
bin/ttload federation --dir "$dir" "$@"
