# Everything that people and machines run here. Each command installs what it needs, pinned, and says what.

.DEFAULT_GOAL := help
# What is tested needs what was built before, also where somebody asks for many jobs at once.
.NOTPARALLEL:
.PHONY: help demo test test-rust test-vectorscan test-e2e run-e2e bench audit torture fuzz setup clean

PYTHON := .real/venv/bin/python
SAY    := @printf '\n== %s\n'
CARGO_DENY := 0.20.2
CARGO_FUZZ := 0.13.2
FUZZ_SECONDS ?= 60

help:
	@echo 'gatewayd: who may ask a model what, and the proof of it.'
	@echo
	@echo '  make demo              build, start a real provider, a real model and the gateway, and tell the story'
	@echo '  make demo ONESHOT=1    the same, ending by itself; status 0 only if everything was shown'
	@echo '  make test              formatting, clippy, unit, property, integration, doc and end-to-end tests'
	@echo '  make test-rust         the same without the end-to-end tests'
	@echo '  make test-vectorscan   only the masker with vectorscan, the one part that needs a C++ library'
	@echo '  make test-e2e          only the end-to-end tests; ARGS="-k masking" chooses some'
	@echo '  make bench             what the whole stack costs, measured here; ARGS=--quick for a minute of it'
	@echo '  make audit             licences, advisories and crate arrows with cargo-deny'
	@echo '  make torture           the long tests: crash loops, tampering, a million random cuts'
	@echo '  make fuzz              every fuzz target for FUZZ_SECONDS=$(FUZZ_SECONDS) each'
	@echo '  make clean             removes everything that was built or installed here'
	@echo
	@echo 'A first run takes minutes: it compiles everything. A second run starts within seconds.'

setup:
	@e2e/setup.sh --with-strace

demo:
	@e2e/setup.sh --with-model
	$(SAY) 'building the gateway (minutes the first time)'
	@cargo build --locked -p gatewayd
	@$(PYTHON) demo/story.py $(if $(ONESHOT),--oneshot)

# The tests of the workspace leave the gateway's program behind; building it apart would compile much of it anew.
test: setup test-rust test-vectorscan run-e2e

test-rust:
	$(SAY) 'formatting'
	@cargo fmt --all --check
	$(SAY) 'clippy, warnings denied'
	@cargo clippy --locked --workspace --all-targets -- -D warnings
	$(SAY) 'unit, property and integration tests'
	@if cargo nextest --version >/dev/null 2>&1; then \
		cargo nextest run --locked --workspace --no-fail-fast --status-level slow --final-status-level fail; \
	else \
		cargo test --locked --workspace --lib --bins --tests --no-fail-fast; \
	fi
	$(SAY) 'documentation examples'
	@cargo test --locked --workspace --doc --quiet

# Where the library cannot be installed the rest of the tests still means something; on a machine that decides, it must be there.
test-vectorscan:
	$(SAY) 'the masker with vectorscan: clippy, and every engine against the others'
	@if crates/masker/with-vectorscan.sh --check; then \
		crates/masker/with-vectorscan.sh cargo clippy --locked -p gatewayd-masker --features vectorscan --all-targets -- -D warnings && \
		crates/masker/with-vectorscan.sh cargo test --locked -p gatewayd-masker --features vectorscan --lib --test engines; \
	else \
		echo 'NOT TESTED: the engine vectorscan, an optional feature of the masker'; [ -z "$$CI" ]; \
	fi

test-e2e: setup
	$(SAY) 'building the gateway'
	@cargo build --locked -p gatewayd
	@$(MAKE) --no-print-directory run-e2e

run-e2e:
	$(SAY) 'end-to-end tests with the real parts'
	@$(PYTHON) -m pytest -c e2e/pytest.ini --rootdir e2e e2e/tests $(ARGS)

bench:
	$(SAY) 'building the gateway and the bench with optimisation (minutes the first time)'
	@cargo build --locked --release -p gatewayd -p gatewayd-benches
	$(SAY) 'what the whole stack costs'
	@"$${CARGO_TARGET_DIR:-target}/release/stack-bench" $(ARGS)

audit:
	@command -v cargo-deny >/dev/null 2>&1 || { \
		printf 'cargo-deny is missing: installing %s (some minutes, once)\n' $(CARGO_DENY); \
		cargo install --locked cargo-deny --version $(CARGO_DENY); }
	$(SAY) 'licences, sources, and who may use what'
	@cargo deny --locked check bans licenses sources
	$(SAY) 'advisories'
	@if cargo deny --locked fetch db >/dev/null 2>&1; then cargo deny --locked check advisories; \
	else echo 'NOT CHECKED: the advisory database cannot be reached from here'; fi

# Tests that take long are marked #[ignore = "torture: ..."] and have `torture` in their names.
torture: setup
	$(SAY) 'tampering, crashes, failing calls and random cuts, optimised (minutes to build, then the better part of an hour)'
	@cargo test --locked --profile torture --workspace --no-fail-fast --lib --bins --tests -- --ignored torture
	@cargo build --locked -p gatewayd
	$(SAY) 'crashes, failing disks and damaged evidence of the whole gateway'
	@GATEWAYD_TORTURE=1 GATEWAYD_CRASHES=200 GATEWAYD_DAMAGES=20 $(PYTHON) -m pytest -c e2e/pytest.ini --rootdir e2e \
		e2e/tests -k 'sigkill or faults or same_damage'

# The targets need a nightly feature of the compiler, which RUSTC_BOOTSTRAP opens on the pinned one.
fuzz:
	@command -v cargo-fuzz >/dev/null 2>&1 || { \
		printf 'cargo-fuzz is missing: installing %s (a minute, once)\n' $(CARGO_FUZZ); \
		cargo install --locked cargo-fuzz --version $(CARGO_FUZZ); }
	@for folder in crates/*/fuzz; do \
		for target in $$(cd $$folder/.. && RUSTC_BOOTSTRAP=1 cargo fuzz list); do \
			printf '\n== %s %s\n' $$folder $$target; \
			(cd $$folder/.. && mkdir -p fuzz/corpus/$$target fuzz/seeds/$$target && \
				RUSTC_BOOTSTRAP=1 cargo fuzz run $$target fuzz/corpus/$$target fuzz/seeds/$$target \
				-- -max_total_time=$(FUZZ_SECONDS)) || exit 1; \
		done; \
	done

clean:
	cargo clean
	rm -rf .real .demo e2e/idp/node_modules e2e/clients/node_modules
