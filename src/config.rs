//! `SlirpConfig` read as far as its version allows. Source: docs/contract/api.md sections 2 and 3.

use std::ffi::{CStr, c_char};
use std::mem::{MaybeUninit, offset_of};
use std::net::{SocketAddrV4, SocketAddrV6};

use super::address::{ipv4, ipv6};
use super::types::{SLIRP_CONFIG_VERSION_MAX, SLIRP_CONFIG_VERSION_MIN, SlirpConfig};
use oxislirp::{Config, NcsiConfig};

/// MTU and MRU that stand for 0, in bytes.
const DEFAULT_MTU: usize = 1500;
/// Bounds of MTU and MRU, in bytes.
const MTU_RANGE: std::ops::RangeInclusive<usize> = 68..=65521;
/// A boot file's name has to fit into the field of a BOOTP reply with its NUL.
const BOOTFILE_MAX: usize = 127;
/// What option 12 holds of a host name; source: docs/contract/dhcp.md.
const HOSTNAME_MAX: usize = 32;

/// How many bytes of the structure an application of this version has.
fn config_length(version: u32) -> usize {
    match version {
        ..2 => offset_of!(SlirpConfig, outbound_addr),
        2 => offset_of!(SlirpConfig, disable_dns),
        3 => offset_of!(SlirpConfig, disable_dhcp),
        4 => offset_of!(SlirpConfig, mfr_id),
        5.. => size_of::<SlirpConfig>(),
    }
}

/// Reads a configuration and its version.
///
/// # Errors
/// What is wrong with it, for the log.
///
/// # Safety
/// `config` is NULL or points to a structure as long as its version says, whose pointers are NULL or as their comments
/// say.
pub(crate) unsafe fn read(config: *const SlirpConfig) -> Result<(Config, u32), &'static str> {
    if config.is_null() {
        return Err("cfg is NULL");
    }
    // SAFETY: the version is the first member, which every caller has.
    let version = unsafe { (*config).version };
    if !(SLIRP_CONFIG_VERSION_MIN..=SLIRP_CONFIG_VERSION_MAX).contains(&version) {
        return Err("cfg->version is not one of 1 to 6");
    }
    let mut copy = MaybeUninit::<SlirpConfig>::zeroed();
    // SAFETY: the caller vouches for as many bytes as the version has, and no version is longer than the structure.
    unsafe {
        std::ptr::copy_nonoverlapping(
            config.cast::<u8>(),
            copy.as_mut_ptr().cast::<u8>(),
            config_length(version).min(size_of::<SlirpConfig>()),
        );
    }
    // SAFETY: every member takes any bit pattern (flags are bytes, not Rust bools), so the copy is a value.
    let c = unsafe { copy.assume_init() };

    let mtu = if c.if_mtu == 0 { DEFAULT_MTU } else { c.if_mtu };
    let mru = if c.if_mru == 0 { DEFAULT_MTU } else { c.if_mru };
    if !MTU_RANGE.contains(&mtu) {
        return Err("cfg->if_mtu is not 0 or 68 to 65521");
    }
    if !MTU_RANGE.contains(&mru) {
        return Err("cfg->if_mru is not 0 or 68 to 65521");
    }
    // SAFETY: the caller vouches for the strings.
    let (hostname, tftp_server_name, tftp_path, bootfile, domain) = unsafe {
        (
            string(c.vhostname),
            string(c.tftp_server_name),
            string(c.tftp_path),
            string(c.bootfile),
            string(c.vdomainname),
        )
    };
    if bootfile.as_ref().is_some_and(|name| name.len() > BOOTFILE_MAX) {
        return Err("cfg->bootfile is longer than 127 bytes");
    }
    let config = Config {
        restricted: c.restricted != 0,
        ipv4_enabled: c.in_enabled.get(),
        ipv6_enabled: c.in6_enabled.get(),
        network: ipv4(c.vnetwork),
        netmask: ipv4(c.vnetmask),
        vhost: ipv4(c.vhost),
        vnameserver: ipv4(c.vnameserver),
        dhcp_start: ipv4(c.vdhcp_start),
        prefix6: ipv6(c.vprefix_addr6),
        prefix6_len: c.vprefix_len,
        vhost6: ipv6(c.vhost6),
        vnameserver6: ipv6(c.vnameserver6),
        hostname: hostname.map(|mut name| {
            name.truncate(HOSTNAME_MAX);
            name
        }),
        domain,
        tftp_server_name,
        tftp_path,
        bootfile,
        // SAFETY: the caller vouches for the list.
        search: unsafe { list(c.vdnssearch) },
        mtu,
        mru,
        disable_host_loopback: c.disable_host_loopback.get(),
        disable_dns: c.disable_dns.get(),
        disable_dhcp: c.disable_dhcp.get(),
        // SAFETY: the caller vouches for the addresses, which are read here and not kept.
        outbound4: unsafe { c.outbound_addr.as_ref() }
            .map(|address| SocketAddrV4::new(ipv4(address.sin_addr), u16::from_be(address.sin_port))),
        // SAFETY: as above.
        outbound6: unsafe { c.outbound_addr6.as_ref() }.map(|address| {
            let port = u16::from_be(address.sin6_port);
            SocketAddrV6::new(ipv6(address.sin6_addr), port, address.sin6_flowinfo, address.sin6_scope_id)
        }),
        ncsi: NcsiConfig { manufacturer: c.mfr_id, oob_address: c.oob_eth_addr },
        direct_poll: std::env::var_os("OXISLIRP_POLL").is_some_and(|mode| mode == "direct"),
        handover: std::env::var_os("OXISLIRP_HANDOVER").is_none_or(|mode| mode != "off"),
        tcp_keep_alive: None,
    };
    Ok((config, version))
}

/// A copy of a C string.
///
/// # Safety
/// The pointer is NULL or to a NUL-terminated string.
unsafe fn string(pointer: *const c_char) -> Option<Vec<u8>> {
    // SAFETY: checked for NULL; the caller vouches for the rest.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_bytes().to_vec())
}

/// A copy of a NULL-terminated list of C strings.
///
/// # Safety
/// The pointer is NULL or to such a list.
unsafe fn list(pointer: *mut *const c_char) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    if pointer.is_null() {
        return names;
    }
    // SAFETY: the list is read up to its NULL, and each of its strings by `string`.
    unsafe {
        while let Some(name) = string(*pointer.add(names.len())) {
            names.push(name);
        }
    }
    names
}
