//! Where frames are captured to, and how much of them.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

#[cfg(feature = "policy")]
use super::filter::CaptureFilter;

/// More than any frame: all of each is captured.
const WHOLE: usize = 262_144;
/// The shortest file that is rotated: what the largest frame needs, several times.
pub(crate) const LEAST_BYTES: u64 = 1 << 20;
/// The most files of one capture: each of them is open.
pub(crate) const MOST_FILES: u32 = 64;

/// What a capture writes in all where nobody says how much: a disk that fills is more than one program's trouble.
const IN_ALL: u64 = 1 << 30;
/// The files that it goes round then.
const RING: u32 = 4;

/// Where frames are captured to, and how much of them: see [`Stack::start_capture`](crate::Stack::start_capture).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureOptions {
    path: PathBuf,
    pub(super) snap_length: usize,
    max_bytes: Option<u64>,
    files: Option<u32>,
    #[cfg(feature = "policy")]
    pub(super) filter: CaptureFilter,
}

impl CaptureOptions {
    /// All frames, whole, into a ring of four files of 256 MiB each.
    pub fn new(path: impl Into<PathBuf>) -> CaptureOptions {
        CaptureOptions {
            path: path.into(),
            snap_length: WHOLE,
            max_bytes: None,
            files: None,
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
        CaptureOptions { max_bytes: Some(bytes.max(LEAST_BYTES)), ..self }
    }

    /// So many files (64 at most) in a ring: when one is as long as it may be, the next one is begun, and after the last the
    /// first one anew. They have the name of the first with `.1`, `.2` and so on behind it. All are made at once, so that this
    /// goes on where no file can be opened any more. A single one is no ring, and the capture ends with it. Where nothing is said of
    /// [`CaptureOptions::max_bytes`] all of them together have 1 GiB.
    #[must_use]
    pub fn files(self, count: u32) -> CaptureOptions {
        CaptureOptions { files: Some(count.clamp(1, MOST_FILES)), ..self }
    }

    /// Only these frames.
    #[cfg(feature = "policy")]
    #[must_use]
    pub fn filter(self, filter: CaptureFilter) -> CaptureOptions {
        CaptureOptions { filter, ..self }
    }

    /// How many files there are.
    fn count(&self) -> u32 {
        self.files.unwrap_or(if self.max_bytes.is_some() { 1 } else { RING })
    }

    /// How long a file may become.
    pub(super) fn most_bytes(&self) -> u64 {
        self.max_bytes.unwrap_or(IN_ALL / u64::from(self.count()))
    }

    /// The name of the first file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all files.
    pub fn paths(&self) -> impl Iterator<Item = PathBuf> {
        (0..self.count()).map(|number| match number {
            0 => self.path.clone(),
            number => {
                let mut name = OsString::from(self.path.as_os_str());
                name.push(format!(".{number}"));
                name.into()
            }
        })
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
        let (path, most) = (self.path.display(), self.most_bytes());
        match self.count() - 1 {
            0 => write!(f, ", into {path}, which ends the capture when it has {most} bytes"),
            more => write!(f, ", into {path} and {more} more in a ring, each of up to {most} bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_has_a_bound() {
        let shape = |options: &CaptureOptions| (options.count(), options.most_bytes());
        let options = CaptureOptions::new("/x");
        assert_eq!(shape(&options), (4, 1 << 28));
        assert_eq!(shape(&options.clone().files(1)), (1, 1 << 30));
        assert_eq!(shape(&options.clone().files(64)), (64, 1 << 24));
        assert_eq!(shape(&options.clone().max_bytes(1 << 40)), (1, 1 << 40));
        assert_eq!(shape(&options.clone().max_bytes(1).files(9)), (9, 1 << 20));
        assert_eq!(options.paths().last().unwrap(), Path::new("/x.3"));
        assert_eq!(
            options.to_string(),
            "every frame, whole, into /x and 3 more in a ring, each of up to 268435456 bytes"
        );
        let one = options.snap_length(96).files(1).to_string();
        assert_eq!(
            one,
            "every frame, its first 96 bytes, into /x, which ends the capture when it has 1073741824 bytes"
        );
    }
}
