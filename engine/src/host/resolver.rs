//! What names the servers on Unix: a file.

use std::ffi::CString;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Where most systems write their name servers down.
pub(crate) const SYSTEM: &str = "/etc/resolv.conf";

/// What tells one content of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Identity {
        Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            seconds: metadata.mtime(),
            nanoseconds: metadata.mtime_nsec(),
        }
    }
}

/// The system's own list of servers, if that is no file.
#[cfg(not(target_vendor = "apple"))]
pub(super) fn list(_path: &Path) -> Option<io::Result<Vec<u8>>> {
    None
}

/// The system's own list of servers, for the file that most programs of such systems do not read. Where nothing is told, it is read.
#[cfg(target_vendor = "apple")]
pub(super) fn list(path: &Path) -> Option<io::Result<Vec<u8>>> {
    let told = if path == Path::new(SYSTEM) { super::apple::name_servers().ok() } else { None };
    told.filter(|text| !text.is_empty()).map(|text| Ok(text.into_bytes()))
}

/// Opens the file. Should a FIFO have taken its place, nobody waits for a writer.
pub(super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

/// The index of the interface called `name`, 0 when there is none.
#[must_use]
pub(crate) fn interface_index(name: &str) -> u32 {
    let Ok(text) = CString::new(name) else { return 0 };
    // SAFETY: the pointer is to a string that ends in zero and lives until the call is over.
    match unsafe { libc::if_nametoindex(text.as_ptr()) } {
        0 => name.parse().unwrap_or(0),
        index => index,
    }
}
