//! TCP with a scripted guest: how long segments are, and how much of them at one time. The rest of docs/contract/tcp.md
//! is in `inproc_tcp.rs`.

mod common;
use common::*;
use std::io::Write;

/// A connection from the guest to a listener on the host, and both of its ends.
fn connected(i: &Instance) -> (Conn, TcpStream) {
    let (listener, port) = tcp_listener();
    let conn = Conn::connect(i, at_vhost(port));
    let host = accept(i, &listener);
    i.settle();
    (conn, host)
}

/// A connection from the host to the guest's port 80.
fn forwarded(i: &Instance, options: &[u8]) -> (Conn, TcpStream) {
    let port = i.forward(false, at(GUEST, 80));
    let host = client(port);
    (Conn::accept(i, 80, options), host)
}

/// The segments of the connection that are there now.
fn segments(i: &Instance, conn: &mut Conn) -> Vec<Segment> {
    std::iter::from_fn(|| conn.next(i)).collect()
}

#[test]
fn tcp_window_scaling_when_the_guest_offers_it() {
    let i = Setup::default().start();
    let (listener, port) = tcp_listener();
    let offer = [&mss_option(1460)[..], &[1, 3, 3, 7]].concat();
    let conn = Conn::connect_with(&i, at_vhost(port), &offer);
    let _host = accept(&i, &listener);
    let scale = conn.hello.as_ref().unwrap().window_scale();
    if ours("window-scaling") {
        assert!(scale.is_some_and(|s| s <= 14), "{scale:?}");
    } else {
        assert_eq!(scale, None);
    }
}

#[test]
fn tcp_fact_06_segments_to_the_guest_fill_the_mtu() {
    let i = Setup::default().start();
    let data = pattern(20_000);
    let (mut conn, mut host) = connected(&i);
    assert_eq!(host_write_some(&mut host, &data), data.len());
    let (sizes, bytes) = conn.receive(&i, data.len());
    assert!(bytes == data);
    let largest = *sizes.iter().max().unwrap();
    assert_eq!(largest, if ours("mss-1460") { 1460 } else { 1440 }, "{sizes:?}");
    let (mut conn, mut host) = forwarded(&i, &mss_option(1460));
    assert_eq!(host_write_some(&mut host, &data), data.len());
    let (sizes, bytes) = conn.receive(&i, data.len());
    assert!(bytes == data);
    assert_eq!(*sizes.iter().max().unwrap(), 1460, "{sizes:?}");
}

#[test]
fn tcp_fact_07_the_guests_mss_option_is_honoured() {
    let i = Setup::default().start();
    let data = pattern(3000);
    let (mut conn, mut host) = forwarded(&i, &mss_option(256));
    host_write_some(&mut host, &data);
    let (sizes, bytes) = conn.receive(&i, data.len());
    assert!(bytes == data && sizes.iter().all(|s| *s <= 256) && sizes.contains(&256), "{sizes:?}");
    let (listener, port) = tcp_listener();
    let mut conn = Conn::connect_with(&i, at_vhost(port), &mss_option(256));
    let mut host = accept(&i, &listener);
    host_write_some(&mut host, &data);
    let (sizes, bytes) = conn.receive(&i, data.len());
    assert!(bytes == data);
    assert_eq!(*sizes.iter().max().unwrap(), if ours("guest-mss") { 256 } else { 1440 }, "{sizes:?}");
}

#[test]
fn tcp_fact_10_data_beyond_the_window_is_not_delivered() {
    let i = Setup::default().start();
    let (mut conn, mut host) = connected(&i);
    let far = Segment { seq: conn.snd_nxt.wrapping_add(300_000_000), ..conn.segment(PSH | ACK, b"far") };
    i.input(&far.frame());
    let ack = conn.expect(&i, "an ACK with the current numbers", |s| s.has(ACK) && !s.has(RST));
    assert_eq!((ack.seq, ack.ack), (conn.rcv_nxt, conn.snd_nxt));
    host_idle(&mut host);
    // An ACK of data that was never sent gets the same answer, and the segment is dropped.
    let early = Segment { ack: conn.rcv_nxt.wrapping_add(5000), ..conn.segment(PSH | ACK, b"bad") };
    i.input(&early.frame());
    let ack = conn.expect(&i, "an ACK with the current numbers", |s| s.has(ACK) && !s.has(RST));
    assert_eq!((ack.seq, ack.ack), (conn.rcv_nxt, conn.snd_nxt));
    host_idle(&mut host);
    conn.data(&i, b"good");
    assert_eq!(host_read(&i, &mut host, 4), b"good");
}

#[test]
fn tcp_fact_27_jumbo_frames() {
    let sizes = |mtu, mru| {
        let i = Setup::default().mtu(mtu, mru).start();
        let (listener, port) = tcp_listener();
        let mut conn = Conn::connect_with(&i, at_vhost(port), &mss_option(mtu as u16 - 40));
        let mut host = accept(&i, &listener);
        let data = pattern(60_000);
        host_write_some(&mut host, &data);
        let (sizes, bytes) = conn.receive(&i, data.len());
        assert!(bytes == data);
        (conn.hello.unwrap().mss().unwrap(), *sizes.iter().max().unwrap())
    };
    assert_eq!(sizes(9000, 9000), (8960, if ours("mss-1460") { 8960 } else { 8940 }));
    let (mss, largest) = sizes(9000, 1500);
    assert_eq!(mss, 1460);
    assert!(largest == 1460 || ours("mss-1460") && largest <= 8960, "{largest}");
    assert_eq!(sizes(576, 576), (536, if ours("mss-1460") { 536 } else { 516 }));
}

#[test]
fn tcp_a_host_that_does_not_read_closes_the_window_and_loses_nothing() {
    let i = Setup::default().start();
    let (mut conn, mut host) = connected(&i);
    let data = pattern(8 << 20);
    let mut sent = 0;
    // Fill until the window is shut: never more than the window that was offered.
    loop {
        while conn.next(&i).is_some() {}
        let edge = conn.snd_una.wrapping_add(u32::from(conn.snd_wnd)).wrapping_sub(conn.snd_nxt) as usize;
        if edge == 0 || sent + edge.min(1460) > data.len() {
            break;
        }
        let n = edge.min(1460);
        conn.data(&i, &data[sent..sent + n]);
        sent += n;
        i.turn(Duration::ZERO);
        if edge <= 1460 && conn.snd_wnd == 0 {
            break;
        }
    }
    i.settle();
    while conn.next(&i).is_some() {}
    assert!(sent > 100_000 && sent < data.len(), "{sent} bytes went in before the window shut");
    // The host reads everything, and the window opens again without being asked.
    assert!(host_read(&i, &mut host, sent) == data[..sent]);
    i.settle();
    while conn.next(&i).is_some() {}
    assert!(conn.snd_una == conn.snd_nxt && conn.snd_wnd > 1460, "una {} wnd {}", conn.snd_una, conn.snd_wnd);
    conn.data(&i, b"after");
    assert_eq!(host_read(&i, &mut host, 5), b"after");
}

#[test]
fn tcp_nothing_is_sent_beyond_the_guests_window() {
    let i = Setup::default().start();
    let (mut conn, mut host) = connected(&i);
    let data = pattern(100_000);
    conn.window = 5000;
    conn.send(&i, ACK, b"");
    host_write_some(&mut host, &data);
    let mut got = Vec::new();
    i.until("all data through a small window", || {
        while let Some(s) = conn.next(&i) {
            let end = s.seq.wrapping_add(s.payload.len() as u32);
            assert!(end.wrapping_sub(conn.rcv_nxt) <= 5000, "beyond the window");
            if s.seq == conn.rcv_nxt {
                conn.rcv_nxt = end;
                got.extend_from_slice(&s.payload);
                i.input(&conn.segment(ACK, b"").frame());
            }
        }
        (got.len() == data.len()).then_some(())
    });
    assert!(got == data);
}

/// The error of a router whose link carries `mtu` bytes, about a segment of the library (RFC 1191 section 4).
fn too_big(about: &Segment, mtu: u16) -> Vec<u8> {
    let packet = Ip { src: *about.src.ip(), ..Ip::new(*about.dst.ip(), TCP) }.packet(&about.bytes());
    let [high, low] = mtu.to_be_bytes();
    Ip::new(*about.src.ip(), ICMP).frame(&icmp(3, 4, [0, 0, high, low], &packet[..28]))
}

#[test]
fn tcp_a_router_before_the_guest_asks_for_smaller_segments() {
    if !ours("guest-path-mtu") {
        return;
    }
    let i = Setup::default().start();
    let (mut conn, mut host) = connected(&i);
    host.write_all(&[7; 2920]).unwrap();
    let first = conn.expect(&i, "a full segment", |s| !s.payload.is_empty());
    assert_eq!(first.payload.len(), 1460);
    let second = conn.expect(&i, "another", |s| !s.payload.is_empty());
    // Not of this connection's numbers, or larger than the link: not believed (RFC 5927 section 7).
    for wrong in [
        too_big(&Segment { seq: first.seq.wrapping_sub(1), ..first.clone() }, 1000),
        too_big(&Segment { seq: first.seq.wrapping_add(5000), ..first.clone() }, 1000),
        too_big(&first, 9000),
    ] {
        i.input(&wrong);
        i.settle();
        assert_eq!(segments(&i, &mut conn), []);
    }
    i.input(&too_big(&second, 1000));
    i.settle();
    assert_eq!(segments(&i, &mut conn).iter().map(|s| s.payload.len()).collect::<Vec<_>>(), [960, 960, 960, 40]);
    // A router that does not name its MTU: the next likely one below what was sent (RFC 1191 section 7), but never less
    // than every host takes.
    conn.rcv_nxt = conn.rcv_nxt.wrapping_add(2920);
    conn.send(&i, ACK, b"");
    host.write_all(&[7; 3000]).unwrap();
    let large = conn.expect(&i, "a segment", |s| !s.payload.is_empty());
    i.settle();
    segments(&i, &mut conn);
    for (mtu, largest) in [(0, Some(536)), (100, None)] {
        i.input(&too_big(&large, mtu));
        i.settle();
        assert_eq!(segments(&i, &mut conn).iter().map(|s| s.payload.len()).max(), largest);
    }
}

/// A guest that takes nothing stops the host: what is read from the host's socket is bounded, and goes on afterwards.
#[test]
fn tcp_a_guest_that_takes_nothing_stops_the_host() {
    let i = Setup::default().start();
    let (mut conn, mut host) = connected(&i);
    conn.window = 0;
    conn.send(&i, ACK, b"");
    let data = pattern(64 << 20);
    let mut sent = 0;
    // Until the kernel's buffers are full and stay so.
    let mut quiet = 0;
    while quiet < 5 {
        let more = host_write_some(&mut host, &data[sent..]);
        i.settle();
        sent += more;
        quiet = if more == 0 { quiet + 1 } else { 0 };
        assert!(sent < data.len(), "the host was never stopped");
    }
    let first = conn.rcv_nxt;
    let seen: Vec<_> = segments(&i, &mut conn).iter().map(|s| (s.seq.wrapping_sub(first), s.payload.len())).collect();
    if !ours("window-that-closes") {
        // The window that the guest had offered before, and no more; it has been dropped, so the stream ends here.
        assert!(seen.iter().map(|(_, length)| length).sum::<usize>() <= 65535, "{seen:?}");
        return;
    }
    assert!(seen.iter().all(|(at, length)| *at <= 1 && *length <= 1), "{seen:?}");
    conn.window = 65535;
    conn.send(&i, ACK, b"");
    let (_, bytes) = conn.receive(&i, sent);
    assert!(bytes == data[..sent]);
}
