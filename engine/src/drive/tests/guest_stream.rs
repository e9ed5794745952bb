//! Connections of a guest to this program, as streams.

use super::*;
use crate::{GuestForward, GuestForwardHandle};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;

struct Network {
    driver: Driver<MemoryLink>,
    guest: Guest<MemoryLink>,
    calls: Option<GuestCalls>,
}

fn network() -> (Network, GuestListener) {
    let (ours, theirs) = MemoryLink::pair().unwrap();
    let driver = Driver::new(stack(), ours).unwrap();
    let (listener, calls) = GuestListener::new(driver.handle(), GuestForward::application(7)).unwrap();
    (Network { driver, guest: Guest::new(theirs), calls: Some(calls) }, listener)
}

impl Network {
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Guest<MemoryLink>) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(&mut self.guest) {
            assert!(Instant::now() < end, "waited in vain for {what}");
            self.guest.poll();
            let calls = &self.calls;
            self.driver.run_once(Duration::ZERO, |effect| tell(calls.as_ref(), effect)).unwrap();
        }
    }

    /// A connection of the guest, and what it came to.
    fn connect(&mut self, port: u16, listener: &GuestListener) -> (SocketHandle, GuestStream) {
        let socket = self.guest.connect_from(port, listener.forward().address());
        thread::scope(|scope| {
            let accepting = scope.spawn(|| listener.accept().unwrap());
            self.until("a connection", |guest| guest.socket(socket).may_send() && accepting.is_finished());
            (socket, accepting.join().unwrap())
        })
    }

    fn forwards(&self) -> Vec<GuestForwardHandle> {
        self.driver.handle().with(|stack, _| stack.guest_forwards().collect()).unwrap()
    }
}

fn tell(calls: Option<&GuestCalls>, effect: Effect) {
    if let (Some(calls), Effect::Guest(event)) = (calls, effect) {
        assert_eq!(calls.tell(event), None);
    }
}

/// What the guest can take now.
fn take(guest: &mut Guest<MemoryLink>, socket: SocketHandle, into: &mut Vec<u8>) {
    let socket = guest.socket(socket);
    while socket.can_recv() {
        let more = socket.recv(|bytes| (bytes.len(), bytes.to_vec())).unwrap();
        into.extend(more);
    }
}

#[test]
fn bytes_go_both_ways_at_once_and_both_ends_arrive() {
    let (mut network, listener) = network();
    let socket = network.guest.connect(listener.forward().address());
    let echo = thread::spawn(move || {
        let stream = listener.accept().unwrap();
        assert_eq!(stream.peer(), "10.0.2.15:40000".parse().unwrap());
        let copied = io::copy(&mut &stream, &mut &stream).unwrap();
        stream.finish().unwrap();
        assert_eq!((&stream).write(b"more").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        copied
    });
    let (data, mut sent, mut back) = (pattern(SIZE), 0, Vec::new());
    network.until("the echo", |guest| {
        let end = guest.socket(socket);
        if end.can_send() && sent < SIZE {
            sent += end.send_slice(&data[sent..]).unwrap();
        }
        if sent == SIZE && end.may_send() {
            end.close();
        }
        take(guest, socket, &mut back);
        back.len() == SIZE && guest.socket(socket).state() == State::TimeWait
    });
    assert!(back == data);
    assert_eq!(echo.join().unwrap(), SIZE as u64);
    // The listener went with its thread, and the forward with the last stream.
    network.until("the end of the forward", |_| true);
    assert_eq!(network.forwards(), []);
}

#[test]
fn a_stream_that_is_dropped_ends_as_a_socket_does() {
    let (mut network, listener) = network();
    // In order, when nothing was left unread.
    let (socket, mut stream) = network.connect(40_001, &listener);
    stream.write_all(b"goodbye").unwrap();
    drop(stream);
    let mut heard = Vec::new();
    network.until("the end", |guest| {
        take(guest, socket, &mut heard);
        !guest.socket(socket).may_recv()
    });
    assert_eq!((&heard[..], network.guest.socket(socket).state()), (&b"goodbye"[..], State::CloseWait));
    network.guest.socket(socket).close();
    network.until("the close", |guest| guest.socket(socket).state() == State::Closed);
    // Who goes on sending is reset.
    let (socket, stream) = network.connect(40_002, &listener);
    drop(stream);
    network.until("the end", |guest| guest.socket(socket).state() == State::CloseWait);
    network.guest.socket(socket).send_slice(b"is anybody there?").unwrap();
    network.until("a reset", |guest| guest.socket(socket).state() == State::Closed);
    // And so is whose bytes nobody has read.
    let (socket, mut stream) = network.connect(40_003, &listener);
    network.guest.socket(socket).send_slice(b"two words").unwrap();
    thread::scope(|scope| {
        let reading = scope.spawn(|| stream.read(&mut [0; 3]).unwrap());
        network.until("some bytes", |_| reading.is_finished());
        assert_eq!(reading.join().unwrap(), 3);
    });
    drop(stream);
    network.until("a reset", |guest| guest.socket(socket).state() == State::Closed);
    let (socket, stream) = network.connect(40_004, &listener);
    stream.reset();
    network.until("a reset", |guest| guest.socket(socket).state() == State::Closed);
    drop(stream);
    assert!(listener.service_is_idle());
}

#[test]
fn a_reset_of_the_guest_is_an_error_for_who_reads() {
    let (mut network, listener) = network();
    let (socket, mut stream) = network.connect(40_001, &listener);
    network.guest.socket(socket).abort();
    thread::scope(|scope| {
        let reading = scope.spawn(|| stream.read(&mut [0; 3]).unwrap_err().kind());
        network.until("an error", |_| reading.is_finished());
        assert_eq!(reading.join().unwrap(), io::ErrorKind::ConnectionReset);
    });
    assert_eq!(stream.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    drop(stream);
    assert!(listener.service_is_idle());
}

#[test]
fn a_stream_of_a_stack_that_was_replaced_has_ended() {
    let (mut network, listener) = network();
    let (_, mut stream) = network.connect(40_001, &listener);
    network.driver.handle().with(|old, _| *old = stack()).unwrap();
    assert_eq!(stream.read(&mut [0; 3]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(stream.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn nobody_waits_for_what_cannot_come_any_more() {
    let (mut network, listener) = network();
    let (_, mut stream) = network.connect(40_001, &listener);
    stream.set_timeout(Some(Duration::from_millis(1)));
    assert_eq!(stream.read(&mut [0; 3]).unwrap_err().kind(), io::ErrorKind::TimedOut);
    stream.set_timeout(None);
    thread::scope(|scope| {
        let waiting =
            scope.spawn(|| (listener.accept().unwrap_err().kind(), stream.read(&mut [0; 3]).unwrap_err().kind()));
        // As with a driver's closure that ends.
        drop(network.calls.take());
        assert_eq!(waiting.join().unwrap(), (io::ErrorKind::NotConnected, io::ErrorKind::NotConnected));
    });
}

#[test]
fn a_listener_that_is_dropped_lets_nobody_in_and_those_who_wait_go() {
    let (mut network, listener) = network();
    let (talking, stream) = network.connect(40_001, &listener);
    let waiting = network.guest.connect_from(40_002, listener.forward().address());
    network.until("a connection", |guest| guest.socket(waiting).may_send());
    drop(listener);
    network.until("a reset", |guest| guest.socket(waiting).state() == State::Closed);
    assert_eq!(network.guest.socket(talking).state(), State::Established);
    assert_eq!(network.forwards().len(), 1);
    drop(stream);
    network.guest.socket(talking).close();
    network.until("the close", |guest| matches!(guest.socket(talking).state(), State::Closed | State::TimeWait));
    network.until("a round", |_| true);
    assert_eq!(network.forwards(), []);
}

#[test]
fn a_listener_says_why_it_cannot_be() {
    let (network, listener) = network();
    let handle = network.driver.handle();
    let new = |forward| GuestListener::new(handle.clone(), forward).map(drop).unwrap_err();
    let taken = new(GuestForward::application(7));
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    assert_eq!(taken.to_string(), "there is a guest forward at 10.0.2.4:7");
    assert_eq!(new(GuestForward::application(0)).kind(), io::ErrorKind::AddrNotAvailable);
    assert_eq!(new(GuestForward::command("cat", 8)).kind(), io::ErrorKind::InvalidInput);
    let inside = handle.with(|_, _| new(GuestForward::application(9)));
    assert!(inside.unwrap().get_ref().is_some_and(|error| error.is::<Reentered>()));
    drop(listener);
    assert_eq!(network.forwards(), []);
}

#[cfg(feature = "tokio")]
#[test]
fn tasks_read_and_write_beside_the_driver_of_tokio() {
    use std::future::poll_fn;
    use std::pin::Pin;
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
    let (ours, theirs) = MemoryLink::pair().unwrap();
    let mut guest = Guest::new(theirs);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let back = runtime.block_on(async {
        let mut driver = AsyncDriver::new(stack(), ours).unwrap();
        let (listener, calls) = GuestListener::new(driver.handle(), GuestForward::application(7)).unwrap();
        let socket = guest.connect(listener.forward().address());
        let driving = tokio::spawn(async move { driver.run(|effect| tell(Some(&calls), effect)).await.map(drop) });
        let echo = tokio::spawn(async move {
            let mut stream = listener.accept_async().await.unwrap();
            let mut bytes = [0; 16_384];
            loop {
                let mut buffer = ReadBuf::new(&mut bytes);
                poll_fn(|context| Pin::new(&mut stream).poll_read(context, &mut buffer)).await.unwrap();
                let mut rest = buffer.filled();
                if rest.is_empty() {
                    return poll_fn(|context| Pin::new(&mut stream).poll_shutdown(context)).await.unwrap();
                }
                while !rest.is_empty() {
                    let written = poll_fn(|context| Pin::new(&mut stream).poll_write(context, rest)).await.unwrap();
                    rest = &rest[written..];
                }
            }
        });
        let (data, mut sent, mut back) = (pattern(SIZE), 0, Vec::new());
        let end = Instant::now() + PATIENCE;
        while back.len() < SIZE || guest.socket(socket).may_recv() {
            assert!(Instant::now() < end, "waited in vain");
            guest.poll();
            let socket_end = guest.socket(socket);
            if socket_end.can_send() && sent < SIZE {
                sent += socket_end.send_slice(&data[sent..]).unwrap();
            }
            if sent == SIZE && socket_end.may_send() {
                socket_end.close();
            }
            take(&mut guest, socket, &mut back);
            tokio::task::yield_now().await;
        }
        echo.await.unwrap();
        driving.abort();
        back
    });
    assert!(back == pattern(SIZE));
}

#[test]
fn guests_that_nobody_accepts_wait_up_to_a_bound() {
    let (mut network, listener) = network();
    let to = listener.forward().address();
    let sockets: Vec<_> = (0..140).map(|port| network.guest.connect_from(40_000 + port, to)).collect();
    network.until("a handshake or a reset each", |guest| {
        sockets.iter().all(|&socket| !matches!(guest.socket(socket).state(), State::SynSent | State::SynReceived))
    });
    let open = |guest: &mut Guest<MemoryLink>| {
        sockets.iter().filter(|&&socket| guest.socket(socket).state() == State::Established).count()
    };
    network.until("resets of those beyond the bound", |guest| open(guest) == 128);
    // Each that is accepted makes room for one.
    let stream = listener.accept().unwrap();
    let another = network.guest.connect_from(50_000, to);
    network.until("a connection", |guest| guest.socket(another).may_send());
    for _ in 0..100 {
        network.until("a round", |_| true);
    }
    assert_eq!(network.guest.socket(another).state(), State::Established);
    drop(stream);
}
