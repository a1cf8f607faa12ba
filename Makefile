# The commands of a fresh Debian or Ubuntu machine with rustup, and of every other one:
#   make demo    a float network becomes firmware and runs on an emulated Cortex-M4
#   make test    everything that is checked
#   make bench   instructions of every layer on every core, beside CMSIS-NN; writes tools/bench/condconv.tsv
# They begin with `make setup`, which installs what is missing and says so.

TOOLCHAIN := $(shell sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
COMPONENTS := rustfmt clippy
TARGETS := $(shell sed -n 's/^ *"\(.*\)",$$/\1/p' rust-toolchain.toml)
EXAMPLES := $(basename $(notdir $(wildcard examples/*.rs)))

# The inner loops differ from core to core, so each is checked. A Cortex-M7 is built like a Cortex-M4.
CORES := cortex-m0 cortex-m3 cortex-m4 cortex-m33 cortex-m55
TARGET_cortex-m0 := thumbv6m-none-eabi
TARGET_cortex-m3 := thumbv7m-none-eabi
TARGET_cortex-m4 := thumbv7em-none-eabihf
TARGET_cortex-m33 := thumbv8m.main-none-eabihf
TARGET_cortex-m55 := thumbv8m.main-none-eabihf
FLAGS_cortex-m33 := -Ctarget-cpu=cortex-m33
FLAGS_cortex-m55 := -Ctarget-cpu=cortex-m55

.PHONY: demo test bench bench-check setup format lint lint-plugin network docs host examples portable

demo: setup
	cargo run --release --package condconv-tools -- demo

test: setup format lint lint-plugin $(addprefix lint-,$(CORES)) docs host examples portable bench-check
	@echo 'test: all passed'

BENCH := cargo run --release --package condconv-tools --example bench --

# The tables of docs/speed.md are at its end.
bench: setup
	$(BENCH) measure
	sed -i '/^<!-- Tables: /q' docs/speed.md
	$(BENCH) print cortex-m4 >> docs/speed.md

# Not on a Cortex-M7, which runs the program of a Cortex-M4.
bench-check:
	$(BENCH) check $(CORES)

setup:
	@command -v rustup > /dev/null || { echo "setup: rustup is missing: see https://rustup.rs" >&2; exit 1; }
	@rustup toolchain list | grep -q '^$(TOOLCHAIN)-' || { \
	    echo "setup: installing Rust $(TOOLCHAIN)"; rustup toolchain install $(TOOLCHAIN) --profile minimal --no-self-update; }
	@for component in $(COMPONENTS); do \
	    rustup component list --installed --toolchain $(TOOLCHAIN) | grep -q "^$$component" || { \
	        echo "setup: installing $$component"; \
	        rustup component add --toolchain $(TOOLCHAIN) $$component || exit 1; }; done
	@for target in $(TARGETS); do \
	    rustup target list --installed --toolchain $(TOOLCHAIN) | grep -qx "$$target" || { \
	        echo "setup: installing the target $$target"; \
	        rustup target add --toolchain $(TOOLCHAIN) "$$target" || exit 1; }; done
	@command -v cc > /dev/null || { echo "setup: installing a linker (gcc)"; $(call install,gcc libc6-dev); } || { \
	    echo "setup: no linker: install gcc or clang" >&2; exit 1; }
	@command -v qemu-system-arm > /dev/null || { echo "setup: installing QEMU"; $(call install,qemu-system-arm); } || { \
	    echo "setup: QEMU could not be installed, and without it no device can be emulated:" \
	        "install qemu-system-arm 7.2 or later" >&2; exit 1; }

install = $(if $(filter 0,$(shell id -u)),,sudo) sh -c \
    'apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $(1)'

format:
	cargo fmt --all --check
	cd boards/qemu && cargo fmt --check
	cd boards/qemu-plugin && cargo fmt --check

# Optional features only add: the library is checked without them too, where something could be unused.
lint:
	cargo clippy --workspace --all-targets --all-features -- --deny warnings
	cargo clippy --package condconv --lib -- --deny warnings

lint-plugin:
	cd boards/qemu-plugin && cargo clippy --all-targets -- --deny warnings

lint-%: network
	RUSTFLAGS=$(FLAGS_$*) cargo clippy --package condconv --lib --all-features --target $(TARGET_$*) -- --deny warnings
	cd boards/qemu && RUSTFLAGS=$(FLAGS_$*) CONDCONV_NETWORK=$(CURDIR)/boards/qemu/target/digits.rs \
	    cargo clippy --release --all-features --target $(TARGET_$*) -- --deny warnings

# Firmware is nothing without a network.
network:
	cargo run --package condconv-tools -- convert models/digits.onnx --calibrate models/digits.calibrate.npy \
	    --out boards/qemu/target

docs:
	RUSTDOCFLAGS='--deny warnings' cargo doc --workspace --all-features --no-deps

# Once more, the library's own tests with the loops of other cores, and without its optional features.
host:
	cargo test --workspace --all-features
	set -e; for kernels in scalar dsp helium; do \
	    CONDCONV_KERNELS=$$kernels cargo test --package condconv --test properties --test overlap --test rows --test bounds --test errors; done

examples:
	set -e; for example in $(EXAMPLES); do cargo run --example $$example; done

portable:
	set -e; for target in riscv32imac-unknown-none-elf wasm32-unknown-unknown; do \
	    cargo build --package condconv --no-default-features --target $$target; done
