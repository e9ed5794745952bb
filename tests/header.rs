//! The checked-in C headers are generated from the library's own types. These tests fail when a header is stale; run
//! them with SLIRP_WRITE_HEADERS=1 to write the headers anew.

#[path = "common/compiler.rs"]
mod compiler;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use slirp_under_test::exports::VERSION_STRING;

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
    Path::new(&root()).join("src").join(name)
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
    let text = String::from_utf8(text).expect("the header is UTF-8");
    check("libslirp.h", &with_deprecations(&text));
}

#[test]
fn oxislirp_h_is_current() {
    let config =
        cbindgen::Config::from_file(root().join("cbindgen-oxislirp.toml")).expect("the configuration is valid");
    let bindings = cbindgen::Builder::new().with_config(config).with_src(source("counters.rs")).generate();
    let mut text = Vec::new();
    bindings.expect("cbindgen understands the C interface").write(&mut text);
    check("oxislirp.h", &String::from_utf8(text).expect("the header is UTF-8"));
}

/// Marks what is deprecated, behind its declaration; cbindgen has no place for that.
fn with_deprecations(text: &str) -> String {
    const DEPRECATED: [&str; 3] = ["void slirp_pollfds_fill(", "(*register_poll_fd)(", "(*unregister_poll_fd)("];
    DEPRECATED.iter().fold(text.to_string(), |text, name| {
        let start = text.find(name).unwrap_or_else(|| panic!("{name} is declared"));
        let end = start + text[start..].find(");").expect("a declaration ends") + 1;
        format!("{} SLIRP_DEPRECATED{}", &text[..end], &text[end..])
    })
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
#ifndef LIBSLIRP_VERSION_H_
#define LIBSLIRP_VERSION_H_

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

#endif /* LIBSLIRP_VERSION_H_ */
"#
    );
    check("libslirp-version.h", &wanted);
}

/// Runs the compiler over declarations.c and gives what it said; `None` when there is none, with a word about it.
fn compile(compiler: Result<Command, cc::Error>, options: &[&str]) -> Option<(bool, String)> {
    let mut compiler = compiler.expect("cc knows the target");
    let output = compiler
        .arg("-fsyntax-only")
        .args(options)
        .arg(format!("-I{}", root().join("include").display()))
        .arg(root().join("compat-tests/c/declarations.c"))
        .output();
    match output {
        Ok(output) => Some((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())),
        Err(error) => {
            println!("SKIPPED: {compiler:?}: {error}");
            None
        }
    }
}

#[test]
fn earnest_header_every_declaration_compiles_without_a_warning() {
    for standard in ["-std=c99", "-std=c11"] {
        let Some((ok, said)) = compile(compiler::c(), &["-Werror", "-pedantic", standard]) else { return };
        assert!(ok, "{standard}: {said}");
    }
    let Some((ok, said)) = compile(compiler::cpp(), &["-Werror", "-xc++", "-std=c++11"]) else { return };
    assert!(ok, "{said}");
}

#[test]
fn earnest_header_what_is_deprecated_says_so() {
    let Some((ok, said)) = compile(compiler::c(), &["-DUSE_DEPRECATED"]) else { return };
    assert!(ok, "{said}");
    for name in ["slirp_pollfds_fill", "register_poll_fd", "unregister_poll_fd"] {
        let warned = said.lines().any(|line| {
            line.contains(&format!("{name}’ is deprecated")) || line.contains(&format!("'{name}' is deprecated"))
        });
        assert!(warned, "{name}: {said}");
    }
}

/// The words of a header that may be names, outside of comments, texts and the names of other headers.
fn words(header: &str) -> std::collections::BTreeSet<String> {
    let mut code = String::new();
    let mut rest = header;
    while let Some((before, comment)) = rest.split_once("/*") {
        code.push_str(before);
        rest = comment.split_once("*/").map_or("", |(_, after)| after);
    }
    code.push_str(rest);
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("#include"));
    let text: String = lines.flat_map(|line| line.chars().chain([' '])).collect();
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.to_ascii_lowercase().contains("slirp"))
        .map(str::to_string)
        .collect()
}

/// Every name of upstream's headers, whichever they are: `script/lib/upstream.sh headers` fetches those of 4.9.5.
#[test]
fn earnest_header_has_every_name_of_upstreams() {
    let fetched = root().join("target/upstream/libslirp-dev-4.9.5/usr/include");
    let folder = [fetched, "/usr/include".into()].into_iter().find(|f| f.join("slirp/libslirp.h").exists());
    let Some(folder) = env::var_os("SLIRP_UPSTREAM_HEADERS").map(PathBuf::from).or(folder) else {
        println!("SKIPPED: no headers of upstream; script/lib/upstream.sh headers fetches them");
        return;
    };
    for name in ["libslirp.h", "libslirp-version.h"] {
        let read = |folder: &Path| fs::read_to_string(folder.join("slirp").join(name)).expect("the header is there");
        let (theirs, ours) = (words(&read(&folder)), words(&read(&root().join("include"))));
        let missing: Vec<_> = theirs.difference(&ours).collect();
        assert!(theirs.len() > 5 && missing.is_empty(), "{name} lacks {missing:?}");
    }
}
