//! Sets of addresses, and the forms in which an address of one family hides in one of the other.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// All addresses that begin with the same bits: `192.0.2.0/24`, `2001:db8::/32`, or one address alone.
///
/// A prefix of mapped addresses (`::ffff:192.0.2.0/120`) is the one of IPv4 that it stands for. Any other prefix of IPv6, also
/// the shortest one `::/0`, has no address of IPv4 in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    first: IpAddr,
    len: u8,
}

/// Why a text or a pair of values is no [`Cidr`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CidrError {
    /// What stands before the slash is no address.
    Address,
    /// The length is no number, or beyond the bits of the address.
    Length,
    /// Bits behind the prefix are set: it cannot be told which of two prefixes was meant.
    BitsBehind,
}

impl fmt::Display for CidrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CidrError::Address => {
                "no IP address, nor one with the length of a prefix behind a slash (names stand in `name`)"
            }
            CidrError::Length => "the length of the prefix is not one of this kind of address",
            CidrError::BitsBehind => "the address has bits behind its prefix",
        })
    }
}

impl std::error::Error for CidrError {}

/// The bits of a prefix in IPv4.
fn mask4(len: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(len.min(32))).unwrap_or(0)
}

/// The bits of a prefix in IPv6.
fn mask6(len: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(len.min(128))).unwrap_or(0)
}

impl Cidr {
    /// The addresses that have the first `len` bits of `first`.
    ///
    /// # Errors
    /// There are no so many bits, or others are set as well.
    pub fn new(first: impl Into<IpAddr>, len: u8) -> Result<Cidr, CidrError> {
        let first = first.into();
        let (bits, behind) = match first {
            IpAddr::V4(ip) => (32, ip.to_bits() & !mask4(len) != 0),
            IpAddr::V6(ip) => (128, ip.to_bits() & !mask6(len) != 0),
        };
        if len > bits {
            return Err(CidrError::Length);
        }
        if behind {
            return Err(CidrError::BitsBehind);
        }
        Ok(match first {
            IpAddr::V6(ip) if len >= 96 => match ip.to_ipv4_mapped() {
                Some(ip) => Cidr { first: ip.into(), len: len - 96 },
                None => Cidr { first, len },
            },
            _ => Cidr { first, len },
        })
    }

    pub(super) fn first(&self) -> IpAddr {
        self.first
    }

    pub(super) fn prefix_len(&self) -> u8 {
        self.len
    }

    pub(super) fn is_ipv4(&self) -> bool {
        self.first.is_ipv4()
    }

    /// Whether `ip` is one of them. A mapped address is the one of IPv4 that it stands for.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.first, ip.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(ip)) => (first.to_bits() ^ ip.to_bits()) & mask4(self.len) == 0,
            (IpAddr::V6(first), IpAddr::V6(ip)) => (first.to_bits() ^ ip.to_bits()) & mask6(self.len) == 0,
            _ => false,
        }
    }
}

impl From<IpAddr> for Cidr {
    fn from(ip: IpAddr) -> Cidr {
        let ip = ip.to_canonical();
        Cidr { first: ip, len: if ip.is_ipv4() { 32 } else { 128 } }
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Cidr, CidrError> {
        let (ip, len) = match text.split_once('/') {
            Some((ip, len)) => (ip, Some(len)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| CidrError::Address)?;
        let Some(len) = len else { return Ok(ip.into()) };
        // A number with a sign or with zeros before it is none.
        if !len.bytes().all(|digit| digit.is_ascii_digit()) || (len.len() > 1 && len.starts_with('0')) {
            return Err(CidrError::Length);
        }
        Cidr::new(ip, len.parse().map_err(|_| CidrError::Length)?)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.len)
    }
}

/// Several prefixes, laid out so that one address is quickly looked for in all of them: the bits, and which of them count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Set {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Set {
    pub(super) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// The prefixes, those of IPv4 first.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = Cidr> {
        let v4 = self.v4.iter().map(|&(first, mask)| (Ipv4Addr::from_bits(first).into(), mask.leading_ones()));
        let v6 = self.v6.iter().map(|&(first, mask)| (Ipv6Addr::from_bits(first).into(), mask.leading_ones()));
        v4.chain(v6).map(|(first, len): (IpAddr, u32)| Cidr { first, len: len as u8 })
    }

    fn has4(&self, ip: u32) -> bool {
        self.v4.iter().any(|(first, mask)| ip & mask == *first)
    }

    fn has6(&self, ip: u128) -> bool {
        self.v6.iter().any(|(first, mask)| ip & mask == *first)
    }
}

impl Extend<Cidr> for Set {
    fn extend<I: IntoIterator<Item = Cidr>>(&mut self, prefixes: I) {
        for Cidr { first, len } in prefixes {
            match first {
                IpAddr::V4(first) => self.v4.push((first.to_bits(), mask4(len))),
                IpAddr::V6(first) => self.v6.push((first.to_bits(), mask6(len))),
            }
        }
    }
}

/// How many other addresses one may hide.
const HIDDEN: usize = 2;

/// An address as a rule looks at it: what it is, and what else it may lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Faces {
    own: IpAddr,
    hidden: [Option<Ipv4Addr>; HIDDEN],
}

impl Faces {
    /// Mapped addresses are those that they stand for, and the unspecified ones are this machine, as systems have it that
    /// are asked to connect there.
    pub(super) fn of(ip: IpAddr) -> Faces {
        let own = match ip.to_canonical() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let hidden = match own {
            IpAddr::V4(_) => [None; HIDDEN],
            IpAddr::V6(ip) => hidden(ip),
        };
        Faces { own, hidden }
    }

    /// Whether the address itself is in the set.
    pub(super) fn is_in(&self, set: &Set) -> bool {
        match self.own {
            IpAddr::V4(ip) => set.has4(ip.to_bits()),
            IpAddr::V6(ip) => set.has6(ip.to_bits()),
        }
    }

    /// Whether the address, or one that it may lead to, is in the set.
    pub(super) fn touches(&self, set: &Set) -> bool {
        self.is_in(set) || self.hidden.iter().flatten().any(|ip| set.has4(ip.to_bits()))
    }
}

/// The addresses of IPv4 that one of IPv6 leads to, through a translator or a tunnel of the host's network: NAT64 with the
/// well-known prefix and with the one for local use (RFC 6052 section 2.2, RFC 8215; of the latter, the two places that its
/// length leaves), 6to4 (RFC 3056), and the compatible form that nobody should use any more (RFC 4291 section 2.5.5.1).
fn hidden(ip: Ipv6Addr) -> [Option<Ipv4Addr>; HIDDEN] {
    let octets = ip.octets();
    let at = |places: [usize; 4]| {
        let mut found = [0; 4];
        for (octet, place) in found.iter_mut().zip(places) {
            *octet = octets.get(place).copied().unwrap_or(0);
        }
        Some(Ipv4Addr::from(found))
    };
    let last = [12, 13, 14, 15];
    match ip.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => [at(last), None],
        [0x64, 0xff9b, 1, ..] => [at(last), at([6, 7, 9, 10])],
        [0x2002, ..] => [at([2, 3, 4, 5]), None],
        [0, 0, 0, 0, 0, 0, ..] if ip != Ipv6Addr::LOCALHOST => [at(last), None],
        _ => [None; HIDDEN],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn prefixes_are_read_and_shown() {
        for (text, shown) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("fe80::/10", "fe80::/10"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.0.0.1", "10.0.0.1/32"),
        ] {
            assert_eq!(cidr(text).to_string(), shown, "{text}");
        }
        for (text, error) in [
            ("", CidrError::Address),
            ("10.0.0/8", CidrError::Address),
            ("localhost", CidrError::Address),
            ("10.0.0.0/", CidrError::Length),
            ("10.0.0.0/33", CidrError::Length),
            ("10.0.0.0/08", CidrError::Length),
            ("10.0.0.0/+8", CidrError::Length),
            ("10.0.0.0/8/8", CidrError::Length),
            ("::/129", CidrError::Length),
            ("::/999", CidrError::Length),
            ("10.0.0.1/8", CidrError::BitsBehind),
            ("fe80::1/10", CidrError::BitsBehind),
        ] {
            assert_eq!(text.parse::<Cidr>(), Err(error), "{text}");
        }
    }

    #[test]
    fn families_are_apart_and_mapped_addresses_are_ipv4() {
        let contains = |set: &str, ip: &str| cidr(set).contains(ip.parse().unwrap());
        assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.0"));
        assert!(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(!contains("::/0", "10.1.2.3") && !contains("::/0", "::ffff:10.1.2.3"));
        assert!(!contains("0.0.0.0/0", "::1") && contains("::/0", "::1"));
        assert!(contains("2001:db8::/33", "2001:db8:7fff::") && !contains("2001:db8::/33", "2001:db8:8000::"));
    }

    #[test]
    fn an_address_touches_what_it_hides() {
        let set = |text: &str| {
            let mut set = Set::default();
            set.extend([cidr(text)]);
            set
        };
        let loopback = set("127.0.0.0/8");
        for ip in [
            "127.0.0.1",
            "0.0.0.0",
            "::ffff:127.1.2.3",
            "64:ff9b::127.0.0.1",
            "64:ff9b:1::127.0.0.1",
            "64:ff9b:1:7f00:0:100::",
            "2002:7f00:1::",
            "2002:7f00:1:2:3:4:5:6",
            "::127.0.0.1",
        ] {
            assert!(Faces::of(ip.parse().unwrap()).touches(&loopback), "{ip}");
        }
        for ip in ["128.0.0.1", "64:ff9b::128.0.0.1", "2001:db8::127.0.0.1", "::1", "64:ff9b:0:1::127.0.0.1"] {
            assert!(!Faces::of(ip.parse().unwrap()).touches(&loopback), "{ip}");
        }
        // What is hidden opens nothing.
        assert!(!Faces::of("64:ff9b::127.0.0.1".parse().unwrap()).is_in(&loopback));
        assert!(Faces::of("::".parse().unwrap()).is_in(&set("::1")));
    }
}
