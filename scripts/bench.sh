#!/usr/bin/env bash
# All figures of docs/BENCHMARKS.md in one run: "scripts/bench.sh 10s /path/on/the/disk/to/measure". bin/ has to be built.
# Compare figures of one run with each other; nothing else should use the machine meanwhile.
set -euo pipefail
cd "$(dirname "$0")/.."
cell=${1:-10s}
dir=$(mktemp -d "$(realpath "${2:-.}")/.bench.XXXXXX")
trap 'rm -rf "$dir"' EXIT

section() { printf '\n== %s\n' "$1"; }
bench() { TMPDIR=$dir go test -run '^$' -bench "$1" -benchmem -benchtime "${3:-1s}" "$2"; }

section "codec"
bench . ./protocol/pdu

section "passwords"
bench . ./service/password

section "state machine: apply and queries, no log"
bench . ./raftstore/state

section "store without sockets, beside raft.Apply with one command per entry and an empty state machine"
bench 'BenchmarkRawRaftApply|BenchmarkPropose' ./raftstore 3s

section "content: stored, read, fetched from another node; a file of 4 GiB - 1 through the file server; the page"
bench . ./blobs
TMPDIR=$dir TT_LARGE=1 go test -count=1 -v -timeout 15m -run TestLarge ./gateway/transfer | grep -v '^='
TT_FIGURES=1 go test -count=1 -v -run TestBrowserFigures ./internal/e2e

section "the whole server, a group of 1,000, and all transports, beside raw echoes"
bin/ttload bench --cell "$cell" --dir "$dir"

section "15,000 clients cut off at once come back"
for via in tls quic wss longpoll-tls; do
	bin/ttload reconnect --via "$via" --dir "$dir"
done
