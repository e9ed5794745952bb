//! What names the servers on Windows: its network adapters, or a file that a program names.

use std::ffi::CString;
use std::fmt::Write;
use std::fs::{File, Metadata};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
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
/// Room for the list in the first try, in bytes, and how often it may have grown meanwhile.
const ROOM: usize = 16 * 1024;
const TRIES: usize = 4;

/// What tells one content of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::host) struct Identity {
    modified: Option<SystemTime>,
    size: u64,
}

impl Identity {
    pub(in crate::host) fn of(metadata: &Metadata) -> Identity {
        Identity { modified: metadata.modified().ok(), size: metadata.len() }
    }
}

/// The system's own list of servers in the format of resolv.conf(5), if that is what `path` stands for.
pub(in crate::host) fn list(path: &Path) -> Option<io::Result<Vec<u8>>> {
    (path == Path::new(SYSTEM)).then(|| adapters().map(String::into_bytes))
}

/// Opens the file.
pub(in crate::host) fn open(path: &Path) -> io::Result<File> {
    File::open(path)
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
    fn the_adapters_name_servers_and_interfaces_have_numbers() {
        let text = String::from_utf8(list(Path::new(SYSTEM)).unwrap().unwrap()).unwrap();
        assert!(text.lines().all(|line| line.starts_with("nameserver ")), "{text}");
        assert!(list(Path::new("resolv.conf")).is_none());
        assert_eq!((interface_index("12"), interface_index("no such")), (12, 0));
    }
}
