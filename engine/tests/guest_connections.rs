//! Connections of a guest to forwards that this program answers: bytes, windows, ends, resets, names.

mod guest;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{Ipv6Addr, SocketAddr};

use guest::{GUEST, Network};
use oxislirp::{
    Config, Effect, GuestConnection, GuestConnectionError, GuestEvent, GuestForward, GuestForwardHandle, Stack,
};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;

/// What the program has heard of its connections, in order; the effects that are none of these are dropped.
fn heard(network: &mut Network) -> Vec<GuestEvent> {
    let effects = network.effects().into_iter();
    effects.filter_map(|effect| if let Effect::Guest(event) = effect { Some(event) } else { None }).collect()
}

/// Lets everybody work until the program has heard something.
#[track_caller]
fn next(network: &mut Network, what: &str) -> GuestEvent {
    let mut events = network.until(what, |network| {
        let events = heard(network);
        (!events.is_empty()).then_some(events)
    });
    assert_eq!(events.len(), 1, "{events:?}");
    events.remove(0)
}

fn application(network: &mut Network) -> GuestForwardHandle {
    network.stack().add_guest_forward(GuestForward::application(7)).unwrap()
}

/// A connection of the guest, as both sides have it.
fn connected(network: &mut Network, forward: GuestForwardHandle, port: u16) -> (SocketHandle, GuestConnection) {
    let socket = network.connect(forward.address(), port, 65536);
    let GuestEvent::Connected { connection, forward: through, peer } = next(network, "the connection") else {
        panic!("something else came first")
    };
    assert_eq!((through, peer), (forward, SocketAddr::from((GUEST, port))));
    (socket, connection)
}

fn receive(network: &mut Network, connection: GuestConnection) -> Result<Vec<u8>, GuestConnectionError> {
    let mut bytes = vec![0; 65536];
    let now = network.now();
    let count = network.stack().guest_receive(connection, &mut bytes, now)?;
    network.cable.collect();
    bytes.truncate(count);
    Ok(bytes)
}

fn send(network: &mut Network, connection: GuestConnection, data: &[u8]) -> Result<usize, GuestConnectionError> {
    let now = network.now();
    let result = network.stack().guest_send(connection, data, now);
    network.cable.collect();
    result
}

fn finish(network: &mut Network, connection: GuestConnection) {
    let now = network.now();
    network.stack().guest_finish(connection, now).unwrap();
    network.cable.collect();
}

fn reset(network: &mut Network, connection: GuestConnection) {
    let now = network.now();
    network.stack().guest_reset(connection, now).unwrap();
    network.cable.collect();
}

/// What the guest has received so far.
fn taken(network: &mut Network, socket: SocketHandle) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Ok(count @ 1..) = network.tcp(socket).recv(|part| {
        bytes.extend_from_slice(part);
        (part.len(), part.len())
    }) {
        assert!(count > 0);
    }
    bytes
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 + index / 251) as u8).collect()
}

#[test]
fn two_mebibytes_come_back_from_a_slow_reader_whose_window_closes_and_opens() {
    const SIZE: usize = 2 << 20;
    let mut network = Network::new();
    let forward = application(&mut network);
    let (socket, connection) = connected(&mut network, forward, 40000);
    let data = pattern(SIZE);
    let (mut sent, mut back) = (0, Vec::new());
    // What the program has taken and not sent yet.
    let mut held = VecDeque::new();
    let (mut echoed, mut may_receive, mut events) = (0, false, Vec::new());
    let (mut end_received, mut finished, mut fullest) = (false, false, 0);
    let mut milliseconds = 0;
    network.until("the echo", |network| {
        let guest = network.tcp(socket);
        if sent < SIZE {
            sent += guest.send_slice(&data[sent..]).unwrap();
        } else if guest.may_send() {
            guest.close();
        }
        back.extend(taken(network, socket));
        events.extend(heard(network));
        may_receive |= !events.is_empty();
        // It does nothing for a long time at first, and takes 4 KiB every other millisecond then.
        milliseconds += 1;
        if milliseconds > 500 && milliseconds % 2 == 0 && may_receive && held.len() < 8192 {
            let mut bytes = [0; 4096];
            let now = network.now();
            match network.stack().guest_receive(connection, &mut bytes, now) {
                Ok(0) => end_received = true,
                Ok(count) => held.extend(&bytes[..count]),
                Err(error) => assert_eq!(error, GuestConnectionError::WouldBlock),
            }
        }
        if milliseconds == 500 {
            fullest = sent - network.tcp(socket).send_queue();
        }
        if !held.is_empty() {
            match send(network, connection, held.make_contiguous()) {
                Ok(count) => {
                    held.drain(..count);
                    echoed += count;
                }
                Err(error) => assert_eq!(error, GuestConnectionError::WouldBlock),
            }
        }
        if end_received && held.is_empty() && !finished {
            finish(network, connection);
            finished = true;
        }
        (back.len() == SIZE && !network.tcp(socket).may_recv()).then_some(())
    });
    assert!(back == data, "the echo is another");
    assert_eq!(echoed, SIZE);
    let passed: Vec<_> = network.cable.passed.iter().filter(|segment| segment.guest_port == 40000).collect();
    let closed = passed.iter().position(|segment| segment.window == 0).expect("the window never closed");
    let opened = passed[closed..].iter().position(|segment| segment.window > 0).expect("the window stayed closed");
    assert!(opened > 0);
    // What the program does not take waits in the window that the guest was offered, and no more: one that nobody takes
    // anything from does not grow, but for what its edge is rounded up by.
    assert!((60 << 10..128 << 10).contains(&fullest), "{fullest} bytes were acknowledged to the guest");
    assert!(!passed.iter().any(|segment| segment.reset));
    network.turns(10);
    events.extend(heard(&mut network));
    let kind = |wanted: fn(&GuestEvent) -> bool| events.iter().filter(|event| wanted(event)).count();
    assert_eq!(kind(|event| matches!(event, GuestEvent::Finished { .. })), 1);
    assert_eq!(events.last(), Some(&GuestEvent::Closed { connection }));
    assert_eq!(receive(&mut network, connection), Err(GuestConnectionError::Gone));
}

#[test]
fn bytes_are_told_of_once_until_the_program_comes_for_them() {
    let mut network = Network::new();
    let forward = application(&mut network);
    let (socket, connection) = connected(&mut network, forward, 40000);
    network.tcp(socket).send_slice(b"one").unwrap();
    assert_eq!(next(&mut network, "bytes"), GuestEvent::Readable { connection });
    for _ in 0..10 {
        network.tcp(socket).send_slice(b", more").unwrap();
        network.turns(3);
    }
    assert_eq!(heard(&mut network), []);
    let mut some = [0; 3];
    let now = network.now();
    assert_eq!(network.stack().guest_receive(connection, &mut some, now), Ok(3));
    assert_eq!(&some, b"one");
    assert_eq!(network.stack().guest_receive(connection, &mut [], now), Ok(0), "there is no place for any");
    // Bytes are left, and the next ones are told of.
    network.tcp(socket).send_slice(b".").unwrap();
    assert_eq!(next(&mut network, "bytes"), GuestEvent::Readable { connection });
    assert_eq!(receive(&mut network, connection).unwrap().len(), 61);
    assert_eq!(receive(&mut network, connection), Err(GuestConnectionError::WouldBlock));
}

#[test]
fn a_full_send_buffer_would_block_and_tells_when_there_is_room() {
    let mut network = Network::new();
    let forward = application(&mut network);
    let (socket, connection) = connected(&mut network, forward, 40000);
    // The guest reads nothing: its window and our buffer fill.
    let data = pattern(16 << 20);
    let mut sent = 0;
    let full = network.until("a full buffer", |network| match send(network, connection, &data[sent..]) {
        Ok(count) => {
            sent += count;
            None
        }
        Err(error) => Some(error),
    });
    assert_eq!(full, GuestConnectionError::WouldBlock);
    assert!(sent < 4 << 20, "{sent} bytes wait for a guest that reads nothing");
    network.turns(100);
    let told = heard(&mut network);
    assert!(told.len() <= 1, "{told:?}");
    let mut back = Vec::new();
    let mut writable = 0;
    network.until("all bytes", |network| {
        back.extend(taken(network, socket));
        // It only comes back when it is told to.
        for event in heard(network) {
            assert_eq!(event, GuestEvent::Writable { connection });
            writable += 1;
            while let Ok(count @ 1..) = send(network, connection, &data[sent..]) {
                sent += count;
            }
        }
        (back.len() == data.len()).then_some(())
    });
    assert!(back == data);
    assert!(writable > 2, "{writable}");
}

#[test]
fn the_guest_ends_first_and_the_program_goes_on() {
    let mut network = Network::new();
    let forward = application(&mut network);
    let (socket, connection) = connected(&mut network, forward, 40000);
    network.tcp(socket).send_slice(b"question").unwrap();
    network.tcp(socket).close();
    let events = network.until("the end", |network| {
        let events = heard(network);
        (!events.is_empty()).then_some(events)
    });
    assert_eq!(events, [GuestEvent::Readable { connection }, GuestEvent::Finished { connection }]);
    // An end can wait as long as it likes.
    network.pass(300);
    assert_eq!(receive(&mut network, connection).unwrap(), b"question");
    assert_eq!(receive(&mut network, connection).unwrap(), b"");
    assert_eq!(receive(&mut network, connection).unwrap(), b"", "it stays the end");
    assert_eq!(send(&mut network, connection, b"answer"), Ok(6));
    network.turns(5);
    assert_eq!(taken(&mut network, socket), b"answer");
    assert!(network.tcp(socket).may_recv());
    finish(&mut network, connection);
    finish(&mut network, connection);
    assert_eq!(send(&mut network, connection, b"more"), Err(GuestConnectionError::Finished));
    assert_eq!(next(&mut network, "the end"), GuestEvent::Closed { connection });
    assert_eq!(network.tcp(socket).state(), State::TimeWait);
    assert_eq!(send(&mut network, connection, b"more"), Err(GuestConnectionError::Gone));
}

#[test]
fn the_program_ends_first_and_the_guest_goes_on() {
    let mut network = Network::new();
    let forward = application(&mut network);
    let (socket, connection) = connected(&mut network, forward, 40000);
    assert_eq!(send(&mut network, connection, b"hello"), Ok(5));
    finish(&mut network, connection);
    network.turns(5);
    assert_eq!(taken(&mut network, socket), b"hello");
    assert!(!network.tcp(socket).may_recv());
    network.pass(300);
    assert!(network.tcp(socket).may_send(), "the guest has as long as it likes");
    network.tcp(socket).send_slice(b"goodbye").unwrap();
    assert_eq!(next(&mut network, "bytes"), GuestEvent::Readable { connection });
    assert_eq!(receive(&mut network, connection).unwrap(), b"goodbye");
    network.tcp(socket).close();
    // The end of the stream is still to be had when the event is there.
    assert_eq!(next(&mut network, "the end"), GuestEvent::Finished { connection });
    assert_eq!(receive(&mut network, connection).unwrap(), b"");
    assert_eq!(next(&mut network, "the end"), GuestEvent::Closed { connection });
    assert_eq!(receive(&mut network, connection), Err(GuestConnectionError::Gone));
}

#[test]
fn a_program_that_does_not_come_for_the_end_hears_closed_nevertheless() {
    let mut network = Network::new();
    let forward = application(&mut network);
    let (socket, connection) = connected(&mut network, forward, 40000);
    finish(&mut network, connection);
    network.tcp(socket).close();
    network.pass(4);
    assert_eq!(heard(&mut network), [GuestEvent::Finished { connection }]);
    network.pass(2);
    assert_eq!(heard(&mut network), [GuestEvent::Closed { connection }]);
    assert_eq!(receive(&mut network, connection), Err(GuestConnectionError::Gone));
}

#[test]
fn bytes_wait_for_the_program_also_when_both_have_ended() {
    let mut network = Network::new();
    let forward = application(&mut network);
    let (socket, connection) = connected(&mut network, forward, 40000);
    network.tcp(socket).send_slice(b"last words").unwrap();
    network.tcp(socket).close();
    network.turns(10);
    finish(&mut network, connection);
    network.pass(300);
    assert_eq!(network.tcp(socket).state(), State::Closed);
    assert_eq!(heard(&mut network), [GuestEvent::Readable { connection }, GuestEvent::Finished { connection }]);
    let mut part = [0; 5];
    let now = network.now();
    assert_eq!(network.stack().guest_receive(connection, &mut part, now), Ok(5));
    assert_eq!(receive(&mut network, connection).unwrap(), b"words");
    assert_eq!(receive(&mut network, connection).unwrap(), b"");
    assert_eq!(heard(&mut network), [GuestEvent::Closed { connection }]);
}

#[test]
fn a_guest_that_resets_while_bytes_wait_is_told_of() {
    let mut network = Network::new();
    let forward = application(&mut network);
    let (socket, connection) = connected(&mut network, forward, 40000);
    network.tcp(socket).send_slice(b"never mind").unwrap();
    assert_eq!(next(&mut network, "bytes"), GuestEvent::Readable { connection });
    network.tcp(socket).abort();
    assert_eq!(next(&mut network, "the reset"), GuestEvent::Reset { connection });
    assert_eq!(receive(&mut network, connection), Err(GuestConnectionError::Gone));
    assert_eq!(send(&mut network, connection, b"x"), Err(GuestConnectionError::Gone));
}

#[test]
fn a_program_that_resets_is_told_nothing_more() {
    let mut network = Network::new();
    let forward = application(&mut network);
    let (socket, connection) = connected(&mut network, forward, 40000);
    network.tcp(socket).send_slice(b"unheard").unwrap();
    assert_eq!(next(&mut network, "bytes"), GuestEvent::Readable { connection });
    reset(&mut network, connection);
    network.until("the reset", |network| (network.tcp(socket).state() == State::Closed).then_some(()));
    assert!(network.cable.passed.iter().any(|segment| segment.reset));
    assert_eq!(heard(&mut network), []);
    let now = network.now();
    assert_eq!(network.stack().guest_reset(connection, now), Err(GuestConnectionError::Gone));
    assert_eq!(network.stack().guest_finish(connection, now), Err(GuestConnectionError::Gone));
}

#[test]
fn a_hundred_connections_have_names_of_their_own() {
    let mut network = Network::new();
    let forward = application(&mut network);
    let sockets: Vec<SocketHandle> = (0..100).map(|n| network.begin(forward.address(), 40000 + n, 4096)).collect();
    let mut peers = HashMap::new();
    network.until("all connections", |network| {
        for event in heard(network) {
            let GuestEvent::Connected { connection, forward: through, peer } = event else { panic!("{event:?}") };
            assert_eq!(through, forward);
            assert_eq!(peers.insert(connection, peer), None, "the name was used twice");
        }
        (peers.len() == 100).then_some(())
    });
    assert_eq!(peers.values().collect::<HashSet<_>>().len(), 100);
    // Each says its port, and hears it back from the connection with that peer.
    for (socket, port) in sockets.iter().zip(40000u16..) {
        network.tcp(*socket).send_slice(&port.to_be_bytes()).unwrap();
    }
    let mut answered = 0;
    network.until("all questions", |network| {
        for event in heard(network) {
            let GuestEvent::Readable { connection } = event else { panic!("{event:?}") };
            let bytes = receive(network, connection).unwrap();
            assert_eq!(bytes, peers[&connection].port().to_be_bytes());
            assert_eq!(send(network, connection, &bytes), Ok(2));
            answered += 1;
        }
        (answered == 100).then_some(())
    });
    network.turns(10);
    for (socket, port) in sockets.iter().zip(40000u16..) {
        assert_eq!(taken(&mut network, *socket), port.to_be_bytes());
    }
    // A name does not come back, although its place is used again.
    let old: HashSet<GuestConnection> = peers.into_keys().collect();
    for connection in &old {
        reset(&mut network, *connection);
    }
    network.turns(10);
    let again: Vec<SocketHandle> = (0..100).map(|n| network.begin(forward.address(), 50000 + n, 4096)).collect();
    let mut new = HashSet::new();
    network.until("new connections", |network| {
        new.extend(heard(network).iter().map(GuestEvent::connection));
        (new.len() == again.len()).then_some(())
    });
    assert!(new.is_disjoint(&old));
    assert!(old.iter().all(|connection| receive(&mut network, *connection) == Err(GuestConnectionError::Gone)));
}

#[test]
fn the_removal_of_a_forward_resets_its_connections_and_no_others() {
    let mut network = Network::new();
    let forward = application(&mut network);
    let other = network.stack().add_guest_forward(GuestForward::application(8)).unwrap();
    let mine: Vec<_> = (0..3).map(|n| connected(&mut network, forward, 40000 + n)).collect();
    let (other_socket, other_connection) = connected(&mut network, other, 41000);
    network.stack().remove_guest_forward(forward).unwrap();
    let reset: HashSet<String> = heard(&mut network).iter().map(|event| format!("{event:?}")).collect();
    let expected = mine.iter().map(|(_, connection)| format!("{:?}", GuestEvent::Reset { connection: *connection }));
    assert_eq!(reset, expected.collect());
    for (_, connection) in &mine {
        assert_eq!(send(&mut network, *connection, b"x"), Err(GuestConnectionError::Gone));
    }
    network.turns(10);
    for (socket, _) in &mine {
        assert_eq!(network.tcp(*socket).state(), State::Closed);
    }
    network.tcp(other_socket).send_slice(b"still here").unwrap();
    network.turns(5);
    assert_eq!(receive(&mut network, other_connection).unwrap(), b"still here");
    assert_eq!(heard(&mut network), [GuestEvent::Readable { connection: other_connection }]);
    // It can be there again, and works.
    let again = application(&mut network);
    assert_eq!(again.address(), forward.address());
    connected(&mut network, again, 42000);
}

#[test]
fn a_connection_of_another_stack_is_gone() {
    let mut network = Network::new();
    let forward = application(&mut network);
    let (_, connection) = connected(&mut network, forward, 40000);
    let mut second = Network::new();
    let other = application(&mut second);
    connected(&mut second, other, 40000);
    assert_eq!(receive(&mut second, connection), Err(GuestConnectionError::Gone));
    assert_eq!(send(&mut second, connection, b"x"), Err(GuestConnectionError::Gone));
    let now = second.now();
    assert_eq!(second.stack().guest_finish(connection, now), Err(GuestConnectionError::Gone));
    assert_eq!(second.stack().guest_reset(connection, now), Err(GuestConnectionError::Gone));
    assert_eq!(receive(&mut network, connection), Err(GuestConnectionError::WouldBlock));
}

#[test]
fn a_guest_that_vanishes_is_told_of_as_a_reset() {
    let mut network = Network::new();
    let forward = application(&mut network);
    let (socket, connection) = connected(&mut network, forward, 40000);
    network.sockets.remove(socket);
    network.unplug();
    send(&mut network, connection, b"is anybody there?").unwrap();
    network.pass(1800);
    assert_eq!(heard(&mut network), [GuestEvent::Reset { connection }]);
}

#[test]
fn a_knock_alone_is_no_connection() {
    let mut network = Network::new();
    let forward = application(&mut network);
    let socket = network.begin(forward.address(), 40000, 4096);
    network.interface_polls();
    network.unplug();
    network.pass(200);
    assert_eq!(heard(&mut network), []);
    network.sockets.remove(socket);
}

#[test]
fn ipv6_guests_have_connections_too() {
    let mut network = Network::new();
    let address: Ipv6Addr = "fec0::7".parse().unwrap();
    let forward = network.stack().add_guest_forward(GuestForward::application(7).at(address)).unwrap();
    let socket = network.connect(forward.address(), 40000, 4096);
    let GuestEvent::Connected { connection, peer, .. } = next(&mut network, "the connection") else { panic!() };
    assert_eq!(peer, "[fec0::15]:40000".parse().unwrap());
    network.tcp(socket).send_slice(b"over IPv6").unwrap();
    network.turns(5);
    assert_eq!(receive(&mut network, connection).unwrap(), b"over IPv6");
}

#[test]
fn a_stack_that_is_shut_down_has_no_connections() {
    let mut network = Network::new();
    let forward = application(&mut network);
    let (_, connection) = connected(&mut network, forward, 40000);
    network.stack().shut_down();
    assert_eq!(heard(&mut network), [GuestEvent::Reset { connection }]);
    assert_eq!(receive(&mut network, connection), Err(GuestConnectionError::Gone));
    drop(Stack::new(Config::default()).unwrap());
}
