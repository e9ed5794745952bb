//! Limits of OXISLIRP_CONFIG through the C ABI: what they let pass in how much time, what becomes of the rest, and whom they leave
//! alone. docs/limits.md says what is promised. The time is virtual.

mod common;
use common::config_file::{try_under, under};
use common::*;

/// A connection whose guest takes what comes, and sends as much as the window allows.
struct Stream {
    conn: Conn,
    host: TcpStream,
    received: Vec<u8>,
    /// How many bytes of the pattern were sent.
    sent: usize,
    at_host: Vec<u8>,
}

const PATTERN: usize = 4 << 20;

impl Stream {
    fn new(i: &Instance, listener: &TcpListener) -> Stream {
        let port = listener.local_addr().unwrap().port();
        // A guest without scaled windows has a buffer of another size.
        let conn = Conn::connect_with(i, at_vhost(port), &[2, 4, 5, 180, 1, 3, 3, 0]);
        Stream { conn, host: accept(i, listener), received: Vec::new(), sent: 0, at_host: Vec::new() }
    }

    /// What the library's windows are shifted by.
    fn shift(&self) -> u8 {
        let options = self.conn.hello.as_ref().map_or(&[][..], |hello| &hello.options);
        options.windows(3).find(|option| option.starts_with(&[3, 3])).map_or(0, |option| option[2])
    }

    /// Takes everything that is there for the guest.
    fn take(&mut self, i: &Instance) {
        while let Some(segment) = self.conn.next(i) {
            assert!(!segment.has(RST), "a reset after {} bytes", self.received.len());
            if segment.seq == self.conn.rcv_nxt && !segment.payload.is_empty() {
                self.received.extend_from_slice(&segment.payload);
                self.conn.rcv_nxt = self.conn.rcv_nxt.wrapping_add(segment.payload.len() as u32);
            }
            i.input(&self.conn.segment(ACK, b"").frame());
        }
    }

    /// Sends what the window allows, and reads what the host has got.
    fn send(&mut self, i: &Instance, data: &[u8]) {
        use std::io::Read;
        while self.conn.next(i).is_some() {}
        loop {
            let rest = &data[self.sent.min(data.len())..];
            let outstanding = self.conn.snd_nxt.wrapping_sub(self.conn.snd_una) as usize;
            let room = (usize::from(self.conn.snd_wnd) << self.shift()).saturating_sub(outstanding);
            let length = rest.len().min(1400).min(room);
            if length == 0 {
                break;
            }
            self.conn.data(i, &rest[..length]);
            self.sent += length;
            while self.conn.next(i).is_some() {}
        }
        let mut buffer = [0; 65536];
        while let Ok(length @ 1..) = self.host.read(&mut buffer) {
            self.at_host.extend_from_slice(&buffer[..length]);
        }
    }
}

/// Has so much time pass, and whatever happens in it, in steps of five milliseconds.
fn pass(i: &Instance, millis: u64, mut step: impl FnMut(&Instance)) {
    for _ in 0..millis / 5 {
        i.move_clock(Duration::from_millis(5));
        for _ in 0..3 {
            i.turn(Duration::ZERO);
            step(i);
        }
    }
}

fn assert_rate(bytes: usize, rate: usize, seconds: usize) {
    let saved = (rate / 10).max(4096);
    let (least, most) = (rate * seconds * 9 / 10, rate * seconds + saved + rate / 20 + 64);
    assert!((least..=most).contains(&bytes), "{bytes} are not {least} to {most}");
}

#[test]
fn limits_a_download_has_its_rate_and_loses_nothing() {
    let (listener, _) = tcp_listener();
    let i = under("[limits.whole]\ndown = 200_000\n");
    let data = pattern(PATTERN);
    let mut stream = Stream::new(&i, &listener);
    let mut written = 0;
    pass(&i, 3000, |i| {
        written += host_write_some(&mut stream.host, &data[written..]);
        stream.take(i);
    });
    assert_rate(stream.received.len(), 200_000, 3);
    assert_eq!(stream.received, data[..stream.received.len()]);
    // The other way is not bounded.
    stream.conn.data(&i, &data[..1000]);
    assert_eq!(host_read(&i, &mut stream.host, 1000), &data[..1000]);
}

#[test]
fn limits_an_upload_has_its_rate_and_loses_nothing() {
    let (listener, _) = tcp_listener();
    let i = under("[limits.each-guest]\nup = 200_000\n");
    let data = pattern(PATTERN);
    let mut stream = Stream::new(&i, &listener);
    pass(&i, 3000, |i| stream.send(i, &data));
    assert_rate(stream.at_host.len(), 200_000, 3);
    assert_eq!(stream.at_host, data[..stream.at_host.len()]);
    // What was taken from the guest and not passed on yet is no more than a window.
    assert!(stream.sent - stream.at_host.len() <= 65_535 + 1400, "{}", stream.sent - stream.at_host.len());
    // It ends in order, behind all that was sent.
    let sent = stream.sent;
    stream.conn.send(&i, FIN | ACK, b"");
    pass(&i, 1000, |i| {
        use std::io::Read;
        let mut buffer = [0; 65536];
        while let Ok(length @ 1..) = stream.host.read(&mut buffer) {
            stream.at_host.extend_from_slice(&buffer[..length]);
        }
        while stream.conn.next(i).is_some() {}
    });
    assert_eq!(stream.at_host, data[..sent]);
    assert_eq!(host_end(&i, &mut stream.host), (Vec::new(), End::Eof));
}

#[test]
fn limits_of_one_rule_slow_nobody_else() {
    let (capped, capped_port) = tcp_listener();
    let (free, free_port) = tcp_listener();
    let i = under(&format!(
        "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nhost-port = {capped_port}\nlimit = {{ down = 10_000, up = 10_000 }}\n\
         [[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nhost-port = {free_port}\n"
    ));
    let data = pattern(PATTERN);
    let mut slow: Vec<Stream> = (0..4).map(|_| Stream::new(&i, &capped)).collect();
    let mut quick = Stream::new(&i, &free);
    let (mut written, mut slow_written) = (0, [0; 4]);
    pass(&i, 200, |i| {
        written += host_write_some(&mut quick.host, &data[written..]);
        quick.take(i);
        for (stream, written) in slow.iter_mut().zip(&mut slow_written) {
            *written += host_write_some(&mut stream.host, &data[*written..]);
            stream.take(i);
        }
    });
    assert!(quick.received.len() >= 1 << 20, "{}", quick.received.len());
    // What waits behind a cap is answered at once where there is none.
    quick.conn.data(&i, b"ping");
    assert_eq!(host_read(&i, &mut quick.host, 4), b"ping");
    pass(&i, 4800, |i| slow.iter_mut().for_each(|stream| stream.take(i)));
    let each: Vec<usize> = slow.iter().map(|stream| stream.received.len()).collect();
    assert_rate(each.iter().sum(), 10_000, 5);
    // They have the same, but for what was saved up, which was the first one's.
    assert!(each.iter().max().unwrap() - each.iter().min().unwrap() <= 4096 + 1000, "{each:?}");
}

#[test]
fn limits_below_one_segment_are_kept() {
    let (listener, _) = tcp_listener();
    let i = under("[limits.whole]\nup = 100\n");
    let data = pattern(20_000);
    let mut stream = Stream::new(&i, &listener);
    pass(&i, 20_000, |i| stream.send(i, &data));
    assert_rate(stream.at_host.len() - 4096, 100, 20);
    assert_eq!(stream.at_host, data[..stream.at_host.len()]);
}

#[test]
fn limits_a_short_exchange_gets_through_beside_long_ones() {
    let (listener, _) = tcp_listener();
    let i = under("[limits.whole]\nup = 100_000\n");
    let data = pattern(PATTERN);
    let mut long: Vec<Stream> = (0..3).map(|_| Stream::new(&i, &listener)).collect();
    pass(&i, 1000, |i| long.iter_mut().for_each(|stream| stream.send(i, &data)));
    let mut short = Stream::new(&i, &listener);
    short.conn.data(&i, b"a question");
    short.sent = 10;
    pass(&i, 400, |i| {
        long.iter_mut().chain([&mut short]).for_each(|stream| stream.send(i, &data[..stream_end(stream)]))
    });
    assert_eq!(short.at_host, b"a question");
}

/// The long ones go on, the short one has said all.
fn stream_end(stream: &Stream) -> usize {
    if stream.sent == 10 { 10 } else { PATTERN }
}

/// The datagrams and pings that limits have dropped.
fn dropped(i: &Instance) -> u64 {
    /// Where `dropped_over_limit` stands; others come behind it.
    const AT: usize = 23;
    let mut counters = [0_u64; 64];
    let ask = library().oxislirp_counters.expect("the library is ours");
    // SAFETY: as many bytes are there as it is told.
    let written = unsafe { ask(i.slirp.get(), (&raw mut counters).cast(), size_of_val(&counters)) };
    assert!(written / 8 > AT, "{written} bytes of counters");
    counters[AT]
}

#[test]
fn limits_of_a_rule_hold_for_its_datagrams_and_for_no_others() {
    let (host, port) = udp_peer();
    let (other, other_port) = udp_peer();
    let rule = |port: u16, rest: &str| {
        format!(
            "[[policy.rule]]\naction = 'allow'\nprotocol = ['tcp', 'udp']\nhost = '127.0.0.1'\nhost-port = {port}\n{rest}\n"
        )
    };
    let i = under(&[rule(port, "limit = { up = 10_000, down = 10_000, flows = 2 }"), rule(other_port, "")].concat());
    let arrived = |socket: &UdpSocket| {
        i.settle();
        std::iter::from_fn(|| socket.recv_from(&mut [0; 2000]).ok()).count()
    };
    for _ in 0..20 {
        i.input(&udp_frame(4000, at_vhost(port), &[7; 1000]));
    }
    for _ in 0..20 {
        i.input(&udp_frame(4000, at_vhost(other_port), &[7; 1000]));
    }
    assert_eq!((arrived(&host), arrived(&other)), (4, 20));
    assert_eq!(dropped(&i), 16);
    // The other way, and after a pause.
    i.advance(Duration::from_secs(1));
    i.input(&udp_frame(4000, at_vhost(port), &[7; 1000]));
    let (_, from) = host_recv(&i, &host);
    i.drain();
    // (Those that came together pass together.)
    let came: usize = (0..20)
        .map(|_| {
            host.send_to(&[8; 1000], from).unwrap();
            i.settled().iter().filter(|frame| frame.udp().is_some()).count()
        })
        .sum();
    assert_eq!(came, 4);
    other.send_to(&[8; 1000], from).unwrap();
    i.wait_udp("a datagram of the other rule");
    // Two ports of the guest are two flows; a third one is refused, there and nowhere else.
    i.advance(Duration::from_secs(1));
    i.input(&udp_frame(4001, at_vhost(port), &[7; 1000]));
    assert_eq!(arrived(&host), 1);
    i.input(&udp_frame(4002, at_vhost(port), &[7; 1000]));
    assert_eq!(i.wait_icmp("a refusal").1.code, 13);
    i.input(&udp_frame(4002, at_vhost(other_port), &[7; 1000]));
    assert_eq!((arrived(&host), arrived(&other)), (0, 1));
    // One that has ended makes room.
    i.pass(Duration::from_secs(250));
    i.input(&udp_frame(4002, at_vhost(port), &[7; 1000]));
    assert_eq!(arrived(&host), 1);
}

#[test]
fn limits_datagrams_over_the_rate_are_dropped() {
    let (host, port) = udp_peer();
    let i = under("[limits.whole]\nup = 10_000\ndown = 10_000\n");
    let send = |count: usize| (0..count).for_each(|_| i.input(&udp_frame(4000, at_vhost(port), &[7; 1000])));
    let arrived = || {
        i.settle();
        let mut arrived = 0;
        while let Ok((length, _)) = host.recv_from(&mut [0; 2000]) {
            assert_eq!(length, 1000);
            arrived += 1;
        }
        arrived
    };
    send(20);
    assert_eq!(arrived(), 4);
    assert_eq!(dropped(&i), 16);
    i.advance(Duration::from_millis(200));
    send(20);
    assert_eq!(arrived(), 2);
    send(1);
    let (_, from) = {
        i.advance(Duration::from_secs(1));
        send(1);
        host_recv(&i, &host)
    };
    i.drain();
    for _ in 0..20 {
        host.send_to(&[8; 1000], from).unwrap();
    }
    let came = i.settled().iter().filter(|frame| frame.udp().is_some()).count();
    // Those that came together passed together.
    assert!((1..=20).contains(&came), "{came}");
    host.send_to(&[8; 1000], from).unwrap();
    assert!(i.settled().iter().all(|frame| frame.udp().is_none()), "a datagram over the rate");
    i.advance(Duration::from_secs(3));
    host.send_to(&[9; 1000], from).unwrap();
    i.wait_udp("a datagram within the rate");
}

#[test]
fn limits_flows_at_a_time_and_a_second() {
    let (listener, port) = tcp_listener();
    let (host, udp_port) = udp_peer();
    let i = under("[limits.whole]\nflows = 3\n[limits.each-guest]\nnew-flows-per-second = 10\n");
    let mut first = Stream::new(&i, &listener);
    let _second = Stream::new(&i, &listener);
    i.input(&udp_frame(4000, at_vhost(udp_port), b"x"));
    host_recv(&i, &host);
    assert!(matches!(Conn::try_connect(&i, at_vhost(port), &[]), Reply::Reset(..)));
    i.input(&udp_frame(4001, at_vhost(udp_port), b"x"));
    assert_eq!(i.wait_icmp("a refusal").1.code, 13);
    host_gets_nothing(&i, &host);
    // The flow that there is goes on.
    i.input(&udp_frame(4000, at_vhost(udp_port), b"y"));
    assert_eq!(host_recv(&i, &host).0, b"y");
    // One that has ended on both sides has left its place, whatever the guest's side still waits for.
    first.conn.send(&i, FIN | ACK, b"");
    assert_eq!(host_end(&i, &mut first.host).1, End::Eof);
    drop(first.host);
    i.settle();
    let _third = Stream::new(&i, &listener);
    assert!(matches!(Conn::try_connect(&i, at_vhost(port), &[]), Reply::Reset(..)));

    let quick = under("[limits.whole]\nnew-flows-per-second = 2\n");
    let _both = [Stream::new(&quick, &listener), Stream::new(&quick, &listener)];
    assert!(matches!(Conn::try_connect(&quick, at_vhost(port), &[]), Reply::Reset(..)));
    quick.advance(Duration::from_millis(500));
    let _next = Stream::new(&quick, &listener);
    assert!(matches!(Conn::try_connect(&quick, at_vhost(port), &[]), Reply::Reset(..)));
}

#[test]
fn limits_each_guest_has_its_own() {
    let (host, port) = udp_peer();
    let i = under("[limits.each-guest]\nflows = 1\n");
    let from = |last: u8, source: u16| {
        let guest = Ipv4Addr::new(10, 0, 2, last);
        let datagram = udp(at(guest, source), at_vhost(port), &[last]);
        i.input(&Ip { src: guest, ..Ip::new(VHOST, UDP) }.frame(&datagram));
    };
    from(15, 4000);
    assert_eq!(host_recv(&i, &host).0, [15]);
    from(15, 4001);
    host_gets_nothing(&i, &host);
    from(16, 4000);
    assert_eq!(host_recv(&i, &host).0, [16]);
}

#[test]
fn limits_a_volume_that_is_used_up_ends_what_there_is() {
    let (listener, port) = tcp_listener();
    let (peer, udp_port) = udp_peer();
    let i = under("[limits.whole]\nvolume = 1000\n");
    let mut stream = Stream::new(&i, &listener);
    let idle = Stream::new(&i, &listener);
    stream.conn.data(&i, &[1; 600]);
    assert_eq!(host_read(&i, &mut stream.host, 600), [1; 600]);
    assert_eq!(host_write_some(&mut stream.host, &[2; 1000]), 1000);
    // What there was left of it, and then no more.
    let came = std::cell::Cell::new(0);
    stream.conn.expect(&i, "a reset", |segment| {
        came.set(came.get() + segment.payload.len());
        segment.has(RST)
    });
    assert!(came.get() <= 400, "{came:?}");
    assert_eq!(host_end(&i, &mut stream.host), (Vec::new(), End::Reset));
    assert!(matches!(Conn::try_connect(&i, at_vhost(port), &[]), Reply::Reset(..)));
    i.input(&udp_frame(4000, at_vhost(udp_port), b"x"));
    assert_eq!(i.wait_icmp("a refusal").1.code, 13);
    host_gets_nothing(&i, &peer);
    // A connection that carries nothing ends when it would.
    let Stream { mut conn, mut host, .. } = idle;
    conn.data(&i, b"x");
    conn.expect(&i, "a reset", |segment| segment.has(RST));
    assert_eq!(host_end(&i, &mut host), (Vec::new(), End::Reset));
}

#[test]
fn limits_hold_for_host_forwards_as_well() {
    let i = under("[limits.whole]\nflows = 1\ndown = 100_000\n");
    let port = i.forward(false, at(GUEST, 80));
    let data = pattern(PATTERN);
    let mut peer = client(port);
    let conn = Conn::accept(&i, 80, &[]);
    let mut other = client(port);
    assert_eq!(host_end(&i, &mut other), (Vec::new(), End::Reset));
    let mut stream =
        Stream { conn, host: peer.try_clone().unwrap(), received: Vec::new(), sent: 0, at_host: Vec::new() };
    let mut written = 0;
    pass(&i, 2000, |i| {
        written += host_write_some(&mut peer, &data[written..]);
        stream.take(i);
    });
    assert_rate(stream.received.len(), 100_000, 2);
}

/// A rule that a connection turns out to be about bounds it from then on.
#[test]
fn limits_of_a_rule_that_wants_a_name() {
    let (listener, port) = tcp_listener();
    let i = under(&format!(
        "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nhost = '127.0.0.1'\nhost-port = {port}\n\
         name = 'a.org'\nhttp = 'host'\nlimit = {{ flows = 1 }}\n\
         [[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nhost = '127.0.0.1'\n"
    ));
    let request = |name: &str| format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n").into_bytes();
    let mut streams: Vec<Stream> = (0..3).map(|_| Stream::new(&i, &listener)).collect();
    let (a, b) = (request("a.org"), request("b.org"));
    streams[0].conn.data(&i, &a);
    assert_eq!(host_read(&i, &mut streams[0].host, a.len()), a);
    streams[1].conn.data(&i, &a);
    streams[1].conn.expect(&i, "a reset", |segment| segment.has(RST));
    assert_eq!(host_end(&i, &mut streams[1].host), (Vec::new(), End::Reset));
    streams[2].conn.data(&i, &b);
    assert_eq!(host_read(&i, &mut streams[2].host, b.len()), b);
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    for text in
        ["[limits.whole]\nup = 0\n", "[limits]\nup = 1\n", "[[policy.rule]]\naction = 'allow'\nlimit = { up = 1 }\n"]
    {
        assert!(try_under(text, Setup::default()).is_none(), "{text}");
    }
}
