//! The drivers with a guest at the other end of each kind of link.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::thread;
use std::time::{Duration, Instant};

use super::test_guest::{Guest, arp_request, pattern, virtual_host};
use super::*;
use crate::{Config, Effect, HostForward, Stack};

const SIZE: usize = 4 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

fn stack() -> Stack {
    Stack::new(Config::default()).unwrap()
}

/// Lets driver and guest work in turn until `done`.
fn until<L: FrameLink>(
    driver: &mut Driver<L>,
    guest: &mut Guest<L>,
    what: &str,
    mut done: impl FnMut(&mut Guest<L>) -> bool,
) {
    let end = Instant::now() + PATIENCE;
    while !done(guest) {
        assert!(Instant::now() < end, "waited in vain for {what}");
        guest.poll();
        driver.run_once(Duration::ZERO, drop).unwrap();
    }
}

fn download<L: FrameLink>(driver: &mut Driver<L>, guest: &mut Guest<L>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let handle = guest.connect(virtual_host(listener.local_addr().unwrap().port()));
    let server = thread::spawn(move || listener.accept().unwrap().0.write_all(&pattern(SIZE)).unwrap());
    let mut got = Vec::new();
    until(driver, guest, "the download", |guest| {
        let socket = guest.socket(handle);
        while socket.can_recv() {
            socket
                .recv(|bytes| {
                    got.extend_from_slice(bytes);
                    (bytes.len(), ())
                })
                .unwrap();
        }
        got.len() >= SIZE
    });
    assert!(got == pattern(SIZE));
    server.join().unwrap();
    guest.socket(handle).abort();
}

fn upload<L: FrameLink>(driver: &mut Driver<L>, guest: &mut Guest<L>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let handle = guest.connect(virtual_host(listener.local_addr().unwrap().port()));
    let server = thread::spawn(move || {
        let mut bytes = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let (data, mut sent) = (pattern(SIZE), 0);
    until(driver, guest, "the upload", |guest| {
        let socket = guest.socket(handle);
        while socket.can_send() && sent < SIZE {
            sent += socket.send_slice(&data[sent..]).unwrap();
        }
        if sent == SIZE {
            socket.close();
        }
        server.is_finished()
    });
    assert!(server.join().unwrap() == data);
}

#[test]
fn a_guest_in_memory_loads_both_ways() {
    let (ours, theirs) = MemoryLink::pair().unwrap();
    let (mut driver, mut guest) = (Driver::new(stack(), ours).unwrap(), Guest::new(theirs));
    download(&mut driver, &mut guest);
    upload(&mut driver, &mut guest);
    let counts = driver.counts();
    assert!(counts.received > 1_000 && counts.sent > SIZE as u64 / 1_460, "{counts:?}");
}

#[test]
fn a_guest_behind_datagrams_loads_both_ways_and_a_short_queue_loses_nothing() {
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    let (ours, theirs) = (DatagramLink::new(ours).unwrap(), DatagramLink::new(theirs).unwrap());
    let (mut driver, mut guest) = (Driver::new(stack(), ours).unwrap(), Guest::new(theirs));
    download(&mut driver, &mut guest);
    upload(&mut driver, &mut guest);
    assert_eq!(driver.counts().dropped, 0);
}

/// The loop in a thread of its own, which is only woken: by the guest, by the host, by the handle, and at the end.
#[test]
fn a_loop_that_sleeps_is_woken_by_everybody_and_stopped() {
    let (ours, mut theirs) = MemoryLink::pair().unwrap();
    let mut driver = Driver::new(stack(), ours).unwrap();
    let (handle, stop) = (driver.handle(), Stop::new().unwrap());
    let looping = thread::spawn({
        let stop = stop.clone();
        move || {
            driver.run(&stop, drop).unwrap();
            driver.counts()
        }
    });
    theirs.send(&arp_request()).unwrap();
    let by_link = next_frame(&mut theirs);
    // Not over the link: the answer does not wait for the end of the sleep.
    handle.input(&arp_request()).unwrap();
    assert_eq!(next_frame(&mut theirs), by_link);
    assert_eq!(by_link[12..14], [8, 6]);
    stop.stop();
    let counts = looping.join().unwrap();
    assert_eq!((counts.received, counts.sent, counts.dropped), (1, 2, 0));
}

/// Waits for a frame of the stack.
fn next_frame(link: &mut impl FrameLink) -> Vec<u8> {
    use crate::host::wait::{Watch, wait};
    let mut buffer = vec![0; 2_000];
    loop {
        let mut watches = [Watch::new(link, false)];
        let began = Instant::now();
        wait(&mut watches, PATIENCE).unwrap();
        assert!(began.elapsed() < Duration::from_millis(900), "a whole sleep went by");
        match link.receive(&mut buffer) {
            Ok(length) => return buffer[..length].to_vec(),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
}

#[test]
fn a_forward_that_is_added_meanwhile_leads_to_the_guest() {
    let (ours, theirs) = MemoryLink::pair().unwrap();
    let (mut driver, mut guest) = (Driver::new(stack(), ours).unwrap(), Guest::new(theirs));
    let socket = guest.listen(80);
    let port = free_port();
    let (host, to): (SocketAddr, SocketAddr) = (([127, 0, 0, 1], port).into(), ([10, 0, 2, 15], 80).into());
    driver.handle().with(|stack, _| stack.add_host_forward(HostForward::tcp(host, to))).unwrap().unwrap();
    let client = thread::spawn(move || {
        let mut peer = TcpStream::connect(host).unwrap();
        peer.write_all(b"hello").unwrap();
        let mut answer = [0; 5];
        peer.read_exact(&mut answer).unwrap();
        answer
    });
    until(&mut driver, &mut guest, "an exchange", |guest| {
        let socket = guest.socket(socket);
        if socket.can_recv() {
            let text = socket.recv(|bytes| (bytes.len(), bytes.to_vec())).unwrap();
            socket.send_slice(&text).unwrap();
        }
        client.is_finished()
    });
    assert_eq!(client.join().unwrap(), *b"hello");
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A link whose other end never reads.
#[test]
fn a_full_link_drops_after_a_while_and_takes_frames_again() {
    let (ours, mut theirs) = MemoryLink::pair().unwrap();
    let mut driver = Driver::new(stack(), ours).unwrap();
    let mut asked = 0;
    let end = Instant::now() + PATIENCE;
    while driver.counts().dropped < 1_000 {
        assert!(Instant::now() < end, "{:?}", driver.counts());
        // Nothing of the guest is kept waiting, either.
        while asked < driver.counts().sent + driver.counts().dropped + 10 {
            theirs.send(&arp_request()).unwrap();
            asked += 1;
        }
        driver.run_once(HOUR, drop).unwrap();
    }
    let stuck = driver.counts();
    for _ in 0..stuck.sent {
        next_frame(&mut theirs);
    }
    theirs.send(&arp_request()).unwrap();
    while driver.counts().sent == stuck.sent {
        driver.run_once(HOUR, drop).unwrap();
    }
    assert_eq!(next_frame(&mut theirs)[12..14], [8, 6]);
}

#[test]
fn the_end_of_a_link_is_an_error_with_its_cause() {
    // Also where a frame was left unread, which a pair of sockets tells otherwise.
    for unread in [false, true] {
        let (mut ours, theirs) = MemoryLink::pair().unwrap();
        if unread {
            ours.send(&[0; 60]).unwrap();
        }
        let mut driver = Driver::new(stack(), ours).unwrap();
        drop(theirs);
        let error = driver.run(&Stop::new().unwrap(), drop).unwrap_err();
        let DriveError::GuestGone(cause) = &error else { panic!("{error:?}") };
        assert_eq!(cause.kind(), io::ErrorKind::UnexpectedEof);
        assert!(std::error::Error::source(&error).is_some());
    }
}

#[test]
fn what_no_driver_is_made_of_comes_back() {
    let direct = Stack::new(Config::builder().direct_poll(true).build().unwrap()).unwrap();
    let (ours, mut theirs) = MemoryLink::pair().unwrap();
    let error = Driver::new(direct, ours).unwrap_err();
    assert!(matches!(error.error(), DriveError::Direct));
    let (_, direct, mut ours) = error.into_parts();
    assert!(direct.descriptor().is_none());
    ours.send(b"as good as before").unwrap();
    assert_eq!(theirs.receive(&mut [0; 100]).unwrap(), 17);
}

#[test]
fn a_driver_gives_its_stack_and_link_back() {
    let (ours, theirs) = MemoryLink::pair().unwrap();
    // Whatever kind of link it is.
    let ours: Box<dyn FrameLink + Send> = Box::new(ours);
    let mut driver = Driver::new(stack(), ours).unwrap();
    driver.link_mut().send(b"by the program").unwrap();
    driver.run_once(Duration::ZERO, drop).unwrap();
    let other = driver.handle();
    let (handle, mut link) = driver.into_parts();
    link.send(b"after").unwrap();
    let handle = handle.into_stack().unwrap_err();
    drop(other);
    let stack = handle.into_stack().unwrap();
    let mut theirs = theirs;
    assert_eq!((theirs.receive(&mut [0; 100]).unwrap(), theirs.receive(&mut [0; 100]).unwrap()), (14, 5));
    // Another driver goes on with it, on a link that is lent.
    let mut driver = Driver::new(stack, &mut link).unwrap();
    theirs.send(&arp_request()).unwrap();
    driver.run_once(HOUR, drop).unwrap();
    driver.run_once(HOUR, drop).unwrap();
    assert_eq!(driver.counts().sent, 1);
}

/// All of these stood still for ever.
#[test]
fn whoever_has_the_stack_and_asks_for_it_is_told_so() {
    let (ours, mut theirs) = MemoryLink::pair().unwrap();
    let mut driver = Driver::new(stack(), ours).unwrap();
    let handle = driver.handle();
    theirs.send(&arp_request()).unwrap();
    let answers = handle.with(|_, _| {
        let error = driver.run_once(Duration::ZERO, drop).unwrap_err();
        assert!(matches!(error, DriveError::Reentered(Reentered)), "{error:?}");
        (handle.with(|_, _| ()), handle.input(&arp_request()))
    });
    assert_eq!(answers, Ok((Err(Reentered), Err(Reentered))));
    // Nothing was lost by it.
    driver.run_once(Duration::ZERO, drop).unwrap();
    assert_eq!((driver.counts().received, driver.counts().sent), (1, 1));
}

/// Its descriptor is another one than the driver has slept on.
#[test]
fn another_stack_in_the_place_of_the_driven_one_is_noticed() {
    let (ours, theirs) = MemoryLink::pair().unwrap();
    let mut driver = Driver::new(stack(), ours).unwrap();
    driver.run_once(Duration::ZERO, drop).unwrap();
    let handle = driver.handle();
    handle.with(|old, _| *old = stack()).unwrap();
    let mut guest = Guest::new(theirs);
    download(&mut driver, &mut guest);
    // News of the new one's host sockets ends a sleep.
    let port = free_port();
    let forward = HostForward::tcp(SocketAddr::from(([127, 0, 0, 1], port)), SocketAddr::from(([10, 0, 2, 15], 80)));
    handle.with(|stack, _| stack.add_host_forward(forward)).unwrap().unwrap();
    for _ in 0..20 {
        driver.run_once(Duration::ZERO, drop).unwrap();
        guest.poll();
    }
    let before = driver.counts();
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let began = Instant::now();
    while driver.counts().sent == before.sent {
        driver.run_once(HOUR, drop).unwrap();
        assert!(began.elapsed() < Duration::from_millis(900), "a whole sleep went by");
    }
    drop(client);
    // One that cannot be driven.
    let direct = Stack::new(Config::builder().direct_poll(true).build().unwrap()).unwrap();
    handle.with(|stack, _| *stack = direct).unwrap();
    assert!(matches!(driver.run_once(Duration::ZERO, drop), Err(DriveError::Direct)));
}

/// A card whose accesses are exits, and a guest that never takes a rest. The driver has its turns, and what waits is bounded.
#[test]
fn a_flood_of_frames_from_elsewhere_keeps_nobody_out_and_takes_no_memory() {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    let (ours, mut theirs) = MemoryLink::pair().unwrap();
    let mut driver = Driver::new(stack(), ours).unwrap();
    let (handle, end, frames) = (driver.handle(), &AtomicBool::new(false), &AtomicU64::new(0));
    let flooding = handle.clone();
    thread::scope(|scope| {
        scope.spawn(move || {
            while !end.load(Ordering::Relaxed) {
                flooding.input(&arp_request()).unwrap();
                frames.fetch_add(1, Ordering::Relaxed);
            }
        });
        while frames.load(Ordering::Relaxed) < 100 {
            thread::yield_now();
        }
        // Frames of the link pass, over and over: each takes two turns of the driver.
        let mut buffer = [0; 2_000];
        for number in 0..50 {
            theirs.send(&arp_request()).unwrap();
            while driver.counts().received <= number {
                driver.run_once(HOUR, drop).unwrap();
                while theirs.receive(&mut buffer).is_ok() {}
            }
            // So has whoever else has something to do.
            let waiting = handle.with(|stack, _| stack.outbox().bytes()).unwrap();
            assert!(waiting <= 8 << 20, "{waiting} bytes wait");
        }
        end.store(true, Ordering::Relaxed);
    });
}

/// What a link does that has answers of its own.
#[test]
fn frames_that_a_link_makes_itself_are_received_without_a_sleep() {
    struct Echo(MemoryLink, Option<Vec<u8>>);
    impl std::os::fd::AsFd for Echo {
        fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
            self.0.as_fd()
        }
    }
    impl FrameLink for Echo {
        fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some(frame) = self.1.take() else { return Err(io::ErrorKind::WouldBlock.into()) };
            buffer[..frame.len()].copy_from_slice(&frame);
            Ok(frame.len())
        }
        fn send(&mut self, _: &[u8]) -> io::Result<()> {
            Ok(())
        }
        fn has_own_frame(&self) -> bool {
            self.1.is_some()
        }
    }
    let (ours, _theirs) = MemoryLink::pair().unwrap();
    let mut driver = Driver::new(stack(), Echo(ours, Some(arp_request()))).unwrap();
    // The first round of a stack does not wait.
    for _ in 0..2 {
        driver.run_once(HOUR, drop).unwrap();
    }
    assert_eq!((driver.counts().received, driver.counts().sent), (1, 1));
}

#[test]
fn a_stack_and_its_drivers_go_to_other_threads() {
    fn sent<T: Send>() {}
    fn shared<T: Send + Sync>() {}
    sent::<Stack>();
    sent::<Effect>();
    sent::<Driver<MemoryLink>>();
    shared::<StackHandle>();
    shared::<Stop>();
    // As every error has to be that other libraries are to take.
    shared::<NotDriven<Box<dyn FrameLink + Send>>>();
    shared::<DriveError>();
}

#[test]
fn the_stack_s_descriptor_is_readable_when_it_is_woken_and_never_in_direct_mode() {
    use crate::host::wait::{Watch, wait};
    use crate::{Caller, Glance, Output};
    for direct in [false, true] {
        let mut stack = Stack::new(Config::builder().direct_poll(direct).build().unwrap()).unwrap();
        let now = crate::Instant::from_secs(1);
        while !matches!(stack.poll_output(now), Output::Timeout(_)) {}
        let readable = |stack: &Stack| {
            let mut watches = [Watch::new(stack, false)];
            wait(&mut watches, Duration::ZERO).unwrap();
            watches[0].has_news()
        };
        assert!(!readable(&stack));
        stack.input(&arp_request(), Caller::Loop, now);
        assert!(!readable(&stack), "the loop itself is awake");
        stack.input(&arp_request(), Caller::Elsewhere, now);
        assert_eq!(readable(&stack), !direct);
        stack.handle_events(Glance::News, now);
        while !matches!(stack.poll_output(now), Output::Timeout(_)) {}
        assert!(!readable(&stack), "it was asked");
    }
}

#[cfg(feature = "tokio")]
mod asynchronous;
mod guest_stream;
