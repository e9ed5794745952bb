//! The name servers that the system knows: those of its network adapters, or of a file in the format of resolv.conf(5) that a
//! program names.

use std::ffi::CString;
use std::fmt::Write;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use windows_sys::Win32::Foundation::{ERROR_BUFFER_OVERFLOW, NO_ERROR};
use windows_sys::Win32::NetworkManagement::IpHelper::{
    GAA_FLAG_SKIP_ANYCAST, GAA_FLAG_SKIP_FRIENDLY_NAME, GAA_FLAG_SKIP_MULTICAST, GAA_FLAG_SKIP_UNICAST,
    GetAdaptersAddresses, IP_ADAPTER_ADDRESSES_LH, if_nametoindex,
};
use windows_sys::Win32::NetworkManagement::Ndis::IfOperStatusUp;
use windows_sys::Win32::Networking::WinSock::{
    AF_INET, AF_INET6, AF_UNSPEC, SOCKADDR_IN, SOCKADDR_IN6, SOCKET_ADDRESS,
};

/// Stands for the system's own list: no file can have this name.
pub(crate) const SYSTEM: &str = "the network adapters";
/// The largest part of a file that is read, in bytes.
const READ_MAX: u64 = 64 * 1024;
/// Room for the list in the first try, in bytes, and how often it may have grown meanwhile.
const ROOM: usize = 16 * 1024;
const TRIES: usize = 4;

/// What names the servers, kept up to date.
#[derive(Debug)]
pub(crate) struct ResolverFile {
    path: PathBuf,
    /// When a file was modified, and how long it was.
    seen: Option<(Option<SystemTime>, u64)>,
    content: Option<Vec<u8>>,
}

impl ResolverFile {
    /// A watcher of the file at `path`, or of the adapters for [`SYSTEM`], which are asked now.
    pub(crate) fn new(path: impl Into<PathBuf>) -> ResolverFile {
        let mut file = ResolverFile { path: path.into(), seen: None, content: None };
        file.look();
        file
    }

    /// Where the servers are named.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The content at the last look in the format of resolv.conf(5); `None` when there was none.
    #[must_use]
    pub(crate) fn content(&self) -> Option<&[u8]> {
        self.content.as_deref()
    }

    /// Looks again, and says whether [`ResolverFile::content`] differs from what it was before the call.
    pub(crate) fn look(&mut self) -> bool {
        let content = if self.path == Path::new(SYSTEM) {
            // What cannot be asked is taken to be as it was.
            let Ok(text) = adapters() else { return false };
            Some(text.into_bytes())
        } else {
            let seen = fs::metadata(&self.path).ok().filter(fs::Metadata::is_file);
            let seen = seen.map(|metadata| (metadata.modified().ok(), metadata.len()));
            if seen.is_some() && seen == self.seen {
                return false;
            }
            self.seen = seen;
            seen.and_then(|_| read(&self.path).ok())
        };
        let changed = content != self.content;
        self.content = content;
        changed
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(READ_MAX).read_to_end(&mut content)?;
    Ok(content)
}

/// The servers of the adapters that are up, in the system's order, as lines of a resolv.conf.
fn adapters() -> io::Result<String> {
    let flags = GAA_FLAG_SKIP_ANYCAST | GAA_FLAG_SKIP_FRIENDLY_NAME | GAA_FLAG_SKIP_MULTICAST | GAA_FLAG_SKIP_UNICAST;
    // Words of the size that the structure is aligned to.
    let mut room = vec![0_u64; ROOM / 8];
    for _ in 0..TRIES {
        let mut bytes = u32::try_from(room.len() * 8).unwrap_or(u32::MAX);
        let list = room.as_mut_ptr().cast::<IP_ADAPTER_ADDRESSES_LH>();
        // SAFETY: the room is as long as is said, aligned, and written to only.
        match unsafe { GetAdaptersAddresses(AF_UNSPEC.into(), flags, std::ptr::null(), list, &raw mut bytes) } {
            NO_ERROR => {
                // SAFETY: the call has filled the room with a list whose pointers lead into the room.
                return Ok(unsafe { servers_of(list) });
            }
            ERROR_BUFFER_OVERFLOW => room.resize((bytes as usize).div_ceil(8), 0),
            // None at all.
            _ => return Ok(String::new()),
        }
    }
    Err(io::ErrorKind::WouldBlock.into())
}

/// # Safety
/// `adapter` is null or the first of a list that `GetAdaptersAddresses` has made, which lives until the call is over.
unsafe fn servers_of(mut adapter: *const IP_ADAPTER_ADDRESSES_LH) -> String {
    let mut text = String::new();
    // SAFETY: as the caller says.
    while let Some(this) = unsafe { adapter.as_ref() } {
        let mut server = this.FirstDnsServerAddress;
        // SAFETY: as the caller says.
        while let Some(one) = unsafe { server.as_ref() } {
            if this.OperStatus == IfOperStatusUp
                // SAFETY: as the caller says.
                && let Some(address) = unsafe { address(&one.Address) }
            {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "nameserver {address}");
            }
            server = one.Next;
        }
        adapter = this.Next;
    }
    text
}

/// # Safety
/// The address is null or as long as it says.
unsafe fn address(of: &SOCKET_ADDRESS) -> Option<String> {
    // SAFETY: the family comes first in each kind of address, and says which kind it is.
    let family = unsafe { of.lpSockaddr.as_ref() }?.sa_family;
    let length = usize::try_from(of.iSockaddrLength).ok()?;
    match family {
        AF_INET if length >= size_of::<SOCKADDR_IN>() => {
            // SAFETY: as above.
            let octets = unsafe { (*of.lpSockaddr.cast::<SOCKADDR_IN>()).sin_addr.S_un.S_addr }.to_ne_bytes();
            Some(Ipv4Addr::from(octets).to_string())
        }
        AF_INET6 if length >= size_of::<SOCKADDR_IN6>() => {
            // SAFETY: as above.
            let (octets, scope) = unsafe {
                let name = &*of.lpSockaddr.cast::<SOCKADDR_IN6>();
                (name.sin6_addr.u.Byte, name.Anonymous.sin6_scope_id)
            };
            let ip = Ipv6Addr::from(octets);
            // What an adapter without servers is given in their place (draft-ietf-ipngwg-dns-discovery): nobody is there.
            if ip.segments()[..7] == [0xfec0, 0, 0, 0xffff, 0, 0, 0] {
                return None;
            }
            Some(if ip.is_unicast_link_local() { format!("{ip}%{scope}") } else { ip.to_string() })
        }
        _ => None,
    }
}

/// The index of the interface called `name`, 0 when there is none.
#[must_use]
pub(crate) fn interface_index(name: &str) -> u32 {
    let Ok(text) = CString::new(name) else { return 0 };
    // SAFETY: the pointer is to a string that ends in zero and lives until the call is over.
    match unsafe { if_nametoindex(text.as_ptr().cast()) } {
        0 => name.parse().unwrap_or(0),
        index => index,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_adapters_and_files_name_servers() {
        let system = ResolverFile::new(SYSTEM);
        let text = String::from_utf8(system.content().unwrap().to_vec()).unwrap();
        assert!(text.lines().all(|line| line.starts_with("nameserver ")), "{text}");
        let path = std::env::temp_dir().join(format!("oxislirp-resolv-{}", std::process::id()));
        fs::write(&path, "nameserver 192.0.2.1\n").unwrap();
        let mut file = ResolverFile::new(&path);
        assert_eq!(file.content(), Some(&b"nameserver 192.0.2.1\n"[..]));
        assert!(!file.look());
        fs::write(&path, "nameserver 192.0.2.10\n").unwrap();
        assert!(file.look());
        fs::remove_file(&path).unwrap();
        assert!(file.look() && file.content().is_none());
        assert_eq!((interface_index("12"), interface_index("no such")), (12, 0));
    }
}
