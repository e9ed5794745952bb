//! The C types of the public interface: configuration, callback table, constants. The header `libslirp.h` is generated
//! from this file and from `exports.rs`, so every comment here is also what a C programmer reads.
//!
//! Layouts equal docs/contract/api.md sections 3 and 4; `compat-tests/c/layout.c` checks them from C.

use std::ffi::{c_char, c_int, c_uint, c_void};

use super::sockets::{in_addr, in6_addr, sockaddr_in, sockaddr_in6};

/// Number of bytes, or a negative value for an error. It is `ssize_t` where POSIX is.
#[allow(non_camel_case_types)]
pub type slirp_ssize_t = isize;

/// A socket of the host: a file descriptor, on Windows a `SOCKET` handle.
#[cfg(not(windows))]
#[allow(non_camel_case_types)]
pub type slirp_os_socket = c_int;
/// A socket of the host: a file descriptor, on Windows a `SOCKET` handle.
#[cfg(windows)]
#[allow(non_camel_case_types)]
pub type slirp_os_socket = usize;

/// A C `bool` that came from outside. It is a byte here, because a Rust `bool` that is neither 0 nor 1 would be
/// undefined behaviour, and nothing forces a C program to initialise its padding and flags well. The header calls it
/// `bool`.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CBool(u8);

impl CBool {
    /// True for every byte that is not zero.
    pub const fn get(self) -> bool {
        self.0 != 0
    }
}

impl From<bool> for CBool {
    fn from(value: bool) -> Self {
        CBool(u8::from(value))
    }
}

/// A `SlirpTimerId` that came from outside: any value can arrive, so it is a number here. The header calls it
/// `SlirpTimerId`.
pub type RawTimerId = c_uint;

/// Lowest `SlirpConfig.version` that `slirp_new` accepts.
pub const SLIRP_CONFIG_VERSION_MIN: u32 = 1;
/// Highest `SlirpConfig.version` that `slirp_new` accepts. It is the version that this header describes.
pub const SLIRP_CONFIG_VERSION_MAX: u32 = 6;

/// Flag of the hostxfwd functions: the forward is for UDP instead of TCP.
pub const SLIRP_HOSTFWD_UDP: c_int = 1;
/// Flag of `slirp_add_hostxfwd`: an IPv6 listener takes no IPv4 clients, so that an IPv4 listener can have the same
/// port.
pub const SLIRP_HOSTFWD_V6ONLY: c_int = 2;

/// cbindgen:ignore
pub const POLL_IN: c_int = SlirpPoll::In as c_int;
/// cbindgen:ignore
pub const POLL_OUT: c_int = SlirpPoll::Out as c_int;
/// cbindgen:ignore
pub const POLL_PRI: c_int = SlirpPoll::Pri as c_int;
/// cbindgen:ignore
pub const POLL_ERR: c_int = SlirpPoll::Err as c_int;
/// cbindgen:ignore
pub const POLL_HUP: c_int = SlirpPoll::Hup as c_int;

/// What to wait for on a descriptor, and what has happened on it. The values can be combined with `|`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlirpPoll {
    /// Data can be read, or a listener has a new connection.
    In = 1 << 0,
    /// Data can be written, or a connection attempt has finished.
    Out = 1 << 1,
    /// Urgent (out-of-band) data can be read.
    Pri = 1 << 2,
    /// The descriptor has an error. It can be reported without being asked for.
    Err = 1 << 3,
    /// The other side has hung up. It can be reported without being asked for.
    Hup = 1 << 4,
}

/// Groups of debug messages for `slirp_set_debug` and `slirp_reset_debug`. The values can be combined with `|`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlirpDbg {
    /// Frames and segments as they pass.
    Call = 1 << 0,
    /// Forwards, sessions and other events.
    Misc = 1 << 1,
    /// Errors of the host system and of the guest's frames.
    Error = 1 << 2,
    /// The TFTP server.
    Tftp = 1 << 3,
    /// Everything that happens for each frame, in detail.
    VerboseCall = 1 << 4,
}

/// cbindgen:rename-all=ScreamingSnakeCase
/// The timers that the library asks the application for.
#[repr(C)]
#[allow(clippy::enum_variant_names)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlirpTimerId {
    /// Time to send the next Router Advertisement (RFC 4861 section 6.2.4).
    SlirpTimerRa,
    /// How many timers there are; not a timer itself.
    SlirpTimerNum,
}

/// One instance of the network stack. It is created by `slirp_new` and freed by `slirp_cleanup`; its contents are
/// private.
pub struct Slirp {
    _private: [u8; 0],
}

/// Gives the library bytes of a saved state: fills up to `len` bytes at `buf`. Returns the number of bytes given, 0 at
/// the end, negative for an error.
pub type SlirpReadCb = Option<unsafe extern "C" fn(buf: *mut c_void, len: usize, opaque: *mut c_void) -> slirp_ssize_t>;

/// Takes `len` bytes at `buf` from the library; they are valid only during the call. Returns the number of bytes
/// taken, negative for an error.
pub type SlirpWriteCb =
    Option<unsafe extern "C" fn(buf: *const c_void, len: usize, opaque: *mut c_void) -> slirp_ssize_t>;

/// The application calls this when a timer made by `timer_new` expires; `opaque` is the `cb_opaque` of `timer_new`.
pub type SlirpTimerCb = Option<unsafe extern "C" fn(opaque: *mut c_void)>;

/// Asks the application to wait for `events` (`SLIRP_POLL_*` values) on the descriptor `fd`. Returns an index of the
/// application's choice that stands for this descriptor until the next fill, or -1 when it cannot wait for it.
pub type SlirpAddPollCb = Option<unsafe extern "C" fn(fd: c_int, events: c_int, opaque: *mut c_void) -> c_int>;

/// As `SlirpAddPollCb`, with a type that can hold every socket on every platform. Since 4.9.
pub type SlirpAddPollSocketCb =
    Option<unsafe extern "C" fn(fd: slirp_os_socket, events: c_int, opaque: *mut c_void) -> c_int>;

/// Asks the application what has happened (`SLIRP_POLL_*` values) on the descriptor for which the last fill got the
/// index `idx`.
pub type SlirpGetREventsCb = Option<unsafe extern "C" fn(idx: c_int, opaque: *mut c_void) -> c_int>;

/// The functions that the library calls. The `opaque` argument of each is the one given to `slirp_new`.
///
/// Any member may be NULL; the library then does without that call. Members are read at `slirp_new`, and only those
/// that exist in the `SlirpConfig.version` of the caller, so the structure of an older program may be shorter.
///
/// A callback may call back into the library; the effect of such a call can be delayed until the outer call returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SlirpCb {
    /// Takes one Ethernet frame of `len` bytes, without frame check sequence, for the guest. The frame is valid only
    /// during the call. A frame that the guest cannot take now may be dropped. Returns the number of bytes taken, or a
    /// negative value for an error, which the library logs; it never sends the frame again by itself.
    pub send_packet: SlirpWriteCb,
    /// Takes a message (UTF-8 without line end, valid only during the call) about a mistake of the guest.
    pub guest_error: Option<unsafe extern "C" fn(msg: *const c_char, opaque: *mut c_void)>,
    /// Returns the time in nanoseconds of the clock by which the guest lives. Only differences matter. The clock may
    /// stand still, for example while a virtual machine is paused.
    pub clock_get_ns: Option<unsafe extern "C" fn(opaque: *mut c_void) -> i64>,
    /// Creates a timer that calls `cb(cb_opaque)` when it expires, and returns a handle of any value. Used only when
    /// IPv6 is enabled and `timer_new_opaque` is missing.
    pub timer_new:
        Option<unsafe extern "C" fn(cb: SlirpTimerCb, cb_opaque: *mut c_void, opaque: *mut c_void) -> *mut c_void>,
    /// Frees the timer with this handle.
    pub timer_free: Option<unsafe extern "C" fn(timer: *mut c_void, opaque: *mut c_void)>,
    /// Sets the timer to expire at `expire_time`, in milliseconds of the clock of `clock_get_ns`.
    pub timer_mod: Option<unsafe extern "C" fn(timer: *mut c_void, expire_time: i64, opaque: *mut c_void)>,
    /// Tells that the library is going to ask for polling of this descriptor. Used when `register_poll_socket` is
    /// missing.
    pub register_poll_fd: Option<unsafe extern "C" fn(fd: c_int, opaque: *mut c_void)>,
    /// Tells that this descriptor is about to be closed. Used when `unregister_poll_socket` is missing.
    pub unregister_poll_fd: Option<unsafe extern "C" fn(fd: c_int, opaque: *mut c_void)>,
    /// Asks for a new round of `slirp_pollfds_fill` and `slirp_pollfds_poll` soon, because something has changed:
    /// there is data to send to the host, or `slirp_socket_can_recv` has become non-zero.
    pub notify: Option<unsafe extern "C" fn(opaque: *mut c_void)>,

    /// Gives the application its handle before `slirp_new` returns, and before the first timer is created.
    /// Since configuration version 4.
    pub init_completed: Option<unsafe extern "C" fn(slirp: *mut Slirp, opaque: *mut c_void)>,
    /// Creates a timer for which the application calls `slirp_handle_timer(slirp, id, cb_opaque)` when it expires, and
    /// returns a handle of any value. Preferred to `timer_new`. Since configuration version 4.
    pub timer_new_opaque:
        Option<unsafe extern "C" fn(id: RawTimerId, cb_opaque: *mut c_void, opaque: *mut c_void) -> *mut c_void>,

    /// As `register_poll_fd`, which it replaces when it is not NULL. Since configuration version 6.
    pub register_poll_socket: Option<unsafe extern "C" fn(socket: slirp_os_socket, opaque: *mut c_void)>,
    /// As `unregister_poll_fd`, which it replaces when it is not NULL. Since configuration version 6.
    pub unregister_poll_socket: Option<unsafe extern "C" fn(socket: slirp_os_socket, opaque: *mut c_void)>,
}

/// What `slirp_new` is to build.
///
/// Addresses are in network byte order. The library reads only the members that exist in the given `version`, so the
/// structure of an older program may be shorter. Strings and lists are copied by `slirp_new`. A program should set the
/// whole structure to zero first and then fill in what it wants.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SlirpConfig {
    /// The version of this structure and of `SlirpCb`: `SLIRP_CONFIG_VERSION_MIN` to `SLIRP_CONFIG_VERSION_MAX`.
    pub version: u32,
    /// Not zero: the guest reaches nothing but the virtual services and the forwards that were added.
    pub restricted: c_int,
    /// The guest has IPv4.
    pub in_enabled: CBool,
    /// Address of the virtual IPv4 network, such as 10.0.2.0.
    pub vnetwork: in_addr,
    /// Mask of the virtual IPv4 network, such as 255.255.255.0.
    pub vnetmask: in_addr,
    /// IPv4 address by which the guest reaches the host; also its router and its DHCP server. Such as 10.0.2.2.
    pub vhost: in_addr,
    /// The guest has IPv6.
    pub in6_enabled: CBool,
    /// Prefix of the virtual IPv6 network, such as fec0::.
    pub vprefix_addr6: in6_addr,
    /// Length of that prefix in bits, such as 64.
    pub vprefix_len: u8,
    /// IPv6 address by which the guest reaches the host, such as fec0::2.
    pub vhost6: in6_addr,
    /// Host name that DHCP gives to the guest, of which 32 bytes are used, or NULL.
    pub vhostname: *const c_char,
    /// Name or address of the TFTP server that DHCP announces, or NULL.
    pub tftp_server_name: *const c_char,
    /// Directory that the TFTP server offers for reading, or NULL for none.
    pub tftp_path: *const c_char,
    /// Name of the boot file that DHCP announces, at most 127 bytes, or NULL.
    pub bootfile: *const c_char,
    /// First of the 16 IPv4 addresses that DHCP gives out, such as 10.0.2.15.
    pub vdhcp_start: in_addr,
    /// IPv4 address of the virtual DNS server, such as 10.0.2.3.
    pub vnameserver: in_addr,
    /// IPv6 address of the virtual DNS server, such as fec0::3.
    pub vnameserver6: in6_addr,
    /// List of domains, ended by NULL, in which the guest is told to search names, or NULL.
    pub vdnssearch: *mut *const c_char,
    /// Domain name that DHCP gives to the guest, or NULL.
    pub vdomainname: *const c_char,
    /// Largest IP packet sent to the guest, in bytes: 68 to 65521, or 0 for 1500.
    pub if_mtu: usize,
    /// Largest IP packet expected from the guest, in bytes: 68 to 65521, or 0 for 1500.
    pub if_mru: usize,
    /// The guest cannot reach the loopback addresses of the host through `vhost` and `vhost6`.
    pub disable_host_loopback: CBool,
    /// Rewrite addresses inside old protocols (such as FTP) that carry them. Best left off.
    pub enable_emu: CBool,

    /// Address from which connections leave the host, or NULL for the choice of the system. Copied by `slirp_new`.
    /// Since configuration version 2.
    pub outbound_addr: *mut sockaddr_in,
    /// The same for IPv6. Since configuration version 2.
    pub outbound_addr6: *mut sockaddr_in6,

    /// The virtual DNS servers do not answer. Since configuration version 3.
    pub disable_dns: CBool,

    /// DHCP and BOOTP (IPv4) do not answer. Since configuration version 4.
    pub disable_dhcp: CBool,

    /// Manufacturer id that NC-SI reports, in host byte order. Since configuration version 5.
    pub mfr_id: u32,
    /// Ethernet address of the management controller that NC-SI reports. Since configuration version 5.
    pub oob_eth_addr: [u8; 6],
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::*;

    /// A place with pointers of 64 bits, or with such of 32.
    fn at(wide: usize, narrow: usize) -> usize {
        if cfg!(target_pointer_width = "64") { wide } else { narrow }
    }

    #[test]
    fn config_has_the_layout_of_the_interface() {
        assert_eq!(size_of::<SlirpConfig>(), at(192, 148));
        assert_eq!(offset_of!(SlirpConfig, in_enabled), 8);
        // An address of IPv6 is made of words that have two bytes on Windows, and four elsewhere.
        let addresses = [
            offset_of!(SlirpConfig, vprefix_addr6),
            offset_of!(SlirpConfig, vprefix_len),
            offset_of!(SlirpConfig, vhost6),
        ];
        assert_eq!(addresses, if cfg!(windows) { [26, 42, 44] } else { [28, 44, 48] });
        assert_eq!(offset_of!(SlirpConfig, vhostname), 64);
        assert_eq!(offset_of!(SlirpConfig, vnameserver6), at(104, 88));
        assert_eq!(offset_of!(SlirpConfig, if_mtu), at(136, 112));
        // The offset of the first member of a version is the size that the version before may stop at.
        assert_eq!(offset_of!(SlirpConfig, outbound_addr), at(160, 124));
        assert_eq!(offset_of!(SlirpConfig, disable_dns), at(176, 132));
        assert_eq!(offset_of!(SlirpConfig, disable_dhcp), at(177, 133));
        assert_eq!(offset_of!(SlirpConfig, mfr_id), at(180, 136));
        assert_eq!(offset_of!(SlirpConfig, oob_eth_addr), at(184, 140));
    }

    #[test]
    fn callback_table_has_the_layout_of_the_interface() {
        assert_eq!(size_of::<SlirpCb>(), at(104, 52));
        assert_eq!(offset_of!(SlirpCb, timer_new), at(24, 12));
        assert_eq!(offset_of!(SlirpCb, init_completed), at(72, 36));
        assert_eq!(offset_of!(SlirpCb, timer_new_opaque), at(80, 40));
        assert_eq!(offset_of!(SlirpCb, register_poll_socket), at(88, 44));
    }

    #[test]
    fn any_byte_is_a_truth_value() {
        assert!(!CBool(0).get());
        assert!(CBool(1).get());
        assert!(CBool(0x80).get());
        assert_eq!(CBool::from(true), CBool(1));
    }
}
