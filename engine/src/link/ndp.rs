//! Neighbor discovery (RFC 4861) as the virtual hosts speak it (docs/contract/ethernet-arp-ndp.md section 4), with the
//! name server and search list options of RFC 8106.

use std::net::Ipv6Addr;

use smoltcp::wire::EthernetAddress;

use super::addresses::{mac_of_ipv6, multicast_mac_of_ipv6};
use crate::ip::icmpv6::{self, ICMPV6_LEN};
use crate::wire::header::{self, ETHERNET_LEN, ETHERTYPE_IPV6, Ethernet, IPV6_LEAST_MTU, IPV6_LEN};

/// Type: router solicitation.
pub(crate) const ROUTER_SOLICITATION: u8 = 133;
/// Type: router advertisement.
pub(crate) const ROUTER_ADVERTISEMENT: u8 = 134;
/// Type: neighbor solicitation.
pub(crate) const NEIGHBOR_SOLICITATION: u8 = 135;
/// Type: neighbor advertisement.
pub(crate) const NEIGHBOR_ADVERTISEMENT: u8 = 136;
/// Type: redirect.
pub(crate) const REDIRECT: u8 = 137;

/// The hop limit that shows that a message comes from this link (RFC 4861 section 3.1).
pub(crate) const HOP_LIMIT: u8 = 255;
/// The source of router advertisements and ICMPv6 errors, whatever the address of the virtual host is.
pub(crate) const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
/// All nodes of the link.
pub(crate) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// All routers of the link.
pub(crate) const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

const OPTION_SOURCE_LINK: u8 = 1;
const OPTION_TARGET_LINK: u8 = 2;
const OPTION_PREFIX: u8 = 3;
const OPTION_MTU: u8 = 5;
const OPTION_RDNSS: u8 = 25;
const OPTION_DNSSL: u8 = 31;

/// Seconds for which the router, its name server and its search list hold without another advertisement. The periodic
/// ones come every 600 seconds at the latest.
const ROUTER_LIFETIME: u16 = 1800;
/// Seconds for which addresses made from the prefix are valid and preferred.
const VALID_LIFETIME: u32 = 86400;
const PREFERRED_LIFETIME: u32 = 14400;
/// The most bytes of an option, and the most of a search list in one.
const OPTION_MAX: usize = 255 * 8;

/// What a message of the guest asks or tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message {
    /// Who is a router here?
    RouterSolicitation,
    /// Who has `target`?
    NeighborSolicitation { target: Ipv6Addr },
    /// The sender has `target`.
    NeighborAdvertisement { target: Ipv6Addr },
    /// The guest claims to be a router.
    RouterAdvertisement,
    /// The guest claims to know a better way.
    Redirect,
}

/// Reads an ICMPv6 message whose checksum is right. `None` when it is no neighbor discovery, or not a valid one by the
/// rules of RFC 4861 (sections 6.1.1, 7.1.1 and 7.1.2).
pub(crate) fn parse(src: Ipv6Addr, dst: Ipv6Addr, hop_limit: u8, message: &[u8]) -> Option<Message> {
    let (&[kind, code, _, _, flags, _, _, _], rest) = message.split_first_chunk::<ICMPV6_LEN>()?;
    // What the guest must not send at all is told apart by its type alone.
    match kind {
        ROUTER_ADVERTISEMENT => return Some(Message::RouterAdvertisement),
        REDIRECT => return Some(Message::Redirect),
        _ => {}
    }
    if hop_limit != HOP_LIMIT || code != 0 {
        return None;
    }
    let nameless = src.is_unspecified();
    match kind {
        ROUTER_SOLICITATION => {
            let names_link = has_option(rest, OPTION_SOURCE_LINK)?;
            (!(nameless && names_link)).then_some(Message::RouterSolicitation)
        }
        NEIGHBOR_SOLICITATION => {
            let (target, options) = target(rest)?;
            let names_link = has_option(options, OPTION_SOURCE_LINK)?;
            let asks = !nameless || (is_solicited_node(dst) && !names_link);
            asks.then_some(Message::NeighborSolicitation { target })
        }
        NEIGHBOR_ADVERTISEMENT => {
            const SOLICITED: u8 = 0x40;
            let (target, options) = target(rest)?;
            has_option(options, OPTION_TARGET_LINK)?;
            (!dst.is_multicast() || flags & SOLICITED == 0).then_some(Message::NeighborAdvertisement { target })
        }
        _ => None,
    }
}

/// The target address, which is no group, and what follows it.
fn target(rest: &[u8]) -> Option<(Ipv6Addr, &[u8])> {
    let (octets, options) = rest.split_first_chunk::<16>()?;
    let target = Ipv6Addr::from(*octets);
    (!target.is_multicast()).then_some((target, options))
}

/// Whether there is an option of this kind; `None` when the options are damaged (RFC 4861 section 4.6).
fn has_option(mut options: &[u8], wanted: u8) -> Option<bool> {
    let mut found = false;
    while let Some(&kind) = options.first() {
        let length = usize::from(*options.get(1)?) * 8;
        options = options.get(length..).filter(|_| length > 0)?;
        found |= kind == wanted;
    }
    Some(found)
}

/// The group that the owner of an address listens to (RFC 4291 section 2.7.1).
pub(crate) fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    let low = u16::from_be_bytes([b, c]);
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), low)
}

fn is_solicited_node(address: Ipv6Addr) -> bool {
    u128::from(address) >> 24 == u128::from(solicited_node(Ipv6Addr::UNSPECIFIED)) >> 24
}

/// The frame in which the virtual host `vhost6` asks for the Ethernet address of `target`.
pub(crate) fn neighbor_solicitation(vhost6: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let group = solicited_node(target);
    solicitation(vhost6, target, group, multicast_mac_of_ipv6(group))
}

/// The same, sent only to where `target` is known to be (RFC 4861 section 7.3.3).
pub(crate) fn neighbor_solicitation_at(vhost6: Ipv6Addr, target: Ipv6Addr, mac: EthernetAddress) -> Vec<u8> {
    solicitation(vhost6, target, target, mac)
}

fn solicitation(vhost6: Ipv6Addr, target: Ipv6Addr, dst: Ipv6Addr, mac: EthernetAddress) -> Vec<u8> {
    let mut rest = target.octets().to_vec();
    link_option(&mut rest, OPTION_SOURCE_LINK, mac_of_ipv6(vhost6));
    frame(mac, vhost6, dst, [NEIGHBOR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0], &rest)
}

/// The frame in which the virtual host `target` answers a solicitation of `asker`, who is at `mac`. An asker without an
/// address, who is checking whether it may use one, is answered at the group of all nodes.
pub(crate) fn neighbor_advertisement(target: Ipv6Addr, asker: Ipv6Addr, mac: EthernetAddress) -> Vec<u8> {
    const ROUTER_SOLICITED_OVERRIDE: u8 = 0xe0;
    const ROUTER_OVERRIDE: u8 = 0xa0;
    let (dst, mac, flags) = if asker.is_unspecified() {
        (ALL_NODES, multicast_mac_of_ipv6(ALL_NODES), ROUTER_OVERRIDE)
    } else {
        (asker, mac, ROUTER_SOLICITED_OVERRIDE)
    };
    let mut rest = target.octets().to_vec();
    link_option(&mut rest, OPTION_TARGET_LINK, mac_of_ipv6(target));
    frame(mac, target, dst, [NEIGHBOR_ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0], &rest)
}

/// What a router advertisement tells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Advertisement<'a> {
    pub prefix: Ipv6Addr,
    /// In bits.
    pub prefix_len: u8,
    /// The largest packet of the link in bytes.
    pub mtu: usize,
    /// The name server, if there is one.
    pub name_server: Option<Ipv6Addr>,
    /// Names in the form of [`encode_search_list`].
    pub search: &'a [u8],
}

impl Advertisement<'_> {
    /// The frame, to all nodes.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let lifetime = ROUTER_LIFETIME.to_be_bytes();
        // Reachable time and retransmission timer are left to the guest.
        let mut rest = vec![0; 8];
        link_option(&mut rest, OPTION_SOURCE_LINK, mac_of_ipv6(ROUTER));
        const ON_LINK_AND_AUTONOMOUS: u8 = 0xc0;
        rest.extend([OPTION_PREFIX, 4, self.prefix_len.min(128), ON_LINK_AND_AUTONOMOUS]);
        rest.extend(VALID_LIFETIME.to_be_bytes());
        rest.extend(PREFERRED_LIFETIME.to_be_bytes());
        rest.extend([0; 4]);
        rest.extend(self.prefix.octets());
        let mut room = self.mtu.saturating_sub(IPV6_LEN + ICMPV6_LEN);
        if let Some(server) = self.name_server.filter(|_| rest.len() + 24 <= room) {
            rest.extend([OPTION_RDNSS, 3, 0, 0]);
            rest.extend(u32::from(ROUTER_LIFETIME).to_be_bytes());
            rest.extend(server.octets());
        }
        // A smaller one must not be announced (RFC 4861 section 6.3.4).
        if self.mtu >= IPV6_LEAST_MTU {
            rest.extend([OPTION_MTU, 1, 0, 0]);
            rest.extend(u32::try_from(self.mtu).unwrap_or(u32::MAX).to_be_bytes());
        }
        let padded = 8 + self.search.len().next_multiple_of(8);
        room = room.saturating_sub(rest.len()).min(OPTION_MAX);
        // A list that does not fit is left out: DHCPv6 still has it.
        if !self.search.is_empty() && padded <= room {
            let end = rest.len() + padded;
            rest.extend([OPTION_DNSSL, (padded / 8) as u8, 0, 0]);
            rest.extend(u32::from(ROUTER_LIFETIME).to_be_bytes());
            rest.extend(self.search);
            rest.resize(end, 0);
        }
        // Current hop limit 64; neither addresses nor anything else need be asked of DHCPv6.
        let first = [ROUTER_ADVERTISEMENT, 0, 0, 0, 64, 0, lifetime[0], lifetime[1]];
        frame(multicast_mac_of_ipv6(ALL_NODES), ROUTER, ALL_NODES, first, &rest)
    }
}

/// Names one behind the other in the uncompressed form of RFC 1035 section 3.1, as RFC 8106 section 5.2 and RFC 3646
/// section 4 want them. One trailing dot is allowed; a list with a name that is none gives nothing.
pub(crate) fn encode_search_list<N: AsRef<[u8]>>(names: &[N]) -> Vec<u8> {
    let mut list = Vec::new();
    for name in names {
        let name = name.as_ref();
        let name = name.strip_suffix(b".").unwrap_or(name);
        let start = list.len();
        for label in name.split(|byte| *byte == b'.') {
            let Some(length) = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length)) else {
                return Vec::new();
            };
            list.push(length);
            list.extend_from_slice(label);
        }
        list.push(0);
        if list.len() - start > 255 {
            return Vec::new();
        }
    }
    list
}

fn link_option(rest: &mut Vec<u8>, kind: u8, mac: EthernetAddress) {
    rest.extend([kind, 1]);
    rest.extend(mac.0);
}

/// A frame with an ICMPv6 message: its first 8 bytes, whose checksum is filled in, and the rest.
fn frame(mac: EthernetAddress, src: Ipv6Addr, dst: Ipv6Addr, first: [u8; ICMPV6_LEN], rest: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; ETHERNET_LEN];
    let link = Ethernet { dst: mac, src: mac_of_ipv6(src) };
    // The buffer is long enough, and no message here is longer than an option can be.
    let _ = header::emit_ethernet(&mut frame, &link, ETHERTYPE_IPV6);
    icmpv6::append_packet(src, dst, first, rest, &mut frame);
    frame
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ip::ipv6::checksum_is_right;

    const GUEST_MAC: EthernetAddress = EthernetAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

    fn ip(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    /// The frame without its ICMPv6 checksum, which is checked.
    fn hex(frame: &[u8]) -> String {
        let (src, dst): ([u8; 16], [u8; 16]) = (frame[22..38].try_into().unwrap(), frame[38..54].try_into().unwrap());
        assert!(checksum_is_right(src.into(), dst.into(), 58, &frame[54..]));
        assert_eq!(usize::from(u16::from_be_bytes([frame[18], frame[19]])), frame.len() - 54);
        let byte = |(at, byte): (usize, &u8)| if at == 56 || at == 57 { "..".into() } else { format!("{byte:02x}") };
        frame.iter().enumerate().map(byte).collect()
    }

    fn advertisement(name_server: Option<Ipv6Addr>, mtu: usize, search: &[u8]) -> Vec<u8> {
        Advertisement { prefix: ip("fec0::"), prefix_len: 64, mtu, name_server, search }.frame()
    }

    #[test]
    fn a_router_advertisement_byte_by_byte() {
        let head = "33330000000152560000000286dd\
             60000000LLLL3afffe800000000000000000000000000002ff020000000000000000000000000001\
             8600....400007080000000000000000\
             0101525600000002\
             030440c0000151800000384000000000fec00000000000000000000000000000";
        let rdnss = "1903000000000708fec00000000000000000000000000003";
        let mtu = "05010000000005dc";
        let plain = advertisement(None, 576, b"");
        assert_eq!(hex(&plain), head.replace("LLLL", "0038"));
        let usual = advertisement(Some(ip("fec0::3")), 1500, b"");
        assert_eq!(hex(&usual), head.replace("LLLL", "0058") + rdnss + mtu);
        let search = encode_search_list(&["example.com", "a."]);
        let full = advertisement(Some(ip("fec0::3")), 1500, &search);
        let dnssl = "1f03000000000708076578616d706c6503636f6d00016100";
        assert_eq!(hex(&full), head.replace("LLLL", "0070") + rdnss + mtu + dnssl);
    }

    #[test]
    fn a_search_list_that_does_not_fit_is_left_out() {
        let names: Vec<String> = (0..200).map(|number| format!("name-{number}.example.org")).collect();
        let list = encode_search_list(&names);
        assert!(list.len() > 1500);
        assert_eq!(advertisement(None, 1500, &list), advertisement(None, 1500, b""));
        let long = advertisement(None, 65521, &list[..2000]);
        assert_eq!(long.len(), 14 + 40 + 56 + 8 + 8 + 2000);
        assert_eq!(advertisement(None, 65521, &list), advertisement(None, 65521, b""));
    }

    #[test]
    fn bad_names_give_no_search_list() {
        for name in ["", ".", "..", "a..b", &"x".repeat(64), &"abcdefg.".repeat(32)] {
            assert_eq!(encode_search_list(&["good", name]), b"", "{name}");
        }
        assert_eq!(encode_search_list(&[&"x".repeat(63)]).len(), 65);
    }

    #[test]
    fn a_neighbor_solicitation_byte_by_byte() {
        let frame = neighbor_solicitation(ip("fec0::2"), ip("fe80::5054:ff:fe12:3456"));
        assert_eq!(frame.len(), 86);
        assert_eq!(
            hex(&frame),
            "3333ff12345652560000000286dd\
             6000000000203afffec00000000000000000000000000002ff0200000000000000000001ff123456\
             8700....00000000fe80000000000000505400fffe1234560101525600000002"
        );
    }

    #[test]
    fn neighbor_advertisements_to_an_address_and_to_all_nodes() {
        assert_eq!(
            hex(&neighbor_advertisement(ip("fec0::3"), ip("fec0::15"), GUEST_MAC)),
            "52540012345652560000000386dd\
             6000000000203afffec00000000000000000000000000003fec00000000000000000000000000015\
             8800....e0000000fec000000000000000000000000000030201525600000003"
        );
        assert_eq!(
            hex(&neighbor_advertisement(ip("fe80::2"), Ipv6Addr::UNSPECIFIED, GUEST_MAC)),
            "33330000000152560000000286dd\
             6000000000203afffe800000000000000000000000000002ff020000000000000000000000000001\
             8800....a0000000fe8000000000000000000000000000020201525600000002"
        );
    }

    fn message(kind: u8, target: &str, options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind, 0, 0, 0, 0, 0, 0, 0];
        if !target.is_empty() {
            bytes.extend(ip(target).octets());
        }
        bytes.extend_from_slice(options);
        bytes
    }

    #[test]
    fn hop_limit_and_code_have_to_be_right() {
        let (src, dst) = (ip("fe80::15"), ip("ff02::2"));
        let mut solicitation = message(133, "", &[]);
        assert_eq!(parse(src, dst, 255, &solicitation), Some(Message::RouterSolicitation));
        assert_eq!(parse(src, dst, 64, &solicitation), None);
        assert_eq!(parse(src, dst, 254, &solicitation), None);
        assert_eq!(parse(src, dst, 255, &solicitation[..7]), None);
        solicitation[1] = 1;
        assert_eq!(parse(src, dst, 255, &solicitation), None);
    }

    #[test]
    fn options_of_a_wrong_length_make_a_message_invalid() {
        let (src, dst) = (ip("fe80::15"), ip("fec0::2"));
        let link = [1, 1, 2, 0, 0, 0, 0, 9];
        for (kind, target) in [(133, ""), (135, "fec0::2"), (136, "fec0::15")] {
            assert!(parse(src, dst, 255, &message(kind, target, &link)).is_some(), "{kind}");
            for bad in [&[1, 0, 0, 0, 0, 0, 0, 0][..], &[1, 2, 0, 0, 0, 0, 0, 0], &[1], &[1, 1, 0, 0, 0, 0, 0]] {
                assert_eq!(parse(src, dst, 255, &message(kind, target, bad)), None, "{kind} {bad:?}");
            }
        }
        assert_eq!(parse(src, dst, 255, &message(135, "fec0::2", &[])[..23]), None);
    }

    #[test]
    fn duplicate_address_detection_asks_at_the_solicited_node_group() {
        let probe = message(135, "fec0::2", &[]);
        let nobody = Ipv6Addr::UNSPECIFIED;
        let asked = Some(Message::NeighborSolicitation { target: ip("fec0::2") });
        assert_eq!(parse(nobody, solicited_node(ip("fec0::2")), 255, &probe), asked);
        assert_eq!(parse(nobody, ip("fec0::2"), 255, &probe), None);
        assert_eq!(parse(nobody, ALL_NODES, 255, &probe), None);
        let named = message(135, "fec0::2", &[1, 1, 2, 0, 0, 0, 0, 9]);
        assert_eq!(parse(nobody, solicited_node(ip("fec0::2")), 255, &named), None);
        assert_eq!(parse(nobody, ALL_ROUTERS, 255, &message(133, "", &[1, 1, 2, 0, 0, 0, 0, 9])), None);
        assert_eq!(parse(ip("fec0::15"), ip("fec0::2"), 255, &message(135, "ff02::1", &[])), None);
    }

    #[test]
    fn a_solicited_advertisement_does_not_go_to_a_group() {
        let mut bytes = message(136, "fec0::15", &[]);
        let told = Some(Message::NeighborAdvertisement { target: ip("fec0::15") });
        assert_eq!(parse(ip("fec0::15"), ALL_NODES, 255, &bytes), told);
        bytes[4] = 0x60;
        assert_eq!(parse(ip("fec0::15"), ALL_NODES, 255, &bytes), None);
        assert_eq!(parse(ip("fec0::15"), ip("fec0::2"), 255, &bytes), told);
    }

    #[test]
    fn what_a_guest_must_not_send_is_recognized() {
        let (src, dst) = (ip("fe80::15"), ALL_NODES);
        assert_eq!(parse(src, dst, 1, &message(134, "", &[])), Some(Message::RouterAdvertisement));
        assert_eq!(parse(src, dst, 255, &message(137, "", &[])), Some(Message::Redirect));
    }

    proptest! {
        #[test]
        fn any_message_is_harmless(kind in 130u8..140, rest in prop::collection::vec(any::<u8>(), 0..80)) {
            let bytes = [&[kind, 0, 0, 0][..], &rest].concat();
            let _ = parse(ip("fe80::15"), ip("fec0::2"), 255, &bytes);
            let _ = parse(Ipv6Addr::UNSPECIFIED, solicited_node(ip("fec0::2")), 255, &bytes);
        }
    }
}
