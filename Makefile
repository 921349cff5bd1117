# Everything a developer or a CI machine does is a target here. `make help` lists them.

GO      ?= go
BIN     := $(CURDIR)/bin
MODULE  := opensessionmanager
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -X $(MODULE)/internal/version.Version=$(VERSION)

# The server that tests start. It is not shipped, and building it takes 5 minutes of a
# processor, once per change of its go.mod; after make clean some seconds.
CONSUL := $(BIN)/consul

# The OpenID provider that tests start needs node and npm.
OIDC := tools/oidc/node_modules/.package-lock.json

STATICCHECK := $(BIN)/staticcheck
STATICCHECK_VERSION := v0.8.2
# Texts that go over the wire begin as the vendor's do, so ST1005 (lower case) is off.
STATICCHECK_CHECKS := inherit,-ST1005

# How long each fuzz target runs, and the packages whose benchmarks run.
FUZZTIME ?= 10s
BENCH    ?= ./...

# The race detector needs a C compiler; without one the tests run without it.
RACE := $(shell command -v $${CC:-cc} >/dev/null 2>&1 && echo -race)

# Several brokers in one process make the actor library race with itself, so the
# cluster packages run without the detector; the actors run with it, on a single system.
RACE_PACKAGES = $$($(GO) list ./... | grep -v -e '/cluster/')

# Where Debian has haproxy and nginx, which is not in every user's PATH.
export PATH := $(PATH):/usr/sbin:/sbin

.DEFAULT_GOAL := help
.PHONY: help build tools balancers generate check test test-short fleet fleet-stories fleet-outage histories race fuzz bench microbench demo demo-fleet docs clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build the programs into bin/ (static, no C)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/dcv*

tools: $(CONSUL) $(OIDC) ## Get the servers that tests start ready (Consul: 5 minutes, once; an OpenID provider)

$(CONSUL): tools/consul/go.mod tools/consul/go.sum
	GOBIN=$(BIN) $(GO) install -C tools/consul -trimpath -ldflags '-s -w' tool
	@touch $@

$(OIDC): tools/oidc/package.json tools/oidc/package-lock.json
	cd tools/oidc && npm ci --no-audit --no-fund --ignore-scripts
	@touch $@

generate: ## Write the generated files anew (needs protoc)
	$(GO) generate ./...

check: $(STATICCHECK) ## Format, vet, staticcheck, generated files, rules of the tree
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not formatted, run gofmt -w:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(STATICCHECK) -checks '$(STATICCHECK_CHECKS)' ./...
	$(MAKE) --no-print-directory generate
	@git diff --exit-code -- '*.pb.go' messages/testdata deploy || { echo "generated files are old: run make generate and commit"; exit 1; }
	$(GO) test -count=1 ./internal/layout

$(STATICCHECK):
	GOBIN=$(BIN) $(GO) install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION)

test: tools ## Run all tests, and those that can with the race detector
	$(GO) test -count=1 ./...
	$(MAKE) --no-print-directory race

test-short: ## Run what needs nothing but Go, in under two minutes
	$(GO) test -short ./...
	$(GO) test -short $(RACE) ./actors/...

fleet: tools balancers ## Tell the stories about several brokers, in one process and in many
	$(GO) vet -tags fleet ./...
	$(GO) test -count=1 -tags fleet -timeout 5m ./cluster/...
	$(MAKE) --no-print-directory --jobs 2 --output-sync fleet-stories fleet-outage
	$(GO) test -count=1 -tags fleet -timeout 5m -run '^TestDemoFleet$$' ./cmd/internal/demo

# One story is five minutes long and hardly does anything: the others are told meanwhile.
LONG_STORY := ^TestFleet_GoesOnAfterFiveMinutesWithoutConsul$$
fleet-stories: tools balancers
	$(GO) test -count=1 -tags fleet -timeout 14m -parallel 4 -run '^TestFleet_' -skip '$(LONG_STORY)' ./cmd/internal/e2e
fleet-outage: tools balancers
	$(GO) test -count=1 -tags fleet -timeout 9m -run '$(LONG_STORY)' ./cmd/internal/e2e

# One seed for each run, counted from SEED; without it they are new each time.
RUNS     ?= 100
TIME     ?= 30s
PARALLEL ?= 6
histories: tools ## Record histories of fleets under faults and check them (RUNS, TIME, PARALLEL, SEED)
	HISTORY_RUNS=$(RUNS) HISTORY_TIME=$(TIME) HISTORY_SEED=$(SEED) \
		$(GO) test -count=1 -tags fleet -v -timeout 0 -parallel $(PARALLEL) -run '^TestHistories$$' ./cmd/internal/e2e

# Load balancers that the stories run; a person installs them.
balancers:
	@missing=; \
	for need in haproxy:haproxy nginx:nginx-light curl:curl openssl:openssl; do \
		command -v $${need%:*} >/dev/null || missing="$$missing $${need#*:}"; \
	done; \
	[ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || missing="$$missing libnginx-mod-stream"; \
	[ -z "$$missing" ] || { echo "The stories about load balancers need real ones: apt-get install$$missing"; exit 1; }

race: tools ## Run the tests with the race detector
	$(GO) test -count=1 $(RACE) $(RACE_PACKAGES)
	$(GO) test -count=1 $(RACE) -tags fleet -timeout 5m ./cluster/membership

fuzz: ## Run every fuzz target for FUZZTIME (10s)
	@$(GO) list ./... | while read -r pkg; do \
		for target in $$($(GO) test -list '^Fuzz' "$$pkg" | grep '^Fuzz'); do \
			echo "$$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$pkg" || exit 1; \
		done; \
	done

bench: ## Measure the broker against its budgets, about five minutes (BENCHFLAGS; the fleet needs make tools)
	$(GO) build -o $(BIN)/bench ./bench
	$(BIN)/bench $(BENCHFLAGS)

microbench: ## Run the benchmarks of the packages
	$(GO) test -run '^$$' -bench . -benchmem $(BENCH)

demo: ## Show what it does in a few seconds; DEMO_KEEP=1 leaves it running to play with
	@echo "Building the programs; the first time takes a minute or two."
	@$(MAKE) --no-print-directory build
	@$(GO) build -o run/demo/demo ./cmd/internal/demo
	@run/demo/demo

demo-fleet: tools ## Show three brokers behind HAProxy, of which one dies (needs haproxy); DEMO_KEEP=1 too
	@echo "Building the programs; the first time takes a minute or two."
	@$(MAKE) --no-print-directory build
	@$(GO) build -o run/demo/demo ./cmd/internal/demo
	@run/demo/demo -fleet -out run/demo-fleet

docs: ## Write the configuration reference and the sample file anew
	$(GO) generate ./internal/config

clean: ## Remove what was built
	rm -rf $(BIN) $(CURDIR)/run
