# Everything that is done with this repository. build, test, demo and clean need Go alone; race
# needs a C compiler too, and peers the programs that .ci/run installs.

GO       ?= go
FUZZTIME ?= 10s
BENCH    ?= .
ARCH     ?= $(shell dpkg --print-architecture)
ROUNDS   ?= 1

# What the properties draw is the same at each run, so that a red test speaks of the change at hand;
# RAPID_SEED=0 draws anew, and soak does.
RAPID_SEED ?= 20221015
export RAPID_SEED

# Tests against programs that we did not write stand behind the build tag peers.
peer_files = $(shell grep -rl --include='*_test.go' '^//go:build peers' agent sensors plugins)
peer_dirs  = $(sort $(dir $(peer_files)))
peer_tests = $(shell grep -hoE '^func Test[A-Za-z0-9_]+.t ' $(peer_files) | sed -E 's/^func (Test[A-Za-z0-9_]+).*/\1/')

empty :=
space := $(empty) $(empty)

.DEFAULT_GOAL := help
.PHONY: build deb deb-test telegraf telegraf-test sizes all test lint asyncapi-modules asyncapi race demo fuzz bench peers board-test soak crash ci clean help

build: ## build bin/firebreak, bin/firebreak-helper and bin/firebreak-shim, static; needs Go alone
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w" -o bin/firebreak ./agent
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w" -o bin/firebreak-helper ./plugins/hooks/exec/helper
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w" -o bin/firebreak-shim ./plugins/hooks/exec/shim/standalone

deb: ## build a Debian package in bin; ARCH="amd64 arm64 armhf" for other boards, VERSION=1.2.3 for a release (needs dpkg-deb and git)
	GO="$(GO)" VERSION="$(VERSION)" bash .ci/deb $(ARCH)

deb-test: ## build the packages of all three, and install, upgrade and remove one in a directory
	GO="$(GO)" bash .ci/deb-test

telegraf: ## build bin/firebreak-telegraf, the companion; PLUGINS="inputs.snmp outputs.kafka" for other plugins
ifdef PLUGINS
	GO="$(GO)" bash .ci/companion bin/firebreak-telegraf $(PLUGINS)
else
	CGO_ENABLED=0 $(GO) build -tags telegraf -trimpath -ldflags "-s -w" -o bin/firebreak-telegraf ./plugins/telegraf
endif

all: build telegraf ## build firebreak, its helper, its shim and the companion

sizes: ## print what each part adds to bin/firebreak
	@GO="$(GO)" bash .ci/sizes

# The same flags everywhere: Telegraf is compiled once.
telegraf-test: export CGO_ENABLED = 0
telegraf-test: export GOFLAGS := $(shell $(GO) env GOFLAGS) -trimpath
telegraf-test: telegraf ## vet and test the companion, which stands behind the build tag telegraf: Telegraf takes minutes to compile
	$(GO) vet -tags telegraf,telegraf_none ./plugins/telegraf
	$$(CGO_ENABLED= GOFLAGS= $(GO) tool -n staticcheck) -tags telegraf,telegraf_none ./plugins/telegraf
	$(GO) test -tags telegraf,telegraf_none -count=1 ./plugins/telegraf
	$(GO) test -vet=off -tags telegraf -count=1 -run '^TestEveryNamedPlugin$$' ./plugins/telegraf

test: ## run all tests that need nothing but Go and /bin/sh
	$(GO) test ./...

race: ## run the same tests with the race detector
	$(GO) test -race ./...

# The flags of the boards are those of their packages: what vet compiles, deb-test does not.
lint: ## check format, vet (also for 32-bit ARM and arm64), staticcheck, modules
	@bad=$$(gofmt -l agent sensors plugins configs); if [ -n "$$bad" ]; then echo "not in gofmt's form:"; echo "$$bad"; exit 1; fi
	$(GO) vet -tags peers,board ./...
	GOOS=linux GOARCH=arm GOARM=7 CGO_ENABLED=0 $(GO) vet -trimpath -tags peers,board ./...
	GOOS=linux GOARCH=arm64 CGO_ENABLED=0 $(GO) vet -trimpath -tags peers,board ./...
	$(GO) tool staticcheck -tags peers,board ./...
	$(GO) mod verify
	$(GO) mod tidy -diff
	@if [ "$$CI" = true ]; then dirty=$$(git status --porcelain); if [ -n "$$dirty" ]; then echo "building and testing changed the tree:"; echo "$$dirty"; exit 1; fi; fi

asyncapi-modules: ## fetch AsyncAPI's own parser (needs npm)
	mkdir -p .ci/tmp/asyncapi && cp .ci/asyncapi/package.json .ci/asyncapi/package-lock.json .ci/tmp/asyncapi/
	npm ci --prefix .ci/tmp/asyncapi --ignore-scripts --no-audit --no-fund

asyncapi: ## lint docs/asyncapi.json and its schemas with that parser (needs node)
	node .ci/asyncapi/lint.mjs .ci/tmp/asyncapi docs/asyncapi.json

demo: build ## build, and play the fire of 2022 in the simulated room
	bin/firebreak demo

fuzz: ## run each fuzz target for FUZZTIME (10s)
	GO="$(GO)" bash .ci/fuzz $(FUZZTIME)

bench: ## run the benchmarks; with mosquitto and libmodbus there, also those of the whole agent, beside a plain loop
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem ./...
	@if command -v mosquitto_sub >/dev/null && [ -e /usr/include/modbus/modbus.h ]; then set -x; \
		$(GO) test -tags peers -run '^$$' -bench '$(BENCH)' -benchtime 50x -timeout 1h ./agent/e2e; \
		$(GO) test -tags peers -run '^$$' -bench '$(BENCH)' -timeout 1h ./agent/uplink; \
	else echo "agent/e2e left out: it needs mosquitto, mosquitto-clients, gcc and libmodbus-dev"; fi

peers: ## run the tests against libmodbus, pymodbus, mbpoll, mosquitto, NUT, snmpd, apcupsd, OpenIPMI, Telegraf and Chromium (see .ci/run for the packages)
	bash .ci/apcupsd .ci/tmp/apcupsd
	$(GO) test -tags peers -count=1 -v -run '^($(subst $(space),|,$(strip $(peer_tests))))$$' $(addprefix ./,$(peer_dirs))

board-test: ## boot an emulated ARM board, whose kernel reads a chip on its I2C bus (needs apt, qemu-system-arm, mosquitto)
	bash .ci/board-kernel .ci/tmp/board
	BOARD_KERNEL=$(CURDIR)/.ci/tmp/board $(GO) test -tags board -count=1 -timeout 15m -v ./agent/e2e/board

crash: ## kill the agent at 50 random moments of a plan, ROUNDS (1) times; fail its disk at 100 operations; tear its journal
	$(GO) test -count=$(ROUNDS) -timeout 2h -v -run 'Crash|Kill' ./agent/guard ./agent/journal

soak: export RAPID_SEED = 0
soak: ## the long versions: hours
	$(MAKE) crash ROUNDS=20
	FIREBREAK_CRASH_RUNS=all $(GO) test -count=1 -timeout 2h -v -run TestCrashAtEveryWrite ./agent/guard
	$(GO) test -count=1 -timeout 2h -v -run TestEveryRunEndsWithinItsCaps ./agent/guard -rapid.checks=20000
	$(MAKE) fuzz FUZZTIME=5m
	$(GO) test -race -count=10 -timeout 2h ./...
	FIREBREAK_OUTAGE=10m $(GO) test -tags peers -count=1 -timeout 1h -v -run TestKilledWhileMosquittoIsStopped ./agent/uplink
	for i in 1 2 3 4 5 6 7 8 9 10; do $(MAKE) peers || exit 1; done

ci: ## what .ci/run does once the programs are installed
	FIREBREAK_INSTALL=no bash .ci/run

clean: ## remove what was built
	rm -rf bin .ci/tmp

help: ## show this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | awk -F'|' '{printf "  make %-11s %s\n", $$1, $$2}'
