//! Ethernet and ARP: the IPv4 facts of docs/contract/ethernet-arp-ndp.md.

mod common;
use common::*;

const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 77);
const OTHER_MAC: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];
const ZERO: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

fn who_has(tip: Ipv4Addr) -> Vec<u8> {
    arp(1, GUEST_MAC, GUEST, [0; 6], tip)
}

/// The length of a frame whose content is `content` bytes long: padded to 60 since 4.8.
fn padded(content: usize) -> usize {
    if library().at_least(8) { content.max(60) } else { content }
}

fn ping_from(src: Ipv4Addr, dst: Ipv4Addr) -> Vec<u8> {
    Ip { src, ..Ip::new(dst, ICMP) }.frame(&echo_request(7, 1, b"0123456789abcdef"))
}

#[test]
fn ethernet_fact_01_the_virtual_host_answers_arp_with_64_bytes() {
    let i = Setup::default().silent().start();
    let frames = i.answer(&who_has(VHOST));
    let [Frame::Arp { src_mac, dst_mac, op, sha, sip, tha, tip, len }] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!((*op, *len), (2, 64));
    assert_eq!((*src_mac, *sha, *sip), (VHOST_MAC, VHOST_MAC, VHOST));
    assert_eq!((*dst_mac, *tha, *tip), (GUEST_MAC, GUEST_MAC, GUEST));
}

#[test]
fn ethernet_fact_02_dns_address_and_guest_forwards_answer_arp() {
    let i = Setup::default().start();
    let reply_mac = |frames: Vec<Frame>| match &frames[..] {
        [Frame::Arp { op: 2, sha, src_mac, .. }] => {
            assert_eq!(sha, src_mac);
            Some(*sha)
        }
        [] => None,
        other => panic!("{other:?}"),
    };
    assert_eq!(reply_mac(i.answer(&who_has(VDNS))), Some([0x52, 0x55, 10, 0, 2, 3]));
    assert_eq!(reply_mac(i.answer(&who_has(Ipv4Addr::new(10, 0, 2, 4)))), None);
    let mut address = Ipv4Addr::UNSPECIFIED;
    assert_eq!(i.add_guestfwd(&mut address, 1234, Box::new(|_, d| d.len() as isize)), 0);
    assert_eq!(address, Ipv4Addr::new(10, 0, 2, 4));
    assert_eq!(reply_mac(i.answer(&who_has(address))), Some([0x52, 0x55, 10, 0, 2, 4]));
}

#[test]
fn ethernet_fact_03_gratuitous_arp_is_learned_silently() {
    let i = Setup::default().silent().start();
    assert!(i.answer(&arp(1, OTHER_MAC, OTHER, [0; 6], OTHER)).is_empty());
    assert!(i.neighbor_info().contains("  ARP  52:54:00:01:02:03  10.0.2.77\n"), "{}", i.neighbor_info());
}

#[test]
fn ethernet_fact_04_a_probe_for_the_guests_own_address_stays_unanswered() {
    let i = Setup::default().silent().start();
    assert!(i.answer(&arp(1, GUEST_MAC, ZERO, [0; 6], GUEST)).is_empty());
    assert_eq!(i.neighbor_info().lines().count(), 1, "{}", i.neighbor_info());
    // A probe for an address of the library is answered, or two machines would use it; nothing is learned from it.
    let frames = i.answer(&arp(1, GUEST_MAC, ZERO, [0; 6], VHOST));
    assert!(matches!(&frames[..], [Frame::Arp { op: 2, tip: ZERO, .. }]), "{frames:?}");
    assert_eq!(i.neighbor_info().lines().count(), 1, "{}", i.neighbor_info());
}

#[test]
fn ethernet_fact_05_short_other_and_foreign_arp_is_ignored() {
    let i = Setup::default().start();
    let whole = who_has(VHOST);
    assert!(i.answer(&whole[..41]).is_empty());
    for op in [0, 3, 4, 8, 9, 0xffff] {
        assert!(i.answer(&arp(op, GUEST_MAC, GUEST, [0; 6], VHOST)).is_empty(), "op {op}");
    }
    for target in [Ipv4Addr::new(10, 0, 3, 2), Ipv4Addr::new(8, 8, 8, 8), OTHER, Ipv4Addr::new(10, 0, 2, 255)] {
        assert!(i.answer(&who_has(target)).is_empty(), "{target}");
    }
    assert_eq!(i.answer(&whole[..42]).len(), 1);
}

#[test]
fn ethernet_fact_06_hardware_type_and_lengths_are_not_checked() {
    let i = Setup::default().start();
    let mut frame = who_has(VHOST);
    frame[14..20].copy_from_slice(&[0, 6, 0x86, 0xdd, 8, 16]);
    assert_eq!(i.answer(&frame).len(), 1);
}

#[test]
fn ethernet_fact_07_the_seventeenth_neighbor_replaces_the_first() {
    let i = Setup::default().silent().start();
    let neighbor = |n: u8| (Ipv4Addr::new(10, 0, 2, 100 + n), [0x52, 0x54, 0, 0, 1, n]);
    for n in 1..=16 {
        let (ip, mac) = neighbor(n);
        i.input(&arp(1, mac, ip, [0; 6], ip));
    }
    let before = i.neighbor_info();
    assert_eq!(before.lines().count(), 17, "{before}");
    assert!(before.contains(" 10.0.2.101\n") && before.contains(" 10.0.2.116\n"));
    let (ip, mac) = neighbor(17);
    i.input(&arp(1, mac, ip, [0; 6], ip));
    let after = i.neighbor_info();
    assert_eq!(after.lines().count(), 17, "{after}");
    assert_eq!(after.lines().nth(1), Some("    ARP  52:54:00:00:01:11  10.0.2.117"), "{after}");
    assert!(!after.contains(" 10.0.2.101\n") && after.contains(" 10.0.2.102\n"));
    // A known address is updated in place.
    let (ip, _) = neighbor(5);
    i.input(&arp(1, OTHER_MAC, ip, [0; 6], ip));
    assert_eq!(i.neighbor_info().lines().nth(5), Some("    ARP  52:54:00:01:02:03  10.0.2.105"));
}

#[test]
fn ethernet_fact_08_arp_is_unanswered_when_ipv4_is_off() {
    let i = Setup::with(|c| c.in_enabled = false).start();
    assert!(i.answer(&who_has(VHOST)).is_empty());
    assert!(i.answer(&ping_from(GUEST, VHOST)).is_empty());
    i.expect_silence();
}

#[test]
fn ethernet_fact_09_ipv4_always_comes_from_the_virtual_hosts_mac() {
    let i = Setup::default().start();
    for dst in [VHOST, VDNS] {
        i.input(&ping_from(GUEST, dst));
        let (packet, icmp) = i.wait_icmp("an echo reply");
        assert_eq!((packet.src, packet.src_mac, packet.dst_mac, icmp.kind), (dst, VHOST_MAC, GUEST_MAC, 0));
    }
}

#[test]
fn ethernet_fact_10_an_unknown_guest_address_is_resolved_first() {
    let i = Setup::default().silent().start();
    i.input(&ping_from(OTHER, VHOST));
    i.settle();
    let frames = i.drain();
    let [Frame::Arp { src_mac, dst_mac, op, sha, sip, tha, tip, len }] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!((*src_mac, *dst_mac, *op), (VHOST_MAC, BROADCAST_MAC, 1));
    assert_eq!((*sha, *sip, *tha, *tip, *len), (VHOST_MAC, VHOST, [0; 6], OTHER, padded(42)));
    i.input(&arp(2, OTHER_MAC, OTHER, VHOST_MAC, VHOST));
    let (packet, icmp) = i.wait_icmp("the echo reply after the ARP answer");
    assert_eq!((packet.dst, packet.dst_mac, icmp.kind), (OTHER, OTHER_MAC, 0));
    i.expect_silence();
}

#[test]
fn ethernet_fact_11_a_packet_waits_one_second_for_its_neighbor() {
    let i = Setup::default().silent().start();
    i.input(&ping_from(OTHER, VHOST));
    i.settle();
    assert_eq!(i.drain().len(), 1);
    i.advance(Duration::from_millis(1100));
    i.input(&arp(2, OTHER_MAC, OTHER, VHOST_MAC, VHOST));
    i.settle();
    assert!(i.drain().iter().all(|f| f.icmp().is_none()));
}

#[test]
fn ethernet_fact_17_other_ethertypes_are_ignored() {
    let i = Setup::default().start();
    let ping = ping_from(GUEST, VHOST);
    let mut vlan = ping.clone();
    vlan.splice(12..12, [0x81, 0, 0, 5]);
    i.input(&vlan);
    for ethertype in [0u16, 46, 0x0805, 0x0807, 0x86dd, 0x8847, 0x8863, 0x88cc, 0xffff] {
        let mut frame = ping.clone();
        frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
        i.input(&frame);
    }
    i.expect_silence();
}

#[test]
fn ethernet_fact_18_short_frames_are_padded_to_60_bytes() {
    let i = Setup::default().start();
    i.input(&Ip::new(VHOST, ICMP).frame(&echo_request(1, 1, b"")));
    let (packet, icmp) = i.wait_icmp("an echo reply");
    assert_eq!((packet.total_len, icmp.data.len(), packet.frame_len), (28, 0, padded(42)));
}

#[test]
fn ethernet_any_destination_mac_is_accepted() {
    let i = Setup::default().start();
    for mac in [[0; 6], BROADCAST_MAC, [2, 0, 0, 0, 0, 9], GUEST_MAC] {
        let mut frame = ping_from(GUEST, VHOST);
        frame[..6].copy_from_slice(&mac);
        i.input(&frame);
        i.wait_icmp("an echo reply");
    }
}

#[test]
fn ethernet_frames_below_14_bytes_and_negative_lengths_are_ignored() {
    let i = Setup::default().start();
    let ping = ping_from(GUEST, VHOST);
    for len in [-1, i32::MIN, 0, 1, 13] {
        // SAFETY: the library must not read more than `len` bytes, and 13 are there.
        unsafe { (library().slirp_input)(i.slirp.get(), ping.as_ptr(), len) }
    }
    i.expect_silence();
}

#[test]
fn ethernet_broadcast_and_zero_senders_are_never_learned() {
    let i = Setup::default().silent().start();
    for ip in [ZERO, Ipv4Addr::BROADCAST, Ipv4Addr::new(10, 0, 2, 255)] {
        i.input(&arp(2, OTHER_MAC, ip, VHOST_MAC, VHOST));
    }
    assert_eq!(i.neighbor_info().lines().count(), 1, "{}", i.neighbor_info());
}

#[test]
fn ethernet_a_claim_on_the_librarys_addresses() {
    let i = Setup::default().silent().start();
    i.input(&arp(2, OTHER_MAC, VHOST, VHOST_MAC, VHOST));
    i.input(&arp(2, OTHER_MAC, VDNS, VHOST_MAC, VHOST));
    let learned = i.neighbor_info().lines().count() - 1;
    assert_eq!(learned, if ours("arp-claims") { 0 } else { 2 }, "{}", i.neighbor_info());
}

#[test]
fn ethernet_packets_for_one_unresolved_address_are_bounded_and_ask_once() {
    let i = Setup::default().silent().start();
    for n in 0..2000u16 {
        let echo = echo_request(7, n, b"x");
        i.input(&Ip { src: OTHER, ..Ip::new(VHOST, ICMP) }.frame(&echo));
    }
    i.settle();
    let asked = i.drain().iter().filter(|f| f.arp_request() == Some(OTHER)).count();
    if ours("arp-one-request") {
        assert_eq!(asked, 1, "requests for one address within a second");
    } else {
        // Upstream has no session for replies of its own, so that each packet asks for itself.
        assert!(asked >= 1);
    }
    // Not all of them are kept.
    i.input(&arp(2, OTHER_MAC, OTHER, VHOST_MAC, VHOST));
    i.settle();
    let kept = i.drain().iter().filter(|f| f.icmp().is_some()).count();
    assert!(kept >= 1 && (!ours("arp-queue-bound") || kept < 1000), "{kept} packets were kept");
    // Other guests are served.
    i.input(&arp(1, GUEST_MAC, GUEST, [0; 6], GUEST));
    i.input(&ping_from(GUEST, VHOST));
    i.wait("an echo reply for the known guest", |f| (f.ip()?.dst == GUEST).then_some(()));
}
