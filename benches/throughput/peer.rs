//! The host side: loopback peers on threads of their own, pinned to the second CPU, and the holder of idle connections,
//! which is a process of its own so that its descriptors and memory do not count.
#![forbid(unsafe_code)]

use std::io::{BufRead, BufReader, ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use socket2::{Domain, Socket, Type};

use crate::guest::{REQUEST, RESPONSE};
use crate::sys::{self, DatagramBatch, Epoll};
use crate::wire;

/// The CPU of the library's thread, and that of the peers.
pub const LIBRARY_CPU: usize = 0;
pub const PEER_CPU: usize = 1;
const CHUNK: usize = 256 * 1024;

/// What the peers' threads count.
#[derive(Default, Debug)]
pub struct Counters {
    /// Octets that arrived at a sink.
    pub bytes: AtomicU64,
    /// Datagrams that arrived at, or left, a datagram peer.
    pub datagrams: AtomicU64,
    /// Transactions that a forward client finished, and those that failed.
    pub completed: AtomicU64,
    pub failed: AtomicU64,
    /// Wrong bytes seen (with verification on).
    pub corrupt: AtomicU64,
}

/// A running peer: its port on 127.0.0.1 and its counters.
pub struct Peer {
    pub port: u16,
    pub counters: Arc<Counters>,
}

fn spawn(port: u16, work: impl FnOnce(Arc<Counters>) -> std::io::Result<()> + Send + 'static) -> Peer {
    spawn_on(PEER_CPU, port, work)
}

fn spawn_on(cpu: usize, port: u16, work: impl FnOnce(Arc<Counters>) -> std::io::Result<()> + Send + 'static) -> Peer {
    let counters = Arc::new(Counters::default());
    let theirs = counters.clone();
    thread::spawn(move || {
        sys::pin(cpu);
        if let Err(error) = work(theirs) {
            eprintln!("peer thread: {error}");
        }
    });
    Peer { port, counters }
}

/// A listener on 127.0.0.1 with a backlog that 64 simultaneous handshakes cannot fill.
fn listener() -> std::io::Result<(TcpListener, u16)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    socket.listen(4096)?;
    let listener: TcpListener = socket.into();
    let port = listener.local_addr()?.port();
    Ok((listener, port))
}

/// Takes everything that comes on any number of connections; with `cell` (octets) not 0 checks the guest's cells.
pub fn sink(cell: usize) -> std::io::Result<Peer> {
    let (listener, port) = listener()?;
    Ok(spawn(port, move |counters| {
        let constant = wire::cell(0, cell);
        let mut epoll = Epoll::new()?;
        epoll.add(&listener, false, u64::MAX)?;
        let (mut ready, mut buf) = (Vec::new(), vec![0; CHUNK]);
        let mut streams: Vec<(TcpStream, u64)> = Vec::new();
        loop {
            epoll.wait(&mut ready);
            for key in &ready {
                let Some((stream, offset)) = streams.get_mut(*key as usize) else {
                    let (stream, _) = listener.accept()?;
                    epoll.add(&stream, false, streams.len() as u64)?;
                    streams.push((stream, 0));
                    continue;
                };
                let n = stream.read(&mut buf)?;
                if n == 0 {
                    return Ok(());
                }
                if cell != 0 && !wire::check_cells(*offset, &buf[..n], &constant) {
                    counters.corrupt.fetch_add(1, Relaxed);
                }
                *offset += n as u64;
                counters.bytes.fetch_add(n as u64, Relaxed);
            }
        }
    }))
}

/// Sends the host pattern on every connection as fast as it is taken.
pub fn source() -> std::io::Result<Peer> {
    let (listener, port) = listener()?;
    Ok(spawn(port, move |counters| {
        let pattern = wire::host_pattern(wire::PERIOD + CHUNK);
        let mut epoll = Epoll::new()?;
        epoll.add(&listener, false, u64::MAX)?;
        let mut ready = Vec::new();
        let mut streams: Vec<(TcpStream, u64)> = Vec::new();
        loop {
            epoll.wait(&mut ready);
            for key in &ready {
                let Some((stream, offset)) = streams.get_mut(*key as usize) else {
                    let (stream, _) = listener.accept()?;
                    stream.set_nonblocking(true)?;
                    epoll.add(&stream, true, streams.len() as u64)?;
                    streams.push((stream, 0));
                    continue;
                };
                let at = (*offset % wire::PERIOD as u64) as usize;
                match stream.write_vectored(&[IoSlice::new(&pattern[at..at + CHUNK])]) {
                    Ok(n) => {
                        *offset += n as u64;
                        counters.bytes.fetch_add(n as u64, Relaxed);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    // The guest may end a connection; its place in the list stays, as the others' keys are places too.
                    Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                        epoll.remove(stream)?;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }))
}

/// Echoes on one connection, byte by byte as it comes. With `beside` on the library's CPU, where waking the other thread is
/// a context switch instead of an interrupt to another processor, which in a virtual machine can cost more than the rest.
pub fn echo(beside: bool) -> std::io::Result<Peer> {
    let (listener, port) = listener()?;
    Ok(spawn_on(if beside { LIBRARY_CPU } else { PEER_CPU }, port, move |_| {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut buf = [0; 4096];
        loop {
            let n = stream.read(&mut buf)?;
            if n == 0 {
                return Ok(());
            }
            stream.write_all(&buf[..n])?;
        }
    }))
}

/// The same on any number of connections.
pub fn echoes(beside: bool) -> std::io::Result<Peer> {
    let (listener, port) = listener()?;
    Ok(spawn_on(if beside { LIBRARY_CPU } else { PEER_CPU }, port, move |_| {
        let mut epoll = Epoll::new()?;
        epoll.add(&listener, false, u64::MAX)?;
        let (mut ready, mut buf) = (Vec::new(), [0; 4096]);
        let mut streams: Vec<TcpStream> = Vec::new();
        loop {
            epoll.wait(&mut ready);
            for key in &ready {
                let Some(stream) = streams.get_mut(*key as usize) else {
                    let (stream, _) = listener.accept()?;
                    stream.set_nodelay(true)?;
                    epoll.add(&stream, false, streams.len() as u64)?;
                    streams.push(stream);
                    continue;
                };
                let n = stream.read(&mut buf)?;
                if n == 0 {
                    return Ok(());
                }
                stream.write_all(&buf[..n])?;
            }
        }
    }))
}

/// Accepts any number of connections and reads from none.
pub fn deaf() -> std::io::Result<Peer> {
    let (listener, port) = listener()?;
    Ok(spawn(port, move |_| {
        let mut streams: Vec<TcpStream> = Vec::new();
        loop {
            streams.push(listener.accept()?.0);
        }
    }))
}

/// Sends every datagram back to its sender. `beside` as in [`echo`].
pub fn datagram_echo(beside: bool) -> std::io::Result<Peer> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let port = socket.local_addr()?.port();
    Ok(spawn_on(if beside { LIBRARY_CPU } else { PEER_CPU }, port, move |_| {
        let mut buf = [0; 4096];
        loop {
            let (n, from) = socket.recv_from(&mut buf)?;
            socket.send_to(&buf[..n], from)?;
        }
    }))
}

/// Serves one request per connection on each of `count` ports and closes when the client has closed.
/// Several ports, because each client port rests in TIME_WAIT after use. `beside` as in [`echo`].
pub fn request_server(count: usize, beside: bool) -> std::io::Result<(Vec<u16>, Peer)> {
    let listeners = (0..count).map(|_| listener()).collect::<std::io::Result<Vec<_>>>()?;
    let ports: Vec<u16> = listeners.iter().map(|(_, port)| *port).collect();
    let peer = spawn_on(if beside { LIBRARY_CPU } else { PEER_CPU }, 0, move |_| {
        let mut epoll = Epoll::new()?;
        for (key, (listener, _)) in listeners.iter().enumerate() {
            listener.set_nonblocking(true)?;
            epoll.add(listener, false, key as u64)?;
        }
        let answer = [0u8; RESPONSE];
        let (mut ready, mut buf) = (Vec::new(), [0u8; 4096]);
        let mut streams: Vec<Option<TcpStream>> = Vec::new();
        let mut free: Vec<usize> = Vec::new();
        loop {
            epoll.wait(&mut ready);
            for key in &ready {
                if let Some((listener, _)) = listeners.get(*key as usize) {
                    let Ok((stream, _)) = listener.accept() else { continue };
                    let slot = free.pop().unwrap_or_else(|| {
                        streams.push(None);
                        streams.len() - 1
                    });
                    epoll.add(&stream, false, (slot + listeners.len()) as u64)?;
                    streams[slot] = Some(stream);
                    continue;
                }
                let slot = *key as usize - listeners.len();
                let Some(stream) = &mut streams[slot] else { continue };
                match stream.read(&mut buf) {
                    Ok(n) if n > 0 => {
                        let _ = stream.write_all(&answer);
                    }
                    _ => {
                        streams[slot] = None;
                        free.push(slot);
                    }
                }
            }
        }
    });
    Ok((ports, peer))
}

/// Keeps `at_once` transactions running against the forwarded `ports`: connect, request, whole answer, close.
pub fn request_clients(ports: Vec<u16>, at_once: usize) -> Peer {
    spawn(0, move |counters| {
        let mut epoll = Epoll::new()?;
        let mut slots: Vec<(Option<Socket>, usize)> = (0..at_once).map(|_| (None, 0)).collect();
        let mut turn = 0usize;
        let mut open = |epoll: &Epoll, slot: usize| -> std::io::Result<Socket> {
            turn = turn.wrapping_add(1);
            let port = ports.get(turn % ports.len()).copied().unwrap_or(0);
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            match socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into()) {
                Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
                _ => {}
            }
            epoll.add(&socket, true, slot as u64)?;
            Ok(socket)
        };
        for (index, slot) in slots.iter_mut().enumerate() {
            slot.0 = Some(open(&epoll, index)?);
        }
        let (mut ready, mut buf) = (Vec::new(), [0u8; 4096]);
        loop {
            epoll.wait(&mut ready);
            for key in &ready {
                let Some((Some(socket), got)) = slots.get_mut(*key as usize) else { continue };
                // `usize::MAX` is not used: 0 means the request has not been sent, 1 + n that n octets have come.
                let done = if *got == 0 {
                    *got = 1;
                    match socket.send(&[0u8; REQUEST]) {
                        Ok(_) => epoll.modify(socket, false, *key).map(|()| false),
                        Err(error) => Err(error),
                    }
                } else {
                    match socket.read(&mut buf) {
                        Ok(0) => Err(std::io::Error::from(ErrorKind::UnexpectedEof)),
                        Ok(n) => {
                            *got += n;
                            Ok(*got > RESPONSE)
                        }
                        Err(error) => Err(error),
                    }
                };
                match done {
                    Ok(false) => continue,
                    Ok(true) => counters.completed.fetch_add(1, Relaxed),
                    Err(_) => counters.failed.fetch_add(1, Relaxed),
                };
                if let Some(slot) = slots.get_mut(*key as usize) {
                    *slot = (None, 0);
                    slot.0 = Some(open(&epoll, *key as usize)?);
                }
            }
        }
    })
}

/// Counts datagrams of `size` octets; with `verify` checks their constant part.
pub fn datagram_sink(size: usize, verify: bool) -> std::io::Result<Peer> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let port = socket.local_addr()?.port();
    Ok(spawn(port, move |counters| {
        let constant = wire::cell(0, size);
        let mut batch = DatagramBatch::new(64, size + 64);
        loop {
            let n = batch.receive(&socket);
            counters.datagrams.fetch_add(n as u64, Relaxed);
            if verify {
                let wrong = batch.received(n).filter(|d| d.len() != size || d[8..] != constant[8..]).count();
                counters.corrupt.fetch_add(wrong as u64, Relaxed);
            }
        }
    }))
}

/// Waits for one datagram, then sends datagrams of `size` octets to its sender as fast as the host lets it: one by one, or
/// (`run` above 1) that many in one piece that the kernel cuts (UDP_SEGMENT), as fast senders do.
pub fn datagram_source(size: usize, run: usize) -> std::io::Result<Peer> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let port = socket.local_addr()?.port();
    if run > 1 {
        sys::segment_datagrams(&socket, size)?;
    }
    Ok(spawn(port, move |counters| {
        let (_, from) = socket.recv_from(&mut [0; 64])?;
        socket.connect(from)?;
        let mut batch = DatagramBatch::new(if run > 1 { 1 } else { 32 }, size * run);
        for buffer in batch.buffers() {
            buffer.chunks_exact_mut(size).for_each(|cell| cell.copy_from_slice(&wire::cell(0, size)));
        }
        let mut number = 0u64;
        loop {
            for cell in batch.buffers().flat_map(|buffer| buffer.chunks_exact_mut(size)) {
                cell[..8].copy_from_slice(&number.to_be_bytes());
                number += 1;
            }
            counters.datagrams.fetch_add((batch.send(&socket) * run) as u64, Relaxed);
        }
    }))
}

/// Ports on which the holder of idle connections listens.
const HOLDER_PORTS: u64 = 4;

/// A process of its own that accepts any number of connections, echoes what comes and keeps them open.
/// It ends when this value is dropped (or this process dies), because its standard input then ends.
pub struct Holder {
    /// Several, as the kernel looks for a free port the longer the more of those towards one port are taken.
    pub ports: Vec<u16>,
    child: Child,
}

impl Holder {
    pub fn start() -> Result<Holder, String> {
        let exe = std::env::current_exe().map_err(|e| e.to_string())?;
        let mut child = Command::new(exe)
            .arg("--holder")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("holder process: {e}"))?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line).map_err(|e| e.to_string())?;
        }
        let ports: Vec<u16> = line.split_whitespace().filter_map(|port| port.parse().ok()).collect();
        let holder = Holder { ports, child };
        if holder.ports.is_empty() { Err(format!("holder process said {line:?}")) } else { Ok(holder) }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The holder process's main.
pub fn holder_main() -> std::io::Result<()> {
    sys::raise_descriptor_limit();
    sys::pin(PEER_CPU);
    let listeners = (0..HOLDER_PORTS).map(|_| listener()).collect::<std::io::Result<Vec<_>>>()?;
    let ports: Vec<String> = listeners.iter().map(|(_, port)| port.to_string()).collect();
    println!("{}", ports.join(" "));
    const STDIN: u64 = u64::MAX;
    let mut epoll = Epoll::new()?;
    epoll.add(&std::io::stdin(), false, STDIN)?;
    for (key, (listener, _)) in (STDIN - HOLDER_PORTS..STDIN).zip(&listeners) {
        epoll.add(listener, false, key)?;
    }
    let (mut ready, mut buf) = (Vec::new(), [0u8; 65_536]);
    let mut streams: Vec<Option<TcpStream>> = Vec::new();
    loop {
        epoll.wait(&mut ready);
        for key in &ready {
            if *key == STDIN {
                return Ok(());
            }
            if *key >= STDIN - HOLDER_PORTS {
                let Some((listener, _)) = listeners.get((*key - (STDIN - HOLDER_PORTS)) as usize) else { continue };
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                epoll.add(&stream, false, streams.len() as u64)?;
                streams.push(Some(stream));
                continue;
            }
            let Some(slot) = streams.get_mut(*key as usize) else { continue };
            let alive = match slot.as_mut().map(|stream| stream.read(&mut buf)) {
                Some(Ok(n)) if n > 0 => slot.as_mut().is_some_and(|stream| stream.write_all(&buf[..n]).is_ok()),
                _ => false,
            };
            if !alive {
                *slot = None;
            }
        }
    }
}
