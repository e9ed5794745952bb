//! Says which library a program, or what it has started, has loaded.
//!
//! This command becomes the program, so somebody else has to look: a process that is nobody's child but the system's, since a program that
//! waits for all its children would wait for it too. It is this command once more, started by one that ends at once.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{read, read_dir, read_to_string};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Failure, MARK, same, say};

/// The first argument of the one that starts, and of the one that looks.
const STARTER: &str = "--watch-run";
const WATCHER: &str = "--watching-run";
/// Between two looks, and before the first: until then the program has not begun.
const PAUSE: Duration = Duration::from_millis(200);
/// Looks until it gives up: ten seconds.
const LOOKS: u32 = 50;

/// Has somebody look from now on; what they know the processes by.
///
/// # Errors
/// They cannot be started.
pub(super) fn begin(library: &Path) -> Result<OsString, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mark = OsString::from(format!("{}-{}", std::process::id(), now.as_nanos()));
    let started = start(STARTER, &mark, library).and_then(|mut starter| starter.wait());
    started.map_err(|error| Failure::refused(format!("nobody to see what is loaded: {error}")))?;
    Ok(mark)
}

/// Whether this process was started to look; then it has done so.
pub(crate) fn watches() -> bool {
    let arguments: Vec<OsString> = env::args_os().skip(1).take(3).collect();
    let [role, mark, library] = &arguments[..] else { return false };
    if role == STARTER {
        // Who looks outlives this process.
        let _ = start(WATCHER, mark, Path::new(library));
    } else if role == WATCHER {
        watch(mark, Path::new(library));
    } else {
        return false;
    }
    true
}

fn start(role: &str, mark: &OsStr, library: &Path) -> std::io::Result<std::process::Child> {
    let mut command = Command::new(env::current_exe()?);
    command.arg(role).arg(mark).arg(library).stdin(Stdio::null()).stdout(Stdio::null()).spawn()
}

fn watch(mark: &OsStr, library: &Path) {
    let variable = [MARK.as_bytes(), b"=", mark.as_bytes()].concat();
    for _ in 0..LOOKS {
        std::thread::sleep(PAUSE);
        let marked: Vec<PathBuf> = processes().filter(|process| has(process, &variable)).collect();
        if marked.is_empty() {
            // Gone before it could be looked at, or it never began.
            return;
        }
        for process in marked {
            let Some(loaded) = loaded(&process, library) else { continue };
            let name = read_to_string(process.join("comm")).unwrap_or_default();
            let number = process.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let word = if same(&loaded, library) { "runs on" } else { "has loaded ANOTHER library:" };
            say(&format!("{} ({number}) {word} {}", name.trim_end(), loaded.display()));
            return;
        }
    }
    say(
        "no libslirp was loaded in the first ten seconds; a program that has one built in cannot be changed from outside",
    );
}

/// The folders of all processes.
fn processes() -> impl Iterator<Item = PathBuf> {
    let entries = read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    entries.filter(|entry| entry.file_name().as_bytes().iter().all(u8::is_ascii_digit)).map(|entry| entry.path())
}

/// Whether the environment that a process began with has this variable.
fn has(process: &Path, variable: &[u8]) -> bool {
    read(process.join("environ"))
        .is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|one| one == variable))
}

/// The libslirp that a process has in its memory, or `library`, whatever that is called.
fn loaded(process: &Path, library: &Path) -> Option<PathBuf> {
    in_maps(&read(process.join("maps")).ok()?, library)
}

fn in_maps(maps: &[u8], library: &Path) -> Option<PathBuf> {
    maps.split(|byte| *byte == b'\n').find_map(|line| {
        let path = line.get(line.iter().position(|byte| *byte == b'/')?..)?;
        let path = Path::new(OsStr::from_bytes(path));
        let name = path.file_name()?.as_bytes();
        let named = name.starts_with(b"libslirp") && name.windows(3).any(|three| three == b".so");
        (named || path == library).then(|| path.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_found_in_a_memory_map() {
        let maps = b"55e0-55e1 r--p 00000000 08:01 1    /usr/bin/libslirp-helper\n\
                     7f00-7f01 r-xp 00000000 08:01 2    /a b/libslirp.so.0.4.0\n7f02-7f03 rw-p 0 00:00 0    [heap]\n";
        let other = Path::new("/a/new.so");
        assert_eq!(in_maps(maps, other), Some(PathBuf::from("/a b/libslirp.so.0.4.0")));
        assert_eq!(in_maps(b"7f00-7f01 r--p 0 08:01 2    /usr/lib/libc.so.6\n", other), None);
        assert_eq!(in_maps(b"7f00-7f01 r--p 0 08:01 2    /a/new.so\n", other), Some(other.to_owned()));
    }

    #[test]
    fn this_process_is_known_by_its_environment() {
        let own = Path::new("/proc/self");
        let first = read(own.join("environ")).unwrap();
        let first = first.split(|byte| *byte == 0).next().unwrap();
        assert!(has(own, first));
        assert!(!has(own, b"OXISLIRP_RUN=nobody"));
        assert!(processes().any(|process| process.ends_with(std::process::id().to_string())));
    }
}
