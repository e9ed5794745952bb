//! Gives the shared library its name and its symbol version nodes, with whatever linker rustc uses.
//!
//! rustc links a cdylib with an anonymous version script of its own, which puts every exported function on the base
//! version. What else a linker takes cannot be known from the target: rustc's own builds link x86-64 Linux with lld,
//! Debian's with GNU ld, and anybody can name another one. So the linker is asked: an empty library with the same functions
//! is linked in each of the ways below, as rustc will link the real one, and what came out is read.
//!
//! * *Second script*: the map beside rustc's script, and `-u name@@NODE` for each function, which gives the plain definition
//!   of `name` its version. lld takes this.
//! * *Own script*: GNU ld and mold do not. Then a small program named `ld` stands before the linker in the compiler
//!   driver's search path (`-B`) and leaves rustc's script out of the arguments, so that the map is the only one.
//!
//! GNU ld also defines an absolute symbol for each node, which Debian's list of the library's symbols has; where the linker
//! makes none, it is told to define them. The object files, and with them the static library, keep plain names in every
//! case.
//!
//! The variable SLIRP_VERSION_NODES set to 0 leaves the nodes out; set to 1, it is an error when the linker makes none.

#[path = "linking/elf.rs"]
mod elf;
#[path = "linking/probe.rs"]
mod probe;

use std::env;
use std::path::{Path, PathBuf};

use probe::Probe;

/// The version nodes and their functions; also the version script for linkers. Part of this program, as it runs for two
/// packages: this one and `tests/library`.
const MAP: &str = include_str!("src/libslirp.map");

/// The linker that takes rustc's version script out; see its head.
const OWN_SCRIPT: &str = include_str!("linking/own-script.sh");

/// The name that programs ask the loader for.
const SONAME: &str = "libslirp.so.0";

fn main() {
    println!("cargo:rerun-if-env-changed=SLIRP_VERSION_NODES");

    // For the tests, which compile C programs: cargo tells the target to build scripts alone.
    println!("cargo:rustc-env=OXISLIRP_TARGET={}", variable("TARGET"));

    let os = variable("CARGO_CFG_TARGET_OS");
    let elf = ["linux", "android", "freebsd", "netbsd", "openbsd", "dragonfly", "illumos", "solaris", "haiku"];
    if elf.contains(&os.as_str()) {
        for argument in elf_arguments() {
            println!("cargo:rustc-cdylib-link-arg={argument}");
        }
    } else if variable("CARGO_CFG_TARGET_VENDOR") == "apple" {
        // A name that is looked up where the program says; otherwise it would be the path of this build. The versions are those that
        // meson gives a library of the interface 0, upstream's among them: a program that was linked with one takes the other.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-install_name,@rpath/libslirp.0.dylib");
        println!("cargo:rustc-cdylib-link-arg=-Wl,-compatibility_version,0.0.0,-current_version,0.0.0");
    }
    // Windows has neither: a DLL's name is that of its file, and rustc lists its functions for the linker.
}

/// The value of an environment variable, empty when there is none.
fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

/// The arguments that make the best library this linker can make.
fn elf_arguments() -> Vec<String> {
    let wish = variable("SLIRP_VERSION_NODES");
    let folder = PathBuf::from(variable("OUT_DIR"));
    let probe = Probe::new(&folder, MAP);
    // Only a linker that is called without a compiler driver takes its arguments without the prefix.
    let name = ["-Wl,-soname,", "-soname="].map(|prefix| vec![format!("{prefix}{SONAME}")]);
    let mut best = name.iter().find(|name| probe.link(name).is_some()).unwrap_or(&name[0]).clone();
    if wish == "0" {
        return best;
    }
    let mut has_nodes = false;
    for arguments in name.iter().flat_map(|name| ways(&folder, name)) {
        let Some(library) = probe.link(&arguments) else { continue };
        let found = elf::versions(&library).unwrap_or_default();
        let has = |symbol: &str, node: &str| found.iter().any(|(s, n)| s == symbol && n == node);
        if !versions(MAP).iter().all(|(function, node)| has(function, node)) {
            continue;
        }
        if nodes(MAP).iter().all(|node| has(node, node)) {
            return arguments;
        }
        if !has_nodes {
            has_nodes = true;
            best = arguments;
        }
    }
    if !has_nodes {
        let reason = probe.complaint();
        // A compiler that cannot compile for the target has not asked the linker.
        let what = match probe.has_linked() {
            true => "the linker makes no version nodes",
            false => "whether the linker makes version nodes could not be found out",
        };
        assert!(wish != "1", "{what}: {reason}");
        println!("cargo:warning={what}, so every function of a shared library is on the base version: {reason}");
    }
    best
}

/// The ways to ask for the nodes; all arguments of each.
fn ways(folder: &Path, name: &[String]) -> Vec<Vec<String>> {
    let prefix = if name[0].starts_with("-Wl,") { "-Wl," } else { "" };
    let script = write(&folder.join("libslirp.map"), MAP);
    let functions = versions(MAP).into_iter().map(|(function, node)| format!("{function}@@{node}"));
    let references: Vec<String> = match prefix {
        "" => functions.map(|name| format!("--undefined={name}")).collect(),
        _ => functions.map(|name| format!("-Wl,-u,{name}")).collect(),
    };
    let absolute: Vec<String> = nodes(MAP).iter().map(|node| format!("{prefix}--defsym={node}=0")).collect();
    let script = vec![format!("{prefix}--version-script={script}")];
    let mut ways = vec![[name, &script, &references, &absolute].concat()];
    if prefix == "-Wl," {
        let front = vec![format!("-B{}", linker_in_front(folder))];
        // Those that define the symbols of the nodes themselves are not told of them.
        let plain: Vec<&str> = MAP.lines().filter(|line| !is_node(line.trim()) || line.ends_with('{')).collect();
        let plain = write(&folder.join("libslirp-plain.map"), &(plain.join("\n") + "\n"));
        let plain = vec![format!("{prefix}--version-script={plain}")];
        ways.push([name, &front, &plain].concat());
        ways.push([name, &front, &script, &absolute].concat());
    }
    ways
}

/// A folder with the linker that takes rustc's script out, under each name by which compiler drivers call a linker.
fn linker_in_front(folder: &Path) -> String {
    let front = folder.join("front");
    std::fs::create_dir_all(&front).expect("a build script can write into its folder");
    for name in ["ld", "ld.bfd", "ld.gold", "ld.lld", "ld.mold", "mold"] {
        let path = front.join(name);
        write(&path, OWN_SCRIPT);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let everybody = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&path, everybody).expect("a build script can write into its folder");
        }
    }
    front.to_str().expect("cargo names its folder in UTF-8").to_owned()
}

/// Writes a file and returns its path.
fn write(path: &Path, text: &str) -> String {
    std::fs::write(path, text).expect("a build script can write into its folder");
    path.to_str().expect("cargo names its folder in UTF-8").to_owned()
}

/// The version nodes that the map defines.
fn nodes(map: &str) -> Vec<&str> {
    map.lines().filter_map(|line| line.trim().strip_suffix(" {")).collect()
}

/// Whether a line of the map, or a name, is that of a function or of a node.
fn is_function(name: &str) -> bool {
    ["slirp_", "oxislirp_"].iter().any(|prefix| name.starts_with(prefix))
}

fn is_node(name: &str) -> bool {
    ["SLIRP_", "OXISLIRP_"].iter().any(|prefix| name.starts_with(prefix))
}

/// The pairs of function and version node that the map defines.
fn versions(map: &str) -> Vec<(&str, &str)> {
    let mut pairs = Vec::new();
    let mut node = "";
    for line in map.lines().map(str::trim) {
        if let Some(name) = line.strip_suffix(" {") {
            node = name;
        } else if let Some(function) = line.strip_suffix(';').filter(|name| is_function(name)) {
            pairs.push((function, node));
        }
    }
    pairs
}
