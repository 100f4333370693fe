# WriteBuffer: everything a developer, a user and CI run. `make` alone lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.SUFFIXES:

PHP        ?= php
PHP_CONFIG ?= php-config
CARGO      ?= cargo
PHPUNIT    ?= $(firstword $(wildcard vendor/bin/phpunit) $(shell command -v phpunit 2>/dev/null) phpunit)
PHPCS      ?= $(firstword $(wildcard vendor/bin/phpcs) phpcs)
PHPCBF     ?= $(firstword $(wildcard vendor/bin/phpcbf) phpcbf)

# The database of `make demo`: sqlite, mysql or mariadb. CROSSING=1 replays the data in
# which orders cross.
DB       ?= sqlite
CROSSING ?=
# KILL=5: the worker is killed that many times with SIGKILL, and started again.
KILL     ?=
# Further arguments for PHPUnit and for the Rust test runner: PHPUNIT_ARGS="--filter add".
PHPUNIT_ARGS ?=
RUST_ARGS    ?=
# 1: `make test` fails, instead of saying so and going on, where MySQL is not to be had.
REQUIRE_MYSQL ?=
# Further arguments for `make bench`: see bench/bench --help.
BENCH_ARGS ?=

target    := $(or $(CARGO_TARGET_DIR),target)
library   := $(target)/release/libwrite_buffer.so
EXTENSION := $(abspath $(library))
stub_file := php-stubs/write_buffer.stub.php
# Before there is a lock file, cargo writes it.
locked     = $(if $(wildcard Cargo.lock),--locked)
nextest   := $(shell command -v cargo-nextest 2>/dev/null)
server    := scripts/with-server.sh
strictly   = $(if $(REQUIRE_MYSQL),--strict)
# The Rust tests that talk to a database server run against MariaDB, too.
server_tests ?= binary(/server|mysql|sink/)

# Files that are ours: tracked, or not yet tracked and not ignored.
ours = git ls-files --cached --others --exclude-standard --deduplicate

# Tests and the demo start PHP processes of their own, which load the extension from here.
export WRITE_BUFFER_EXTENSION := $(EXTENSION)
# The command-line tool, as the Rust tests build it.
export WRITE_BUFFER_TOOL := $(abspath $(target))/debug/write-buffer

##@ Everyday

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@printf '\nVariables: DB=sqlite|mysql|mariadb CROSSING=1 KILL=5 RUNS=300 SEED= ONLY=sid PHPUNIT_ARGS= RUST_ARGS= REQUIRE_MYSQL=1 UPDATE=1\n'

.PHONY: setup
setup: ## Install what building needs and is missing (Debian, Ubuntu)
	@scripts/setup.sh build

.PHONY: build
build: setup ## Build the extension
	@$(CARGO) build --release $(locked)
	@echo "extension: $(library)"

.PHONY: test
test: ## Rust tests, instructions of add, PHPUnit with MySQL, MariaDB and SQLite
	@scripts/setup.sh build test
	@$(MAKE) test-rust
	@$(MAKE) instructions
	@$(MAKE) test-php

.PHONY: demo
demo: ## Run the example exchange (DB=sqlite|mysql|mariadb, CROSSING=1, KILL=5)
	@scripts/setup.sh build demo
	@$(MAKE) build
	@case "$(DB)" in \
		sqlite) run=() ;; \
		mysql|mariadb) run=($(server) --durable "$(DB)" --) ;; \
		*) echo "demo: DB is sqlite, mysql or mariadb, not '$(DB)'" >&2; exit 2 ;; \
	esac; \
	"$${run[@]}" env DB="$(DB)" CROSSING="$(CROSSING)" KILL="$(KILL)" EXTENSION="$(EXTENSION)" PHP="$(PHP)" \
		examples/spot-backend/bin/demo

.PHONY: bench bench-quick
bench: ## Measure beside what one would take instead (BENCH_ARGS="--only=adding --runs=9")
	@scripts/setup.sh build bench
	@$(MAKE) build
	@scripts/bench.sh "$(EXTENSION)" --out "$(target)/bench" $(BENCH_ARGS)
bench-quick: ## The same in two minutes: a look, not a measurement
	@$(MAKE) bench BENCH_ARGS="--quick $(BENCH_ARGS)"

.PHONY: lint
lint: lint-rust lint-php lint-scripts lint-stubs ## Check format, lints, syntax and stubs

.PHONY: fmt
fmt: ## Format the Rust and the PHP sources
	@echo "fmt: cargo fmt"
	@$(CARGO) fmt
	@scripts/setup.sh lint
	@echo "fmt: $(PHPCBF)"
	@# phpcbf exits 1 when it has fixed everything, 2 when something is left to do by hand.
	@$(PHPCBF) -q || [ $$? -eq 1 ]

.PHONY: install
install: build ## Copy the extension to where PHP looks for it
	@scripts/install.sh "$(library)"

.PHONY: stubs
stubs: build ## Write the PHP stubs anew from the built extension
	@mkdir -p $(dir $(stub_file))
	@new=$$(mktemp); trap 'rm -f "$$new"' EXIT; \
	$(generate_stubs) > "$$new"; \
	if cmp -s "$$new" $(stub_file); then echo "stubs: $(stub_file) is up to date"; \
	else cat "$$new" > $(stub_file); echo "stubs: wrote $(stub_file)"; fi

.PHONY: clean
clean: ## Remove what the build and the tests leave behind
	@if [ -d "$(target)" ]; then echo "clean: $(target)"; $(CARGO) clean --quiet; fi
	@rm -rf .phpunit.cache .phpunit.result.cache
	@if [ -e pie/Makefile ] || [ -e pie/configure ]; then echo "clean: pie"; git clean -qfdX pie; fi

##@ Parts of them

.PHONY: test-rust
test-rust: ## The Rust tests, those with a server against MySQL and then MariaDB
	@scripts/setup.sh build test
	@echo "test: Rust, without PHP, beside MySQL"
	@$(server) $(strictly) mysql -- $(rust_tests)
	@if [ -n "$(nextest)" ]; then \
		echo "test: Rust, what talks to a server, beside MariaDB"; \
		$(server) mariadb -- $(rust_tests) --no-tests=pass -E '$(server_tests)'; fi
	@echo "test: Rust, examples in the documentation"
	@$(CARGO) test --doc --no-default-features $(locked)

# MySQL first: where it is not to be had, a runner's summary still ends the output.
.PHONY: test-php
test-php: ## PHPUnit with the extension, beside each database
	@$(MAKE) test-ready
	@if [ -n "$${WRITE_BUFFER_TEST_DSN:-}" ]; then $(call phpunit,mysql); \
	else $(MAKE) crash-test DB=mysql; $(MAKE) phpunit-mysql; $(MAKE) phpunit-mariadb; $(MAKE) phpunit-sqlite; fi

.PHONY: instructions
instructions: build ## Count the instructions of `add` and compare (UPDATE=1: note them)
	@scripts/setup.sh test
	@echo "test: instructions of a call to add"
	@$(PHP) bench/instructions.php "$(EXTENSION)" "$(abspath $(target))/instructions" $(if $(UPDATE),update)

.PHONY: test-mysql test-mariadb test-sqlite
test-mysql: test-ready phpunit-mysql ## PHPUnit beside MySQL
test-mariadb: test-ready phpunit-mariadb ## PHPUnit beside MariaDB
test-sqlite: test-ready phpunit-sqlite ## PHPUnit beside SQLite

.PHONY: lint-rust
lint-rust: setup ## cargo fmt --check, and clippy with and without the PHP layer
	@echo "lint: cargo fmt"
	@$(CARGO) fmt --check
	@echo "lint: clippy"
	@$(CARGO) clippy --all-targets $(locked) -- -D warnings
	@echo "lint: clippy, without PHP, with the command-line tool"
	@$(CARGO) clippy --all-targets --no-default-features --features cli $(locked) -- -D warnings

.PHONY: lint-php
lint-php: ## PHP syntax and style (PSR-12), and the Composer manifests
	@scripts/setup.sh lint
	@echo "lint: php -l"
	@$(ours) -z '*.php' examples/spot-backend/artisan | xargs -0 -r -n1 -P2 $(PHP) -n -l > /dev/null
	@if command -v $(PHPCS) > /dev/null; then echo "lint: $(PHPCS)"; $(PHPCS) -q; \
	else echo "lint: phpcs is not to be had here: the style of PHP files is NOT checked"; fi
	@echo "lint: composer validate"
	@$(ours) -z composer.json '*/composer.json' \
		| COMPOSER_ALLOW_SUPERUSER=1 xargs -0 -r -n1 composer validate --no-interaction --quiet --no-check-publish --no-check-lock

.PHONY: lint-scripts
lint-scripts: ## Shell syntax, and shellcheck
	@scripts/setup.sh lint
	@echo "lint: bash -n"
	@$(shell_files) | xargs -0 -r -n1 bash -n
	@if command -v shellcheck > /dev/null; then \
		echo "lint: shellcheck"; $(shell_files) | xargs -0 -r shellcheck --severity=warning; fi

.PHONY: lint-stubs
lint-stubs: build ## The stubs are those of the built extension
	@echo "lint: stubs"
	@new=$$(mktemp); trap 'rm -f "$$new"' EXIT; \
	$(generate_stubs) > "$$new"; \
	diff -u $(stub_file) "$$new" || { echo "lint: $(stub_file) is not what the extension says: make stubs" >&2; exit 1; }

.PHONY: cli
cli: setup ## Build the command-line tool write-buffer
	@# In a directory of its own: without PHP it is another build of the same library.
	@$(CARGO) build --release $(locked) --no-default-features --features cli --bin write-buffer --target-dir $(target)/cli
	@echo "command-line tool: $(target)/cli/release/write-buffer"

.PHONY: package deb test-packages test-pie test-split
package: build cli ## Pack extension and tool into target/packages, as PIE looks for them, and try them
	@scripts/setup.sh package
	@scripts/package.sh $(library) $(target)/cli/release/write-buffer $(target)/packages
deb: package ## Debian packages of the same
	@scripts/setup.sh deb
	@scripts/deb.sh $(target)/packages
test-packages: deb ## Try all packages in containers that have PHP and neither Rust nor a compiler (Docker)
	@scripts/test-packages.sh $(target)/packages
test-pie: ## Build and install from a source archive as PIE does: phpize, configure, make, make install
	@scripts/setup.sh build package
	@CARGO_TARGET_DIR=$(abspath $(target))/pie scripts/test-pie.sh
test-split: ## Split the Composer libraries off as a release does, and install them by Composer
	@scripts/setup.sh test
	@PHP="$(PHP)" scripts/test-split.sh

.PHONY: failpoints
failpoints: setup ## Build the extension that can kill itself, for crash-test
	@# The profile whose dependencies the tests have built for the most part; cargo links the
	@# library of whichever features were asked for last, hence the copy.
	@$(CARGO) build --lib --features failpoints $(locked)
	@mkdir -p $(target)/failpoints
	@cp -f $(target)/debug/libwrite_buffer.so $(target)/failpoints/

.PHONY: simulate
simulate: ## Simulate crashes, power cuts and failing databases (SEEDS=10000, FIRST=1, or SEED=n alone)
	@scripts/setup.sh build
	@SIM_SEEDS="$(SEEDS)" SIM_FIRST="$(FIRST)" SIM_SEED="$(SEED)" RUST_BACKTRACE=0 \
		$(CARGO) test --no-default-features --features cli $(locked) --test simulation -- whatever_happens --nocapture

.PHONY: crash-test
crash-test: test-setup failpoints ## Kill PHP processes RUNS times and compare (RUNS=300, DB=mysql, SEED=…)
	@$(server) $(strictly) $(if $(filter file,$(origin DB)),mysql,$(DB)) -- env WRITE_BUFFER_EXTENSION=$(abspath $(target))/failpoints/libwrite_buffer.so \
		$(PHP) scripts/crash-test.php $(or $(RUNS),300) $(SEED)

.PHONY: fpm-storm
fpm-storm: test-setup build ## 50 php-fpm children under load, reloads, two restarts of the database (SECONDS=60, DB=mysql)
	@$(server) $(strictly) $(if $(filter file,$(origin DB)),mysql,$(DB)) -- $(PHP) scripts/fpm-storm.php $(or $(SECONDS),60) $(or $(CHILDREN),50)

.PHONY: test-laravel
test-laravel: ## The Laravel library on the newest Laravel and PHP of Debian, without the extension (Docker)
	@scripts/matrix/sid-image.sh write-buffer/sid
	@docker run --rm --volume "$(CURDIR)":/repository:ro --env WRITE_BUFFER_WITHOUT_EXTENSION=1 write-buffer/sid

.PHONY: test-matrix
test-matrix: ## The tests on every kind of PHP, and a table (ONLY="debian sid newest debug zts valgrind")
	@scripts/setup.sh build test matrix
	@PHP="$(PHP)" CARGO="$(CARGO)" PHPUNIT="$(PHPUNIT)" PHPUNIT_ARGS="$(PHPUNIT_ARGS)" scripts/matrix/run.sh $(ONLY)

.PHONY: docker
docker: ## Build the images of the Dockerfile, on base images made here where those of `make base-images` are there
	@scripts/docker.sh

.PHONY: test-docker
test-docker: docker ## The README's ten lines, the tests and the demo in those images (ONLY="image test demo")
	@scripts/test-docker.sh $(ONLY)

.PHONY: base-images
base-images: ## Build the base images of the Dockerfiles where no registry can be reached
	@scripts/base-image.sh bookworm
	@scripts/base-image.sh rust

.PHONY: mysql-image
mysql-image: ## Build a MySQL image where no registry can be reached
	@scripts/build-mysql-image.sh

# ------------------------------------------------------------------------------------------

.PHONY: test-ready
test-ready: test-setup
	@$(MAKE) build
	@$(CARGO) build $(locked) --no-default-features --features cli --bin write-buffer

.PHONY: test-setup
test-setup:
	@scripts/setup.sh build test
	@if $(PHP) -r 'exit(extension_loaded("write_buffer") ? 0 : 1);'; then \
		echo "test: php.ini loads write_buffer already, so this build would not be what is tested:" >&2; \
		echo "      take the line extension=write_buffer out ('$(PHP) --ini' says where to look)" >&2; \
		exit 1; fi

.PHONY: phpunit-mysql phpunit-mariadb phpunit-sqlite
phpunit-mysql:
	@echo "test: PHPUnit beside MySQL"
	@status=0; $(call phpunit,--strict mysql) || status=$$?; \
	if [ "$$status" -eq 69 ] && [ -z "$(REQUIRE_MYSQL)" ]; then echo "test: no MySQL here: SKIPPED"; \
	else exit "$$status"; fi
phpunit-mariadb:
	@echo "test: PHPUnit beside MariaDB"
	@$(call phpunit,mariadb)
phpunit-sqlite:
	@echo "test: PHPUnit beside SQLite"
	@$(call phpunit,sqlite)

phpunit = $(server) $(1) -- $(PHP) -d extension="$(EXTENSION)" $(PHPUNIT) -c phpunit.xml.dist $(PHPUNIT_ARGS)
rust_tests = $(CARGO) $(if $(nextest),nextest run,test) --no-default-features --features cli $(locked) $(RUST_ARGS)
# -n: no php.ini, so that nothing but PHP itself and this build is looked at.
generate_stubs = $(PHP) -n -d extension="$(EXTENSION)" scripts/generate-stubs.php
shell_files = $(ours) -z 'scripts/*.sh' 'docker/*.sh' 'docs/operations/*' 'examples/*/bin/*' .ci/run \
	| xargs -0 -r grep -lZ -m1 -E '^\#!.*\b(ba)?sh\b'
