//! The driver of tokio.

use super::*;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Waits for a frame as a task does, so that the driver's task has its turn.
async fn frame(link: &mut MemoryLink) -> Vec<u8> {
    use std::os::fd::AsFd;
    let copy = link.as_fd().try_clone_to_owned().unwrap();
    let copy = crate::host::task_watch::watch(copy, tokio::io::Interest::READABLE).unwrap();
    let mut buffer = vec![0; 2_000];
    let began = Instant::now();
    loop {
        match link.receive(&mut buffer) {
            Ok(length) => {
                assert!(began.elapsed() < Duration::from_millis(900), "a whole sleep went by");
                return buffer[..length].to_vec();
            }
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        copy.readable().await.unwrap().clear_ready();
    }
}

#[test]
fn a_task_that_sleeps_is_woken_by_its_link_and_by_another_task() {
    block_on(async {
        let (ours, mut theirs) = MemoryLink::pair().unwrap();
        let mut driver = AsyncDriver::new(stack(), ours).unwrap();
        let handle = driver.handle();
        let task = tokio::spawn(async move { driver.run(drop).await.map(drop) });
        theirs.send(&arp_request()).unwrap();
        let by_link = frame(&mut theirs).await;
        tokio::spawn(async move { handle.input(&arp_request()) }).await.unwrap().unwrap();
        assert_eq!(frame(&mut theirs).await, by_link);
        drop(theirs);
        assert!(matches!(task.await.unwrap(), Err(DriveError::GuestGone(_))));
    });
}

/// A full segment without PSH may wait for others of its burst; not for the whole sleep of a loop that hears of it from the same
/// thread.
#[test]
fn a_staged_segment_is_delivered_without_waiting_for_the_whole_sleep() {
    for from_elsewhere in [false, true] {
        let (ours, theirs) = MemoryLink::pair().unwrap();
        block_on(staged(ours, theirs, from_elsewhere));
    }
}

async fn staged(ours: MemoryLink, theirs: MemoryLink, from_elsewhere: bool) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut driver = AsyncDriver::new(stack(), ours).unwrap();
    let mut guest = Guest::new(theirs);
    let socket = guest.connect(virtual_host(listener.local_addr().unwrap().port()));
    let mut peer = None;
    // Short rounds, until the connection is there and all is quiet.
    let mut quiet = 0;
    while quiet < 20 {
        guest.poll();
        driver.run_once(Duration::from_millis(1), drop).await.unwrap();
        peer = peer.or_else(|| listener.accept().ok());
        quiet += i32::from(peer.is_some() && guest.socket(socket).may_send());
    }
    let (mut peer, _) = peer.unwrap();
    peer.set_nonblocking(true).unwrap();
    guest.socket(socket).send_slice(&[7; 1_460]).unwrap();
    let segment = guest.segment_without_psh();
    let began = Instant::now();
    if from_elsewhere {
        let handle = driver.handle();
        tokio::spawn(async move { handle.input(&segment) });
    } else {
        guest.send_raw(&segment);
    }
    let mut bytes = vec![0; 2_000];
    while peer.read(&mut bytes).is_err() {
        assert!(began.elapsed() < Duration::from_millis(500), "it waits");
        driver.run_once(HOUR, drop).await.unwrap();
    }
    assert_eq!(bytes[..1_460], [7; 1_460]);
}

/// Futures that are dropped in their sleep, over and over, while bytes go both ways.
#[test]
fn a_future_that_is_dropped_loses_nothing() {
    block_on(async {
        let (ours, theirs) = MemoryLink::pair().unwrap();
        let mut driver = AsyncDriver::new(stack(), ours).unwrap();
        let mut guest = Guest::new(theirs);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let handle = guest.connect(virtual_host(listener.local_addr().unwrap().port()));
        let server = thread::spawn(move || listener.accept().unwrap().0.write_all(&pattern(SIZE)).unwrap());
        let mut got = Vec::new();
        let end = Instant::now() + PATIENCE;
        while got.len() < SIZE {
            assert!(Instant::now() < end, "{} bytes", got.len());
            tokio::select! {
                biased;
                result = driver.run_once(HOUR, drop) => result.unwrap(),
                () = std::future::ready(()) => {}
            }
            guest.poll();
            let socket = guest.socket(handle);
            while socket.can_recv() {
                socket.recv(|bytes| (bytes.len(), got.extend_from_slice(bytes))).unwrap();
            }
        }
        assert!(got == pattern(SIZE));
        server.join().unwrap();
    });
}

/// Nothing to do is nothing done: the rounds of a quiet second are counted.
#[test]
fn an_idle_task_does_not_run() {
    block_on(async {
        let (ours, _theirs) = MemoryLink::pair().unwrap();
        let mut driver = AsyncDriver::new(stack(), ours).unwrap();
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(1_100) {
            driver.run_once(Duration::from_millis(500), drop).await.unwrap();
        }
        assert!(driver.counts().rounds <= 8, "{:?}", driver.counts());
    });
}

#[test]
fn outside_of_a_runtime_there_is_an_error() {
    let (ours, _theirs) = MemoryLink::pair().unwrap();
    assert!(matches!(AsyncDriver::new(stack(), ours).unwrap_err().error(), DriveError::Wait(_)));
}

#[test]
fn a_runtime_that_lacks_something_is_an_error_and_the_link_comes_back() {
    for (io, time) in [(false, false), (true, false), (false, true)] {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        if io {
            runtime.enable_io();
        }
        if time {
            runtime.enable_time();
        }
        runtime.build().unwrap().block_on(async {
            let (ours, mut theirs) = MemoryLink::pair().unwrap();
            let (error, _, mut ours) = AsyncDriver::new(stack(), ours).unwrap_err().into_parts();
            assert!(matches!(error, DriveError::Wait(_)), "{error:?}");
            ours.send(&[0; 60]).unwrap();
            assert_eq!(theirs.receive(&mut [0; 100]).unwrap(), 60);
        });
    }
}

/// The driver's own runtime goes on in a thread of its own.
#[test]
fn futures_run_wherever_they_are_polled_but_for_the_end_of_their_runtime() {
    use std::os::fd::AsFd;
    let whole = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (ours, mut theirs) = MemoryLink::pair().unwrap();
    let mut driver = whole.block_on(async { AsyncDriver::new(stack(), ours).unwrap() });
    let stop = Stop::new().unwrap();
    let stopped = stop.as_fd().try_clone_to_owned().unwrap();
    let runtime = thread::spawn(move || {
        whole.block_on(async {
            let stopped = crate::host::task_watch::watch(stopped, tokio::io::Interest::READABLE).unwrap();
            drop(stopped.readable().await);
        });
    });
    let bare = tokio::runtime::Builder::new_current_thread().build().unwrap();
    theirs.send(&arp_request()).unwrap();
    while driver.counts().sent == 0 {
        bare.block_on(driver.run_once(Duration::from_millis(5), drop)).unwrap();
    }
    stop.stop();
    runtime.join().unwrap();
    let error = block_on(async {
        loop {
            if let Err(error) = driver.run_once(Duration::from_secs(1), drop).await {
                return error;
            }
        }
    });
    assert!(matches!(error, DriveError::Wait(_)), "{error:?}");
}

#[test]
fn another_stack_in_the_place_of_the_driven_one_is_noticed() {
    block_on(async {
        let (ours, theirs) = MemoryLink::pair().unwrap();
        let mut driver = AsyncDriver::new(stack(), ours).unwrap();
        let handle = driver.handle();
        driver.run_once(Duration::ZERO, drop).await.unwrap();
        handle.with(|old, _| *old = stack()).unwrap();
        driver.run_once(HOUR, drop).await.unwrap();
        for _ in 0..5 {
            driver.run_once(Duration::ZERO, drop).await.unwrap();
        }
        // Its descriptor wakes as that of the old one did.
        let began = Instant::now();
        let other = tokio::spawn(async move { handle.with(|_, _| ()) });
        driver.run_once(HOUR, drop).await.unwrap();
        other.await.unwrap().unwrap();
        assert!(began.elapsed() < Duration::from_millis(900), "a whole sleep went by");
        drop(theirs);
    });
}
