//! The name servers that the host knows, by a file in the format of resolv.conf(5) or by the system's own list; watched without a
//! thread and without inotify. What the system has, the system's own part says (`resolver`).
//!
//! Opens no other file than the one it was given. Applications shut themselves in once their network is set up (Capsicum,
//! seccomp): what was read before then holds good from then on.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::resolver::{self, Identity};
pub(crate) use super::resolver::{SYSTEM, interface_index};

/// The largest part of the file that is read, in bytes.
const READ_MAX: usize = 64 * 1024;

/// A file that was so recently modified when it was read may be modified once more without its modification time
/// changing, as file systems count in ticks of up to two seconds.
const YOUNG: Duration = Duration::from_secs(2);

/// A file's content, kept up to date.
#[derive(Debug)]
pub(crate) struct ResolverFile {
    path: PathBuf,
    /// The identity of what was read; `None` when there was nothing to read, or when it must be read again.
    seen: Option<Identity>,
    content: Option<Vec<u8>>,
}

impl ResolverFile {
    /// A watcher of the file at `path`, which is read for as long as that is allowed: now. [`SYSTEM`] is what the system has.
    pub(crate) fn new(path: impl Into<PathBuf>) -> ResolverFile {
        let mut file = ResolverFile { path: path.into(), seen: None, content: None };
        file.look();
        file
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The content at the last look, at most 64 KiB of it; `None` when the file was missing or could not be read.
    #[must_use]
    pub(crate) fn content(&self) -> Option<&[u8]> {
        self.content.as_deref()
    }

    /// Reads the file if it has changed, and says whether [`ResolverFile::content`] differs from what it was before the call. A
    /// file that cannot be looked at (and does not say that it is gone) is taken to be as it was.
    pub(crate) fn look(&mut self) -> bool {
        if let Some(list) = resolver::list(&self.path) {
            return list.is_ok_and(|list| self.replace(Some(list)));
        }
        let Ok(current) = unless_gone(fs::metadata(&self.path)) else { return false };
        let current = current.filter(Metadata::is_file);
        if current.is_some() && current.as_ref().map(Identity::of) == self.seen {
            return false;
        }
        let read = match current {
            Some(_) => read(&self.path),
            None => Ok(None),
        };
        let Ok(read) = read else { return false };
        self.seen = read.as_ref().and_then(|(_, identity)| *identity);
        self.replace(read.map(|(content, _)| content))
    }

    fn replace(&mut self, content: Option<Vec<u8>>) -> bool {
        let changed = content != self.content;
        self.content = content;
        changed
    }
}

/// `None` for what is not there; other errors stay errors.
fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The content of the file at `path` and, unless it is too young to be trusted to stay, its identity. `None` when there is
/// no such file.
fn read(path: &Path) -> io::Result<Option<(Vec<u8>, Option<Identity>)>> {
    let Some(file) = unless_gone(resolver::open(path))? else { return Ok(None) };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(None);
    }
    let settled = metadata.modified().is_ok_and(|modified| is_settled(modified, SystemTime::now()));
    let identity = settled.then(|| Identity::of(&metadata));
    Ok(Some((read_bounded(file)?, identity)))
}

/// Whether a file read at `now` and last modified at `modified` would show a further modification in its time.
fn is_settled(modified: SystemTime, now: SystemTime) -> bool {
    now.duration_since(modified).is_ok_and(|age| age >= YOUNG)
}

/// The content up to [`READ_MAX`] bytes. Of a longer file the last line is left out, as it may have been cut in two.
fn read_bounded(file: File) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(READ_MAX as u64 + 1).read_to_end(&mut content)?;
    if content.len() > READ_MAX {
        content.truncate(READ_MAX);
        let whole = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        content.truncate(whole);
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A directory of its own for one test, removed at the end.
    struct Directory(PathBuf);

    impl Directory {
        fn new() -> Directory {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("resolver-file-{}-{number}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Directory(path)
        }

        fn file(&self) -> PathBuf {
            self.0.join("resolv.conf")
        }

        /// Writes the file and makes it `age` seconds old.
        fn write(&self, content: &[u8], age: u64) {
            fs::write(self.file(), content).unwrap();
            self.set_modified(SystemTime::now() - Duration::from_secs(age));
        }

        fn set_modified(&self, time: SystemTime) {
            OpenOptions::new().write(true).open(self.file()).unwrap().set_modified(time).unwrap();
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    // Its time has steps of 100 ns on Windows, and its number is not looked at there.
    #[cfg(unix)]
    #[test]
    fn unchanged_file_is_not_read_again() {
        let directory = Directory::new();
        directory.write(b"one", 60);
        let modified = fs::metadata(directory.file()).unwrap().modified().unwrap();
        let mut file = ResolverFile::new(directory.file());
        file.look();
        // Same inode, size and time: only reading could tell.
        fs::write(directory.file(), b"two").unwrap();
        directory.set_modified(modified);
        assert!(!file.look());
        assert_eq!(file.content(), Some(&b"one"[..]));
        // One nanosecond later.
        directory.set_modified(modified + Duration::from_nanos(1));
        assert!(file.look());
        assert_eq!(file.content(), Some(&b"two"[..]));
    }

    #[test]
    fn young_file_is_read_again() {
        let directory = Directory::new();
        // Far enough in the future to be young however slow the test is.
        let modified = SystemTime::now() + Duration::from_secs(3600);
        directory.write(b"one", 0);
        directory.set_modified(modified);
        let mut file = ResolverFile::new(directory.file());
        assert_eq!(file.content(), Some(&b"one"[..]));
        assert!(!file.look());
        fs::write(directory.file(), b"two").unwrap();
        directory.set_modified(modified);
        assert!(file.look());
        assert_eq!(file.content(), Some(&b"two"[..]));
        // Read again, but the same.
        assert!(!file.look());
    }

    #[test]
    fn file_is_settled_two_seconds_after_its_modification() {
        let now = SystemTime::now();
        assert!(is_settled(now - Duration::from_secs(2), now));
        assert!(!is_settled(now - Duration::from_millis(1999), now));
        assert!(!is_settled(now + Duration::from_secs(10), now));
    }

    // Its number is not looked at on Windows.
    #[cfg(unix)]
    #[test]
    fn replaced_file_is_noticed() {
        let directory = Directory::new();
        directory.write(b"one", 60);
        let modified = fs::metadata(directory.file()).unwrap().modified().unwrap();
        let mut file = ResolverFile::new(directory.file());
        file.look();
        let new = directory.0.join("new");
        fs::write(&new, b"two").unwrap();
        fs::rename(&new, directory.file()).unwrap();
        directory.set_modified(modified);
        assert!(file.look());
        assert_eq!(file.content(), Some(&b"two"[..]));
    }

    #[test]
    fn vanished_file_may_return() {
        let directory = Directory::new();
        let mut file = ResolverFile::new(directory.file());
        assert!(!file.look());
        directory.write(b"one", 60);
        assert!(file.look());
        fs::remove_file(directory.file()).unwrap();
        assert!(file.look());
        assert_eq!(file.content(), None);
        directory.write(b"one", 60);
        assert!(file.look());
        assert_eq!(file.content(), Some(&b"one"[..]));
    }

    #[test]
    #[cfg(unix)]
    fn file_that_cannot_be_looked_at_any_more_is_as_it_was() {
        let directory = Directory::new();
        directory.write(b"one", 60);
        let mut file = ResolverFile::new(directory.file());
        // A link that leads to itself: an error, and not the one that says that nothing is there.
        fs::remove_file(directory.file()).unwrap();
        std::os::unix::fs::symlink("resolv.conf", directory.file()).unwrap();
        assert!(!file.look());
        assert_eq!(file.content(), Some(&b"one"[..]));
        // And once it can be looked at again.
        fs::remove_file(directory.file()).unwrap();
        directory.write(b"three", 60);
        assert!(file.look());
        assert_eq!(file.content(), Some(&b"three"[..]));
    }

    #[test]
    #[cfg(unix)]
    fn fifo_and_directory_are_no_files() {
        let directory = Directory::new();
        use std::os::unix::ffi::OsStrExt;
        let path = std::ffi::CString::new(directory.file().as_os_str().as_bytes()).unwrap();
        // SAFETY: the pointer is to a string that ends in zero and lives until the call is over.
        assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
        let mut file = ResolverFile::new(directory.file());
        file.look();
        assert_eq!(file.content(), None);
        assert!(read(&directory.file()).unwrap().is_none());
        let mut file = ResolverFile::new(&directory.0);
        file.look();
        assert_eq!(file.content(), None);
    }

    #[test]
    fn long_file_ends_with_a_whole_line() {
        let directory = Directory::new();
        let line = b"nameserver 192.0.2.1\n";
        directory.write(&line.repeat(READ_MAX / line.len() + 10), 60);
        let mut file = ResolverFile::new(directory.file());
        file.look();
        let content = file.content().unwrap();
        assert_eq!(content.len(), READ_MAX / line.len() * line.len());
        // Exactly as much as fits is not cut.
        directory.write(&[b'x'; READ_MAX], 60);
        file.look();
        assert_eq!(file.content().unwrap().len(), READ_MAX);
    }

    #[test]
    #[cfg(unix)]
    fn interface_index_of_names() {
        assert_eq!(interface_index("no such interface"), 0);
        assert_eq!(interface_index("with\0zero"), 0);
        assert_eq!((interface_index("7"), interface_index("-7"), interface_index("99999999999")), (7, 0, 0));
        assert_ne!(interface_index(if cfg!(target_os = "linux") { "lo" } else { "lo0" }), 0);
    }
}
