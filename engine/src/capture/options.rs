//! Where frames are captured to, and how much of them; where the log goes.

use std::fmt;
use std::path::{Path, PathBuf};

#[cfg(feature = "policy")]
use super::filter::CaptureFilter;
use super::ring::Ring;

/// More than any frame: all of each is captured.
const WHOLE: usize = 262_144;

/// Where frames are captured to, and how much of them: see [`Stack::start_capture`](crate::Stack::start_capture).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureOptions {
    pub(super) ring: Ring,
    pub(super) snap_length: usize,
    #[cfg(feature = "policy")]
    pub(super) filter: CaptureFilter,
}

impl CaptureOptions {
    /// All frames, whole, into a ring of four files of 256 MiB each.
    pub fn new(path: impl Into<PathBuf>) -> CaptureOptions {
        CaptureOptions {
            ring: Ring::new(path.into()),
            snap_length: WHOLE,
            #[cfg(feature = "policy")]
            filter: CaptureFilter::default(),
        }
    }

    /// How many bytes of each frame are captured, from 14 to 262144; what is beyond either is taken for it.
    #[must_use]
    pub fn snap_length(self, bytes: usize) -> CaptureOptions {
        CaptureOptions { snap_length: bytes.clamp(14, WHOLE), ..self }
    }

    /// How long a file may become, a MiB at least. Where nothing is said of [`CaptureOptions::files`] there is one then, and the
    /// capture ends there.
    #[must_use]
    pub fn max_bytes(self, bytes: u64) -> CaptureOptions {
        CaptureOptions { ring: self.ring.max_bytes(bytes), ..self }
    }

    /// So many files (64 at most) in a ring: when one is as long as it may be, the next one is begun, and after the last the
    /// first one anew. They have the name of the first with `.1`, `.2` and so on behind it. All are made at once, so that this
    /// goes on where no file can be opened any more. A single one is no ring, and the capture ends with it. Where nothing is said of
    /// [`CaptureOptions::max_bytes`] all of them together have 1 GiB.
    #[must_use]
    pub fn files(self, count: u32) -> CaptureOptions {
        CaptureOptions { ring: self.ring.files(count), ..self }
    }

    /// Only these frames.
    #[cfg(feature = "policy")]
    #[must_use]
    pub fn filter(self, filter: CaptureFilter) -> CaptureOptions {
        CaptureOptions { filter, ..self }
    }

    /// The name of the first file.
    pub fn path(&self) -> &Path {
        self.ring.path()
    }

    /// The names of all files; of a device only its own, as it is no ring.
    pub fn paths(&self) -> impl Iterator<Item = PathBuf> {
        self.ring.paths()
    }
}

/// In a sentence for people: `every frame, whole, into /tmp/x and 3 more files in a ring, each of up to 268435456 bytes`.
impl fmt::Display for CaptureOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = "every frame";
        #[cfg(feature = "policy")]
        let what = if self.filter.is_empty() { what.into() } else { format!("frames of {}", self.filter) };
        write!(f, "{what}, ")?;
        match self.snap_length {
            WHOLE => f.write_str("whole")?,
            bytes => write!(f, "its first {bytes} bytes")?,
        }
        write!(f, ", {}", self.ring.words("the capture"))
    }
}

/// Where the log goes: see [`Stack::start_log`](crate::Stack::start_log).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    pub(super) ring: Ring,
}

impl LogOptions {
    /// A ring of four files of 256 MiB each.
    pub fn new(path: impl Into<PathBuf>) -> LogOptions {
        LogOptions { ring: Ring::new(path.into()) }
    }

    /// How long a file may become, a MiB at least. Where nothing is said of [`LogOptions::files`] there is one then, and the log
    /// ends there.
    #[must_use]
    pub fn max_bytes(self, bytes: u64) -> LogOptions {
        LogOptions { ring: self.ring.max_bytes(bytes) }
    }

    /// So many files in a ring, as [`CaptureOptions::files`] has them.
    #[must_use]
    pub fn files(self, count: u32) -> LogOptions {
        LogOptions { ring: self.ring.files(count) }
    }

    /// The name of the first file.
    pub fn path(&self) -> &Path {
        self.ring.path()
    }

    /// The names of all files; of a device only its own, as it is no ring.
    pub fn paths(&self) -> impl Iterator<Item = PathBuf> {
        self.ring.paths()
    }
}

/// In a sentence for people: `into /tmp/x and 3 more in a ring, each of up to 268435456 bytes`.
impl fmt::Display for LogOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.ring.words("the log"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_said_in_words() {
        let options = CaptureOptions::new("/x");
        assert_eq!(
            options.to_string(),
            "every frame, whole, into /x and 3 more in a ring, each of up to 268435456 bytes"
        );
        let one = options.snap_length(96).files(1).to_string();
        assert_eq!(
            one,
            "every frame, its first 96 bytes, into /x, which ends the capture when it has 1073741824 bytes"
        );
        let log = LogOptions::new("/x").max_bytes(1 << 20).to_string();
        assert_eq!(log, "into /x, which ends the log when it has 1048576 bytes");
    }
}
