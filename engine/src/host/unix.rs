//! Unix stream sockets: their addresses, connecting to them, listening on them. Source: unix(7).

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Type};

use super::socket::{Listener, Stream, new_socket};

/// Bytes of a path, with the zero byte that ends it, that a socket address holds.
const PATH_LIMIT: usize = 108;

/// The address of a Unix socket: a path, or on Linux an abstract name (which starts with a zero byte and has no file).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UnixAddress(Box<[u8]>);

impl UnixAddress {
    /// An address from what stands in a `sun_path`. A path ends at its first zero byte, an abstract name does not.
    ///
    /// # Errors
    /// `EINVAL` for an empty name, `ENAMETOOLONG` for a path of more than 107 bytes.
    pub fn new(name: &[u8]) -> io::Result<UnixAddress> {
        let name = match name {
            [0, ..] => name,
            _ => name.split(|&byte| byte == 0).next().unwrap_or_default(),
        };
        let fits = name.len() < PATH_LIMIT || (name.len() == PATH_LIMIT && name.first() == Some(&0));
        match name {
            [] | [0] => Err(io::Error::from_raw_os_error(libc::EINVAL)),
            _ if !fits => Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG)),
            _ => Ok(UnixAddress(name.into())),
        }
    }

    /// The address of a file.
    ///
    /// # Errors
    /// As for [`UnixAddress::new`]; `EINVAL` also for a path with a zero byte.
    pub fn from_path(path: impl AsRef<Path>) -> io::Result<UnixAddress> {
        let name = path.as_ref().as_os_str().as_bytes();
        if name.contains(&0) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        UnixAddress::new(name)
    }

    /// The file, unless the name is an abstract one.
    pub fn path(&self) -> Option<&Path> {
        (self.0.first() != Some(&0)).then(|| Path::new(OsStr::from_bytes(&self.0)))
    }

    fn socket_address(&self) -> io::Result<SockAddr> {
        SockAddr::unix(OsStr::from_bytes(&self.0))
    }
}

impl fmt::Display for UnixAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

/// Whether there are such sockets at all.
///
/// # Errors
/// None: every Unix has them.
pub(crate) fn available() -> io::Result<()> {
    Ok(())
}

impl Stream {
    /// Connects to a Unix stream socket. That is done at once or not at all.
    ///
    /// # Errors
    /// What `socket` or `connect` said: `ENOENT` or `ECONNREFUSED` when nobody listens; `WouldBlock` when the queue of
    /// the one who listens is full.
    pub(crate) fn connect_unix(address: &UnixAddress) -> io::Result<Stream> {
        let socket = new_socket(Domain::UNIX, Type::STREAM, None)?;
        socket.connect(&address.socket_address()?)?;
        Ok(Stream::connected(socket))
    }
}

impl Listener {
    /// Listens on a Unix stream socket. A socket file whose owner is gone is replaced; the file that this makes goes with
    /// the listener.
    ///
    /// # Errors
    /// What `socket`, `bind` or `listen` said; `EADDRINUSE` when somebody listens there, or when the file is something
    /// else than a socket.
    pub(crate) fn bind_unix(address: &UnixAddress) -> io::Result<Listener> {
        Listener::bind_unix_for(address, Peers::All)
    }

    /// The same for peers with the rights of this process only.
    ///
    /// # Errors
    /// As for [`Listener::bind_unix`], and what `chmod` said.
    #[cfg(feature = "control")]
    pub(crate) fn bind_private_unix(address: &UnixAddress) -> io::Result<Listener> {
        Listener::bind_unix_for(address, Peers::Own)
    }

    fn bind_unix_for(address: &UnixAddress, peers: Peers) -> io::Result<Listener> {
        let socket = new_socket(Domain::UNIX, Type::STREAM, None)?;
        let name = address.socket_address()?;
        if let Err(error) = socket.bind(&name) {
            let stale = address.path().filter(|_| error.raw_os_error() == Some(libc::EADDRINUSE)).and_then(stale_file);
            let Some(stale) = stale else { return Err(error) };
            stale.remove();
            socket.bind(&name)?;
        }
        let bound = UnixName { _file: address.path().and_then(SocketFile::at).map(OwnFile), address: address.clone() };
        // Nobody can connect before it listens.
        if let (Peers::Own, Some(path)) = (peers, address.path()) {
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        }
        Listener::listening(socket, Some(bound))
    }
}

/// Who may connect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(not(feature = "control"), allow(dead_code))]
enum Peers {
    /// Whom the mask of the process lets.
    All,
    /// Who has the rights of the process.
    Own,
}

/// The name a listener is bound to, and the file that belongs to it.
#[derive(Debug)]
pub(super) struct UnixName {
    pub(super) address: UnixAddress,
    _file: Option<OwnFile>,
}

/// A socket file that was made here; it goes when this is dropped.
#[derive(Debug)]
struct OwnFile(SocketFile);

impl Drop for OwnFile {
    fn drop(&mut self) {
        self.0.remove();
    }
}

/// A certain socket file, which is not just any file at its path.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// The socket file that is at `path` now.
    fn at(path: &Path) -> Option<SocketFile> {
        let found = fs::symlink_metadata(path).ok()?;
        let is_socket = found.file_type().is_socket();
        is_socket.then(|| SocketFile { path: path.into(), device: found.dev(), inode: found.ino() })
    }

    fn remove(&self) {
        // Whoever has put another file there since wants to keep it.
        let same = |now: fs::Metadata| now.dev() == self.device && now.ino() == self.inode;
        if fs::symlink_metadata(&self.path).is_ok_and(same) {
            // Where this is not allowed the file stays, as it does when a program is killed.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The file at `path` if it is that of a stream socket whose owner is gone.
fn stale_file(path: &Path) -> Option<SocketFile> {
    let file = SocketFile::at(path)?;
    let address = UnixAddress::new(path.as_os_str().as_bytes()).ok()?;
    // Any other answer means that it lives, or is none of ours to judge: another kind of socket, or one that is not
    // open to us.
    let refused = |error: io::Error| error.raw_os_error() == Some(libc::ECONNREFUSED);
    Stream::connect_unix(&address).is_err_and(refused).then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("slirp-unix-{}-{name}", std::process::id()));
        let _ = fs::remove_file(&path);
        path
    }

    fn address(path: &Path) -> UnixAddress {
        UnixAddress::new(path.as_os_str().as_bytes()).unwrap()
    }

    fn errno<T>(result: io::Result<T>) -> Option<i32> {
        result.err().and_then(|error| error.raw_os_error())
    }

    #[test]
    fn names_end_at_the_zero_byte_and_have_a_limit() {
        assert_eq!(UnixAddress::new(b"/tmp/x\0\0rest").unwrap(), UnixAddress::new(b"/tmp/x").unwrap());
        assert_ne!(UnixAddress::new(b"\0x\0").unwrap(), UnixAddress::new(b"\0x").unwrap());
        assert_eq!(UnixAddress::new(b"\0x").unwrap().path(), None);
        assert_eq!(errno(UnixAddress::new(b"")), Some(libc::EINVAL));
        assert_eq!(errno(UnixAddress::new(b"\0")), Some(libc::EINVAL));
        assert!(UnixAddress::new(&[b'a'; 107]).unwrap().socket_address().is_ok());
        assert_eq!(errno(UnixAddress::new(&[b'a'; 108])), Some(libc::ENAMETOOLONG));
    }

    #[test]
    fn a_listeners_file_goes_with_it_unless_it_is_anothers() {
        let path = scratch("mine");
        let listener = Listener::bind_unix(&address(&path)).unwrap();
        UnixStream::connect(&path).unwrap();
        listener.accept().unwrap();
        drop(listener);
        assert!(!path.exists());

        let listener = Listener::bind_unix(&address(&path)).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(listener);
        assert!(path.exists());
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn only_a_stale_socket_file_is_replaced() {
        let path = scratch("stale");
        let live = UnixListener::bind(&path).unwrap();
        assert_eq!(errno(Listener::bind_unix(&address(&path))), Some(libc::EADDRINUSE));
        drop(live);
        drop(Listener::bind_unix(&address(&path)).unwrap());

        fs::write(&path, "a file of somebody").unwrap();
        assert_eq!(errno(Listener::bind_unix(&address(&path))), Some(libc::EADDRINUSE));
        assert_eq!(fs::read(&path).unwrap(), b"a file of somebody");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn nobody_there_is_told_by_errno() {
        let path = scratch("nobody");
        assert_eq!(errno(Stream::connect_unix(&address(&path))), Some(libc::ENOENT));
        drop(UnixListener::bind(&path).unwrap());
        assert_eq!(errno(Stream::connect_unix(&address(&path))), Some(libc::ECONNREFUSED));
        fs::remove_file(&path).unwrap();
    }
}
