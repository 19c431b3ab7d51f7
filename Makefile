# Start with `make help`. The tools are built from modules of their own
# (deploy/tools/*/go.mod) into deploy/tools/bin, once for each version.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
# The steps of `test` and `check` are in order; go uses all cores by itself.
.NOTPARALLEL:
.DEFAULT_GOAL := help

GO ?= go
TOOLS := deploy/tools
BIN := $(TOOLS)/bin

VERSION ?= $(or $(shell git describe --tags --always --dirty 2>/dev/null),dev)
# Without a usable repository (an archive, somebody else's checkout) there is no
# revision to stamp, and go would refuse to build.
BUILDVCS := $(if $(shell git rev-parse -q --verify HEAD 2>/dev/null),,-buildvcs=false)

# More flags for go test, such as -p=1, -run=Name or -count=1.
TESTFLAGS ?=
FUZZTIME ?= 10s
BENCH ?= .
BENCHTIME ?= 1s
# More flags for bench-compare, such as --loads=tls,h2, --idle=8000, --syscalls, --check or --markdown.
COMPARE ?=
# More flags for bench-faults, such as --only=R1,R4, --proxies=usher,nginx or --markdown.
FAULTS ?=

# The Consul of the tests: USHER_TEST_CONSUL, else one on PATH, else our own build.
USHER_TEST_CONSUL ?= $(shell command -v consul)
ifeq ($(USHER_TEST_CONSUL),)
override USHER_TEST_CONSUL := $(CURDIR)/$(BIN)/consul
CONSUL := $(BIN)/consul
endif
# What the end-to-end tests need besides.
E2E := $(CONSUL) $(BIN)/h2spec $(BIN)/grpc-interop-client $(BIN)/grpc-interop-server \
	$(TOOLS)/ws/node_modules $(TOOLS)/browser/node_modules

# Where the browser tests keep their screenshots.
USHER_TEST_SCREENSHOTS ?= $(CURDIR)/bin/screenshots

# The ACME server of the tests: USHER_TEST_PEBBLE, else one on PATH, else our own build.
# pebble-challtestsrv is in the same folder.
USHER_TEST_PEBBLE ?= $(shell command -v pebble)
ifeq ($(USHER_TEST_PEBBLE),)
override USHER_TEST_PEBBLE := $(CURDIR)/$(BIN)/pebble
PEBBLE := $(BIN)/pebble $(BIN)/pebble-challtestsrv
endif

# The Prometheus of the tests: USHER_TEST_PROMTOOL, else our own build. prometheus is in the
# same folder. Those on PATH are often years old.
USHER_TEST_PROMTOOL ?=
ifeq ($(USHER_TEST_PROMTOOL),)
override USHER_TEST_PROMTOOL := $(CURDIR)/$(BIN)/promtool
PROMTOOL := $(BIN)/promtool $(BIN)/prometheus
endif

##@ Use

.PHONY: help
help: ## this list
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z0-9-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\nVariables: VERSION, TESTFLAGS, FUZZTIME, BENCH, BENCHTIME, COMPARE, FAULTS, USHER_TEST_CONSUL, USHER_TEST_PEBBLE, USHER_TEST_PROMTOOL\n'

.PHONY: build
build: ## build bin/usher
	$(GO) build -trimpath $(BUILDVCS) -ldflags '-X main.version=$(VERSION)' -o bin/usher ./cmd/usher

.PHONY: dev
dev: build ## build and run the demo on 127.0.0.1:8080
	bin/usher dev

.PHONY: man
man: build ## build the man pages, bin/man/*.1
	bin/usher man --dir bin/man

.PHONY: clean
clean: ## remove what make built (go's cache stays, so tools come back quickly)
	rm -rf bin $(BIN) $(TOOLS)/ws/node_modules $(TOOLS)/browser/node_modules

##@ Check

.PHONY: check
check: fmt-check vet lint ## before each commit: format, vet, lint, short tests
	@echo '==> go test -race -short'
	@$(GO) test -race -short $(TESTFLAGS) ./...

.PHONY: test
test: deps consul pebble promtool vet lint unit e2e ## everything, from a fresh machine on

.PHONY: unit
unit: $(CONSUL) $(PEBBLE) $(PROMTOOL) ## go test -race, all packages but the commands
	@echo '==> go test -race'
	@pkgs=$$($(GO) list ./...); \
		pkgs=$$(grep -v '/cmd/' <<<"$$pkgs" || true); \
		[ -z "$$pkgs" ] || $(GO) test -race $(TESTFLAGS) $$pkgs

.PHONY: e2e
e2e: $(E2E) $(PEBBLE) $(PROMTOOL) ## the end-to-end tests, those of cmd/
	@pkgs=; if [ -d cmd ]; then pkgs=$$($(GO) list ./cmd/...); fi; \
		if [ -n "$$pkgs" ]; then \
			echo '==> end-to-end tests'; \
			echo 'screenshots of the dashboard go to $(USHER_TEST_SCREENSHOTS)'; \
			$(GO) test -race -pgo=off -count=1 -timeout=25m $(TESTFLAGS) $$pkgs; \
		fi

.PHONY: browser
browser: $(CONSUL) $(TOOLS)/browser/node_modules ## the tests of the dashboard in Chromium, screenshots kept
	@echo 'screenshots go to $(USHER_TEST_SCREENSHOTS)'
	@$(GO) test -race -pgo=off -count=1 -timeout=15m -run='^TestDashboard' $(TESTFLAGS) \
		./cmd/usher ./cmd/usher/internal/admin/dashboard

.PHONY: vet
vet: ## go vet
	@echo '==> go vet'
	@$(GO) vet ./...

.PHONY: lint
lint: $(BIN)/golangci-lint ## golangci-lint, see .golangci.yml
	@echo '==> golangci-lint'
	@$(BIN)/golangci-lint run ./...

# The comments and checks of the configuration's keys go into the program first, then into
# what is made of them.
.PHONY: reference
reference: ## write docs/reference again, from the code
	@$(GO) test ./config -run '^TestReferenceNotes$$' -count=1 -update
	@$(GO) test ./config ./cmd/usher -run '^TestReference' -count=1 -update

.PHONY: fmt
fmt: $(BIN)/gofumpt ## lay out the code with gofumpt
	@$(BIN)/gofumpt -l -w .

.PHONY: fmt-check
fmt-check: $(BIN)/gofumpt
	@echo '==> gofumpt'
	@files=$$($(BIN)/gofumpt -l .); \
		[ -z "$$files" ] || { printf '%s\n' 'not formatted, run make fmt:' "$$files" >&2; exit 1; }

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME
	@$(GO) test -list '^Fuzz' ./... | \
		awk '/^Fuzz/ { name[n++] = $$1 } /^ok/ { for (i = 0; i < n; i++) print $$2, name[i]; n = 0 }' | \
		while read -r pkg name; do \
			echo "==> $$pkg $$name"; \
			$(GO) test -run='^$$' -fuzz="^$$name\$$" -fuzztime=$(FUZZTIME) "$$pkg" </dev/null; \
		done

.PHONY: bench
bench: $(CONSUL) ## benchmarks (BENCH=regexp, BENCHTIME=1s)
	@$(GO) test -run='^$$' -bench='$(BENCH)' -benchtime=$(BENCHTIME) -benchmem $(TESTFLAGS) ./...

.PHONY: pgo
pgo: ## a new profile for usher to be built along: about a minute, on a quiet machine
	@$(GO) run ./deploy/bench/compare --rounds=0 --duration=8s --profile=cmd/usher/default.pgo

.PHONY: bench-compare
bench-compare: ## beside nginx, HAProxy and bare fasthttp (COMPARE=flags): about twenty minutes
	@$(GO) run ./deploy/bench/compare $(COMPARE)

.PHONY: bench-instructions
bench-instructions: ## what resilience costs a request, in instructions: about three minutes
	@$(GO) run ./deploy/bench/instructions --functions=10

.PHONY: bench-faults
bench-faults: ## what a client sees of faults, beside nginx and HAProxy (FAULTS=flags): about nine minutes
	@$(GO) run ./deploy/bench/faults $(FAULTS)

.PHONY: outage
outage: $(CONSUL) ## the long faults: ten minutes without a registry, a minute of 500s
	@USHER_TEST_OUTAGE=10m USHER_TEST_FAILING=60s \
		$(GO) test -race -count=1 -timeout=30m -v -run='^(TestOutage|TestRegistryFails)$$' ./cmd/usher

.PHONY: abuse
abuse: ## slow connections, slow clients and hostile requests in full size (minutes)
	@deploy/bench/slow-connections.sh
	@deploy/bench/slow-clients.sh
	@deploy/bench/hostile.sh

.PHONY: vuln
vuln: $(BIN)/govulncheck ## known vulnerabilities in what usher calls (needs the network)
	@$(BIN)/govulncheck ./...

##@ Tools

.PHONY: consul
consul: $(CONSUL) ## the Consul of the tests: build it unless one is on PATH, print where it is
	@echo 'consul: $(USHER_TEST_CONSUL)'

.PHONY: pebble
pebble: $(PEBBLE) ## the ACME server of the tests: build it unless one is on PATH, print where it is
	@echo 'pebble: $(USHER_TEST_PEBBLE)'

.PHONY: promtool
promtool: $(PROMTOOL) ## the Prometheus of the tests: build it and promtool, print where they are
	@echo 'promtool: $(USHER_TEST_PROMTOOL)'

.PHONY: deps
deps: ## the programs the tests need, from Debian where apt is there
	@pkgs=; \
		command -v curl >/dev/null || pkgs="$$pkgs curl"; \
		command -v gcc >/dev/null || pkgs="$$pkgs gcc libc6-dev"; \
		command -v h2load >/dev/null || pkgs="$$pkgs nghttp2-client"; \
		command -v npm >/dev/null || pkgs="$$pkgs nodejs npm"; \
		command -v chromium >/dev/null || pkgs="$$pkgs chromium"; \
		command -v python3 >/dev/null || pkgs="$$pkgs python3"; \
		if [ -z "$$pkgs" ]; then exit 0; fi; \
		sudo=; if [ "$$(id -u)" != 0 ]; then sudo='sudo -n'; fi; \
		echo "==> apt-get install$$pkgs"; \
		if ! command -v apt-get >/dev/null || { [ -n "$$sudo" ] && ! $$sudo true; }; then \
			echo "cannot install them here; please install:$$pkgs" >&2; exit 1; \
		fi; \
		$$sudo apt-get update -q; \
		$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$pkgs

unit e2e bench outage browser: export USHER_TEST_CONSUL := $(USHER_TEST_CONSUL)
e2e browser: export USHER_TEST_SCREENSHOTS := $(USHER_TEST_SCREENSHOTS)
unit e2e: export USHER_TEST_PEBBLE := $(USHER_TEST_PEBBLE)
unit e2e: export USHER_TEST_PROMTOOL := $(USHER_TEST_PROMTOOL)

# $(call tool,binary,module folder,package,how long): the binary is as new as its
# module's go.mod and go.sum, so a repeated run does nothing.
define tool
$(BIN)/$(1): $(TOOLS)/$(2)/go.mod $(TOOLS)/$(2)/go.sum
	@echo '==> building $(1), the first time this takes $(4)'
	@cd $(TOOLS)/$(2) && GOWORK=off $(GO) build -o ../bin/$(1) $(3)
	@touch $$@
endef
$(eval $(call tool,consul,consul,github.com/hashicorp/consul,about five minutes))
$(eval $(call tool,golangci-lint,lint,github.com/golangci/golangci-lint/v2/cmd/golangci-lint,about three minutes))
$(eval $(call tool,gofumpt,lint,mvdan.cc/gofumpt,some seconds))
$(eval $(call tool,govulncheck,vuln,golang.org/x/vuln/cmd/govulncheck,some seconds))
$(eval $(call tool,pebble,pebble,github.com/letsencrypt/pebble/v2/cmd/pebble,some seconds))
$(eval $(call tool,pebble-challtestsrv,pebble,github.com/letsencrypt/pebble/v2/cmd/pebble-challtestsrv,some seconds))
# Without the service discoveries, whose clients are most of what there would be to compile.
$(eval $(call tool,promtool,promtool,-tags=remove_all_sd github.com/prometheus/prometheus/cmd/promtool,some minutes))
$(eval $(call tool,prometheus,promtool,-tags=remove_all_sd github.com/prometheus/prometheus/cmd/prometheus,a minute))
$(eval $(call tool,h2spec,h2spec,github.com/summerwind/h2spec/cmd/h2spec,some seconds))
$(eval $(call tool,grpc-interop-client,grpcinterop,google.golang.org/grpc/interop/client,half a minute))
$(eval $(call tool,grpc-interop-server,grpcinterop,./server,some seconds))
$(BIN)/grpc-interop-server: $(TOOLS)/grpcinterop/server/main.go

# What npm ci gets is as new as its lock file, whose hashes it checks.
$(TOOLS)/%/node_modules: $(TOOLS)/%/package.json $(TOOLS)/%/package-lock.json
	@echo '==> npm ci in $(TOOLS)/$*'
	@cd $(TOOLS)/$* && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

# The plots of the dashboard are npm's uplot, unchanged; a test says when they are not.
UPLOT := cmd/usher/internal/admin/dashboard/static/vendor/uplot
.PHONY: vendor-uplot
vendor-uplot: $(TOOLS)/browser/node_modules ## copy uPlot, in the version of deploy/tools/browser, into the dashboard
	@cp $</uplot/LICENSE $</uplot/dist/uPlot.esm.js $</uplot/dist/uPlot.min.css $(UPLOT)/
