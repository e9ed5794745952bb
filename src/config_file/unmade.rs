//! A file or a socket that cannot be made: where in the file that stands, and what the system says.

use std::error::Error;
use std::fmt;
use std::io;

/// See the module.
#[derive(Debug)]
struct Unmade {
    place: String,
    error: io::Error,
}

/// As an error of input and output, of the same kind.
pub(super) fn at(place: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), Unmade { place: place.to_owned(), error })
}

impl fmt::Display for Unmade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.error)
    }
}

impl Error for Unmade {
    /// The system's own error, so that its number is not lost; the name of the file may stand before it.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source().or(Some(&self.error))
    }
}
