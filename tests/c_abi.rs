//! The library as C programs see it: the headers in each C dialect, the exported functions and their version nodes, and
//! the C test programs of `compat-tests/c` linked to the shared library of this build.
#![cfg(all(unix, target_pointer_width = "64"))]

#[path = "common/compiler.rs"]
mod compiler;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

// The old callbacks are marked as deprecated, and looked at none the less.
const WARNINGS: [&str; 3] = ["-Werror", "-pedantic", "-Wno-deprecated-declarations"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The shared library of this build; cargo has put it beside the test programs (see tests/library).
fn library() -> PathBuf {
    let program = env::current_exe().expect("a test has a path");
    program.with_file_name("libslirp_under_test.so")
}

fn c() -> Command {
    compiler::c().expect("there is a C compiler")
}

fn cpp() -> Command {
    compiler::cpp().expect("there is a C++ compiler")
}

/// A directory for the files of one test, empty.
fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("the scratch directory can be made");
    path
}

/// Runs a command and returns what it printed; a failure ends the test with that.
fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}{stderr}");
    stdout.into_owned()
}

/// Compiles a program of `compat-tests/c` with the shared library of this build and runs it.
fn run_program(name: &str) {
    run_program_in(&scratch(name), name, &[]);
}

/// The same in a directory, with arguments.
fn run_program_in(dir: &Path, name: &str, arguments: &[&str]) {
    run_compiled(&compile_in(dir, name), arguments);
}

/// Compiles a program of `compat-tests/c` with the shared library of this build.
fn compile_in(dir: &Path, name: &str) -> PathBuf {
    let library = library();
    std::os::unix::fs::symlink(&library, dir.join("libslirp.so.0")).expect("the library can be linked");
    let program = dir.join(name);
    // None needs all that their guest can do.
    run(c()
        .args(WARNINGS)
        .args(["-Wno-unused-function", "-std=c11", "-I"])
        .arg(root().join("include"))
        .arg("-o")
        .arg(&program)
        .arg(root().join("compat-tests/c").join(name).with_extension("c"))
        .arg(&library));
    program
}

fn run_compiled(program: &Path, arguments: &[&str]) {
    let dir = program.parent().expect("a program in a folder");
    let printed = run(Command::new(program).args(arguments).env("LD_LIBRARY_PATH", dir));
    let last = printed.lines().last().unwrap_or_default();
    assert!(last.ends_with(" passed, 0 failed") && !last.starts_with("0 "), "{printed}");
}

#[test]
fn headers_compile_in_each_dialect() {
    let layout = root().join("compat-tests/c/layout.c");
    let include = root().join("include");
    for standard in ["-std=c99", "-std=c11", "-std=gnu17"] {
        run(c().args(WARNINGS).args([standard, "-fsyntax-only", "-I"]).arg(&include).arg(&layout));
    }
    for standard in ["-std=c++11", "-std=c++17"] {
        run(cpp().args(WARNINGS).args([standard, "-fsyntax-only", "-x", "c++", "-I"]).arg(&include).arg(&layout));
    }
}

#[test]
fn headers_are_found_without_their_folder() {
    run(c()
        .args(WARNINGS)
        .args(["-std=c99", "-fsyntax-only", "-DLAYOUT_FLAT_INCLUDE", "-I"])
        .arg(root().join("include/slirp"))
        .arg(root().join("compat-tests/c/layout.c")));
}

#[test]
fn layout_program_runs() {
    run_program("layout");
}

/// All exported functions with the version that first had them: docs/contract/api.md section 1.
#[cfg(target_os = "linux")]
const VERSIONS: [(&str, &str); 27] = [
    ("slirp_add_exec", "SLIRP_4.0"),
    ("slirp_add_guestfwd", "SLIRP_4.0"),
    ("slirp_add_hostfwd", "SLIRP_4.0"),
    ("slirp_cleanup", "SLIRP_4.0"),
    ("slirp_connection_info", "SLIRP_4.0"),
    ("slirp_init", "SLIRP_4.0"),
    ("slirp_input", "SLIRP_4.0"),
    ("slirp_pollfds_fill", "SLIRP_4.0"),
    ("slirp_pollfds_poll", "SLIRP_4.0"),
    ("slirp_remove_hostfwd", "SLIRP_4.0"),
    ("slirp_socket_can_recv", "SLIRP_4.0"),
    ("slirp_socket_recv", "SLIRP_4.0"),
    ("slirp_state_load", "SLIRP_4.0"),
    ("slirp_state_save", "SLIRP_4.0"),
    ("slirp_state_version", "SLIRP_4.0"),
    ("slirp_version_string", "SLIRP_4.0"),
    ("slirp_new", "SLIRP_4.1"),
    ("slirp_add_unix", "SLIRP_4.2"),
    ("slirp_remove_guestfwd", "SLIRP_4.2"),
    ("slirp_add_hostxfwd", "SLIRP_4.5"),
    ("slirp_neighbor_info", "SLIRP_4.5"),
    ("slirp_remove_hostxfwd", "SLIRP_4.5"),
    ("slirp_handle_timer", "SLIRP_4.7"),
    ("slirp_pollfds_fill_socket", "SLIRP_4.9"),
    ("slirp_reset_debug", "SLIRP_4.9"),
    ("slirp_set_debug", "SLIRP_4.9"),
    // What upstream does not have.
    ("oxislirp_counters", "OXISLIRP_1.0"),
];

/// Everything defined in the dynamic symbol table, with its version, as `objdump -T` lists it.
#[cfg(target_os = "linux")]
fn dynamic_symbols(library: &Path) -> BTreeSet<(String, String)> {
    run(Command::new("objdump").arg("-T").arg(library))
        .lines()
        .filter(|line| !line.contains("*UND*") && !line.contains("*ABS*"))
        .filter_map(|line| {
            let mut words = line.split_whitespace().rev();
            let (name, version) = (words.next()?, words.next()?);
            // A symbol's line starts with its address.
            line.starts_with('0').then(|| (name.to_owned(), version.to_owned()))
        })
        .collect()
}

#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
fn exported_functions_are_on_their_version_nodes() {
    let wanted: BTreeSet<_> = VERSIONS.iter().map(|&(name, node)| (name.to_owned(), node.to_owned())).collect();
    assert_eq!(wanted.len(), 27);
    assert_eq!(dynamic_symbols(&library()), wanted);
}

#[test]
#[cfg(target_os = "linux")]
fn library_needs_only_the_system() {
    let headers = run(Command::new("objdump").arg("-p").arg(library()));
    let value = |key: &'static str| {
        headers.lines().filter_map(move |line| line.trim().strip_prefix(key)).map(|name| name.trim().to_owned())
    };
    assert_eq!(value("SONAME").collect::<Vec<_>>(), ["libslirp.so.0"]);
    for name in value("NEEDED") {
        let stem = name.split(".so").next().unwrap_or_default();
        assert!(
            ["libc", "libgcc_s", "libm", "libdl", "libpthread"].contains(&stem) || stem.starts_with("ld-"),
            "{name}"
        );
    }
}

#[test]
#[cfg(target_os = "linux")]
fn static_library_keeps_plain_names() {
    // A shared object that brings the library along, linked without a version map and with nothing left undefined.
    let dir = scratch("static");
    let source = dir.join("plugin.c");
    let text = "const char *slirp_version_string(void);\nconst char *plugin(void) { return slirp_version_string(); }\n";
    fs::write(&source, text).expect("the source can be written");
    let plugin = dir.join("plugin.so");
    run(c().args(["-shared", "-Wl,-z,defs", "-o"]).arg(&plugin).arg(&source).arg(library().with_extension("a")));
    let symbols = dynamic_symbols(&plugin);
    assert!(symbols.iter().any(|(name, _)| name == "slirp_version_string"), "{symbols:?}");
    assert!(!symbols.iter().any(|(_, version)| version.contains("SLIRP")), "{symbols:?}");
}

#[test]
fn null_callbacks_program_runs() {
    run_program("null_callbacks");
}

#[test]
fn main_paths_program_runs() {
    run_program("main_paths");
}

#[test]
fn what_cannot_be_done_is_refused_to_a_c_program() {
    let dir = scratch("refusals");
    run_program_in(&dir, "refusals", &[dir.to_str().expect("a plain path")]);
}

#[test]
fn a_state_that_was_loaded_is_saved_again_byte_for_byte_and_its_connections_go_on() {
    let dir = scratch("exchange");
    let program = compile_in(&dir, "exchange");
    let [state, again] = ["state", "again"].map(|name| dir.join(name));
    let [state_name, again_name] = [&state, &again].map(|path| path.to_str().expect("a plain path"));
    run_compiled(&program, &["save", state_name]);
    run_compiled(&program, &["load", state_name, again_name]);
    assert!(fs::read(&state).expect("it was saved") == fs::read(&again).expect("it was saved again"));
}

#[test]
fn services_are_served_to_a_guest_of_a_c_program() {
    let dir = scratch("services");
    fs::create_dir(dir.join("boot")).expect("a folder for files");
    run_program_in(&dir, "services", &[dir.to_str().expect("a plain path"), "sh -c 'echo ready; cat'"]);
}
