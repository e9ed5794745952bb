//! The checked-in C headers are generated from the library's own types. These tests fail when a header is stale; run
//! them with SLIRP_WRITE_HEADERS=1 to write the headers anew.

use std::path::{Path, PathBuf};
use std::{env, fs};

use slirp::capi::exports::VERSION_STRING;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Compares a header with the file in `include/slirp`, or writes it there on request.
fn check(name: &str, wanted: &str) {
    let path = root().join("include/slirp").join(name);
    if env::var_os("SLIRP_WRITE_HEADERS").is_some() {
        fs::write(&path, wanted).expect("the header can be written");
        return;
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    let line = found.lines().zip(wanted.lines()).position(|(a, b)| a != b).map_or(0, |n| n + 1);
    assert!(
        found == wanted,
        "{} is stale (first difference in line {line}); run SLIRP_WRITE_HEADERS=1 cargo test --test header",
        path.display()
    );
}

fn source(name: &str) -> PathBuf {
    Path::new(&root()).join("src/capi").join(name)
}

#[test]
fn libslirp_h_is_current() {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).expect("cbindgen.toml is valid");
    let bindings = cbindgen::Builder::new()
        .with_config(config)
        .with_src(source("types.rs"))
        .with_src(source("exports.rs"))
        .generate()
        .expect("cbindgen understands the C interface");
    let mut text = Vec::new();
    bindings.write(&mut text);
    check("libslirp.h", std::str::from_utf8(&text).expect("the header is UTF-8"));
}

#[test]
fn libslirp_version_h_is_current() {
    let version = VERSION_STRING.to_str().expect("the version is ASCII");
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().expect("three numbers"));
    let mut next = || numbers.next().expect("three numbers");
    let (major, minor, micro) = (next(), next(), next());
    let wanted = format!(
        r#"/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The version of the interface that the header libslirp.h describes.
 *
 * Generated from the library's source; do not edit.
 */
#ifndef LIBSLIRP_VERSION_H
#define LIBSLIRP_VERSION_H

#define SLIRP_MAJOR_VERSION {major}
#define SLIRP_MINOR_VERSION {minor}
#define SLIRP_MICRO_VERSION {micro}
#define SLIRP_VERSION_STRING "{version}"

/* True when the interface is at least of this version. */
#define SLIRP_CHECK_VERSION(major, minor, micro)                             \
    (SLIRP_MAJOR_VERSION > (major) ||                                        \
     (SLIRP_MAJOR_VERSION == (major) && SLIRP_MINOR_VERSION > (minor)) ||    \
     (SLIRP_MAJOR_VERSION == (major) && SLIRP_MINOR_VERSION == (minor) &&    \
      SLIRP_MICRO_VERSION >= (micro)))

#endif /* LIBSLIRP_VERSION_H */
"#
    );
    check("libslirp-version.h", &wanted);
}
