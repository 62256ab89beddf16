PYTHON ?= python3
installed := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help demo run test fuzz chaos soak check bench links docs reference lock migration clean

help: ## List these targets.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(installed) ## Run the service, a sandbox of both platforms and an example on this machine (ONCE=1: tell the story, then stop).
	@.venv/bin/attendee demo $(if $(ONCE),--once)

run: $(installed) ## Run the service with the settings in .env.
	@.venv/bin/attendee serve

test: $(installed) ## Run the tests, on SQLite and on a PostgreSQL of their own.
	@tests/install-postgresql
	@tests/install-chromium
	@.venv/bin/pytest -n 3 --dist loadgroup

chaos: $(installed) ## Kill processes at random for two minutes and look for broken promises (SEED=, SECONDS=, CALENDARS=).
	@tests/install-postgresql
	@SEED="$(SEED)" SECONDS="$(SECONDS)" CALENDARS="$(CALENDARS)" .venv/bin/python -m tests.chaos

soak: $(installed) ## Twenty minutes of load: nothing may be lost, and memory may not grow (SEED=, SECONDS=, CALENDARS=).
	@tests/install-postgresql
	@SEED="$(SEED)" SECONDS="$(SECONDS)" CALENDARS="$(CALENDARS)" .venv/bin/python -m tests.chaos soak

check: $(installed) ## Lint, check the format, the types and the import rules.
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@.venv/bin/mypy
	@.venv/bin/lint-imports

fuzz: $(installed) ## Send strange requests to every route, and strange answers of platforms, for an hour (FUZZ= for each, SEED=).
	@tests/install-postgresql
	@seed="$(or $(SEED),$$(date +%s))" && echo "The same again: make fuzz SEED=$$seed" && FUZZ="$(or $(FUZZ),500)" \
		.venv/bin/pytest -n 2 -v -o timeout=0 --hypothesis-seed="$$seed" \
		tests/api/test_contract.py tests/test_fuzz.py tests/test_fuzz_payloads.py

bench: $(installed) ## Measure the budgets, in some minutes (ONLY="quiet idle": only those, or curves; JSON=FILE: keep them there).
	@tests/install-postgresql
	@.venv/bin/python -m bench $(ONLY) $(if $(JSON),--json $(JSON))

links: $(installed) ## Find meeting links in the corpus: precision, recall and speed, in a minute.
	@.venv/bin/python -m bench links

docs: $(installed) ## Build the documentation as a site, in docs/_build; what leads nowhere is an error.
	@.venv/bin/python -m sphinx -q -W --keep-going -b html docs docs/_build
	@echo "Open docs/_build/index.html"

reference: $(installed) ## Write the reference pages and the OpenAPI document from the code.
	@.venv/bin/python -m docs.generate

lock: $(installed) ## Pin the newest versions that pyproject.toml allows: requirements.lock, and deploy/ for the image.
	@.venv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --extra dev --extra docs --output-file requirements.lock pyproject.toml
	@echo hatchling | .venv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-annotate --constraint requirements.lock \
		--output-file deploy/requirements.lock pyproject.toml -

migration: $(installed) ## Write a migration from what changed in the tables (m="what it does").
	@test -n "$(m)" || { echo 'Say what it does: make migration m="Add a column for ..."' >&2; exit 1; }
	@scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && \
		export ATTENDEE_DATABASE_URL="sqlite:///$$scratch/schema.sqlite3" && \
		number=$$(printf '%04d' $$(($$(ls src/attendee/store/migrations/versions/[0-9]*.py | wc -l) + 1))) && \
		.venv/bin/alembic upgrade head && .venv/bin/alembic revision --autogenerate --rev-id "$$number" -m "$(m)"

clean: ## Remove the virtual environment and what the tools have cached.
	@rm -rf .venv .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache __pycache__ dist docs/_build
	@find bench clients docs examples src tests -name __pycache__ -prune -exec rm -rf {} +

$(installed): requirements.lock pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || \
		{ echo "There is no '$(PYTHON)' here: install Python 3.11 or newer, or name yours (make PYTHON=...)." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "'$(PYTHON)' is older than Python 3.11: install a newer one, or name yours (make PYTHON=...)." >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "'$(PYTHON)' has no venv module: install it (on Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; }
	@echo "Installing into .venv; the first time takes about a minute ..."
	@.venv/bin/python -c 'import pip' 2>/dev/null || "$(PYTHON)" -m venv --clear .venv
	@.venv/bin/pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock
	@.venv/bin/pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
