# Everything that a newcomer or a machine runs on this repository. `make help` lists it.

GO ?= go
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# A linter that `go install` put into Go's own folder counts as installed, too.
GOLANGCI := $(shell command -v golangci-lint || { p=$$($(GO) env GOPATH)/bin/golangci-lint; [ -x $$p ] && echo $$p; })
SHELLCHECK := $(shell command -v shellcheck)

BUILD := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w'
# What the server is built with: work with keys is erased from registers, stack and heap (package runtime/secret).
SECRET := GOEXPERIMENT=runtimesecret

# The race detector, but not inside SQLite, which is C made Go: watching each of its memory accesses made its tests ten
# times slower, and finds no race of ours.
RACE := -race '-gcflags=modernc.org/...=-race=false'

# One test binary's time. The crash tests are the longest; a cold race build does not count.
TEST_TIMEOUT ?= 20m
PACKAGES ?= ./...

# What `make soak` multiplies: rounds of the kill -9 tests, checks of the property tests.
SOAK_ROUNDS ?= 500
SOAK_CHECKS ?= 5000

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: dev
dev: ## the whole product on this machine: server, webhook, sample tokens, an agent; nothing to set up
	$(GO) run ./server dev

.PHONY: run
run: ## serve with the configuration in the environment (docs/configuration.md)
	$(GO) run ./server

.PHONY: build
build: ## bin/tokenvault and bin/tv-webhook: static, without cgo
	$(SECRET) $(BUILD) -o bin/tokenvault ./server
	$(BUILD) -o bin/tv-webhook ./webhook-sdk/cmd/tv-webhook

.PHONY: deps
deps: ## what the tests need besides Go (gcc, PostgreSQL, Chromium, axe-core, an OAuth provider): installed as root on Debian, named otherwise
	scripts/install-test-deps

.PHONY: vet
vet: ## what the Go tool itself finds suspicious
	$(GO) vet $(PACKAGES)

.PHONY: fmt-check
fmt-check: ## say which files are not formatted
	@files=$$(gofmt -l .); [ -z "$$files" ] || { echo "not formatted (make fmt):" $$files; exit 1; }

.PHONY: fmt
fmt: ## format every Go file
	gofmt -l -w .

.PHONY: lint
lint: ## golangci-lint and shellcheck, each where it is installed
ifneq ($(GOLANGCI),)
	$(GOLANGCI) run $(PACKAGES)
else
	@echo "golangci-lint is not installed: skipped (go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.5.0)"
endif
ifneq ($(SHELLCHECK),)
	$(SHELLCHECK) $(wildcard scripts/*) .ci/run
else
	@echo "shellcheck is not installed: skipped"
endif

# The steps run one after the other, whatever -j says. -count=1: an answer from the test cache would be an old one, and
# the import test reads what the cache does not watch.
.PHONY: test
test: deps ## every test, with the race detector, on SQLite and on PostgreSQL
	@$(MAKE) --no-print-directory -j1 vet fmt-check lint
	$(SECRET) $(GO) test -count=1 ./server/internal/custody
	scripts/with-postgres $(GO) test $(RACE) -count=1 -timeout $(TEST_TIMEOUT) $(PACKAGES)

.PHONY: soak
soak: deps ## the crash and property tests at full count (SOAK_ROUNDS, SOAK_CHECKS)
	TOKENVAULT_SOAK_ROUNDS=$(SOAK_ROUNDS) RAPID_CHECKS=$(SOAK_CHECKS) \
		scripts/with-postgres $(GO) test -count=1 -p 1 -timeout 6h $(PACKAGES)

.PHONY: fuzz
fuzz: ## every fuzz target, FUZZTIME (60s) each, one after the other
	scripts/fuzz

.PHONY: bench
bench: deps ## speed and memory as ratios measured in one run, on PostgreSQL with durable commits
	TOKENVAULT_PG_FSYNC=on scripts/with-postgres $(GO) run ./bench

.PHONY: screenshots
screenshots: deps ## pictures of every page, light and dark, wide and narrow, into screenshots/
	rm -rf screenshots && mkdir screenshots
	TOKENVAULT_SCREENSHOTS=$(CURDIR)/screenshots $(GO) test -count=1 -run 'IsFitForEverybody$$' ./server/browser
	@ls screenshots | wc -l | xargs -I{} echo "screenshots: {} pictures in screenshots/"

.PHONY: clean
clean: ## remove what build and screenshots made
	rm -rf bin screenshots
