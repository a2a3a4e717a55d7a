# make help tells what there is. Nothing is needed but python3 (3.11 or later) and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
BPF := src/wakizashi/probe/bpf
# clang, as a Python package of one exact version: the same source gives the same bytes anywhere.
BPF_FLAGS := -m ziglang cc -target bpfel-freestanding -O2 -g0 -Wall -Wextra -Werror
export PYTHONDONTWRITEBYTECODE = 1

# What only `make test` needs, by the program that shows it is there.
TEST_PROGRAMS := influxd:influxdb victoria-metrics:victoria-metrics nginx:nginx-light \
  tcpdump:tcpdump ip:iproute2 curl:curl sysctl:procps trafgen:netsniff-ng \
  redis-server:redis-server redis-cli:redis-tools openssl:openssl \
  haproxy:haproxy nft:nftables faketime:faketime prometheus:prometheus \
  buildah:buildah debootstrap:debootstrap crun:crun objdump:binutils tmux:tmux \
  chromium:chromium
# What only `make bench-capture` needs: the generator and the tools to compare with.
BENCH_PROGRAMS := trafgen:netsniff-ng tcpdump:tcpdump pmacctd:pmacct softflowd:softflowd ip:iproute2 sysctl:procps
# What only `make bench-center` needs: the databases that are not in the process.
CENTER_PROGRAMS := influxd:influxdb victoria-metrics:victoria-metrics redis-server:redis-server redis-cli:redis-tools

.DEFAULT_GOAL := help
.PHONY: help demo test campaign fuzz soak check lint screenshots generate generated format lock audit-locks programs bench-programs bench-capture bench-engines bench-center clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# Made anew only when pyproject.toml changes.
$(VENV)/runtime: pyproject.toml
	@command -v $(PYTHON) >/dev/null \
	  || { echo "there is no $(PYTHON): install Python 3.11 or later, or name one: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is older than 3.11; name another: make PYTHON=python3.12"; exit 1; }
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) 2>/dev/null \
	  || { rm -rf $(VENV); [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	       && apt-get update -q && apt-get install -y -q python3-venv && $(PYTHON) -m venv $(VENV); } \
	  || { rm -rf $(VENV); echo "$(PYTHON) can't make a venv: install python3-venv"; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dashboard]'
	@touch $@

$(VENV)/dev: $(VENV)/runtime
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

$(VENV)/bench: $(VENV)/runtime
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@

$(VENV)/fuzz: $(VENV)/dev
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	@touch $@

demo: $(VENV)/runtime ## probe and center on this machine, for a look (ARGS="--seconds 20")
	@if [ "$$(id -u)" = 0 ]; then $(BIN)/wakizashi demo $(ARGS); \
	elif command -v sudo >/dev/null; then sudo $(BIN)/wakizashi demo $(ARGS); \
	else echo "capturing needs root: there is no sudo here, so run 'make demo' as root"; exit 1; fi

format: $(VENV)/dev ## put the code in shape
	$(BIN)/ruff format src tests bench supply
	$(BIN)/ruff check --fix src tests bench supply

lint: $(VENV)/dev
	$(BIN)/ruff format --check src tests bench supply
	$(BIN)/ruff check src tests bench supply
	$(BIN)/mypy
	$(BIN)/mypy --explicit-package-bases -p tests -p bench -p supply
	cd proto && ../$(BIN)/buf lint

screenshots: $(VENV)/dev ## docs/images/dashboard-*.png, of a fleet that was made up
	$(call install,chromium:chromium,the pictures need it)
	$(BIN)/python -m tests.screenshots

generate: $(VENV)/dev ## the Python of proto/, and the object of traffic.bpf.c
	$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=src --pyi_out=src \
	  --grpc_python_out=src proto/wakizashi/v1/traffic.proto
	cd $(BPF) && $(CURDIR)/$(BIN)/python $(BPF_FLAGS) -c traffic.bpf.c -o traffic.bpf.o

lock: $(VENV)/dev ## requirements/ from pyproject.toml (ARGS=--upgrade: the newest versions)
	$(BIN)/python -m supply.lock $(ARGS)

audit-locks: $(VENV)/dev ## vulnerabilities known in requirements/ (asks PyPI's advisory service)
	$(BIN)/python -m supply.audit

check: lint ## formatting, lint, types, and the tests that need no server
	$(BIN)/pytest -n 2 tests/unit tests/property tests/project

# $(call install,PROGRAM:PACKAGE …,what happens without them)
define install
	@missing=; for pair in $(1); do \
	  PATH="$$PATH:/usr/sbin:/sbin" command -v "$${pair%%:*}" >/dev/null \
	    || missing="$$missing $${pair##*:}"; done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing$$missing"; apt-get update -q >/dev/null \
	    && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing >/dev/null; \
	  else echo "missing:$$missing; $(2)"; fi; fi
endef

programs:
	$(call install,$(TEST_PROGRAMS),the tests that need them will be skipped (fail in CI))
	@sh tests/build-ferretdb.sh
	@sh tests/build-grpcurl.sh
	@sh tests/build-kustomize.sh

bench-programs:
	$(call install,$(BENCH_PROGRAMS),what needs them will be shown as failed)

test: lint programs ## everything: check, and the tests with real servers and namespaces (root)
	PATH="$$PATH:/usr/sbin:/sbin" $(BIN)/pytest

RUNS ?= 200
JOBS ?= 4
campaign: $(VENV)/dev programs ## seeded fault schedules against an oracle (root; RUNS=200 JOBS=4), can be gone on with
	PATH="$$PATH:/usr/sbin:/sbin" $(BIN)/python -m tests.fault.campaign --runs $(RUNS) --jobs $(JOBS) $(ARGS)

SECONDS ?= 300
fuzz: $(VENV)/fuzz ## search for inputs that break something (SECONDS=300 for each TARGET=, all by default)
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(if $(TARGET),--target $(TARGET))

MINUTES ?= 10
soak: $(VENV)/bench ## whether probe and center stay as large as they are (root; MINUTES=10)
	$(BIN)/python -m bench.soak --minutes $(MINUTES) $(ARGS)

bench-capture: $(VENV)/bench bench-programs ## CPU a packet, with our engines and with peers (root; ARGS=--quick)
	$(BIN)/python -m bench.capture $(ARGS)

bench-engines: $(VENV)/runtime ## ns a packet in the kernel; memory, start and idling of a probe (root)
	$(BIN)/python -m bench.ebpf_program
	$(BIN)/python -m bench.footprint

bench-center: $(VENV)/bench ## records a second through the center into each database, and fleets (ARGS=--quick)
	$(call install,$(CENTER_PROGRAMS),what needs them will be shown as not available)
	$(BIN)/python -m bench.center $(ARGS)

clean: ## remove what is made
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
