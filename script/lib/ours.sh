# Sourced by script/test and script/demo: a folder in which the release build stands under the name that consumers load.

# ours_target: the folder that cargo builds into.
ours_target() {
    echo "${CARGO_TARGET_DIR:-$PWD/target}"
}

# ours_libdir FOLDER: make `libslirp.so.0` in FOLDER and let SLIRP_LIBDIR name it, unless SLIRP_LIBDIR is set already
# (for example to `system`, which is the installed upstream library).
ours_libdir() {
    if [ -z "${SLIRP_LIBDIR:-}" ]; then
        ln -sf "$(ours_target)/release/libslirp.so" "$1/libslirp.so.0"
        SLIRP_LIBDIR=$1
    fi
    export SLIRP_LIBDIR
}
