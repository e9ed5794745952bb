#!/bin/sh
# Prints the functions of the library as a module definition, which is how a DLL is told what it gives to others.
# Arguments: the version map, the name of the DLL.
set -eu
echo "LIBRARY $2"
echo EXPORTS
sed -nE 's/^ +((oxi)?slirp_[a-z0-9_]+);.*/    \1/p' "$1"
# Of Windows alone.
echo "    slirp_inet_aton"
