# Two commands are enough: `make run` and `make test`. Each sets up what it needs, once.
PYTHON ?= python3
PY := .venv/bin/python
.DEFAULT_GOAL := help
.PHONY: help run test check facts audit style weigh ledger engine screenshots reference training clean set-up-app set-up-dev

help: ## list the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 14 | sed 's/^/  make /'

# a HOST of the shell's own does not open the app to others: only one on make's command line counts
run: set-up-app ## set everything up and open the app on 127.0.0.1 (PORT=8501)
	@WEIGHBRIDGE_HOST=$(if $(filter command%,$(origin HOST)),$(HOST)) $(PY) tools/run_app.py

# the engine spins on every core and a browser is slow beside others: those tests run alone, the rest side by side
test: set-up-dev ## set everything up and run every check and every test
	@failed=0; \
	$(PY) -m ruff check . || failed=1; \
	$(PY) -m mypy || failed=1; \
	$(PY) -m pytest -n auto --dist loadfile -m "not engine and not browser" || failed=1; \
	$(PY) -m pytest -m "engine or browser" || failed=1; \
	exit $$failed

check: set-up-dev ## the fast part: ruff, mypy, tests without engine and browser
	@$(PY) -m ruff check .
	@$(PY) -m mypy
	@$(PY) -m pytest -q -n auto --dist loadfile -m "not engine and not browser"

facts: set-up-app ## whether the fact files and the suites agree with themselves
	@$(PY) -m catalog check
	@$(PY) -m evals.suites.generate --check

# what is installed, with all that came along; --strict: a package nobody could look up is no clean one
audit: set-up-app ## look every installed package up among the known vulnerabilities (needs a network)
	@$(PYTHON) -m venv .audit && .audit/bin/pip install --quiet pip-audit==2.10.1
	@.audit/bin/pip-audit --strict --path "$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

style: set-up-dev ## format the code and mend what ruff can mend
	@$(PY) -m ruff check --fix-only --quiet .
	@$(PY) -m ruff format .

weigh: set-up-app ## ask llama.cpp for the weight bytes of every model again
	@$(PY) -m evals weigh

ledger: set-up-app ## hold the formulas to llama.cpp and to published figures, into docs/ledger.csv
	@nice -n 15 $(PY) -m evals ledger --out docs/ledger.csv

engine: ## compile llama.cpp again after a failure
	@$(PYTHON) tools/bootstrap.py engine

screenshots: set-up-dev ## photograph each page into docs/screenshots
	@$(PY) -m tools.screenshots

reference: set-up-dev ## write docstrings and formulas as HTML into docs/reference
	@$(PY) -m tools.reference

training: .venv-train/.done ## ask peft and trl themselves, installed once beside the app
	@.venv-train/bin/python -m pytest -q --noconftest -m training $$(grep -rl "mark.training" tests --include=*.py)

.venv-train/.done: requirements-train.txt
	@$(PYTHON) -m venv .venv-train
	@.venv-train/bin/python -m pip install -q -r requirements-train.txt
	@touch $@

clean: ## remove what was set up and cached; the compiled engine in .wheels stays
	@rm -rf .venv .venv-train .audit .setup docs/reference .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

set-up-app:
	@$(PYTHON) tools/bootstrap.py app

set-up-dev:
	@$(PYTHON) tools/bootstrap.py dev
