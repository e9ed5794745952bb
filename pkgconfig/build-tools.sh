#!/bin/sh
# Builds the command `oxislirp` with its completions and manual pages into a folder, for meson.
# Arguments: cargo, the source, cargo's target folder, the folder for what comes out, cargo's other arguments.
set -eu
cargo=$1 source=$2 target=$3 out=$4
shift 4
CARGO_TARGET_DIR=$target "$cargo" build --release --manifest-path "$source/Cargo.toml" -p oxislirp-tools "$@"
cp "$target/release/oxislirp" "$out/oxislirp"
"$out/oxislirp" completions bash > "$out/oxislirp.bash"
"$out/oxislirp" completions zsh > "$out/_oxislirp"
"$out/oxislirp" completions fish > "$out/oxislirp.fish"
"$out/oxislirp" man "$out/man"
