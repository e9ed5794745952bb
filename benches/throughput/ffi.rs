//! The C ABI as an application sees it: a library opened at run time, one instance of it, and the poll loop's three calls.
//! The only file of this benchmark beside `sys.rs` and `syscalls.rs` that holds `unsafe`.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;

use libloading::Library;
use libloading::os::unix::{self, RTLD_GLOBAL, RTLD_NOW};

use crate::guest::Guest;
use crate::sys::PollSet;

/// `SlirpConfig`, whole (contract: version 6 layout); only the fields up to version 4 are read with `version` = 4.
#[repr(C)]
struct SlirpConfig {
    version: u32,
    restricted: c_int,
    in_enabled: bool,
    vnetwork: u32,
    vnetmask: u32,
    vhost: u32,
    in6_enabled: bool,
    vprefix_addr6: [u32; 4],
    vprefix_len: u8,
    vhost6: [u32; 4],
    vhostname: *const c_char,
    tftp_server_name: *const c_char,
    tftp_path: *const c_char,
    bootfile: *const c_char,
    vdhcp_start: u32,
    vnameserver: u32,
    vnameserver6: [u32; 4],
    vdnssearch: *const *const c_char,
    vdomainname: *const c_char,
    if_mtu: usize,
    if_mru: usize,
    disable_host_loopback: bool,
    enable_emu: bool,
    outbound_addr: *const c_void,
    outbound_addr6: *const c_void,
    disable_dns: bool,
    disable_dhcp: bool,
    mfr_id: u32,
    oob_eth_addr: [u8; 6],
}

/// `SlirpCb` up to version 4.
#[repr(C)]
struct SlirpCb {
    send_packet: extern "C" fn(*const c_void, usize, *mut c_void) -> isize,
    guest_error: extern "C" fn(*const c_char, *mut c_void),
    clock_get_ns: extern "C" fn(*mut c_void) -> i64,
    timer_new: extern "C" fn(*const c_void, *mut c_void, *mut c_void) -> *mut c_void,
    timer_free: extern "C" fn(*mut c_void, *mut c_void),
    timer_mod: extern "C" fn(*mut c_void, i64, *mut c_void),
    register_poll_fd: extern "C" fn(c_int, *mut c_void),
    unregister_poll_fd: extern "C" fn(c_int, *mut c_void),
    notify: extern "C" fn(*mut c_void),
    init_completed: Option<extern "C" fn(*mut c_void, *mut c_void)>,
    timer_new_opaque: Option<extern "C" fn(c_int, *mut c_void, *mut c_void) -> *mut c_void>,
}

extern "C" fn send_packet(data: *const c_void, len: usize, opaque: *mut c_void) -> isize {
    // SAFETY: `opaque` is the `RefCell<Guest>` given to `slirp_new`, which outlives the instance; `data` is valid for
    // `len` bytes during the call. The loop holds no borrow of the guest while it calls the library.
    let (guest, frame) =
        unsafe { (&*opaque.cast::<RefCell<Guest>>(), std::slice::from_raw_parts(data.cast::<u8>(), len)) };
    guest.borrow_mut().arrive(frame);
    len as isize
}

extern "C" fn guest_error(message: *const c_char, _: *mut c_void) {
    // SAFETY: the library passes a NUL-terminated string that lives through the call.
    eprintln!("guest_error: {}", unsafe { CStr::from_ptr(message) }.to_string_lossy());
}

extern "C" fn clock_get_ns(_: *mut c_void) -> i64 {
    crate::sys::monotonic_ns()
}

extern "C" fn timer_new(_: *const c_void, _: *mut c_void, _: *mut c_void) -> *mut c_void {
    std::ptr::dangling_mut::<u64>().cast()
}
extern "C" fn timer_new_opaque(_: c_int, _: *mut c_void, _: *mut c_void) -> *mut c_void {
    std::ptr::dangling_mut::<u64>().cast()
}
extern "C" fn timer_free(_: *mut c_void, _: *mut c_void) {}
extern "C" fn timer_mod(_: *mut c_void, _: i64, _: *mut c_void) {}
extern "C" fn register_fd(_: c_int, _: *mut c_void) {}
extern "C" fn notify(_: *mut c_void) {}

extern "C" fn add_poll(fd: c_int, events: c_int, opaque: *mut c_void) -> c_int {
    // SAFETY: `opaque` is the `PollSet` that `Instance::fill` borrows mutably for the duration of the call.
    unsafe { &mut *opaque.cast::<PollSet>() }.add(fd, events)
}

extern "C" fn get_revents(index: c_int, opaque: *mut c_void) -> c_int {
    // SAFETY: `opaque` is the `PollSet` that `Instance::poll` borrows for the duration of the call.
    unsafe { &*opaque.cast::<PollSet>() }.revents(index)
}

type AddPoll = extern "C" fn(c_int, c_int, *mut c_void) -> c_int;
type GetRevents = extern "C" fn(c_int, *mut c_void) -> c_int;

/// Open the library at `path`. Where `preload.so` stands beside it (see `script/lib/upstream.sh`), that is opened first, and
/// what it defines is there for the library.
fn open(path: &Path) -> Result<Library, String> {
    let text = |error: libloading::Error| format!("{}: {error}", path.display());
    let preload = path.with_file_name("preload.so");
    if preload.exists() {
        let flags = RTLD_NOW | RTLD_GLOBAL;
        // SAFETY: the file holds plain functions and no constructor. It is never closed.
        std::mem::forget(unsafe { unix::Library::open(Some(preload), flags) }.map_err(text)?);
    }
    // SAFETY: opening a libslirp runs its constructors only.
    unsafe { Library::new(path) }.map_err(text)
}

/// The function `name` of a library that was opened from `path`.
///
/// # Safety
/// `F` must be the function's type, and the function must not be called after the library is closed.
unsafe fn symbol<F: Copy>(library: &Library, path: &Path, name: &str) -> Result<F, String> {
    // SAFETY: as the caller promises.
    let found = unsafe { library.get::<F>(name.as_bytes()) };
    found.map(|f| *f).map_err(|_| format!("{} has no function {name}", path.display()))
}

/// What the library at `path` calls itself; also shows early that it can be opened.
pub fn version(path: &Path) -> Result<String, String> {
    // SAFETY: the function takes nothing and returns a static string,
    // which is copied before the library is closed.
    unsafe {
        let library = open(path)?;
        let version_string: unsafe extern "C" fn() -> *const c_char = symbol(&library, path, "slirp_version_string")?;
        Ok(CStr::from_ptr(version_string()).to_string_lossy().into_owned())
    }
}

/// One stack of the library under test, with the guest that its frames go to.
pub struct Instance {
    handle: *mut c_void,
    input: unsafe extern "C" fn(*mut c_void, *const u8, c_int),
    fill: unsafe extern "C" fn(*mut c_void, *mut u32, AddPoll, *mut c_void),
    poll: unsafe extern "C" fn(*mut c_void, c_int, GetRevents, *mut c_void),
    add_hostfwd: unsafe extern "C" fn(*mut c_void, c_int, u32, c_int, u32, c_int) -> c_int,
    // The library keeps the address of the callback table and calls into `_library`, so both live as long as the instance.
    _callbacks: Box<SlirpCb>,
    _library: Library,
}

impl Instance {
    /// Open the library at `path` and create a stack for 10.0.2.0/24 with IPv6 off and `mtu` (octets) both ways.
    ///
    /// `guest` is leaked on purpose by the caller: the library keeps its address.
    pub fn new(path: &Path, mtu: usize, guest: &'static RefCell<Guest>) -> Result<Instance, String> {
        let config = SlirpConfig {
            version: 4,
            restricted: 0,
            in_enabled: true,
            vnetwork: u32::from_ne_bytes([10, 0, 2, 0]),
            vnetmask: u32::from_ne_bytes([255, 255, 255, 0]),
            vhost: u32::from_ne_bytes([10, 0, 2, 2]),
            in6_enabled: false,
            vprefix_addr6: [0; 4],
            vprefix_len: 64,
            vhost6: [0; 4],
            vhostname: std::ptr::null(),
            tftp_server_name: std::ptr::null(),
            tftp_path: std::ptr::null(),
            bootfile: std::ptr::null(),
            vdhcp_start: u32::from_ne_bytes([10, 0, 2, 15]),
            vnameserver: u32::from_ne_bytes([10, 0, 2, 3]),
            vnameserver6: [0; 4],
            vdnssearch: std::ptr::null(),
            vdomainname: std::ptr::null(),
            if_mtu: mtu,
            if_mru: mtu,
            disable_host_loopback: false,
            enable_emu: false,
            outbound_addr: std::ptr::null(),
            outbound_addr6: std::ptr::null(),
            disable_dns: false,
            disable_dhcp: false,
            mfr_id: 0,
            oob_eth_addr: [0; 6],
        };
        let callbacks = Box::new(SlirpCb {
            send_packet,
            guest_error,
            clock_get_ns,
            timer_new,
            timer_free,
            timer_mod,
            register_poll_fd: register_fd,
            unregister_poll_fd: register_fd,
            notify,
            init_completed: None,
            timer_new_opaque: Some(timer_new_opaque),
        });
        // SAFETY: every symbol has the type that libslirp.h gives it
        // (a `struct in_addr` by value is passed as one 32-bit integer in every ABI this benchmark builds for).
        unsafe {
            let library = open(path)?;
            let new: unsafe extern "C" fn(*const SlirpConfig, *const SlirpCb, *mut c_void) -> *mut c_void =
                symbol(&library, path, "slirp_new")?;
            let input = symbol(&library, path, "slirp_input")?;
            let fill = symbol(&library, path, "slirp_pollfds_fill")?;
            let poll = symbol(&library, path, "slirp_pollfds_poll")?;
            let add_hostfwd = symbol(&library, path, "slirp_add_hostfwd")?;
            let opaque = std::ptr::from_ref(guest).cast_mut().cast::<c_void>();
            let handle = new(&config, &*callbacks, opaque);
            if handle.is_null() {
                return Err(format!("{}: slirp_new returned NULL", path.display()));
            }
            Ok(Instance { handle, input, fill, poll, add_hostfwd, _callbacks: callbacks, _library: library })
        }
    }

    /// `slirp_input`: one Ethernet frame from the guest.
    pub fn input(&self, frame: &[u8]) {
        // SAFETY: the handle is live; the frame is valid through the call. Callbacks may run, see `send_packet`.
        unsafe { (self.input)(self.handle, frame.as_ptr(), frame.len() as c_int) }
    }

    /// `slirp_pollfds_fill`: collects what the library waits for; `timeout` in milliseconds.
    pub fn fill(&self, timeout: &mut u32, set: &mut PollSet) {
        // SAFETY: `set` is exclusively borrowed through the call, which is the only time `add_poll` runs.
        unsafe { (self.fill)(self.handle, timeout, add_poll, std::ptr::from_mut(set).cast()) }
    }

    /// `slirp_pollfds_poll` with the results in `set`.
    pub fn poll(&self, select_error: bool, set: &PollSet) {
        // SAFETY: `get_revents` only reads through the pointer, and only during the call.
        unsafe { (self.poll)(self.handle, select_error.into(), get_revents, std::ptr::from_ref(set).cast_mut().cast()) }
    }

    /// `slirp_add_hostfwd` for TCP from 127.0.0.1:`host_port` to the guest's `guest_port`; false when refused.
    pub fn add_hostfwd(&self, host_port: u16, guest_port: u16) -> bool {
        let host = u32::from_ne_bytes([127, 0, 0, 1]);
        let guest = u32::from_ne_bytes([10, 0, 2, 15]);
        // SAFETY: plain values only.
        unsafe { (self.add_hostfwd)(self.handle, 0, host, host_port.into(), guest, guest_port.into()) == 0 }
    }
}
