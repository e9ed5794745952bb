use simple_dns::Name as DnsName;

use super::*;

fn query(name: &str, kind: u16) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    bytes
}

fn asked(name: &str) -> Asked {
    read_query(&query(name, 1)).unwrap()
}

/// The code of the reply that a query gets.
fn code(query: &[u8]) -> Option<u8> {
    match read_query(query) {
        Err(Unfit::Reply(reply)) => {
            assert_eq!(reply[..2], query[..2]);
            assert_eq!(reply[2] & 0x80, 0x80);
            Some(reply[3] & 15)
        }
        Err(Unfit::Silent) => None,
        Ok(asked) => panic!("{asked:?}"),
    }
}

fn ipv4(name: &str, ip: &str, ttl: u32) -> ResourceRecord<'static> {
    let address = ip.parse::<Ipv4Addr>().unwrap().to_bits();
    ResourceRecord::new(DnsName::new(name).unwrap().into_owned(), CLASS::IN, ttl, RData::A(A { address }))
}

fn ipv6(name: &str, ip: &str, ttl: u32) -> ResourceRecord<'static> {
    let address = ip.parse::<Ipv6Addr>().unwrap().to_bits();
    ResourceRecord::new(DnsName::new(name).unwrap().into_owned(), CLASS::IN, ttl, RData::AAAA(AAAA { address }))
}

fn alias(name: &str, target: &str, ttl: u32) -> ResourceRecord<'static> {
    let target = RData::CNAME(CNAME(DnsName::new(target).unwrap().into_owned()));
    ResourceRecord::new(DnsName::new(name).unwrap().into_owned(), CLASS::IN, ttl, target)
}

fn message(name: &str, records: Vec<ResourceRecord<'static>>) -> Vec<u8> {
    let query = query(name, 1);
    reply_with(&Packet::parse(&query).unwrap(), records, RCODE::NoError).build_bytes_vec_compressed().unwrap()
}

fn looked(name: &str, records: Vec<ResourceRecord<'static>>) -> (Vec<(String, u64)>, Option<usize>) {
    let answer = look_through(&message(name, records), &asked(name), None, |ip| !ip.is_loopback()).unwrap();
    let addresses = answer.addresses.iter().map(|(ip, ttl)| (ip.to_string(), ttl.secs())).collect();
    let left = answer.rewritten.map(|bytes| Packet::parse(&bytes).unwrap().answers.len());
    (addresses, left)
}

#[test]
fn a_query_that_can_be_read_in_one_way_is_read() {
    let plain = query("WWW.Example.org", 28);
    let expected = Asked { id: 0x1234, name: "www.example.org".parse().unwrap(), kind: 28 };
    assert_eq!(read_query(&plain).unwrap(), expected);
    let mut edns = plain.clone();
    edns[11] = 1;
    edns.extend([0, 0, 41, 4, 0xd0, 0, 0, 0x80, 0, 0, 4, 0, 10, 0, 0]);
    assert_eq!(read_query(&edns).unwrap(), expected);
    // Bytes behind it, and a record that is another one.
    assert_eq!(code(&[&edns[..], &[0]].concat()), Some(1));
    assert_eq!(code(&[&plain[..], &[0]].concat()), Some(1));
    let mut odd = plain.clone();
    odd[3] = 0x40;
    assert_eq!(code(&odd), Some(1));
    // An option that is cut.
    let mut half = edns.clone();
    *half.last_mut().unwrap() = 1;
    assert_eq!(code(&half), Some(1));
    let mut other = edns.clone();
    other[plain.len() + 2] = 250;
    assert_eq!(code(&other), Some(1));
    assert_eq!(read_query(&plain[..11]), Err(Unfit::Silent));
    assert_eq!(code(&plain[..plain.len() - 1]), Some(1));
}

#[test]
fn a_query_with_two_questions_is_refused() {
    let mut two = query("allowed.test", 1);
    two[5] = 2;
    two.extend(&query("denied.test", 1)[12..]);
    assert_eq!(code(&two), Some(1));
    let mut none = query("allowed.test", 1);
    none[5] = 0;
    assert_eq!(code(&none), Some(1));
}

#[test]
fn what_hosts_do_not_ask_is_refused() {
    // What is asked on can be answered, and failed.
    for kind in [1, 2, 5, 6, 12, 15, 16, 28, 33, 35, 43, 46, 47, 48, 64, 65, 257] {
        let asked = read_query(&query("example.org", kind)).unwrap();
        assert!(failure(&asked).is_some(), "{kind}");
    }
    for kind in [10, 44, 52, 250, 251, 252, 255, 65535] {
        assert_eq!(code(&query("example.org", kind)), Some(5), "{kind}");
    }
    let mut chaos = query("version.bind", 16);
    *chaos.last_mut().unwrap() = 3;
    assert_eq!(code(&chaos), Some(5));
    let mut update = query("example.org", 6);
    update[2] = 5 << 3;
    assert_eq!(code(&update), Some(4));
    // A dot within a label, and a name that is compressed: a loop.
    let mut dot = query("www-example.org", 1);
    dot[16] = b'.';
    assert_eq!(code(&dot), Some(5));
    let mut looped = query("x", 1);
    looped.splice(12..15, [0xc0, 12]);
    assert_eq!(code(&looped), Some(1));
    let mut answer = query("example.org", 1);
    answer[2] |= 0x80;
    assert_eq!(read_query(&answer), Err(Unfit::Silent));
}

#[test]
fn a_refusal_has_the_question_and_speaks_edns_where_the_query_does() {
    let mut bytes = query("Denied.test", 1);
    bytes[11] = 1;
    bytes.extend([0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0]);
    let bytes = reply(&bytes, RCODE::Refused);
    let reply = Packet::parse(&bytes).unwrap();
    assert_eq!((reply.id(), reply.rcode(), reply.questions.len()), (0x1234, RCODE::Refused, 1));
    assert_eq!(reply.questions[0].qname.to_string(), "Denied.test");
    assert!(reply.has_flags(PacketFlag::RESPONSE | PacketFlag::RECURSION_DESIRED | PacketFlag::RECURSION_AVAILABLE));
    assert_eq!(reply.opt().unwrap().udp_packet_size, DATAGRAM);
    assert!(Packet::parse(&super::reply(&query("a", 1), RCODE::Refused)).unwrap().opt().is_none());
}

#[test]
fn an_answer_is_one_to_its_question() {
    let asked = asked("www.example.org");
    let good = message("WWW.example.ORG", vec![]);
    assert!(answers(&good, &asked));
    for spoil in [0, 1, 2, 5, 14, good.len() - 3, good.len() - 1] {
        let mut bad = good.clone();
        bad[spoil] ^= if spoil == 2 { 0x80 } else { 1 };
        assert!(!answers(&bad, &asked), "{spoil}");
    }
    let header = |flags: [u8; 2]| [&[0x12, 0x34][..], &flags, &[0; 8]].concat();
    assert!(answers(&header([0x81, 0x85]), &asked), "a failure need not repeat the question");
    assert!(!answers(&header([0x81, 0x80]), &asked));
}

#[test]
fn the_addresses_of_a_name_are_those_at_the_end_of_its_aliases() {
    let one = |ip: &str, ttl| vec![(ip.to_owned(), ttl)];
    assert_eq!(looked("a.test", vec![ipv4("A.test", "8.8.8.8", 300)]), (one("8.8.8.8", 300), None));
    // The shortest time on the way counts, in whatever order the records are.
    let chain = vec![alias("b.test", "c.test", 20), ipv4("c.test", "8.8.8.8", 300), alias("a.test", "B.test", 50)];
    assert_eq!(looked("a.test", chain), (one("8.8.8.8", 20), None));
    // A chain that goes in a circle ends.
    assert_eq!(looked("a.test", vec![alias("a.test", "b.test", 1), alias("b.test", "a.test", 1)]), (vec![], None));
    assert_eq!(looked("a.test", vec![alias("a.test", "a.test", 1)]).0, vec![]);
}

#[test]
fn records_of_other_names_are_taken_out() {
    let extra = vec![ipv4("a.test", "8.8.8.8", 300), ipv4("other.test", "9.9.9.9", 300), ipv6("b.test", "2a00::1", 1)];
    assert_eq!(looked("a.test", extra), (vec![("8.8.8.8".into(), 300)], Some(1)));
    let query = query("a.test", 1);
    let mut packet = reply_with(&Packet::parse(&query).unwrap(), vec![ipv4("a.test", "8.8.8.8", 5)], RCODE::NoError);
    packet.additional_records.push(ipv4("ns.test", "9.9.9.9", 5));
    packet.name_servers.push(ipv4("a.test", "9.9.9.9", 5));
    let bytes = packet.build_bytes_vec_compressed().unwrap();
    let answer = look_through(&bytes, &asked("a.test"), None, |_| true).unwrap();
    assert_eq!(answer.addresses.len(), 1);
    let rewritten = answer.rewritten.unwrap();
    let packet = Packet::parse(&rewritten).unwrap();
    assert_eq!((packet.answers.len(), packet.name_servers.len(), packet.additional_records.len()), (1, 0, 0));
}

#[test]
fn addresses_that_may_not_stand_are_taken_out() {
    let records = vec![ipv4("a.test", "127.0.0.1", 9), ipv4("a.test", "8.8.8.8", 9), ipv6("a.test", "::1", 9)];
    assert_eq!(looked("a.test", records), (vec![("8.8.8.8".into(), 9)], Some(1)));
}

#[test]
fn times_are_bounded() {
    assert_eq!(looked("a.test", vec![ipv4("a.test", "8.8.8.8", 0)]), (vec![("8.8.8.8".into(), 0)], None));
    let (addresses, left) = looked("a.test", vec![ipv4("a.test", "8.8.8.8", 1 << 30)]);
    assert_eq!((addresses[0].1, left), (3600, Some(1)));
    assert_eq!(looked("a.test", vec![ipv4("a.test", "8.8.8.8", 1 << 31)]).0[0].1, 0);
    let many = (0..200).map(|last| ipv4("a.test", &format!("8.8.8.{last}"), 9)).collect();
    let (addresses, left) = looked("a.test", many);
    assert_eq!((addresses.len(), left), (64, Some(64)));
}

#[test]
fn records_of_https_lose_addresses_and_the_keys_to_hide_names() {
    let bytes = query("a.test", 65);
    let asked = read_query(&bytes).unwrap();
    let record = |target: &'static str, mandatory: &[u16]| {
        let mut service = SVCB::new(1, DnsName::new(target).unwrap());
        service.set_mandatory(mandatory.iter().copied());
        service.set_port(443);
        service.set_ipv4hint(&[0x7f00_0001]);
        service.set_ipv6hint(&[1]);
        service.set_param(SVCParam::Ech([0, 1, 2][..].to_vec().into()));
        ResourceRecord::new(DnsName::new("a.test").unwrap(), CLASS::IN, 60, RData::HTTPS(HTTPS(service)))
    };
    let records = vec![record(".", &[]), record("A.test", &[3]), record("cdn.test", &[]), record(".", &[5])];
    let packet = reply_with(&Packet::parse(&bytes).unwrap(), records, RCODE::NoError);
    let message = packet.build_bytes_vec_compressed().unwrap();
    let answer = look_through(&message, &asked, None, |_| true).unwrap();
    assert!(answer.addresses.is_empty());
    let rewritten = answer.rewritten.unwrap();
    let left = Packet::parse(&rewritten).unwrap();
    assert_eq!(left.answers.len(), 2);
    for record in &left.answers {
        let RData::HTTPS(HTTPS(service)) = &record.rdata else { panic!("{record:?}") };
        assert!(HINTS.iter().all(|&key| service.get_param(key).is_none()));
        assert!(service.get_param(3).is_some());
    }
}

#[test]
fn answers_that_cannot_be_read_are_none() {
    let good = message("a.test", vec![alias("a.test", "b.test", 5), ipv4("b.test", "8.8.8.8", 5)]);
    let asked = asked("a.test");
    assert!(look_through(&good, &asked, None, |_| true).is_some());
    for length in 12..good.len() {
        assert_eq!(look_through(&good[..length], &asked, None, |_| true), None, "{length}");
    }
    // So many records are promised that memory for them would be the harm.
    let mut many = good.clone();
    (many[6], many[7]) = (0xff, 0xff);
    assert_eq!(look_through(&many, &asked, None, |_| true), None);
    // A name that points to itself.
    let mut looped = good.clone();
    let at = good.windows(2).position(|two| two == [0xc0, 12]).unwrap();
    looped[at + 1] = at as u8;
    assert_eq!(look_through(&looped, &asked, None, |_| true), None);
}

#[test]
fn names_of_here_are_answered_as_a_server_would() {
    let asks = |name: &str, kind| {
        let bytes = query(name, kind);
        (read_query(&bytes).unwrap(), bytes)
    };
    let name = |text: &str| text.parse::<crate::policy::Name>().unwrap();
    let (asked, bytes) = asks("www.test", 1);
    let aliases = vec![(name("www.test"), name("db.test"), 9)];
    let addresses: Vec<(IpAddr, u32)> = vec![("10.0.2.2".parse().unwrap(), 5)];
    let found = Found { aliases: aliases.clone(), addresses, ..Found::default() };
    let reply = own_reply(&bytes, &asked, &found, true).unwrap();
    assert!(answers(&reply, &asked));
    let looked = look_through(&reply, &asked, None, |_| true).unwrap();
    assert_eq!(
        looked,
        Answer { rewritten: None, addresses: vec![("10.0.2.2".parse().unwrap(), Duration::from_secs(5))] }
    );
    let missing = own_reply(&bytes, &asked, &Found { missing: true, ..Found::default() }, true).unwrap();
    assert_eq!((missing[3] & 15, missing[7]), (3, 0));
    let nothing = own_reply(&bytes, &asked, &Found::default(), true).unwrap();
    assert_eq!((nothing[3] & 15, nothing[7]), (0, 0));
    let (asked, bytes) = asks("2.2.0.10.in-addr.arpa", 12);
    let found = Found { pointer: Some((name("db.test"), 5)), ..Found::default() };
    let reply = own_reply(&bytes, &asked, &found, true).unwrap();
    let RData::PTR(PTR(pointer)) = Packet::parse(&reply).unwrap().answers.remove(0).rdata else { panic!() };
    assert_eq!(pointer.to_string(), "db.test");
    // What does not fit into a datagram is cut.
    let (asked, bytes) = asks("many.test", 28);
    let addresses = (0..40).map(|last| (Ipv6Addr::from_bits(last).into(), 5)).collect();
    let found = Found { addresses, ..Found::default() };
    let cut = own_reply(&bytes, &asked, &found, true).unwrap();
    assert_eq!((cut[2] & 2, cut[7]), (2, 0));
    assert_eq!(own_reply(&bytes, &asked, &found, false).unwrap()[7], 40);
}

#[test]
fn an_alias_of_a_name_elsewhere_is_asked_for_there() {
    let name = |text: &str| text.parse::<crate::policy::Name>().unwrap();
    let mut bytes = query("far.test", 1);
    bytes[11] = 1;
    bytes.extend([0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0]);
    let own = read_query(&bytes).unwrap();
    let (other, asked) = query_elsewhere(&bytes, &own, &name("Example.org")).unwrap();
    assert_eq!(read_query(&other).unwrap(), asked);
    assert_eq!(asked, Asked { name: name("example.org"), ..own.clone() });
    let answer = message("example.org", vec![ipv4("example.org", "8.8.8.8", 300)]);
    let before = Before { asked: own.clone(), aliases: vec![(name("far.test"), name("example.org"), 30)] };
    let looked = look_through(&answer, &asked, Some(&before), |_| true).unwrap();
    assert_eq!(looked.addresses, [("8.8.8.8".parse().unwrap(), Duration::from_secs(30))]);
    let whole = looked.rewritten.unwrap();
    assert!(answers(&whole, &own));
    assert_eq!(look_through(&whole, &own, None, |_| true).unwrap().addresses.len(), 1);
}
