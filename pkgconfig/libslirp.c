/* Meson wants a source file to know how to link the shared library; the code itself comes from the static library. */
typedef int oxislirp_shared_library;
