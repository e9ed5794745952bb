//! When the memory of all TCP buffers is used up: who holds it and does not move makes room, and nobody else does.

mod guest;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use guest::Network;
use oxislirp::{Config, Effect};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;

/// The least that a configuration may have; twice of it is lent.
const BUDGET: usize = 1 << 20;
/// The smallest piece that is lent.
const LEAST: usize = 16 << 10;

/// Connections of the guest to one server.
struct Crowd {
    network: Network,
    listener: TcpListener,
    sockets: Vec<SocketHandle>,
    streams: Vec<TcpStream>,
}

impl Crowd {
    fn new() -> Crowd {
        let network = Network::with(Config::builder().buffer_memory(BUDGET).build().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Crowd { network, listener, sockets: Vec::new(), streams: Vec::new() }
    }

    /// One more connection.
    fn connect(&mut self) -> usize {
        let port = self.listener.local_addr().unwrap().port();
        let number = self.sockets.len();
        let to = (Ipv4Addr::new(10, 0, 2, 2), port).into();
        let socket = self.network.connect(to, 20_000 + number as u16, 2048);
        let (stream, _) = self.listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        self.sockets.push(socket);
        self.streams.push(stream);
        number
    }

    /// Connections on which the server sends and the guest does not read, so many that no memory is left.
    fn use_it_up(&mut self) {
        for _ in 0..2 * BUDGET / LEAST + 8 {
            let number = self.connect();
            match self.streams[number].write(&[7; 200_000]) {
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            // Until as much has come as is taken for a guest that does not read.
            self.network.turns(20);
        }
    }

    fn state(&mut self, number: usize) -> State {
        let socket = self.sockets[number];
        self.network.tcp(socket).state()
    }

    /// How many of the first `count` are no connections any more.
    fn ended(&mut self, count: usize) -> usize {
        (0..count).filter(|&number| self.state(number) != State::Established).count()
    }

    /// The guest sends on a connection; whether the server has it before long.
    fn reaches_the_server(&mut self, number: usize) -> bool {
        let socket = self.sockets[number];
        if self.network.tcp(socket).send_slice(b"?").is_err() {
            return false;
        }
        (0..3000).any(|_| {
            self.network.turn();
            self.streams[number].read(&mut [0]).is_ok_and(|count| count == 1)
        })
    }

    /// The server answers; whether the guest has it before long.
    fn reaches_the_guest(&mut self, number: usize) -> bool {
        self.streams[number].write_all(b"!").unwrap();
        let socket = self.sockets[number];
        (0..3000).any(|_| {
            self.network.turn();
            self.network.tcp(socket).recv_slice(&mut [0]).is_ok_and(|count| count == 1)
        })
    }
}

fn warnings(network: &mut Network) -> Vec<String> {
    let effects = network.effects().into_iter();
    effects.filter_map(|effect| if let Effect::Warning(text) = effect { Some(text) } else { None }).collect()
}

#[test]
fn who_holds_memory_and_does_not_move_makes_room_after_half_a_minute() {
    let mut crowd = Crowd::new();
    crowd.use_it_up();
    let stalled = crowd.sockets.len();
    let new = crowd.connect();
    assert!(!crowd.reaches_the_guest(new), "there is memory left");
    crowd.network.pass(20);
    assert_eq!(crowd.ended(stalled), 0, "nobody waits for that long before");
    crowd.network.pass(40);
    let ended = crowd.ended(stalled);
    assert!((1..=stalled / 2).contains(&ended), "{ended} of {stalled}");
    let socket = crowd.sockets[new];
    let got = crowd.network.tcp(socket).recv_slice(&mut [0; 9]).unwrap();
    assert_eq!(got, 1, "what the server sent in between comes");
    assert!(crowd.reaches_the_guest(new) && crowd.reaches_the_server(new));
    let told = warnings(&mut crowd.network);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("the memory of TCP connections is used up"), "{told:?}");
    // The server of one that has ended is told that it was no end of the stream.
    let gone = (0..stalled).find(|&number| crowd.state(number) != State::Established).unwrap();
    let error = crowd.streams[gone].read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// Slow readers move, if only by some bytes in ten seconds.
#[test]
fn who_moves_stays_however_little_that_is() {
    let mut crowd = Crowd::new();
    crowd.use_it_up();
    let slow = 5;
    let new = crowd.connect();
    let _ = crowd.reaches_the_guest(new);
    for _ in 0..12 {
        crowd.network.pass(10);
        let socket = crowd.sockets[slow];
        // As much as a receiver tells of at once.
        assert!(crowd.network.tcp(socket).recv_slice(&mut [0; 2048]).unwrap() > 0);
    }
    assert!(crowd.ended(crowd.sockets.len()) > 0);
    assert_eq!(crowd.state(slow), State::Established);
}

#[test]
fn while_there_is_memory_nobody_ends() {
    let mut crowd = Crowd::new();
    for _ in 0..8 {
        let number = crowd.connect();
        let _ = crowd.streams[number].write(&[7; 200_000]);
        crowd.network.turns(20);
    }
    crowd.network.pass(3600);
    assert_eq!(crowd.ended(8), 0);
    assert_eq!(warnings(&mut crowd.network), [""; 0]);
}
