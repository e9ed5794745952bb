#!/bin/sh
# Installs the manual pages of the command `oxislirp`, for meson. Arguments: where they are, where they go beneath the prefix.
set -eu
case $2 in
/*) to=${DESTDIR:-}$2 ;;
*) to=$MESON_INSTALL_DESTDIR_PREFIX/$2 ;;
esac
mkdir -p "$to"
cp "$1"/*.1 "$to"
