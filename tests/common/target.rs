//! Guest forwards to commands and Unix sockets.

use super::ffi::in_addr;
use super::instance::Instance;
use super::library::library;
use std::ffi::CString;
use std::net::Ipv4Addr;

/// Forwards port 1000 of `address` to a Unix socket or to a command.
pub fn add_target(i: &Instance, unix: bool, address: Ipv4Addr, text: &str) {
    let text = CString::new(text).expect("no NUL");
    let mut address = in_addr(address);
    let add = if unix { library().slirp_add_unix } else { library().slirp_add_exec };
    // SAFETY: the text and the address are valid during the call.
    assert_eq!(unsafe { add(i.slirp.get(), text.as_ptr(), &mut address, 1000) }, 0);
}
