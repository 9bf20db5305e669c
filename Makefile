SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test lint format docs bench

# A set-up is finished when its stamp exists. The stamp's name follows from the requirements and from this folder
# (scripts in .venv carry its path), so another list, a moved folder or a half-finished set-up installs again.
checksum = $(shell { pwd; cat $(1); } | cksum | cut -d' ' -f1)
RUNTIME := .venv/.runtime-$(call checksum,requirements.txt)
DEV := .venv/.dev-$(call checksum,requirements.txt requirements-dev.txt)

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

run: $(RUNTIME) ## Start everything, with a demo: PORT=8000, VAR_DIR=var, DEMO=no for an empty system
	@exec .venv/bin/python manage.py run

test: $(DEV) ## Run all tests on a PostgreSQL and a Redis of their own: ARGS="-k export", TEST_POSTGRES=16
	@.venv/bin/python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

lint: $(DEV) ## Check formatting, style, types, templates, the import line and that migrations are complete
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy .
	.venv/bin/djlint --check --lint --quiet templates
	.venv/bin/lint-imports
	.venv/bin/python -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run

format: $(DEV) ## Format code and templates, and fix what can be fixed
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .
	.venv/bin/djlint --reformat --quiet templates

docs: $(RUNTIME) ## Write the pages of docs/ that follow from the code
	.venv/bin/python manage.py permissions_table > docs/permissions.md

bench: $(DEV) ## Measure speed, each path beside its limit and a peer in the same run
	@for file in bench/[a-z]*.py; do .venv/bin/python -m "bench.$$(basename "$$file" .py)"; done

$(RUNTIME):
	@$(call install,requirements.txt)
	@touch $(RUNTIME)

$(DEV):
	@$(call install,requirements-dev.txt)
	@touch $(RUNTIME) $(DEV)

define install
is_new_enough='import sys; sys.exit(sys.version_info < (3, 11))'; \
if ! { .venv/bin/python -c "$$is_new_enough" && .venv/bin/python -m pip --version && \
       grep -qF "$(CURDIR)/.venv" .venv/bin/activate; } >/dev/null 2>&1; then \
	for python in $${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 none}; do \
		if "$$python" -c "$$is_new_enough" 2>/dev/null; then break; fi; \
	done; \
	if [ "$$python" = none ]; then \
		echo "Python 3.11 or newer is needed; python3 is $$(python3 --version 2>&1 || true). PYTHON=/path/to/python chooses one." >&2; \
		exit 1; \
	fi; \
	echo "Making .venv with $$("$$python" --version)"; \
	if ! output=$$("$$python" -m venv --clear .venv 2>&1); then \
		echo "$$output" >&2; \
		echo "Python's venv module is missing or incomplete. On Debian or Ubuntu: apt-get install python3-venv" >&2; \
		exit 1; \
	fi; \
fi; \
rm -f .venv/.runtime-* .venv/.dev-*; \
echo "Installing $(1)"; \
if ! .venv/bin/python -m pip install --disable-pip-version-check --no-input --progress-bar off -r $(1) \
		2> .venv/pip.log | awk -v tty="$$(test -t 1 && echo 1 || true)" ' \
			/^Collecting/ {n++; if (tty) {printf "\r  %d packages found ", n; fflush()}} \
			/^Installing/ {if (tty) printf "\r"; print "  unpacking " n " packages"; fflush()}'; then \
	cat .venv/pip.log >&2; \
	exit 1; \
fi
endef
