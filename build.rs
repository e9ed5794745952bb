//! Gives the shared library its soname and its symbol version nodes.
//!
//! rustc links a cdylib with an anonymous version script of its own, which puts every exported function on the base
//! version. GNU ld refuses a second, named script next to it; LLVM's lld accepts one. There, the reference
//! `-u name@@NODE` gives the plain definition of `name` in the object files the version `NODE`. So the object files, and
//! with them the static library, keep plain names, which a program or another shared library can link without knowing
//! about versions.
//!
//! Where rustc does not link with lld by default, the functions stay on the base version; `meson.build` then links the
//! shared library from the static one with the same map. The variable SLIRP_VERSION_NODES (0 or 1) overrides the guess.

use std::env;

/// The version nodes and their functions; also the version script for linkers. Part of this program, as it runs for two
/// packages: this one and `tests/library`.
const MAP: &str = include_str!("src/libslirp.map");

fn main() {
    println!("cargo:rerun-if-env-changed=SLIRP_VERSION_NODES");

    // For the tests, which compile C programs: cargo tells the target to build scripts alone.
    println!("cargo:rustc-env=OXISLIRP_TARGET={}", variable("TARGET"));

    let elf = ["linux", "freebsd", "netbsd", "openbsd", "dragonfly", "illumos"];
    if !elf.contains(&variable("CARGO_CFG_TARGET_OS").as_str()) {
        return;
    }
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libslirp.so.0");
    let wanted = match variable("SLIRP_VERSION_NODES").as_str() {
        "0" => false,
        "1" => true,
        _ => links_with_lld(),
    };
    if wanted {
        let script = format!("{}/libslirp.map", variable("OUT_DIR"));
        std::fs::write(&script, MAP).expect("a build script can write into its folder");
        println!("cargo:rustc-cdylib-link-arg=-Wl,--version-script={script}");
        for (function, node) in versions(MAP) {
            println!("cargo:rustc-cdylib-link-arg=-Wl,-u,{function}@@{node}");
        }
    }
}

/// The value of an environment variable, empty when there is none.
fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

/// Whether rustc links this target with lld: since 1.90 it does for x86-64 Linux with glibc, unless its flags name
/// another linker.
fn links_with_lld() -> bool {
    let flags = variable("CARGO_ENCODED_RUSTFLAGS");
    variable("TARGET") == "x86_64-unknown-linux-gnu"
        && !flags.contains("linker-features=-lld")
        && (!flags.contains("-fuse-ld=") || flags.contains("-fuse-ld=lld"))
}

/// The pairs of function and version node that the map defines.
fn versions(map: &str) -> Vec<(&str, &str)> {
    let mut pairs = Vec::new();
    let mut node = "";
    for line in map.lines().map(str::trim) {
        if let Some(name) = line.strip_suffix(" {") {
            node = name;
        } else if let Some(function) = line.strip_suffix(';').filter(|name| name.starts_with("slirp_")) {
            pairs.push((function, node));
        }
    }
    pairs
}
