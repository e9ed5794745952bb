//! Links a library of empty functions as cargo and rustc will link the real one: the same compiler, target, flags and
//! linker, and the arguments that are tried.

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{variable, versions};

/// What is linked, and what the linker has said last.
pub struct Probe {
    folder: PathBuf,
    count: Cell<u32>,
    complaint: RefCell<String>,
}

impl Probe {
    /// Writes the empty library with the functions of `map` into `folder`.
    pub fn new(folder: &Path, map: &str) -> Probe {
        // Without the standard library, which would have to be found and linked for nothing.
        let mut source = String::from("#![no_std]\n#[panic_handler]\n");
        source += "fn panic(_: &core::panic::PanicInfo) -> ! { loop {} }\n";
        for (function, _) in versions(map) {
            source += &format!("#[unsafe(no_mangle)] pub extern \"C\" fn {function}() {{}}\n");
        }
        fs::write(folder.join("probe.rs"), source).expect("a build script can write into its folder");
        Probe { folder: folder.to_owned(), count: Cell::new(0), complaint: RefCell::default() }
    }

    /// Links with these arguments; the library that comes out, if the linker makes one.
    pub fn link(&self, arguments: &[String]) -> Option<Vec<u8>> {
        self.count.set(self.count.get() + 1);
        let library = self.folder.join(format!("probe-{}.so", self.count.get()));
        let mut rustc = Command::new(variable("RUSTC"));
        rustc.args(["--crate-name=probe", "--crate-type=cdylib", "--edition=2024", "--cap-lints=allow", "--target"]);
        rustc.arg(variable("TARGET")).arg("-o").arg(&library).arg(self.folder.join("probe.rs"));
        rustc.args(variable("CARGO_ENCODED_RUSTFLAGS").split('\x1f').filter(|flag| !flag.is_empty()));
        let linker = variable("RUSTC_LINKER");
        if !linker.is_empty() {
            rustc.arg(format!("-Clinker={linker}"));
        }
        // An unwinding panic would ask for the standard library.
        rustc.arg("-Cpanic=abort");
        rustc.args(arguments.iter().map(|argument| format!("-Clink-arg={argument}")));
        let output = match rustc.output() {
            Ok(output) => output,
            Err(error) => {
                *self.complaint.borrow_mut() = format!("{rustc:?}: {error}");
                return None;
            }
        };
        let made = fs::read(&library).ok().filter(|_| output.status.success());
        let _ = fs::remove_file(&library);
        if made.is_none() {
            *self.complaint.borrow_mut() = gist(&String::from_utf8_lossy(&output.stderr));
        }
        made
    }

    /// Why the last library that was not made was not made, in one line.
    pub fn complaint(&self) -> String {
        self.complaint.borrow().clone()
    }
}

/// The line of an output that says the most: the linker's own, or else the compiler's first.
fn gist(output: &str) -> String {
    let lines = || output.lines().map(str::trim).filter(|line| !line.is_empty());
    let linkers = lines().find(|line| line.contains("ld: ") || line.contains("ld.lld: ") || line.contains("mold: "));
    linkers.or_else(|| lines().next()).unwrap_or("no message").to_owned()
}
