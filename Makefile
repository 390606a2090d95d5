# The targets for developers. Each one builds what it needs, also in a bare clone.
PYTHON ?= python3
# TORCH=cpu: an environment of its own with PyTorch's CPU build, less than half the size of the usual one.
TORCH ?= cuda
VENV := .venv$(if $(filter cpu,$(TORCH)),-cpu)
CPU_INDEX := https://download.pytorch.org/whl/cpu
BIN := $(VENV)/bin
CSRC := $(shell find csrc -name "*.h" -o -name "*.cpp" -o -name "*.cu" 2>/dev/null)
SOURCES := $(shell find rust csrc -type f 2>/dev/null) Cargo.toml Cargo.lock pyproject.toml
# Panic messages and debug names would otherwise carry the paths of the building machine into the library.
REMAP := --remap-path-prefix=$${CARGO_HOME:-$$HOME/.cargo}/registry/src/= --remap-path-prefix=$(CURDIR)/=
MATURIN := RUSTFLAGS="$(REMAP)" VIRTUAL_ENV=$(CURDIR)/$(VENV) PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/maturin
# One test process per processor, each with one thread: the small tensors of a test gain nothing from more. All tests of
# a file run in one process, in order, because many share an expensive fixture: a trained run, a compiled library. The
# files begin in the order of tests/conftest.py, the longest first.
# Bytecode is kept also where the environment forbids it: the packages are installed without it, and every process that
# a test starts would compile all that it imports.
TEST_PROCESSES ?= logical
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest \
    --numprocesses=$(TEST_PROCESSES) --maxprocesses=8 --dist=loadfile --no-loadscope-reorder

# The oldest glibc that the wheel runs on: that of torch's own wheels.
GLIBC := 2.28
PLATFORM := manylinux_$(subst .,_,$(GLIBC))
# The wheel's processor: this machine's, or another one's, as in `make wheel TARGET=aarch64-unknown-linux-gnu`. That needs
# its Rust library (`rustup target add TARGET`) and its C++ compiler (`apt-get install g++-aarch64-linux-gnu`).
TARGET ?=
# auditwheel accepts the name of this machine's processor only; it refuses or renames a wheel for another one by its symbols.
AUDITED = $(if $(TARGET),auto,$(PLATFORM)_$(ARCHITECTURE))
ARCHITECTURE := $(or $(firstword $(subst -, ,$(TARGET))),$(shell uname -m))

# How long `make fuzz` draws arguments, and from which seed.
FUZZ_SECONDS ?= 300
FUZZ_SEED ?= 0

.DEFAULT_GOAL := help
.PHONY: help tools demo test lint format rust-test fuzz sanitize bench wheel gpu-bundle test-torch-matrix docs lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

tools:
	@sh scripts/check-tools.sh $(PYTHON)

PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile

ifeq ($(TORCH),cpu)
# The same versions. Torch and torchvision come from PyTorch's own index, without hashes: the lock has those of PyPI's files.
$(VENV)/.installed: requirements.lock scripts/cpu-requirements.py | tools
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked packages into $(VENV) (about 2.5 GB, torch without CUDA)"
	@$(BIN)/python scripts/cpu-requirements.py requirements.lock >$(VENV)/requirements-cpu.lock
	@$(PIP_INSTALL) --no-deps --require-hashes -r $(VENV)/requirements-cpu.lock
	@$(PIP_INSTALL) --no-deps --index-url $(CPU_INDEX) $$($(BIN)/python scripts/cpu-requirements.py requirements.lock --torch)
	@touch $@
else
$(VENV)/.installed: requirements.lock | tools
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked packages into $(VENV) (about 5 GB, torch with CUDA included)"
	@$(PIP_INSTALL) --require-hashes -r requirements.lock
	@touch $@
endif

$(VENV)/.built: $(VENV)/.installed $(SOURCES) | tools
	@echo "building the Rust extension and the op libraries"
	@$(MATURIN) develop --release
	@touch $@

demo: $(VENV)/.built  ## train CE, LDAM-DRW and MAMMC on Digits-LT, print one table (at most a minute after the build)
	@$(BIN)/lt-fast demo

test: lint rust-test $(VENV)/.built  ## the whole suite: linters, Rust tests, Python tests; gets Chromium where apt-get can
	@scripts/get-browser.sh
	@$(PYTEST)

lint: $(VENV)/.built  ## ruff, mypy, import dependencies, rustfmt, clippy, clang-format, known flaws
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --verbose >$(VENV)/import-linter.log 2>&1 || { cat $(VENV)/import-linter.log; exit 1; }
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
	@$(BIN)/clang-format --dry-run --Werror $(CSRC)
	@$(BIN)/python scripts/known-flaws.py

format: $(VENV)/.installed  ## format every file
	@$(BIN)/ruff format --quiet . && $(BIN)/ruff check --fix --quiet . ; cargo fmt --all
	@$(BIN)/clang-format -i $(CSRC)

rust-test: | tools  ## the tests of the Rust core
	@cargo test --locked --quiet --package lt-fast-core

fuzz: $(VENV)/.built  ## random and hostile arguments for every function of the Rust module (FUZZ_SECONDS, FUZZ_SEED)
	@$(BIN)/python -m fuzz.bindings --seconds $(FUZZ_SECONDS) --seed $(FUZZ_SEED) --note $(VENV)/fuzz-case.txt \
	    || { cat $(VENV)/fuzz-case.txt; exit 1; }

sanitize: $(VENV)/.built  ## the op's tests under AddressSanitizer and UndefinedBehaviorSanitizer, per instruction set (minutes)
	@PYTHON=$(BIN)/python scripts/sanitize.sh

bench: $(VENV)/.built  ## time sampling, augmentation and the fused loss next to their rivals (quiet machine, minutes); CSV in benches/results/
	@$(BIN)/python -m benches

$(VENV)/.wheel: requirements-wheel.lock | $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --require-hashes -r $<
	@touch $@

wheel: $(VENV)/.wheel  ## one abi3 wheel with its libraries for glibc 2.28 and newer, audited, into dist/ (TARGET=...)
	@rm -rf dist/*_$(ARCHITECTURE).whl build/wheel && mkdir -p dist
	@LT_FAST_OPS=require LT_FAST_GLIBC=$(GLIBC) $(MATURIN) build --release --locked --zig $(if $(TARGET),--target $(TARGET)) \
	    --compatibility $(PLATFORM) --auditwheel skip --out build/wheel
	@$(BIN)/python scripts/portable-sbom.py build/wheel/*.whl
	@PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/auditwheel repair --plat $(AUDITED) --exclude 'libtorch*.so' \
	    --wheel-dir dist build/wheel/*.whl
	@$(BIN)/auditwheel show dist/*_$(ARCHITECTURE).whl
	@ls -l dist

gpu-bundle: $(VENV)/.built  ## build/gpu-bundle: a folder that tests, times and trains on a machine with a GPU (CIFAR=DIR, WHEELS=1)
	@ls dist/lt_fast-*_$$(uname -m).whl >/dev/null 2>&1 || $(MAKE) wheel
	@$(BIN)/python scripts/gpu-bundle.py $(if $(CIFAR),--cifar $(CIFAR)) $(if $(WHEELS),--wheels)

test-torch-matrix: | tools  ## the wheel under torch 2.6.0, 2.10.0, 2.13.0 and the newest, each installed and deleted again (minutes, 7 GB of disk)
	@PYTHON=$(PYTHON) scripts/torch-matrix.sh

docs: $(VENV)/.built  ## the site, from docs/ and the docstrings, into build/docs: no network, a warning or a broken link is an error
	@$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet --builder html --doctree-dir build/doctrees docs build/docs
	@echo "open build/docs/index.html"

lock: $(VENV)/.installed  ## renew requirements.lock from pyproject.toml (needs uv)
	@uv pip compile pyproject.toml --all-extras --group dev --group bench --group cuda --universal --generate-hashes \
	    --no-emit-index-url --python-version 3.11 --custom-compile-command "make lock" --quiet -o requirements.lock

clean:  ## remove everything that was built, installed and trained here
	rm -rf .venv .venv-cpu target build dist runs docs/api docs/project python/lt_fast/*.so python/lt_fast/_ops .pytest_cache .mypy_cache .ruff_cache .hypothesis
