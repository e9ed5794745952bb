//! The files that a record goes into, and how long they become: one after the other, and then the first one anew.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::unopened::Unopened;
use crate::host::record_file::{RecordFile, is_device_at};

/// The shortest file: what the largest frame needs, several times.
pub(crate) const LEAST_BYTES: u64 = 1 << 20;
/// The most files of one record: each of them is open.
pub(crate) const MOST_FILES: u32 = 64;

/// What is written in all where nobody says how much: a disk that fills is more than one program's trouble.
const IN_ALL: u64 = 1 << 30;
/// The files that it goes round then.
const RING: u32 = 4;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ring {
    path: PathBuf,
    max_bytes: Option<u64>,
    files: Option<u32>,
}

impl Ring {
    /// Four files of 256 MiB each.
    pub(super) fn new(path: PathBuf) -> Ring {
        Ring { path, max_bytes: None, files: None }
    }

    /// How long a file may become. Where nothing is said of [`Ring::files`] there is one then.
    pub(super) fn max_bytes(self, bytes: u64) -> Ring {
        Ring { max_bytes: Some(bytes.max(LEAST_BYTES)), ..self }
    }

    /// How many files. Where nothing is said of [`Ring::max_bytes`] all of them together have 1 GiB.
    pub(super) fn files(self, count: u32) -> Ring {
        Ring { files: Some(count.clamp(1, MOST_FILES)), ..self }
    }

    /// How many there are.
    fn count(&self) -> u32 {
        self.files.unwrap_or(if self.max_bytes.is_some() { 1 } else { RING })
    }

    /// How long one may become.
    pub(super) fn most_bytes(&self) -> u64 {
        self.max_bytes.unwrap_or(IN_ALL / u64::from(self.count()))
    }

    /// The name of the first one.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all; a device is the only one.
    pub(super) fn paths(&self) -> impl Iterator<Item = PathBuf> {
        let count = if is_device_at(&self.path) { 1 } else { self.count() };
        (0..count).map(|number| match number {
            0 => self.path.clone(),
            number => {
                let mut name = OsString::from(self.path.as_os_str());
                name.push(format!(".{number}"));
                name.into()
            }
        })
    }

    /// Opens all of them; with how long one may become. A device is the only one, and takes no place.
    ///
    /// # Errors
    /// What the system says; the text names the file.
    pub(super) fn open(&self) -> io::Result<(Vec<RecordFile>, u64)> {
        let mut files = Vec::new();
        for path in self.paths() {
            let file = RecordFile::create(&path).map_err(|error| Unopened::error(path, error))?;
            let is_device = file.is_device();
            files.push(file);
            if is_device {
                return Ok((files, u64::MAX));
            }
        }
        Ok((files, self.most_bytes()))
    }

    /// In words, with what it is that a single file ends: `into /tmp/x and 3 more in a ring, each of up to 268435456 bytes`.
    pub(super) fn words(&self, record: &str) -> String {
        let (path, most) = (self.path.display(), self.most_bytes());
        if is_device_at(&self.path) {
            return format!("into the device {path}, as much as comes");
        }
        match self.count() - 1 {
            0 => format!("into {path}, which ends {record} when it has {most} bytes"),
            more => format!("into {path} and {more} more in a ring, each of up to {most} bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_has_a_bound() {
        let shape = |ring: &Ring| (ring.count(), ring.most_bytes());
        let ring = Ring::new("/x".into());
        assert_eq!(shape(&ring), (4, 1 << 28));
        assert_eq!(shape(&ring.clone().files(1)), (1, 1 << 30));
        assert_eq!(shape(&ring.clone().files(64)), (64, 1 << 24));
        assert_eq!(shape(&ring.clone().files(0).max_bytes(0)), (1, 1 << 20));
        assert_eq!(shape(&ring.clone().max_bytes(1 << 40)), (1, 1 << 40));
        assert_eq!(shape(&ring.clone().max_bytes(1).files(9)), (9, 1 << 20));
        assert_eq!(ring.paths().last().unwrap(), Path::new("/x.3"));
    }

    #[test]
    fn a_device_is_no_ring() {
        let ring = Ring::new("/dev/null".into()).files(9);
        // There are systems without that one.
        if !is_device_at(ring.path()) {
            return;
        }
        assert_eq!(ring.paths().collect::<Vec<PathBuf>>(), [Path::new("/dev/null")]);
        assert_eq!(ring.words("the log"), "into the device /dev/null, as much as comes");
    }
}
