//! Bulk from the guest that goes from where the application has it to where it waits for the host, and what must not go
//! there. Source: docs/contract/tcp.md section 3, RFC 9293 section 3.1 (the checksum).

mod common;
use common::*;
use std::io::Read;

both_families![
    a_segment_whose_checksum_is_wrong_leaves_nothing_behind,
    segments_of_all_lengths_arrive_as_they_were,
    a_segment_with_padding_or_fewer_bytes_than_it_says_adds_nothing_of_them,
    what_comes_early_is_not_written_over,
];

const SIZE: usize = 1400;

/// Bytes of a stream, which tell where they belong.
fn bytes(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|n| (n * 7 + n / 251) as u8).collect()
}

/// What the host has of the stream, of which so many bytes are to come.
fn read(i: &Instance, host: &mut std::net::TcpStream, len: usize) -> Vec<u8> {
    let mut got = vec![0; len];
    i.settle();
    host.read_exact(&mut got).expect("the bytes come within the read's timeout");
    got
}

/// A connection whose receive buffer has been written before, so that what follows is put there in place.
fn in_bulk(i: &Instance, family: Family) -> (Party, std::net::TcpStream, usize) {
    let (mut party, mut host) = Party::with_host(i, family);
    host.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    for at in 0..20 {
        party.send(i, ACK, &bytes(at * SIZE, SIZE));
    }
    assert_eq!(read(i, &mut host, 20 * SIZE), bytes(0, 20 * SIZE));
    (party, host, 20 * SIZE)
}

fn a_segment_whose_checksum_is_wrong_leaves_nothing_behind(family: Family) {
    let i = family.setup().start();
    let (mut party, mut host, from) = in_bulk(&i, family);
    for (n, at) in [0, 1, SIZE / 2, SIZE - 2, SIZE - 1].into_iter().enumerate() {
        let start = from + n * 3 * SIZE;
        // In front of it bytes that wait, or none.
        if n % 2 == 1 {
            party.send(&i, ACK, &bytes(start, SIZE));
        }
        let next = start + if n % 2 == 1 { SIZE } else { 0 };
        let mut frame = party.frame(party.seq, ACK | PSH, &bytes(next, SIZE));
        let end = frame.len();
        frame[end - SIZE + at] ^= 0x40;
        i.input(&frame);
        i.settle();
        assert!(party.all(&i).iter().all(|s| s.ack != party.seq.wrapping_add(SIZE as u32)), "byte {at} was changed");
        for at in (next..start + 3 * SIZE).step_by(SIZE) {
            party.send(&i, ACK | PSH, &bytes(at, SIZE));
        }
        assert_eq!(read(&i, &mut host, 3 * SIZE), bytes(start, 3 * SIZE), "byte {at} was changed");
    }
}

fn segments_of_all_lengths_arrive_as_they_were(family: Family) {
    let i = family.setup().start();
    let (mut party, mut host, mut from) = in_bulk(&i, family);
    for len in 400..SIZE {
        let flags = if len % 16 == 15 { ACK | PSH } else { ACK };
        party.send(&i, flags, &bytes(from, len));
        assert_eq!(read(&i, &mut host, len), bytes(from, len), "{len} bytes");
        from += len;
    }
    // Several that wait for one another, at every place in the words.
    for len in 600..664 {
        for n in 0..4 {
            party.send(&i, ACK, &bytes(from + n * len, len));
        }
        party.send(&i, ACK | PSH, &bytes(from + 4 * len, 1));
        assert_eq!(read(&i, &mut host, 4 * len + 1), bytes(from, 4 * len + 1), "{len} bytes");
        from += 4 * len + 1;
    }
}

fn a_segment_with_padding_or_fewer_bytes_than_it_says_adds_nothing_of_them(family: Family) {
    let i = family.setup().start();
    let (mut party, mut host, from) = in_bulk(&i, family);
    let whole = party.frame(party.seq, ACK | PSH, &bytes(from, SIZE));
    i.input(&whole[..whole.len() - 1]);
    i.settle();
    let padded = [&whole[..], &[0xee; 30]].concat();
    i.input(&padded);
    party.seq = party.seq.wrapping_add(SIZE as u32);
    party.send(&i, ACK | PSH, &bytes(from + SIZE, SIZE));
    assert_eq!(read(&i, &mut host, 2 * SIZE), bytes(from, 2 * SIZE));
    i.settle();
    party.expect_acked(&i);
}

fn what_comes_early_is_not_written_over(family: Family) {
    let i = family.setup().start();
    let (mut party, mut host, from) = in_bulk(&i, family);
    // The second and the third come first, and a wrong one in the place of the first.
    for n in [1, 2] {
        party.send_at(&i, party.seq.wrapping_add((n * SIZE) as u32), ACK, &bytes(from + n * SIZE, SIZE));
    }
    let mut wrong = party.frame(party.seq, ACK, &bytes(0, 2 * SIZE)[..SIZE + 60]);
    let last = wrong.len() - 1;
    wrong[last] ^= 1;
    i.input(&wrong);
    party.send(&i, ACK, &bytes(from, SIZE));
    party.seq = party.seq.wrapping_add(2 * SIZE as u32);
    party.send(&i, ACK | PSH, &bytes(from + 3 * SIZE, SIZE));
    assert_eq!(read(&i, &mut host, 4 * SIZE), bytes(from, 4 * SIZE));
    i.settle();
    party.expect_acked(&i);
}
