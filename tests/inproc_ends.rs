//! Nothing is left of connections, however they end: 10,880 of them in the ways listed in [`WAYS`]. After each round no
//! flow is listed and no descriptor more is open than before, and memory does not grow from round to round.

mod common;
use common::*;

/// Connections of each way in one round, and rounds.
const BATCH: usize = 64;
const ROUNDS: usize = 10;
/// Rounds after which the process has the memory that it needs.
const WARM: usize = 3;
/// What the resident memory may grow by from then on, in KiB.
const GROWTH: u64 = 512;
/// The guest's port behind the host forward.
const SERVICE: u16 = 8080;

/// What the ways have in common: the guest's network, a listener on the host that answers, one that does not, and the
/// port of a host forward.
struct Place {
    i: Box<Instance>,
    listener: TcpListener,
    port: u16,
    deaf: (socket2::Socket, socket2::Socket, u16),
    closed: u16,
    forward: u16,
}

type Way = (&'static str, fn(&Place));

const WAYS: &[Way] = &[
    ("the guest ends first", guest_ends_first),
    ("the host ends first", host_ends_first),
    ("both end at the same time", both_end),
    ("the guest resets", guest_resets),
    ("the host resets", host_resets),
    ("the host refuses", host_refuses),
    ("the guest resets while it connects", guest_resets_early),
    ("the guest resets what answers its SYN", guest_resets_the_answer),
    ("the host never answers", host_never_answers),
    ("the guest never acknowledges the SYN-ACK", syn_ack_unanswered),
    ("the guest refuses a host forward", forward_refused),
    ("the guest never answers a host forward", forward_unanswered),
    ("the host has ended and the guest does nothing", half_closed),
    ("the host closes with unread data", unread_data),
    ("the guest vanishes with data on the way", guest_vanishes),
    ("the guest vanishes with its window closed", guest_vanishes_with_a_closed_window),
    ("the guest never acknowledges the last FIN", last_ack_missing),
];

impl Place {
    fn new() -> Place {
        let i = Setup::default().start();
        let (listener, port) = tcp_listener();
        // A listener whose queue is full never answers the SYNs of more clients.
        let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into();
        let stream = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let (deaf, filler) = (stream(), stream());
        deaf.bind(&any).unwrap();
        deaf.listen(0).unwrap();
        filler.connect(&deaf.local_addr().unwrap()).unwrap();
        let deaf_port = deaf.local_addr().unwrap().as_socket().unwrap().port();
        let forward = i.forward(false, at(GUEST, SERVICE));
        Place { i, listener, port, deaf: (deaf, filler, deaf_port), closed: closed_tcp_port(), forward }
    }

    fn connected(&self) -> (Conn, TcpStream) {
        let conn = Conn::connect(&self.i, at_vhost(self.port));
        (conn, accept(&self.i, &self.listener))
    }

    /// The guest's half-made connections to a port.
    fn syns(&self, port: u16) -> Vec<Conn> {
        let syn = |_| {
            let mut conn = Conn::new(&self.i, at_vhost(port));
            conn.syn(&self.i, &mss_option(1460));
            conn
        };
        (0..BATCH).map(syn).collect()
    }

    /// What is listed beside the host forward.
    fn flows(&self) -> Vec<String> {
        self.i.flows("TCP[").into_iter().filter(|line| !line.contains("HOST_FORWARD")).collect()
    }

    fn pass(&self, seconds: u64) {
        self.i.advance(Duration::from_secs(seconds));
        self.i.drain_raw();
    }
}

fn guest_ends_first(p: &Place) {
    for _ in 0..BATCH {
        let (mut conn, mut host) = p.connected();
        conn.send(&p.i, PSH | FIN | ACK, b"ping");
        assert_eq!(host_end(&p.i, &mut host), (b"ping".to_vec(), End::Eof));
        assert_eq!(host_write_some(&mut host, b"pong"), 4);
        drop(host);
        assert_eq!(conn.receive(&p.i, 4).1, b"pong");
        conn.expect_fin(&p.i);
    }
}

fn host_ends_first(p: &Place) {
    for _ in 0..BATCH {
        let (mut conn, mut host) = p.connected();
        assert_eq!(host_write_some(&mut host, b"ping"), 4);
        host.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(conn.receive(&p.i, 4).1, b"ping");
        conn.expect_fin(&p.i);
        conn.send(&p.i, PSH | FIN | ACK, b"pong");
        assert_eq!(host_end(&p.i, &mut host), (b"pong".to_vec(), End::Eof));
    }
}

fn both_end(p: &Place) {
    for _ in 0..BATCH {
        let (mut conn, host) = p.connected();
        drop(host);
        // The guest's FIN leaves before the library's was acknowledged.
        let fin = conn.expect(&p.i, "a FIN", |s| s.has(FIN));
        conn.send(&p.i, FIN | ACK, b"");
        conn.rcv_nxt = fin.seq.wrapping_add(1);
        conn.send(&p.i, ACK, b"");
    }
}

fn guest_resets(p: &Place) {
    for _ in 0..BATCH {
        let (mut conn, mut host) = p.connected();
        conn.data(&p.i, b"unread");
        conn.send(&p.i, RST | ACK, b"");
        assert_eq!(host_end(&p.i, &mut host).1, End::Reset);
    }
}

fn host_resets(p: &Place) {
    for _ in 0..BATCH {
        let (mut conn, host) = p.connected();
        host_reset(host);
        conn.expect(&p.i, "a reset", |s| s.has(RST));
    }
}

fn host_refuses(p: &Place) {
    for _ in 0..BATCH {
        let reply = Conn::try_connect(&p.i, at_vhost(p.closed), &mss_option(1460));
        assert!(matches!(reply, Reply::Reset(..)), "{reply:?}");
    }
}

fn guest_resets_early(p: &Place) {
    for mut conn in p.syns(p.deaf.2) {
        conn.send(&p.i, RST, b"");
    }
}

fn guest_resets_the_answer(p: &Place) {
    for mut conn in p.syns(p.port) {
        drop(accept(&p.i, &p.listener));
        conn.expect(&p.i, "a SYN-ACK", |s| s.has(SYN | ACK));
        conn.send(&p.i, RST, b"");
    }
}

fn host_never_answers(p: &Place) {
    let conns = p.syns(p.deaf.2);
    p.i.settle();
    assert_eq!(p.flows().iter().filter(|line| line.contains("SYN_RCVD")).count(), conns.len());
    p.pass(80);
}

fn syn_ack_unanswered(p: &Place) {
    let conns = p.syns(p.port);
    let hosts: Vec<_> = conns.iter().map(|_| accept(&p.i, &p.listener)).collect();
    p.pass(80);
    for mut host in hosts {
        host_end(&p.i, &mut host);
    }
}

fn forward_refused(p: &Place) {
    for _ in 0..BATCH {
        let mut host = client(p.forward);
        let mut conn = Conn::incoming(&p.i, SERVICE);
        conn.snd_nxt = 0;
        conn.send(&p.i, RST | ACK, b"");
        host_end(&p.i, &mut host);
    }
}

fn forward_unanswered(p: &Place) {
    let hosts: Vec<_> = (0..BATCH).map(|_| (client(p.forward), Conn::incoming(&p.i, SERVICE)).0).collect();
    p.pass(80);
    for mut host in hosts {
        host_end(&p.i, &mut host);
    }
}

fn half_closed(p: &Place) {
    for _ in 0..BATCH {
        let (mut conn, host) = p.connected();
        drop(host);
        conn.expect_fin(&p.i);
    }
    // It is asked nine times.
    p.pass(760);
}

fn unread_data(p: &Place) {
    for _ in 0..BATCH {
        let (mut conn, host) = p.connected();
        conn.data(&p.i, b"never read");
        conn.expect_acked(&p.i);
        drop(host);
        conn.expect(&p.i, "a reset", |s| s.has(RST));
    }
}

fn guest_vanishes(p: &Place) {
    let mut hosts: Vec<_> = (0..BATCH).map(|_| p.connected().1).collect();
    for host in &mut hosts {
        assert_eq!(host_write_some(host, &[7; 3000]), 3000);
    }
    p.pass(700);
    for mut host in hosts {
        assert_eq!(host_end(&p.i, &mut host).1, End::Reset);
    }
}

fn guest_vanishes_with_a_closed_window(p: &Place) {
    let mut hosts = Vec::new();
    for _ in 0..BATCH {
        let (mut conn, mut host) = p.connected();
        conn.window = 0;
        conn.data(&p.i, b"stop");
        host_read(&p.i, &mut host, 4);
        assert_eq!(host_write_some(&mut host, &[7; 3000]), 3000);
        hosts.push(host);
    }
    p.pass(700);
    for mut host in hosts {
        assert_eq!(host_end(&p.i, &mut host).1, End::Reset);
    }
}

fn last_ack_missing(p: &Place) {
    for _ in 0..BATCH {
        let (mut conn, mut host) = p.connected();
        conn.send(&p.i, FIN | ACK, b"");
        assert_eq!(host_end(&p.i, &mut host).1, End::Eof);
        drop(host);
        conn.expect(&p.i, "a FIN", |s| s.has(FIN));
    }
    p.pass(700);
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("a list of open descriptors").count()
}

/// Resident memory that is not backed by files, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the status of this process");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line RssAnon");
    line.trim().trim_end_matches("kB").trim().parse().expect("a number of KiB")
}

#[test]
fn nothing_is_left_of_10_880_connections_that_ended_in_17_ways() {
    const NAME: &str = "nothing_is_left_of_10_880_connections_that_ended_in_17_ways";
    if library().upstream {
        eprintln!("SKIPPED {NAME}: upstream keeps some of these connections for hours");
        return;
    }
    // Thousands of sockets rest in the host's TIME_WAIT afterwards, which other tests need not share.
    if !isolated(NAME, Isolation::Network) {
        return;
    }
    let place = Place::new();
    let before = descriptors();
    let mut settled = 0;
    for round in 0..ROUNDS {
        for (name, way) in WAYS {
            way(&place);
            place.i.all_events();
            // What is left now waits for stray segments.
            let left: Vec<_> = place.flows().into_iter().filter(|line| !line.contains("TIME_WAIT")).collect();
            assert!(left.is_empty(), "round {round}, {name}: {left:#?}");
        }
        place.pass(15);
        place.i.all_events();
        assert_eq!(place.flows(), Vec::<String>::new(), "round {round}");
        assert_eq!(descriptors(), before, "round {round}");
        // Memory that nobody has used for a second is given back when that is looked at again.
        place.pass(2);
        place.i.all_events();
        if round + 1 == WARM {
            settled = resident();
        }
    }
    let now = resident();
    let connections = ROUNDS * BATCH * WAYS.len();
    eprintln!("{connections} connections, {before} descriptors before and after, {settled} KiB resident, then {now}");
    assert!(now <= settled + GROWTH, "{settled} KiB were resident after {WARM} rounds, {now} at the end");
    const { assert!(ROUNDS * BATCH * WAYS.len() == 10_880) };
}

#[test]
fn nothing_is_left_of_instances_with_live_connections() {
    const NAME: &str = "nothing_is_left_of_instances_with_live_connections";
    if !isolated(NAME, Isolation::Process) {
        return;
    }
    // The first instance opens what the process keeps.
    drop(Place::new());
    let before = descriptors();
    for _ in 0..ROUNDS {
        let place = Place::new();
        let mut hosts = Vec::new();
        for _ in 0..BATCH {
            let (mut conn, mut host) = place.connected();
            conn.data(&place.i, b"to the host");
            host_read(&place.i, &mut host, 11);
            assert_eq!(host_write_some(&mut host, &[7; 3000]), 3000);
            hosts.push(host);
        }
        place.syns(place.deaf.2);
        place.i.settle();
        place.i.cleanup();
        for mut host in hosts {
            // The library is gone: what the host sees of it is the kernel's work.
            let end = std::io::Read::read(&mut host, &mut [0; 16]);
            assert!(matches!(&end, Ok(0)) || end.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset));
        }
        drop(place);
        assert_eq!(descriptors(), before);
    }
}
