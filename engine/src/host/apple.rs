//! What names the servers on Apple's systems: their resolver library, as `/etc/resolv.conf` is made for programs that know nothing else there,
//! and iOS has none. Source: `resolv.h` of Libresolv.

use std::ffi::c_int;
use std::fmt::Write;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

/// So many servers at most: the library keeps three (`MAXNS`).
const SERVERS: usize = 8;
/// A `res_9_sockaddr_union` has this many bytes (`__space`), whatever family its address has.
const ADDRESS: usize = 128;
/// Room for a `struct __res_9_state`, which has 552 bytes where pointers have 64 bits, in words.
const STATE: usize = 256;

/// As `resolv.h` has it; nothing of it is looked at here.
#[repr(C, align(16))]
struct State([u64; STATE]);

/// The largest of the union's members, with its alignment.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Address([u8; ADDRESS]);

#[link(name = "resolv")]
unsafe extern "C" {
    fn res_9_ninit(state: *mut State) -> c_int;
    fn res_9_getservers(state: *mut State, to: *mut Address, count: c_int) -> c_int;
    fn res_9_ndestroy(state: *mut State);
}

/// The servers in the system's order, as lines of a resolv.conf.
///
/// # Errors
/// When the library does not say.
pub(super) fn name_servers() -> io::Result<String> {
    // All zero, as the library's own state is before its first use.
    let mut state = State([0; STATE]);
    let mut found = [Address([0; ADDRESS]); SERVERS];
    // SAFETY: the room is larger than the structure, aligned for all that is in it, and all zero.
    if unsafe { res_9_ninit(&raw mut state) } != 0 {
        return Err(io::ErrorKind::NotFound.into());
    }
    // SAFETY: the state was made above; there is room for as many addresses as is said.
    let count = unsafe { res_9_getservers(&raw mut state, found.as_mut_ptr(), SERVERS as c_int) };
    // SAFETY: the state was made above, and is not used again.
    unsafe { res_9_ndestroy(&raw mut state) };
    let count = usize::try_from(count).unwrap_or(0);
    let mut text = String::new();
    for server in found.iter().take(count).filter_map(server) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "nameserver {server}");
    }
    Ok(text)
}

/// A server's address as a resolv.conf names it.
fn server(address: &Address) -> Option<String> {
    let start = address.0.as_ptr();
    // SAFETY: there is room for each of these structures, of which every content is a value; the room is aligned for them.
    let (v4, v6) = unsafe { (&*start.cast::<libc::sockaddr_in>(), &*start.cast::<libc::sockaddr_in6>()) };
    match c_int::from(v4.sin_family) {
        libc::AF_INET => Some(Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes()).to_string()),
        libc::AF_INET6 => {
            let (ip, scope) = (Ipv6Addr::from(v6.sin6_addr.s6_addr), v6.sin6_scope_id);
            Some(if ip.is_unicast_link_local() { format!("{ip}%{scope}") } else { ip.to_string() })
        }
        _ => None,
    }
}
