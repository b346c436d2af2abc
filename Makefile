# What the README's commands call. `make demo`, `make run` and `make test` prepare everything that they need.

SHELL := /bin/bash
CARGO ?= cargo
# Network namespaces need root. Building does not, so that only what was built goes through sudo.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo -E)
HOST := $(shell rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
BUILD := $(CARGO) build --release --workspace --all-features --bins
CHOICES = $(if $(STORE),--store $(STORE)) $(if $(SEED),--seed $(SEED)) $(if $(BREAK),--break $(BREAK))

.PHONY: demo run test sim planted torture fuzz fuzz-corpus mutants bench lint deps bench-deps

# The whole path with real clients, each line checked.
# STORE=postgres; SEED=number; BREAK=reach|impp|tone|relay|vcard|roster.
demo: deps
	$(BUILD)
	$(SUDO) target/release/demo show $(CHOICES)

# The same servers on this machine's loopback until Ctrl-C, for clients of your own.
run: deps
	$(BUILD)
	target/release/demo serve $(CHOICES)

# Everything: units, simulations (with one endpoint and with three), contracts, real servers, in random order. ARGS go to the test programs, as
# ARGS=--test-threads=8. SHUFFLE=seed gives an order again that failed; each program prints its seed.
# The order is an unstable option of the standard test harness, which the variable unlocks in the programs alone.
test: deps
	CARGO_TARGET_$(HOST)_RUNNER='$(SUDO) env RUSTC_BOOTSTRAP=1' $(CARGO) test --workspace --all-features --tests -- \
	  -Z unstable-options $(if $(SHUFFLE),--shuffle-seed=$(SHUFFLE),--shuffle) $(ARGS)
	ENDPOINTS=3 $(CARGO) test --workspace --all-features --test 'sim_*' -- --skip whatever_is_drawn_ends_well
	$(CARGO) test --workspace --all-features --doc

# The simulated world with faults: SEEDS=1000000 seeds, optimized, beginning with FROM=0. SEED=number plays one of them aloud.
SIM_BUILD = $(CARGO) build --workspace --all-features --bin sim
SIM = $${CARGO_TARGET_DIR:-target}

sim:
ifdef SEED
	$(SIM_BUILD)
	SEED=$(SEED) $(SIM)/debug/sim
else
	$(SIM_BUILD) --release
	SEEDS=$(SEEDS) FROM=$(FROM) $(SIM)/release/sim
endif

# Plants each bug of tests/planted in a copy of the tree, and demands that the simulation finds it. BUG=name plants one.
planted:
	tests/planted/run $(BUG)

# The torture messages of RFC 4475 and RFC 5118 against a service of its own, over every transport: prints the table.
torture:
	$(CARGO) build --workspace --all-features --bins
	target/debug/torture

# Each fuzz target for a minute: bytes for the parsers, sequences of operations for the machines. TARGET=uri runs one;
# FUZZ_SECONDS=600 runs longer; FUZZ_SANITIZER=address looks at memory as well. Fails, and says how to replay, if one
# crashes. What was found before stands in fuzz/corpus and is part of `make test`.
CARGO_FUZZ := 0.13.2
CARGO_FUZZ_THERE = $(CARGO) fuzz --version 2>/dev/null | grep -qF $(CARGO_FUZZ) \
  || $(CARGO) install --locked cargo-fuzz --version $(CARGO_FUZZ)

fuzz:
	@$(CARGO_FUZZ_THERE)
	@fuzz/run $(TARGET)

# Takes the best of what `make fuzz` has made up into fuzz/corpus.
fuzz-corpus:
	@$(CARGO_FUZZ_THERE)
	@fuzz/run --keep $(TARGET)

# Our parser beside others, the relay, the endpoint alone, and registrations and calls beside Debian's Kamailio, which is
# installed for this alone. BENCHMARKS.md holds what was reached. LOAD and CALLS hold options for the last two, as
# CALLS='--only cost --json figures.json'.
bench: bench-deps
	$(CARGO) bench -p cusax-common --bench sip
	$(CARGO) bench -p cusax-b2bua --features io --bench relay --bench registrations --bench calls
	$(CARGO) build --profile dist --workspace --all-features --bins
	target/dist/load registrations $(LOAD)
	target/dist/load calls $(CALLS)

# What a reader would say, said by programs. A core must build, and resolve, without anything that touches the world.
CORES := cusax-common cusax-b2bua cusax-xmpp
WORLD := tokio|sqlx|redis|axum|socket2|mio|nix
CARGO_DENY := 0.20.2

lint:
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	@$(CARGO) deny --version 2>/dev/null | grep -qF $(CARGO_DENY) || $(CARGO) install --locked cargo-deny --version $(CARGO_DENY)
	$(CARGO) deny --all-features check bans licenses sources
	@for core in $(CORES); do \
	  found=$$($(CARGO) tree -p $$core -e normal --no-default-features --prefix none | grep -E '^($(WORLD))[ -]' | sort -u); \
	  if [ -n "$$found" ]; then echo "the core of $$core depends on: $$found" >&2; exit 1; fi; \
	done
	for core in $(CORES); do $(CARGO) check -p $$core --lib --no-default-features || exit 1; done
	$(CARGO) clippy --workspace --all-targets --all-features -- -D warnings

# Breaks the code in every small way, one at a time, and asks the tests of its package whether they notice. FILE=path
# takes one file, MUTANTS more options, as MUTANTS='--shard 0/4' or MUTANTS=--list. `.cargo/mutants.toml` holds the rest.
# Some loops become endless and eat memory, so both have limits. It builds in copies: a folder shared with them would pass
# one for another.
CARGO_MUTANTS := 27.1.0
MUTATED := $(addprefix b2bua/src/core/,auth.rs deadline.rs $(addprefix transaction/,accepted.rs answer.rs client.rs follow_up.rs \
  invite_client.rs invite_server.rs key.rs mod.rs output.rs remembered.rs row.rs server.rs servers.rs table.rs timer.rs)) \
  $(addprefix common/src/core/sip/,digest.rs frame.rs typed/auth.rs)
FILE ?= $(MUTATED)

mutants:
	@$(CARGO) mutants --version 2>/dev/null | grep -qF $(CARGO_MUTANTS) || $(CARGO) install --locked cargo-mutants --version $(CARGO_MUTANTS)
	@ulimit -v 12000000; export CARGO_PROFILE_DEV_DEBUG=none; code=0; \
	for package in $(sort $(foreach file,$(FILE),$(firstword $(subst /, ,$(file))))); do \
	  mkdir -p target/mutants/$$package; \
	  env -u CARGO_TARGET_DIR nice -n 15 $(CARGO) mutants --package cusax-$$package --no-default-features --jobs 1 --timeout 20 \
	    --output target/mutants/$$package $(addprefix --file ,$(FILE)) $(MUTANTS) || code=$$?; \
	done; exit $$code

deps:
	deploy/install-deps.sh

bench-deps:
	deploy/install-deps.sh bench
