#!/bin/sh
# Builds the static library for meson.build.
# Arguments: cargo, source directory, target directory, cargo profile, directory of that profile, output file, file for
# the list of sources that the output depends on, what to build for (empty for this machine), further arguments for cargo.
set -eu
cargo=$1 source=$2 target=$3 profile=$4 directory=$5 output=$6 depfile=$7 machine=$8
shift 8
if [ -n "$machine" ]; then
    set -- --target "$machine" "$@"
    directory=$machine/$directory
fi

# The static library alone; the shared one is linked from it. So nobody has to find out which version nodes rustc's linker makes, which
# in a cross build is no linker for that machine.
SLIRP_VERSION_NODES=0 "$cargo" rustc --manifest-path "$source/Cargo.toml" --target-dir "$target" --profile "$profile" "$@" \
    --lib --crate-type staticlib
cp "$target/$directory/libslirp.a" "$output"
printf '%s:%s %s %s\n' "$output" "$(sed 's/^[^:]*://' "$target/$directory/libslirp.d")" \
    "$source/Cargo.toml" "$source/engine/Cargo.toml" "$source/Cargo.lock" > "$depfile"
