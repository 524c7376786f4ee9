# The front door. Works with GNU make 3.81 and newer.
#   PYTHON=/path/to/python3   the interpreter that .venv is made with
#   ARGS="-k journal -x"      more arguments for pytest
#   MINUTES=20 SEED=…         make soak: how long, and a seed that was printed before
#   KEEP=1                    make demo: leave everything running
#   MODE=stream               make demo: by Stream mode, without a callback URL

BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
ARGS ?=
MINUTES ?= 20
SEED ?=
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all test-unit test-integration test-faults test-lives test-long soak test-newcomer test-compose test-deploy test-console test-contract test-connect test-scale manifests pictures bench lint format lock clean dist servers

help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z][a-z-]*:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' Makefile

install: ## Make .venv with everything pinned by hash, and .venv/bin/dingbridge
	@scripts/install

demo: install ## The whole bridge on this machine with a simulated company, 1 minute (KEEP=1 leaves it up, MODE=stream)
	@KEEP="$(KEEP)" MODE="$(MODE)" $(BIN)/python -m dev.demo

test: ## Unit tests, lives, and each test that a claim names (docs/reference/claims.md), on real Kafka and PostgreSQL: 5 minutes
	@scripts/install jars
	@DINGBRIDGE_QUICK=1 scripts/test --claims $(ARGS)

test-all: servers ## All of unit, lives, integration and faults
	@scripts/install sdk
	@scripts/test $(ARGS)

test-unit: install ## Tests that need no network
	$(PYTEST) tests/unit $(ARGS)

test-integration: servers ## Tests on real Kafka, PostgreSQL, SQLite and real HTTP
	$(PYTEST) tests/integration $(ARGS)

test-faults: servers ## Tests that kill, freeze and starve
	$(PYTEST) tests/faults $(ARGS)

test-lives: install ## Whole lives of consumers and bridge by seed, in memory (LIVES=1-500 for more)
	$(PYTEST) tests/lives $(ARGS)

test-long: servers ## All tests in the sizes that pages promise, with free dice (about 40 minutes)
	@scripts/install sdk
	@DINGBRIDGE_LONG=1 scripts/test -n 3 -o faulthandler_timeout=3600 $(ARGS)

soak: servers ## Faults at random under steady load, then the comparison (MINUTES=20, SEED=…)
	$(BIN)/python -m tests.soak $(MINUTES) $(if $(SEED),--seed $(SEED))

test-newcomer: servers ## What a newcomer does, in a clone: the demo, the tutorial, new-consumer, a repository of one's own
	@scripts/install lint
	$(PYTEST) tests/newcomer -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

test-compose: install ## The image and docker-compose.yml, on the Docker engine that answers
	$(PYTEST) tests/compose $(ARGS)

test-deploy: servers ## deploy/: the chart by helm, Kubernetes manifests by its schemas, alerts and dashboards by Prometheus, the edge by Caddy and nginx, the simulator by a Java SDK (66 MB and helm by Go, once)
	@tools="$$(scripts/deploy-tools)" && eval "$$tools" && $(PYTEST) tests/deploy $(ARGS)

test-console: servers ## The console in a real Chromium: each page, both languages, axe-core, roles, letters sent back (50 MB once)
	@tools="$$(scripts/console-tools)" && eval "$$tools" && $(PYTEST) tests/console $(ARGS)

manifests: ## Print what the chart deploy/helm renders for deploy/kubernetes, by helm (built by Go, 2 minutes, once)
	@"$$(scripts/helm)/helm" template dingbridge deploy/helm --namespace dingbridge --values deploy/helm/examples/manifests.yaml $(ARGS)

pictures: servers ## The pictures of docs/guide/console.md, of a console in a real Chromium (2 minutes)
	@tools="$$(scripts/console-tools)" && eval "$$tools" && $(BIN)/python -m dev.pictures

test-contract: servers ## The contract in Node, Java, Go and Python: examples, generated models, AsyncAPI's own judges (250 MB once; needs npm, Maven, Go)
	$(PYTEST) tests/contract $(ARGS)

test-connect: servers ## examples/scale/connect: a real Kafka Connect fills PostgreSQL, and is killed meanwhile (95 MB once; 3 minutes)
	$(PYTEST) tests/scale/test_connect.py $(ARGS)

test-scale: servers ## The same, and what is larger still: Flink by examples/scale/flink, tables in Flink and ClickHouse (500 MB more once)
	$(PYTEST) tests/scale $(ARGS)

bench: servers ## Figures side by side in one run, to dev/benchmarks/RESULTS.md (about 20 minutes; a quiet machine)
	$(BIN)/python -m dev.benchmarks $(ARGS)

dist: install ## What is released, in dist/: wheel, sdist, pins, SBOM, checksums, and where a Docker engine answers the image (ARGS=--check: twice, and equal)
	@scripts/dist $(ARGS)

servers: ## Check, and fetch once, what starts a real Kafka and PostgreSQL here
	@scripts/install jars
	@$(BIN)/python -m dev.servers

lint: ## ruff (rules and format), mypy --strict, which way imports run; sizes, documents, deploy/ (tests/lint)
	@scripts/install lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo
	$(PYTEST) -q tests/lint -n 2

format: ## Put the code into ruff's format
	@scripts/install lint
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

lock: install ## Pin the dependencies again after a change of pyproject.toml (needs uv)
	@scripts/lock

clean: ## Remove what install, demo and tests made in this folder (not data/ that an ingress of yours uses)
	@scripts/clean
