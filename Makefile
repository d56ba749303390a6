# Two commands do everything: `make demo` and `make test`. Both make .venv first, once.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
SHARED := -n 2 --dist loadscope  # two processes, the tests of a file or a class in one of them

.PHONY: demo test quick test-all fuzz lint bench docs catalogue parity clean

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "kcnn needs Python 3.11 or newer, and $(PYTHON) is older; run: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

# Train GoogLeNet with batch normalization on the 1,797 handwritten digits of scikit-learn.
demo: $(READY)
	$(BIN)/kcnn train googlenet.bn --data digits --input-size 64x64x1 --epochs 8 --out runs/demo

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What needs no TensorFlow, in seconds.
quick: $(READY)
	$(BIN)/python -m pytest -q $(SHARED) -m "not every" tests/paper

test: lint
	$(BIN)/python -m pytest -q $(SHARED) -m "not every"

# The rest: every network through Keras.
test-all: $(READY)
	$(BIN)/python -m pytest -q $(SHARED) -m every

# The fuzz tests for longer, an hour or so: as many damaged files as in the tests, KCNN_FUZZ times.
fuzz: export KCNN_FUZZ ?= 40
fuzz: $(READY)
	$(BIN)/python -m pytest -q -s tests/runs/test_fuzz*.py

# Speed beside the peers that are installed: all of them by pip install -c constraints.txt -e ".[bench]".
bench: $(READY)
	$(BIN)/python benchmarks/bench.py

# The documentation as pages in site/, which open from a disk; a warning is an error.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# The page of every network, from what each declares and comes to.
catalogue: $(READY)
	$(BIN)/python -m kcnn.architectures.catalogue > docs/catalogue.md.new && mv docs/catalogue.md.new docs/catalogue.md

# The page of differences from keras.applications, torchvision and timm, from what `python -m tests.parity.measure` measured.
parity: $(READY)
	$(BIN)/python -m tests.parity.page > docs/parity.md.new && mv docs/parity.md.new docs/parity.md

clean:
	rm -rf .venv build dist site *.egg-info
