//! Windows that grow on a long path, and only there.

use super::*;

const LONG: Config = Config { window_scale: true, sack: true, recv_max: 16 << 20, send_max: 16 << 20, ..CONFIG };
const MSS: u32 = 1460;

/// The SYN of a peer whose window is nearly 1 GiB.
fn wide_syn() -> Segment<'static> {
    let options = Options { mss: Some(1460), window_scale: Some(14), sack_permitted: true, ..Options::default() };
    Segment { options, ..syn() }
}

/// Established with a round trip of so many microseconds.
fn path(rtt: u64) -> Script {
    let mut script = Script::passive_with(&LONG, &wide_syn());
    script.connection.accept(script.now);
    script.one();
    script.now += Duration::from_micros(rtt);
    script.receive(segment(Flags::ACK, IRS + 1, ISS + 1));
    script
}

/// What was sent after a pause of the host's does not measure the path (draft-ietf-ccwg-bbr section 4.1.2.4), although no acknowledgment has come
/// since; what was brought in several turns of one moment does.
#[test]
fn what_the_host_brings_after_a_pause_is_no_measure_of_the_path() {
    let mut script = path(20_000);
    let brings = |script: &mut Script| {
        script.connection.on_more(script.now);
        script.push(3 * MSS as usize);
        assert_eq!(script.sent_at_its_pace().len(), 3);
        script.connection.sender.is_app_limited()
    };
    script.now += Duration::from_millis(1);
    assert!(brings(&mut script), "the connection was idle");
    script.push(20 * MSS as usize);
    for acked in [3, 13] {
        script.now += Duration::from_millis(20);
        script.ack(acked * MSS);
        assert_eq!(script.sent_at_its_pace().len(), 10);
        assert!(!script.connection.sender.is_app_limited(), "something waited to be sent");
    }
    assert!(!brings(&mut script), "it was there at once");
    script.now += Duration::from_millis(1);
    assert!(brings(&mut script));
}

/// The host takes all that has come, and keeps up or does not.
fn take_all(script: &mut Script, keeps_up: bool) {
    if script.connection.wants_wider_window() {
        script.connection.widen_window(keeps_up, &script.pool);
    }
    script.take(script.connection.recv().len());
    script.connection.flush_ack();
    script.sent();
}

/// The peer sends so much of the window, in segments.
fn fill(script: &mut Script, bytes: u32) {
    for _ in 0..bytes / MSS {
        let offset = script.connection.rcv_nxt().0.wrapping_sub(IRS + 1);
        script.data(offset, &[1; MSS as usize]);
    }
}

/// A peer that fills the window each round trip, and a host that takes everything: the windows it was offered.
fn received_windows(script: &mut Script, rtt: u64, rounds: usize) -> Vec<u32> {
    (0..rounds)
        .map(|_| {
            let window = script.connection.rcv_wnd();
            for _ in 0..window / MSS {
                fill(script, MSS);
                take_all(script, true);
            }
            script.now += Duration::from_micros(rtt);
            window
        })
        .collect()
}

#[test]
fn the_receive_window_doubles_each_round_trip_of_a_long_path() {
    let mut script = path(100_000);
    let windows = received_windows(&mut script, 100_000, 12);
    assert!(windows[1] <= 100_000 && windows[11] >= (16 << 20) - (1 << 10), "{windows:?}");
}

/// The handshake was repeated and there are no timestamps: a window that was filled tells the round trip.
#[test]
fn a_window_grows_without_a_measured_handshake() {
    let mut script = Script::passive_with(&LONG, &wide_syn());
    script.connection.accept(script.now);
    script.one();
    script.receive(wide_syn());
    script.one();
    script.now += Duration::from_millis(100);
    script.receive(segment(Flags::ACK, IRS + 1, ISS + 1));
    assert_eq!(script.connection.srtt(), None);
    let windows = received_windows(&mut script, 100_000, 14);
    assert!(windows[13] >= (16 << 20) - (1 << 10), "{windows:?}");
}

#[test]
fn the_receive_window_of_a_short_path_stays() {
    let mut script = path(50);
    let windows = received_windows(&mut script, 50, 200);
    assert!(windows[199] <= 100_000, "{}", windows[199]);
}

/// RATE in tcp/capacity.rs: 1250 bytes a microsecond.
#[test]
fn no_window_grows_past_what_a_path_can_hold() {
    let mut script = path(1000);
    let windows = received_windows(&mut script, 1000, 30);
    assert!((1_240_000..1_260_000).contains(&windows[29]), "{}", windows[29]);
}

/// A path that is short: of its window only what the peer needs.
fn short_path() -> Script {
    let config = Config { recv_limit: 730_000, recv_first: 64 << 10, ..LONG };
    let mut script = Script::passive_with(&config, &wide_syn());
    script.connection.accept(script.now);
    script.one();
    script.now += Duration::from_micros(50);
    script.receive(segment(Flags::ACK, IRS + 1, ISS + 1));
    script
}

#[test]
fn a_window_that_is_filled_doubles_where_the_host_keeps_up() {
    let mut script = short_path();
    let windows: Vec<u32> = (0..6)
        .map(|_| {
            let window = script.connection.rcv_wnd();
            fill(&mut script, window);
            take_all(&mut script, true);
            window >> 10
        })
        .collect();
    // Of 730,000 bytes; a unit of the window's field is 256.
    assert_eq!(windows, [63, 128, 256, 512, 712, 712]);
}

#[test]
fn a_window_that_is_not_filled_or_that_the_host_does_not_keep_up_with_stays() {
    let mut script = short_path();
    fill(&mut script, 64 << 10);
    take_all(&mut script, true);
    for _ in 0..50 {
        // What is left has room for one segment more.
        fill(&mut script, (128 << 10) - 2 * MSS);
        take_all(&mut script, true);
        fill(&mut script, 128 << 10);
        take_all(&mut script, false);
        assert_eq!(script.connection.rcv_wnd() >> 10, 128);
    }
    // Nobody reads any more: this is what is left in memory.
    fill(&mut script, 1 << 20);
    assert!(script.connection.recv().len() <= 128 << 10);
    assert_eq!(script.pool.lent(), 128 << 10);
}

/// A host that has fallen behind and catches up is given more again.
#[test]
fn a_window_grows_once_the_host_keeps_up() {
    let mut script = short_path();
    for keeps_up in [false, false, true] {
        let window = script.connection.rcv_wnd();
        assert!(window <= 64 << 10);
        fill(&mut script, window);
        take_all(&mut script, keeps_up);
    }
    assert_eq!(script.connection.rcv_wnd() >> 10, 128);
}

#[test]
fn a_host_that_takes_nothing_does_not_have_the_window_grow() {
    let mut script = path(100_000);
    for _ in 0..20 {
        let window = script.connection.rcv_wnd() as usize;
        let offset = script.connection.rcv_nxt().0 - IRS - 1;
        script.data(offset, &vec![1; window.min(MSS as usize)]);
        script.connection.flush_ack();
        script.sent();
        script.now += Duration::from_millis(100);
    }
    assert!(script.connection.recv().len() <= 100_000);
}

#[test]
fn without_memory_no_window_grows() {
    let mut script = path(100_000);
    script.pool = Pool::with_budget(16 << 10);
    script.push(1);
    let windows = received_windows(&mut script, 100_000, 8);
    assert!(windows[7] <= 100_000, "{windows:?}");
}

/// A pool of which so many others have a slab each.
fn crowd(script: &mut Script, others: usize) -> Vec<crate::tcp::SendBuffer> {
    let mut buffers: Vec<_> = (0..others).map(|_| crate::tcp::SendBuffer::default()).collect();
    buffers.iter_mut().for_each(|buffer| assert_eq!(buffer.push(b"x", 1, &mut script.pool), 1));
    buffers
}

#[test]
fn windows_and_buffers_follow_the_share_of_the_memory_and_come_back() {
    let config = Config { recv_limit: 700_000, send_limit: 700_000, recv_max: 700_000, ..LONG };
    let mut script = Script::passive_with(&config, &wide_syn());
    script.connection.accept(script.now);
    script.one();
    script.receive(segment(Flags::ACK, IRS + 1, ISS + 1));
    let mut offset = 0;
    let mut turn = |script: &mut Script| {
        script.data(offset, &[1; 1460]);
        offset += 1460;
        script.connection.consume_received(1460, &mut script.pool);
        script.connection.flush_ack();
        script.sent();
        (script.connection.rcv_wnd() as usize, script.connection.send_limit())
    };
    assert!(turn(&mut script).0 >= 690_000);
    let others = crowd(&mut script, 500);
    let edge = script.connection.rcv_nxt() + script.connection.rcv_wnd();
    let (_, send) = turn(&mut script);
    assert_eq!(send, 32 << 10);
    assert!((script.connection.rcv_nxt() + script.connection.rcv_wnd()).le(edge + (1 << 9)), "it does not grow");
    // The right edge stays where it was until the peer has come near to it.
    let narrow = (0..1000).map(|_| turn(&mut script).0).last().unwrap();
    assert!((120_000..=132_000).contains(&narrow), "{narrow}");
    for mut buffer in others {
        let len = buffer.len();
        buffer.consume(len, &mut script.pool);
    }
    assert!(turn(&mut script).0 >= 690_000, "in the next acknowledgment");
    assert_eq!(script.connection.send_limit(), 700_000);
}

/// How much is sent in each round trip by a host that always has more.
fn sent_in_rounds(script: &mut Script, rtt: u64, rounds: usize) -> Vec<u32> {
    let mut acked = 0;
    (0..rounds)
        .map(|_| {
            let mut bytes = 0;
            loop {
                let room = script.connection.send_room();
                let limit = script.connection.send_limit();
                script.connection.send_mut().push(&vec![1; room], limit, &mut script.pool);
                let sent: u32 = script.sent_at_its_pace().iter().map(|sent| sent.len as u32).sum();
                if sent == 0 {
                    break;
                }
                bytes += sent;
            }
            script.now += Duration::from_micros(rtt);
            acked += bytes;
            script.ack(acked);
            bytes
        })
        .collect()
}

#[test]
fn slow_start_fills_a_long_path_and_the_buffer_keeps_up() {
    let mut script = path(100_000);
    let bytes = sent_in_rounds(&mut script, 100_000, 12);
    assert_eq!(bytes[0], 10 * MSS);
    assert!(bytes.iter().take(9).zip(&bytes[1..]).all(|(a, b)| *b >= 2 * a - MSS), "{bytes:?}");
    assert!(bytes[11] >= 15 << 20, "{bytes:?}");
    assert!(script.connection.send().len() <= 16 << 20);
}

#[test]
fn on_a_short_path_no_more_is_in_flight_than_the_configuration_says() {
    let mut script = path(50);
    let bytes = sent_in_rounds(&mut script, 50, 50);
    assert_eq!(bytes[49], 100_000);
    // A path that was taken for long is found to be short.
    let mut script = path(100_000);
    sent_in_rounds(&mut script, 100, 50);
    assert_eq!(script.connection.send_limit(), 125_000);
}

#[test]
fn without_selective_acknowledgments_the_sending_window_stays() {
    let config = Config { sack: false, ..LONG };
    let mut script = Script::passive_with(&config, &wide_syn());
    script.connection.accept(script.now);
    script.one();
    script.now += Duration::from_millis(100);
    script.receive(segment(Flags::ACK, IRS + 1, ISS + 1));
    let bytes = sent_in_rounds(&mut script, 100_000, 12);
    assert_eq!(bytes[11], 100_000);
}
