//! Tests of the server as a whole. A test called `fact_N_…` shows fact N of docs/contract/dhcp.md.

use super::message::Options;
use super::*;
use crate::time::Duration;
use proptest::prelude::*;

const MAC_A: EthernetAddress = EthernetAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
const MAC_B: EthernetAddress = EthernetAddress([0x52, 0x54, 0, 0x12, 0x34, 0x57]);
const ZERO: EthernetAddress = EthernetAddress([0; 6]);
const NOW: Instant = Instant::ZERO;
const VHOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 2, last)
}

fn config() -> Config {
    Config {
        vhost: VHOST,
        vnetmask: Ipv4Addr::new(255, 255, 255, 0),
        vdhcp_start: ip(15),
        vnameserver: ip(3),
        restricted: false,
        hostname: None,
        domain: None,
        tftp_server_name: None,
        tftp_server_addr: None,
        bootfile: None,
        mtu: 1500,
        search: Vec::new(),
    }
}

fn server() -> Dhcp {
    Dhcp::new(config())
}

fn mac(number: u8) -> EthernetAddress {
    EthernetAddress([0x52, 0x54, 0, 0, 1, number])
}

/// The fixed part of a request.
fn bootp(mac: EthernetAddress, ciaddr: Ipv4Addr) -> Vec<u8> {
    let mut bytes = vec![0; 236];
    bytes[0] = 1;
    bytes[1] = 1;
    bytes[2] = 6;
    bytes[4..8].copy_from_slice(&[0xde, 0xad, 0xbe, 0xef]);
    bytes[12..16].copy_from_slice(&ciaddr.octets());
    bytes[28..34].copy_from_slice(mac.as_bytes());
    bytes
}

fn message(mac: EthernetAddress, kind: u8, ciaddr: Ipv4Addr, options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = bootp(mac, ciaddr);
    bytes.extend([0x63, 0x82, 0x53, 0x63, 53, 1, kind]);
    for (code, data) in options {
        bytes.extend([*code, u8::try_from(data.len()).unwrap()]);
        bytes.extend(*data);
    }
    bytes.push(255);
    bytes
}

/// A message of `kind` that asks for the address ending in `wish`, or for none with 0.
fn asking(mac: EthernetAddress, kind: u8, wish: u8) -> Vec<u8> {
    let wanted = ip(wish).octets();
    let wanted: &[(u8, &[u8])] = if wish == 0 { &[] } else { &[(50, &wanted)] };
    message(mac, kind, Ipv4Addr::UNSPECIFIED, wanted)
}

fn discover(dhcp: &mut Dhcp, mac: EthernetAddress, wish: u8) -> Option<Reply> {
    dhcp.on_message(&asking(mac, 1, wish), NOW)
}

fn request(dhcp: &mut Dhcp, mac: EthernetAddress, wish: u8) -> Option<Reply> {
    dhcp.on_message(&asking(mac, 3, wish), NOW)
}

fn yiaddr(reply: &Reply) -> Ipv4Addr {
    Ipv4Addr::from(*reply.payload[16..].first_chunk::<4>().unwrap())
}

fn siaddr(reply: &Reply) -> Ipv4Addr {
    Ipv4Addr::from(*reply.payload[20..].first_chunk::<4>().unwrap())
}

fn options(reply: &Reply) -> Vec<(u8, Vec<u8>)> {
    assert_eq!(reply.payload[236..240], [0x63, 0x82, 0x53, 0x63]);
    Options(&reply.payload[240..]).map(|(code, data)| (code, data.to_vec())).collect()
}

fn codes(reply: &Reply) -> Vec<u8> {
    options(reply).iter().map(|(code, _)| *code).collect()
}

fn option(reply: &Reply, code: u8) -> Option<Vec<u8>> {
    options(reply).into_iter().find(|(found, _)| *found == code).map(|(_, data)| data)
}

fn kind_of(reply: &Reply) -> u8 {
    option(reply, 53).unwrap()[0]
}

/// What the reply grants: its message type and the last byte of the address.
fn granted(reply: Option<Reply>) -> Option<(u8, u8)> {
    reply.map(|reply| (kind_of(&reply), yiaddr(&reply).octets()[3]))
}

/// The whole reply as the contract describes it.
fn expected(yiaddr: Ipv4Addr, options: &[u8]) -> [u8; REPLY_LEN] {
    let mut bytes = [0; REPLY_LEN];
    bytes[..8].copy_from_slice(&[2, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef]);
    bytes[16..20].copy_from_slice(&yiaddr.octets());
    bytes[20..24].copy_from_slice(&VHOST.octets());
    bytes[28..34].copy_from_slice(MAC_A.as_bytes());
    bytes[236..240].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    bytes[240..240 + options.len()].copy_from_slice(options);
    bytes[240 + options.len()] = 255;
    bytes
}

const GOLDEN_OFFER_OPTIONS: [u8; 45] = [
    53, 1, 2, 54, 4, 10, 0, 2, 2, 1, 4, 255, 255, 255, 0, 3, 4, 10, 0, 2, 2, 6, 4, 10, 0, 2, 3, 51, 4, 0, 1, 0x51,
    0x80, 58, 4, 0, 0, 0xa8, 0xc0, 59, 4, 0, 1, 0x27, 0x50,
];

#[test]
fn fact_1_2_3_offer_is_golden() {
    let reply = discover(&mut server(), MAC_A, 0).unwrap();
    assert_eq!(codes(&reply), [53, 54, 1, 3, 6, 51, 58, 59]);
    assert_eq!(reply.payload.len(), 548);
    assert_eq!(reply.payload, expected(ip(15), &GOLDEN_OFFER_OPTIONS));
}

#[test]
fn fact_4_ack_is_golden() {
    let reply = request(&mut server(), MAC_A, 15).unwrap();
    let mut options = GOLDEN_OFFER_OPTIONS;
    options[2] = 5;
    assert_eq!(reply.payload, expected(ip(15), &options));
    assert_eq!(reply.lease, Some((ip(15), MAC_A)));
}

#[test]
fn fact_4_request_outside_the_pool_is_refused() {
    // Chosen differences from upstream: yiaddr is zero and the server names itself.
    let reply = request(&mut server(), MAC_A, 99).unwrap();
    let mut options = vec![53, 1, 6, 54, 4, 10, 0, 2, 2, 56, 31];
    options.extend(b"requested address not available");
    assert_eq!(reply.payload, expected(Ipv4Addr::UNSPECIFIED, &options));
    assert_eq!(reply.lease, None);
}

#[test]
fn fact_5_taken_address_is_refused() {
    let mut dhcp = server();
    request(&mut dhcp, MAC_A, 15).unwrap();
    assert_eq!(granted(request(&mut dhcp, MAC_B, 15)), Some((6, 0)));
    assert_eq!(dhcp.slots()[0], Some(MAC_A));
}

#[test]
fn fact_6_renewal_by_ciaddr() {
    let mut dhcp = server();
    request(&mut dhcp, MAC_A, 20).unwrap();
    let renewal = message(MAC_A, 3, ip(20), &[]);
    let reply = dhcp.on_message(&renewal, NOW).unwrap();
    assert_eq!((kind_of(&reply), yiaddr(&reply)), (5, ip(20)));
    // ciaddr is not echoed.
    assert_eq!(reply.payload[12..16], [0; 4]);
    assert_eq!(granted(dhcp.on_message(&message(MAC_B, 3, ip(20), &[]), NOW)), Some((6, 0)));
}

#[test]
fn fact_7_request_without_address() {
    let mut dhcp = server();
    request(&mut dhcp, MAC_A, 17).unwrap();
    assert_eq!(granted(request(&mut dhcp, MAC_B, 0)), Some((5, 15)));
    // A client that has an address gets that one, not the first free one.
    assert_eq!(granted(request(&mut dhcp, MAC_A, 0)), Some((5, 17)));
}

#[test]
fn fact_8_plain_bootp() {
    let without_area = bootp(MAC_A, Ipv4Addr::UNSPECIFIED);
    let mut zeros = without_area.clone();
    zeros.extend([0; 64]);
    let mut half_cookie = without_area.clone();
    half_cookie.extend([0x63, 0x82]);
    let mut untyped = without_area.clone();
    untyped.extend([0x63, 0x82, 0x53, 0x63, 12, 1, b'x', 255]);
    for bytes in [without_area, zeros, half_cookie, untyped, asking(MAC_A, 0, 0)] {
        let reply = server().on_message(&bytes, NOW).unwrap();
        assert_eq!((kind_of(&reply), yiaddr(&reply)), (5, ip(15)));
        assert_eq!(codes(&reply), [53, 54, 1, 3, 6, 51, 58, 59]);
    }
    // ciaddr of a BOOTP client is not a wish.
    assert_eq!(granted(server().on_message(&bootp(MAC_A, ip(99)), NOW)), Some((5, 15)));
}

#[test]
fn fact_9_seventeenth_client_gets_nothing() {
    let mut dhcp = server();
    for number in 0..16 {
        assert_eq!(granted(request(&mut dhcp, mac(number), 0)), Some((5, 15 + number)));
    }
    let late = Instant::from_secs(86_400);
    for kind in [1, 3] {
        assert_eq!(dhcp.on_message(&asking(mac(16), kind, 0), late), None);
    }
    // The others are still served.
    assert_eq!(granted(dhcp.on_message(&asking(mac(7), 1, 0), late)), Some((2, 22)));
}

#[test]
fn fact_10_flags_and_relay_are_not_echoed() {
    let mut bytes = asking(MAC_A, 1, 0);
    bytes[3] = 9;
    bytes[8..12].copy_from_slice(&[1, 2, 0x80, 0]);
    bytes[24..28].copy_from_slice(&[10, 0, 2, 9]);
    bytes[34..44].fill(0xee);
    bytes[44..236].fill(0xee);
    let reply = server().on_message(&bytes, NOW).unwrap();
    assert_eq!(reply.payload, expected(ip(15), &GOLDEN_OFFER_OPTIONS));
}

#[test]
fn fact_11_offer_and_ack_name_the_neighbor() {
    assert_eq!(discover(&mut server(), MAC_A, 0).unwrap().lease, Some((ip(15), MAC_A)));
    // A group address is nobody's: it is answered, but must not get into the neighbor table.
    for group in [EthernetAddress::BROADCAST, EthernetAddress([1, 0, 0x5e, 0, 0, 1])] {
        let reply = discover(&mut server(), group, 0).unwrap();
        assert_eq!((yiaddr(&reply), reply.lease), (ip(15), None));
    }
}

#[test]
fn fact_12_host_name_is_cut_after_32_bytes() {
    let mut dhcp = Dhcp::new(Config { hostname: Some(vec![b'h'; 60]), ..config() });
    let reply = discover(&mut dhcp, MAC_A, 0).unwrap();
    assert_eq!(codes(&reply), [53, 54, 1, 3, 6, 51, 12, 58, 59]);
    assert_eq!(option(&reply, 12), Some(vec![b'h'; 32]));
}

#[test]
fn fact_13_tftp_server() {
    let named = Config { tftp_server_name: Some(b"127.0.0.9".to_vec()), ..config() };
    let found = Config { tftp_server_addr: Some(Ipv4Addr::new(127, 0, 0, 9)), ..named.clone() };
    let reply = discover(&mut Dhcp::new(found), MAC_A, 0).unwrap();
    assert_eq!(siaddr(&reply), Ipv4Addr::new(127, 0, 0, 9));
    assert_eq!(option(&reply, 66), Some(b"127.0.0.9".to_vec()));
    let reply = discover(&mut Dhcp::new(named), MAC_A, 0).unwrap();
    assert_eq!(siaddr(&reply), VHOST);
    assert_eq!(option(&reply, 66), Some(b"127.0.0.9".to_vec()));
}

#[test]
fn fact_14_all_options_in_order() {
    let everything = Config {
        hostname: Some(b"guest".to_vec()),
        domain: Some(b"example.org".to_vec()),
        tftp_server_name: Some(b"tftp.example.org".to_vec()),
        bootfile: Some(b"http://10.0.2.2/boot".to_vec()),
        search: b"\x01a\x00".to_vec(),
        ..config()
    };
    let reply = discover(&mut Dhcp::new(everything.clone()), MAC_A, 0).unwrap();
    assert_eq!(codes(&reply), [53, 54, 1, 3, 6, 51, 12, 15, 66, 119, 60, 58, 59]);
    assert_eq!(option(&reply, 60), Some(b"HTTPClient".to_vec()));
    assert_eq!(option(&reply, 119), Some(b"\x01a\x00".to_vec()));
    assert_eq!(reply.payload[108..130], *b"http://10.0.2.2/boot\0\0");

    let bootfile = |file: &str| Config { bootfile: Some(file.into()), ..config() };
    let has_60 = |file: &str| option(&discover(&mut Dhcp::new(bootfile(file)), MAC_A, 0).unwrap(), 60).is_some();
    assert!(has_60("https://10.0.2.2/boot"));
    assert!(!has_60("/http://boot"));

    let nak = request(&mut Dhcp::new(everything), MAC_A, 99).unwrap();
    assert_eq!(codes(&nak), [53, 54, 56]);
    assert_eq!(nak.payload[108..236], [0; 128]);
}

#[test]
fn fact_15_restricted_network_has_no_router_and_name_server() {
    let mut dhcp = Dhcp::new(Config { restricted: true, ..config() });
    assert_eq!(codes(&discover(&mut dhcp, MAC_A, 0).unwrap()), [53, 54, 1, 51, 58, 59]);
}

#[test]
fn fact_17_other_types_are_not_answered() {
    // INFORM (8) is answered, unlike upstream; see below.
    for kind in [2, 4, 5, 6, 7, 9, 255] {
        assert_eq!(server().on_message(&asking(MAC_A, kind, 15), NOW), None, "{kind}");
    }
}

#[test]
fn section_a1_what_is_no_request_is_not_answered() {
    let mut reply = asking(MAC_A, 1, 0);
    reply[0] = 2;
    assert_eq!(server().on_message(&reply, NOW), None);
    assert_eq!(server().on_message(&asking(MAC_A, 1, 0)[..235], NOW), None);
    assert_eq!(server().on_message(&[], NOW), None);
}

#[test]
fn section_a1_damaged_options_end_the_parsing() {
    // The wish stands before the option that is cut off, the type behind it.
    let mut bytes = bootp(MAC_A, Ipv4Addr::UNSPECIFIED);
    bytes.extend([0x63, 0x82, 0x53, 0x63, 0, 0, 50, 4, 10, 0, 2, 20, 12, 200, 53, 1, 1]);
    assert_eq!(granted(server().on_message(&bytes, NOW)), Some((5, 20)));
    // Too short an address is no wish, and neither is 0.0.0.0.
    let short = message(MAC_A, 3, Ipv4Addr::UNSPECIFIED, &[(50, &[10, 0, 2])]);
    assert_eq!(granted(server().on_message(&short, NOW)), Some((5, 15)));
    let zero = message(MAC_A, 3, Ipv4Addr::UNSPECIFIED, &[(50, &[0; 4])]);
    assert_eq!(granted(server().on_message(&zero, NOW)), Some((5, 15)));
}

#[test]
fn section_a2_wish_of_a_discover() {
    let mut dhcp = server();
    assert_eq!(granted(discover(&mut dhcp, MAC_A, 25)), Some((2, 25)));
    assert_eq!(granted(discover(&mut dhcp, MAC_A, 25)), Some((2, 25)));
    // Taken, or not in the pool: the first free one.
    assert_eq!(granted(discover(&mut dhcp, MAC_B, 25)), Some((2, 15)));
    assert_eq!(granted(discover(&mut dhcp, mac(1), 99)), Some((2, 16)));
}

#[test]
fn section_a3_what_does_not_fit_is_left_out() {
    let long = |domain: usize, search: usize| Config {
        hostname: Some(vec![b'h'; 32]),
        domain: Some(vec![b'd'; domain]),
        search: vec![1; search],
        ..config()
    };
    let outcome = |config: Config| {
        let mut dhcp = Dhcp::new(config);
        let present = codes(&discover(&mut dhcp, MAC_A, 0).unwrap());
        (present.contains(&15), present.contains(&119), dhcp.warnings().len())
    };
    assert_eq!(outcome(long(255, 0)), (false, false, 1));
    assert_eq!(outcome(long(230, 13)), (true, false, 1));
    // 312 less 4 of cookie, 33 of fixed options, 34 of host name, 2 of header and 1 of END.
    assert_eq!(outcome(long(238, 0)), (true, false, 0));
    assert_eq!(outcome(long(239, 0)), (false, false, 1));
    // Each option is judged for itself.
    assert_eq!(outcome(long(239, 100)), (false, true, 1));
    assert_eq!(outcome(long(300, 300)), (false, false, 2));
}

#[test]
fn section_a3_search_list_is_cut_into_chunks() {
    let search: Vec<u8> = (0..=255).chain(0..10).collect();
    let mut dhcp = Dhcp::new(Config { search: search.clone(), ..config() });
    let reply = discover(&mut dhcp, MAC_A, 0).unwrap();
    let chunks: Vec<_> = options(&reply).into_iter().filter(|(code, _)| *code == 119).map(|(_, data)| data).collect();
    assert_eq!(chunks.iter().map(Vec::len).collect::<Vec<_>>(), [255, 11]);
    assert_eq!(chunks.concat(), search);
    assert!(dhcp.warnings().is_empty());
}

#[test]
fn long_boot_file_name_keeps_its_zero() {
    let mut dhcp = Dhcp::new(Config { bootfile: Some(vec![b'f'; 200]), ..config() });
    let reply = discover(&mut dhcp, MAC_A, 0).unwrap();
    assert_eq!(reply.payload[108..235], [b'f'; 127]);
    assert_eq!(reply.payload[235], 0);
    assert_eq!(dhcp.warnings(), ["DHCP packet size exceeded, cutting the boot file name"]);
}

#[test]
fn empty_names_are_absent() {
    let empty = Some(Vec::new());
    let mut dhcp = Dhcp::new(Config {
        hostname: empty.clone(),
        domain: empty.clone(),
        tftp_server_name: empty.clone(),
        bootfile: empty,
        ..config()
    });
    assert_eq!(codes(&discover(&mut dhcp, MAC_A, 0).unwrap()), [53, 54, 1, 3, 6, 51, 58, 59]);
}

#[test]
fn zero_hardware_address_owns_no_free_slot() {
    let mut dhcp = server();
    request(&mut dhcp, MAC_A, 15).unwrap();
    assert_eq!(granted(request(&mut dhcp, ZERO, 17)), Some((5, 17)));
    assert_eq!(granted(request(&mut dhcp, ZERO, 0)), Some((5, 17)));
    assert_eq!(granted(request(&mut dhcp, MAC_B, 0)), Some((5, 16)));
}

#[test]
fn pool_skips_what_is_no_guest_address() {
    let every_address = |config: Config| {
        let mut dhcp = Dhcp::new(config);
        let all: Vec<u8> =
            (0..16).filter_map(|number| granted(request(&mut dhcp, mac(number), 0))).map(|grant| grant.1).collect();
        all
    };
    let start_at = |last: u8| Config { vdhcp_start: ip(last), ..config() };
    // Network address, vhost and name server.
    assert_eq!(every_address(start_at(0)), [1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    // Broadcast address, and what follows it.
    assert_eq!(every_address(start_at(250)), [250, 251, 252, 253, 254]);
    let mut dhcp = Dhcp::new(start_at(250));
    assert_eq!(granted(request(&mut dhcp, MAC_A, 255)), Some((6, 0)));
    // A /31 has neither network nor broadcast address.
    let small =
        Config { vnetmask: Ipv4Addr::new(255, 255, 255, 254), vdhcp_start: ip(3), vnameserver: ip(4), ..config() };
    assert_eq!(every_address(small), [3]);
}

#[test]
fn addresses_that_somebody_else_has_are_not_given_out() {
    let mut dhcp = server();
    assert_eq!(granted(request(&mut dhcp, MAC_A, 16)), Some((5, 16)));
    dhcp.hold(|address| address == ip(15) || address == ip(16));
    assert_eq!(granted(discover(&mut dhcp, MAC_B, 0)), Some((2, 17)));
    assert_eq!(granted(discover(&mut dhcp, MAC_B, 15)), Some((2, 17)));
    assert_eq!(granted(request(&mut dhcp, MAC_B, 15)), Some((6, 0)));
    // Who has had one is told so when it renews its lease, and gets another one.
    let renewal = message(MAC_A, 3, ip(16), &[]);
    assert_eq!(granted(dhcp.on_message(&renewal, NOW)), Some((6, 0)));
    assert_eq!(granted(request(&mut dhcp, MAC_A, 16)), Some((6, 0)));
    assert_eq!(granted(discover(&mut dhcp, MAC_A, 16)), Some((2, 18)));
    // Not even when all others are taken, and old.
    for number in 0..14 {
        request(&mut dhcp, mac(number), 0);
    }
    let late = Instant::from_secs(10 * 86_400);
    for number in 20..40 {
        let reply = dhcp.on_message(&asking(mac(number), 1, 0), late);
        assert!(!matches!(granted(reply), Some((_, 15 | 16))));
    }
    dhcp.hold(|_| false);
    assert_eq!(granted(request(&mut dhcp, mac(50), 15)), Some((5, 15)));
}

#[test]
fn pool_at_the_end_of_the_address_space_does_not_overflow() {
    let top = Ipv4Addr::new(255, 255, 255, 250);
    let mut dhcp = Dhcp::new(Config { vdhcp_start: top, ..config() });
    let reply = discover(&mut dhcp, MAC_A, 0).unwrap();
    assert_eq!(yiaddr(&reply), top);
}

#[test]
fn stale_offer_is_reused_when_the_pool_is_full() {
    let mut dhcp = server();
    let at = |seconds: i64| Instant::from_secs(seconds);
    for number in 0..16 {
        // Slot 0 is confirmed; of the offers, slot 5 has the oldest.
        let kind = if number == 0 { 3 } else { 1 };
        let when = if number == 5 { at(5) } else { at(10) };
        dhcp.on_message(&asking(mac(number), kind, 15 + number), when).unwrap();
    }
    assert_eq!(dhcp.on_message(&asking(MAC_A, 1, 0), at(65)), None);
    assert_eq!(granted(dhcp.on_message(&asking(MAC_A, 1, 0), at(66))), Some((2, 20)));
    // The former owner may no longer have it.
    assert_eq!(granted(dhcp.on_message(&asking(mac(5), 3, 20), at(66))), Some((6, 0)));
    // A clock that has gone back makes no offer old.
    assert_eq!(dhcp.on_message(&asking(MAC_B, 1, 0), at(-1000)), None);
    // A new DISCOVER keeps an offer young, and does not make a confirmed binding an offer.
    for number in (0..16).filter(|number| *number != 5) {
        let again = dhcp.on_message(&asking(mac(number), 1, 15 + number), at(70));
        assert_eq!(granted(again), Some((2, 15 + number)));
    }
    assert_eq!(granted(dhcp.on_message(&asking(MAC_B, 1, 0), at(127))), Some((2, 20)));
    assert_eq!(granted(dhcp.on_message(&asking(mac(20), 1, 0), at(131))), Some((2, 16)));
    assert_eq!(dhcp.slots()[0], Some(mac(0)));
}

#[test]
fn leases_that_were_not_renewed_make_room_oldest_first() {
    const DAY: i64 = 86_400;
    let mut dhcp = server();
    let at = |seconds: i64| Instant::from_secs(seconds);
    // Slot 5 was renewed first of all, slot 9 next; the others are renewed an hour later.
    for number in 0..16 {
        let when = [5, 9].iter().position(|early| *early == number).map_or(3600, |order| order as i64);
        dhcp.on_message(&asking(mac(number), 3, 15 + number), at(when)).unwrap();
    }
    assert_eq!(dhcp.on_message(&asking(MAC_A, 1, 0), at(DAY)), None);
    assert_eq!(granted(dhcp.on_message(&asking(MAC_A, 1, 0), at(DAY + 2))), Some((2, 20)));
    assert_eq!(granted(dhcp.on_message(&asking(MAC_A, 3, 20), at(DAY + 2))), Some((5, 20)));
    assert_eq!(granted(dhcp.on_message(&asking(MAC_B, 1, 0), at(DAY + 2))), Some((2, 24)));
    assert_eq!(granted(dhcp.on_message(&asking(MAC_B, 3, 24), at(DAY + 2))), Some((5, 24)));
    // The rest hold for an hour more; whoever renews, even late, keeps its own.
    assert_eq!(dhcp.on_message(&asking(mac(20), 1, 0), at(DAY + 3)), None);
    assert_eq!(granted(dhcp.on_message(&asking(mac(0), 3, 15), at(DAY + 9000))), Some((5, 15)));
    assert_eq!(granted(dhcp.on_message(&asking(mac(20), 1, 0), at(DAY + 9000))), Some((2, 16)));
    // The one that lost its address is told so, and gets the next one.
    assert_eq!(granted(dhcp.on_message(&asking(mac(5), 3, 20), at(DAY + 9000))), Some((6, 0)));
    assert_eq!(granted(dhcp.on_message(&asking(mac(5), 1, 0), at(DAY + 9000))), Some((2, 17)));
}

#[test]
fn leases_of_a_saved_state_hold_from_the_loading_on() {
    let loaded = Instant::from_secs(1_000_000);
    let mut dhcp = server();
    dhcp.set_slots(std::array::from_fn(|number| Some(mac(number as u8))), loaded);
    let ask = |dhcp: &mut Dhcp, after: i64| {
        granted(dhcp.on_message(&asking(MAC_A, 1, 0), loaded + Duration::from_secs(after as u64)))
    };
    assert_eq!(ask(&mut dhcp, 86_400), None);
    assert_eq!(ask(&mut dhcp, 86_401), Some((2, 15)));
}

#[test]
fn a_request_to_another_server_is_not_ours() {
    let mut dhcp = server();
    let choice = |mac, server: Ipv4Addr| {
        message(mac, 3, Ipv4Addr::UNSPECIFIED, &[(50, &[10, 0, 2, 15]), (54, &server.octets())])
    };
    let other = Ipv4Addr::new(192, 0, 2, 1);
    assert_eq!(granted(discover(&mut dhcp, MAC_A, 0)), Some((2, 15)));
    assert_eq!(dhcp.on_message(&choice(MAC_A, other), NOW), None);
    // What it was offered is free again, without waiting for the offer to become old.
    assert_eq!(dhcp.slots(), [None; SLOTS]);
    assert_eq!(granted(discover(&mut dhcp, MAC_B, 0)), Some((2, 15)));
    assert_eq!(granted(dhcp.on_message(&choice(MAC_B, VHOST), NOW)), Some((5, 15)));
    // A lease is not given up by that, and an offer to somebody else is not either.
    assert_eq!(granted(discover(&mut dhcp, MAC_A, 0)), Some((2, 16)));
    assert_eq!(dhcp.on_message(&choice(MAC_B, other), NOW), None);
    assert_eq!(dhcp.slots()[..2], [Some(MAC_B), Some(MAC_A)]);
}

#[test]
fn the_times_of_a_lease_take_the_place_of_nothing_else() {
    let reply = discover(&mut server(), MAC_A, 0).unwrap();
    assert_eq!(option(&reply, 58), Some(43_200u32.to_be_bytes().to_vec()));
    assert_eq!(option(&reply, 59), Some(75_600u32.to_be_bytes().to_vec()));
    // The longest domain name that fits leaves no room for them.
    let long = Config { hostname: Some(vec![b'h'; 32]), domain: Some(vec![b'd'; 238]), ..config() };
    let mut dhcp = Dhcp::new(long);
    assert_eq!(codes(&discover(&mut dhcp, MAC_A, 0).unwrap()), [53, 54, 1, 3, 6, 51, 12, 15]);
    assert!(dhcp.warnings().is_empty());
}

#[test]
fn a_pool_outside_of_the_network_is_served() {
    // The server knows the mask of the network, and no address of it.
    let mut dhcp = Dhcp::new(config());
    for number in 0..16 {
        assert_eq!(granted(request(&mut dhcp, mac(number), 0)), Some((5, 15 + number)));
    }
    // Nor does it run over what is nobody's in the network that it begins in.
    let mut dhcp = Dhcp::new(Config { vdhcp_start: ip(253), ..config() });
    assert_eq!(granted(request(&mut dhcp, MAC_A, 0)), Some((5, 253)));
    assert_eq!(granted(request(&mut dhcp, MAC_B, 0)), Some((5, 254)));
    assert_eq!(request(&mut dhcp, mac(1), 0), None);
}

#[test]
fn release_frees_the_own_address_only() {
    let mut dhcp = server();
    request(&mut dhcp, MAC_A, 15).unwrap();
    let release = |mac, server: [u8; 4]| message(mac, 7, ip(15), &[(54, &server)]);
    assert_eq!(dhcp.on_message(&release(MAC_B, VHOST.octets()), NOW), None);
    assert_eq!(dhcp.on_message(&release(MAC_A, [192, 0, 2, 1]), NOW), None);
    assert_eq!(dhcp.slots()[0], Some(MAC_A));
    assert_eq!(dhcp.on_message(&release(MAC_A, VHOST.octets()), NOW), None);
    assert_eq!(dhcp.slots()[0], None);
    assert_eq!(granted(request(&mut dhcp, MAC_B, 15)), Some((5, 15)));
}

#[test]
fn declined_address_rests_for_ten_minutes() {
    let mut dhcp = server();
    request(&mut dhcp, MAC_A, 15).unwrap();
    assert_eq!(dhcp.on_message(&asking(MAC_B, 4, 15), NOW), None);
    assert_eq!(dhcp.slots()[0], Some(MAC_A));
    assert_eq!(dhcp.on_message(&asking(MAC_A, 4, 15), NOW), None);
    assert_eq!(dhcp.slots()[0], None);
    assert_eq!(granted(request(&mut dhcp, MAC_A, 15)), Some((6, 0)));
    assert_eq!(granted(discover(&mut dhcp, MAC_A, 0)), Some((2, 16)));
    let later = NOW + Duration::from_secs(600);
    assert_eq!(granted(dhcp.on_message(&asking(MAC_B, 3, 15), later)), Some((5, 15)));
}

#[test]
fn inform_gets_the_options_without_a_lease() {
    let mut dhcp = server();
    let reply = dhcp.on_message(&message(MAC_A, 8, ip(77), &[]), NOW).unwrap();
    assert_eq!(kind_of(&reply), 5);
    assert_eq!(codes(&reply), [53, 54, 1, 3, 6]);
    assert_eq!(reply.payload[12..16], ip(77).octets());
    assert_eq!((yiaddr(&reply), reply.lease), (Ipv4Addr::UNSPECIFIED, None));
    assert_eq!(dhcp.slots(), [None; SLOTS]);
}

#[test]
fn slots_of_a_saved_state_are_kept() {
    let mut slots = [None; SLOTS];
    slots[0] = Some(MAC_A);
    slots[15] = Some(ZERO);
    let mut dhcp = server();
    request(&mut dhcp, MAC_B, 16).unwrap();
    dhcp.set_slots(slots, NOW);
    assert_eq!(dhcp.slots(), slots);
    assert_eq!(granted(request(&mut dhcp, MAC_A, 0)), Some((5, 15)));
    assert_eq!(granted(request(&mut dhcp, MAC_B, 30)), Some((6, 0)));
    assert_eq!(granted(request(&mut dhcp, MAC_B, 16)), Some((5, 16)));
}

/// The reply is well formed: options up to one END, zeros behind it.
fn check_reply(dhcp: &Dhcp, reply: &Reply) -> Result<(), TestCaseError> {
    prop_assert_eq!(reply.payload[0], 2);
    let len: usize = options(reply).iter().map(|(_, data)| data.len() + 2).sum();
    prop_assert_eq!(reply.payload[240 + len], 255);
    prop_assert!(reply.payload[241 + len..].iter().all(|byte| *byte == 0));
    if let Some((address, mac)) = reply.lease {
        prop_assert_eq!(address, yiaddr(reply));
        let slot = u32::from(address) - u32::from(ip(15));
        prop_assert_eq!(dhcp.slots()[slot as usize], Some(mac));
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..700), typed in any::<bool>()) {
        let mut bytes = bytes;
        if typed {
            let mut head = bootp(MAC_A, ip(15));
            head.extend([0x63, 0x82, 0x53, 0x63]);
            head.append(&mut bytes);
            bytes = head;
        }
        let mut dhcp = server();
        if let Some(reply) = dhcp.on_message(&bytes, NOW) {
            check_reply(&dhcp, &reply)?;
        }
    }

    #[test]
    fn any_conversation_keeps_bindings_apart(
        messages in prop::collection::vec((0_u8..20, 0_u8..10, 10_u8..35, any::<bool>(), 0_i64..100), 0..200)
    ) {
        let mut dhcp = server();
        let mut seconds = 0;
        for (who, kind, address, in_ciaddr, pause) in messages {
            seconds += pause;
            let bytes = if in_ciaddr { message(mac(who), kind, ip(address), &[]) } else { asking(mac(who), kind, address) };
            let before = dhcp.slots();
            if let Some(reply) = dhcp.on_message(&bytes, Instant::from_secs(seconds)) {
                check_reply(&dhcp, &reply)?;
            }
            let changed = before.iter().zip(dhcp.slots()).filter(|(before, after)| **before != *after).count();
            prop_assert!(changed <= 1);
        }
    }

    #[test]
    fn any_configuration_gives_whole_replies(
        names in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..400)), 4),
        search in prop::collection::vec(any::<u8>(), 0..700),
    ) {
        let mut names = names.into_iter();
        let mut name = || names.next().flatten();
        let config = Config {
            hostname: name(), domain: name(), tftp_server_name: name(), bootfile: name(), search, ..config()
        };
        let mut dhcp = Dhcp::new(config);
        let reply = discover(&mut dhcp, MAC_A, 0).unwrap();
        check_reply(&dhcp, &reply)?;
        prop_assert_eq!(&codes(&reply)[..6], &[53, 54, 1, 3, 6, 51]);
    }
}

#[test]
fn the_interface_mtu_is_told_to_those_who_ask() {
    let asking = |list: &[u8]| message(MAC_A, 1, Ipv4Addr::UNSPECIFIED, &[(55, list)]);
    let mut jumbo = Dhcp::new(Config { mtu: 9000, bootfile: Some(b"http://a/b".to_vec()), ..config() });
    let reply = jumbo.on_message(&asking(&[1, 3, 26, 6]), NOW).unwrap();
    assert_eq!(codes(&reply), [53, 54, 1, 3, 6, 51, 60, 26, 58, 59]);
    assert_eq!(option(&reply, 26).unwrap(), 9000u16.to_be_bytes());
    assert_eq!(option(&jumbo.on_message(&asking(&[1, 3, 6]), NOW).unwrap(), 26), None);
    assert_eq!(option(&discover(&mut jumbo, MAC_A, 0).unwrap(), 26), None);
    let inform = message(MAC_A, 8, ip(15), &[(55, &[26])]);
    assert!(option(&jumbo.on_message(&inform, NOW).unwrap(), 26).is_some());
    let reply = server().on_message(&asking(&[26]), NOW).unwrap();
    assert_eq!(option(&reply, 26), None, "1500 is what every client assumes");
}
