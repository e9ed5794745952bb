//! A name server at a loopback address and a guest that asks it, for tests of names in namespaces of their own. No part of `common`, as
//! few tests have such.

#![allow(dead_code)]

use std::net::IpAddr;
use std::sync::Mutex;

use crate::common::*;

/// The environment is everybody's: instances are made one at a time.
static ENVIRONMENT: Mutex<()> = Mutex::new(());

/// An instance under a file with this text, which asks the name servers at these addresses.
pub fn under(text: &str, servers: &[&str], setup: Setup) -> Box<Instance> {
    let lines: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    std::fs::write(child::resolv_conf_path(), lines).unwrap();
    let _alone = ENVIRONMENT.lock().unwrap_or_else(|poison| poison.into_inner());
    let path = std::env::temp_dir().join(format!("oxislirp-names-{}.toml", std::process::id()));
    std::fs::write(&path, text).unwrap();
    // SAFETY: instances are made here only, by one thread at a time, and nothing else in this program looks at the environment.
    unsafe { std::env::set_var("OXISLIRP_CONFIG", &path) };
    let instance = setup.try_start();
    // SAFETY: as above.
    unsafe { std::env::remove_var("OXISLIRP_CONFIG") };
    std::fs::remove_file(&path).unwrap();
    let i = instance.expect("the file makes sense");
    i.settle();
    i.drain();
    i
}

/// One with names of `allowed.test`, answers with any address, and a name server.
pub fn allowed(rules: &str) -> (Box<Instance>, UdpSocket) {
    let text = format!(
        "[policy]\nrebind = 'allow'\n[[policy.rule]]\naction = 'allow'\nservice = 'dns'\n{rules}\n[[policy.rule]]\n\
         action = 'allow'\nname = ['allowed.test', '*.allowed.test']\n"
    );
    (under(&text, &[SERVER], Setup::default()), server(SERVER))
}

pub const SERVER: &str = "127.0.0.77";
pub const A: u16 = 1;
pub const CNAME: u16 = 5;
pub const AAAA: u16 = 28;
pub const REFUSED: u8 = 5;

pub fn server(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind((address, 53)).expect("port 53 of a new namespace is free");
    socket.set_nonblocking(true).unwrap();
    socket
}

pub fn wire(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut bytes: Vec<u8> = labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    bytes.push(0);
    bytes
}

pub fn query(id: u16, name: &str, kind: u16) -> Vec<u8> {
    [&id.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0], &wire(name), &kind.to_be_bytes(), &[0, 1]].concat()
}

/// A record: its name, its type, how long it counts, and its data.
pub type Record<'a> = (&'a str, u16, u32, Vec<u8>);

pub fn address<'a>(name: &'a str, ip: &str, ttl: u32) -> Record<'a> {
    match ip.parse().unwrap() {
        IpAddr::V4(ip) => (name, A, ttl, ip.octets().to_vec()),
        IpAddr::V6(ip) => (name, AAAA, ttl, ip.octets().to_vec()),
    }
}

pub fn answer(query: &[u8], records: &[Record<'_>]) -> Vec<u8> {
    let mut bytes = query.to_vec();
    (bytes[2], bytes[3], bytes[7]) = (0x81, 0x80, records.len() as u8);
    for (name, kind, ttl, data) in records {
        bytes.extend(wire(name));
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1]);
        bytes.extend(ttl.to_be_bytes());
        bytes.extend((data.len() as u16).to_be_bytes());
        bytes.extend(data);
    }
    bytes
}

/// The code of a reply, and the addresses in it. The names in it are compressed or not.
pub fn read(reply: &[u8]) -> (u8, Vec<IpAddr>) {
    fn skip(reply: &[u8], mut at: usize) -> usize {
        loop {
            match reply[at] {
                0 => return at + 1,
                length if length >= 0xc0 => return at + 2,
                length => at += 1 + length as usize,
            }
        }
    }
    let mut addresses = Vec::new();
    let mut at = 12;
    for _ in 0..reply[5] {
        at = skip(reply, at) + 4;
    }
    for _ in 0..reply[7] {
        at = skip(reply, at);
        let (kind, length) = (reply[at + 1], reply[at + 9] as usize);
        let data = &reply[at + 10..at + 10 + length];
        match kind {
            1 => addresses.push(IpAddr::from(<[u8; 4]>::try_from(data).unwrap())),
            28 => addresses.push(IpAddr::from(<[u8; 16]>::try_from(data).unwrap())),
            _ => {}
        }
        at += 10 + length;
    }
    (reply[3] & 15, addresses)
}

/// What the guest is told when it asks this.
pub fn ask_raw(i: &Instance, server: &UdpSocket, query: &[u8], records: &[Record<'_>]) -> Option<(u8, Vec<IpAddr>)> {
    let port = i.fresh_port();
    i.input(&udp_frame(port, at(VDNS, 53), query));
    i.settle();
    let mut buffer = [0; 512];
    if let Ok((length, from)) = server.recv_from(&mut buffer) {
        assert_eq!(&buffer[..length], query, "the server is asked the same");
        server.send_to(&answer(query, records), from).unwrap();
        i.settle();
    }
    let reply = i.take(|frame| frame.udp())?;
    assert_eq!((reply.src, reply.dst.port()), (at(VDNS, 53), port));
    assert_eq!(reply.data[..2], query[..2]);
    Some(read(&reply.data))
}

/// The same of a name of which nothing is said that was not asked.
pub fn ask(i: &Instance, server: &UdpSocket, name: &str, records: &[Record<'_>]) -> (u8, Vec<IpAddr>) {
    ask_raw(i, server, &query(0x1234, name, A), records).expect("a reply")
}

pub fn nobody_was_asked(i: &Instance, server: &UdpSocket) {
    i.settle();
    assert!(server.recv_from(&mut [0; 512]).is_err(), "a query at the name server");
}

/// A listener at a loopback address that is nobody's otherwise.
pub fn listener(address: &str) -> (TcpListener, SocketAddrV4) {
    let listener = TcpListener::bind((address, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let at = SocketAddrV4::new(address.parse().unwrap(), listener.local_addr().unwrap().port());
    (listener, at)
}

pub fn reaches(i: &Instance, to: SocketAddrV4) -> bool {
    matches!(Conn::try_connect(i, to, &[]), Reply::SynAck(..))
}

/// Time passes as it does for a guest that is there meanwhile.
pub fn pass(i: &Instance, seconds: u64) {
    // A longer step would be one in which nobody had the time to do anything.
    for _ in 0..seconds.div_ceil(4) {
        i.move_clock(Duration::from_secs(4));
        i.settle();
    }
    i.drain();
}

pub fn names(test: &str) -> bool {
    isolated(test, Isolation::Resolver)
}

/// Names of the network's own, and the host's name server.
pub fn own(text: &str) -> (Box<Instance>, UdpSocket) {
    (under(text, &[SERVER], setup6()), server(SERVER))
}

pub const PTR: u16 = 12;
