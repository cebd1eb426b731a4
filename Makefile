# Each chore by one name. The logic is in scripts/; `make` alone lists what there is.

PYTHON ?= python3
VENV_PYTHON := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help run test check clients lint format bench docs notebooks screenshot setup setup-dev clean

help:  ## List the chores
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: setup  ## Set up, then the app at http://localhost:7860
	@exec $(VENV_PYTHON) app.py

test: setup-dev  ## Set up, then every test; ARGS="-k page" picks some
	@$(VENV_PYTHON) -m scripts.system_packages
	@$(VENV_PYTHON) -m scripts.node
	@$(VENV_PYTHON) -m scripts.clients
	@exec $(VENV_PYTHON) -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder $(ARGS)

clients: setup-dev  ## Try other people's clients, each in an environment of its own
	@$(VENV_PYTHON) -m scripts.clients
	@exec $(VENV_PYTHON) -m pytest tests/real_clients $(ARGS)

lint: setup-dev  ## Check style and types
	@$(VENV_PYTHON) -m ruff check .
	@$(VENV_PYTHON) -m ruff format --check .
	@$(VENV_PYTHON) -m mypy

check: lint  ## Within a minute: style, types, and the tests that start nothing
	@exec $(VENV_PYTHON) -m pytest --quick --numprocesses=2 -q $(ARGS)

format: setup-dev  ## Bring all files into the project's style
	@$(VENV_PYTHON) -m ruff check --fix .
	@$(VENV_PYTHON) -m ruff format .

bench: setup-dev  ## Measure the engine side by side with others; ARGS="--help" lists options
	@exec $(VENV_PYTHON) -m bench $(ARGS)

docs: setup-dev  ## Build the documentation into site/; ARGS=serve shows it while you write
	@NO_MKDOCS_2_WARNING=1 exec $(VENV_PYTHON) -m mkdocs $(or $(ARGS),build --strict)

notebooks: setup-dev  ## Run the notebooks and keep their outputs
	@exec $(VENV_PYTHON) -m scripts.notebooks $(ARGS)

screenshot: setup-dev  ## Take the pictures of the page in docs/images anew
	@exec $(VENV_PYTHON) -m scripts.screenshot $(ARGS)

setup:  ## Make .venv and install what the app needs
	@$(find-python)
	@$(PYTHON) -m scripts.setup

setup-dev:  ## The same, and what tests, lint and benchmark need
	@$(find-python)
	@$(PYTHON) -m scripts.setup --dev

clean:  ## Remove .venv and what tools left behind
	rm -rf .venv .venv-clients* .mypy_cache .pytest_cache .ruff_cache .hypothesis site

define find-python
command -v $(PYTHON) > /dev/null || { echo "Python 3.11 or newer is needed: there is no $(PYTHON) on the PATH. \
(Debian, Ubuntu: apt install python3 python3-venv)" >&2; exit 1; }
endef
