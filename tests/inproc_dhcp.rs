//! BOOTP and DHCP: part A of docs/contract/dhcp.md.

mod common;
use common::*;

const COOKIE: [u8; 4] = [0x63, 0x82, 0x53, 0x63];
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACKED: u8 = 5;
const NAK: u8 = 6;
const ZERO: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

/// A message to build.
#[derive(Clone)]
struct Query {
    mac: [u8; 6],
    ciaddr: Ipv4Addr,
    /// Everything after the 236 fixed bytes.
    vendor: Vec<u8>,
    to: Ipv4Addr,
}

fn query(kind: u8, more: &[u8]) -> Query {
    let mut vendor = COOKIE.to_vec();
    vendor.extend_from_slice(&[53, 1, kind]);
    vendor.extend_from_slice(more);
    vendor.push(255);
    Query { mac: GUEST_MAC, ciaddr: ZERO, vendor, to: Ipv4Addr::BROADCAST }
}

fn wish(kind: u8, address: Ipv4Addr) -> Query {
    query(kind, &[&[50, 4], &address.octets()[..]].concat())
}

impl Query {
    fn mac(mut self, last: u8) -> Query {
        self.mac[5] = last;
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut m = vec![1, 1, 6, 3, 0xde, 0xad, 0xbe, 0xef, 0, 9, 0x80, 0];
        m.extend_from_slice(&self.ciaddr.octets());
        m.extend_from_slice(&[0; 8]);
        m.extend_from_slice(&[192, 0, 2, 7]);
        m.extend_from_slice(&self.mac);
        m.resize(236, 0);
        m.extend_from_slice(&self.vendor);
        m
    }

    fn frame(&self) -> Vec<u8> {
        let src = self.ciaddr;
        let datagram = udp(at(src, 68), at(self.to, 67), &self.bytes());
        Ip { src, ..Ip::new(self.to, UDP) }.frame(&datagram)
    }

    /// Sends it; what came back, or None.
    fn ask(&self, i: &Instance) -> Option<Answer> {
        i.input(&self.frame());
        i.settle();
        let mut answers: Vec<Answer> = i.drain().iter().map(Answer::parse).collect();
        assert!(answers.len() <= 1);
        let answer = answers.pop()?;
        // RFC 2131 table 3: only the answer to an INFORM (type 8) repeats the client's address.
        let informed = self.vendor.get(4..7) == Some(&[53, 1, 8]);
        let ciaddr = if informed { self.ciaddr.octets() } else { [0; 4] };
        assert_eq!(answer.message[12..16], ciaddr, "ciaddr");
        Some(answer)
    }

    fn expect(&self, i: &Instance) -> Answer {
        self.ask(i).expect("an answer")
    }
}

#[derive(Debug)]
struct Answer {
    message: Vec<u8>,
    options: Vec<(u8, Vec<u8>)>,
}

impl Answer {
    /// Parses a reply and checks all that is the same in each reply.
    fn parse(frame: &Frame) -> Answer {
        let packet = frame.ip().expect("a reply is IPv4");
        let d = frame.udp().expect("a reply is UDP");
        assert_eq!((d.src, d.dst), (at_vhost(67), at(Ipv4Addr::BROADCAST, 68)));
        assert_eq!((packet.dst_mac, packet.ttl, packet.tos, packet.frame_len), (BROADCAST_MAC, 64, 0x10, 590));
        let m = d.data;
        assert_eq!(m.len(), 548);
        assert_eq!(m[..8], [2, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef]);
        assert_eq!(m[8..12], [0; 4], "secs and flags are zero");
        assert_eq!(m[24..28], [0; 4], "giaddr is zero");
        assert_eq!(m[34..108], [0; 74], "the rest of chaddr and sname are zero");
        assert_eq!(m[236..240], COOKIE);
        let mut options = Vec::new();
        let mut rest = &m[240..];
        while rest[0] != 255 {
            let len = usize::from(rest[1]);
            options.push((rest[0], rest[2..2 + len].to_vec()));
            rest = &rest[2 + len..];
        }
        assert!(rest[1..].iter().all(|b| *b == 0), "zero fill after the end option");
        Answer { message: m, options }
    }

    fn kind(&self) -> u8 {
        assert_eq!(self.options[0].0, 53);
        self.options[0].1[0]
    }
    fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(self.message[16], self.message[17], self.message[18], self.message[19])
    }
    fn siaddr(&self) -> Ipv4Addr {
        Ipv4Addr::new(self.message[20], self.message[21], self.message[22], self.message[23])
    }
    /// The codes of the options but for the times that follow a lease where there is room.
    fn codes(&self) -> Vec<u8> {
        self.options.iter().map(|o| o.0).filter(|code| !(ours("dhcp-times") && matches!(code, 58 | 59))).collect()
    }
    fn option(&self, code: u8) -> Option<&[u8]> {
        self.options.iter().find(|o| o.0 == code).map(|o| o.1.as_slice())
    }
}

fn pool(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 2, 15 + n)
}

fn start() -> Box<Instance> {
    Setup::default().silent().start()
}

#[test]
fn dhcp_fact_01_discover_is_offered_the_first_address() {
    let a = query(DISCOVER, &[]).expect(&start());
    assert_eq!((a.kind(), a.address(), a.siaddr()), (OFFER, pool(0), VHOST));
    assert_eq!(a.codes(), [53, 54, 1, 3, 6, 51]);
    assert_eq!(a.message[28..34], GUEST_MAC);
}

#[test]
fn dhcp_fact_02_the_values_of_the_options() {
    let a = query(DISCOVER, &[]).expect(&start());
    assert_eq!(a.option(54), Some(&[10, 0, 2, 2][..]));
    assert_eq!(a.option(1), Some(&[255, 255, 255, 0][..]));
    assert_eq!(a.option(3), Some(&[10, 0, 2, 2][..]));
    assert_eq!(a.option(6), Some(&[10, 0, 2, 3][..]));
    assert_eq!(a.option(51), Some(&86_400u32.to_be_bytes()[..]));
}

#[test]
fn dhcp_fact_04_request_is_acknowledged_or_refused() {
    let i = start();
    assert_eq!(query(DISCOVER, &[]).expect(&i).kind(), OFFER);
    let a = wish(REQUEST, pool(0)).expect(&i);
    assert_eq!((a.kind(), a.address()), (ACKED, pool(0)));
    for foreign in [Ipv4Addr::new(10, 0, 2, 99), Ipv4Addr::new(192, 168, 1, 5), VHOST] {
        let a = wish(REQUEST, foreign).expect(&i);
        assert_eq!(a.kind(), NAK, "{foreign}");
        assert_eq!(a.option(56), Some(&b"requested address not available"[..]));
        if ours("dhcp-nak") {
            assert!(a.address() == ZERO || a.address() == Ipv4Addr::BROADCAST);
        } else {
            assert_eq!((a.address(), a.codes()), (Ipv4Addr::BROADCAST, vec![53, 56]));
        }
    }
}

#[test]
fn dhcp_fact_05_another_machine_does_not_get_a_taken_address() {
    let i = start();
    assert_eq!(wish(REQUEST, pool(0)).expect(&i).kind(), ACKED);
    assert_eq!(wish(REQUEST, pool(0)).mac(9).expect(&i).kind(), NAK);
    let a = wish(DISCOVER, pool(0)).mac(9).expect(&i);
    assert_eq!((a.kind(), a.address()), (OFFER, pool(1)));
}

#[test]
fn dhcp_fact_06_renewal_by_unicast() {
    let i = start();
    assert_eq!(wish(REQUEST, pool(0)).expect(&i).kind(), ACKED);
    let renew = Query { ciaddr: pool(0), to: VHOST, ..query(REQUEST, &[]) };
    let a = renew.expect(&i);
    assert_eq!((a.kind(), a.address()), (ACKED, pool(0)));
}

#[test]
fn dhcp_fact_07_request_without_an_address_gets_one() {
    let i = start();
    let a = query(REQUEST, &[]).expect(&i);
    assert_eq!((a.kind(), a.address()), (ACKED, pool(0)));
    let a = query(REQUEST, &[]).mac(9).expect(&i);
    assert_eq!((a.kind(), a.address()), (ACKED, pool(1)));
    // The same machine again keeps its own.
    assert_eq!(query(REQUEST, &[]).expect(&i).address(), pool(0));
}

#[test]
fn dhcp_fact_08_plain_bootp_is_answered() {
    let i = start();
    for vendor in [vec![], vec![0; 64], vec![1, 2, 3, 4, 53, 1, DISCOVER, 255]] {
        let a = Query { vendor, ..query(0, &[]) }.expect(&i);
        assert_eq!((a.kind(), a.address()), (ACKED, pool(0)));
        assert_eq!(a.codes(), [53, 54, 1, 3, 6, 51]);
    }
}

#[test]
fn dhcp_fact_09_sixteen_machines_get_an_address() {
    let i = start();
    for n in 0..16 {
        assert_eq!(query(DISCOVER, &[]).mac(n).expect(&i).address(), pool(n));
    }
    let seventeenth = query(DISCOVER, &[]).mac(99).ask(&i);
    if ours("dhcp-pool") {
        // A library may recycle its oldest offer or lease instead of staying silent.
        assert!(seventeenth.is_none_or(|a| a.kind() == OFFER && a.address() != VHOST));
    } else {
        assert!(seventeenth.is_none());
    }
    // Those who have an address keep it.
    assert_eq!(query(DISCOVER, &[]).mac(15).expect(&i).address(), pool(15));
}

#[test]
fn dhcp_fact_10_flags_hops_and_relay_are_zero_in_the_reply() {
    // Answer::parse checks them in every reply; the query sets all three.
    let q = query(DISCOVER, &[]);
    assert_ne!((q.bytes()[3], q.bytes()[10], q.bytes()[24]), (0, 0, 0));
    q.expect(&start());
}

#[test]
fn dhcp_fact_11_an_offer_makes_the_guest_known() {
    let i = start();
    query(DISCOVER, &[]).expect(&i);
    assert!(i.neighbor_info().contains("  ARP  52:54:00:12:34:56  10.0.2.15\n"), "{}", i.neighbor_info());
}

#[test]
fn dhcp_fact_12_the_host_name_is_cut_to_32_characters() {
    let i = Setup { vhostname: Some("h".repeat(60)), ..Setup::default().silent() }.start();
    let a = query(DISCOVER, &[]).expect(&i);
    assert_eq!(a.codes(), [53, 54, 1, 3, 6, 51, 12]);
    assert_eq!(a.option(12), Some("h".repeat(32).as_bytes()));
}

#[test]
fn dhcp_fact_13_the_tftp_server_name() {
    let with_name = |name: &str| {
        let i = Setup { tftp_server_name: Some(name.into()), ..Setup::default().silent() }.start();
        let a = query(DISCOVER, &[]).expect(&i);
        assert_eq!(a.option(66), Some(name.as_bytes()));
        a.siaddr()
    };
    // Before 4.9 the next server is always the virtual host.
    let resolved = if library().at_least(9) { Ipv4Addr::new(127, 0, 0, 9) } else { VHOST };
    assert_eq!(with_name("127.0.0.9"), resolved);
    assert_eq!(with_name("no such name."), VHOST);
}

#[test]
fn dhcp_fact_14_an_http_bootfile_is_announced() {
    let with_file = |file: &str| {
        let setup =
            Setup { bootfile: Some(file.into()), search: Some(vec!["a.b".into()]), ..Setup::default().silent() };
        query(DISCOVER, &[]).expect(&setup.start())
    };
    let a = with_file("http://example/boot.efi");
    assert_eq!(a.codes(), [53, 54, 1, 3, 6, 51, 119, 60]);
    assert_eq!(a.option(60), Some(&b"HTTPClient"[..]));
    assert_eq!(&a.message[108..131], b"http://example/boot.efi");
    let a = with_file("pxelinux.0");
    assert_eq!(a.codes(), [53, 54, 1, 3, 6, 51, 119]);
    assert_eq!(&a.message[108..119], b"pxelinux.0\0");
    // A refusal names no file.
    let a = wish(REQUEST, VHOST).expect(&Setup { bootfile: Some("x".into()), ..Setup::default().silent() }.start());
    assert_eq!((a.kind(), a.message[108]), (NAK, 0));
}

#[test]
fn dhcp_fact_15_restricted_offers_neither_router_nor_dns() {
    let a = query(DISCOVER, &[]).expect(&Setup::with(|c| c.restricted = 1).silent().start());
    assert_eq!(a.codes(), [53, 54, 1, 51]);
}

#[test]
fn dhcp_fact_16_disable_dhcp_is_silent() {
    let i = Setup::with(|c| c.disable_dhcp = true).silent().start();
    assert!(query(DISCOVER, &[]).ask(&i).is_none());
    assert!(Query { to: VHOST, ..query(REQUEST, &[]) }.ask(&i).is_none());
    assert!(i.registrations().0.is_empty(), "swallowed, not sent to the host's port 67");
}

#[test]
fn dhcp_fact_17_other_message_types_are_ignored() {
    let i = start();
    assert_eq!(wish(REQUEST, pool(0)).expect(&i).kind(), ACKED);
    for kind in [2, 4, 5, 6, 7, 9, 200] {
        assert!(wish(kind, pool(0)).ask(&i).is_none(), "type {kind}");
    }
    let inform = Query { ciaddr: pool(0), ..query(8, &[]) }.ask(&i);
    assert!(inform.is_none_or(|a| ours("dhcp-inform") && a.kind() == ACKED && a.address() == ZERO));
    // The lease is still there after DECLINE and RELEASE.
    assert_eq!(wish(REQUEST, pool(0)).mac(9).expect(&i).kind(), NAK);
}

#[test]
fn dhcp_only_to_the_host_and_the_limited_broadcast() {
    if !isolated("dhcp_only_to_the_host_and_the_limited_broadcast", Isolation::Network) {
        return;
    }
    let i = Setup::default().start();
    for to in [Ipv4Addr::new(10, 0, 2, 255), VDNS] {
        let q = Query { to, ciaddr: GUEST, ..query(DISCOVER, &[]) };
        i.input(&q.frame());
        i.settle();
        assert!(i.drain().iter().all(|f| f.udp().is_none()), "{to}");
    }
}

#[test]
fn dhcp_malformed_messages_are_survived() {
    let i = start();
    let good = wish(DISCOVER, pool(0)).bytes();
    // Every length: below 236 bytes there is no answer, and options end with the packet.
    for len in 0..good.len() {
        let datagram = udp(at(ZERO, 68), at(Ipv4Addr::BROADCAST, 67), &good[..len]);
        i.input(&Ip { src: ZERO, ..Ip::new(Ipv4Addr::BROADCAST, UDP) }.frame(&datagram));
        i.settle();
        let answers = i.drain();
        assert_eq!(answers.len(), usize::from(len >= 236), "BOOTP of {len} bytes");
        answers.iter().for_each(|f| drop(Answer::parse(f)));
    }
    let mut wrong_op = good;
    wrong_op[0] = 2;
    let datagram = udp(at(ZERO, 68), at(Ipv4Addr::BROADCAST, 67), &wrong_op);
    i.input(&Ip { src: ZERO, ..Ip::new(Ipv4Addr::BROADCAST, UDP) }.frame(&datagram));
    i.expect_silence();
    // Lengths that run past the packet, and options without a length.
    for tail in [&[50, 255, 1][..], &[50], &[53, 0, 50, 200], &[0, 0, 0, 50, 4, 10, 0]] {
        let a = Query { vendor: [&COOKIE[..], &[53, 1, DISCOVER], tail].concat(), ..query(0, &[]) }.ask(&i);
        assert!(a.is_some_and(|a| a.kind() == OFFER), "{tail:?}");
    }
}

#[test]
fn dhcp_options_that_do_not_fit_are_left_out() {
    let long = |n: usize| Some("d".repeat(n));
    let host = Some("h".repeat(32));
    let setup = |domain| Setup { vhostname: host.clone(), vdomainname: domain, ..Setup::default().silent() };
    let a = query(DISCOVER, &[]).expect(&setup(long(255)).start());
    assert_eq!(a.codes(), [53, 54, 1, 3, 6, 51, 12]);
    let with_search = Setup { search: Some(vec!["example.com".into()]), ..setup(long(230)) };
    let a = query(DISCOVER, &[]).expect(&with_search.start());
    assert_eq!(a.codes(), [53, 54, 1, 3, 6, 51, 12, 15]);
}

#[test]
fn dhcp_the_interface_mtu_is_told_to_those_who_ask() {
    let ask = |mtu, list: &[u8]| {
        let options = [&[55, list.len() as u8], list].concat();
        let i = Setup::default().silent().mtu(mtu, mtu).start();
        query(DISCOVER, &options).expect(&i).option(26).map(<[u8]>::to_vec)
    };
    assert_eq!(ask(9000, &[1, 26, 3]), ours("dhcp-mtu").then(|| 9000u16.to_be_bytes().to_vec()));
    assert_eq!(ask(9000, &[1, 3]), None);
    assert_eq!(ask(1500, &[1, 26, 3]), None);
}

#[test]
fn dhcp_a_whole_life_of_a_lease() {
    let i = start();
    assert_eq!(query(DISCOVER, &[]).expect(&i).kind(), OFFER);
    assert_eq!(wish(REQUEST, pool(0)).expect(&i).kind(), ACKED);
    // Renewing: by unicast to the server, with the address in ciaddr and no server identifier.
    let renew = Query { ciaddr: pool(0), to: VHOST, ..query(REQUEST, &[]) };
    assert_eq!((renew.expect(&i).kind(), renew.expect(&i).address()), (ACKED, pool(0)));
    // Rebinding: the same by broadcast.
    let rebind = Query { ciaddr: pool(0), ..query(REQUEST, &[]) };
    assert_eq!((rebind.expect(&i).kind(), rebind.expect(&i).address()), (ACKED, pool(0)));
    // After a restart of the client: option 50 and no ciaddr.
    assert_eq!(wish(REQUEST, pool(0)).expect(&i).address(), pool(0));
}

#[test]
fn dhcp_what_a_network_boot_needs() {
    let setup = || Setup { bootfile: Some("pxelinux.0".into()), ..Setup::default().silent() };
    // Class, system and machine of a PXE client; it looks at siaddr, file and option 66.
    let pxe = [&[60, 9][..], b"PXEClient", &[93, 2, 0, 0, 94, 3, 1, 2, 1]].concat();
    let a = query(DISCOVER, &pxe).expect(&setup().start());
    assert_eq!((a.siaddr(), &a.message[108..119]), (VHOST, &b"pxelinux.0\0"[..]));
    assert_eq!(a.codes(), [53, 54, 1, 3, 6, 51]);
    let named = Setup { tftp_server_name: Some("boot.example".into()), ..setup() };
    let a = query(DISCOVER, &pxe).expect(&named.start());
    assert_eq!(a.option(66), Some(&b"boot.example"[..]));
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|c| u8::from_str_radix(std::str::from_utf8(c).unwrap(), 16).unwrap()).collect()
}

fn search_option(names: &[&str]) -> Option<Vec<u8>> {
    let search = Some(names.iter().map(|n| (*n).to_owned()).collect());
    let i = Setup { search, ..Setup::default().silent() }.start();
    query(DISCOVER, &[]).expect(&i).option(119).map(<[u8]>::to_vec)
}

#[test]
fn dns_fact_10_the_search_list_is_compressed() {
    for (names, payload) in [
        (&["example.com"][..], "07 6578616d706c65 03 636f6d 00"),
        (&["a.b", "b"], "0161 0162 00 c002"),
        (&["a.example.com", "example.com", "b.example.com"], "0161 07 6578616d706c65 03 636f6d 00 c002 0162 c002"),
        (&["same.org", "same.org"], "0473616d65 036f7267 00 c000"),
        (&["a."], "0161 00"),
    ] {
        assert_eq!(search_option(names), Some(hex(payload)), "{names:?}");
    }
    let last = if ours("search-pointer") { "c005" } else { "c002" };
    let expected = hex(&format!("03636f6d00 07 6578616d706c65 c000 0161 {last}"));
    assert_eq!(search_option(&["com", "example.com", "a.example.com"]), Some(expected));
}

#[test]
fn dns_fact_11_a_bad_search_name_disables_the_option() {
    let label = "x".repeat(64);
    // Upstream before 4.8 leaves out only the bad name.
    let rest = search_option(&["ok.example", ""]);
    assert_eq!(rest.is_none(), library().at_least(8));
    for names in [&["."][..], &[".."], &["a..b"], &[label.as_str()], &[]] {
        assert_eq!(search_option(names), None, "{names:?}");
    }
    let label = "x".repeat(63);
    assert_eq!(search_option(&[label.as_str()]).map(|o| o.len()), Some(65));
}

/// The machine slept for a day; its guests did as well, and still have their addresses.
#[test]
fn a_clock_that_jumps_takes_no_lease_away() {
    for seconds in [3600, 86_400, -86_400] {
        let i = start();
        for n in 0..16 {
            let a = wish(REQUEST, pool(n)).mac(n).expect(&i);
            assert_eq!((a.kind(), a.address()), (ACKED, pool(n)));
        }
        i.set_clock(i.now() + seconds * 1_000_000_000);
        i.turn(Duration::ZERO);
        assert!(query(DISCOVER, &[]).mac(99).ask(&i).is_none(), "every lease is young");
        let a = wish(REQUEST, pool(3)).mac(3).expect(&i);
        assert_eq!((a.kind(), a.address()), (ACKED, pool(3)));
    }
}

#[test]
fn earnest_4_e_a_lease_that_was_not_renewed_makes_room_for_the_17th_machine() {
    if !ours("dhcp-pool") {
        return;
    }
    const DAY: Duration = Duration::from_secs(86_400);
    let i = start();
    let pass = |i: &Instance, time| {
        i.pass(time);
    };
    let fill = |i: &Instance| {
        for n in 0..16 {
            let a = wish(REQUEST, pool(n)).mac(n).expect(i);
            assert_eq!((a.kind(), a.address()), (ACKED, pool(n)));
            pass(i, Duration::from_secs(1));
        }
        assert!(query(DISCOVER, &[]).mac(99).ask(i).is_none(), "every lease is young");
    };
    let serve = |i: &Instance| {
        // Machine 0 renews in time; machine 1 is the oldest that does not.
        pass(i, DAY / 2);
        let renew = Query { ciaddr: pool(0), to: VHOST, ..query(REQUEST, &[]).mac(0) };
        assert_eq!(renew.expect(i).address(), pool(0));
        pass(i, DAY / 2 + Duration::from_secs(1));
        let a = query(DISCOVER, &[]).mac(99).expect(i);
        assert_eq!((a.kind(), a.address()), (OFFER, pool(1)));
        let a = wish(REQUEST, pool(1)).mac(99).expect(i);
        assert_eq!((a.kind(), a.address()), (ACKED, pool(1)));
        assert!(i.neighbor_info().contains("52:54:00:12:34:63  10.0.2.16\n"), "{}", i.neighbor_info());
        assert_eq!(wish(REQUEST, pool(0)).mac(0).expect(i).kind(), ACKED);
    };
    fill(&i);
    // The stream has no place for the age of a lease: it begins anew.
    let (result, stream) = i.save_state();
    assert_eq!(result, 0);
    serve(&i);
    let loaded = start();
    // The day begins with the load, not when the application's loop last came round.
    loaded.move_clock(2 * DAY);
    assert_eq!(loaded.load_state(4, &stream), (0, 0));
    assert!(query(DISCOVER, &[]).mac(99).ask(&loaded).is_none(), "a loaded lease is not over");
    // As in `fill`, machine 1 is the first of those that do not renew.
    serve(&loaded);
}

#[test]
fn earnest_4_f_a_request_that_takes_another_servers_offer_is_not_answered() {
    if !ours("dhcp-other-server") {
        return;
    }
    let i = start();
    let choose = |server: [u8; 4]| query(REQUEST, &[&[50, 4, 10, 0, 2, 15, 54, 4], &server[..]].concat());
    assert_eq!(query(DISCOVER, &[]).expect(&i).address(), pool(0));
    assert!(choose([192, 0, 2, 1]).ask(&i).is_none(), "neither a lease nor a refusal");
    // The offer was declined by that: the next machine gets the address.
    let a = query(DISCOVER, &[]).mac(9).expect(&i);
    assert_eq!((a.kind(), a.address()), (OFFER, pool(0)));
    assert_eq!(choose([10, 0, 2, 2]).mac(9).expect(&i).kind(), ACKED);
    // An address that is not ours either is not refused, as that is the other server's to say.
    assert!(query(REQUEST, &[50, 4, 192, 0, 2, 77, 54, 4, 192, 0, 2, 1]).ask(&i).is_none());
}

#[test]
fn earnest_4_h_renewal_and_rebinding_times_are_told() {
    if !ours("dhcp-times") {
        return;
    }
    let i = start();
    for a in [query(DISCOVER, &[]).expect(&i), wish(REQUEST, pool(0)).expect(&i)] {
        assert_eq!(a.option(58), Some(&43_200u32.to_be_bytes()[..]), "T1, half of the lease");
        assert_eq!(a.option(59), Some(&75_600u32.to_be_bytes()[..]), "T2, seven eighths of it");
    }
    // Who asks for no lease is told none of its times.
    let a = Query { ciaddr: pool(0), ..query(8, &[]) }.expect(&i);
    assert_eq!((a.option(51), a.option(58), a.option(59)), (None, None, None));
    assert_eq!(wish(REQUEST, VHOST).expect(&i).option(58), None);
}

#[test]
fn earnest_4_k_a_pool_outside_of_the_network_is_served() {
    let outside = |c: &mut SlirpConfig| c.vnetwork = in_addr(Ipv4Addr::new(192, 168, 7, 0));
    let i = Setup::with(outside).silent().start();
    let a = query(DISCOVER, &[]).expect(&i);
    assert_eq!((a.kind(), a.address()), (OFFER, pool(0)));
    let a = wish(REQUEST, pool(0)).expect(&i);
    assert_eq!((a.kind(), a.address()), (ACKED, pool(0)));
    let renew = Query { ciaddr: pool(0), to: VHOST, ..query(REQUEST, &[]) };
    assert_eq!(renew.expect(&i).kind(), ACKED);
    assert_eq!(wish(REQUEST, Ipv4Addr::new(192, 168, 7, 15)).expect(&i).kind(), NAK);
    // It is in the saved state like any other.
    let (result, stream) = i.save_state();
    let loaded = Setup::with(outside).silent().start();
    assert_eq!((result, loaded.load_state(4, &stream)), (0, (0, 0)));
    assert_eq!(wish(REQUEST, pool(0)).mac(9).expect(&loaded).kind(), NAK);
    assert_eq!(wish(REQUEST, pool(0)).expect(&loaded).kind(), ACKED);
    // And so is a connection of who lives there.
    let at_forward = at(Ipv4Addr::new(192, 168, 7, 100), 1234);
    let forward = |i: &Instance| {
        let sink = Box::new(|_: &Instance, data: &[u8]| data.len() as isize);
        assert_eq!(i.add_guestfwd(&mut at_forward.ip().clone(), at_forward.port(), sink), 0);
    };
    forward(&i);
    let mut conn = Conn::connect(&i, at_forward);
    let (result, stream) = i.save_state();
    let loaded = Setup::with(outside).start();
    forward(&loaded);
    assert_eq!((result, loaded.load_state(4, &stream)), (0, (0, 0)));
    loaded.socket_recv(*at_forward.ip(), at_forward.port(), b"after");
    assert_eq!(conn.receive(&loaded, 5).1, b"after");
}

/// QEMU before 8.2 loads the states of all its user networks into the first one. A guest that renews its lease half a day
/// later is to keep its address, and with it its connections.
#[test]
fn earnest_state_a_loaded_lease_gives_way_to_who_uses_the_address() {
    let renew = |mac| Query { ciaddr: pool(0), to: VHOST, ..query(REQUEST, &[]).mac(mac) };
    let loaded = || {
        let other = start();
        assert_eq!(wish(REQUEST, pool(0)).mac(1).expect(&other).kind(), ACKED);
        let i = start();
        let (result, stream) = other.save_state();
        assert_eq!((result, i.load_state(4, &stream)), (0, (0, 0)));
        i
    };
    let i = loaded();
    // Who only wishes for the address does not get it.
    let a = query(DISCOVER, &[50, 4, 10, 0, 2, 15]).mac(2).expect(&i);
    assert_eq!((a.kind(), a.address()), (OFFER, pool(1)));
    assert_eq!(wish(REQUEST, pool(0)).mac(2).expect(&i).kind(), NAK);
    let a = renew(0x56).expect(&i);
    if !ours("dhcp-loaded-lease") {
        assert_ne!(a.address(), pool(0));
        return;
    }
    assert_eq!((a.kind(), a.address()), (ACKED, pool(0)));
    // From then on it is the one's that uses it.
    assert_eq!(renew(1).expect(&i).kind(), NAK);
    assert_eq!(renew(0x56).expect(&i).kind(), ACKED);
    // And it stays the other's if that is heard of first.
    let i = loaded();
    assert_eq!(renew(1).expect(&i).kind(), ACKED);
    assert_eq!(renew(0x56).expect(&i).kind(), NAK);
}

/// What was offered and not taken up is free again after a minute, and is not kept for a day by being saved.
#[test]
fn earnest_4_e_offers_of_a_saved_state_are_no_leases() {
    if !ours("dhcp-pool") {
        return;
    }
    let i = start();
    for n in 0..16 {
        assert_eq!(query(DISCOVER, &[]).mac(n).expect(&i).address(), pool(n));
    }
    assert_eq!(wish(REQUEST, pool(1)).mac(1).expect(&i).kind(), ACKED);
    let (result, stream) = i.save_state();
    assert_eq!(result, 0);
    let loaded = start();
    assert_eq!(loaded.load_state(4, &stream), (0, 0));
    // Who was offered an address takes it up where it comes out.
    assert_eq!(wish(REQUEST, pool(0)).mac(0).expect(&loaded).kind(), ACKED);
    assert_eq!(wish(REQUEST, pool(1)).mac(99).expect(&loaded).kind(), NAK);
    let a = query(DISCOVER, &[]).mac(99).expect(&loaded);
    assert_eq!((a.kind(), a.address()), (OFFER, pool(2)));
}

/// In upstream's state an offer looks like a lease.
#[test]
fn earnest_4_f_a_loaded_offer_is_free_when_another_servers_is_taken() {
    if !ours("dhcp-other-server") {
        return;
    }
    let i = start();
    assert_eq!(wish(REQUEST, pool(0)).mac(1).expect(&i).kind(), ACKED);
    let (result, stream) = i.save_state();
    assert_eq!(result, 0);
    let loaded = start();
    assert_eq!(loaded.load_state(4, &stream), (0, 0));
    let other_server = query(REQUEST, &[50, 4, 10, 0, 2, 15, 54, 4, 192, 0, 2, 1]).mac(1);
    assert!(other_server.ask(&loaded).is_none());
    let a = query(DISCOVER, &[]).mac(9).expect(&loaded);
    assert_eq!((a.kind(), a.address()), (OFFER, pool(0)));
}
