//! Addresses as C has them.

use std::mem::{offset_of, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::sockets::{
    AF_INET, AF_INET6, AF_UNIX, in_addr, in6_addr, sa_family_t, sockaddr, sockaddr_in, sockaddr_in6, sockaddr_un,
    socklen_t,
};
use super::system::{errno, errno_of};

use oxislirp::{ListenAddress, UnixAddress};

/// The address of a C `in_addr`, which is in network byte order.
pub(crate) fn ipv4(address: in_addr) -> Ipv4Addr {
    Ipv4Addr::from(address.s_addr.to_ne_bytes())
}

/// The C form of an address.
pub(crate) fn to_in_addr(address: Ipv4Addr) -> in_addr {
    in_addr { s_addr: u32::from_ne_bytes(address.octets()) }
}

/// The address that a text stands for by the rules of `inet_aton`: one to four numbers, decimal, octal (0) or hexadecimal
/// (0x), of which the last takes all bytes that are left.
#[cfg(any(windows, test))]
pub(crate) fn parse_ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    let text = std::str::from_utf8(text).ok()?;
    let number = |part: &str| {
        let (digits, radix) = match part.strip_prefix("0x").or(part.strip_prefix("0X")) {
            Some(digits) => (digits, 16),
            None if part.len() > 1 && part.starts_with('0') => (part, 8),
            None => (part, 10),
        };
        let digital = digits.chars().all(|c| c.is_digit(radix));
        if digital { u32::from_str_radix(digits, radix).ok() } else { None }
    };
    let parts: Vec<u32> = text.split('.').map(number).collect::<Option<_>>()?;
    let (last, bytes) = parts.split_last()?;
    let left = 4usize.checked_sub(bytes.len()).filter(|&left| left > 0)?;
    if bytes.iter().any(|&byte| byte > 255) || u64::from(*last) >= 1 << (8 * left) {
        return None;
    }
    let head = bytes.iter().enumerate().fold(0, |sum, (n, byte)| sum | byte << (24 - 8 * n));
    Some(Ipv4Addr::from(head | last))
}

/// The address of a C `in6_addr`.
pub(crate) fn ipv6(address: in6_addr) -> Ipv6Addr {
    Ipv6Addr::from(address.s6_addr)
}

/// A port of a C `int`: upstream keeps its low 16 bits.
pub(crate) fn port(port: i32) -> u16 {
    port as u16
}

/// The socket address at `address`, of which `length` bytes are there.
///
/// # Errors
/// `EINVAL` when it is NULL or too short for its family, `EAFNOSUPPORT` when its family is not AF_INET or AF_INET6.
///
/// # Safety
/// `address` is NULL or points to `length` readable bytes.
pub(crate) unsafe fn socket_address(address: *const sockaddr, length: socklen_t) -> Result<SocketAddr, i32> {
    let length = usize::try_from(length).map_err(|_| errno::EINVAL)?;
    let family_end = offset_of!(sockaddr, sa_family) + size_of::<sa_family_t>();
    if address.is_null() || length < family_end {
        return Err(errno::EINVAL);
    }
    // SAFETY: the family lies within the first `family_end` readable bytes; the address may be unaligned.
    let family = unsafe { (&raw const (*address).sa_family).read_unaligned() };
    match i32::from(family) {
        AF_INET if length >= size_of::<sockaddr_in>() => {
            // SAFETY: `length` readable bytes hold a whole sockaddr_in.
            let v4 = unsafe { address.cast::<sockaddr_in>().read_unaligned() };
            Ok(SocketAddr::new(IpAddr::V4(ipv4(v4.sin_addr)), u16::from_be(v4.sin_port)))
        }
        AF_INET6 if length >= size_of::<sockaddr_in6>() => {
            // SAFETY: `length` readable bytes hold a whole sockaddr_in6.
            let v6 = unsafe { address.cast::<sockaddr_in6>().read_unaligned() };
            let (ip, port) = (ipv6(v6.sin6_addr), u16::from_be(v6.sin6_port));
            Ok(SocketAddr::V6(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id)))
        }
        AF_INET | AF_INET6 => Err(errno::EINVAL),
        _ => Err(errno::EAFNOSUPPORT),
    }
}

/// The address of the host at `address`, of which `length` bytes are there.
///
/// # Errors
/// As for [`socket_address`] and for [`UnixAddress::new`].
///
/// # Safety
/// As for [`socket_address`].
pub(crate) unsafe fn host_address(address: *const sockaddr, length: socklen_t) -> Result<ListenAddress, i32> {
    // SAFETY: as the caller vouches.
    let inet = unsafe { socket_address(address, length) };
    if inet != Err(errno::EAFNOSUPPORT) {
        return inet.map(ListenAddress::Inet);
    }
    // SAFETY: that there is a whole family was found above; the address may be unaligned.
    let family = unsafe { (&raw const (*address).sa_family).read_unaligned() };
    let length = usize::try_from(length).map_err(|_| errno::EINVAL)?;
    if i32::from(family) != AF_UNIX {
        return Err(errno::EAFNOSUPPORT);
    }
    if length > size_of::<sockaddr_un>() {
        return Err(errno::EINVAL);
    }
    let start = offset_of!(sockaddr_un, sun_path);
    // SAFETY: `length` bytes are readable, and the name is what follows the family in them.
    let name = unsafe { std::slice::from_raw_parts(address.cast::<u8>().add(start), length.saturating_sub(start)) };
    UnixAddress::new(name).map(ListenAddress::Unix).map_err(|error| errno_of(&error, errno::EINVAL))
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earnest_header_addresses_are_read_as_inet_aton_does() {
        let texts = [
            "10.0.2.2",
            "10.0.514",
            "10.514",
            "167772674",
            "0xa.0.2.2",
            "012.0.2.2",
            "0",
            "255.255.255.255",
            "1.2.3",
            "",
            ".",
            "1.",
            "1.2.3.4.5",
            "256.1.1.1",
            "1.2.3.256",
            "1.2.65536",
            "1.16777216",
            "4294967296",
            "09",
            "0xg",
            "+1",
            "-1",
            "a",
        ];
        for text in texts {
            let c = std::ffi::CString::new(text).unwrap();
            // SAFETY: all zero bytes are a value of this structure.
            let mut found: in_addr = unsafe { std::mem::zeroed() };
            // SAFETY: a NUL-terminated text and a place for the result.
            let is = unsafe { inet_aton(c.as_ptr(), &raw mut found) } != 0;
            assert_eq!(parse_ipv4(text.as_bytes()), is.then(|| ipv4(found)), "{text:?}");
        }
    }

    unsafe extern "C" {
        fn inet_aton(text: *const std::ffi::c_char, to: *mut in_addr) -> i32;
    }

    #[test]
    fn a_unix_name_is_as_long_as_the_address_says() {
        // SAFETY: all zero bytes are a value of this structure.
        let mut unix: sockaddr_un = unsafe { std::mem::zeroed() };
        unix.sun_family = AF_UNIX as sa_family_t;
        for (place, byte) in unix.sun_path.iter_mut().zip(*b"/run/x") {
            *place = byte as _;
        }
        let address = |length: usize| {
            // SAFETY: the pointer is to a whole sockaddr_un; a longer length is refused before it is used.
            unsafe { host_address((&raw const unix).cast(), length as socklen_t) }
        };
        let named = |name: &[u8]| Ok(ListenAddress::Unix(UnixAddress::new(name).unwrap()));
        assert_eq!(address(size_of::<sockaddr_un>()), named(b"/run/x"));
        assert_eq!(address(2 + 4), named(b"/run"));
        assert_eq!(address(2), Err(errno::EINVAL));
        assert_eq!(address(1), Err(errno::EINVAL));
        assert_eq!(address(size_of::<sockaddr_un>() + 1), Err(errno::EINVAL));
    }

    #[test]
    fn short_and_foreign_addresses_are_refused_with_an_errno() {
        // SAFETY: all zero bytes are a value of this structure.
        let mut v4: sockaddr_in = unsafe { std::mem::zeroed() };
        v4.sin_family = AF_INET as sa_family_t;
        v4.sin_port = 80u16.to_be();
        v4.sin_addr = to_in_addr(Ipv4Addr::new(10, 0, 2, 15));
        let pointer = (&raw const v4).cast::<sockaddr>();
        let whole = size_of::<sockaddr_in>() as socklen_t;
        // SAFETY: the pointer is to a whole sockaddr_in, of which the stated length is at most all.
        unsafe {
            assert_eq!(socket_address(pointer, whole), Ok("10.0.2.15:80".parse().unwrap()));
            for length in 0..whole {
                assert_eq!(socket_address(pointer, length), Err(errno::EINVAL), "{length}");
            }
            assert_eq!(socket_address(std::ptr::null(), whole), Err(errno::EINVAL));
        }
        let foreign = sockaddr_in { sin_family: 77, ..v4 };
        let pointer = (&raw const foreign).cast::<sockaddr>();
        // SAFETY: as above.
        assert_eq!(unsafe { socket_address(pointer, whole) }, Err(errno::EAFNOSUPPORT));
    }
}
