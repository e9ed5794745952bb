//! The C side as `docs/contract/api.md` lays it out: structs, callback types and constants.

use super::system::{self, Socket};
use std::ffi::{c_char, c_int, c_void};

/// The opaque handle.
pub enum Slirp {}

pub const POLL_IN: c_int = 1;
pub const POLL_OUT: c_int = 2;
pub const POLL_PRI: c_int = 4;
pub const POLL_ERR: c_int = 8;
pub const POLL_HUP: c_int = 16;

pub const HOSTFWD_UDP: c_int = 1;
pub const HOSTFWD_V6ONLY: c_int = 2;

/// `SlirpConfig`; addresses in network byte order.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SlirpConfig {
    pub version: u32,
    pub restricted: c_int,
    pub in_enabled: bool,
    pub vnetwork: system::in_addr,
    pub vnetmask: system::in_addr,
    pub vhost: system::in_addr,
    pub in6_enabled: bool,
    pub vprefix_addr6: system::in6_addr,
    pub vprefix_len: u8,
    pub vhost6: system::in6_addr,
    pub vhostname: *const c_char,
    pub tftp_server_name: *const c_char,
    pub tftp_path: *const c_char,
    pub bootfile: *const c_char,
    pub vdhcp_start: system::in_addr,
    pub vnameserver: system::in_addr,
    pub vnameserver6: system::in6_addr,
    pub vdnssearch: *const *const c_char,
    pub vdomainname: *const c_char,
    pub if_mtu: usize,
    pub if_mru: usize,
    pub disable_host_loopback: bool,
    pub enable_emu: bool,
    pub outbound_addr: *const system::sockaddr_in,
    pub outbound_addr6: *const system::sockaddr_in6,
    pub disable_dns: bool,
    pub disable_dhcp: bool,
    pub mfr_id: u32,
    pub oob_eth_addr: [u8; 6],
}

pub type SendPacket = unsafe extern "C" fn(*const c_void, usize, *mut c_void) -> isize;
pub type GuestError = unsafe extern "C" fn(*const c_char, *mut c_void);
pub type ClockGetNs = unsafe extern "C" fn(*mut c_void) -> i64;
pub type TimerCb = unsafe extern "C" fn(*mut c_void);
pub type TimerNew = unsafe extern "C" fn(Option<TimerCb>, *mut c_void, *mut c_void) -> *mut c_void;
pub type TimerFree = unsafe extern "C" fn(*mut c_void, *mut c_void);
pub type TimerMod = unsafe extern "C" fn(*mut c_void, i64, *mut c_void);
pub type PollFd = unsafe extern "C" fn(c_int, *mut c_void);
pub type PollSocket = unsafe extern "C" fn(Socket, *mut c_void);
pub type Notify = unsafe extern "C" fn(*mut c_void);
pub type InitCompleted = unsafe extern "C" fn(*mut Slirp, *mut c_void);
pub type TimerNewOpaque = unsafe extern "C" fn(c_int, *mut c_void, *mut c_void) -> *mut c_void;
pub type AddPoll = unsafe extern "C" fn(c_int, c_int, *mut c_void) -> c_int;
pub type AddPollSocket = unsafe extern "C" fn(Socket, c_int, *mut c_void) -> c_int;
pub type GetRevents = unsafe extern "C" fn(c_int, *mut c_void) -> c_int;
pub type WriteCb = unsafe extern "C" fn(*const c_void, usize, *mut c_void) -> isize;
pub type ReadCb = unsafe extern "C" fn(*mut c_void, usize, *mut c_void) -> isize;

/// `SlirpCb`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct SlirpCb {
    pub send_packet: Option<SendPacket>,
    pub guest_error: Option<GuestError>,
    pub clock_get_ns: Option<ClockGetNs>,
    pub timer_new: Option<TimerNew>,
    pub timer_free: Option<TimerFree>,
    pub timer_mod: Option<TimerMod>,
    pub register_poll_fd: Option<PollFd>,
    pub unregister_poll_fd: Option<PollFd>,
    pub notify: Option<Notify>,
    pub init_completed: Option<InitCompleted>,
    pub timer_new_opaque: Option<TimerNewOpaque>,
    pub register_poll_socket: Option<PollSocket>,
    pub unregister_poll_socket: Option<PollSocket>,
}

#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<SlirpConfig>() == 192);
    assert!(size_of::<SlirpCb>() == 104);
    assert!(std::mem::offset_of!(SlirpConfig, vhostname) == 64);
    assert!(std::mem::offset_of!(SlirpConfig, vdnssearch) == 120);
    assert!(std::mem::offset_of!(SlirpConfig, outbound_addr) == 160);
    assert!(std::mem::offset_of!(SlirpConfig, mfr_id) == 180);
    assert!(std::mem::offset_of!(SlirpCb, register_poll_socket) == 88);
};

/// An IPv6 address in the C form.
pub fn in6_addr(address: &str) -> system::in6_addr {
    system::in6_addr { s6_addr: address.parse::<std::net::Ipv6Addr>().expect("an IPv6 address").octets() }
}

/// An IPv4 address as the ABI passes it.
pub fn in_addr(address: std::net::Ipv4Addr) -> system::in_addr {
    system::in_addr { s_addr: u32::from_ne_bytes(address.octets()) }
}

/// The IPv4 address that the library wrote into an in/out argument.
pub fn from_in_addr(address: system::in_addr) -> std::net::Ipv4Addr {
    address.s_addr.to_ne_bytes().into()
}

pub fn sockaddr_in(address: std::net::SocketAddrV4) -> system::sockaddr_in {
    system::sockaddr_in {
        sin_family: system::AF_INET as _,
        sin_port: address.port().to_be(),
        sin_addr: in_addr(*address.ip()),
        sin_zero: [0; 8],
    }
}
