//! Fragments over IPv6, both ways: put together within bounds, cut for the guest's MTU (RFC 8200 section 4.5, RFC 5722).

mod common;
use common::*;
use std::net::Ipv6Addr;

fn echo_pieces(length: usize, size: usize, id: u32) -> Vec<Vec<u8>> {
    let data: Vec<u8> = (0..length).map(|n| n as u8).collect();
    let base = Ip6::new(VHOST6, ICMPV6);
    base.fragments(&base.icmp(&echo6(1, 1, &data))[54..], size, id)
}

#[test]
fn fragments_are_put_together_in_any_order_and_overlaps_are_not() {
    if !ours("ipv6-fragments") {
        return;
    }
    let i = start6(setup6());
    let mut pieces = echo_pieces(3000, 1000, 77);
    pieces.reverse();
    // A repetition is no overlap (RFC 8200 section 4.5).
    pieces.insert(1, pieces[0].clone());
    let replies: Vec<Packet6> = pieces.iter().flat_map(|piece| i.answer6(piece)).collect();
    assert!(replies.iter().all(|p| p.next == 44 && p.frame_len <= 1514), "{replies:?}");
    let total: usize = replies.iter().map(|p| p.payload.len() - 8).sum();
    assert_eq!(total, 3008);
    // An overlap ends the datagram, with what still comes, and nobody is told (RFC 5722).
    let (pieces, overlap) = (echo_pieces(3000, 1000, 78), echo_pieces(3000, 504, 78));
    for piece in [&pieces[0], &overlap[1], &pieces[1], &pieces[2], &pieces[3]] {
        silent(&i, piece, "overlapping fragments");
    }
    i.advance(Duration::from_secs(61));
    i.expect_silence();
    alive6(&i);
}

#[test]
fn fragments_that_cannot_be_placed_are_parameter_problems() {
    if !ours("ipv6-fragments") {
        return;
    }
    let i = start6(setup6());
    let piece = |offset: u16, more: u16, length: usize| {
        let header = [&[UDP, 0][..], &(offset | more).to_be_bytes(), &[0, 0, 0, 1]].concat();
        Ip6::new(VHOST6, 44).frame(&[&header[..], &vec![0; length]].concat())
    };
    for (what, frame, pointer) in [
        ("more to come and no multiple of 8", piece(0, 1, 9), 4u32),
        ("beyond 65,535 bytes", piece(65528, 0, 8), 42),
        ("beyond 65,535 bytes, with more to come", piece(65528, 1, 8), 42),
    ] {
        let replies = i.answer6(&frame);
        let [error] = &replies[..] else { panic!("{what}: {replies:02x?}") };
        assert_eq!(
            (error.src, error.icmp(), &error.payload[4..8]),
            (ROUTER6, Some((4, 0)), &pointer.to_be_bytes()[..])
        );
    }
    silent(&i, &piece(8, 0, 0), "an empty piece");
    silent(&i, &Ip6::new(VHOST6, 44).frame(&[ICMPV6, 0, 0, 0, 0, 0, 0]), "a cut fragment header");
    // What was put together may hold no fragments again.
    let inner = echo_pieces(100, 50, 9)[0][54..].to_vec();
    for outer in (Ip6 { next: 44, ..Ip6::new(VHOST6, 44) }).fragments(&inner, 24, 10) {
        silent(&i, &outer, "a fragment in fragments");
    }
    alive6(&i);
}

#[test]
fn fragments_whose_rest_does_not_come_are_reported_after_a_minute() {
    if !ours("reassembly-timeout") {
        return;
    }
    let i = start6(setup6());
    let pieces = echo_pieces(3000, 1000, 5);
    i.input(&pieces[0]);
    i.input(&pieces[2]);
    i.advance(Duration::from_millis(59_500));
    i.expect_silence();
    i.advance(Duration::from_secs(1));
    let error = i.wait6("time exceeded", |p| Some(p.clone()));
    assert_eq!((error.src, error.dst, error.icmp()), (ROUTER6, GUEST6, Some((3, 1))));
    assert_eq!(error.payload[8..], pieces[0][14..]);
    // The late one begins a datagram of its own, whose first piece is missing: there is nobody to tell.
    i.input(&pieces[1]);
    i.advance(Duration::from_secs(61));
    i.expect_silence();
    // Nor is anybody told of what no error may answer: a group, somebody without a name, an error (RFC 4443 section 2.4).
    let nameless = Ip6 { src: Ipv6Addr::UNSPECIFIED, ..Ip6::new(VHOST6, ICMPV6) };
    let unreachable = [vec![1, 0, 0, 0, 0, 0, 0, 0], vec![0; 100]].concat();
    for (at, message) in [
        (Ip6::new(ALL_NODES, ICMPV6), echo6(1, 1, &[0; 100])),
        (nameless, echo6(1, 1, &[0; 100])),
        (Ip6::new(VHOST6, ICMPV6), unreachable),
    ] {
        i.input(&at.fragments(&at.icmp(&message)[54..], 64, 6)[0]);
    }
    i.advance(Duration::from_secs(61));
    i.expect_silence();
    alive6(&i);
}

#[test]
fn fragment_bombs_take_a_bounded_amount_of_memory() {
    if !ours("ipv6-fragments") {
        return;
    }
    if !isolated("fragment_bombs_take_a_bounded_amount_of_memory", Isolation::Process) {
        return;
    }
    let i = start6(setup6());
    i.keep_frames.set(false);
    let (first, tiny) = (echo_pieces(3000, 1440, 0).remove(0), echo_pieces(65_000, 16, 0));
    let bomb = |id: u32, piece: &[u8]| {
        let mut frame = piece.to_vec();
        frame[58..62].copy_from_slice(&id.to_be_bytes());
        i.input(&frame);
    };
    let flood = |first_id: u32| {
        // First pieces of datagrams that never go on, and every second tiny piece of a few.
        for id in first_id..first_id + 40_000 {
            bomb(id, &first);
        }
        for id in first_id..first_id + 4 {
            tiny.iter().step_by(2).for_each(|piece| bomb(id ^ 1 << 31, piece));
        }
    };
    flood(0);
    let before = resident();
    flood(40_000);
    let grown = resident().saturating_sub(before);
    assert!(grown < 2 << 20, "{grown} bytes more for 60 MB of fragments");
    i.keep_frames.set(true);
    // Errors for those that are left are few, and then it is over. The last datagram is put together all the same.
    i.advance(Duration::from_secs(61));
    assert!(i.drain().iter().filter_map(packet6).all(|p| p.icmp() == Some((3, 1))));
    let replies: Vec<Packet6> = echo_pieces(3000, 1440, 7).iter().flat_map(|piece| i.answer6(piece)).collect();
    assert_eq!(replies.iter().map(|p| p.payload.len() - 8).sum::<usize>(), 3008);
    alive6(&i);
}

#[test]
fn ndp_behind_a_fragment_header_is_silent() {
    if !ours("ipv6-fragments") {
        return;
    }
    let i = setup6().silent().start();
    for (at, message) in discovery(GUEST_LL, &[1, 1, 0x52, 0x54, 0, 0x12, 0x34, 0x56]) {
        let whole = at.icmp(&message)[54..].to_vec();
        // In one piece, which other messages may be, and in two (RFC 6980).
        for size in [whole.len(), 8] {
            for piece in at.fragments(&whole, size, size as u32) {
                silent(&i, &piece, &format!("type {} in pieces of {size}", message[0]));
            }
        }
    }
    assert!(!knows(&i, GUEST_LL), "{}", i.neighbor_info());
    i.greet6(GUEST6);
    let echo = Ip6::new(VHOST6, ICMPV6).icmp(&echo6(1, 1, b"whole"));
    let atomic = &Ip6::new(VHOST6, ICMPV6).fragments(&echo[54..], 100, 5)[0];
    assert_eq!(i.answer6(atomic)[0].icmp(), Some((129, 0)));
}

#[test]
fn a_datagram_in_fragments_arrives_as_one_and_so_does_its_answer() {
    if !ours("ipv6-fragments") {
        return;
    }
    let i = start6(setup6());
    let (host, port) = udp6_peer();
    for (id, length) in [(1, 2000), (2, 16_385), (3, 65_527)] {
        let data: Vec<u8> = (0..length).map(|n: u32| (n ^ n >> 8) as u8).collect();
        let whole = Ip6::new(VHOST6, UDP).udp_datagram(5000, port, &data);
        let mut pieces = Ip6::new(VHOST6, UDP).fragments(&whole, 1448, id);
        pieces.rotate_left(1);
        pieces.iter().for_each(|piece| i.input(piece));
        let (got, from) = host_recv6(&i, &host);
        assert!(got == data, "{} of {length} bytes came", got.len());
        host.send_to(&data, from).unwrap();
        let mut together = Vec::new();
        i.until("all fragments of the answer", || {
            while let Some(p) = i.take(packet6) {
                assert_eq!((p.next, p.payload[0]), (44, UDP));
                let field = u16::from_be_bytes([p.payload[2], p.payload[3]]);
                assert_eq!(usize::from(field & 0xfff8), together.len());
                together.extend_from_slice(&p.payload[8..]);
                if field & 1 == 0 {
                    return Some(());
                }
            }
            None
        });
        assert!(together[8..] == data, "{} of {length} bytes came back", together.len() - 8);
    }
}

#[test]
fn a_large_udp_answer_comes_in_fragments() {
    if !ours("ipv6-fragments") {
        return;
    }
    let i = start6(setup6());
    let (host, port) = udp6_peer();
    i.input(&Ip6::new(VHOST6, UDP).udp(5000, port, b"q"));
    let (_, from) = host_recv6(&i, &host);
    let data: Vec<u8> = (0..4000u32).map(|n| (n * 7) as u8).collect();
    host.send_to(&data, from).unwrap();
    let mut together = Vec::new();
    i.until("all fragments", || {
        while let Some(p) = i.take(packet6) {
            assert_eq!((p.next, p.payload[0]), (44, UDP));
            let field = u16::from_be_bytes([p.payload[2], p.payload[3]]);
            assert_eq!(usize::from(field & 0xfff8), together.len());
            together.extend_from_slice(&p.payload[8..]);
            if field & 1 == 0 {
                return Some(());
            }
        }
        None
    });
    assert_eq!(together[8..], data);
}
