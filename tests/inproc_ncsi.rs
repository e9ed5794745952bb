//! NC-SI: docs/contract/ncsi.md.

mod common;
use common::*;

const MELLANOX: u32 = 0x8119;
const OOB: [u8; 6] = [2, 1, 2, 3, 4, 5];

/// A request of management controller 1, instance 9, channel 3.
fn request(kind: u8, payload: &[u8]) -> Vec<u8> {
    let header = [1, 1, 0, 9, kind, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    ethernet(BROADCAST_MAC, 0x88f8, &[&header, payload].concat())
}

fn with_manufacturer(manufacturer: u32) -> Box<Instance> {
    Setup::with(|c| (c.mfr_id, c.oob_eth_addr) = (manufacturer, OOB)).silent().start()
}

/// The one frame that answers, whose header, checksum and padding are checked; its payload.
fn ask(i: &Instance, kind: u8, payload: &[u8]) -> Vec<u8> {
    i.input(&request(kind, payload));
    let frames = i.drain_raw();
    assert_eq!(frames.len(), 1, "{kind:#x}");
    let frame = &frames[0];
    assert_eq!(frame[..14], [&[0xff; 12][..], &[0x88, 0xf8]].concat());
    assert_eq!(frame[14..20], [1, 1, 0, 9, kind.wrapping_add(0x80), 3]);
    assert_eq!(frame[22..30], [0; 8]);
    let end = 30 + usize::from(u16::from_be_bytes([frame[20], frame[21]]));
    let sum: u32 = frame[14..end].chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
    assert_eq!(frame[end..end + 4], sum.wrapping_neg().to_be_bytes(), "{kind:#x}");
    assert!(frame[end + 4..].iter().all(|byte| *byte == 0));
    if library().at_least(8) {
        assert_eq!(frame.len(), (end + 4).max(60));
    }
    frame[30..end].to_vec()
}

#[test]
fn ncsi_fact_01_the_answer_to_clear_initial_state() {
    let i = Setup::default().silent().start();
    assert_eq!(ask(&i, 0, &[]), [0; 4]);
    i.input(&request(0, &[]));
    let frame = i.pop_raw().expect("an answer");
    let golden = [1, 1, 0, 9, 0x80, 3, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0x7e, 0xef];
    assert_eq!(frame[14..38], golden);
}

#[test]
fn ncsi_commands_complete() {
    let i = Setup::default().silent().start();
    for kind in (0x00..=0x09).chain(0x0b..=0x0e).chain(0x10..=0x14) {
        assert_eq!(ask(&i, kind, &[]), [0; 4], "{kind:#x}");
    }
}

#[test]
fn ncsi_fact_02_the_link_is_up() {
    let i = Setup::default().silent().start();
    assert_eq!(ask(&i, 0x0a, &[]), [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn ncsi_fact_03_the_version_names_the_manufacturer() {
    if !library().at_least(8) {
        return;
    }
    let version = ask(&with_manufacturer(MELLANOX), 0x15, &[]);
    assert_eq!((version.len(), &version[..8]), (40, &[0, 0, 0, 0, 0xf1, 0xf0, 0xf0, 0][..]));
    assert_eq!((&version[8..36], &version[36..]), (&[0; 28][..], &MELLANOX.to_be_bytes()[..]));
    // Configurations below version 5 have none.
    let older = Setup::with(|c| (c.version, c.mfr_id) = (4, MELLANOX)).silent().start();
    assert_eq!(ask(&older, 0x15, &[])[36..], [0; 4]);
}

#[test]
fn ncsi_facts_04_to_05_capabilities_and_statistics() {
    let i = Setup::default().silent().start();
    let capabilities = ask(&i, 0x16, &[]);
    assert_eq!(capabilities, [&[0; 4][..], &[0xff; 20], &[0, 0, 0, 2, 0, 0, 0xff, 0]].concat());
    for (kind, length) in [(0x17, 40), (0x18, 172), (0x19, 172), (0x1a, 172)] {
        assert_eq!(ask(&i, kind, &[]), vec![0; length], "{kind:#x}");
    }
    if library().at_least(8) {
        for (kind, length) in [(0x1b, 8), (0x52, 20)] {
            assert_eq!(ask(&i, kind, &[]), vec![0; length], "{kind:#x}");
        }
    }
}

#[test]
fn ncsi_fact_06_unknown_commands() {
    let i = Setup::default().silent().start();
    for kind in [0x0f, 0x1c, 0x53, 0xff] {
        assert_eq!(ask(&i, kind, &[1; 30]), [], "{kind:#x}");
    }
}

#[test]
fn ncsi_fact_07_oem_commands() {
    if !library().at_least(8) {
        return;
    }
    let get = [0, 0, 0x81, 0x19, 7, 0, 0x1b, 0];
    let i = with_manufacturer(MELLANOX);
    let answer = [0, 0, 0, 0, 0, 0, 0x81, 0x19, 1, 0, 0x1b, 0, 0, 0, 0, 0, 2, 1, 2, 3, 4, 5, 0, 0];
    assert_eq!(ask(&i, 0x50, &get), answer);
    let refused = [0, 3, 0x7f, 0xff, 0, 0, 0x81, 0x19];
    assert_eq!(ask(&i, 0x50, &get[..7]), refused);
    assert_eq!(ask(&with_manufacturer(0x113d), 0x50, &get), refused);
    assert_eq!(ask(&with_manufacturer(0x113d), 0x50, &[0, 0, 0x11, 0x3d, 7, 0, 0x1b, 0])[..4], refused[..4]);
}

#[test]
fn security_fact_08_short_oem_commands_are_not_read_beyond_their_end() {
    if !library().at_least(8) {
        return;
    }
    let i = with_manufacturer(MELLANOX);
    let get = [0, 0, 0x81, 0x19, 7, 0, 0x1b];
    for length in 0..=get.len() {
        let manufacturer = if length < 4 { [0; 4] } else { [0, 0, 0x81, 0x19] };
        assert_eq!(ask(&i, 0x50, &get[..length]), [&[0, 3, 0x7f, 0xff][..], &manufacturer].concat(), "{length}");
    }
}

#[test]
fn ncsi_fact_08_short_frames_are_ignored() {
    let i = Setup::default().silent().start();
    let whole = request(0, &[]);
    for length in 14..whole.len() {
        i.input(&whole[..length]);
        assert!(i.drain_raw().is_empty(), "{length}");
    }
    i.input(&whole);
    assert_eq!(i.drain_raw().len(), 1);
}

#[test]
fn ncsi_needs_neither_ipv4_nor_an_open_network() {
    let setups = [
        Setup::with(|c| c.in_enabled = false),
        Setup::with(|c| (c.in_enabled, c.in6_enabled) = (false, true)),
        Setup::with(|c| c.restricted = 1),
    ];
    for setup in setups {
        assert_eq!(ask(&setup.silent().start(), 0, &[]), [0; 4]);
    }
}
