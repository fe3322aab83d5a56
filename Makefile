# Everything from an empty checkout. Needs python3 (3.10 to 3.12), make, and the network the first time only.
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
REPORT ?= out/demo
EPISODES ?= 5
SEED ?= 0
JSON ?= $(REPORT)/demo.json

.PHONY: help demo test check format setup clean distclean

help:
	@echo 'make demo [EPISODES=5] [SEED=0] [JSON=out.json] [REPORT=out/demo]   a simulated arm lifts cubes, live; report and JSON'
	@echo 'make test [ARGS="-k name"]                                         all tests'
	@echo 'make check                                                         format, lint, types, import rules'
	@echo 'make format                                                        let ruff format and fix'
	@echo 'make setup                                                         only the environment in $(VENV)/'
	@echo 'make clean | distclean                                             build and report files | the environment too'

# The second call neither installs nor asks the network, until one of these files is newer than the stamp.
$(READY): setup.py setup.cfg constraints.txt tools/setup_environment.sh
	@tools/setup_environment.sh
	@touch $@

setup: $(READY)

demo: $(READY)
	$(BIN)/ebt-policy demo --episodes $(EPISODES) --seed $(SEED) --headless --json $(JSON) --report $(REPORT)

# Tests with processes on the ROS graph have the machine to themselves; the others share it, one core each.
test: $(READY)
ifeq ($(strip $(ARGS)),)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not graph" --numprocesses auto --maxprocesses 4 --dist loadfile
	$(BIN)/python -m pytest -m graph
else
	$(BIN)/python -m pytest $(ARGS)
endif

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

distclean: clean
	rm -rf $(VENV)
