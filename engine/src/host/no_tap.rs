//! Systems on which the library makes no tap or tun device: it takes one that somebody else has opened.

use std::fs::File;
use std::io;

/// What a device carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    /// Ethernet frames: a tap device.
    Ethernet,
    /// IP packets: a tun device.
    Ip,
}

/// Refuses to.
///
/// # Errors
/// `Unsupported`.
pub(crate) fn open(_: &str, _: Layer) -> io::Result<File> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "devices are made on Linux only"))
}
