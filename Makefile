# `make help` lists the targets. Everything is made inside the folder: .venv holds the packages, .etl the servers and data.

PYTHON ?= python3
AIRFLOW2_PYTHON ?= $(PYTHON)
VENV ?= .venv
PORT ?= 3000
AIRFLOW_PORT ?= 8080
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check
LOCKS = .requirements

.DEFAULT_GOAL := help
.PHONY: help demo ui airflow test acceptance faults bench check install install-development lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-20s %s\n", $$1, $$2}'

demo: install ## Build the example's sources and tables, from nothing
	@$(VENV)/bin/etl-assets demo

ui: install ## Serve the Dagster UI on http://127.0.0.1:$(PORT); Ctrl-C stops it
	@$(VENV)/bin/etl-assets ui --port $(PORT)

airflow: install-development ## Serve the example's jobs as DAGs in an Airflow of its own, with its address and login; Ctrl-C stops it
	@mkdir -p .etl/airflow/dags
	@$(VENV)/bin/airflow-bridge export -m etl_assets.definitions -o .etl/airflow/dags/manifests --location etl_assets
	@cp docker/airflow/dags/asset_dags.py .etl/airflow/dags/
	@$(VENV)/bin/etl-assets exec -- sh -c 'export AIRFLOW_DATABASE_URL="$$($(VENV)/bin/etl-assets postgres url airflow)" && \
		exec $(VENV)/bin/airflow-bridge serve --home .etl/airflow --dags .etl/airflow/dags --port $(AIRFLOW_PORT)'

test: install-development ## Run linters, types and tests; needs nothing but Python
	$(MAKE) --no-print-directory check
	$(VENV)/bin/pytest -n 2 --show-capture=stdout

acceptance: install-development $(VENV)/httpbin/.installed $(VENV)/airflow2/.installed ## Run the tests that need system packages (installed with apt when allowed)
	@sh etl_assets_tests/acceptance/packages.sh
	$(VENV)/bin/pytest etl_assets_tests/acceptance -n 2 --override-ini norecursedirs=.* --show-capture=stdout

faults: install-development ## Load under 540 faults (about ten minutes) and write docs/reports/faults.json
	$(VENV)/bin/python -m etl_assets_tests.faults --report docs/reports/faults.json

bench: install-development $(VENV)/peers/.installed ## Measure against what people would use instead (about an hour) and write docs/reports/benchmarks.md
	$(VENV)/bin/python -m compileall -q airflow_bridge benchmarks etl_assets etl_assets_tests
	$(VENV)/bin/python -m benchmarks

check: install-development ## Run linters and types only
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

install: $(VENV)/.installed ## Install the locked packages into .venv; safe to repeat

install-development: $(VENV)/.installed-development ## Install what tests and linters need, Airflow included

# Packages come from hash-locked files without dependencies resolved anew; bytecode is compiled, or every start takes seconds longer.
$(VENV)/.installed: $(LOCKS)/demo.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "error: $(PYTHON) is $$($(PYTHON) --version 2>&1); Python 3.11 to 3.13 is needed. Next: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "error: the venv could not be made. Next: install your system's python3-venv package" >&2; exit 1; }
	@echo "Installing the locked packages into $(VENV) (about a minute) ..."
	@$(PIP) install --quiet --no-deps --require-hashes --use-pep517 --compile -r $(LOCKS)/demo.txt
	@PYTHONWARNINGS=ignore $(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@$(VENV)/bin/python -m compileall -q etl_assets airflow_bridge
	@touch $@

$(VENV)/.installed-development: $(VENV)/.installed $(LOCKS)/development.txt
	@echo "Installing what tests and linters need ..."
	@$(PIP) install --quiet --no-deps --require-hashes --use-pep517 --compile -r $(LOCKS)/development.txt
	@touch $@

$(VENV)/peers/.installed: $(VENV)/.installed-development $(LOCKS)/benchmarks.txt $(LOCKS)/cosmos.txt
	@test -x $(VENV)/peers/bin/python || $(PYTHON) -m venv $(VENV)/peers
	@$(VENV)/peers/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes --compile \
		-r $(LOCKS)/benchmarks.txt -r $(LOCKS)/cosmos.txt
	@touch $@

$(VENV)/httpbin/.installed: $(VENV)/.installed-development $(LOCKS)/httpbin.txt
	@test -x $(VENV)/httpbin/bin/python || $(PYTHON) -m venv $(VENV)/httpbin
	@$(VENV)/httpbin/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes --use-pep517 --compile -r $(LOCKS)/httpbin.txt
	@touch $@

# The project itself without its dependencies: the bridge runs beside Airflow 2, etl_assets does not.
$(VENV)/airflow2/.installed: $(VENV)/.installed $(LOCKS)/airflow2.txt
	@$(AIRFLOW2_PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || \
		{ echo "error: $(AIRFLOW2_PYTHON) is $$($(AIRFLOW2_PYTHON) --version 2>&1); Airflow 2 needs Python 3.11 or 3.12." \
			"Next: make AIRFLOW2_PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@test -x $(VENV)/airflow2/bin/python || $(AIRFLOW2_PYTHON) -m venv $(VENV)/airflow2
	@echo "Installing Airflow 2 into $(VENV)/airflow2 (about a minute) ..."
	@$(VENV)/airflow2/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes --use-pep517 --compile -r $(LOCKS)/airflow2.txt
	@PYTHONWARNINGS=ignore $(VENV)/airflow2/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

lock: ## Resolve pyproject.toml anew into .requirements (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock" \
		--extra embedded --extra ui --extra demo pyproject.toml -o $(LOCKS)/demo.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock" \
		--constraint $(LOCKS)/demo.txt --extra embedded --extra ui --extra demo --group pyproject.toml:development pyproject.toml \
		-o $(LOCKS)/development.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock" \
		--group pyproject.toml:httpbin -o $(LOCKS)/httpbin.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock" \
		--group pyproject.toml:airflow2 -o $(LOCKS)/airflow2.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock" \
		--group pyproject.toml:benchmarks -o $(LOCKS)/benchmarks.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock" \
		--no-deps --group pyproject.toml:cosmos -o $(LOCKS)/cosmos.txt

clean: ## Stop the embedded server and remove everything that was made, data included
	@test ! -x $(VENV)/bin/etl-assets || $(VENV)/bin/etl-assets postgres remove --yes
	rm -rf $(VENV) .etl
