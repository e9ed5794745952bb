//! Where frames are captured to, and how much of them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// More than any frame: all of each is captured.
const WHOLE: usize = 262_144;
/// The shortest file that is rotated: what the largest frame needs, several times.
pub(crate) const LEAST_BYTES: u64 = 1 << 20;
/// The most files of one capture: each of them is open.
pub(crate) const MOST_FILES: u32 = 64;

/// Where frames are captured to, and how much of them: see [`Stack::start_capture`](crate::Stack::start_capture).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureOptions {
    path: PathBuf,
    pub(super) snap_length: usize,
    pub(super) max_bytes: Option<u64>,
    files: u32,
}

impl CaptureOptions {
    /// All frames, whole, into one file.
    pub fn new(path: impl Into<PathBuf>) -> CaptureOptions {
        CaptureOptions { path: path.into(), snap_length: WHOLE, max_bytes: None, files: 1 }
    }

    /// How many bytes of each frame are captured, from 14 to 262144; what is beyond either is taken for it.
    #[must_use]
    pub fn snap_length(self, bytes: usize) -> CaptureOptions {
        CaptureOptions { snap_length: bytes.clamp(14, WHOLE), ..self }
    }

    /// How long a file may become, a MiB at least. The capture ends there, unless there are several files.
    #[must_use]
    pub fn max_bytes(self, bytes: u64) -> CaptureOptions {
        CaptureOptions { max_bytes: Some(bytes.max(LEAST_BYTES)), ..self }
    }

    /// So many files (64 at most) in a ring: when one is as long as it may be, the next one is begun, and after the last the
    /// first one anew. They have the name of the first with `.1`, `.2` and so on behind it. All are made at once, so that this
    /// goes on where no file can be opened any more.
    #[must_use]
    pub fn files(self, count: u32) -> CaptureOptions {
        CaptureOptions { files: count.clamp(1, MOST_FILES), ..self }
    }

    /// The name of the first file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all.
    pub(super) fn paths(&self) -> impl Iterator<Item = PathBuf> {
        (0..self.files).map(|number| match number {
            0 => self.path.clone(),
            number => {
                let mut name = OsString::from(self.path.as_os_str());
                name.push(format!(".{number}"));
                name.into()
            }
        })
    }
}
