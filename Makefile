PYTHON ?= $(shell command -v python3.11 || command -v python3)
CONFIGS := bundles/fundus_disc_cup_segmentation/configs
PHANTOMS := data/phantoms/fundus
RUN := demo-$(shell date +%Y%m%d-%H%M%S)

.DEFAULT_GOAL := help
.PHONY: help demo label-demo test test-label lint docs bench gpu-proof clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

# `make .venv` only installs. `make demo UV=uv` installs with uv instead of pip.
UV :=
make_venv = $(if $(UV),$(UV) venv --quiet --allow-existing --python $(PYTHON) $(1),$(PYTHON) -m venv $(1))
install = $(if $(UV),$(UV) pip install --python $(1)/bin/python,$(1)/bin/python -m pip install) --quiet

# Everything runs in the project's own environment, which is rebuilt when its requirements change.
INSTALLED := .venv/.installed
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; sys.version_info < (3, 11) and sys.exit( \
	    'error: $(PYTHON) is Python ' + sys.version.split()[0] + \
	    '; give Python 3.11 or later: make PYTHON=/path/to/python3.11')"
	$(call make_venv,.venv)
	$(call install,.venv) -c constraints.txt -e '.[dev]'
	@touch $@

.venv: $(INSTALLED)

$(PHANTOMS)/datalist.json: | $(INSTALLED)
	.venv/bin/python -m pipeline data phantom $(PHANTOMS) --count 120

# MONAI warns of every config that it may run code; these are the project's own.
RUN_BUNDLE := .venv/bin/python -W 'ignore:parsing config_file' -m monai.bundle run
DEMO_PAGE := runs/$(RUN)/report/report.html

demo: $(PHANTOMS)/datalist.json $(INSTALLED)  ## draw phantoms, train on them and show the result (minutes)
	$(RUN_BUNDLE) \
	    --config_file "['$(CONFIGS)/train.json','$(CONFIGS)/demo.json']" --run_name $(RUN)
	$(RUN_BUNDLE) \
	    --config_file "['$(CONFIGS)/train.json','$(CONFIGS)/demo.json','$(CONFIGS)/evaluate.json']" \
	    --ckpt_path runs/$(RUN)/model.pt --section testing
	@.venv/bin/python -m pipeline report runs/$(RUN) >/dev/null
	@echo "What happened, and what comes next: $(DEMO_PAGE)"
	@[ -z "$$DISPLAY$$WAYLAND_DISPLAY" ] || \
	    .venv/bin/python -m webbrowser "file://$(CURDIR)/$(DEMO_PAGE)" >/dev/null 2>&1 || true

# MONAI Label needs older versions than training, so it has its own environment.
LABEL_INSTALLED := .venv-label/.installed
$(LABEL_INSTALLED): label-requirements.txt
	@$(PYTHON) -c "import sys; (3, 11) <= sys.version_info < (3, 13) or sys.exit( \
	    'error: MONAI Label needs Python 3.11 or 3.12, and $(PYTHON) is ' + sys.version.split()[0])"
	$(call make_venv,.venv-label)
	$(call install,.venv-label) -r label-requirements.txt
	.venv-label/bin/python pipeline/packaging/label_torchvision.py
	@touch $@

.venv-label: $(LABEL_INSTALLED)

LABEL_DEMO := runs/label-demo
CT_CONFIGS := bundles/pancreas_ct_segmentation/configs
CT_PHANTOMS := data/phantoms/ct
# To serve your own: make label-demo FUNDUS_MODEL=runs/NAME/model.pt
FUNDUS_MODEL ?= $(LABEL_DEMO)/fundus/model.pt
CT_MODEL ?= $(LABEL_DEMO)/ct/model.pt
# Each choice of models has its own server.
SERVED := $(LABEL_DEMO)/served-$(shell echo '$(FUNDUS_MODEL) $(CT_MODEL)' | cksum | cut -d ' ' -f 1)

$(CT_PHANTOMS)/datalist.json: | $(INSTALLED)
	.venv/bin/python -m pipeline data phantom $(CT_PHANTOMS) --kind ct --count 30

$(LABEL_DEMO)/fundus/model.pt: | $(INSTALLED) $(PHANTOMS)/datalist.json
	$(RUN_BUNDLE) \
	    --config_file "['$(CONFIGS)/train.json','$(CONFIGS)/demo.json']" --output_dir $(@D)

$(LABEL_DEMO)/ct/model.pt: | $(INSTALLED) $(CT_PHANTOMS)/datalist.json
	$(RUN_BUNDLE) \
	    --config_file "['$(CT_CONFIGS)/train.json','$(CT_CONFIGS)/demo.json']" \
	    --dataset_dir $(CT_PHANTOMS) --output_dir $(@D)

$(SERVED)/fundus.zip: $(FUNDUS_MODEL) | $(INSTALLED)
	.venv/bin/python -m pipeline package bundles/fundus_disc_cup_segmentation \
	    --checkpoint $< --output $@ --overwrite

$(SERVED)/ct.zip: $(CT_MODEL) | $(INSTALLED)
	.venv/bin/python -m pipeline package bundles/pancreas_ct_segmentation \
	    --checkpoint $< --output $@ --overwrite

LABEL_SERVES := $(SERVED)/fundus.zip $(SERVED)/ct.zip
LABEL_SHOWS := $(PHANTOMS)/datalist.json $(CT_PHANTOMS)/datalist.json
label-demo: $(LABEL_INSTALLED) $(LABEL_SERVES) $(LABEL_SHOWS)  ## serve both models to 3D Slicer with MONAI Label
	mkdir -p $(LABEL_DEMO)/studies
	cp -n $(PHANTOMS)/images/*_000[0-4].png $(CT_PHANTOMS)/images/*_000[0-4].nii.gz $(LABEL_DEMO)/studies
	.venv/bin/python -m pipeline package serve $(LABEL_SERVES) \
	    --studies $(LABEL_DEMO)/studies --app $(SERVED)/app

# Keep the folders' order: the first ones have the longest tests, which would otherwise run last and alone.
test: $(INSTALLED)  ## run the tests
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n auto --maxprocesses 8 --dist loadfile \
	    --no-loadscope-reorder -m "not label and not gpu"

test-label: $(INSTALLED) $(LABEL_INSTALLED)  ## run the tests against a real MONAI Label server
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest tests/label -m label

lint: $(INSTALLED)  ## check style and format
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

# The site, and the tutorials that it shows, which run when they have changed.
DOCS_INSTALLED := .venv-docs/.installed
$(DOCS_INSTALLED): docs-requirements.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet -r docs-requirements.txt
	@touch $@

docs/tutorials/%.md: docs/tutorials/%.ipynb | $(INSTALLED) $(DOCS_INSTALLED)
	PATH="$(CURDIR)/.venv/bin:$$PATH" .venv-docs/bin/jupyter nbconvert --log-level ERROR \
	    --to markdown --execute --CoalesceStreamsPreprocessor.enabled=True $<

TUTORIALS := $(patsubst %.ipynb,%.md,$(wildcard docs/tutorials/*.ipynb))
docs: $(TUTORIALS) $(DOCS_INSTALLED)  ## run the tutorials and build the site in site/; a broken link is an error
	.venv-docs/bin/zensical build --clean --strict
	# A link to a notebook leads to its page.
	perl -pi -e 's/\.ipynb"/.html"/g' $$(grep -rl --include='*.html' '\.ipynb"' site)

bench: $(INSTALLED)  ## compare the speed and memory of the networks
	.venv/bin/python benchmarks/network.py

gpu-proof: $(INSTALLED)  ## prove the GPU path in 8 minutes; see docs/gpu.md
	PYTHON=.venv/bin/python benchmarks/gpu_proof.sh

clean:  ## remove environments and caches; keep data, runs and MLflow records
	rm -rf .venv .venv-label .venv-docs site build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
