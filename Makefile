# make         format, lint, test: before every commit
# make check   exactly what CI runs: all of the above read-only, with the race detector, the architecture rules and a short fuzz
# make run     one node on loopback with demo users
# make cluster three of them that form a cluster
# make federation three offices, a cluster each, that are linked
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

GO ?= go
NPM ?= npm
# Tools are pinned in a module of their own, so that what they need is no dependency of the server.
TOOL := $(GO) tool -modfile=$(CURDIR)/tools/go.mod
# How long each fuzz target runs; how long each combination of "make bench" is measured; where the benchmark keeps its data.
FUZZTIME ?= 2s
CELL ?= 10s
BENCHDIR ?= .
CLUSTERCELL ?= 6s

.PHONY: all run cluster federation build web test check vet race archtest bench bench-cluster bench-federation fuzz proto fmt fmt-check lint soak clean
.DEFAULT_GOAL := all

all: fmt lint test

run: build
	bin/teamtalkd dev

# Three nodes on loopback that form a cluster; prints what to try and what to kill.
cluster: build
	scripts/cluster.sh

# Three offices on loopback, with a cluster each, that are linked; prints what to open, what to cut and how to heal it.
federation: build
	scripts/federation.sh

build: web
	$(GO) build -trimpath -o bin/ ./cmd/...

# The web client, which becomes part of the server. Only what changed is made again; "make build WEB=" leaves it as it is.
WEB ?= web/dist/index.html
web: $(WEB)

web/node_modules/.package-lock.json: web/package.json web/package-lock.json
	cd web && $(NPM) ci --no-audit --no-fund
	touch $@

web/dist/index.html: web/node_modules/.package-lock.json $(shell find web/src web/public web/scripts web/index.html web/vite.config.ts protocol/pb -type f -not -path 'web/src/pb/*' 2>/dev/null)
	cd web && $(NPM) run build

# With TT_RACED, what was just run with the race detector is left out; the rest are tests that it would only slow down.
UNRACED := ./internal/e2e ./internal/scalemodel ./internal/sealed ./gateway/transfer ./web ./cmd/teamtalkd
test: web
	cd web && $(NPM) test
	$(GO) test $(if $(TT_RACED),-short $(UNRACED),./...)

# One after the other, cheapest first, even under make -j.
check:
	$(MAKE) fmt-check
	$(MAKE) vet
	$(MAKE) archtest
	$(MAKE) lint
	$(MAKE) race
	$(MAKE) fuzz

vet:
	$(GO) vet ./...

# The model of a hundred clusters is arithmetic in one goroutine, for which "make test" is enough.
race: web
	$(GO) test -race -timeout 15m $$($(GO) list ./... | grep -v /internal/scalemodel)

archtest:
	$(GO) test -count=1 ./internal/archtest

# Micro benchmarks, the store without sockets, then the whole server; copy the figures to docs/BENCHMARKS.md on a quiet machine.
bench: build
	scripts/bench.sh $(CELL) $(BENCHDIR)

# Three nodes on this machine: traffic, failover, joining, backups; Markdown.
bench-cluster: build
	scripts/bench-cluster.sh $(CLUSTERCELL) $(BENCHDIR)

# Linked offices on this machine: traffic over a delay, an outage's backlog, a large group, idle links; Markdown.
bench-federation: build
	scripts/bench-federation.sh $(BENCHDIR)

fuzz:
	scripts/fuzz.sh $(FUZZTIME)

proto:
	cd protocol/pb && $(TOOL) buf lint && $(TOOL) buf generate
	git --no-pager diff --stat -- protocol/pb

fmt:
	$(TOOL) golangci-lint fmt

fmt-check:
	$(TOOL) golangci-lint fmt --diff

lint:
	$(TOOL) golangci-lint run

# Fifty rounds of kill -9 under load, ten blackouts on a lossy path over every transport, a file of 4 GiB, and whatever else takes long.
soak:
	TT_SOAK=1 $(GO) test -count=1 -v -timeout 2h ./internal/e2e
	TT_LARGE=1 $(GO) test -count=1 -v -timeout 15m -run TestLarge ./gateway/transfer

clean:
	rm -rf bin web/node_modules
	find web/dist -mindepth 1 ! -name .gitkeep -delete
	$(GO) clean -testcache
