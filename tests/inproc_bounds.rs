//! What one call of the application may make, and how several flows share it.

mod common;
use common::*;
use std::io::{ErrorKind, Read, Write};

both_families![
    earnest_3_3_no_call_makes_more_than_1024_frames_whatever_the_segment_size,
    earnest_3_3_a_call_is_bounded_over_all_flows,
    earnest_3_3_others_have_their_turn_beside_a_download,
    earnest_3_3_datagrams_in_many_fragments_are_bounded_and_none_is_lost,
    earnest_3_3_an_upload_has_its_turn_beside_many_downloads,
    earnest_3_3_uploads_have_their_turn_beside_each_other,
];

/// Frames that any call may make at most; docs/compatibility.md.
const MOST: usize = 1024;
/// Segments of one TCP flow in one turn.
const TURN: usize = 192;

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
fn connected(i: &Instance, family: Family, options: &[u8]) -> (Party, TcpStream) {
    let (listener, port) = family.tcp_listener();
    let conn = Party::connect_with(i, family, family.at_vhost(port), options);
    let stream = accept(i, &listener);
    stream.set_nonblocking(true).unwrap();
    (conn, stream)
}

/// Options of a guest that takes segments of `mss` bytes and a window of up to 1 GiB.
fn large_window(mss: u16) -> Vec<u8> {
    [&mss_option(mss)[..], &[3, 3, 14, 1]].concat()
}

/// Takes in everything that is there.
fn take_in(i: &Instance, conns: &mut [&mut Party]) {
    take_in_all(&i.drain(), conns);
}

fn take_in_all(frames: &[Frame], conns: &mut [&mut Party]) {
    let mut last = 0;
    for frame in frames {
        // Segments of one connection come in runs.
        let order = (last..conns.len()).chain(0..last);
        let found = order.into_iter().find_map(|n| Some((n, conns[n].heard(frame)?)));
        let Some((n, s)) = found else { continue };
        last = n;
        let end = s.seq.wrapping_add(s.payload.len() as u32);
        if end.wrapping_sub(conns[n].ack) < 1 << 31 {
            conns[n].ack = end;
        }
    }
}

/// Acknowledges what was taken in, in one segment; how many frames that made.
fn acknowledge(i: &Instance, conn: &mut Party) -> usize {
    let before = i.frame_count.get();
    conn.send(i, ACK, b"");
    i.frame_count.get() - before
}

/// The same for everything that is there.
fn acknowledge_all(i: &Instance, conn: &mut Party) -> usize {
    take_in(i, &mut [conn]);
    acknowledge(i, conn)
}

/// A segment size of 1 is believed as 32 bytes, and a megabyte is 32,768 of them.
fn earnest_3_3_no_call_makes_more_than_1024_frames_whatever_the_segment_size(family: Family) {
    if ours("bounded-calls") {
        for acks in ["all", "one segment", "old and new in turn"] {
            let i = family.greeted();
            let (mut conn, stream) = connected(&i, family, &large_window(1));
            let (mut total, mut worst, mut round) = (0, 0, 0);
            while total < 40_000 {
                fill_up(&stream);
                worst = worst.max(i.busiest_call_of_a_turn());
                let una = conn.ack;
                let frames = match acks {
                    "one segment" if round % 4 != 0 => {
                        conn.ack = una.wrapping_add(32);
                        let before = i.frame_count.get();
                        conn.send(&i, ACK, b"");
                        i.frame_count.get() - before
                    }
                    "old and new in turn" if round % 2 != 0 => {
                        conn.ack = una.wrapping_sub(32);
                        let before = i.frame_count.get();
                        conn.send(&i, ACK, b"");
                        conn.ack = una;
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
fn earnest_3_3_a_call_is_bounded_over_all_flows(family: Family) {
    if ours("bounded-calls") {
        let i = family.greeted();
        let (mut conns, streams): (Vec<_>, Vec<_>) =
            (0..20).map(|_| connected(&i, family, &large_window(1460))).unzip();
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
        let received: Vec<u32> = conns.iter().map(|c| c.ack.wrapping_sub(c.start)).collect();
        let (least, most) = (received.iter().min().unwrap(), received.iter().max().unwrap());
        assert!(*least > 200_000 && most / least <= 2, "from {least} to {most} bytes");
    }
}

/// Grows the window of a download until an acknowledgment of everything frees more than some turns.
fn grown(i: &Instance, family: Family) -> (Party, TcpStream) {
    let (mut conn, stream) = connected(i, family, &large_window(1460));
    for _ in 0..12 {
        fill_up(&stream);
        i.settle();
        acknowledge_all(i, &mut conn);
    }
    fill_up(&stream);
    i.settle();
    (conn, stream)
}

/// A download that could fill its window of hundreds of segments at once ends its turn after 192 of them, and a byte for
/// another connection, and the acknowledgment of an upload, do not wait behind the rest.
fn earnest_3_3_others_have_their_turn_beside_a_download(family: Family) {
    let i = family.greeted();
    let (mut other, other_stream) = connected(&i, family, &mss_option(1460));
    let (mut bulk, _stream) = grown(&i, family);
    take_in(&i, &mut [&mut bulk]);
    other.send(&i, PSH | ACK, b"x");
    let mut held = other_stream;
    assert_eq!(host_read(&i, &mut held, 1), b"x");
    i.settle();
    let freed = acknowledge_all(&i, &mut bulk);
    if ours("bounded-calls") {
        assert!(freed <= TURN, "one acknowledgment was answered by {freed} segments at once");
        assert!(freed >= TURN / 2, "{freed}: this shows nothing");
    }
    held.write_all(b"y").unwrap();
    other.send(&i, PSH | ACK, b"z");
    i.drain_raw();
    let pick = |f: &Frame| other.heard(f).filter(|s| s.payload == b"y");
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
fn earnest_3_3_datagrams_in_many_fragments_are_bounded_and_none_is_lost(family: Family) {
    const SIZE: usize = 40_000;
    if family == Family::V6 && !ours("ipv6-fragments") {
        eprintln!("SKIPPED: upstream makes no fragments of IPv6");
        return;
    }
    let i = family.greeted();
    let (host, port) = family.udp_peer();
    let flows = 40;
    let sources: Vec<_> = (0..flows)
        .map(|n| {
            i.input(&family.udp_frame(5000 + n, family.at_vhost(port), b"?"));
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
    let each = (SIZE + 8).div_ceil(if family == Family::V4 { 1480 } else { 1448 });
    i.until("all datagrams", || {
        worst = worst.max(i.busiest_call_of_a_turn());
        let of_udp = |f: &Frame| f.ip().is_some_and(|p| p.protocol == UDP) || packet6(f).is_some_and(|p| p.next == 44);
        pieces += i.drain().iter().filter(|f| of_udp(f)).count();
        (pieces >= 3 * usize::from(flows) * each).then_some(())
    });
    if ours("bounded-calls") {
        assert!(worst <= MOST, "a call made {worst} frames");
    }
}

/// Reads what the host has of an upload.
fn read_all(stream: &TcpStream) -> usize {
    let (mut total, mut buffer) = (0, [0; 65536]);
    loop {
        match { stream }.read(&mut buffer) {
            Ok(0) => panic!("the upload has ended"),
            Ok(length) => total += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return total,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Many downloads that have more than one round may bring, and an upload in full segments: what it has sent is with the host
/// two rounds later, and acknowledged.
fn earnest_3_3_an_upload_has_its_turn_beside_many_downloads(family: Family) {
    if !ours("bounded-calls") {
        return;
    }
    const PIECE: usize = 1400;
    let i = family.greeted();
    let (mut conns, streams): (Vec<_>, Vec<_>) = (0..60).map(|_| connected(&i, family, &large_window(1460))).unzip();
    let (mut upload, host) = connected(&i, family, &large_window(1460));
    let (mut sent, mut arrived, mut acked, mut worst, mut frames) = ([0; 3], 0, 0, 0, 0);
    for round in 0..40 {
        streams.iter().for_each(fill_up);
        for conn in &mut conns {
            worst = worst.max(acknowledge(&i, conn));
        }
        for _ in 0..10 {
            upload.send(&i, ACK, &[round; PIECE]);
        }
        sent = [sent[1], sent[2], sent[2] + 10 * PIECE];
        let before = i.frame_count.get();
        worst = worst.max(i.busiest_call_of_a_turn());
        frames += i.frame_count.get() - before;
        arrived += read_all(&host);
        assert!(arrived >= sent[0], "round {round}: {arrived} bytes of {} that were sent two rounds ago", sent[0]);
        let heard = i.drain();
        let acks = heard.iter().filter_map(|f| upload.heard(f)).map(|s| s.ack.wrapping_sub(1_000_001) as usize);
        acked = acks.fold(acked, usize::max);
        assert!(acked >= sent[0], "round {round}: {acked} bytes of {} are acknowledged", sent[0]);
        take_in_all(&heard, &mut conns.iter_mut().collect::<Vec<_>>());
    }
    assert!(worst <= MOST, "a call made {worst} frames");
    assert!(frames / 40 > MOST / 4, "{frames} frames in 40 rounds: the downloads are none");
}

/// Uploads that all come in one burst: none waits for more than a round behind the others.
fn earnest_3_3_uploads_have_their_turn_beside_each_other(family: Family) {
    const PIECE: usize = 1400;
    let i = family.greeted();
    let mut uploads: Vec<_> = (0..100).map(|_| connected(&i, family, &mss_option(1460))).collect();
    for round in 1..=10 {
        for n in 0..20 {
            for (upload, _) in &mut uploads {
                upload.send(&i, ACK, &[n; PIECE]);
            }
        }
        // What is staged goes in the second round, a mebibyte in each.
        for _ in 0..2 + uploads.len() * 20 * PIECE / (1 << 20) {
            i.turn(Duration::ZERO);
        }
        for (upload, host) in &uploads {
            assert_eq!(read_all(host), 20 * PIECE, "round {round}");
            let acked = upload.all(&i).iter().map(|s| s.ack).max();
            assert_eq!(acked, Some(upload.seq));
        }
        i.drain_raw();
    }
}

/// What a saved state brings is bounded as well: a guest forward's connection with segments of 32 bytes and as many of them as
/// its window and buffer hold, of which many instances are loaded at once.
#[test]
fn earnest_3_3_a_loaded_connection_makes_no_more_than_1024_frames_a_call() {
    const FORWARD: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 100);
    if !ours("bounded-calls") {
        return;
    }
    let with_callback = || {
        let i = Setup::default().start();
        assert_eq!(i.add_guestfwd(&mut FORWARD.clone(), 7, Box::new(|_, data| data.len() as isize)), 0);
        i
    };
    let i = with_callback();
    let mut conn = Conn::connect_with(&i, at(FORWARD, 7), &mss_option(1));
    // The guest takes nothing for now.
    conn.window = 0;
    conn.data(&i, b"?");
    let data = pattern(100_000);
    assert!(i.can_recv(FORWARD, 7) >= data.len());
    i.socket_recv(FORWARD, 7, &data);
    i.settle();
    i.drain_raw();
    let (result, stream) = i.save_state();
    assert_eq!(result, 0);
    let other = with_callback();
    assert_eq!(other.load_state(4, &stream), (0, 0));
    // The guest goes on where it was, with a window for more segments than a call may make.
    conn.window = 65535;
    let (mut got, mut worst, mut total) = (Vec::new(), 0, 0);
    for _ in 0..10_000 {
        let before = other.frame_count.get();
        conn.send(&other, ACK, b"");
        worst = worst.max(other.frame_count.get() - before).max(other.busiest_call_of_a_turn());
        total += other.frame_count.get() - before;
        // A path so short that the sender does not pace itself.
        other.move_clock(Duration::from_micros(500));
        for s in other.drain().iter().filter_map(Frame::tcp) {
            if conn.is_mine(&s) && s.seq == conn.rcv_nxt {
                conn.rcv_nxt = conn.rcv_nxt.wrapping_add(s.payload.len() as u32);
                got.extend(s.payload);
            }
        }
        if got.len() >= data.len() {
            break;
        }
    }
    assert!(got == data, "{} of {} bytes", got.len(), data.len());
    assert!(worst <= MOST, "a call made {worst} frames");
    assert!(total > MOST && worst >= TURN, "{total} frames, {worst} at once: this shows nothing");
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
    drop(grown(&i, Family::V4));
    let before = resident();
    let mut flows: Vec<_> = (0..100).map(|_| connected(&i, Family::V4, &large_window(1460))).collect();
    for _ in 0..10 {
        for (conn, stream) in &mut flows {
            fill_up(stream);
            i.busiest_call_of_a_turn();
            acknowledge_all(&i, conn);
        }
        i.drain_raw();
    }
    // What fills the windows stays in the buffers until it is acknowledged.
    flows.iter().for_each(|(_, stream)| fill_up(stream));
    i.settle();
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
