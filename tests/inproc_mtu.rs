//! No frame is longer than the link's MTU and its header, whatever MTU and MRU an application chooses, and whatever a
//! guest or a host has it say.

mod common;

use common::*;

/// MTUs around what each protocol says at least, and some that people use.
const MTUS: [usize; 30] = [
    68, 69, 70, 71, 72, 73, 79, 80, 81, 85, 86, 87, 91, 92, 93, 99, 100, 101, 112, 127, 128, 129, 296, 576, 1279, 1280,
    1281, 1500, 9000, 65521,
];

/// A SYN's options, as a current guest has them.
fn options(mss: u16) -> Vec<u8> {
    [mss_option(mss), vec![4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7]].concat()
}

fn check(i: &Instance, mtu: usize, what: &str) {
    for frame in i.drain_raw() {
        let most = (mtu + 14).max(60);
        assert!(frame.len() <= most, "{what}: {} bytes at an MTU of {mtu}: {:02x?}", frame.len(), &frame[..60]);
    }
}

fn dhcp_discover() -> Vec<u8> {
    let mut message = vec![0; 240];
    message[..3].copy_from_slice(&[1, 1, 6]);
    message[28..34].copy_from_slice(&GUEST_MAC);
    message[236..].copy_from_slice(&[99, 130, 83, 99]);
    message.extend([53, 1, 1, 55, 6, 1, 3, 6, 12, 15, 119, 255]);
    message
}

#[test]
fn earnest_3_7_no_frame_is_longer_than_the_mtu() {
    if library().upstream {
        println!("SKIPPED: upstream's segments and discovery exceed small MTUs");
        return;
    }
    for mtu in MTUS {
        for mru in [mtu, 1500] {
            let mut setup = setup6().mtu(mtu, mru);
            setup.search = Some(vec!["a-search-domain-of-some-length.example.org".into(), "example.net".into()]);
            setup.vhostname = Some("a-host-of-the-longest-name-it-has".into());
            let i = setup.start();
            let say = |what: &str, frame: &[u8]| {
                i.input(frame);
                i.settle();
                check(&i, mtu, what);
            };
            check(&i, mtu, "start");
            say("solicitation", &solicit(GUEST6, VHOST6, VHOST6));
            i.greet6(GUEST6);
            let all_routers = "ff02::2".parse().unwrap();
            say("router solicitation", &Ip6::ndp(GUEST6, all_routers).icmp(&ndp_message(133, 0, None, &[])));
            // SAFETY: plain values.
            unsafe { (library().slirp_handle_timer)(i.slirp.get(), 0, std::ptr::null_mut()) };
            check(&i, mtu, "router advertisement");
            say("echo", &Ip::new(VHOST, ICMP).frame(&echo_request(1, 1, &pattern(1400))));
            say("echo6", &Ip6::new(VHOST6, ICMPV6).icmp(&echo6(1, 1, &pattern(1200))));
            let discover = udp(at(Ipv4Addr::UNSPECIFIED, 68), at(Ipv4Addr::BROADCAST, 67), &dhcp_discover());
            say("dhcp", &Ip { src: Ipv4Addr::UNSPECIFIED, ..Ip::new(Ipv4Addr::BROADCAST, UDP) }.frame(&discover));
            let agents = "ff02::1:2".parse().unwrap();
            let request = [11, 1, 2, 3, 0, 1, 0, 4, 1, 2, 3, 4, 0, 6, 0, 6, 0, 23, 0, 24, 0, 59];
            say("dhcpv6", &Ip6::new(agents, UDP).udp(546, 547, &request));
            say("tftp", &udp_frame(5000, at(VHOST, 69), b"\0\x01nothing\0octet\0blksize\0\x3512\0"));
            say("unreachable", &udp_frame(5001, at_vhost(closed_udp_port()), &pattern(1000)));
            say("unreachable6", &Ip6::new(VHOST6, UDP).udp(5001, closed_udp_port(), &pattern(1000)));
            let (peer, port) = udp_peer();
            i.input(&udp_frame(5002, at_vhost(port), b"say much"));
            let (_, from) = host_recv(&i, &peer);
            peer.send_to(&pattern(3000), from).unwrap();
            i.settle();
            check(&i, mtu, "a large datagram");
            tcp(&i, mtu);
            // A connection of the host, whose SYN has our options.
            let forwarded = i.forward(false, at(GUEST, 80));
            let _client = client(forwarded);
            i.settle();
            check(&i, mtu, "our SYN");
            let to = 7000 + (mtu % 100) as u16;
            say("syn6", &Ip6::new(VHOST6, TCP).tcp((4000, to), 1, 0, SYN, b""));
        }
    }
}

/// What a stream says: both ways, with holes, and with its bytes whole.
fn tcp(i: &Instance, mtu: usize) {
    let (listener, port) = tcp_listener();
    let mut conn = Conn::connect_with(i, at_vhost(port), &options(mtu.min(65_495) as u16));
    let mut host = accept(i, &listener);
    // Three holes, so that there are as many blocks to report as there is room for.
    for hole in [100, 300, 500, 700] {
        let mut segment = conn.segment(ACK, b"behind a hole");
        segment.seq = segment.seq.wrapping_add(hole);
        i.input(&segment.frame());
    }
    i.settle();
    check(i, mtu, "what was received behind holes");
    let sent = pattern(2000);
    host_write_some(&mut host, &sent);
    let (sizes, bytes) = conn.receive(i, sent.len());
    assert!(bytes == sent, "at an MTU of {mtu}");
    assert!(sizes.iter().all(|size| size + 40 <= mtu), "{sizes:?} at an MTU of {mtu}");
    i.settle();
    check(i, mtu, "a stream");
}

#[test]
fn earnest_3_7_ipv6_works_at_its_own_least_mtu() {
    let i = start6(setup6().mtu(1280, 1280));
    alive6(&i);
}
