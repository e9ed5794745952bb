//! The host's resolv.conf, watched without a thread and without inotify.
//!
//! Opens no other file than the one it was given, and looks at that at most once a second of the caller's clock.

use std::ffi::CString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration as WallDuration, SystemTime};

use crate::time::{Duration, Instant};

/// How long a look at the file holds good (contract/dns.md section 2).
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The largest part of the file that is read, in bytes.
const READ_MAX: usize = 64 * 1024;

/// A file that was so recently modified when it was read may be modified once more without its modification time
/// changing, as file systems count in ticks of up to two seconds.
const YOUNG: WallDuration = WallDuration::from_secs(2);

/// A file's content, kept up to date.
#[derive(Debug)]
pub struct ResolverFile {
    path: PathBuf,
    looked_at: Option<Instant>,
    /// The identity of what was read; `None` when there was nothing to read, or when it must be read again.
    seen: Option<Identity>,
    content: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Identity {
    fn of(metadata: &Metadata) -> Identity {
        Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            seconds: metadata.mtime(),
            nanoseconds: metadata.mtime_nsec(),
        }
    }
}

impl ResolverFile {
    /// A watcher of the file at `path`. Nothing is opened before the first [`ResolverFile::refresh`].
    pub fn new(path: impl Into<PathBuf>) -> ResolverFile {
        ResolverFile { path: path.into(), looked_at: None, seen: None, content: None }
    }

    /// The content at the last refresh, at most 64 KiB of it; `None` when the file was missing or could not be read.
    #[must_use]
    pub fn content(&self) -> Option<&[u8]> {
        self.content.as_deref()
    }

    /// Looks whether the file has changed unless the last look was less than a second ago, and reads it if so. Says
    /// whether [`ResolverFile::content`] differs from what it was before the call.
    pub fn refresh(&mut self, now: Instant) -> bool {
        // A clock that has gone back says nothing about the age of the last look.
        if self.looked_at.is_some_and(|at| at <= now && now - at < LOOK_INTERVAL) {
            return false;
        }
        self.looked_at = Some(now);
        let current = fs::metadata(&self.path).ok().filter(Metadata::is_file);
        if current.is_some() && current.as_ref().map(Identity::of) == self.seen {
            return false;
        }
        let read = current.and_then(|_| read(&self.path));
        self.seen = read.as_ref().and_then(|(_, identity)| *identity);
        let content = read.map(|(content, _)| content);
        let changed = content != self.content;
        self.content = content;
        changed
    }
}

/// The content of the file at `path` and, unless it is too young to be trusted to stay, its identity.
fn read(path: &Path) -> Option<(Vec<u8>, Option<Identity>)> {
    // Should a FIFO have taken the file's place, opening it must not wait for a writer.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).ok()?;
    let metadata = file.metadata().ok().filter(Metadata::is_file)?;
    let age = metadata.modified().ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
    let identity = age.filter(|age| *age >= YOUNG).map(|_| Identity::of(&metadata));
    Some((read_bounded(file)?, identity))
}

/// The content up to [`READ_MAX`] bytes. Of a longer file the last line is left out, as it may have been cut in two.
fn read_bounded(file: File) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    file.take(READ_MAX as u64 + 1).read_to_end(&mut content).ok()?;
    if content.len() > READ_MAX {
        content.truncate(READ_MAX);
        let whole = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        content.truncate(whole);
    }
    Some(content)
}

/// The index of the interface called `name`, 0 when there is none.
#[must_use]
pub fn interface_index(name: &str) -> u32 {
    let Ok(name) = CString::new(name) else { return 0 };
    // SAFETY: the pointer is to a string that ends in zero and lives until the call is over.
    unsafe { libc::if_nametoindex(name.as_ptr()) }
}
