use proptest::prelude::*;

use super::*;
use crate::ip::test_packets::{echo_request, packet, piece};

const NOW: Instant = Instant::from_micros(100_000_000);

fn give(reassembler: &mut Reassembler<Ipv4Key>, bytes: &[u8]) -> Outcome {
    reassembler.on_ipv4(&Ipv4View::parse(bytes).unwrap(), NOW)
}

fn fragment(offset: usize, more: bool, payload: &[u8]) -> Fragment<'_> {
    Fragment { offset, more, header: b"HEAD", payload }
}

fn table(overlap: Overlap) -> Reassembler<u32> {
    Reassembler::new(Limits::default(), overlap)
}

/// What the bookkeeping promises after every step.
fn check<K: PartialEq>(table: &Reassembler<K>) {
    assert_eq!(table.bytes, table.datagrams.iter().map(Datagram::cost).sum::<usize>());
    assert!(table.bytes <= table.limits.bytes && table.len() <= table.limits.datagrams);
    for datagram in &table.datagrams {
        assert_eq!(datagram.held, datagram.pieces.values().map(|piece| piece.len()).sum::<usize>());
        let mut end = 0;
        for (offset, piece) in &datagram.pieces {
            assert!(*offset >= end && !piece.is_empty());
            end = offset + piece.len();
        }
        assert!(datagram.total.is_none_or(|total| end <= total));
        assert!(!datagram.is_complete());
    }
}

#[test]
fn a_3000_byte_echo_in_fragments_is_put_together_in_any_order() {
    let whole = echo_request(&[0x5a; 2992]);
    let pieces = [piece(&whole, 0, 1480, &[]), piece(&whole, 1480, 2960, &[]), piece(&whole, 2960, 3000, &[])];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut reassembler = Reassembler::ipv4();
        assert_eq!(give(&mut reassembler, &pieces[order[0]]), Outcome::Pending);
        assert_eq!(give(&mut reassembler, &pieces[order[1]]), Outcome::Pending);
        // A duplicate changes nothing.
        assert_eq!(give(&mut reassembler, &pieces[order[0]]), Outcome::Pending);
        assert_eq!(give(&mut reassembler, &pieces[order[2]]), Outcome::Complete(whole.clone()), "{order:?}");
        assert!(reassembler.is_empty());
        check(&reassembler);
    }
}

#[test]
fn first_or_last_fragment_with_options_gives_the_header_of_the_first() {
    let whole = echo_request(&[0x5a; 192]);
    let mut reassembler = Reassembler::ipv4();
    let options = [0x44, 4, 5, 0];
    assert_eq!(give(&mut reassembler, &piece(&whole, 104, 200, &[])), Outcome::Pending);
    let outcome = give(&mut reassembler, &piece(&whole, 0, 104, &options));
    assert_eq!(outcome, Outcome::Complete(crate::ip::test_packets::with_options(&whole, &options)));

    assert_eq!(give(&mut reassembler, &piece(&whole, 104, 200, &[1; 40])), Outcome::Pending);
    assert_eq!(give(&mut reassembler, &piece(&whole, 0, 104, &[])), Outcome::Complete(whole));
}

#[test]
fn incomplete_fragments_vanish_after_30_seconds() {
    let whole = echo_request(&[1; 92]);
    let mut reassembler = Reassembler::ipv4();
    assert_eq!(reassembler.deadline(), None);
    give(&mut reassembler, &piece(&whole, 0, 48, &[]));
    let deadline = NOW + Duration::from_secs(30);
    assert_eq!(reassembler.deadline(), Some(deadline));
    assert_eq!(reassembler.on_deadline(deadline - Duration::from_micros(1), |_| panic!("too early")), 0);
    let mut told = Vec::new();
    assert_eq!(reassembler.on_deadline(deadline, |first| told.push(first.to_vec())), 1);
    assert_eq!(told, [piece(&whole, 0, 48, &[])]);
    assert!(reassembler.is_empty());
    check(&reassembler);
}

#[test]
fn an_overdue_datagram_takes_no_fragment_even_without_on_deadline() {
    let whole = echo_request(&[1; 92]);
    let mut reassembler = Reassembler::ipv4();
    give(&mut reassembler, &piece(&whole, 0, 48, &[]));
    let last = piece(&whole, 48, 100, &[]);
    let late = NOW + Duration::from_secs(31);
    assert_eq!(reassembler.on_ipv4(&Ipv4View::parse(&last).unwrap(), late), Outcome::Pending);
    assert_eq!(reassembler.deadline(), Some(late + Duration::from_secs(30)));
}

#[test]
fn without_the_first_fragment_there_is_nothing_to_tell() {
    let mut table = table(Overlap::EarlierOffsetWins);
    table.on_fragment(1, &fragment(8, false, b"rest"), NOW);
    assert_eq!(table.on_deadline(NOW + Duration::from_secs(30), |_| panic!("nobody knows whose it is")), 1);
    // The first fragment is told as it came first, whatever came after it.
    for (offset, more, payload) in [(8, true, [b'b'; 8]), (0, true, [b'a'; 8]), (0, true, [b'x'; 8])] {
        table.on_fragment(1, &fragment(offset, more, &payload), NOW);
    }
    let mut told = Vec::new();
    table.on_deadline(NOW + Duration::from_secs(30), |first| told.extend_from_slice(first));
    assert_eq!(told, b"HEADaaaaaaaa");
}

/// An IPv6 packet from fec0::15 to fec0::2 with these fragments of a UDP payload, behind a destination options header.
fn piece6(offset: usize, more: bool, payload: &[u8]) -> Vec<u8> {
    let rest = [&[44, 0, 1, 4, 0, 0, 0, 0, 17, 0][..], &(offset as u16 | u16::from(more)).to_be_bytes(), &[0, 0, 0, 9]];
    let rest = [&rest.concat(), payload].concat();
    let mut bytes = [&[0x60, 0, 0, 0][..], &(rest.len() as u16).to_be_bytes(), &[60, 64]].concat();
    bytes.extend("fec0::15".parse::<Ipv6Addr>().unwrap().octets());
    bytes.extend("fec0::2".parse::<Ipv6Addr>().unwrap().octets());
    bytes.extend(rest);
    bytes
}

fn give6(table: &mut Reassembler<Ipv6Key>, bytes: &[u8]) -> Outcome {
    let view = Ipv6View::parse(bytes).unwrap();
    let Content::Fragment(piece) = view.content() else { panic!("no fragment") };
    assert_eq!(piece.problem(), None);
    table.on_ipv6(&view, &piece, NOW)
}

#[test]
fn an_ipv6_packet_loses_its_fragment_header_and_keeps_the_others() {
    let mut table = Reassembler::ipv6();
    assert_eq!(give6(&mut table, &piece6(16, false, b"the end")), Outcome::Pending);
    let Outcome::Complete(whole) = give6(&mut table, &piece6(0, true, &[b'a'; 16])) else { panic!("incomplete") };
    let mut expected = piece6(0, false, b"");
    expected.drain(48..56);
    expected[40] = 17;
    expected[4..6].copy_from_slice(&31u16.to_be_bytes());
    assert_eq!(whole, [&expected[..], &[b'a'; 16], b"the end"].concat());
    check(&table);
    // What is told of one that stays incomplete is its first fragment as it came.
    assert_eq!(give6(&mut table, &piece6(0, true, &[b'a'; 16])), Outcome::Pending);
    let mut told = Vec::new();
    assert_eq!(table.on_deadline(NOW + Duration::from_secs(60), |first| told.push(first.to_vec())), 1);
    assert_eq!(told, [piece6(0, true, &[b'a'; 16])]);
}

#[test]
fn an_ipv6_packet_may_have_65535_bytes_after_its_fixed_header_and_no_more() {
    // The destination options take 8 of them.
    let data = vec![7; 65535 - 8];
    for (extra, fits) in [(0, true), (1, false)] {
        let mut table = Reassembler::ipv6();
        assert_eq!(give6(&mut table, &piece6(0, true, &data[..32000])), Outcome::Pending);
        assert_eq!(give6(&mut table, &piece6(32000, true, &data[..32000])), Outcome::Pending);
        let last = piece6(64000, false, &data[..data.len() - 64000 + extra]);
        let view = Ipv6View::parse(&last).unwrap();
        let Content::Fragment(piece) = view.content() else { panic!("no fragment") };
        assert_eq!(piece.problem().is_none(), fits);
        let outcome = table.on_ipv6(&view, &piece, NOW);
        assert_eq!(matches!(&outcome, Outcome::Complete(whole) if whole.len() == 40 + 65535), fits);
    }
}

#[test]
fn id_addresses_and_protocol_keep_datagrams_apart() {
    let whole = packet(17, &[1; 96]);
    let first = piece(&whole, 0, 48, &[]);
    for (index, value) in [(5, 7), (9, 6), (15, 99), (19, 99)] {
        let mut reassembler = Reassembler::ipv4();
        give(&mut reassembler, &first);
        let mut last = piece(&whole, 48, 96, &[]);
        last[index] = value;
        crate::ip::test_packets::fix_checksum(&mut last);
        assert_eq!(give(&mut reassembler, &last), Outcome::Pending, "byte {index}");
        assert_eq!(reassembler.len(), 2);
    }
}

#[test]
fn unusable_fragments_are_dropped_and_take_no_room() {
    let mut table = table(Overlap::EarlierOffsetWins);
    let big = vec![0; 65535];
    for bad in [
        fragment(0, true, &[]),
        fragment(8, false, &[]),
        fragment(0, true, &[1; 9]),
        fragment(65528, false, &[1; 8]),
        fragment(65528, false, &[1; 4]),
        fragment(8, false, &big[..65535 - 11]),
        fragment(usize::MAX, false, &[1; 8]),
    ] {
        assert_eq!(table.on_fragment(1, &bad, NOW), Outcome::Dropped);
        assert!(table.is_empty());
    }
    assert_eq!(table.on_fragment(1, &fragment(65528, false, &[1; 3]), NOW), Outcome::Pending);
}

#[test]
fn a_first_header_that_makes_the_packet_too_long_drops_it() {
    let mut table = table(Overlap::EarlierOffsetWins);
    let data = vec![0; 65520];
    let last = Fragment { header: &[], ..fragment(32, false, &data[..65535 - 32 - 10]) };
    assert_eq!(table.on_fragment(1, &last, NOW), Outcome::Pending);
    let first = Fragment { header: &[0; 20], ..fragment(0, true, &[0; 32]) };
    assert_eq!(table.on_fragment(1, &first, NOW), Outcome::Dropped);
    assert!(table.is_empty());
    check(&table);
}

#[test]
fn contradicting_ends_are_dropped_and_the_first_end_stands() {
    let mut table = table(Overlap::EarlierOffsetWins);
    assert_eq!(table.on_fragment(1, &fragment(16, true, &[b'c'; 8]), NOW), Outcome::Pending);
    // An end before bytes that are there already.
    assert_eq!(table.on_fragment(1, &fragment(8, false, &[b'x'; 8]), NOW), Outcome::Dropped);
    assert_eq!(table.on_fragment(1, &fragment(24, false, b"d"), NOW), Outcome::Pending);
    // A later end, an earlier end, and bytes beyond the end.
    assert_eq!(table.on_fragment(1, &fragment(24, false, b"ef"), NOW), Outcome::Dropped);
    assert_eq!(table.on_fragment(1, &fragment(16, false, &[b'f'; 8]), NOW), Outcome::Dropped);
    assert_eq!(table.on_fragment(1, &fragment(24, true, &[b'g'; 8]), NOW), Outcome::Dropped);
    assert_eq!(table.on_fragment(1, &fragment(24, false, b"h"), NOW), Outcome::Pending);
    check(&table);
    let outcome = table.on_fragment(1, &fragment(0, true, &[b'a'; 16]), NOW);
    assert_eq!(outcome, Outcome::Complete(b"HEADaaaaaaaaaaaaaaaaccccccccd".to_vec()));
}

#[test]
fn earlier_offsets_win_over_the_head_and_the_tail_wins_over_what_follows() {
    let mut table = table(Overlap::EarlierOffsetWins);
    table.on_fragment(1, &fragment(0, true, &[b'a'; 16]), NOW);
    table.on_fragment(1, &fragment(24, true, &[b'b'; 16]), NOW);
    table.on_fragment(1, &fragment(48, false, b"zz"), NOW);
    // Covers the end of a, the hole, and the start of b.
    table.on_fragment(1, &fragment(8, true, &[b'c'; 24]), NOW);
    // Starts where a piece starts, so that piece is an earlier one.
    table.on_fragment(1, &fragment(0, true, &[b'd'; 8]), NOW);
    check(&table);
    // Covers the rest of b wholly, and the hole behind it.
    let outcome = table.on_fragment(1, &fragment(24, true, &[b'e'; 24]), NOW);
    assert_eq!(outcome, Outcome::Complete([&b"HEAD"[..], &[b'a'; 16], &[b'c'; 16], &[b'e'; 16], b"zz"].concat()));
}

#[test]
fn with_the_strict_policy_an_overlap_drops_the_datagram_until_its_deadline() {
    let mut table = table(Overlap::DropDatagram);
    table.on_fragment(1, &fragment(0, true, &[b'a'; 16]), NOW);
    // An exact repetition is no attack.
    assert_eq!(table.on_fragment(1, &fragment(0, true, &[b'a'; 16]), NOW), Outcome::Pending);
    assert_eq!(table.on_fragment(1, &fragment(8, true, &[b'a'; 16]), NOW), Outcome::Dropped);
    assert_eq!(table.on_fragment(1, &fragment(0, true, &[b'a'; 16]), NOW), Outcome::Dropped);
    assert_eq!(table.on_fragment(1, &fragment(16, false, b"b"), NOW), Outcome::Dropped);
    check(&table);
    assert_eq!(table.on_deadline(NOW + Duration::from_secs(30), |_| panic!("overlaps are not told")), 1);
    assert_eq!(table.on_fragment(1, &fragment(0, true, &[b'a'; 16]), NOW), Outcome::Pending);
    let whole = b"HEADaaaaaaaaaaaaaaaab".to_vec();
    assert_eq!(table.on_fragment(1, &fragment(16, false, b"b"), NOW), Outcome::Complete(whole));
}

#[test]
fn the_65th_datagram_evicts_the_oldest() {
    let mut table = table(Overlap::EarlierOffsetWins);
    for key in 0..65 {
        assert_eq!(table.on_fragment(key, &fragment(0, true, &[1; 8]), NOW), Outcome::Pending);
    }
    assert_eq!(table.len(), 64);
    check(&table);
    assert_eq!(table.on_fragment(0, &fragment(8, false, &[1; 8]), NOW), Outcome::Pending);
    assert!(matches!(table.on_fragment(2, &fragment(8, false, &[1; 8]), NOW), Outcome::Complete(_)));
}

#[test]
fn half_a_mebibyte_evicts_the_oldest_datagrams() {
    let mut table = table(Overlap::EarlierOffsetWins);
    let data = vec![0; 60_000];
    for key in 0..20 {
        assert_eq!(table.on_fragment(key, &fragment(8, true, &data), NOW), Outcome::Pending);
        check(&table);
    }
    assert_eq!(table.len(), 8);
    assert!(table.datagrams.iter().map(|datagram| datagram.key).eq(12..20));
}

#[test]
fn a_datagram_of_tiny_pieces_is_given_up_at_the_bound() {
    let mut table = Reassembler::new(Limits { bytes: 10_000, ..Limits::default() }, Overlap::EarlierOffsetWins);
    let outcomes: Vec<_> = (0..200).map(|n| table.on_fragment(1, &fragment(8 + n * 16, true, &[1; 8]), NOW)).collect();
    check(&table);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Dropped).count(), 1);
}

proptest! {
    /// Fragments cut at random from one datagram, with overlaps and repetitions, give that datagram as soon as they
    /// cover it.
    #[test]
    fn overlapping_fragments_with_equal_data_give_the_datagram(
        payload in prop::collection::vec(any::<u8>(), 1..400),
        cuts in prop::collection::vec((0usize..50, 1usize..20), 1..80),
    ) {
        let mut table = table(Overlap::EarlierOffsetWins);
        let mut covered = vec![false; payload.len()];
        let mut last_seen = false;
        for (offset, units) in cuts {
            let (start, end) = (offset * 8, (offset + units) * 8);
            if start >= payload.len() {
                continue;
            }
            let more = end < payload.len();
            let end = end.min(payload.len());
            last_seen |= !more;
            covered[start..end].fill(true);
            let outcome = table.on_fragment(7, &fragment(start, more, &payload[start..end]), NOW);
            check(&table);
            if last_seen && covered.iter().all(|byte| *byte) {
                prop_assert_eq!(outcome, Outcome::Complete([b"HEAD", &payload[..]].concat()));
                return Ok(());
            }
            prop_assert_eq!(outcome, Outcome::Pending);
        }
    }

    #[test]
    fn any_fragments_keep_the_bounds(
        strict in any::<bool>(),
        steps in prop::collection::vec((0u32..6, 0usize..8192, any::<bool>(), 0usize..3000, 0i64..20), 1..100),
    ) {
        let overlap = if strict { Overlap::DropDatagram } else { Overlap::EarlierOffsetWins };
        let limits = Limits { datagrams: 4, bytes: 10_000, ..Limits::default() };
        let mut table = Reassembler::new(limits, overlap);
        let data = [0xab; 3000];
        let mut now = NOW;
        for (key, offset, more, len, seconds) in steps {
            now += Duration::from_secs(seconds.unsigned_abs() / 10);
            // Small offsets make overlaps and completions likely.
            let offset = if offset % 2 == 0 { offset % 64 } else { offset };
            let outcome = table.on_fragment(key, &fragment(offset * 8, more, &data[..len]), now);
            check(&table);
            if let Outcome::Complete(packet) = outcome {
                prop_assert!(packet.len() <= MAX_IPV4 && packet.starts_with(b"HEAD"));
            }
        }
        table.on_deadline(now + Duration::from_secs(30), |first| assert!(first.starts_with(b"HEAD")));
        prop_assert!(table.is_empty());
        check(&table);
    }
}

/// The headers that are kept for the whole packet, or for the error to its sender, count as well: at an MTU of 65,521 a
/// first fragment over IPv6 can be nothing else.
#[test]
fn earnest_3_11_the_kept_headers_count() {
    let header = vec![0x60; 65_000];
    let mut table =
        Reassembler::<u32> { longest: MAX_IPV6, ..Reassembler::new(Limits::default(), Overlap::DropDatagram) };
    for key in 0..64 {
        table.on_fragment(key, &Fragment { offset: 0, more: true, header: &header, payload: &[0; 8] }, NOW);
        let kept = table.datagrams.iter().filter_map(|datagram| datagram.header.as_ref()).map(|header| header.len());
        assert!(kept.sum::<usize>() <= 512 * 1024);
        check(&table);
    }
    assert_eq!(table.len(), 8);
    table.clear();
    assert_eq!(table.bytes(), 0);
}
