//! Faults of the host that end, where the library starts or opens something for the guest: what is behind guest forwards, and
//! the files that TFTP serves.

mod common;
use common::*;
use std::os::unix::net::UnixListener;

both_families![earnest_3_1_files_are_served_as_before_when_the_host_has_descriptors_again];

const FWD: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 100);
const LACKS: [i32; 4] = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS];

/// While the host lacks something, that is what the client hears; whoever asks later has the file.
fn earnest_3_1_files_are_served_as_before_when_the_host_has_descriptors_again(family: Family) {
    if !ours("host-errors") {
        return;
    }
    let served = Served::new(if family == Family::V4 { "faults4" } else { "faults6" });
    let content = Ok(Served::CONTENT.to_vec());
    for (errno, code) in LACKS.map(|errno| (errno, 0)).into_iter().chain([(libc::EACCES, 1), (libc::EIO, 1)]) {
        let i = family.greet(served.setup(family));
        assert_eq!(first_block(&i, family, 1000), content);
        let fault = Fault::on(Call::Open, errno);
        for port in 1000..1030 {
            assert_eq!(first_block(&i, family, port), Err(code), "{errno}");
        }
        assert!(fault.hits() > 0);
        drop(fault);
        for port in 1000..1010 {
            assert_eq!(first_block(&i, family, port), content, "{errno}");
        }
    }
}

/// A connection to the guest forward whose target cannot be had: it is kept, and what the guest sends arrives later.
fn kept(i: &Instance, call: Call, errno: i32) -> Conn {
    let fault = Fault::on(call, errno);
    let mut conn = Conn::connect(i, at(FWD, 1000));
    conn.data(i, b"patient");
    i.advance(Duration::from_millis(300));
    assert!(fault.hits() > 0, "{call:?} is not made");
    assert!(fault.hits() < 100, "{call:?}, {errno}: {} tries in 300 ms", fault.hits());
    while let Some(s) = conn.next(i) {
        assert!(!s.has(FIN) && !s.has(RST), "{call:?}, {errno}: {s:?}");
    }
    drop(fault);
    i.advance(Duration::from_millis(200));
    conn
}

#[test]
fn earnest_3_1_commands_start_when_the_host_has_what_they_take() {
    if !ours("host-errors") {
        return;
    }
    let i = Setup::default().start();
    add_target(&i, false, FWD, "cat");
    let of = |call: Call, errnos: &[i32]| errnos.iter().map(|errno| (call, *errno)).collect::<Vec<_>>();
    let faults = [
        of(Call::Socket, &LACKS),
        of(Call::Accept, &LACKS),
        of(Call::Pipe, &[libc::EMFILE, libc::ENFILE, libc::ENOMEM]),
        of(Call::Fork, &[libc::EAGAIN, libc::ENOMEM]),
    ];
    for (call, errno) in faults.concat() {
        let mut conn = kept(&i, call, errno);
        assert_eq!(conn.receive(&i, 7).1, b"patient", "{call:?}, {errno}");
        conn.send(&i, RST, b"");
        i.settle();
    }
    // What does not pass is told at once, and means nothing for the next one.
    let fault = Fault::on(Call::Fork, libc::ENOSYS);
    let mut conn = Conn::connect(&i, at(FWD, 1000));
    conn.expect_fin(&i);
    drop(fault);
    let mut conn = Conn::connect(&i, at(FWD, 1000));
    conn.data(&i, b"as before");
    assert_eq!(conn.receive(&i, 9).1, b"as before");
}

#[test]
fn earnest_3_1_unix_sockets_are_reached_when_the_host_has_what_they_take() {
    if !ours("host-errors") {
        return;
    }
    let path = std::env::temp_dir().join(format!("slirp-faults-{}-services", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    let i = Setup::default().start();
    add_target(&i, true, FWD, path.to_str().unwrap());
    let watch = (std::env::var("OXISLIRP_POLL").as_deref() != Ok("direct")).then_some(Call::Watch);
    for call in [Some(Call::Socket), Some(Call::Connect), watch].into_iter().flatten() {
        for errno in LACKS {
            let mut conn = kept(&i, call, errno);
            // What was begun meanwhile, and given up, has nothing to say.
            let mut host = i.until("the connection with the guest's bytes", || {
                let (mut host, _) = listener.accept().ok()?;
                host.set_nonblocking(true).unwrap();
                let mut bytes = [0; 7];
                std::io::Read::read_exact(&mut host, &mut bytes).ok()?;
                assert_eq!(&bytes, b"patient");
                Some(host)
            });
            std::io::Write::write_all(&mut host, b"welcome").unwrap();
            assert_eq!(conn.receive(&i, 7).1, b"welcome", "{call:?}, {errno}");
            conn.send(&i, RST, b"");
            i.settle();
        }
    }
    std::fs::remove_file(&path).unwrap();
}
