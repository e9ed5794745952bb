//! Reassembly: fragments of a few datagrams in any order, overlapping at will. Their bytes agree with each other, so
//! whatever is put together must be a whole piece of the datagram from its beginning.
//!
//! Input: one byte for the policy, then records of 6 bytes: flags (key in bits 0-1, more fragments in bit 2), time,
//! offset in units of eight bytes, length. The header's length varies with the record, too (bits 3-6 of the flags).

use oxislirp::Instant;
use oxislirp::internals::reassembly::{Fragment, Limits, Outcome, Overlap, Reassembler};

use crate::input::{Input, stream};

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let overlap = if input.u8() & 1 == 0 { Overlap::EarlierOffsetWins } else { Overlap::DropDatagram };
    let limits = Limits { datagrams: 3, bytes: 100_000, ..Limits::default() };
    let mut table = Reassembler::new(limits, overlap);
    let mut now = Instant::ZERO;
    // Lengths that a fragment said to be the last one has claimed, for each key.
    let mut totals: [Vec<usize>; 4] = Default::default();
    for _ in 0..1024 {
        if input.is_empty() {
            break;
        }
        let flags = input.u8();
        now += input.duration();
        let offset = usize::from(input.u16() & 0x1fff) * 8;
        let len = usize::from(input.u16() % 9000);
        let key = usize::from(flags & 3);
        let more = flags & 4 != 0;
        let header_len = 20 + usize::from(flags >> 3 & 15).min(10) * 4;
        let mut header = vec![0xee; header_len];
        header[0] = header_len as u8;
        let payload = stream(key, offset, len);
        if !more {
            totals[key].push(offset + len);
        }
        if table.deadline().is_some_and(|deadline| deadline <= now) {
            // What is told to the sender begins with the headers and the first bytes.
            table.on_deadline(now, |first| assert!(first.len() > usize::from(first[0]) && first[1] == 0xee));
        }
        match table.on_fragment(key, &Fragment { offset, more, header: &header, payload: &payload }, now) {
            Outcome::Complete(packet) => {
                let header_len = usize::from(packet[0]);
                let whole = &packet[header_len..];
                assert!(packet[1..header_len].iter().all(|byte| *byte == 0xee));
                assert!(whole == stream(key, 0, whole.len()), "a datagram of {} bytes is damaged", whole.len());
                assert!(totals[key].contains(&whole.len()), "no fragment said that {} is the end", whole.len());
                assert!(packet.len() <= 65535);
            }
            Outcome::Pending | Outcome::Dropped => {}
        }
        assert!(table.len() <= limits.datagrams && table.bytes() <= limits.bytes);
        assert!(table.is_empty() == (table.bytes() == 0) && table.is_empty() == table.deadline().is_none());
    }
    // Nothing stays for ever.
    now += limits.age;
    table.on_deadline(now, |_| {});
    assert!(table.is_empty(), "{} datagrams outlive their time", table.len());
    assert_eq!(table.bytes(), 0);
}
