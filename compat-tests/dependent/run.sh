#!/bin/bash
# A crate outside the workspace that depends on the engine and on nothing else: that it builds, what it takes, and that no C
# library is made on the way. The program is `main.rs` beside this; if the README has a Rust program, that is built too.
#
# compat-tests/dependent/run.sh [--release]
#
# Ends with "N passed, N failed".
set -u
cd "$(dirname "$0")/../.." || exit 1

passed=0
failed=0
check() {
    if [ "$1" = 0 ]; then
        echo "ok $2"
        passed=$((passed + 1))
    else
        echo "not ok $2"
        failed=$((failed + 1))
    fi
}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
engine=$PWD/engine
crate=$folder/dependent
cargo new --quiet --vcs none --name dependent "$crate"
check $? "a new crate"
printf 'oxislirp = { path = "%s" }\n' "$engine" >>"$crate/Cargo.toml"
cp compat-tests/dependent/main.rs "$crate/src/main.rs"
# The versions of the workspace, which are there already.
cp Cargo.lock "$crate/"

# The README's first Rust program, if it has one.
mkdir "$crate/src/bin"
awk '/^```rust/ { inside = 1; text = ""; next }
    /^```/ && inside { inside = 0; if (text ~ /fn main/) { printf "%s", text; exit } }
    inside { text = text $0 "\n" }' README.md >"$folder/readme.rs"
if [ -s "$folder/readme.rs" ]; then
    cp "$folder/readme.rs" "$crate/src/bin/readme.rs"
    echo "lines of the README's program: $(wc -l <"$folder/readme.rs")"
else
    echo "the README has no Rust program"
fi
echo "lines: $(wc -l <"$crate/src/main.rs") of main.rs, $(wc -l <"$crate/Cargo.toml") of Cargo.toml"

# Into a folder of its own, so that everything is built and nothing else lies there.
export CARGO_TARGET_DIR=$folder/target
started=$(date +%s.%N)
(cd "$crate" && cargo build --quiet "$@")
check $? "it builds"
echo "build time: $(echo "$(date +%s.%N) $started" | awk '{ printf "%.1f", $1 - $2 }') s, with everything that it depends on"
echo "crates: $(cd "$crate" && cargo tree --prefix none --edges normal,build | awk '{ print $1, $2 }' | sort -u | wc -l)"

program=$(find "$CARGO_TARGET_DIR" -maxdepth 2 -type f -name dependent)
answer=$("$program")
echo "$answer"
printf '%s\n' "$answer" | grep -q '^answer \[52, 55, 0a, 00, 02, 02\]$'
check $? "it has the answer of its router"

# A distribution may have hashbrown 0.16 as its only one. The workspace's tests want 0.17 (by cbindgen and indexmap 2.14), the engine does not.
(cd "$crate" && cargo update --quiet -p hashbrown --precise 0.16.1 && cargo tree --prefix none -i hashbrown | head -n 1 && cargo check --quiet)
check $? "it builds with hashbrown 0.16"

made=$(find "$CARGO_TARGET_DIR" -type f \( -name 'libslirp*' -o -name '*.so' -o -name '*.so.*' -o -name '*.a' -o -name '*.h' \))
[ -z "$made" ] || echo "$made"
[ -z "$made" ]
check $? "no C library, archive or header was made"
find "$CARGO_TARGET_DIR" -type d -name '*oxislirp-capi*' | grep -q .
[ $? != 0 ]
check $? "the package of the C library was not built"
find "$CARGO_TARGET_DIR" -type f \( -name 'liboxislirp*.rlib' -o -path "$program" \) -printf 'artefact: %f, %k KiB\n'

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
