//! A program, and what the loader would do with it.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use object::elf::{FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, FileKind, ReadCache, ReadRef};
use rustix::fs::{Access, access, getxattr};
use rustix::process::{getegid, geteuid};

use super::{Failure, NOT_FOUND, SEARCH_PATH};

/// The attribute in which a file's capabilities are.
const CAPABILITIES: &str = "security.capability";
const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;

/// What a file in the format ELF says of itself.
pub(super) struct Elf {
    /// What it was compiled for: the format's width, and the number of the processor.
    pub(super) kind: (FileKind, u16),
    /// The loader that it asks for. One that is linked statically asks for none.
    loader: Option<PathBuf>,
}

impl Elf {
    /// Reads the head of a file; `None` for what is no ELF, as scripts are not.
    pub(super) fn read(path: &Path) -> Option<Elf> {
        let data = ReadCache::new(File::open(path).ok()?);
        match FileKind::parse(&data).ok()? {
            FileKind::Elf32 => Elf::of::<FileHeader32<Endianness>, _>(FileKind::Elf32, &data),
            FileKind::Elf64 => Elf::of::<FileHeader64<Endianness>, _>(FileKind::Elf64, &data),
            _ => None,
        }
    }

    fn of<'data, H: FileHeader<Endian = Endianness>, R: ReadRef<'data>>(kind: FileKind, data: R) -> Option<Elf> {
        let header = H::parse(data).ok()?;
        let endian = header.endian().ok()?;
        let headers = header.program_headers(endian, data).ok()?;
        let loader = headers.iter().find_map(|one| one.interpreter(endian, data).ok()?);
        let loader = loader.map(|name| PathBuf::from(OsString::from_vec(name.to_vec())));
        Some(Elf { kind: (kind, header.e_machine(endian)), loader })
    }
}

pub(super) struct Program {
    /// As it was found, with the name by which it is to be run.
    path: PathBuf,
    metadata: Metadata,
    /// `None` for a script.
    elf: Option<Elf>,
}

impl Program {
    /// Finds a program as a shell does.
    ///
    /// # Errors
    /// There is none of that name, or none that may be run.
    pub(super) fn find(name: &OsStr) -> Result<Program, Failure> {
        let path = if name.as_bytes().contains(&b'/') {
            PathBuf::from(name)
        } else {
            let folders = env::var_os("PATH").unwrap_or_default();
            let missing = || Failure::with_status(NOT_FOUND, format!("{}: no such program", name.to_string_lossy()));
            env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| may_run(path)).ok_or_else(missing)?
        };
        let shown = path.display();
        let metadata = match path.metadata() {
            Ok(metadata) if metadata.is_file() => metadata,
            Ok(_) => return Err(Failure::refused(format!("{shown} is no program"))),
            Err(_) => return Err(Failure::with_status(NOT_FOUND, format!("{shown}: no such program"))),
        };
        if !may_run(&path) {
            return Err(Failure::refused(format!("{shown} may not be run")));
        }
        let elf = Elf::read(&path);
        Ok(Program { path, metadata, elf })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the loader lets the caller say where libraries are.
    ///
    /// # Errors
    /// It does not: the program has other rights than the caller, or asks for no loader.
    pub(super) fn takes_libraries(&self) -> Result<(), Failure> {
        let shown = self.path.display();
        if let Some(reason) = self.other_rights() {
            return Err(Failure::refused(format!(
                "{shown} cannot be given another library: {reason}, and the loader then ignores {SEARCH_PATH}"
            )));
        }
        match &self.elf {
            Some(Elf { loader: None, .. }) => {
                Err(Failure::refused(format!("{shown} cannot be given another library: it is linked statically")))
            }
            _ => Ok(()),
        }
    }

    /// Why the program runs with other rights than the caller's, if it does.
    fn other_rights(&self) -> Option<String> {
        let (mode, user, group) = (self.metadata.mode(), self.metadata.uid(), self.metadata.gid());
        if mode & SETUID != 0 && user != geteuid().as_raw() {
            Some(format!("it is setuid, runs as user {user}"))
        } else if mode & SETGID != 0 && group != getegid().as_raw() {
            Some(format!("it is setgid, runs with group {group}"))
        } else if !geteuid().is_root() && getxattr(&self.path, CAPABILITIES, &mut [0; 64]).is_ok() {
            Some("it has capabilities of its own".to_owned())
        } else {
            None
        }
    }

    /// Whether a library is for the same processor.
    ///
    /// # Errors
    /// It is not.
    pub(super) fn fits(&self, library: &Path) -> Result<(), Failure> {
        let other = Elf::read(library).map(|elf| elf.kind);
        match (&self.elf, other) {
            (_, None) => Err(Failure::refused(format!("{} is no library", library.display()))),
            (Some(elf), Some(kind)) if elf.kind != kind => Err(Failure::refused(format!(
                "{} is for another processor than {}",
                self.path.display(),
                library.display()
            ))),
            _ => Ok(()),
        }
    }

    /// The file that the loader would take for `libslirp.so.0` with this search path; `None` where the program does not ask for
    /// one when it starts.
    ///
    /// # Errors
    /// The loader found none.
    pub(super) fn linked(&self, path: &OsStr) -> Result<Option<PathBuf>, Failure> {
        let Some(loader) = self.elf.as_ref().and_then(|elf| elf.loader.as_ref()) else { return Ok(None) };
        // A loader lists what it would load, and starts nothing.
        let mut command = Command::new(loader);
        command.arg("--list").arg(&self.path).env(SEARCH_PATH, path).stdin(Stdio::null()).stderr(Stdio::null());
        let Ok(output) = command.output() else { return Ok(None) };
        let Some(found) = listed(&output.stdout) else { return Ok(None) };
        if found.is_relative() {
            return Err(Failure::refused(format!("the loader finds no libslirp.so.0 for {}", self.path.display())));
        }
        Ok(Some(found))
    }
}

/// Where a loader's list has `libslirp.so.0`: `libslirp.so.0 => /path (0x...)`, or `=> not found`.
fn listed(list: &[u8]) -> Option<PathBuf> {
    let lines = list.split(|byte| *byte == b'\n');
    let rest = lines.filter_map(|line| line.trim_ascii_start().strip_prefix(b"libslirp.so.0 => ")).next()?;
    let end = rest.windows(2).rposition(|two| two == b" (").unwrap_or(rest.len());
    Some(PathBuf::from(OsStr::from_bytes(rest.get(..end)?)))
}

fn may_run(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loaders_list_is_read() {
        let list =
            b"\tlinux-vdso.so.1 (0x1)\n\tlibslirp.so.0 => /a (b)/libslirp.so.0 (0x00007f)\n\tlibc.so.6 => /c (0x2)\n";
        assert_eq!(listed(list), Some(PathBuf::from("/a (b)/libslirp.so.0")));
        assert_eq!(listed(b"\tlibslirp.so.0 => not found\n"), Some(PathBuf::from("not found")));
        assert_eq!(listed(b"\tlibc.so.6 => /c (0x2)\n"), None);
        assert_eq!(listed(b""), None);
    }

    #[test]
    fn this_program_asks_for_a_loader_and_a_text_is_no_elf() {
        let elf = Elf::read(&env::current_exe().unwrap()).unwrap();
        assert!(elf.loader.is_some_and(|loader| loader.is_absolute()));
        assert!(Elf::read(Path::new("/etc/passwd")).is_none());
        assert!(Elf::read(Path::new("/nowhere")).is_none());
    }

    #[test]
    fn programs_are_found_as_by_a_shell() {
        assert!(Program::find(OsStr::new("sh")).is_ok_and(|program| program.path().is_absolute()));
        let missing = Program::find(OsStr::new("no-such-program-anywhere")).err().unwrap();
        assert_eq!((missing.status, missing.to_string().as_str()), (127, "no-such-program-anywhere: no such program"));
        assert_eq!(Program::find(OsStr::new("/nowhere/x")).err().unwrap().status, 127);
        assert_eq!(Program::find(OsStr::new("/etc")).err().unwrap().status, 126);
    }
}
