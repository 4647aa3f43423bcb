# Everything that a developer or CI does here, by name. Bare `make` prints the list.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

GO ?= go

# What `sealpost version` says. A copy without git history has none: then the program says what Go knows.
VERSION ?= $(patsubst v%,%,$(shell git describe --tags --always --dirty 2>/dev/null))

# More words for the command that a target runs: make demo ARGS=--exit, make test ARGS='-run Retention ./audit'
ARGS ?=

# The race detector is on for all of our code. It is off for SQLite, which modernc.org/sqlite/lib is in C
# turned into Go, and for argon2, which is meant to be slow: it finds nothing of ours there, and takes
# thirty times as long for the one and half again for the other. Only packages that have no sync.Map can
# be left out: where one has, the linker may keep its copy of the map's code for the whole program, and
# the detector, not seeing what that orders, reports races that are none.
RACE := -race -gcflags='modernc.org/sqlite/lib=-race=false' -gcflags='modernc.org/libc/...=-race=false' \
	-gcflags='golang.org/x/crypto/argon2=-race=false' -gcflags='golang.org/x/crypto/blake2b=-race=false'

# Tests in an order in which the quick ones speak first, the browser and the test helpers last. `go list`
# runs when a test does, not when make reads this file.
QUICK := ^sealpost/(fault|keys|config|assist)(/|$$)
LATE := ^sealpost/(store/storetest/|web/browser$$)
PACKAGES = $$($(GO) list ./... | awk '{ print ($$0 ~ "$(QUICK)" ? 1 : $$0 ~ "$(LATE)" ? 3 : 2), $$0 }' | sort -s -k1,1 | cut -d' ' -f2)

FUZZTIME ?= 20s

.PHONY: help build demo test test-fast lint fmt bench fuzz tidy-check tools test-deps clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/sealpost: one static file, without debugging symbols
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/sealpost ./cmd/sealpost

demo: build ## build, and show Sealpost at work; needs nothing but Go (ARGS=--exit ends by itself)
	bin/sealpost demo $(ARGS)

test: test-deps bin/withpostgres ## run all tests on both databases with the race detector; installs what they need
	bin/withpostgres $(GO) test $(RACE) -shuffle=on -timeout 30m $(if $(ARGS),$(ARGS),$(PACKAGES))
	$(if $(ARGS),,$(GO) -C interop test ./...)

test-fast: bin/withpostgres ## the same without the race detector and the long tests; installs nothing
	bin/withpostgres $(GO) test -short -timeout 10m $(if $(ARGS),$(ARGS),$(PACKAGES))

lint: tools ## check the code, its formatting, and which package may import which (.golangci.yml)
	bin/golangci-lint run $(ARGS) ./...

fmt: tools ## format the code as lint wants it
	bin/golangci-lint fmt ./...

bench: build bin/withpostgres ## measure this build on this machine, on both databases, each figure beside its floor
	bin/withpostgres -durable sh -c 'exec bin/sealpost bench -postgres "$$SEALPOST_TEST_POSTGRES" $(ARGS)'

fuzz: ## run every fuzzer for a while (FUZZTIME=20s each)
	@grep -rlE '^func Fuzz' --include='*_test.go' . | sort | while read -r file; do \
		for name in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/p' "$$file"); do \
			echo "== $$(dirname "$$file") $$name"; \
			$(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")" </dev/null; \
		done; \
	done

tidy-check: ## fail if go.mod or go.sum are not what `go mod tidy` would write
	$(GO) mod tidy -diff
	$(GO) -C tools mod tidy -diff
	$(GO) -C interop mod tidy -diff

tools: ## build the linter at the version that tools/go.mod pins (two minutes the first time)
	$(GO) -C tools build -o ../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint

clean: ## remove what was built
	rm -rf bin

test-deps:
	GO='$(GO)' scripts/install-test-deps.sh

.PHONY: bin/withpostgres
bin/withpostgres:
	$(GO) build -o $@ ./store/storetest/withpostgres
