//! Which name servers a resolv.conf names.
//!
//! A server line is `nameserver` in lower case at the very beginning of a line, a blank, and a numeric address, which
//! may carry a zone as in `fe80::1%eth0` (RFC 4007 section 11). Everything behind the address is a comment. Source:
//! docs/contract/dns.md section 1; unlike upstream, all servers are kept, and a line may have any length.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use super::PORT;

/// How many servers of one family are kept, the first of the file.
pub const SERVERS_MAX: usize = 16;

const KEYWORD: &[u8] = b"nameserver";

/// One acceptable server line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The server's address.
    pub address: IpAddr,
    /// The name behind a '%': the interface a link-local address belongs to.
    pub zone: Option<String>,
}

/// Name servers by family, in the order in which they were named. An empty list means that this family has no server and
/// that queries over it must be refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Servers {
    /// The IPv4 servers; those of a file with port 53.
    pub v4: Vec<SocketAddr>,
    /// The IPv6 servers; those of a file with port 53 and, where a zone was given, the scope id.
    pub v6: Vec<SocketAddr>,
}

impl Servers {
    /// The servers of a file's text. `interface_index` gives the index of a named interface, 0 when there is none.
    ///
    /// A text without any server line means the host's own server: 127.0.0.1 and ::1. A file that cannot be read is no
    /// text: use `Servers::default()`.
    pub fn parse(text: &[u8], interface_index: impl Fn(&str) -> u32) -> Servers {
        let mut servers = Servers::default();
        let mut any = false;
        for word in text.split(|byte| *byte == b'\n').filter_map(server_word) {
            any = true;
            let Some(line) = parse_word(word) else { continue };
            match line.address {
                // What is sent to an unspecified address goes to this host, which answers from another one.
                IpAddr::V4(Ipv4Addr::UNSPECIFIED) => add(&mut servers.v4, || (Ipv4Addr::LOCALHOST, PORT).into()),
                IpAddr::V6(Ipv6Addr::UNSPECIFIED) => add(&mut servers.v6, || (Ipv6Addr::LOCALHOST, PORT).into()),
                IpAddr::V4(address) => add(&mut servers.v4, || SocketAddrV4::new(address, PORT).into()),
                IpAddr::V6(address) => add(&mut servers.v6, || {
                    let scope = line.zone.as_deref().map_or(0, &interface_index);
                    SocketAddrV6::new(address, PORT, 0, scope).into()
                }),
            }
        }
        if !any {
            servers.v4.push(SocketAddrV4::new(Ipv4Addr::LOCALHOST, PORT).into());
            servers.v6.push(SocketAddrV6::new(Ipv6Addr::LOCALHOST, PORT, 0, 0).into());
        }
        servers
    }
}

/// Whether a query can be sent to this address, and its answer be known by it.
pub(crate) fn can_be_asked(server: &SocketAddr) -> bool {
    let ip = server.ip();
    !(server.port() == 0 || ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST))
}

impl FromIterator<SocketAddr> for Servers {
    /// The servers of a list that can be asked, in its order; the first [`SERVERS_MAX`] of each family.
    fn from_iter<T: IntoIterator<Item = SocketAddr>>(list: T) -> Servers {
        let mut servers = Servers::default();
        for server in list.into_iter().filter(can_be_asked) {
            let family = if server.is_ipv6() { &mut servers.v6 } else { &mut servers.v4 };
            add(family, || server);
        }
        servers
    }
}

fn add(list: &mut Vec<SocketAddr>, server: impl FnOnce() -> SocketAddr) {
    if list.len() < SERVERS_MAX {
        list.push(server());
    }
}

/// The word of a server line, or `None` when the line is of another kind.
fn server_word(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(KEYWORD)?;
    rest.first().filter(|byte| matches!(byte, b' ' | b'\t'))?;
    rest.split(|byte| is_blank(*byte)).find(|word| !word.is_empty())
}

/// The C locale's white space, which unlike Rust's includes the vertical tab.
fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// Reads the word of a server line: a numeric address, perhaps with a zone. `None` when it is no address.
#[must_use]
pub fn parse_word(word: &[u8]) -> Option<Line> {
    let word = std::str::from_utf8(word).ok()?;
    let (address, zone) = match word.split_once('%') {
        Some((address, zone)) => (address, Some(zone.to_owned())),
        None => (word, None),
    };
    Some(Line { address: address.parse().ok()?, zone })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> (Vec<String>, Vec<String>) {
        let servers = Servers::parse(text.as_bytes(), |name| if name == "eth0" { 7 } else { 0 });
        let texts = |list: &[SocketAddr]| list.iter().map(ToString::to_string).collect();
        (texts(&servers.v4), texts(&servers.v6))
    }

    fn no_servers() -> (Vec<String>, Vec<String>) {
        (Vec::new(), Vec::new())
    }

    fn loopback() -> (Vec<String>, Vec<String>) {
        (vec!["127.0.0.1:53".into()], vec!["[::1]:53".into()])
    }

    #[test]
    fn fact_1_servers_keep_their_order() {
        let (v4, v6) = parse("nameserver 127.0.0.77\nnameserver 127.0.0.78\n");
        assert_eq!(v4, ["127.0.0.77:53", "127.0.0.78:53"]);
        assert!(v6.is_empty());
    }

    #[test]
    fn fact_2_no_server_line_means_loopback() {
        assert_eq!(parse(""), loopback());
        assert_eq!(parse("# nameserver 1.2.3.4\n; nothing\nsearch example.com\n"), loopback());
        // The keyword alone has no word and is no server line.
        assert_eq!(parse("nameserver\nnameserver   \n"), loopback());
    }

    #[test]
    fn fact_3_families_are_apart() {
        let (v4, v6) = parse("nameserver 2001:db8::1\nnameserver 192.0.2.1\nnameserver 2001:db8::2\n");
        assert_eq!(v4, ["192.0.2.1:53"]);
        assert_eq!(v6, ["[2001:db8::1]:53", "[2001:db8::2]:53"]);
        let (v4, _) = parse("nameserver 2001:db8::1\n");
        assert!(v4.is_empty());
    }

    #[test]
    fn fact_4_indented_or_upper_case_keyword_is_no_server_line() {
        assert_eq!(parse(" nameserver 192.0.2.1\nNAMESERVER 192.0.2.2\nnameservers 192.0.2.3\n"), loopback());
    }

    #[test]
    fn fact_5_unacceptable_words_count_as_lines() {
        for word in ["127.0.0.77#53", "127.0.0.77:5353", "127.77", "127.0.0.777", "127.0.0.1;", "localhost", "\u{e4}"] {
            assert_eq!(parse(&format!("nameserver {word}\n")), no_servers(), "{word}");
        }
        let (v4, _) = parse("nameserver 127.77\nnameserver 192.0.2.1\n");
        assert_eq!(v4, ["192.0.2.1:53"]);
    }

    #[test]
    fn rest_of_the_line_is_ignored() {
        let (v4, _) =
            parse("nameserver\t \t192.0.2.1 # the first\r\nnameserver 192.0.2.2\r\nnameserver 192.0.2.3\x0b!");
        assert_eq!(v4, ["192.0.2.1:53", "192.0.2.2:53", "192.0.2.3:53"]);
    }

    #[test]
    fn zone_becomes_the_scope_id() {
        let (v4, v6) = parse("nameserver fe80::1%eth0\nnameserver fe80::2%none\nnameserver 192.0.2.1%eth0\n");
        assert_eq!(v6, ["[fe80::1%7]:53", "[fe80::2]:53"]);
        assert_eq!(v4, ["192.0.2.1:53"]);
    }

    #[test]
    fn unspecified_address_is_the_hosts_own() {
        assert_eq!(parse("nameserver 0.0.0.0\n").0, ["127.0.0.1:53"]);
        assert_eq!(parse("nameserver ::\n").1, ["[::1]:53"]);
    }

    #[test]
    fn long_line_is_one_line() {
        let (v4, _) = parse(&format!("#{}nameserver 192.0.2.9\nnameserver 192.0.2.1\n", " ".repeat(510)));
        assert_eq!(v4, ["192.0.2.1:53"]);
    }

    #[test]
    fn list_is_bounded() {
        let text: String = (0..100).map(|i| format!("nameserver 192.0.2.{i}\nnameserver 2001:db8::{i}\n")).collect();
        let (v4, v6) = parse(&text);
        assert_eq!((v4.len(), v6.len()), (SERVERS_MAX, SERVERS_MAX));
        assert_eq!(v4[15], "192.0.2.15:53");
    }

    proptest! {
        #[test]
        fn any_text_gives_bounded_lists(text in prop::collection::vec(any::<u8>(), 0..2000)) {
            let servers = Servers::parse(&text, |_| 1);
            prop_assert!(servers.v4.len() <= SERVERS_MAX && servers.v6.len() <= SERVERS_MAX);
        }
    }
}
