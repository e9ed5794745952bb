//! Guest forwards to commands, Unix sockets and callbacks.

use super::ffi::in_addr;
use super::instance::{Instance, Setup};
use super::library::library;
use std::ffi::CString;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Where the guest finds the callback of [`with_callback`], on port 7.
pub const FORWARD: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 100);

/// Forwards port 1000 of `address` to a Unix socket or to a command.
pub fn add_target(i: &Instance, unix: bool, address: Ipv4Addr, text: &str) {
    let text = CString::new(text).expect("no NUL");
    let mut address = in_addr(address);
    let add = if unix { library().slirp_add_unix } else { library().slirp_add_exec };
    // SAFETY: the text and the address are valid during the call.
    assert_eq!(unsafe { add(i.slirp.get(), text.as_ptr(), &mut address, 1000) }, 0);
}

/// An instance with a callback that takes everything.
pub fn with_callback() -> Box<Instance> {
    let i = Setup::default().start();
    assert_eq!(i.add_guestfwd(&mut FORWARD.clone(), 7, Box::new(|_, data| data.len() as isize)), 0);
    i
}

/// An instance of this kind that has loaded the state of `i`, a minute later.
pub fn reloaded(i: &Instance) -> Box<Instance> {
    let (result, stream) = i.save_state();
    assert_eq!(result, 0);
    let other = with_callback();
    other.move_clock(Duration::from_secs(60));
    assert_eq!(other.load_state(4, &stream), (0, 0));
    other
}
