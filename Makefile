# The commands of the project. Each installs what is missing first (.ci/deps).

# Outside of the checkout: RocksDB takes long to compile, and a fresh clone finds it there.
CARGO_TARGET_DIR ?= $(HOME)/.cache/ottla-target
export CARGO_TARGET_DIR
export PATH := $(PATH):$(HOME)/.cargo/bin

ARGS ?=
SUITES ?= all

SEED ?= 0

.PHONY: help run test check fix compat torture sim bench deps

help:
	@echo 'make run      build the broker and start it (ARGS="--config config/ottla.toml")'
	@echo 'make test     everything that CI does'
	@echo 'make check    format, lints, documentation and house rules; changes nothing'
	@echo 'make fix      format, and what clippy can mend by itself'
	@echo 'make compat   foreign clients against the debug build (SUITES="kcat java", ARGS=--short)'
	@echo 'make torture  clusters that are broken while clients work (ARGS="--seed 7 kill-leader"; long)'
	@echo 'make sim      one seed of the simulated clusters, with its log (SEED=7)'
	@echo 'make bench    figures beside Apache Kafka (ARGS=--quick)'
	@echo 'make deps     install what a build needs'

run: deps
	cargo build --release --locked
	exec "$$CARGO_TARGET_DIR/release/ottla" server $(ARGS)

test:
	.ci/test

check: deps
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --lib
	cargo test --locked --test it -- tidy

fix: deps
	cargo clippy --locked --workspace --all-targets --fix --allow-dirty --allow-staged
	cargo fmt --all

compat:
	.ci/deps build compat
	cargo build --locked
	compat-tests/run --broker ottla $(ARGS) $(SUITES)

# Without a scenario, all of them: about an hour.
torture:
	.ci/deps build compat
	cargo build --locked
	compat-tests/torture/torture $(or $(ARGS),all)

sim: deps
	SEED=$(SEED) cargo test --locked --test it -- --exact sim_cluster::smoke --nocapture

bench:
	.ci/deps build compat
	cargo build --release --locked
	compat-tests/perf/bench $(ARGS)

deps:
	@.ci/deps build
