# Everything there is to do here. Tools go into .tools inside the checkout, pinned by version and hash.

PYTHON ?= python3
TARGET := $(or $(CARGO_TARGET_DIR),target)
LOCAL := $(TARGET)/debug/keyturn-local

# Not empty on macOS.
DARWIN := $(filter Darwin,$(shell uname))

# Not empty where Lambda's binaries cannot run (macOS), or cannot be built (OpenSSL's sources take perl).
NATIVE := $(if $(DARWIN),yes,$(shell perl -MFindBin -MIPC::Cmd -MFile::Compare -MFile::Copy -e 1 2>/dev/null || echo yes))

# The functions that the demo and the benchmark run: elsewhere the very binaries that `make package` zips.
FUNCTIONS := $(if $(NATIVE),$(TARGET)/release,target/lambda/packaged)

# PostgreSQL major version of the demo, the local stack and the benchmark.
POSTGRES ?= 18

# Where there are no OpenSSL headers, OpenSSL is built from source (once, some minutes; needs perl and make).
# macOS brings its own TLS.
FEATURES := $(shell [ -n "$(DARWIN)" ] || [ -n "$$OPENSSL_DIR" ] || pkg-config --exists openssl 2>/dev/null || echo --features rotate-postgres/vendored-openssl)

.DEFAULT_GOAL := help
.PHONY: help demo local rotate test lint boundaries bench package deploy validate cloud tools clean-tools bootstrap stack servers-for-demo

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{ printf "make %-12s %s\n", $$1, $$2 }'

demo: bootstrap stack servers-for-demo ## Rotate live applications' passwords again and again, play a day on call, and show what happens
	@$(LOCAL) demo --functions $(FUNCTIONS) --postgres $(POSTGRES)

local: stack servers-for-demo ## Keep the functions' local stacks up for cargo lambda watch / invoke, until Ctrl-C
	@$(PYTHON) tests/tools/install.py cargo-lambda
	@$(LOCAL) local --postgres $(POSTGRES) $(FEATURES)

rotate: ## Ask the stack of `make local` for a rotation, as Secrets Manager does it (SECRET=shop or reports)
	@$(LOCAL) rotate $(if $(SECRET),--secret $(SECRET))

test: tools ## Run every suite, end to end, on PostgreSQL 13 to 18 where there is a database
	@echo "building the suites and the functions they run"
	@cargo build $(FEATURES) --workspace --bins --tests
	cargo test $(FEATURES) --workspace

lint: boundaries ## Check formatting, clippy and dependency boundaries; warnings are errors
	cargo fmt --all --check
	cargo clippy $(FEATURES) --workspace --all-targets -- -D warnings
	cargo clippy $(FEATURES) --package keyturn-tests --test cloud -- -D warnings

bench: bootstrap stack servers-for-demo ## Measure cold start, memory, size, and what each step and each tick costs
	@$(LOCAL) bench --functions $(FUNCTIONS) --postgres $(POSTGRES)

package: ## Build each function's zip for Lambda (ARCHITECTURE=arm64 or x86_64; this machine's unless named)
	@$(PYTHON) tests/tools/install.py cargo-lambda
	@$(PYTHON) infra/tools/package.py $(ARCHITECTURE)

deploy: ## Deploy what `make package` built, with the answers in infra/samconfig.toml
	@$(PYTHON) tests/tools/install.py sam
	@.tools/sam/run infra/tools/deploy.py $(OPTIONS)

validate: package servers-for-demo ## Check infra/, and deploy it into a local AWS where everything has to do its job
	@$(PYTHON) tests/tools/install.py cloud sam checkov schemas
	@.tools/cloud/run infra/tools/validate.py
	@.tools/cloud/run infra/tools/examples.py
	@.tools/cloud/run -m check_jsonschema --builtin-schema vendor.github-workflows --quiet .github/workflows/*.yml
	$(if $(DARWIN),@echo "the local AWS runs the functions as processes of this machine: Linux only",cargo test $(FEATURES) --workspace --test cloud)

cloud: package stack servers-for-demo ## Keep that local AWS up, with the functions deployed into it, until Ctrl-C
	@$(PYTHON) tests/tools/install.py cloud sam
	@$(LOCAL) cloud --postgres $(POSTGRES)

tools: ## Install the servers that the suites run: PostgreSQL 13 to 18, and one that speaks MongoDB's protocol
	@$(PYTHON) tests/tools/install.py servers

clean-tools: ## Remove everything that was installed into .tools
	rm -rf .tools

ifneq ($(NATIVE),)
# Each alone, as package.py does it.
bootstrap:
	@echo "building rotate-postgres, rotate-mongo and oncall-sync for release (minutes the first time)"
	@for function in rotate-postgres rotate-mongo oncall-sync; do cargo build --release -p $$function || exit; done
else
bootstrap: package
endif

stack:
	@echo "building the local stack"
	@cargo build $(FEATURES) -p keyturn-tests --bin keyturn-local

servers-for-demo:
	@$(PYTHON) tests/tools/install.py postgres $(POSTGRES)
	@$(PYTHON) tests/tools/install.py secantusdb

# $(call carries,PACKAGE): the crates that ship with PACKAGE, one a line; empty when cargo cannot tell.
carries = $$(cargo tree --package $(1) --edges normal --prefix none --no-dedupe | sort -u)

# $(call without,PACKAGE,CRATES,REASON): CRATES (a pattern for "name version") are not among them.
define without
	@crates="$(call carries,$(1))"; \
	if [ -z "$$crates" ]; then echo "lint: cargo tree says nothing about $(1)" >&2; exit 1; fi; \
	if printf '%s\n' "$$crates" | grep -E '^($(2))'; then \
	  echo "lint: $(1) must not carry that: $(3)" >&2; exit 1; \
	fi
endef

boundaries:
	@echo "checking what each crate carries"
	$(call without,rotate-postgres,reqwest v,vendors are for other functions)
	$(call without,rotate-postgres,hyper v0\.|rustls v0\.2[0-2]\.,a crate's default features brought the legacy HTTP stack)
	$(call without,rotate-postgres,aws-lc-,one crypto provider: ring)
	$(call without,rotate-postgres,keyturn-tests v,the shipped function knows no tests)
	$(call without,rotate-mongo,openssl(-sys)? v|native-tls v|tokio-postgres v,one TLS provider; other databases are for other functions)
	$(call without,rotate-mongo,hyper v0\.|rustls v0\.2[0-2]\.,a crate's default features brought the legacy HTTP stack)
	$(call without,rotate-mongo,aws-lc-,one crypto provider: ring)
	$(call without,rotate-mongo,hickory-,hosts are named: nothing looks up seed lists)
	$(call without,rotate-mongo,keyturn-tests v,the shipped function knows no tests)
	$(call without,oncall-sync,openssl(-sys)? v|native-tls v|tokio-postgres v,it opens no database)
	$(call without,oncall-sync,hyper v0\.|rustls v0\.2[0-2]\.,a crate's default features brought the legacy HTTP stack)
	$(call without,oncall-sync,aws-lc-,one crypto provider: ring)
	$(call without,oncall-sync,keyturn-tests v,the shipped function knows no tests)
	$(call without,keyturn,tokio-postgres|postgres|native-tls|openssl(-sys)? v|reqwest,the core knows no database and no vendor)
