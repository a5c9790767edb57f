#!/usr/bin/env bash
# All figures of a cluster in one run, in Markdown: "scripts/bench-cluster.sh 6s /path/on/the/disk/to/measure". bin/ has to be built.
# Further arguments are ttload's, as "--only failover,join". Compare figures of one run with each other; nothing else should use the machine meanwhile.
set -euo pipefail
cd "$(dirname "$0")/.."
cell=${1:-6s}
base=$(realpath "${2:-.}")
shift $(($# < 2 ? $# : 2))
dir=$(mktemp -d "$base/.bench.XXXXXX")
trap 'rm -rf "$dir"' EXIT

# table NAME PACKAGE BENCHMARKS: the results of Go benchmarks as a table.
table() {
	TMPDIR=$dir go test -run '^$' -bench "$2" -benchtime 3s "$1" >"$dir/bench.txt" || {
		cat "$dir/bench.txt" >&2
		return 1
	}
	printf '| benchmark | commands/s | p50 ms | p99 ms |\n|---|---|---|---|\n'
	awk '/^Benchmark.*cmds\/s/ {
		for (i = 3; i < NF; i++) { if ($(i+1) == "cmds/s") n = $i; if ($(i+1) == "p50-ms") p = $i; if ($(i+1) == "p99-ms") q = $i }
		sub(/^Benchmark/, "", $1); sub(/-[0-9]+$/, "", $1)
		printf "| %s | %.0f | %.1f | %.1f |\n", $1, n, p, q
	}' "$dir/bench.txt"
}

printf '## Three nodes in one process, no clients: the store with the full work of a message, beside raft alone with one command per entry\n\n'
table ./raftstore 'BenchmarkStoreThree|BenchmarkRawRaftThree'

printf '\n## What a session costs in the table of presence, on every node, 100,000 of them\n\n'
go test -count=1 -v -run '^TestBytesPerSession$' ./bus | sed -n 's/^ *size_test.go:[0-9]*: /- /p'

printf '\n## Three processes and their clients\n'
bin/ttload cluster --cell "$cell" --dir "$dir" "$@"
