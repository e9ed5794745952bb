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
    functions: String,
    count: Cell<u32>,
    complaint: RefCell<String>,
    /// Whether the compiler has no `core` for the target, as cargo is about to build that.
    coreless: Cell<bool>,
    has_linked: Cell<bool>,
}

/// Without the standard library, which would have to be found and linked for nothing.
const WITH_CORE: &str = "#![no_std]\n#[panic_handler]\nfn panic(_: &core::panic::PanicInfo) -> ! { loop {} }\n";

/// The same where there is no `core` either. Who has cargo build that has a compiler that takes this.
const WITHOUT_CORE: &str = "#![feature(no_core, lang_items)]
#![no_core]
#[lang = \"pointee_sized\"]
pub trait PointeeSized {}
#[lang = \"meta_sized\"]
pub trait MetaSized: PointeeSized {}
#[lang = \"sized\"]
pub trait Sized: MetaSized {}
";

impl Probe {
    /// Writes the empty library with the functions of `map` into `folder`.
    pub fn new(folder: &Path, map: &str) -> Probe {
        let mut functions = String::new();
        for (function, _) in versions(map) {
            functions += &format!("#[unsafe(no_mangle)] pub extern \"C\" fn {function}() {{}}\n");
        }
        let probe = Probe {
            folder: folder.to_owned(),
            functions,
            count: Cell::new(0),
            complaint: RefCell::default(),
            coreless: Cell::new(false),
            has_linked: Cell::new(false),
        };
        probe.write(WITH_CORE);
        probe
    }

    fn write(&self, head: &str) {
        let source = format!("{head}{}", self.functions);
        fs::write(self.folder.join("probe.rs"), source).expect("a build script can write into its folder");
    }

    /// Links with these arguments; the library that comes out, if the linker makes one.
    pub fn link(&self, arguments: &[String]) -> Option<Vec<u8>> {
        let made = self.link_once(arguments);
        if made.is_none() && !self.coreless.get() && self.complaint().contains("can't find crate for `core`") {
            self.coreless.set(true);
            self.write(WITHOUT_CORE);
            return self.link_once(arguments);
        }
        made
    }

    fn link_once(&self, arguments: &[String]) -> Option<Vec<u8>> {
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
        if made.is_some() {
            self.has_linked.set(true);
        } else {
            *self.complaint.borrow_mut() = gist(&String::from_utf8_lossy(&output.stderr));
        }
        made
    }

    /// Whether any library was made.
    pub fn has_linked(&self) -> bool {
        self.has_linked.get()
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
