//! A file, or a socket, that cannot be had: which one, and what the system says.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// See the module. The system's error is its source, so that its number is not lost.
#[derive(Debug)]
pub(crate) struct Unopened {
    path: PathBuf,
    error: io::Error,
}

impl Unopened {
    /// As an error of input and output, of the same kind.
    pub(crate) fn error(path: PathBuf, error: io::Error) -> io::Error {
        io::Error::new(error.kind(), Unopened { path, error })
    }
}

impl fmt::Display for Unopened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.error)
    }
}

impl Error for Unopened {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}
