# weir: every command a reader of the README needs. Each target does its own set-up.
SHELL := /bin/bash
.DEFAULT_GOAL := help
CARGO ?= cargo
PY := .venv/bin/python

.PHONY: help setup setup-test setup-bench demo test lint build release bench bench-quick bench-scale bench-instructions clean-tools

help: ## this list
	@grep -hE '^[a-z][a-z0-9%-]*:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 22

setup: setup-test setup-bench ## everything the tests and benches need (idempotent)

setup-test: ## what `make test` needs
	@scripts/setup.sh test

setup-bench: ## what `make bench` needs
	@scripts/setup.sh bench

build: ## debug binaries
	$(CARGO) build --locked --workspace --bins

release: ## release binaries
	$(CARGO) build --locked --release -p weir-proxy -p weirctl --bins

# A release build takes minutes that continuous integration does not have.
demo: PROFILE := $(if $(CI),dev,release)
demo: ## a small mesh on this machine, live (DEMO_FLAGS="--once --json" unattended)
	@scripts/setup.sh demo
	$(CARGO) build --locked --profile $(PROFILE) -p weir-proxy -p weirctl --bins
	$${CARGO_TARGET_DIR:-target}/$(if $(CI),debug,release)/weirctl demo $(DEMO_FLAGS)

test: setup-test ## every test: units, laws, oracle, vectors, attacks, restarts
	@scripts/test.sh

lint: ## formatting and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

bench-build:
	@scripts/setup.sh bench
	$(CARGO) build --locked --release -p weir-proxy -p weir-benches --bins

bench: bench-build ## all scenarios against Envoy, HAProxy and NGINX; table, chart, bars
	$(PY) benches/run.py --scenarios all --reps 3

bench-quick: bench-build ## every scenario once, one short run each: a smoke test, not a measurement
	$(PY) benches/run.py --scenarios all --reps 1 --duration 2 --warm 0.5

bench-scale: bench-build ## 10,000 clusters beside Envoy: memory, start, pushes, routes, connections (SCALE_FLAGS="--runs 5 --only push")
	$(PY) benches/scale.py $(SCALE_FLAGS)

bench-instructions: ## instructions per request of the hot path, counted by callgrind
	@scripts/setup.sh bench
	$(CARGO) build --locked --release -p weir-proxy -p weir-benches --bins
	$(PY) benches/instructions.py

bench-%: bench-build ## one scenario or bar, e.g. bench-a, bench-dr, bench-log, bench-unread
	$(PY) benches/run.py --scenarios $* --reps 3

clean-tools: ## remove what set-up put into this folder
	rm -rf .venv .tools
