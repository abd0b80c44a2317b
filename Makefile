# make help lists the targets.
#
# PYTHON=python3.13 uses that Python, in a virtual environment of its own (.venv-python3.13). Without it the first
# suitable one is found, see tools/bootstrap.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

PYTHON :=
VENV := .venv$(if $(PYTHON),-$(notdir $(PYTHON)))
PIP := $(VENV)/bin/python -m pip --quiet --disable-pip-version-check --no-input
CPUS := $(shell nproc)
FUZZ_MINUTES := 60
SOAK_SECONDS := 1800
RELOADS := 100
SOURCES := $(shell find src -name '*.py' -o -name '*.pxd' -o -name '*.json') setup.py pyproject.toml README.md LICENSE

# The dashboard, the manual page and the completion of shells, which are installed as they are.
DATA := $(wildcard src/twemproxy/ui/*.*) docs/man/nutcracker.1 $(wildcard contrib/completion/*)

# Tools and tests run the sources in place, whatever is installed in the virtual environment.
RUN := PYTHONPATH=$(CURDIR)/src $(VENV)/bin/python
unexport PYTHONPATH
# The tests start Python hundreds of times: it should not compile its modules each time.
unexport PYTHONDONTWRITEBYTECODE

# A process of tests per processor, each file whole in one of them.
PYTEST := -m pytest -q --numprocesses $(CPUS) --dist loadfile

# Measurements that use the servers and the verifying clients of the tests.
MEASURE := PYTHONPATH=$(CURDIR)/src:$(CURDIR)/tests $(VENV)/bin/python

# The environments of tests/clients, each with a file that says it is complete.
CLIENTS := $(patsubst tests/clients/requirements/%.txt,build/clients/$(VENV)/%/.done,\
	$(wildcard tests/clients/requirements/*.txt)) build/clients/node/.done build/clients/light-languages.done \
	$(addprefix build/clients/compiled/,hiredis libmemcached poco_redis)
HEAVY_CLIENTS := build/clients/heavy-languages.done $(addprefix build/clients/compiled/,go_redis gomemcache hedis)

# A virtual environment whose Python has gone is made anew.
$(if $(wildcard $(VENV)),$(shell $(VENV)/bin/python -c 'import pip' 2>/dev/null || rm -f $(VENV)/.*-done))

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(VENV)/.demo-done ## install into .venv, start servers and a proxy, and show what it does
	@$(VENV)/bin/python -m twemproxy.demo

.PHONY: test
test: servers clients build lint types ## all required checks: linter, type checker, all tests
	@echo "pytest"
	@$(RUN) $(PYTEST)

.PHONY: build
build: build/in-place$(VENV) ## compile the modules next to their sources, and build/bin/nutcracker

.PHONY: lint
lint: $(VENV)/.tools-done ## check style and format
	@echo "ruff"
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/ruff format --quiet --check .

.PHONY: types
types: $(VENV)/.tools-done ## check types
	@echo "mypy"
	@$(RUN) -m mypy --no-error-summary

.PHONY: unit
unit: build ## the tests that start no proxy
	@$(RUN) $(PYTEST) --ignore tests/system

.PHONY: system
system: servers clients build ## the tests against real servers
	@$(RUN) $(PYTEST) tests/system

.PHONY: asan
asan: servers clients build $(VENV)/.asan-done ## the tests with sanitizers for addresses and undefined behaviour
	@echo "pytest, sanitized"
	@$(SANITIZED) $(VENV)/bin/python $(PYTEST) -p no:cacheprovider tests/unit/protocol tests/unit/hashing \
		--deselect tests/unit/hashing/test_shares.py::test_a_thousand_servers_take_seconds
	@TWEMPROXY_UNDER_TEST="env $(SANITIZED) $(CURDIR)/$(VENV)/bin/python -m twemproxy" \
		$(RUN) $(PYTEST) tests/system $(UNSANITIZED)

.PHONY: fuzz
fuzz: servers build $(VENV)/.asan-done ## fuzz parsers, and the sanitized proxy over the network (FUZZ_MINUTES=60)
	@TWEMPROXY_UNDER_TEST="env $(SANITIZED) $(CURDIR)/$(VENV)/bin/python -m twemproxy" \
		PYTHONPATH=$(CURDIR)/src:$(CURDIR)/tests $(VENV)/bin/python -m fuzz --minutes $(FUZZ_MINUTES)

.PHONY: clients
clients: $(CLIENTS) ## install the clients of redis and memcached that the tests use

.PHONY: languages
languages: servers build $(HEAVY_CLIENTS) ## the tests of clients in Go, Haskell, Java and nginx, which need 1.7 GB
	@$(RUN) -m pytest -q tests/system/clients/heavy_languages.py

.PHONY: suites
suites: servers build build/suites/libraries/.done ## the test suites of redis, memcached and redis-py from SUITES=FOLDER, see CONTRIBUTING.md
	@$(MEASURE) -m suites $(or $(SUITES),$(error SUITES=FOLDER is missing: see CONTRIBUTING.md)) $(ARGUMENTS)

.PHONY: benchmark
benchmark: build $(VENV)/.benchmark-done ## compare with nutcracker and haproxy (ARGUMENTS="--help" for more)
	@$(RUN) benchmarks/run.py $(ARGUMENTS)

.PHONY: faults
faults: servers build ## measure how faults of one server affect clients of other servers, twelve minutes (ARGUMENTS="--help")
	@$(MEASURE) -m benchmarks.faults $(ARGUMENTS)

.PHONY: idle
idle: servers build ## measure the memory of 10,000 idle clients, and their effect on the latency of 500 active ones
	@$(MEASURE) -m benchmarks.idle $(ARGUMENTS)

.PHONY: reloads
reloads: servers build $(VENV)/.benchmark-done ## a verifying load with 100 random reloads, 20 upgrades, 20 numbers of workers (RELOADS=20)
	@$(MEASURE) -m reloads.run --reloads $(RELOADS) $(ARGUMENTS)
	@$(MEASURE) -m reloads.run --reloads $(RELOADS) --workers 3 $(ARGUMENTS)
	@$(MEASURE) -m reloads.run --reloads $(RELOADS) --upgrades 20 $(ARGUMENTS)
	@$(MEASURE) -m reloads.run --reloads $(RELOADS) --resizes 20 --workers 2 $(ARGUMENTS)
	@$(MEASURE) -m reloads.balance
	@$(MEASURE) -m reloads.commits

.PHONY: soak
soak: servers build $(VENV)/.benchmark-done ## load with random faults for half an hour (SOAK_SECONDS=90 for less)
	@$(MEASURE) -m benchmarks.soak --seconds $(SOAK_SECONDS) $(ARGUMENTS)

.PHONY: site
site: $(VENV)/.docs-done build/mermaid/mermaid.min.js build/recipe ## the documents as a site in build/site, with all links checked
	@rm -rf build/site build/site-source
	@mkdir -p build/site-source
	@cp build/mermaid/mermaid.min.js build/site-source
	@cp -r --parents README.md CHANGELOG.md CONTRIBUTING.md LICENSE docs benchmarks/README.md benchmarks/results conf \
		contrib build/site-source
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build > build/log 2>&1 || { cat build/log; exit 1; }
	@echo "build/site/index.html"

.PHONY: wheel
wheel: $(VENV)/.tools-done build/recipe ## build a wheel for this Python in dist/, and test it in a virtual environment of its own
	@echo "a wheel: compiling, this takes a minute or two"
	@rm -rf build/wheel
	@$(STAGED) $(PIP) wheel --no-deps --wheel-dir dist .
	@$(VENV)/bin/python -m venv --clear build/wheel/venv
	@build/wheel/venv/bin/python -m pip --quiet --disable-pip-version-check install "$$(ls -t dist/*.whl | head -n 1)"
	@build/wheel/venv/bin/nutcracker -V
	@ls -t dist/*.whl | head -n 1

.PHONY: clean
clean: ## remove all that make has created, the virtual environments included
	@rm -rf build dist .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis src/*.egg-info
	@find src tests tools benchmarks -name '*.so' -delete -o -name __pycache__ -prune -exec rm -rf {} +

.PHONY: servers
servers:
	@tools/install-servers

# --- virtual environments: a file .<step>-done in it says what was installed ---

$(VENV)/.venv-done:
	@tools/bootstrap $(VENV) $(PYTHON)
	@$(PIP) install --upgrade 'pip>=25.1'
	@touch $@

# The package as users install it, compiled apart from the modules in the source tree.
STAGED := DIST_EXTRA_CONFIG=$(CURDIR)/tools/staged-build.cfg

$(VENV)/.demo-done: $(SOURCES) $(DATA) build/recipe | $(VENV)/.venv-done
	@echo "twemproxy: compiling and installing into $(VENV), this takes a minute or two"
	@rm -rf build/wheel
	@$(STAGED) $(PIP) install '.[demo]'
	@touch $@

# What building and testing take; the package itself runs from its sources.
REQUIREMENTS := import tomllib; \
	p = tomllib.load(open("pyproject.toml", "rb")); \
	extras = p["project"]["optional-dependencies"].values(); \
	print(*p["build-system"]["requires"], *p["project"]["dependencies"], *sum(extras, []), sep="\n")

$(VENV)/.tools-done: pyproject.toml | $(VENV)/.venv-done
	@echo "$(VENV): installing what building and testing take"
	@$(VENV)/bin/python -c '$(REQUIREMENTS)' > $(VENV)/requirements.txt
	@$(PIP) install --requirement $(VENV)/requirements.txt --group test --group fuzz --group lint
	@touch $@

$(VENV)/.benchmark-done: pyproject.toml | $(VENV)/.tools-done
	@$(PIP) install --group benchmark
	@touch $@

$(VENV)/.docs-done: pyproject.toml | $(VENV)/.venv-done
	@$(PIP) install --group docs
	@touch $@

# --- what draws the diagrams of the site ---

build/mermaid/mermaid.min.js: tools/mermaid-version | build/recipe servers
	@echo "site: mermaid $$(cat $<)"
	@mkdir -p $(@D)
	@cd $(@D) && npm --silent pack "mermaid@$$(cat $(CURDIR)/$<)" > /dev/null
	@tar -xzf $(@D)/mermaid-*.tgz -C $(@D) --strip-components 2 package/dist/mermaid.min.js
	@rm $(@D)/mermaid-*.tgz
	@touch $@

# --- clients of redis: libraries in several versions, for the jobs in tests/clients ---

build/clients/$(VENV)/%/.done: tests/clients/requirements/%.txt | build/recipe $(VENV)/.venv-done
	@echo "clients: $*"
	@rm -rf $(@D)
	@$(PIP) install --no-compile --target $(@D) --requirement $<
	@touch $@

build/clients/node/.done: tests/clients/package.json | build/recipe servers
	@echo "clients: node"
	@rm -rf $(@D)
	@mkdir -p $(@D)
	@cp $< $(@D)
	@npm --prefix $(@D) --silent install --no-package-lock --no-audit --no-fund
	@touch $@

build/clients/%-languages.done: tools/install-languages | build/recipe
	@mkdir -p $(@D)
	@tools/install-languages $*
	@touch $@

build/clients/compiled/hiredis: LIBRARIES := -lhiredis
build/clients/compiled/libmemcached: LIBRARIES := -lmemcached
build/clients/compiled/poco_redis: LIBRARIES := -lPocoRedis -lPocoNet -lPocoFoundation

build/clients/compiled/%: tests/clients/%.c | build/clients/light-languages.done
	@mkdir -p $(@D)
	@$(CC) -O1 -Wall -Wextra -o $@ $< $(LIBRARIES)

build/clients/compiled/%: tests/clients/%.cpp | build/clients/light-languages.done
	@mkdir -p $(@D)
	@$(CXX) -Wall -Wextra -o $@ $< $(LIBRARIES)

# Debian has the libraries of Go where modules are not looked for.
build/clients/compiled/%: tests/clients/%.go | build/clients/heavy-languages.done
	@mkdir -p $(@D)
	@GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE=$(CURDIR)/build/clients/go-cache go build -o $@ $<

build/clients/compiled/%: tests/clients/%.hs | build/clients/heavy-languages.done
	@mkdir -p $(@D)
	@ghc -v0 -outputdir build/clients/$*-objects -o $@ $<

build/suites/libraries/.done: tests/suites/requirements.txt | build/recipe $(VENV)/.venv-done
	@echo "suites: installing what the tests of redis-py need"
	@rm -rf $(@D)
	@$(PIP) install --no-compile --target $(@D) --requirement $<
	@touch $@

# --- compiling ---

# How modules are compiled is in setup.py: when that changes nothing compiled before is worth anything.
build/recipe: setup.py
	@rm -rf $(filter-out build/clients,$(wildcard build/*))
	@mkdir -p build
	@touch $@

# Compiled modules in the source tree are removed and put back by every build: none survives its source, nor a
# build for another Python.
build/in-place$(VENV): $(SOURCES) build/recipe $(VENV)/.tools-done
	@echo "compiling what has changed, all of it takes a minute or two"
	@rm -f build/in-place.*
	@rm -rf build/bin
	@find src -name '*.so' -delete
	@$(VENV)/bin/python setup.py build_ext --inplace --parallel $(CPUS) build_scripts --build-dir build/bin \
		> build/log 2>&1 || { cat build/log; exit 1; }
	@grep -A 5 'warning:' build/log || true
	@touch $@

SANITIZED = PYTHONPATH=$(CURDIR)/build/asan/lib PYTHONMALLOC=malloc \
	LD_PRELOAD=$$(gcc -print-file-name=libasan.so):$$(gcc -print-file-name=libubsan.so) \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
# The demonstration starts a proxy of its own; bounds of memory, and of time, mean nothing to a sanitized one.
UNSANITIZED := $(addprefix --ignore tests/system/,\
	process/test_demo.py limits/test_back_pressure.py failures/test_slow_peers.py process/test_network_fuzzing.py)
UNSANITIZED += $(addprefix --deselect tests/system/,\
	limits/test_memory_limit.py::test_large_requests_all_succeed_in_the_end \
	limits/test_memory_limit.py::test_a_request_that_will_never_fit_is_dropped \
	limits/test_memory_limit.py::test_half_sent_requests_lock_nobody_out \
	limits/test_memory_limit.py::test_replies_that_nobody_takes_are_bounded \
	limits/test_memory_limit.py::test_subscriptions_are_counted \
	limits/test_pieces.py::test_one_value_named_many_times_takes_little_memory \
	limits/test_pieces.py::test_several_requests_of_large_values_wait_for_each_other \
	limits/test_write_first.py::test_a_client_that_takes_its_replies_is_not_read_ahead \
	limits/test_no_memory.py::test_a_request_without_a_place_on_its_server_connection_is_not_sent \
	limits/test_no_memory.py::test_a_reply_to_publish_that_cannot_be_kept_costs_its_client_only \
	limits/test_output_limits.py::test_who_takes_nothing_is_closed_in_time \
	memcached/test_memcached_requests.py::test_value_of_more_than_memcached_may_have_is_swallowed_by_the_proxy \
	redis/test_looked_up_commands.py::test_thousands_of_names \
	redis/test_scripts.py::test_in_a_pipeline_replies_keep_their_order \
	redis/test_scripts.py::test_a_server_that_does_not_read_is_not_sent_every_script \
	pubsub/test_shared_subscriptions.py::test_who_does_not_read_is_cut_off \
	pubsub/test_shared_subscriptions.py::test_a_message_is_in_memory_once)

$(VENV)/.asan-done: $(SOURCES) build/recipe $(VENV)/.tools-done
	@echo "compiling with sanitizers, this takes a minute or two"
	@rm -rf build/asan
	@TWEMPROXY_SANITIZE=address,undefined $(VENV)/bin/python setup.py build --build-base build/asan \
		--build-lib build/asan/lib --parallel $(CPUS) > build/log 2>&1 || { cat build/log; exit 1; }
	@touch $@
