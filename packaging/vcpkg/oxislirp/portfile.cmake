# cargo has to be in PATH: vcpkg has no Rust of its own.
find_program(CARGO cargo REQUIRED)

vcpkg_download_distfile(ARCHIVE
    URLS "https://oxislirp.example.org/oxislirp-${VERSION}.tar.xz"
    FILENAME "oxislirp-${VERSION}.tar.xz"
    # script/release prints SHA-256; vcpkg wants SHA-512.
    SHA512 0
)
vcpkg_extract_source_archive(SOURCE_PATH ARCHIVE "${ARCHIVE}")

vcpkg_configure_meson(
    SOURCE_PATH "${SOURCE_PATH}"
    OPTIONS -Dcargo_args=--locked -Dtools=disabled
)
vcpkg_install_meson()
vcpkg_fixup_pkgconfig()
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE" "${SOURCE_PATH}/packaging/debian/copyright")
