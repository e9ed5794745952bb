//! What one call of the application may make, and how several flows share it.

mod common;
use common::*;
use std::io::{ErrorKind, Write};

/// Frames that any call may make at most; docs/compatibility.md.
const MOST: usize = 1024;
/// Segments of one TCP flow in one turn.
const TURN: usize = 64;

/// Writes without waiting, a megabyte or what the host's kernel takes.
fn fill_up(stream: &TcpStream) {
    for _ in 0..16 {
        match { stream }.write(&[7; 65536]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A connection to a host peer that has as much to say as its kernel takes.
fn download(i: &Instance, options: &[u8]) -> (Conn, TcpStream) {
    let (listener, port) = tcp_listener();
    let conn = Conn::connect_with(i, at_vhost(port), options);
    let stream = accept(i, &listener);
    stream.set_nonblocking(true).unwrap();
    (conn, stream)
}

/// Options of a guest that takes segments of `mss` bytes and a window of up to 1 GiB.
fn large_window(mss: u16) -> Vec<u8> {
    [&mss_option(mss)[..], &[3, 3, 14, 1]].concat()
}

/// Takes in everything that is there.
fn take_in(i: &Instance, conns: &mut [&mut Conn]) {
    for s in i.drain().iter().filter_map(Frame::tcp) {
        let Some(conn) = conns.iter_mut().find(|conn| conn.is_mine(&s)) else { continue };
        let end = s.seq.wrapping_add(s.payload.len() as u32);
        if end.wrapping_sub(conn.rcv_nxt) < 1 << 31 {
            conn.rcv_nxt = end;
        }
    }
}

/// Acknowledges what was taken in, in one segment; how many frames that made.
fn acknowledge(i: &Instance, conn: &mut Conn) -> usize {
    let before = i.frame_count.get();
    conn.send(i, ACK, b"");
    i.frame_count.get() - before
}

/// The same for everything that is there.
fn acknowledge_all(i: &Instance, conn: &mut Conn) -> usize {
    take_in(i, &mut [conn]);
    acknowledge(i, conn)
}

/// A segment size of 1 is believed as 32 bytes, and a megabyte is 32,768 of them.
#[test]
fn earnest_3_3_no_call_makes_more_than_1024_frames_whatever_the_segment_size() {
    if ours("bounded-calls") {
        for acks in ["all", "one segment", "old and new in turn"] {
            let i = Setup::default().start();
            let (mut conn, stream) = download(&i, &large_window(1));
            let (mut total, mut worst, mut round) = (0, 0, 0);
            while total < 40_000 {
                fill_up(&stream);
                worst = worst.max(i.busiest_call_of_a_turn());
                let una = conn.rcv_nxt;
                let frames = match acks {
                    "one segment" if round % 4 != 0 => {
                        conn.rcv_nxt = una.wrapping_add(32);
                        let before = i.frame_count.get();
                        conn.send(&i, ACK, b"");
                        i.frame_count.get() - before
                    }
                    "old and new in turn" if round % 2 != 0 => {
                        conn.rcv_nxt = una.wrapping_sub(32);
                        let before = i.frame_count.get();
                        conn.send(&i, ACK, b"");
                        conn.rcv_nxt = una;
                        i.frame_count.get() - before
                    }
                    _ => acknowledge_all(&i, &mut conn),
                };
                worst = worst.max(frames);
                total = i.frame_count.get();
                round += 1;
                assert!(round < 20_000, "{acks}: only {total} frames in {round} rounds");
            }
            assert!(worst <= MOST, "{acks}: a call made {worst} frames");
            assert!(worst >= TURN, "{acks}: no call made more than {worst} frames: this shows nothing");
        }
    }
}

/// What 20 flows have to say at once is not said in one call, and no flow is left behind.
#[test]
fn earnest_3_3_a_call_is_bounded_over_all_flows() {
    if ours("bounded-calls") {
        let i = Setup::default().start();
        let (mut conns, streams): (Vec<_>, Vec<_>) = (0..20).map(|_| download(&i, &large_window(1460))).unzip();
        let mut worst = 0;
        for _ in 0..12 {
            streams.iter().for_each(fill_up);
            for conn in &mut conns {
                worst = worst.max(acknowledge(&i, conn));
            }
            for _ in 0..conns.len().div_ceil(MOST / 2 / TURN) {
                worst = worst.max(i.busiest_call_of_a_turn());
            }
            take_in(&i, &mut conns.iter_mut().collect::<Vec<_>>());
        }
        assert!(worst <= MOST, "a call made {worst} frames");
        let received: Vec<u32> = conns.iter().map(|c| c.rcv_nxt.wrapping_sub(c.hello.as_ref().unwrap().seq)).collect();
        let (least, most) = (received.iter().min().unwrap(), received.iter().max().unwrap());
        assert!(*least > 200_000 && most / least <= 2, "from {least} to {most} bytes");
    }
}

/// Grows the window of a download until an acknowledgment of everything frees more than some turns.
fn grown(i: &Instance) -> (Conn, TcpStream) {
    let (mut conn, stream) = download(i, &large_window(1460));
    for _ in 0..12 {
        fill_up(&stream);
        i.settle();
        acknowledge_all(i, &mut conn);
    }
    fill_up(&stream);
    i.settle();
    (conn, stream)
}

/// A download that could fill its window of hundreds of segments at once ends its turn after 64 of them, and a byte for
/// another connection, and the acknowledgment of an upload, do not wait behind the rest.
#[test]
fn earnest_3_3_others_have_their_turn_beside_a_download() {
    let i = Setup::default().start();
    let (mut other, other_stream) = download(&i, &mss_option(1460));
    let (mut bulk, _stream) = grown(&i);
    take_in(&i, &mut [&mut bulk]);
    other.data(&i, b"x");
    let mut held = other_stream;
    assert_eq!(host_read(&i, &mut held, 1), b"x");
    i.settle();
    let freed = acknowledge_all(&i, &mut bulk);
    if ours("bounded-calls") {
        assert!(freed <= TURN, "one acknowledgment was answered by {freed} segments at once");
        assert!(freed >= TURN / 2, "{freed}: this shows nothing");
    }
    held.write_all(b"y").unwrap();
    other.data(&i, b"z");
    i.drain_raw();
    let pick = |f: &Frame| f.tcp().filter(|s| other.is_mine(s) && s.payload == b"y").map(|_| ());
    let mut ahead = 0;
    i.until("the byte for the other connection", || {
        i.busiest_call_of_a_turn();
        for frame in i.drain() {
            if pick(&frame).is_some() {
                return Some(());
            }
            ahead += 1;
        }
        None
    });
    if ours("bounded-calls") {
        assert!(ahead <= 2 * TURN, "{ahead} frames went ahead");
    }
}

/// Datagrams that make many fragments: the rest of a batch waits for its turn, and none is lost.
#[test]
fn earnest_3_3_datagrams_in_many_fragments_are_bounded_and_none_is_lost() {
    const SIZE: usize = 40_000;
    let i = Setup::default().start();
    let (host, port) = udp_peer();
    let flows = 40;
    let sources: Vec<_> = (0..flows)
        .map(|n| {
            i.input(&udp_frame(5000 + n, at_vhost(port), b"?"));
            host_recv(&i, &host).1
        })
        .collect();
    i.settle();
    i.drain_raw();
    for _ in 0..3 {
        for source in &sources {
            host.send_to(&[9; SIZE], source).unwrap();
        }
    }
    let (mut worst, mut pieces) = (0, 0);
    let each = (SIZE + 8).div_ceil(1480);
    i.until("all datagrams", || {
        worst = worst.max(i.busiest_call_of_a_turn());
        pieces += i.drain().iter().filter(|f| f.ip().is_some_and(|p| p.protocol == UDP)).count();
        (pieces >= 3 * usize::from(flows) * each).then_some(())
    });
    if ours("bounded-calls") {
        assert!(worst <= MOST, "a call made {worst} frames");
    }
}

/// After a load of many flows the process is as small again as it was before, as soon as it has been quiet for a while.
#[test]
fn earnest_3_16_the_memory_of_a_load_comes_back() {
    const NAME: &str = "earnest_3_16_the_memory_of_a_load_comes_back";
    if !isolated(NAME, Isolation::Process) {
        return;
    }
    let i = Setup::default().start();
    // What is made once, whatever comes.
    drop(grown(&i));
    let before = resident();
    let mut flows: Vec<_> = (0..100).map(|_| download(&i, &large_window(1460))).collect();
    for _ in 0..10 {
        for (conn, stream) in &mut flows {
            fill_up(stream);
            i.busiest_call_of_a_turn();
            acknowledge_all(&i, conn);
        }
    }
    i.drain_raw();
    let busy = resident();
    for (mut conn, stream) in flows.drain(..) {
        conn.send(&i, RST, b"");
        drop(stream);
    }
    i.settle();
    i.drain_raw();
    // The application comes round once a second.
    for _ in 0..3 {
        i.move_clock(Duration::from_secs(1));
        i.settle();
    }
    let after = resident();
    eprintln!("{} KiB before, {} busy, {} after", before >> 10, busy >> 10, after >> 10);
    if ours("memory-comes-back") {
        assert!(busy > before + (16 << 20), "{before} and {busy} bytes: this shows nothing");
        assert!(after < before + (4 << 20), "{before} bytes before, {busy} under load, {after} after");
    }
}
