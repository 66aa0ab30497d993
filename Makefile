# `make demo` and `make test` work from a fresh clone, as root and as an ordinary user.
.DEFAULT_GOAL := help
SHELL := /bin/sh
.SHELLFLAGS := -euc

# rustup's folder, for shells that were opened before Rust was installed.
export PATH := $(PATH):$(HOME)/.cargo/bin
# Outside the clone, so that a fresh one builds in seconds.
CARGO_TARGET_DIR ?= $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/re_dms/target
export CARGO_TARGET_DIR
# Where the end-to-end tests find the programs and the sandbox's Python packages.
export RE_DMS_BIN_DIR := $(CURDIR)/target/release
export RE_DMS_VENV := $(CURDIR)/.venv
# And other versions of PostgreSQL.
export RE_DMS_POSTGRESQL := $(CURDIR)/.postgresql

# And the tools of deployment.
export RE_DMS_DEPLOY_VENV := $(CURDIR)/.venv-deploy

PROGRAMS := re_dms bootstrap sandbox

.PHONY: help
help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18

.PHONY: setup
setup: ## Install what is missing: .venv, a C compiler (as root)
	@tools/setup

.PHONY: deploysetup
deploysetup:
	@tools/setup deploy

.PHONY: testsetup
testsetup: ## Install what only the tests need, too: clients in .venv, .postgresql with npm
	@tools/setup tests

# Cargo tells a crate of one clone from the same crate of another only by its files' times: in a cache that was last used
# from another folder, files older than that use would be taken for built.
.PHONY: own-cache
own-cache:
	@mkdir -p "$$CARGO_TARGET_DIR"
	@if [ "$$(cat "$$CARGO_TARGET_DIR/.clone" 2>/dev/null || true)" != "$(CURDIR)" ]; then \
	  find capture loader plan sandbox shared telemetry tests -name '*.rs' -exec touch {} +; \
	  printf '%s\n' "$(CURDIR)" >"$$CARGO_TARGET_DIR/.clone"; \
	fi

.PHONY: build
build: setup own-cache ## Build re_dms, bootstrap and sandbox into target/release
	cargo build --release --locked
	@mkdir -p target/release
	@if [ "$$(realpath "$$CARGO_TARGET_DIR")" != "$$(realpath target)" ]; then \
	  for program in $(PROGRAMS); do install -C "$$CARGO_TARGET_DIR/release/$$program" target/release/; done; \
	fi

# The loader is linked by zig, for Lambda's glibc; the capture for this machine's.
.PHONY: package
package: deploysetup own-cache ## Pack what people install into target/package: the capture's tar.gz, the loader's zip
	cargo build --profile dist --locked --package re_dms
	PATH="$(RE_DMS_DEPLOY_VENV)/bin:$$PATH" cargo lambda build --release --locked --package re_dms_loader
	@mkdir -p target/dist
	@install -C "$$CARGO_TARGET_DIR/dist/re_dms" target/dist/
	@install -C "$$CARGO_TARGET_DIR/lambda/bootstrap/bootstrap" target/dist/bootstrap
	@tools/package target/dist target/package

# What PARAMETERS does not name stays as it was, at first as the template has it. SAM puts the package into a bucket of its own.
STACK ?= re-dms
.PHONY: deploy
deploy: deploysetup own-cache ## Deploy template.yaml to AWS: make deploy STACK=re-dms PARAMETERS="Database=analytics Workgroup=main"
	PATH="$(RE_DMS_DEPLOY_VENV)/bin:$$PATH" sam build
	PATH="$(RE_DMS_DEPLOY_VENV)/bin:$$PATH" sam deploy --stack-name "$(STACK)" --resolve-s3 --capabilities CAPABILITY_IAM \
	  --no-fail-on-empty-changeset $(if $(PARAMETERS),--parameter-overrides $(PARAMETERS)) $(DEPLOY)

.PHONY: lint
lint: own-cache ## Check the format and clippy's lints
	cargo fmt --all --check
	cargo clippy --release --locked --workspace --all-targets -- -D warnings

.PHONY: test
test: testsetup lint build ## Lint, then all unit and end-to-end tests
	cargo test --release --locked --workspace

.PHONY: bench
bench: build ## Size and start of the loader, slots against pg_recvlogical, the initial copy against COPY (BENCH="--scale 0.1": smaller)
	cargo bench --locked --workspace --bench load
	cargo bench --locked --workspace --bench drain -- $(BENCH)
	cargo bench --locked --workspace --bench copy -- $(COPYBENCH)

.PHONY: histories
histories: build ## Random histories through the pipeline for RE_DMS_HISTORY_SECONDS (600)
	RE_DMS_HISTORY_SECONDS=$${RE_DMS_HISTORY_SECONDS:-600} cargo test --release --locked --workspace --test end_to_end -- \
	  --nocapture random_histories

.PHONY: demo
demo: build ## A live workload through the whole pipeline, then both sides compared
	@target/release/sandbox demo

.PHONY: clean
clean: ## Remove the programs and what setup installed here (the build cache stays)
	rm -rf target .venv .venv-deploy .postgresql .aws-sam
