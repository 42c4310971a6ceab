PYTHON ?= $(shell command -v python3.11 || command -v python3)
CONFIGS := bundles/fundus_disc_cup_segmentation/configs
PHANTOMS := data/phantoms/fundus
RUN := demo-$(shell date +%Y%m%d-%H%M%S)

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-7s %s\n", $$1, $$2}' Makefile

# Everything runs in the project's own environment, made anew when its requirements change.
INSTALLED := .venv/.installed
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; sys.version_info < (3, 11) and sys.exit( \
	    'error: $(PYTHON) is Python ' + sys.version.split()[0] + \
	    '; name 3.11 or later: make PYTHON=/path/to/python3.11')"
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

$(PHANTOMS)/datalist.json: | $(INSTALLED)
	.venv/bin/python -m pipeline data phantom $(PHANTOMS) --count 120

demo: $(PHANTOMS)/datalist.json $(INSTALLED)  ## draw phantoms, train on them, show the result (minutes)
	.venv/bin/python -m pipeline data check $(PHANTOMS)/datalist.json
	.venv/bin/python -m monai.bundle run \
	    --config_file "['$(CONFIGS)/train.json','$(CONFIGS)/demo.json']" --run_name $(RUN)
	.venv/bin/python -m monai.bundle run \
	    --config_file "['$(CONFIGS)/train.json','$(CONFIGS)/demo.json','$(CONFIGS)/evaluate.json']" \
	    --ckpt_path runs/$(RUN)/model.pt --section testing
	@echo "Pictures:        runs/$(RUN)/evaluation-testing/figures/"
	@echo "Every case:      runs/$(RUN)/evaluation-testing/cases.csv"
	@echo "Compare in MLflow: .venv/bin/mlflow ui --backend-store-uri sqlite:///mlflow.db"

test: $(INSTALLED)  ## run the tests
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n auto --maxprocesses 8 --dist loadfile

lint: $(INSTALLED)  ## check style and format
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

bench: $(INSTALLED)  ## time the networks beside their peers
	.venv/bin/python benchmarks/network.py

clean:  ## remove the environment and caches; data, runs and MLflow's records stay
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
