//! Unix stream sockets, which Windows has since 2018: their addresses, connecting to them, listening on them.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Type};

use crate::host::socket::{Listener, Stream, new_socket};

/// Bytes of a path, with the zero byte that ends it, that a socket address holds.
const PATH_LIMIT: usize = 108;

/// The address of a Unix socket: a path, in UTF-8. Abstract names are Linux' alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UnixAddress(Box<str>);

impl UnixAddress {
    /// An address from what stands in a `sun_path`, up to the first zero byte.
    ///
    /// # Errors
    /// `InvalidInput` for an empty or abstract name, for one that is no UTF-8, and for a path of more than 107 bytes.
    pub fn new(name: &[u8]) -> io::Result<UnixAddress> {
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        match std::str::from_utf8(name) {
            Ok(name) if !name.is_empty() && name.len() < PATH_LIMIT => Ok(UnixAddress(name.into())),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// The address of a file.
    ///
    /// # Errors
    /// As for [`UnixAddress::new`]; also for a path with a zero byte.
    pub fn from_path(path: impl AsRef<Path>) -> io::Result<UnixAddress> {
        match path.as_ref().to_str() {
            Some(name) if !name.contains('\0') => UnixAddress::new(name.as_bytes()),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// The file.
    pub fn path(&self) -> Option<&Path> {
        Some(Path::new(&*self.0))
    }

    fn socket_address(&self) -> io::Result<SockAddr> {
        SockAddr::unix(&*self.0)
    }
}

impl fmt::Display for UnixAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_debug().fmt(f)
    }
}

/// Whether there are such sockets at all: not before Windows 10, and not in every wine.
///
/// # Errors
/// What the system says of one that is not to be had.
pub(crate) fn available() -> io::Result<()> {
    new_socket(Domain::UNIX, Type::STREAM, None).map(drop)
}

impl Stream {
    /// Connects to a Unix stream socket. That is done at once or not at all.
    ///
    /// # Errors
    /// What `socket` or `connect` said.
    pub(crate) fn connect_unix(address: &UnixAddress) -> io::Result<Stream> {
        let socket = new_socket(Domain::UNIX, Type::STREAM, None)?;
        socket.connect(&address.socket_address()?)?;
        Ok(Stream::connected(socket))
    }
}

impl Listener {
    /// Listens on a Unix stream socket. A file that is there already is left alone; the file that this makes goes with the listener.
    ///
    /// # Errors
    /// What `socket`, `bind` or `listen` said.
    pub(crate) fn bind_unix(address: &UnixAddress) -> io::Result<Listener> {
        let socket = new_socket(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&address.socket_address()?)?;
        let file = OwnFile(PathBuf::from(&*address.0));
        Listener::listening(socket, Some(UnixName { address: address.clone(), _file: file }))
    }

    /// One that only this user may connect to: there is no way here to have that from the start.
    ///
    /// # Errors
    /// Always [`io::ErrorKind::Unsupported`].
    #[cfg(feature = "control")]
    pub(crate) fn bind_private_unix(_address: &UnixAddress) -> io::Result<Listener> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The name a listener is bound to, and the file that belongs to it.
#[derive(Debug)]
pub(in crate::host) struct UnixName {
    pub(in crate::host) address: UnixAddress,
    _file: OwnFile,
}

/// A socket file that was made here; it goes when this is dropped.
#[derive(Debug)]
struct OwnFile(PathBuf);

impl Drop for OwnFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
