//! `SlirpConfig` read as far as its version allows. Source: docs/contract/api.md sections 2 and 3.

use std::ffi::{CStr, c_char};
use std::mem::{MaybeUninit, offset_of};
use std::net::{SocketAddrV4, SocketAddrV6};

use super::address::{ipv4, ipv6};
use super::config_file::Settings;
use super::system;
use super::types::{SLIRP_CONFIG_VERSION_MAX, SLIRP_CONFIG_VERSION_MIN, SlirpConfig};
use oxislirp::{Config, ConfigBuilder, ConfigError, ConfigField, NcsiConfig, TftpFiles};

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

/// Reads a configuration and its version. `settings` are added to it.
///
/// # Errors
/// What is wrong with it, for the log.
///
/// # Safety
/// `config` is NULL or points to a structure as long as its version says, whose pointers are NULL or as their comments
/// say.
pub(crate) unsafe fn read(config: *const SlirpConfig, settings: &Settings) -> Result<(Config, u32), String> {
    if config.is_null() {
        return Err("cfg is NULL".into());
    }
    // SAFETY: the version is the first member, which every caller has.
    let version = unsafe { (*config).version };
    if !(SLIRP_CONFIG_VERSION_MIN..=SLIRP_CONFIG_VERSION_MAX).contains(&version) {
        return Err(format!("cfg->version is not one of {SLIRP_CONFIG_VERSION_MIN} to {SLIRP_CONFIG_VERSION_MAX}"));
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

    let config = Config::builder()
        .restricted(c.restricted != 0)
        .ipv4(c.in_enabled.get())
        .ipv6(c.in6_enabled.get())
        .network(ipv4(c.vnetwork), ipv4(c.vnetmask))
        .host(ipv4(c.vhost))
        .name_server(ipv4(c.vnameserver))
        .dhcp_start(ipv4(c.vdhcp_start))
        .network6(ipv6(c.vprefix_addr6), c.vprefix_len)
        .host6(ipv6(c.vhost6))
        .name_server6(ipv6(c.vnameserver6))
        .host_loopback(!c.disable_host_loopback.get())
        .dns(!c.disable_dns.get())
        .dhcp(!c.disable_dhcp.get())
        .ncsi(NcsiConfig::new(c.mfr_id, c.oob_eth_addr))
        .direct_poll(std::env::var_os("OXISLIRP_POLL").is_some_and(|mode| mode == "direct"))
        .handover(std::env::var_os("OXISLIRP_HANDOVER").is_none_or(|mode| mode != "off"));
    // SAFETY: the caller vouches for the list.
    let config = config.search(unsafe { list(c.vdnssearch) });
    // SAFETY: the caller vouches for the addresses, which are read here and not kept.
    let config = config.outbound(unsafe { c.outbound_addr.as_ref() }.map(|address| {
        let port = u16::from_be(address.sin_port);
        SocketAddrV4::new(ipv4(address.sin_addr), port)
    }));
    // SAFETY: as above.
    let config = config.outbound6(unsafe { c.outbound_addr6.as_ref() }.map(|address| {
        let port = u16::from_be(address.sin6_port);
        SocketAddrV6::new(ipv6(address.sin6_addr), port, address.sin6_flowinfo, address.sin6_scope_id)
    }));
    let config = given(config, (c.if_mtu != 0).then_some(c.if_mtu), ConfigBuilder::mtu);
    let config = given(config, (c.if_mru != 0).then_some(c.if_mru), ConfigBuilder::mru);
    // SAFETY: the caller vouches for the strings.
    let config = unsafe {
        let config = given(config, string(c.vhostname), ConfigBuilder::host_name);
        let config = given(config, string(c.vdomainname), ConfigBuilder::domain);
        let config = given(config, string(c.tftp_server_name), ConfigBuilder::tftp_server_name);
        let config = given(config, string(c.bootfile), ConfigBuilder::boot_file);
        let directory = string(c.tftp_path).map(|path| TftpFiles::Directory(system::path_of(path)));
        given(config, directory, ConfigBuilder::tftp)
    };
    let config = settings.apply(config).build_lenient().map_err(|error| reason(&error))?;
    Ok((config, version))
}

/// A configuration with what an application has given, where it has given it.
fn given<T>(
    config: ConfigBuilder,
    value: Option<T>,
    set: impl FnOnce(ConfigBuilder, T) -> ConfigBuilder,
) -> ConfigBuilder {
    match value {
        Some(value) => set(config, value),
        None => config,
    }
}

/// What is wrong, in the words of `SlirpConfig`.
fn reason(error: &ConfigError) -> String {
    let member = |field: ConfigField| match field {
        ConfigField::Mtu => "cfg->if_mtu",
        ConfigField::Mru => "cfg->if_mru",
        ConfigField::BootFile => "cfg->bootfile",
        other => other.name(),
    };
    match error {
        ConfigError::OutOfRange { field, least, most, .. } => {
            format!("{} is not 0 or {least} to {most}", member(*field))
        }
        ConfigError::TooLong { field, most, .. } => format!("{} is longer than {most} bytes", member(*field)),
        other => other.to_string(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What an application gives that knows of nothing.
    fn nothing() -> SlirpConfig {
        // SAFETY: all zero bytes are a value of this structure.
        let mut config: SlirpConfig = unsafe { std::mem::zeroed() };
        config.version = SLIRP_CONFIG_VERSION_MAX;
        config
    }

    fn refusal(change: impl FnOnce(&mut SlirpConfig)) -> String {
        let mut config = nothing();
        change(&mut config);
        // SAFETY: the structure is whole, and its strings live until the call is over.
        unsafe { read(&raw const config, &Settings::default()) }.unwrap_err()
    }

    #[test]
    fn refusals_are_in_the_words_of_the_structure() {
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { read(std::ptr::null(), &Settings::default()) }.unwrap_err(), "cfg is NULL");
        assert_eq!(refusal(|config| config.version = 7), "cfg->version is not one of 1 to 6");
        assert_eq!(refusal(|config| config.if_mtu = 67), "cfg->if_mtu is not 0 or 68 to 65521");
        assert_eq!(refusal(|config| config.if_mtu = 65522), "cfg->if_mtu is not 0 or 68 to 65521");
        assert_eq!(refusal(|config| config.if_mru = 67), "cfg->if_mru is not 0 or 68 to 65521");
        let name = std::ffi::CString::new([b'x'; 128]).unwrap();
        assert_eq!(refusal(|config| config.bootfile = name.as_ptr()), "cfg->bootfile is longer than 127 bytes");
    }

    /// No family, no addresses, a prefix of 255 bits: libslirp takes it, as a test program of its own does.
    #[test]
    fn what_no_guest_could_work_with_is_taken() {
        let long = std::ffi::CString::new([b'x'; 300]).unwrap();
        let mut config = nothing();
        config.vprefix_len = 255;
        (config.vhostname, config.vdomainname, config.tftp_server_name) = (long.as_ptr(), long.as_ptr(), long.as_ptr());
        // SAFETY: the structure is whole, and its strings live until the call is over.
        let (taken, version) = unsafe { read(&raw const config, &Settings::default()) }.unwrap();
        assert_eq!((version, taken.mtu(), taken.has_ipv4(), taken.has_ipv6()), (6, 1500, false, false));
        assert!(taken.network4().host.is_unspecified() && taken.network6().prefix_len == 255);
        assert!(oxislirp::Stack::new(taken).is_ok());
    }
}
