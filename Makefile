# The two commands are `make demo` and `make test`. Everything they need is installed or built here.
#
# A fresh machine needs a Rust toolchain, Python 3 with venv, and apt-get as root. apt-get installs the guests' toolchain if rustup
# cannot, npm, Chromium and systemd-analyze for `make test`, and wrk for `make bench`.

PYTHON ?= python3
NICE ?= nice -n 5
CARGO ?= cargo

HOSPES := target/debug/hospes
PLUGINS := filetype classify iris lenet foreign echo semantic-search parrot parrot-next chat herald herald-next vad flower-python flower-js flower-c
ORACLE := target/oracle/bin/python
PICTURES := target/samples/pictures
SPEECH := target/samples/speech
FASHION := target/samples/fashion
LANGUAGE := target/samples/language
RUNTIME := target/runtime

.PHONY: help demo lifecycle test cases converters lint bench dist fuzz plugins trainer
.DELETE_ON_ERROR:

help:
	@echo 'make demo    the whole path, from keys to a verified receipt'
	@echo 'make lifecycle  from a data set to a trained, optimised, signed and served model'
	@echo 'make test    every check and test'
	@echo 'make cases   the small inputs in tests/cases that once went wrong'
	@echo 'make converters  models of scikit-learn, PyTorch and Keras in Python environments that hospes makes: several GB, removed afterwards'
	@echo 'make bench   figures of what is shipped, side by side; writes target/bench/results.json (FIGURES=noop_http: one of them)'
	@echo 'make bench-peers  the release beside other model servers, which are installed: some GB (PEERS="--only hospes,mosec": two of them)'
	@echo 'make fuzz    every fuzz target for a minute'
	@echo 'make trainer hospes-train, which trains the networks of recipes'
	@echo 'make plugins the plugins that tests of whole hosts need'
	@echo 'make profile the files in host/profile, from the table in the code'
	@echo 'make crates  the picture of the crates in ARCHITECTURE.md, from cargo metadata'
	@echo 'make routes  the tables of host/docs/api.md, from the table in the code'
	@echo 'make dist    what is shipped: a stripped binary compiled for its calls, checksum, list of contents'

# Builds only what the demo and the README's tour use; the other plugins need more compilers.
demo: PLUGINS := filetype classify iris
demo: $(HOSPES) plugins $(RUNTIME)/.installed $(PICTURES)/.fetched
	@tests/demo

lifecycle: $(HOSPES) trainer $(RUNTIME)/.installed $(FASHION)/.fetched
	@tests/lifecycle

# Everything is built once: tests/compile lints our crates and checks the links of their documentation while it compiles them. Downloads,
# licences and the small workspaces of guests run beside it.
CHECKED := --config 'build.rustc-workspace-wrapper="$(CURDIR)/tests/compile"'
test: formatted
	@mkdir -p target
	@$(MAKE) --no-print-directory beside >target/beside.log 2>&1 & beside=$$!; \
		$(NICE) $(CARGO) $(CHECKED) build --workspace --all-targets; built=$$?; \
		wait $$beside || { cat target/beside.log; exit 1; }; exit $$built
	@$(MAKE) --no-print-directory HOSPES_IS_BUILT=1 plugins $(RUNTIME)/.installed
	cd host/train && CARGO_TARGET_DIR=../../target $(NICE) $(CARGO) $(CHECKED) build --locked --all-targets
	cd host/train && CARGO_TARGET_DIR=../../target $(NICE) $(CARGO) $(CHECKED) test --locked --quiet
	@tests/image $(HOSPES) || [ $$? = 77 ]
	@# Not before: the plugins' builds read their models, which are fetched by now.
	cd plugins && CARGO_TARGET_DIR=../target/plugins-native $(NICE) $(CARGO) clippy --all-targets --quiet -- -D warnings
	cd plugins && CARGO_TARGET_DIR=../target/plugins-native $(CARGO) test --quiet
	@$(CARGO) nextest --version >/dev/null 2>&1 || $(CARGO) install --locked --quiet cargo-nextest
	$(CARGO) nextest run $(CHECKED) --workspace
	@tests/lifecycle >target/lifecycle.log 2>&1 || { cat target/lifecycle.log; exit 1; }

.PHONY: formatted beside
formatted:
	$(CARGO) fmt --all --check
	cd plugins && $(CARGO) fmt --all --check
	cd host/train && $(CARGO) fmt --all --check

beside: downloads licences
	cd guest-sdk && CARGO_TARGET_DIR=../target/plugins-native $(NICE) $(CARGO) clippy --all-targets --quiet -- -D warnings
	cd guest-sdk && CARGO_TARGET_DIR=../target/plugins-native $(NICE) $(CARGO) test --quiet

# What tests need that is not compiled here: samples, other people's clients, and libraries to compare answers with.
.PHONY: downloads
downloads: $(PICTURES)/.fetched $(SPEECH)/.fetched $(LANGUAGE)/.fetched $(ORACLE) $(FASHION)/.fetched
	@tests/clients/fetch $(PYTHON)
	@command -v systemd-analyze >/dev/null || apt-get install -y -q --no-install-recommends systemd >/dev/null 2>&1 \
		|| { apt-get update -q && apt-get install -y -q --no-install-recommends systemd; } >/dev/null 2>&1 \
		|| echo 'systemd-analyze is missing, so the test of the unit passes without it'

# The part of `make test` in tests/cases.
cases:
	$(NICE) $(CARGO) build --workspace --bins
	@$(MAKE) --no-print-directory HOSPES_IS_BUILT=1 plugins $(RUNTIME)/.installed
	$(NICE) $(CARGO) test --workspace --test host cases::

# Not in `make test`, since it installs what several GB of packages have. Says what each environment takes.
converters:
	$(NICE) $(CARGO) build --workspace --bins
	@$(MAKE) --no-print-directory HOSPES_IS_BUILT=1 $(RUNTIME)/.installed
	@$(CARGO) nextest --version >/dev/null 2>&1 || $(CARGO) install --locked --quiet cargo-nextest
	$(CARGO) nextest run --workspace --run-ignored only --test-threads 1 --success-output immediate -E 'test(/^converted::an_environment/)'

# For the inner loop: the same lints and links without building anything that runs.
lint: formatted licences
	$(NICE) $(CARGO) clippy --workspace --all-targets --quiet -- -D warnings
	cd host/train && CARGO_TARGET_DIR=../../target $(NICE) $(CARGO) clippy --locked --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" \
		$(NICE) $(CARGO) doc --workspace --no-deps --document-private-items --quiet

CARGO_DENY := 0.20.2
# Licences, sources and banned crates, as deny.toml has them. Installed without optimisation: it compiles for longer than it runs.
.PHONY: licences
licences:
	@$(CARGO) deny --version >/dev/null 2>&1 || $(NICE) $(CARGO) install --debug --locked --quiet cargo-deny@$(CARGO_DENY)
	$(CARGO) deny --log-level error check licenses bans sources
	cd host/train && $(CARGO) deny --config ../../deny.toml --log-level error check licenses bans sources

# The release, compiled with a profile of calls that is measured first (host/dist/build). Both take a while.
dist: what-benches-need
	@host/dist/build

bench: what-benches-need
	@host/dist/build --bench $(FIGURES)

.PHONY: what-benches-need
what-benches-need: $(HOSPES) plugins $(RUNTIME)/.installed
	@command -v wrk >/dev/null || apt-get install -y -q wrk >/dev/null 2>&1 \
		|| { apt-get update -q >/dev/null && apt-get install -y -q wrk >/dev/null; }
	@tests/clients/fetch $(PYTHON)

# Servers of other projects with the same models and the same client, in one run.
.PHONY: bench-peers
bench-peers: dist
	$(PYTHON) tests/peers/bench.py target/dist-release/hospes $(PEERS)

# On a stable toolchain, without a sanitizer: our own code is safe Rust, so we look for panics and hangs.
FUZZ_SECONDS ?= 60
fuzz: export RUSTC_BOOTSTRAP = 1
fuzz:
	@$(CARGO) fuzz --version >/dev/null 2>&1 || $(CARGO) install --quiet cargo-fuzz
	@cd tests/fuzz && for target in $$($(CARGO) fuzz list); do \
		$(CARGO) fuzz run --sanitizer none $$target -- -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 || exit 1; done

# Cargo decides whether there is anything to do.
.PHONY: $(HOSPES)
$(HOSPES):
	@[ -n "$(HOSPES_IS_BUILT)" ] || $(NICE) $(CARGO) build --package hospes --bin hospes

# A separate workspace, because its lock file names crates that the host must not have.
trainer:
	cd host/train && CARGO_TARGET_DIR=../../target $(NICE) $(CARGO) build --locked

# So do the plugins' own scripts.
plugins: $(HOSPES)
	@plugins/build $(PLUGINS)
	@mkdir -p target/plugins
	@for plugin in $(PLUGINS); do $(HOSPES) build plugins/$$plugin --force -o target/plugins/$$plugin.wasm >/dev/null || exit 1; done

$(RUNTIME)/.installed: | $(HOSPES)
	@mkdir -p $(RUNTIME)
	@$(HOSPES) runtime install onnxruntime --data $(RUNTIME) --python $(PYTHON)
	@touch $@

$(PICTURES)/.fetched: tests/oracle/pictures.py
	@$(PYTHON) tests/oracle/pictures.py $(PICTURES)
	@touch $@

$(SPEECH)/.fetched: tests/oracle/speech.py
	@$(PYTHON) tests/oracle/speech.py $(SPEECH)
	@touch $@

$(LANGUAGE)/.fetched: tests/oracle/language_model.py
	@$(PYTHON) tests/oracle/language_model.py $(LANGUAGE)
	@touch $@

# Fashion-MNIST, as Debian packages it. Not installed: only unpacked.
$(FASHION)/.fetched:
	@mkdir -p $(FASHION)
	@cd $(FASHION) && { apt-get download -q dataset-fashion-mnist >/dev/null 2>&1 \
		|| { apt-get update -q >/dev/null && apt-get download -q dataset-fashion-mnist >/dev/null; }; }
	@cd $(FASHION) && dpkg-deb --fsys-tarfile *.deb | tar -x --strip-components=5 --wildcards './usr/share/datasets/fashion-mnist/*' && rm *.deb
	@touch $@

$(ORACLE): tests/oracle/requirements.txt
	@echo 'installing what the tests compare with'
	@$(PYTHON) -m venv target/oracle
	@$@ -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# The picture of the crates in ARCHITECTURE.md.
.PHONY: crates
crates:
	HOSPES_WRITE_CRATES=1 $(CARGO) test --workspace --test host the_picture_of_the_crates

# Generates the registry, the schema and the specification's tables from the table in the code.
.PHONY: profile
profile:
	HOSPES_WRITE_PROFILE=1 $(CARGO) nextest run --workspace the_profile_s_files || HOSPES_WRITE_PROFILE=1 $(CARGO) test --workspace the_profile_s_files

# Generates the HTTP reference's tables from the host's route table.
.PHONY: routes
routes:
	HOSPES_WRITE_ROUTES=1 $(CARGO) nextest run --package hospes --lib the_reference_has_the_tables || HOSPES_WRITE_ROUTES=1 $(CARGO) test --package hospes --lib the_reference_has_the_tables
