//! The exported functions. Their signatures and comments are the source of `libslirp.h`.
//!
//! Safety of all of them: a pointer argument is NULL where the comment allows it, or it points to what its type says for
//! the time that the comment says; a `Slirp` pointer comes from `slirp_new` and was not given to `slirp_cleanup` before.
//! The comments speak to C programmers, so they have no `# Safety` heading of their own.
//!
//! Source of the behaviour: contract/api.md sections 1 and 2.
#![allow(clippy::missing_safety_doc)]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

use libc::{in_addr, in6_addr, sockaddr, socklen_t};

use super::types::{
    CBool, RawTimerId, Slirp, SlirpAddPollCb, SlirpAddPollSocketCb, SlirpCb, SlirpConfig, SlirpGetREventsCb,
    SlirpReadCb, SlirpWriteCb, slirp_ssize_t,
};

/// The version of the interface that this library implements, as `slirp_version_string` reports it.
/// cbindgen:ignore
pub const VERSION_STRING: &CStr = c"4.9.5";

/// The version of the saved state that `slirp_state_save` writes.
/// cbindgen:ignore
pub const STATE_VERSION: c_int = 4;

/// Creates an instance of the network stack.
///
/// `callbacks` may be NULL, as may be each of its members. Both structures may be freed after the call, except for what
/// `outbound_addr` and `outbound_addr6` point to. `opaque` is handed to every callback. Before the function returns it
/// calls `init_completed` and, when IPv6 is enabled, creates and sets the timer; it sends no frame.
///
/// The environment variable SLIRP_DEBUG is read when the first instance of a process is created.
///
/// Returns the instance, or NULL (with a message in the log) when `cfg` is NULL, its version is unknown, `if_mtu` or
/// `if_mru` is out of range, or `bootfile` is longer than 127 bytes, with errno EINVAL; or with the errno of the system
/// when it lacks a resource. Since 4.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_new(
    cfg: *const SlirpConfig,
    callbacks: *const SlirpCb,
    opaque: *mut c_void,
) -> *mut Slirp {
    let _ = (cfg, callbacks, opaque);
    std::ptr::null_mut()
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
    let _ = (restricted, in_enabled, vnetwork, vnetmask, vhost, in6_enabled, vprefix_addr6, vprefix_len, vhost6);
    let _ = (vhostname, tftp_server_name, tftp_path, bootfile, vdhcp_start, vnameserver, vnameserver6, vdnssearch);
    let _ = (vdomainname, callbacks, opaque);
    std::ptr::null_mut()
}

/// Frees an instance and closes its sockets. Each socket is unregistered first (UDP, then TCP, then ICMP), then the
/// timer is freed. Nothing is sent to the guest. NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_cleanup(slirp: *mut Slirp) {
    let _ = slirp;
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
    let _ = (slirp, timeout, add_poll, opaque);
}

/// As `slirp_pollfds_fill`, with a callback that can take every socket on every platform. Since 4.9.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_pollfds_fill_socket(
    slirp: *mut Slirp,
    timeout: *mut u32,
    add_poll: SlirpAddPollSocketCb,
    opaque: *mut c_void,
) {
    let _ = (slirp, timeout, add_poll, opaque);
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
    let _ = (slirp, select_error, get_revents, opaque);
}

/// Takes one Ethernet frame of `pkt_len` bytes, without frame check sequence, from the guest. The frame is only read
/// during the call. A frame shorter than its header, or one that makes no sense, is dropped. Callbacks can be called
/// before the function returns. NULL instead of an instance or a frame does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_input(slirp: *mut Slirp, pkt: *const u8, pkt_len: c_int) {
    let _ = (slirp, pkt, pkt_len);
}

/// The application calls this when a timer made by `timer_new_opaque` expires, with the `id` and `cb_opaque` it was
/// made with. An unknown id is logged and ignored. NULL instead of an instance does nothing. Since 4.7.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_handle_timer(slirp: *mut Slirp, id: RawTimerId, cb_opaque: *mut c_void) {
    let _ = (slirp, id, cb_opaque);
}

/// Forwards an IPv4 TCP port (UDP when `is_udp` is not zero) of the host to the guest.
///
/// `host_addr` is 0.0.0.0 for all addresses of the host; `host_port` is 0 for a free port, which
/// `slirp_connection_info` shows. `guest_addr` is 0.0.0.0 for the first DHCP address. Ports are in host byte order.
///
/// Returns 0, or -1 with errno: that of the system call that failed, such as EADDRINUSE, EADDRNOTAVAIL or EACCES, or
/// EINVAL for a port that is none or for a NULL instance.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_add_hostfwd(
    slirp: *mut Slirp,
    is_udp: c_int,
    host_addr: in_addr,
    host_port: c_int,
    guest_addr: in_addr,
    guest_port: c_int,
) -> c_int {
    let _ = (slirp, is_udp, host_addr, host_port, guest_addr, guest_port);
    fail(libc::ENOSYS)
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
    let _ = (slirp, is_udp, host_addr, host_port);
    fail(libc::ENOSYS)
}

/// Forwards a port of the host to the guest for any address family.
///
/// `haddr` is where to listen: IPv4, IPv6, or the path of a Unix stream socket, which must not exist yet and is not
/// removed later. `gaddr` is the guest's address: IPv4 (0.0.0.0 for the first DHCP address) or IPv6 (:: for the first
/// neighbor that is known when a client comes). `flags` combines `SLIRP_HOSTFWD_UDP` and `SLIRP_HOSTFWD_V6ONLY`.
///
/// Returns 0, or -1 with errno: that of the system call that failed, EINVAL when an address is too short or NULL, or
/// EAFNOSUPPORT for a family or a combination of families that cannot work. Since 4.5.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_add_hostxfwd(
    slirp: *mut Slirp,
    haddr: *const sockaddr,
    haddrlen: socklen_t,
    gaddr: *const sockaddr,
    gaddrlen: socklen_t,
    flags: c_int,
) -> c_int {
    let _ = (slirp, haddr, haddrlen, gaddr, gaddrlen, flags);
    fail(libc::ENOSYS)
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
    let _ = (slirp, haddr, haddrlen, flags);
    fail(libc::ENOSYS)
}

/// Connects a TCP port of the virtual network to a command: each connection of the guest starts it once, with its
/// standard input, output and error output on the connection.
///
/// `cmdline` is split as a shell does with quotes and backslashes, without any expansion, and the program is searched in
/// PATH. `*guest_addr` is an address inside the virtual network; 0.0.0.0 is replaced by the default (host part 0.0.2.4)
/// and written back.
///
/// Returns 0, or -1 when the address is outside the network, is the DNS service, or is taken.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_add_exec(
    slirp: *mut Slirp,
    cmdline: *const c_char,
    guest_addr: *mut in_addr,
    guest_port: c_int,
) -> c_int {
    let _ = (slirp, cmdline, guest_addr, guest_port);
    fail(libc::ENOSYS)
}

/// Connects a TCP port of the virtual network to a Unix stream socket of the host: each connection of the guest becomes
/// a connection to the path `unixsock`. Address and result as for `slirp_add_exec`. Since 4.2.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_add_unix(
    slirp: *mut Slirp,
    unixsock: *const c_char,
    guest_addr: *mut in_addr,
    guest_port: c_int,
) -> c_int {
    let _ = (slirp, unixsock, guest_addr, guest_port);
    fail(libc::ENOSYS)
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
    let _ = (slirp, write_cb, opaque, guest_addr, guest_port);
    fail(libc::ENOSYS)
}

/// Ends what `slirp_add_exec`, `slirp_add_unix` or `slirp_add_guestfwd` set up. Connections stay.
///
/// Returns 0, or -1 when there is nothing at this address and port. Since 4.2.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_remove_guestfwd(slirp: *mut Slirp, guest_addr: in_addr, guest_port: c_int) -> c_int {
    let _ = (slirp, guest_addr, guest_port);
    fail(libc::ENOSYS)
}

/// Tells how many bytes one `slirp_socket_recv` to this guest forward may carry now. It is 0 when the guest has no
/// connection to it, or when enough is waiting already; `notify` tells when that has changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_socket_can_recv(slirp: *mut Slirp, guest_addr: in_addr, guest_port: c_int) -> usize {
    let _ = (slirp, guest_addr, guest_port);
    0
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
    let _ = (slirp, guest_addr, guest_port, buf, size);
}

/// Lists the connections and forwards as a table for people. Returns text from `malloc` that the caller frees with
/// `free`, or NULL when there is no memory or no instance.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_connection_info(slirp: *mut Slirp) -> *mut c_char {
    let _ = slirp;
    std::ptr::null_mut()
}

/// Lists the known neighbors (ARP and NDP) as a table for people. Returns text from `malloc` that the caller frees with
/// `free`, or NULL when there is no memory or no instance. Since 4.5.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_neighbor_info(slirp: *mut Slirp) -> *mut c_char {
    let _ = slirp;
    std::ptr::null_mut()
}

/// Saves the state that a guest would miss after migration: connections to guest forwards of the application, and the
/// DHCP leases. It is written through `write_cb` (with `opaque`) in many small pieces, in the format of
/// `slirp_state_version`.
///
/// Returns 0, or a negative errno value when it could not be written. (Before 4.8 there was no result.)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slirp_state_save(slirp: *mut Slirp, write_cb: SlirpWriteCb, opaque: *mut c_void) -> c_int {
    let _ = (slirp, write_cb, opaque);
    -libc::ENOSYS
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
    let _ = (slirp, version_id, read_cb, opaque);
    -libc::ENOSYS
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
    let _ = flags;
}

/// Turns off the groups of debug messages in `flags`. Since 4.9.
#[unsafe(no_mangle)]
pub extern "C" fn slirp_reset_debug(flags: c_uint) {
    let _ = flags;
}

/// Sets errno and gives the result of a function that failed.
fn fail(errno: c_int) -> c_int {
    // SAFETY: the C library returns a pointer to errno of the calling thread, which is valid as long as the thread.
    unsafe { *libc::__errno_location() = errno };
    -1
}

const _: () = assert!(std::mem::size_of::<slirp_ssize_t>() == std::mem::size_of::<usize>());
