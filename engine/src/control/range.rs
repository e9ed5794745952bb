//! Host forwards as they are written: one, or a range of ports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::answer::Trouble;
use super::request::WrittenForward;
use crate::forward::host::{HostForward, ListenAddress, Protocol};
use crate::host::unix::UnixAddress;

/// Where a range of forwards listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// At the ports from that of `first` on, so many.
    Inet {
        first: SocketAddr,
        count: u32,
    },
    Unix(UnixAddress),
}

/// Host forwards whose ports follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) protocol: Protocol,
    pub(super) place: Place,
    guest: SocketAddr,
    /// Each leads to a port of its own, the following one; not all to the same.
    spread: bool,
    only_v6: bool,
    /// Should its address be none of the host's, it is waited for.
    pub(super) waits: bool,
}

impl Place {
    pub(super) fn count(&self) -> usize {
        match self {
            Place::Inet { count, .. } => *count as usize,
            Place::Unix(_) => 1,
        }
    }

    /// Whether the same address and port is in both.
    fn meets(&self, other: &Place) -> bool {
        match (self, other) {
            (Place::Inet { first, count }, Place::Inet { first: other, count: others }) => {
                let ports =
                    |first: &SocketAddr, count: &u32| (u32::from(first.port()), u32::from(first.port()) + count);
                let ((begin, end), (other_begin, other_end)) = (ports(first, count), ports(other, others));
                // Where the host chooses the port it is another one each time.
                first.ip() == other.ip() && begin != 0 && begin < other_end && other_begin < end
            }
            (Place::Unix(path), Place::Unix(other)) => path == other,
            _ => false,
        }
    }

    /// The address of one of them.
    pub(super) fn nth(&self, number: usize) -> ListenAddress {
        match self {
            Place::Inet { first, .. } => ListenAddress::Inet(beyond(*first, number)),
            Place::Unix(address) => ListenAddress::Unix(address.clone()),
        }
    }

    /// What is written, with its protocol.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(protocol: &str, listen: &str) -> Result<(Protocol, Place), Trouble> {
        match protocol {
            "unix" => match UnixAddress::from_path(listen) {
                Ok(address) => Ok((Protocol::Tcp, Place::Unix(address))),
                Err(error) => Err(Trouble::invalid(format!("listen: `{listen}` is no path of a socket: {error}"))),
            },
            "tcp" | "udp" => {
                let protocol = if protocol == "tcp" { Protocol::Tcp } else { Protocol::Udp };
                let (first, count) = read_ports(listen, "listen", None)?;
                Ok((protocol, Place::Inet { first, count }))
            }
            other => Err(Trouble::invalid(format!("protocol: `{other}` is none of tcp, udp, unix"))),
        }
    }
}

impl Range {
    pub(super) fn count(&self) -> usize {
        self.place.count()
    }

    /// One of them.
    pub(super) fn nth(&self, number: usize) -> HostForward {
        let guest = self.guest_of(number);
        match self.place.nth(number) {
            ListenAddress::Unix(address) => HostForward::unix(address, guest),
            ListenAddress::Inet(listen) if self.protocol == Protocol::Udp => {
                HostForward::udp(listen, guest).only_v6(self.only_v6)
            }
            ListenAddress::Inet(listen) => HostForward::tcp(listen, guest).only_v6(self.only_v6),
        }
    }

    /// Whether only one of both can be there.
    pub(super) fn meets(&self, other: &Range) -> bool {
        self.protocol == other.protocol && self.place.meets(&other.place)
    }

    /// Whether it is to have no IPv4, where it listens at all addresses of IPv6.
    pub(super) fn is_only_v6(&self) -> bool {
        self.only_v6
    }

    /// So many of them from one on.
    pub(super) fn part(&self, first: usize, count: usize) -> Range {
        let place = match &self.place {
            Place::Inet { first: address, .. } => {
                Place::Inet { first: beyond(*address, first), count: u32::try_from(count).unwrap_or(u32::MAX) }
            }
            unix @ Place::Unix(_) => unix.clone(),
        };
        Range { place, guest: self.guest_of(first), spread: self.spread && count > 1, ..self.clone() }
    }

    fn guest_of(&self, number: usize) -> SocketAddr {
        if self.spread { beyond(self.guest, number) } else { self.guest }
    }

    /// What is written.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(written: &WrittenForward) -> Result<Range, Trouble> {
        let (protocol, place) = Place::read(&written.protocol, &written.listen)?;
        let count = place.count();
        let (guest, guests) = match (&written.guest, &place) {
            (Some(guest), _) => read_ports(guest, "guest", Some(Ipv4Addr::UNSPECIFIED.into()))?,
            (None, Place::Inet { first, count }) if first.port() != 0 => {
                (SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), first.port()), *count)
            }
            (None, _) => return Err(Trouble::invalid("guest: there is no port from which it would follow")),
        };
        let guests = guests as usize;
        if guests != 1 && guests != count {
            return Err(Trouble::invalid(format!("guest: {guests} ports, and {count} to lead there")));
        }
        if protocol == Protocol::Udp && count > 1 && guests == 1 {
            let why = "several ports of UDP lead to one of the guest: its datagrams would not say through which they are to go";
            return Err(Trouble::invalid(format!("guest: {why}")));
        }
        let waits = written.wait;
        if waits && count > MOST_WAITING {
            return Err(Trouble::invalid(format!("wait: {count} ports, and {MOST_WAITING} at most can wait together")));
        }
        Ok(Range { protocol, place, guest, spread: guests > 1, only_v6: written.only_v6, waits })
    }

    /// As it is written.
    pub(super) fn words(&self) -> Words {
        let count = self.count();
        let guests = if self.spread { count } else { 1 };
        let (protocol, listen) = match &self.place {
            Place::Unix(address) => ("unix", address.to_string()),
            Place::Inet { first, count } => (word(self.protocol), write_ports(*first, *count as usize)),
        };
        Words { protocol, listen, guest: write_ports(self.guest, guests) }
    }
}

/// Ports of one range that wait for their address together: they are tried in one round.
const MOST_WAITING: usize = 1024;

/// A range in words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) protocol: &'static str,
    pub(super) listen: String,
    pub(super) guest: String,
}

pub(super) fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

/// The address whose port is so many further.
fn beyond(mut address: SocketAddr, number: usize) -> SocketAddr {
    // A range ends at the last port there is.
    address.set_port(address.port().saturating_add(u16::try_from(number).unwrap_or(u16::MAX)));
    address
}

/// An address with the first and the last port.
pub(super) fn write_ports(first: SocketAddr, count: usize) -> String {
    match count {
        0 | 1 => first.to_string(),
        count => format!("{first}-{}", beyond(first, count - 1).port()),
    }
}

/// An address with one port or with a range of them: the first one, and how many. `default` is the address where none is written.
fn read_ports(text: &str, what: &str, default: Option<IpAddr>) -> Result<(SocketAddr, u32), Trouble> {
    let wrong = || {
        let example = if default.is_some() { ":80 or 10.0.2.15:8000-8099" } else { "127.0.0.1:8000-8099 or [::1]:80" };
        Trouble::invalid(format!("{what}: `{text}` is no address with a port or a range of them, such as {example}"))
    };
    let (address, ports) = text.rsplit_once(':').ok_or_else(wrong)?;
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let port = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit()).then(|| text.parse::<u16>().ok())?;
    let (first, last) = port(first).zip(port(last)).ok_or_else(wrong)?;
    if first > last || (first == 0 && last != 0) {
        return Err(Trouble::invalid(format!("{what}: `{ports}` is no range of ports")));
    }
    let address = match (address, default) {
        ("", Some(ip)) => SocketAddr::new(ip, first),
        _ => format!("{address}:{first}").parse().map_err(|_| wrong())?,
    };
    Ok((address, u32::from(last - first) + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(protocol: &str, listen: &str, guest: Option<&str>) -> Result<Range, Trouble> {
        let (protocol, listen, guest) = (protocol.into(), listen.into(), guest.map(str::to_owned));
        Range::read(&WrittenForward { protocol, listen, guest, only_v6: false, wait: false })
    }

    #[test]
    fn a_range_is_its_forwards() {
        let one = read("tcp", "127.0.0.1:8080", Some(":80")).unwrap();
        assert_eq!(one.nth(0), HostForward::tcp(([127, 0, 0, 1], 8080), ([0, 0, 0, 0], 80)));
        let spread = read("udp", "[::1]:8000-8099", Some("10.0.2.15:9000-9099")).unwrap();
        assert_eq!(spread.count(), 100);
        let last: SocketAddr = "[::1]:8099".parse().unwrap();
        assert_eq!(spread.nth(99), HostForward::udp(last, ([10, 0, 2, 15], 9099)));
        let same = read("tcp", "127.0.0.1:1-65535", None).unwrap();
        assert_eq!(same.nth(65534), HostForward::tcp(([127, 0, 0, 1], 65535), ([0, 0, 0, 0], 65535)));
        let all = read("tcp", "127.0.0.1:8000-8099", Some("[::]:80")).unwrap();
        assert_eq!(all.nth(99).guest(), "[::]:80".parse().unwrap());
        let unix = read("unix", "/run/x y", Some(":22")).unwrap();
        let words =
            |protocol, listen: &str, guest: &str| Words { protocol, listen: listen.into(), guest: guest.into() };
        assert_eq!(unix.words(), words("unix", "/run/x y", "0.0.0.0:22"));
        assert_eq!(spread.words(), words("udp", "[::1]:8000-8099", "10.0.2.15:9000-9099"));
        assert_eq!(all.words(), words("tcp", "127.0.0.1:8000-8099", "[::]:80"));
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for (protocol, listen, guest, what) in [
            ("sctp", "127.0.0.1:1", None, "none of tcp, udp, unix"),
            ("tcp", "127.0.0.1", None, "no address with a port"),
            ("tcp", "127.0.0.1:", None, "no address with a port"),
            ("tcp", "127.0.0.1:+1", None, "no address with a port"),
            ("tcp", "127.0.0.1:65536", None, "no address with a port"),
            ("tcp", ":80", None, "no address with a port"),
            ("tcp", "localhost:80", None, "no address with a port"),
            ("tcp", "::1:80", None, "no address with a port"),
            ("tcp", "127.0.0.1:9-8", None, "no range"),
            ("tcp", "127.0.0.1:0-8", None, "no range"),
            ("tcp", "127.0.0.1:0", None, "no port from which"),
            ("tcp", "127.0.0.1:1-3", Some(":1-2"), "2 ports, and 3"),
            ("tcp", "127.0.0.1:1", Some(":1-2"), "2 ports, and 1"),
            ("udp", "127.0.0.1:1-2", Some(":1"), "several ports of UDP"),
            ("unix", "", Some(":1"), "no path"),
            ("unix", "/x", None, "no port from which"),
        ] {
            let trouble = format!("{:?}", read(protocol, listen, guest).unwrap_err());
            assert!(trouble.contains(what), "{protocol} {listen} {guest:?}: {trouble}");
        }
    }
}
