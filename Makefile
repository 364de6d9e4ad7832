# postern: what there is to type. `make help` lists it; docs/development.md explains it.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO       ?= go
FUZZTIME ?= 20s
ROUNDS   ?= 100
MILLION  ?= 1000000
# What is measured of keys, logins and domains; docs/benchmarks.md has the figures.
SCALE    := TestRefusalsAlike|TestRevokedEverywhere|TestScale|TestScaleDomains|TestScaleChecks|TestLoginCost|TestLoginsAskNoSQL|TestDomainsAskNoSQL
# Race tests need cgo; the binary never does.
BUILD    := CGO_ENABLED=0 $(GO) build -trimpath
# The end-to-end tests run one after the other, alone on the machine: they measure time.
UNIT     = $$($(GO) list ./... | grep -v -e /test/e2e -e /test/soak)

.PHONY: help
help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

.PHONY: build
build: ## bin/postern, without cgo
	$(BUILD) -o bin/postern ./cmd/postern

.PHONY: demo
demo: build ## a whole local world on loopback; ONCE=1 ends by itself with 0 or 1
	./bin/postern demo $(if $(filter-out 0,$(ONCE)),--once)

.PHONY: deps
deps: ## install what the tests need (Debian packages when root, one npm package)
	tools/testdeps

.PHONY: test
test: deps ## every test, with the foreign clients and servers; a missing program is a failure
	POSTERN_TEST_EXTERNAL=1 $(GO) test -timeout 15m $(UNIT)
	POSTERN_TEST_EXTERNAL=1 POSTERN_CRASH_ROUNDS=$${POSTERN_CRASH_ROUNDS:-20} $(GO) test -timeout 30m ./test/e2e/...

.PHONY: check
check: format vet staticcheck generated repo race ## what must hold before a commit

.PHONY: format vet staticcheck generated repo race
format: ## gofmt finds nothing to change
	@bad="$$(gofmt -l $$(git ls-files '*.go'))"; if [ -n "$$bad" ]; then echo "gofmt would change:"; echo "$$bad"; exit 1; fi
vet: ## go vet
	$(GO) vet ./...
staticcheck: ## staticcheck, at the version pinned in tools/go.mod
	@mkdir -p bin && cd tools && $(GO) build -o ../bin/staticcheck honnef.co/go/tools/cmd/staticcheck
	./bin/staticcheck ./...
generated: ## generated files are in step with their sources
	tools/generated
repo: ## import rules, dependencies, RFC references, links, security rows
	$(GO) test -count=1 ./test/repo/...
race: ## unit tests with the race detector
	CGO_ENABLED=1 $(GO) test -race -short -timeout 30m $$($(GO) list ./... | grep -v -e /test/)

.PHONY: e2e
e2e: deps ## only the end-to-end tests
	POSTERN_TEST_EXTERNAL=1 $(GO) test -count=1 -timeout 30m -v ./test/e2e/...

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (20s)
	tools/fuzz $(FUZZTIME)

.PHONY: soak
soak: scale ## ROUNDS (100) seeded kill -9 rounds under load, all power-cut images; writes their ledgers to docs/; and scale
	POSTERN_TEST_EXTERNAL=1 POSTERN_SOAK=1 POSTERN_CRASH_ROUNDS=$(ROUNDS) $(GO) test -count=1 -timeout 6h -v ./test/soak/...
	POSTERN_TEST_EXTERNAL=1 POSTERN_POWERCUT_PAGE=1 POSTERN_POWERCUT_IMAGES=1000000 $(GO) test -count=1 -timeout 1h -v -run 'TestPowerCut$$' ./test/e2e

.PHONY: scale
scale: deps ## 100,000 keys, 100,000 domains, 18,000 refusals on SMTP and on HTTP, 200 revocations: what docs/benchmarks.md says of keys, logins and domains
	POSTERN_TEST_EXTERNAL=1 POSTERN_SOAK=1 $(GO) test -count=1 -timeout 1h -v -run '^($(SCALE))$$' ./test/e2e

.PHONY: bench
bench: build ## postern beside tuned Postfix (and OpenDKIM), A B A B, and a long queue; writes docs/benchmarks.md
	tools/testdeps bench
	$(GO) run ./bench/million -postern bin/postern -n $(MILLION) >bin/million.json
	$(GO) run ./bench -postern bin/postern -million bin/million.json -out docs/benchmarks.md

.PHONY: screenshots
screenshots: deps ## pictures of the console's pages, into docs/console
	mkdir -p docs/console && rm -f docs/console/*.webp
	POSTERN_SCREENSHOTS=$(CURDIR)/docs/console POSTERN_TEST_EXTERNAL=1 $(GO) test -count=1 -timeout 15m ./test/browser/

.PHONY: docs
docs: ## write the generated pages anew
	$(GO) generate ./...

.PHONY: clean
clean: ## what this file made
	rm -rf bin .cache .demo
