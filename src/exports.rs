//! The exported functions. Their signatures and comments are the source of `libslirp.h`.
//!
//! Safety of all of them: a pointer argument is NULL where the comment allows it, or it points to what its type says for
//! the time that the comment says; a `Slirp` pointer comes from `slirp_new` and was not given to `slirp_cleanup` before.
//! The comments speak to C programmers, so they have no `# Safety` heading of their own.
//!
//! Source of the behaviour: docs/contract/api.md sections 1 and 2.
#![allow(clippy::missing_safety_doc)]

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::net::{Ipv4Addr, SocketAddr};

use super::address;
use super::callbacks::Callbacks;
use super::calls;
use super::config;
use super::config_file::{self, Settings};
use super::debug;
use super::fence::fenced;
use super::instance::Instance;
use super::log::{self, Level};
use super::sockets::{in_addr, in6_addr, sockaddr, socklen_t};
use super::system::{errno, errno_of, set_errno};
use super::types::{
    CBool, RawTimerId, SLIRP_HOSTFWD_UDP, SLIRP_HOSTFWD_V6ONLY, Slirp, SlirpAddPollCb, SlirpAddPollSocketCb, SlirpCb,
    SlirpConfig, SlirpGetREventsCb, SlirpReadCb, SlirpWriteCb, slirp_os_socket, slirp_ssize_t,
};
use oxislirp::{GuestForward, HostForward, ListenAddress, Protocol, RawSocket, UnixAddress, snapshot};

/// The version of the interface that this library implements, as `slirp_version_string` reports it.
/// cbindgen:ignore
pub const VERSION_STRING: &CStr = c"4.9.5";

/// The version of the saved state that `slirp_state_save` writes.
/// cbindgen:ignore
pub const STATE_VERSION: c_int = 4;

/// Creates an instance of the network stack.
///
/// `callbacks` may be NULL, as may be each of its members. Both structures, and what they point to, may be freed after
/// the call. `opaque` is handed to every callback. Before the function returns it
/// calls `init_completed` and, when IPv6 is enabled, creates and sets the timer; it sends no frame.
///
/// The environment variable SLIRP_DEBUG is read when the first instance of a process is created, and the file that
/// OXISLIRP_CONFIG names for each instance.
///
/// Returns the instance, or NULL (with a message in the log) when `cfg` is NULL, its version is unknown, `if_mtu` or
/// `if_mru` is out of range, `bootfile` is longer than 127 bytes, or the file of OXISLIRP_CONFIG makes no sense, with errno
/// EINVAL; or with the errno of the system when it lacks a resource or cannot read that file. Since 4.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_new(
    cfg: *const SlirpConfig,
    callbacks: *const SlirpCb,
    opaque: *mut c_void,
) -> *mut Slirp {
    fenced("slirp_new", std::ptr::null_mut(), || {
        debug::read_environment();
        let settings = match Settings::from_environment(&config_file::Instance::next()) {
            Ok(settings) => settings,
            Err(fault) => {
                log::write(Level::Critical, &format!("slirp_new: {fault}"));
                set_errno(fault.errno());
                return std::ptr::null_mut();
            }
        };
        if let Some(said) = config_file::ignored() {
            log::write(Level::Warning, &format!("slirp_new: {said}"));
        }
        // SAFETY: the caller vouches for the structures as long as their version.
        let (config, version) = match unsafe { config::read(cfg, &settings) } {
            Ok(read) => read,
            Err(reason) => {
                log::write(Level::Critical, &format!("slirp_new: {reason}"));
                set_errno(errno::EINVAL);
                return std::ptr::null_mut();
            }
        };
        // SAFETY: as above.
        let callbacks = unsafe { Callbacks::copy(callbacks, version, opaque) };
        Instance::create(config, &settings, callbacks).unwrap_or_else(|error| {
            log::write(Level::Critical, &format!("slirp_new: {error}"));
            set_errno(errno_of(&error, errno::EIO));
            std::ptr::null_mut()
        })
    })
}

/// Creates an instance as `slirp_new` does with configuration version 1 and an MTU and MRU of 1500. The arguments mean
/// what the members of `SlirpConfig` with the same names mean. New programs use `slirp_new`.
#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments)]
pub unsafe extern "C" fn slirp_init(
    restricted: c_int,
    in_enabled: CBool,
    vnetwork: in_addr,
    vnetmask: in_addr,
    vhost: in_addr,
    in6_enabled: CBool,
    vprefix_addr6: in6_addr,
    vprefix_len: u8,
    vhost6: in6_addr,
    vhostname: *const c_char,
    tftp_server_name: *const c_char,
    tftp_path: *const c_char,
    bootfile: *const c_char,
    vdhcp_start: in_addr,
    vnameserver: in_addr,
    vnameserver6: in6_addr,
    vdnssearch: *mut *const c_char,
    vdomainname: *const c_char,
    callbacks: *const SlirpCb,
    opaque: *mut c_void,
) -> *mut Slirp {
    // SAFETY: all zero bytes are a value of this structure.
    let mut config: SlirpConfig = unsafe { std::mem::zeroed() };
    config.version = 1;
    config.restricted = restricted;
    config.in_enabled = in_enabled;
    config.vnetwork = vnetwork;
    config.vnetmask = vnetmask;
    config.vhost = vhost;
    config.in6_enabled = in6_enabled;
    config.vprefix_addr6 = vprefix_addr6;
    config.vprefix_len = vprefix_len;
    config.vhost6 = vhost6;
    config.vhostname = vhostname;
    config.tftp_server_name = tftp_server_name;
    config.tftp_path = tftp_path;
    config.bootfile = bootfile;
    config.vdhcp_start = vdhcp_start;
    config.vnameserver = vnameserver;
    config.vnameserver6 = vnameserver6;
    config.vdnssearch = vdnssearch;
    config.vdomainname = vdomainname;
    // SAFETY: the structure is whole, and the caller vouches for the pointers it was given.
    unsafe { slirp_new(&raw const config, callbacks, opaque) }
}

/// Frees an instance and closes its sockets. Each socket is unregistered first (UDP, then TCP, then ICMP), then the
/// timer is freed. Nothing is sent to the guest. NULL does nothing.
///
/// When it returns, no callback is running on another thread any more, and none begins: it waits for those that are. Inside
/// a callback it does not wait for that one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_cleanup(slirp: *mut Slirp) {
    // SAFETY: the caller vouches for the handle and does not use it again.
    fenced("slirp_cleanup", (), || unsafe { Instance::destroy(slirp) });
}

/// Prepares for sleeping: calls `add_poll` (with `opaque`) once for each descriptor that is to be watched, and lowers
/// `*timeout` when the library needs to run earlier.
///
/// `*timeout` is the time in milliseconds that the application intends to sleep, UINT32_MAX for no limit; values up to
/// 2 are left alone. The application then sleeps and calls `slirp_pollfds_poll`. NULL instead of an instance does
/// nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_pollfds_fill(
    slirp: *mut Slirp,
    timeout: *mut u32,
    add_poll: SlirpAddPollCb,
    opaque: *mut c_void,
) {
    let watch = |descriptor, events| match add_poll {
        // SAFETY: the caller gave this function for this opaque pointer.
        Some(add_poll) => unsafe { add_poll(descriptor as c_int, events, opaque) },
        None => -1,
    };
    // SAFETY: the caller vouches for the pointer.
    with(slirp, "slirp_pollfds_fill", (), |instance| unsafe { fill(instance, timeout, watch) });
}

/// As `slirp_pollfds_fill`, with a callback that can take every socket on every platform. Since 4.9.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_pollfds_fill_socket(
    slirp: *mut Slirp,
    timeout: *mut u32,
    add_poll: SlirpAddPollSocketCb,
    opaque: *mut c_void,
) {
    let watch = |descriptor, events| match add_poll {
        // SAFETY: the caller gave this function for this opaque pointer.
        Some(add_poll) => unsafe { add_poll(descriptor as slirp_os_socket, events, opaque) },
        None => -1,
    };
    // SAFETY: the caller vouches for the pointer.
    with(slirp, "slirp_pollfds_fill_socket", (), |instance| unsafe { fill(instance, timeout, watch) });
}

/// Fills, and lowers `*timeout`. Nobody holds a reference to that while callbacks run: it may be the application's to change
/// there, and after a cleanup inside of one it may be gone.
///
/// # Safety
/// `timeout` is NULL, or can be read and, until the instance is cleaned up, written.
unsafe fn fill(instance: &Instance, timeout: *mut u32, watch: impl FnMut(RawSocket, c_int) -> c_int) {
    // Without a place for the result the sleep is taken to be as long as it likes.
    // SAFETY: the caller vouches for the pointer.
    let mut sleep = if timeout.is_null() { u32::MAX } else { unsafe { timeout.read() } };
    instance.fill(&mut sleep, watch);
    if !timeout.is_null() && !instance.is_closed() {
        // SAFETY: as above, and there was no cleanup.
        unsafe { timeout.write(sleep) };
    }
}

/// Does what has become due after sleeping: runs the timers, calls `get_revents` (with `opaque`) once for each index
/// that `add_poll` gave in the last fill, and moves data both ways.
///
/// With `select_error` not zero `get_revents` is not called; use it when sleeping has failed or was skipped. Nothing is
/// lost by it. NULL instead of an instance does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_pollfds_poll(
    slirp: *mut Slirp,
    select_error: c_int,
    get_revents: SlirpGetREventsCb,
    opaque: *mut c_void,
) {
    with(slirp, "slirp_pollfds_poll", (), |instance| {
        // Without a way to ask, nothing is known of what happened.
        instance.poll(select_error != 0 || get_revents.is_none(), |index| match get_revents {
            // SAFETY: the caller gave this function for this opaque pointer.
            Some(get_revents) => unsafe { get_revents(index, opaque) },
            None => 0,
        });
    });
}

/// Takes one Ethernet frame of `pkt_len` bytes, without frame check sequence, from the guest. The frame is only read
/// during the call, once: it may be memory that the guest writes meanwhile. A frame shorter than its header, or one that makes no sense, is dropped. Callbacks can be called
/// before the function returns. NULL instead of an instance or a frame does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_input(slirp: *mut Slirp, pkt: *const u8, pkt_len: c_int) {
    let Ok(length) = usize::try_from(pkt_len) else { return };
    if pkt.is_null() || length == 0 {
        return;
    }
    // SAFETY: the caller vouches for the handle, and for as many bytes.
    fenced("slirp_input", (), || unsafe { Instance::input(slirp, pkt, length) });
}

/// The application calls this when a timer made by `timer_new_opaque` expires, with the `id` and `cb_opaque` it was
/// made with. An unknown id is logged and ignored. NULL instead of an instance does nothing. Since 4.7.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_handle_timer(slirp: *mut Slirp, id: RawTimerId, cb_opaque: *mut c_void) {
    let _ = cb_opaque;
    with(slirp, "slirp_handle_timer", (), |instance| instance.handle_timer(id));
}

/// Forwards an IPv4 TCP port (UDP when `is_udp` is not zero) of the host to the guest.
///
/// `host_addr` is 0.0.0.0 for all addresses of the host; `host_port` is 0 for a free port, which
/// `slirp_connection_info` shows. `guest_addr` is 0.0.0.0 for the first DHCP address. Ports are in host byte order; of a
/// number that is none the lower 16 bits count.
///
/// Returns 0, or -1 with errno: that of the system call that failed, such as EADDRINUSE, EADDRNOTAVAIL or EACCES, or
/// EINVAL for a NULL instance.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_add_hostfwd(
    slirp: *mut Slirp,
    is_udp: c_int,
    host_addr: in_addr,
    host_port: c_int,
    guest_addr: in_addr,
    guest_port: c_int,
) -> c_int {
    with(slirp, "slirp_add_hostfwd", -1, |instance| {
        let host = (address::ipv4(host_addr), address::port(host_port));
        let guest = (address::ipv4(guest_addr), address::port(guest_port));
        let forward = if is_udp != 0 { HostForward::udp(host, guest) } else { HostForward::tcp(host, guest) };
        outcome(instance.add_host_forward(forward))
    })
}

/// Ends a forward made by `slirp_add_hostfwd`, which is found by protocol, host address and (real) host port.
/// Connections that came through it stay.
///
/// Returns 0, or -1 when there is no such forward.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_remove_hostfwd(
    slirp: *mut Slirp,
    is_udp: c_int,
    host_addr: in_addr,
    host_port: c_int,
) -> c_int {
    with(slirp, "slirp_remove_hostfwd", -1, |instance| {
        let host = SocketAddr::from((address::ipv4(host_addr), address::port(host_port)));
        found(instance.remove_host_forward(protocol(is_udp != 0), &host.into()))
    })
}

/// Forwards a port of the host to the guest for any address family.
///
/// `haddr` is where to listen: IPv4, IPv6, or the path of a Unix stream socket (or, on Linux, an abstract name). A socket
/// file whose owner is gone is replaced, and the file that is made goes with the forward. `gaddr` is the guest's address:
/// IPv4 (0.0.0.0 for the first DHCP address) or IPv6 (:: for a neighbor that is known when a client comes, one under the
/// prefix if there is one). The two may be of different families. `flags` combines `SLIRP_HOSTFWD_UDP` and `SLIRP_HOSTFWD_V6ONLY`.
///
/// Returns 0, or -1 with errno: that of the system call that failed, EINVAL when an address is too short or NULL,
/// EAFNOSUPPORT for another family, or ENOTSUP for datagrams from a Unix socket.
/// Since 4.5.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_add_hostxfwd(
    slirp: *mut Slirp,
    haddr: *const sockaddr,
    haddrlen: socklen_t,
    gaddr: *const sockaddr,
    gaddrlen: socklen_t,
    flags: c_int,
) -> c_int {
    with(slirp, "slirp_add_hostxfwd", -1, |instance| {
        // SAFETY: the caller vouches for the addresses with their lengths.
        let addresses = unsafe {
            address::host_address(haddr, haddrlen)
                .and_then(|host| Ok((host, address::socket_address(gaddr, gaddrlen)?)))
        };
        outcome(addresses.and_then(|(host, guest)| {
            let udp = flags & SLIRP_HOSTFWD_UDP != 0;
            let forward = match host {
                ListenAddress::Inet(host) if udp => HostForward::udp(host, guest),
                ListenAddress::Inet(host) => HostForward::tcp(host, guest),
                // A client that is a datagram socket has no name to be answered at, unless it made one.
                ListenAddress::Unix(host) if !udp => HostForward::unix(host, guest),
                _ => return Err(errno::ENOTSUP),
            };
            instance.add_host_forward(forward.only_v6(flags & SLIRP_HOSTFWD_V6ONLY != 0))
        }))
    })
}

/// Ends a forward made by `slirp_add_hostxfwd` or `slirp_add_hostfwd`, which is found by protocol (`SLIRP_HOSTFWD_UDP`
/// in `flags`) and host address. Connections that came through it stay.
///
/// Returns 0, or -1 when there is no such forward. Since 4.5.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_remove_hostxfwd(
    slirp: *mut Slirp,
    haddr: *const sockaddr,
    haddrlen: socklen_t,
    flags: c_int,
) -> c_int {
    with(slirp, "slirp_remove_hostxfwd", -1, |instance| {
        // SAFETY: the caller vouches for the address with its length.
        match unsafe { address::host_address(haddr, haddrlen) } {
            Ok(host) => found(instance.remove_host_forward(protocol(flags & SLIRP_HOSTFWD_UDP != 0), &host)),
            Err(errno) => fail(errno),
        }
    })
}

/// Connects a TCP port of the virtual network to a command: each connection of the guest starts it once, with its
/// standard input, output and error output on the connection.
///
/// `cmdline` is split as a shell does with quotes and backslashes, without any expansion, and the program is searched in
/// PATH. `*guest_addr` is an address inside the virtual network; 0.0.0.0 is replaced by the default (host part 0.0.2.4)
/// and written back.
///
/// What is wrong with the command line, or with the program, shows when a guest connects: a message is logged and the
/// guest sees the end of the connection.
///
/// Returns 0, or -1 with errno: EADDRNOTAVAIL when the address is outside the network, is the DNS service, or is taken, ENOMEM
/// when there are 1,024 guest forwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_add_exec(
    slirp: *mut Slirp,
    cmdline: *const c_char,
    guest_addr: *mut in_addr,
    guest_port: c_int,
) -> c_int {
    // SAFETY: the caller vouches for the text.
    let Some(command) = (unsafe { text(cmdline) }) else { return fail(errno::EINVAL) };
    let forward = GuestForward::command(command, address::port(guest_port));
    // SAFETY: the caller vouches for the address.
    unsafe { add_guest_target(slirp, "slirp_add_exec", guest_addr, |i, at| i.add_target(forward, at)) }
}

/// Connects a TCP port of the virtual network to a Unix stream socket of the host: each connection of the guest becomes
/// a connection to the path `unixsock`, which is at most 107 bytes long. Address and result as for `slirp_add_exec`; errno is
/// ENAMETOOLONG (on Windows EINVAL) for a longer path, and EAFNOSUPPORT where the system has no Unix sockets. Since 4.2.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_add_unix(
    slirp: *mut Slirp,
    unixsock: *const c_char,
    guest_addr: *mut in_addr,
    guest_port: c_int,
) -> c_int {
    // SAFETY: the caller vouches for the text.
    let Some(path) = (unsafe { text(unixsock) }) else { return fail(errno::EINVAL) };
    let forward = match UnixAddress::new(path) {
        Ok(path) => GuestForward::unix(path, address::port(guest_port)),
        Err(error) => return fail(errno_of(&error, errno::EINVAL)),
    };
    // SAFETY: the caller vouches for the address.
    unsafe { add_guest_target(slirp, "slirp_add_unix", guest_addr, |i, at| i.add_target(forward, at)) }
}

/// Adds a guest forward and writes its address back. Nobody holds a reference to that while callbacks run.
///
/// # Safety
/// As for `slirp_add_exec`.
unsafe fn add_guest_target(
    slirp: *mut Slirp,
    function: &str,
    guest_addr: *mut in_addr,
    add: impl FnOnce(&Instance, &mut Ipv4Addr) -> Result<(), c_int>,
) -> c_int {
    if guest_addr.is_null() {
        return fail(errno::EINVAL);
    }
    with(slirp, function, -1, |instance| {
        // SAFETY: the caller vouches for the pointer.
        let mut at = address::ipv4(unsafe { guest_addr.read() });
        let added = add(instance, &mut at);
        if !instance.is_closed() {
            // SAFETY: as above; the address lives as long as the instance at least.
            unsafe { guest_addr.write(address::to_in_addr(at)) };
        }
        outcome(added)
    })
}

/// Connects a TCP port of the virtual network to the application: what the guest sends is given to `write_cb` (with
/// `opaque`) inside `slirp_input`, and all of it counts as taken. Data for the guest goes through `slirp_socket_recv`.
/// Address and result as for `slirp_add_exec`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_add_guestfwd(
    slirp: *mut Slirp,
    write_cb: SlirpWriteCb,
    opaque: *mut c_void,
    guest_addr: *mut in_addr,
    guest_port: c_int,
) -> c_int {
    let Some(write_cb) = write_cb else { return fail(errno::EINVAL) };
    let port = address::port(guest_port);
    let add = |instance: &Instance, at: &mut Ipv4Addr| instance.add_callback(write_cb, opaque, at, port);
    // SAFETY: the caller vouches for the address.
    unsafe { add_guest_target(slirp, "slirp_add_guestfwd", guest_addr, add) }
}

/// Ends what `slirp_add_exec`, `slirp_add_unix` or `slirp_add_guestfwd` set up, and resets its connections. When it
/// returns, the `write_cb` of this forward is not running on another thread any more, and is not called again: it waits for
/// a call that is. Inside that callback it does not wait.
///
/// Returns 0, or -1 when there is nothing at this address and port. Since 4.2.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_remove_guestfwd(slirp: *mut Slirp, guest_addr: in_addr, guest_port: c_int) -> c_int {
    with(slirp, "slirp_remove_guestfwd", -1, |instance| {
        found(instance.remove_guest_forward(address::ipv4(guest_addr), address::port(guest_port)))
    })
}

/// Tells how many bytes one `slirp_socket_recv` to this guest forward may carry now. It is 0 when the guest has no
/// connection to it, or when enough is waiting already; `notify` tells when that has changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_socket_can_recv(slirp: *mut Slirp, guest_addr: in_addr, guest_port: c_int) -> usize {
    with(slirp, "slirp_socket_can_recv", 0, |instance| {
        instance.guest_forward_room(address::ipv4(guest_addr), address::port(guest_port))
    })
}

/// Sends `size` bytes to the guest through the newest connection of this guest forward. More than there is room for
/// ends the connection; without a connection nothing happens.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_socket_recv(
    slirp: *mut Slirp,
    guest_addr: in_addr,
    guest_port: c_int,
    buf: *const u8,
    size: c_int,
) {
    let Ok(length) = usize::try_from(size) else { return };
    if buf.is_null() || length == 0 {
        return;
    }
    // SAFETY: the caller vouches for as many bytes, which nobody changes during the call.
    let data = unsafe { std::slice::from_raw_parts(buf, length) };
    with(slirp, "slirp_socket_recv", (), |instance| {
        instance.guest_forward_receive(address::ipv4(guest_addr), address::port(guest_port), data);
    });
}

/// Lists the connections and forwards as a table for people. Returns text from `malloc` that the caller frees with
/// `free`, or NULL when there is no memory or no instance.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_connection_info(slirp: *mut Slirp) -> *mut c_char {
    with(slirp, "slirp_connection_info", std::ptr::null_mut(), |instance| c_string(&instance.connection_info()))
}

/// Lists the known neighbors (ARP and NDP) as a table for people. Returns text from `malloc` that the caller frees with
/// `free`, or NULL when there is no memory or no instance. Since 4.5.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_neighbor_info(slirp: *mut Slirp) -> *mut c_char {
    with(slirp, "slirp_neighbor_info", std::ptr::null_mut(), |instance| c_string(&instance.neighbor_info()))
}

/// Saves the state that a guest would miss after migration: connections to guest forwards of the application, and the
/// DHCP leases. It is written through `write_cb` (with `opaque`) in many small pieces, in the format of
/// `slirp_state_version`.
///
/// Returns 0, or a negative errno value: -EIO when `write_cb` did not take all of a piece, which makes what was written
/// worthless. A negative result of `write_cb` ends the writing; after a smaller number than it was given the next piece
/// follows, not the rest. (Before 4.8 there was no result.)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_state_save(slirp: *mut Slirp, write_cb: SlirpWriteCb, opaque: *mut c_void) -> c_int {
    let Some(write_cb) = write_cb else { return -errno::EINVAL };
    with(slirp, "slirp_state_save", -errno::EINVAL, |instance| {
        let Some(pieces) = instance.save() else { return -errno::EIO };
        let mut whole = true;
        for piece in pieces {
            // SAFETY: the caller gave this function for this opaque pointer; the piece outlives the call.
            let written = instance.outside(|_| unsafe { write_cb(piece.as_ptr().cast(), piece.len(), opaque) });
            match written {
                // A callback that says 0 for success has taken the piece all the same. Upstream goes on, so that programs
                // which do not look at the result have a whole state; they are not to lose it here.
                Some(written @ 0..) => whole &= written.cast_unsigned() == piece.len(),
                _ => return -errno::EIO,
            }
        }
        if whole { 0 } else { -errno::EIO }
    })
}

/// Returns the format version of the state that `slirp_state_save` writes. It is to be stored with the state.
#[unsafe(no_mangle)]
pub extern "C" fn slirp_state_version() -> c_int {
    STATE_VERSION
}

/// Loads what `slirp_state_save` wrote, read through `read_cb` (with `opaque`). `version_id` is the
/// `slirp_state_version` of the time of saving.
///
/// Returns 0, or a negative errno value: -EINVAL for a version that is too new or for contents that make no sense, -EIO
/// when the data ends early.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_state_load(
    slirp: *mut Slirp,
    version_id: c_int,
    read_cb: SlirpReadCb,
    opaque: *mut c_void,
) -> c_int {
    let Some(read_cb) = read_cb else { return -errno::EINVAL };
    with(slirp, "slirp_state_load", -errno::EINVAL, |instance| {
        let loaded = instance.load(version_id, |piece| {
            let mut filled = 0;
            while let Some(rest) = piece.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                // SAFETY: the caller gave this function for this opaque pointer; the rest of the piece is writable.
                let given = instance.outside(|_| unsafe { read_cb(rest.as_mut_ptr().cast(), rest.len(), opaque) })?;
                filled += usize::try_from(given).ok().filter(|given| (1..=rest.len()).contains(given))?;
            }
            Some(())
        });
        match loaded {
            Ok(()) => 0,
            Err(error) => {
                log::write(Level::Warning, &format!("slirp_state_load: {error}"));
                if error == snapshot::Error::Truncated { -errno::EIO } else { -errno::EINVAL }
            }
        }
    })
}

/// Reads an IPv4 address as `inet_aton` does, which Windows lacks. Returns 1 and sets `*ia`, or 0 when the text is no
/// address.
#[cfg(windows)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_inet_aton(cp: *const c_char, ia: *mut in_addr) -> c_int {
    // SAFETY: the caller vouches for both pointers.
    let (text, place) = unsafe { (text(cp), ia.as_mut()) };
    match (text.and_then(address::parse_ipv4), place) {
        (Some(ip), Some(place)) => {
            *place = address::to_in_addr(ip);
            1
        }
        _ => 0,
    }
}

/// Returns the version of the interface that this library implements, a text that lives as long as the process.
#[unsafe(no_mangle)]
pub extern "C" fn slirp_version_string() -> *const c_char {
    VERSION_STRING.as_ptr()
}

/// Turns on the groups of debug messages in `flags` (`SLIRP_DBG_*` values) for the whole process. It may be called
/// before any instance exists. Since 4.9.
#[unsafe(no_mangle)]
pub extern "C" fn slirp_set_debug(flags: c_uint) {
    debug::set(flags);
}

/// Turns off the groups of debug messages in `flags`. Since 4.9.
#[unsafe(no_mangle)]
pub extern "C" fn slirp_reset_debug(flags: c_uint) {
    debug::reset(flags);
}

/// Runs `body` with the instance behind a handle. A NULL handle, and a panic, give `fallback`.
pub(super) fn with<T>(slirp: *mut Slirp, function: &str, fallback: T, body: impl FnOnce(&Instance) -> T) -> T {
    // SAFETY: the callers of the exported functions vouch for the handle.
    match unsafe { Instance::from_handle(slirp) } {
        Some(instance) => calls::within(instance.address(), || fenced(function, fallback, || body(&instance))),
        None => {
            set_errno(errno::EINVAL);
            fallback
        }
    }
}

/// 0, or -1 with errno set.
fn outcome(result: Result<(), c_int>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(errno) => fail(errno),
    }
}

fn protocol(udp: bool) -> Protocol {
    if udp { Protocol::Udp } else { Protocol::Tcp }
}

/// 0 when what was to be removed was there, else -1.
fn found(removed: bool) -> c_int {
    if removed { 0 } else { fail(errno::ENOENT) }
}

/// Sets errno and gives the result of a function that failed.
fn fail(errno: c_int) -> c_int {
    set_errno(errno);
    -1
}

/// The bytes of a C string; `None` for NULL.
///
/// # Safety
/// `text` is NULL or points to a C string that nobody changes during the call.
unsafe fn text<'a>(text: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: the caller vouches for the text.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_bytes())
}

/// A copy of a text for the caller to free: in the C library's memory, as g_free and free expect it.
fn c_string(text: &str) -> *mut c_char {
    let Ok(text) = CString::new(text) else { return std::ptr::null_mut() };
    // SAFETY: the argument is a NUL-terminated string.
    unsafe { libc::strdup(text.as_ptr()) }
}

const _: () = assert!(std::mem::size_of::<slirp_ssize_t>() == std::mem::size_of::<usize>());
