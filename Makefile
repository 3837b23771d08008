# Commands of this repository; `make help` lists them. They need Python 3.11 or newer and nothing else installed.
# Everything is installed into .venv, from lock files with hashes, and again only when a lock file or pyproject.toml has changed.

PYTHON = python3
VENV = .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet
SERVE_ARGS =
PYTEST_ARGS =
SOAK_ARGS =
# Bytecode may be written, whatever the shell says: compiling everything anew in each process costs seconds.
IN_PARALLEL = -n auto --maxprocesses 4 --dist loadscope # a module's tests in one process, so that they share what they load

.DEFAULT_GOAL := help
.PHONY: help setup serve check test cards golden docs conformance lock \
	dist pin-images sbom audit bench bench-short bench-phases bench-instructions bench-memory bench-healthchain soak

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile
	@echo "  PYTHON=…               the interpreter for .venv (3.11 or newer)"

setup: $(VENV)/dev.stamp ## create .venv with everything for development

serve: $(VENV)/serve.stamp ## start the service on 127.0.0.1:8000 (SERVE_ARGS="--port 8001")
	@$(BIN)/cds-service serve $(SERVE_ARGS)

check: $(VENV)/dev.stamp ## check lint, format, types, direction of imports, lock files, the cards' cases
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@if grep -n '://' requirements.txt requirements-dev.txt; then echo 'a lock file names a host'; exit 1; fi
	$(BIN)/cds-service cards fmt --check
	$(BIN)/cds-service cards check

test: $(VENV)/dev.stamp ## run the tests in parallel, without network (PYTEST_ARGS="-k potassium")
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest $(IN_PARALLEL) -m 'not loopback and not slow' --ignore=tests/faults --ignore=tests/e2e $(PYTEST_ARGS)

cards: $(VENV)/serve.stamp ## run every card's cases and report what fails, with file and line
	$(BIN)/cds-service cards check

docs: $(VENV)/dev.stamp ## regenerate the generated parts of the documentation
	$(BIN)/python -m tests.docs

golden: $(VENV)/dev.stamp ## regenerate fixtures/requests and fixtures/responses: what each kind of EHR receives
	$(BIN)/python -m tests.golden

conformance: $(VENV)/dev.stamp ## regenerate cds_service/docs/conformance.md: every requirement of CDS Hooks and its test
	$(BIN)/python -m tests.conformance_table

bench: $(VENV)/dev.stamp ## measure the service against its anchors and its targets, about ten minutes
	$(BIN)/python -m tests.bench.run

bench-short: $(VENV)/dev.stamp ## measure the same in fewer rounds, under a minute
	$(BIN)/python -m tests.bench.run --short

bench-phases: $(VENV)/dev.stamp ## measure the share of each phase of a call, by size and number of clients
	$(BIN)/python -m tests.bench.phases

bench-instructions: $(VENV)/dev.stamp ## count instructions a call under callgrind, which noise does not move (needs valgrind)
	$(BIN)/python -m tests.bench.instructions

bench-memory: $(VENV)/dev.stamp ## measure what a worker occupies in an environment from requirements.txt
	$(BIN)/python -m tests.bench.memory

bench-healthchain: $(VENV)/dev.stamp ## install HealthChain under var/, so that `make bench` measures it too
	$(BIN)/python -m tests.bench.environments healthchain

soak: $(VENV)/dev.stamp ## draw memory over 50,000 calls with prior cards, as var/soak.svg (SOAK_ARGS="--calls 5000 --prior 3", or "--hours 2 --rate 20")
	$(BIN)/python -m tests.bench.soak $(SOAK_ARGS)

lock: $(VENV)/dev.stamp ## resolve the dependencies of pyproject.toml again and write both lock files
	$(BIN)/uv pip compile pyproject.toml --extra build --extra dev --output-file requirements-dev.txt $(LOCK_ARGS)
	$(BIN)/uv pip compile pyproject.toml --extra build --extra otel --constraint requirements-dev.txt --output-file requirements.txt $(LOCK_ARGS)

dist: $(VENV)/dev.stamp ## build a wheel into dist/, and an image where docker is there
	$(BIN)/uv build --quiet --wheel --no-build-isolation --python $(BIN)/python --out-dir dist
	@ls dist/*.whl
	@if docker info >/dev/null 2>&1; then docker build --tag cramp-cds .; else echo 'no docker here: no image was built'; fi

pin-images: ## write the digests that the registries give today behind the tags of images in Dockerfile and compose.yaml (needs docker)
	@for image in $$(sed -nE 's/^FROM ([^ @]+)(@sha256:[0-9a-f]{64})?( .*)?$$/\1/p' Dockerfile | sort -u) \
	    $$(sed -nE 's/^ *image: ([^ @]+:[^ @]+)(@sha256:[0-9a-f]{64})?$$/\1/p' compose.yaml | sort -u); do \
	  digest=$$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$$image") || exit 1; \
	  case $$digest in sha256:*) ;; *) echo "no digest for $$image" >&2; exit 1;; esac; \
	  sed -i -E "s#($$image)(@sha256:[0-9a-f]{64})?( |$$)#\1@$$digest\3#" Dockerfile compose.yaml || exit 1; \
	  echo "$$image@$$digest"; \
	done

sbom: $(VENV)/dev.stamp ## write what a release is made of as dist/sbom.cdx.json (CycloneDX), from requirements.txt
	@mkdir -p dist
	PYTHONWARNINGS=ignore $(BIN)/uv tool run --quiet --from 'cyclonedx-bom==7.5.0' cyclonedx-py requirements requirements.txt --pyproject pyproject.toml \
	  --output-reproducible --validate --output-file dist/sbom.cdx.json
	@echo 'dist/sbom.cdx.json'

audit: $(VENV)/dev.stamp ## look for known vulnerabilities in requirements.txt; fails where there are some, or where nobody could be asked
	@$(BIN)/uv tool run --quiet --from 'pip-audit==2.10.1' pip-audit --requirement requirements.txt --require-hashes \
	  --disable-pip --strict --progress-spinner off \
	  || { echo 'make audit: vulnerabilities are listed above, or the advisories could not be reached: nothing is known then.' >&2; exit 1; }

# One resolution for every supported Python and platform; no host, no path, no time in the files.
LOCK_ARGS = --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	--no-emit-index-url --no-emit-find-links --quiet

# requirements.txt: to run the service (and hatchling, which installs the project without asking a registry).
$(VENV)/serve.stamp: requirements.txt pyproject.toml $(BIN)/python
	$(PIP) --require-hashes -r requirements.txt
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

# requirements-dev.txt: all of requirements.txt in the same versions, and the tools.
$(VENV)/dev.stamp: requirements-dev.txt pyproject.toml $(BIN)/python
	$(PIP) --require-hashes -r requirements-dev.txt
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $(VENV)/serve.stamp $@

# Take the first interpreter that runs and is new enough. An older default `python3` beside a newer `python3.12` is common, and so are
# launchers that exist and refuse to run.
$(BIN)/python:
	@set -e; \
	for python in $(PYTHON) python3.13 python3.12 python3.11; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo 'No Python 3.11 or newer found. Install one, or name it: make PYTHON=/path/to/python3.12 …' >&2; exit 1; \
	fi; \
	if ! $$found -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "$$found cannot make virtual environments. On Debian or Ubuntu: apt install python3-venv" >&2; exit 1; \
	fi; \
	echo "creating $(VENV) with $$($$found --version)"; \
	$$found -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }
