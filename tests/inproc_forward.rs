//! Forwards to and from what is not a plain socket: commands and Unix sockets behind guest forwards, host forwards on
//! Unix sockets, and UDP forwards that many clients share. Source: docs/contract/guestfwd-exec-unix.md,
//! docs/contract/hostfwd.md.

mod common;
use common::*;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

const FWD: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 100);

/// A path in the directory for temporary files that no other test has.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("slirp-fwd-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Scratch(path)
    }

    fn text(&self) -> &str {
        self.0.to_str().expect("the path is UTF-8")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A guest connected to a command at 10.0.2.100:1000.
fn command(i: &Instance, line: &str) -> Conn {
    assert_eq!(try_add_target(i, false, line, FWD, 1000).0, 0);
    Conn::connect(i, at(FWD, 1000))
}

/// Everything up to the FIN.
fn until_fin(i: &Instance, conn: &mut Conn) -> String {
    let mut bytes = Vec::new();
    i.until("the end of the stream", || {
        while let Some(s) = conn.next(i) {
            assert!(!s.has(RST), "reset after {:?}", String::from_utf8_lossy(&bytes));
            if s.seq != conn.rcv_nxt || (s.payload.is_empty() && !s.has(FIN)) {
                continue;
            }
            conn.rcv_nxt = conn.rcv_nxt.wrapping_add(s.payload.len() as u32 + u32::from(s.has(FIN)));
            bytes.extend_from_slice(&s.payload);
            i.input(&conn.segment(ACK, b"").frame());
            if s.has(FIN) {
                return Some(());
            }
        }
        None
    });
    String::from_utf8(bytes).expect("the test's commands write text")
}

// ---- commands ----

#[test]
fn guestfwd_fact_02_address_zero_is_replaced_for_every_kind() {
    let i = Setup::default().start();
    let default = Ipv4Addr::new(10, 0, 2, 4);
    assert_eq!(try_add_target(&i, false, "cat", Ipv4Addr::UNSPECIFIED, 139), (0, default));
    assert_eq!(try_add_target(&i, true, "/tmp/x", Ipv4Addr::UNSPECIFIED, 140), (0, default));
    assert_eq!(try_add_target(&i, false, "cat", Ipv4Addr::new(1, 2, 3, 4), 139).0, -1);
    assert_eq!(try_add_target(&i, true, "/tmp/x", Ipv4Addr::new(10, 0, 2, 3), 53).0, -1);
    if library().at_least(9) {
        assert_eq!(try_add_target(&i, true, "/tmp/x", default, 139).0, -1, "taken by the command");
    }
}

#[test]
fn guestfwd_fact_08_a_command_is_split_like_a_shell_does() {
    let i = Setup::default().start();
    let mut conn = command(&i, r#"sh -c 'printf "%s|" "$@"; echo oops >&2' x "a b" c\ d '$HOME' '*' # comment"#);
    assert_eq!(until_fin(&i, &mut conn), "a b|c d|$HOME|*|oops\n");
}

#[test]
fn guestfwd_command_echoes_and_sees_the_guests_end() {
    let i = Setup::default().start();
    let mut conn = command(&i, "sh -c 'cat; echo end'");
    let data = pattern(200_000);
    let mut sent = 0;
    let mut back = Vec::new();
    // A window of data at a time, as a guest does that honours what it is told.
    while back.len() < data.len() {
        let part = &data[sent..(sent + 1000).min(data.len())];
        conn.data(&i, part);
        sent += part.len();
        back.extend(conn.receive(&i, part.len()).1);
    }
    assert!(back == data);
    conn.send(&i, FIN | ACK, b"");
    assert_eq!(until_fin(&i, &mut conn), "end\n");
    i.settle();
    assert!(!conn.listed(&i, "ESTABLISHED"));
}

#[test]
fn guestfwd_data_with_the_handshake_reaches_the_command() {
    let i = Setup::default().start();
    assert_eq!(try_add_target(&i, false, "cat", FWD, 1000).0, 0);
    let mut conn = Conn::new(&i, at(FWD, 1000));
    conn.syn(&i, &mss_option(1460));
    let hello = i.drain().first().and_then(Frame::tcp).expect("the SYN-ACK comes at once");
    conn.rcv_nxt = hello.seq.wrapping_add(1);
    conn.send(&i, PSH | ACK, b"early");
    assert_eq!(conn.receive(&i, 5).1, b"early");
}

#[test]
fn guestfwd_each_connection_has_its_own_command() {
    let i = Setup::default().start();
    let mut a = command(&i, "sh -c 'read x; echo $$ $x'");
    let mut b = Conn::connect(&i, at(FWD, 1000));
    a.data(&i, b"one\n");
    b.data(&i, b"two\n");
    let (a, b) = (until_fin(&i, &mut a), until_fin(&i, &mut b));
    let (a, b): (Vec<&str>, Vec<&str>) = (a.split_whitespace().collect(), b.split_whitespace().collect());
    assert_eq!((a[1], b[1]), ("one", "two"));
    assert_ne!(a[0], b[0]);
}

#[test]
fn guestfwd_fact_09_the_command_has_three_descriptors_and_a_session() {
    let i = Setup::default().start();
    let (_listener, _) = tcp_listener();
    // Without a pipeline, for which the shell would have descriptors of its own.
    let script = "sh -c 'cd /proc/$$/fd; ls; readlink 0 1 2; cut -d\" \" -f1,6 ../stat; echo $PPID'";
    let mut conn = command(&i, script);
    let text = until_fin(&i, &mut conn);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..3], ["0", "1", "2"], "{text}");
    assert!(lines[3].starts_with("socket:"), "{text}");
    assert!(lines[4..6].iter().all(|line| *line == lines[3]), "one socket three times: {text}");
    let ids: Vec<&str> = lines[6].split(' ').collect();
    assert_eq!(ids[0], ids[1], "the command leads its session: {text}");
    assert_ne!(lines[7].parse(), Ok(std::process::id()), "it is not our child: {text}");
}

#[test]
fn guestfwd_command_leaves_no_zombie_and_no_descriptor() {
    if !isolated("guestfwd_command_leaves_no_zombie_and_no_descriptor", Isolation::Process) {
        return;
    }
    let i = Setup::default().start();
    let before = child::open_descriptors();
    assert_eq!(try_add_target(&i, false, "true", FWD, 1000).0, 0);
    for _ in 0..20 {
        let mut conn = Conn::connect(&i, at(FWD, 1000));
        assert_eq!(until_fin(&i, &mut conn), "");
        conn.send(&i, FIN | ACK, b"");
        i.settle();
    }
    if ours("time-wait-descriptor") {
        assert_eq!(child::open_descriptors(), before);
    }
    // SAFETY: no status is asked for.
    let waited = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
    assert_eq!((waited, std::io::Error::last_os_error().raw_os_error()), (-1, Some(libc::ECHILD)));
}

#[test]
fn guestfwd_fact_10_what_cannot_be_started_ends_after_the_handshake() {
    let i = Setup::default().start();
    let lines = ["/no/such/program", "no-such-program-anywhere", "sh -c 'open quote", ""];
    for (port, line) in (1000..).zip(lines) {
        assert_eq!(try_add_target(&i, false, line, FWD, port).0, 0, "{line:?} is looked at when a guest comes");
        let mut conn = Conn::connect(&i, at(FWD, port));
        assert_eq!(until_fin(&i, &mut conn), "", "{line:?}");
        conn.send(&i, FIN | ACK, b"");
        conn.expect_acked(&i);
    }
}

#[test]
fn guestfwd_a_knock_without_handshake_starts_nothing() {
    let i = Setup::default().start();
    let mark = Scratch::new("knock");
    assert_eq!(try_add_target(&i, false, &format!("touch {}", mark.text()), FWD, 1000).0, 0);
    let mut conn = Conn::new(&i, at(FWD, 1000));
    conn.syn(&i, &mss_option(1460));
    i.settle();
    assert!(!mark.0.exists());
    let hello = i.drain().iter().find_map(Frame::tcp).expect("a SYN-ACK");
    conn.rcv_nxt = hello.seq.wrapping_add(1);
    conn.send(&i, ACK, b"");
    until_fin(&i, &mut conn);
    assert!(mark.0.exists());
}

#[test]
fn guestfwd_fact_12_commands_and_sockets_work_in_restricted_mode() {
    let i = Setup::with(|c| c.restricted = 1).start();
    let mut conn = command(&i, "echo inside");
    assert_eq!(until_fin(&i, &mut conn), "inside\n");
    let path = Scratch::new("restricted");
    let listener = unix_listener(&path.0);
    assert_eq!(try_add_target(&i, true, path.text(), FWD, 1001).0, 0);
    Conn::connect(&i, at(FWD, 1001));
    i.until("a connection", || listener.accept().ok());
    assert!(matches!(Conn::try_connect(&i, at(FWD, 1002), &mss_option(1460)), Reply::Reset(..)));
}

#[test]
fn guestfwd_fact_13_removal_works_for_every_kind() {
    let i = Setup::default().start();
    let mut conn = command(&i, "cat");
    let path = Scratch::new("removal");
    let listener = unix_listener(&path.0);
    assert_eq!(try_add_target(&i, true, path.text(), FWD, 1001).0, 0);
    let mut unix = Conn::connect(&i, at(FWD, 1001));
    let (mut host, _) = i.until("a connection", || listener.accept().ok());
    host.set_nonblocking(true).unwrap();
    for port in [1000, 1001] {
        assert_eq!((i.remove_guestfwd(FWD, port), i.remove_guestfwd(FWD, port)), (0, -1));
    }
    if ours("guestfwd-removed") {
        conn.expect(&i, "a reset of the command's connection", |s| s.has(RST));
        unix.expect(&i, "a reset of the socket's connection", |s| s.has(RST));
        assert_eq!(i.until("the end of the host's stream", || host.read(&mut [0; 8]).ok()), 0);
    } else {
        conn.data(&i, b"still");
        assert_eq!(conn.receive(&i, 5).1, b"still");
    }
    assert_eq!(try_add_target(&i, false, "cat", FWD, 1000).0, 0, "the place is free again");
}

#[test]
fn guestfwd_urgent_data_reaches_a_command_out_of_band() {
    let i = Setup::default().start();
    let mut conn = command(&i, "cat");
    let segment = Segment { urgent: 3, ..conn.segment(PSH | ACK | URG, b"urgent") };
    i.input(&segment.frame());
    conn.snd_nxt += 6;
    i.settle();
    // The byte before the urgent pointer travels out of band, which cat does not read.
    let bytes = conn.receive(&i, 5).1;
    assert_eq!(bytes, b"urent");
}

// ---- Unix sockets behind guest forwards ----

fn unix_listener(path: &Path) -> UnixListener {
    let listener = UnixListener::bind(path).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

#[test]
fn guestfwd_fact_11_a_unix_socket_gets_the_first_bytes_and_ends_the_stream() {
    let i = Setup::default().start();
    let path = Scratch::new("fact11");
    let listener = unix_listener(&path.0);
    assert_eq!(try_add_target(&i, true, path.text(), FWD, 1000).0, 0);
    let mut conn = Conn::new(&i, at(FWD, 1000));
    conn.syn(&i, &mss_option(1460));
    let hello = i.drain().first().and_then(Frame::tcp).expect("the SYN-ACK comes at once");
    assert!(listener.accept().is_err(), "the guest has not completed its handshake");
    conn.rcv_nxt = hello.seq.wrapping_add(1);
    conn.send(&i, PSH | ACK, b"early");
    let (mut host, _) = listener.accept().expect("connected within slirp_input");
    let mut bytes = [0; 5];
    host.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"early");
    host.write_all(b"answer").unwrap();
    assert_eq!(conn.receive(&i, 6).1, b"answer");
    drop(host);
    conn.expect_fin(&i);
}

#[test]
fn guestfwd_a_unix_socket_without_listener_ends_after_the_handshake() {
    let i = Setup::default().start();
    let path = Scratch::new("nobody");
    assert_eq!(try_add_target(&i, true, path.text(), FWD, 1000).0, 0);
    Conn::connect(&i, at(FWD, 1000)).expect_fin(&i);
    // Bound and never listening: a listener that is closed could live on for a moment in a child that another test forks.
    let silent = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    silent.bind(&socket2::SockAddr::unix(&path.0).unwrap()).unwrap();
    Conn::connect(&i, at(FWD, 1000)).expect_fin(&i);
    if ours("unix-path-length") {
        assert_eq!(try_add_target(&i, true, &"x".repeat(108), FWD, 1001).0, -1);
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::ENAMETOOLONG));
        assert_eq!(try_add_target(&i, true, &"x".repeat(107), FWD, 1001).0, 0);
    }
}

#[test]
fn guestfwd_urgent_data_stays_in_a_unix_stream() {
    if !ours("unix-urgent") {
        return;
    }
    let i = Setup::default().start();
    let path = Scratch::new("urgent");
    let listener = unix_listener(&path.0);
    assert_eq!(try_add_target(&i, true, path.text(), FWD, 1000).0, 0);
    let mut conn = Conn::connect(&i, at(FWD, 1000));
    let segment = Segment { urgent: 3, ..conn.segment(PSH | ACK | URG, b"urgent") };
    i.input(&segment.frame());
    conn.snd_nxt += 6;
    i.settle();
    let (mut host, _) = listener.accept().unwrap();
    let mut bytes = [0; 6];
    host.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"urgent");
}

#[test]
fn guestfwd_a_full_queue_does_not_stop_the_library() {
    if !ours("unix-connect") {
        return;
    }
    let i = Setup::default().start();
    let path = Scratch::new("full");
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    socket.bind(&socket2::SockAddr::unix(&path.0).unwrap()).unwrap();
    socket.listen(0).unwrap();
    socket.set_nonblocking(true).unwrap();
    let listener = UnixListener::from(socket);
    let _waits = UnixStream::connect(&path.0).unwrap();
    assert_eq!(try_add_target(&i, true, path.text(), FWD, 1000).0, 0);
    let mut conn = Conn::connect(&i, at(FWD, 1000));
    conn.data(&i, b"patient");
    i.advance(Duration::from_secs(2));
    listener.accept().expect("the one who waited");
    i.advance(Duration::from_secs(1));
    let (mut host, _) = i.until("the guest's connection", || listener.accept().ok());
    host.set_nonblocking(true).unwrap();
    let mut bytes = [0; 16];
    let length = i.until("what the guest sent meanwhile", || host.read(&mut bytes).ok());
    assert_eq!(&bytes[..length], b"patient");
    // One that never has room is given up.
    let _waits = UnixStream::connect(&path.0).unwrap();
    let mut conn = Conn::connect(&i, at(FWD, 1000));
    i.advance(Duration::from_secs(80));
    conn.expect_fin(&i);
}

// ---- host forwards on Unix sockets ----

fn sockaddr_un(name: &[u8]) -> (libc::sockaddr_un, u32) {
    // SAFETY: all zero bytes are a value of this structure.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as _;
    for (place, byte) in address.sun_path.iter_mut().zip(name) {
        *place = *byte as _;
    }
    (address, (2 + name.len()) as u32)
}

/// As QEMU does: the whole structure, whatever the length of the path.
fn add_unix_hostfwd(i: &Instance, path: &Path, flags: i32) -> Result<(), i32> {
    let (host, _) = sockaddr_un(path.to_str().unwrap().as_bytes());
    xfwd(i, &host, 110, flags)
}

fn xfwd(i: &Instance, host: &libc::sockaddr_un, length: u32, flags: i32) -> Result<(), i32> {
    let guest = sockaddr_in(at(GUEST, 80));
    // SAFETY: both addresses are valid for their lengths.
    let result = unsafe {
        let (h, g) = ((&raw const *host).cast(), (&raw const guest).cast());
        (library().slirp_add_hostxfwd)(i.slirp.get(), h, length, g, 16, flags)
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)) }
}

fn remove_unix_hostfwd(i: &Instance, name: &[u8], length: u32) -> i32 {
    let (host, _) = sockaddr_un(name);
    // SAFETY: the address is valid for its length.
    unsafe { (library().slirp_remove_hostxfwd)(i.slirp.get(), (&raw const host).cast(), length, 0) }
}

fn unix_client(path: &Path) -> UnixStream {
    let client = UnixStream::connect(path).expect("the forward listens");
    client.set_nonblocking(true).unwrap();
    client
}

#[test]
fn hostfwd_fact_10_a_unix_client_appears_as_the_virtual_host() {
    let i = Setup::default().start();
    let path = Scratch::new("fact10");
    add_unix_hostfwd(&i, &path.0, 0).unwrap();
    let mut client = unix_client(&path.0);
    let mut conn = Conn::accept(&i, 80, &mss_option(1460));
    assert_eq!(*conn.peer.ip(), VHOST);
    assert!(conn.peer.port() >= 1024, "{}", conn.peer);
    client.write_all(b"question").unwrap();
    assert_eq!(conn.receive(&i, 8).1, b"question");
    conn.data(&i, b"answer");
    let mut bytes = [0; 6];
    i.until("the answer", || client.read(&mut bytes).ok());
    assert_eq!(&bytes, b"answer");
    if ours("unix-info") {
        let line = i.flows("TCP[HOST_FORWARD]").remove(0);
        let columns: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(columns[2..6], ["*", "0", "10.0.2.15", "80"], "{line}");
    }
    conn.send(&i, FIN | ACK, b"");
    assert_eq!(i.until("the end at the client", || client.read(&mut bytes).ok()), 0);

    assert_eq!(remove_unix_hostfwd(&i, b"/elsewhere", 110), -1);
    let name = path.text().as_bytes();
    assert_eq!((remove_unix_hostfwd(&i, name, 110), remove_unix_hostfwd(&i, name, 110)), (0, -1));
    assert_eq!(path.0.exists(), !ours("unix-hostfwd-file"));
}

#[test]
fn hostfwd_unix_clients_do_not_mix() {
    let i = Setup::default().start();
    let path = Scratch::new("mix");
    add_unix_hostfwd(&i, &path.0, 0).unwrap();
    let at_once = if ours("hostfwd-backlog") { 20 } else { 1 };
    let mut clients: Vec<UnixStream> = (0..at_once).map(|_| unix_client(&path.0)).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.write_all(&[n as u8]).unwrap();
    }
    let mut seen = Vec::new();
    for _ in 0..at_once {
        let mut conn = Conn::accept(&i, 80, &mss_option(1460));
        let byte = conn.receive(&i, 1).1;
        conn.data(&i, &byte);
        seen.push(byte[0]);
    }
    for (n, client) in clients.iter_mut().enumerate() {
        let mut byte = [0];
        i.until("each client's own byte", || client.read(&mut byte).ok());
        assert_eq!(usize::from(byte[0]), n);
    }
    seen.sort_unstable();
    assert!(seen.into_iter().map(usize::from).eq(0..at_once));
}

#[test]
fn hostfwd_a_stale_unix_socket_is_replaced_and_a_live_one_is_not() {
    let i = Setup::default().start();
    let path = Scratch::new("stale");
    let live = UnixListener::bind(&path.0).unwrap();
    assert_eq!(add_unix_hostfwd(&i, &path.0, 0), Err(libc::EADDRINUSE));
    drop(live);
    if ours("unix-hostfwd-file") {
        add_unix_hostfwd(&i, &path.0, 0).unwrap();
        let _client = unix_client(&path.0);
        Conn::accept(&i, 80, &mss_option(1460));
        assert_eq!(add_unix_hostfwd(&i, &path.0, 0), Err(libc::EADDRINUSE), "our own is live too");
        i.cleanup();
        assert!(!path.0.exists(), "the file goes with the instance");
        std::fs::write(&path.0, "a file of somebody").unwrap();
        let i = Setup::default().start();
        assert_eq!(add_unix_hostfwd(&i, &path.0, 0), Err(libc::EADDRINUSE));
        assert!(std::fs::read(&path.0).is_ok_and(|text| text == b"a file of somebody"));
    } else {
        assert_eq!(add_unix_hostfwd(&i, &path.0, 0), Err(libc::EADDRINUSE));
    }
}

#[test]
fn hostfwd_abstract_names_and_datagrams() {
    if !ours("unix-names") {
        return;
    }
    let i = Setup::default().start();
    let path = Scratch::new("datagrams");
    assert_eq!(add_unix_hostfwd(&i, &path.0, HOSTFWD_UDP), Err(libc::ENOTSUP));
    assert!(!path.0.exists());
    let name = format!("\0slirp-fwd-{}", std::process::id());
    let (host, length) = sockaddr_un(name.as_bytes());
    assert_eq!(xfwd(&i, &host, length, 0), Ok(()));
    assert_eq!(xfwd(&i, &host, length, 0), Err(libc::EADDRINUSE));
    let client = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    client.connect(&socket2::SockAddr::unix(&name).unwrap()).unwrap();
    Conn::accept(&i, 80, &mss_option(1460));
    assert_eq!(remove_unix_hostfwd(&i, name.as_bytes(), length), 0);
    for length in [2, 111] {
        assert_eq!(xfwd(&i, &host, length, 0), Err(libc::EINVAL), "{length}");
    }
}

#[test]
fn hostfwd_a_guest_that_refuses_ends_the_unix_client() {
    let i = Setup::default().start();
    let path = Scratch::new("refuses");
    add_unix_hostfwd(&i, &path.0, 0).unwrap();
    let mut client = unix_client(&path.0);
    let mut conn = Conn::incoming(&i, 80);
    conn.snd_nxt = 0;
    conn.send(&i, RST | ACK, b"");
    let end = i.until("the end at the client", || match client.read(&mut [0; 8]) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        end => Some(end),
    });
    assert!(matches!(&end, Ok(0)) || end.is_err(), "{end:?}");
}

// ---- UDP forwards with many clients ----

/// A UDP forward on all addresses of the host, and its port.
fn udp_forward(i: &Instance) -> u16 {
    i.add_hostfwd(true, at(Ipv4Addr::UNSPECIFIED, 0), at(GUEST, 22)).unwrap();
    let line = i.flows("UDP[HOST_FORWARD]").remove(0);
    line.split_whitespace().nth(3).unwrap().parse().unwrap()
}

fn udp_client(address: &str, port: u16) -> UdpSocket {
    let socket = UdpSocket::bind((address, port)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

#[test]
fn hostfwd_udp_clients_with_one_port_on_two_addresses_get_their_own_answers() {
    if !ours("udp-same-port") {
        return;
    }
    let i = Setup::default().start();
    let port = udp_forward(&i);
    let first = udp_client("127.0.0.1", 0);
    let second = udp_client("127.0.0.2", first.local_addr().unwrap().port());
    first.send_to(b"a", ("127.0.0.1", port)).unwrap();
    let a = i.wait_udp("the first client's datagram").1;
    second.send_to(b"b", ("127.0.0.1", port)).unwrap();
    let b = i.wait_udp("the second client's datagram").1;
    assert_eq!((*a.src.ip(), *b.src.ip()), (VHOST, VHOST));
    assert_ne!(a.src, b.src);
    assert_eq!(a.src.port(), first.local_addr().unwrap().port());
    i.input(&udp_frame(22, a.src, b"to a"));
    i.input(&udp_frame(22, b.src, b"to b"));
    assert_eq!(host_recv(&i, &first).0, b"to a");
    assert_eq!(host_recv(&i, &second).0, b"to b");
    // Each keeps its name.
    first.send_to(b"again", ("127.0.0.1", port)).unwrap();
    assert_eq!(i.wait_udp("the first client again").1.src, a.src);
    second.send_to(b"again", ("127.0.0.1", port)).unwrap();
    assert_eq!(i.wait_udp("the second client again").1.src, b.src);
}

#[test]
fn hostfwd_udp_answers_come_from_the_address_that_was_asked() {
    let i = Setup::default().start();
    let port = udp_forward(&i);
    let client = udp_client("127.0.0.1", 0);
    let mut names = Vec::new();
    for asked in ["127.0.0.5", "127.0.0.1", "127.0.0.6"] {
        client.send_to(asked.as_bytes(), (asked, port)).unwrap();
        names.push(i.wait_udp("a datagram for the guest").1.src);
    }
    if !ours("udp-forward-address") {
        return;
    }
    // The guest answers in another order than it was asked.
    for (asked, name) in ["127.0.0.5", "127.0.0.1", "127.0.0.6"].iter().zip(names).rev() {
        i.input(&udp_frame(22, name, asked.as_bytes()));
        let (data, from) = host_recv(&i, &client);
        assert_eq!((String::from_utf8(data).unwrap().as_str(), from.to_string()), (*asked, format!("{asked}:{port}")));
    }
}

#[test]
fn hostfwd_udp_remembers_as_many_clients_as_it_says() {
    if !ours("udp-same-port") {
        return;
    }
    let i = Setup::with(|c| c.restricted = 1).start();
    let port = udp_forward(&i);
    let clients: Vec<UdpSocket> = (0..300).map(|_| udp_client("127.0.0.1", 0)).collect();
    let mut names = Vec::new();
    for client in &clients {
        client.send_to(b"x", ("127.0.0.1", port)).unwrap();
        names.push(i.wait_udp("a datagram for the guest").1.src);
    }
    for (client, name) in clients.iter().zip(&names).skip(300 - 256) {
        i.input(&udp_frame(22, *name, b"y"));
        assert_eq!(host_recv(&i, client).0, b"y");
    }
    // In restricted mode one that was forgotten is not reached any more.
    i.input(&udp_frame(22, names[0], b"late"));
    host_gets_nothing(&i, &clients[0]);
}
