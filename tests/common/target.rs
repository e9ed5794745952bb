//! Guest forwards to commands, Unix sockets and callbacks.

use super::at;
use super::family::Family;
use super::ffi::{from_in_addr, in_addr};
use super::instance::{Instance, Setup};
use super::library::library;
use super::party::Party;
use std::cell::RefCell;
use std::ffi::CString;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

/// Where the guest finds the callback of [`with_callback`], on port 7.
pub const FORWARD: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 100);

/// Adds a guest forward to a Unix socket or to a command; the result, and the address as the library has left it.
pub fn try_add_target(i: &Instance, unix: bool, text: &str, address: Ipv4Addr, port: u16) -> (i32, Ipv4Addr) {
    let text = CString::new(text).expect("no NUL");
    let mut address = in_addr(address);
    let add = if unix { library().slirp_add_unix } else { library().slirp_add_exec };
    // SAFETY: the text and the address are valid during the call.
    let result = unsafe { add(i.slirp.get(), text.as_ptr(), &mut address, port.into()) };
    (result, from_in_addr(address))
}

/// Forwards port 1000 of `address` to a Unix socket or to a command.
pub fn add_target(i: &Instance, unix: bool, address: Ipv4Addr, text: &str) {
    assert_eq!(try_add_target(i, unix, text, address, 1000).0, 0);
}

/// An instance with a callback that takes everything.
pub fn with_callback() -> Box<Instance> {
    let i = Setup::default().start();
    assert_eq!(i.add_guestfwd(&mut FORWARD.clone(), 7, Box::new(|_, data| data.len() as isize)), 0);
    i
}

/// What has arrived at a guest forward.
pub type Taken = Rc<RefCell<Vec<u8>>>;

/// An instance with a guest forward at a port of [`FORWARD`] whose callback takes everything, and what arrives there.
pub fn with_taken(setup: Setup, port: u16) -> (Box<Instance>, Taken) {
    let i = setup.start();
    let kept = Taken::default();
    let sink = kept.clone();
    let write = Box::new(move |_: &Instance, data: &[u8]| {
        sink.borrow_mut().extend_from_slice(data);
        data.len() as isize
    });
    assert_eq!(i.add_guestfwd(&mut FORWARD.clone(), port, write), 0);
    (i, kept)
}

/// The state, which can be saved.
pub fn save(i: &Instance) -> Vec<u8> {
    let (result, stream) = i.save_state();
    assert_eq!(result, 0);
    stream
}

/// An instance of [`with_callback`] with a connection to it, before or after its state was saved and loaded.
pub fn callback_party(load: bool) -> (Box<Instance>, Party) {
    let mut i = with_callback();
    let party = Party::connect(&i, Family::V4, at(FORWARD, 7));
    i.settle();
    if load {
        i = reloaded(&i);
        i.settle();
    }
    i.drain();
    (i, party)
}

/// An instance of [`with_callback`] that has loaded the state of `i`, a minute later.
pub fn reloaded(i: &Instance) -> Box<Instance> {
    let other = with_callback();
    other.move_clock(Duration::from_secs(60));
    assert_eq!(other.load_state(4, &save(i)), (0, 0));
    other
}
