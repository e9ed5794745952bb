//! Peers on the host: non-blocking sockets on loopback that are looked at between turns of the loop, in one thread.

use super::instance::Instance;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

/// A listener on a free port of 127.0.0.1.
pub fn tcp_listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a socket can be non-blocking");
    let port = listener.local_addr().expect("bound").port();
    (listener, port)
}

/// A UDP socket on a free port of 127.0.0.1.
pub fn udp_peer() -> (UdpSocket, u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.set_nonblocking(true).expect("a socket can be non-blocking");
    let port = socket.local_addr().expect("bound").port();
    (socket, port)
}

/// A port of 127.0.0.1 on which nothing listens.
pub fn closed_tcp_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port()
}

/// A UDP port of 127.0.0.1 on which nothing listens.
pub fn closed_udp_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port()
}

/// A non-blocking connection from the host to a forwarded port. It may still be in the kernel's hands when this
/// returns, as happens when the listener's queue is full; reads and writes would then block.
pub fn client(port: u16) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_nonblocking(true).expect("a socket can be non-blocking");
    match socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into()) {
        Err(e) if !super::system::is_under_way(&e) => panic!("the forwarded port refuses: {e}"),
        _ => TcpStream::from(socket),
    }
}

/// Turns the loop until the listener has a connection.
pub fn accept(instance: &Instance, listener: &TcpListener) -> TcpStream {
    let (stream, _) = instance.until("a connection at the host", || listener.accept().ok());
    stream.set_nonblocking(true).expect("a socket can be non-blocking");
    stream
}

/// Turns the loop until a datagram arrives at the host's socket.
pub fn host_recv(instance: &Instance, socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 65536];
    instance.until("a datagram at the host", || {
        let (len, from) = socket.recv_from(&mut buffer).ok()?;
        Some((buffer[..len].to_vec(), from))
    })
}

/// Asserts that no datagram is there after everything settled.
pub fn host_gets_nothing(instance: &Instance, socket: &UdpSocket) {
    instance.settle();
    let mut buffer = [0; 2048];
    let got = socket.recv_from(&mut buffer);
    assert!(matches!(&got, Err(e) if e.kind() == ErrorKind::WouldBlock), "the host got {got:?}");
}

/// Turns the loop until the host read exactly `len` bytes.
pub fn host_read(instance: &Instance, stream: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut have = 0;
    instance.until("data at the host", || {
        while have < len {
            match stream.read(&mut bytes[have..]) {
                Ok(0) => panic!("end of stream after {have} of {len} bytes"),
                Ok(n) => have += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return None,
                Err(e) => panic!("{e} after {have} of {len} bytes"),
            }
        }
        Some(())
    });
    bytes
}

/// How the host's side of a connection ended.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum End {
    Eof,
    Reset,
}

/// Turns the loop until the host sees the end of the stream, and returns what came before and how it ended.
pub fn host_end(instance: &Instance, stream: &mut TcpStream) -> (Vec<u8>, End) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 65536];
    let end = instance.until("the end of the stream at the host", || {
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return Some(End::Eof),
                Ok(n) => bytes.extend_from_slice(&buffer[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return None,
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return Some(End::Reset),
                Err(e) => panic!("{e}"),
            }
        }
    });
    (bytes, end)
}

/// Asserts that the host's stream is open and has nothing to read.
pub fn host_idle(stream: &mut TcpStream) {
    let got = stream.read(&mut [0; 16]);
    assert!(matches!(&got, Err(e) if e.kind() == ErrorKind::WouldBlock), "the host read {got:?}");
}

/// Writes as much as the socket takes without blocking.
pub fn host_write_some(stream: &mut TcpStream, data: &[u8]) -> usize {
    let mut sent = 0;
    while sent < data.len() {
        match stream.write(&data[sent..]) {
            Ok(n) => sent += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => break,
            Err(e) => panic!("{e}"),
        }
    }
    sent
}

/// Closes with SO_LINGER 0, so that the peer gets a reset.
pub fn host_reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).expect("a TCP socket lingers");
    drop(stream);
}

/// Writes until the stream says that the other end is gone.
pub fn until_broken(i: &Instance, host: &mut impl Write) {
    i.until("an error of the host's write", || match host.write(b"x") {
        Ok(_) => None,
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => None,
        Err(e) => {
            assert!(matches!(e.kind(), std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset), "{e}");
            Some(())
        }
    });
}
