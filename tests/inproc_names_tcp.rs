//! The virtual name server over TCP, through the C ABI: queries in any pieces, guests that end or do not read.

mod common;
#[path = "common/names.rs"]
mod names;
use common::*;
use names::*;
use std::net::IpAddr;

/// The name server over TCP, at the same address as over UDP.
fn tcp_server() -> TcpListener {
    let listener = TcpListener::bind((SERVER, 53)).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

/// A message with its length before it.
fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

/// The guest's connection with the name server, and what has come on it and was not looked at.
struct Asking<'a> {
    i: &'a Instance,
    conn: Conn,
    bytes: Vec<u8>,
}

impl Asking<'_> {
    fn new(i: &Instance) -> Asking<'_> {
        Asking { i, conn: Conn::connect(i, at(VDNS, 53)), bytes: Vec::new() }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.conn.data(self.i, bytes);
    }

    /// The next message.
    fn hear(&mut self) -> Vec<u8> {
        loop {
            let whole = self.bytes.first_chunk().map(|length| 2 + usize::from(u16::from_be_bytes(*length)));
            match whole.filter(|whole| self.bytes.len() >= *whole) {
                Some(whole) => return self.bytes.drain(..whole).skip(2).collect(),
                None => self.bytes.extend(self.conn.receive(self.i, 1).1),
            }
        }
    }
}

/// The next query at the server.
fn hear_query(i: &Instance, host: &mut TcpStream) -> Vec<u8> {
    let length = host_read(i, host, 2);
    host_read(i, host, u16::from_be_bytes([length[0], length[1]]).into())
}

#[test]
fn names_over_tcp_are_judged_however_the_queries_come() {
    if !names("names_over_tcp_are_judged_however_the_queries_come") {
        return;
    }
    let (i, _udp) = allowed("");
    let server = tcp_server();
    let (_open, open) = listener("127.0.0.5");
    let mut guest = Asking::new(&i);
    // Nobody is asked for nothing.
    i.settle();
    assert!(server.accept().is_err());
    let good = query(1, "www.allowed.test", A);
    let second = query(3, "x.allowed.test", AAAA);
    // One behind the other, in one segment.
    guest.say(&[framed(&query(2, "denied.test", A)), framed(&good), framed(&second)].concat());
    let refused = guest.hear();
    assert_eq!((refused[1], read(&refused)), (2, (REFUSED, vec![])));
    let mut host = accept(&i, &server);
    assert_eq!(hear_query(&i, &mut host), good);
    assert_eq!(hear_query(&i, &mut host), second);
    // Answers come in any order, in pieces, and with what was not asked for.
    let records = [address("www.allowed.test", "127.0.0.5", 300), address("denied.test", "127.0.0.6", 300)];
    let unasked = answer(&query(1, "y.allowed.test", A), &[address("y.allowed.test", "127.0.0.6", 300)]);
    let all = [framed(&answer(&second, &[])), framed(&unasked), framed(&answer(&good, &records))].concat();
    for piece in all.chunks(7) {
        assert_eq!(host_write_some(&mut host, piece), piece.len());
        i.settle();
    }
    assert_eq!(guest.hear()[..2], [0, 3]);
    assert_eq!(read(&guest.hear()), (0, vec!["127.0.0.5".parse().unwrap()]));
    assert!(reaches(&i, open) && !reaches(&i, at(Ipv4Addr::new(127, 0, 0, 6), 80)));
    // Byte by byte, and a query that is none.
    for byte in framed(&query(4, "Denied.test", A)).chunks(1) {
        guest.say(byte);
    }
    assert_eq!(guest.hear()[3] & 15, REFUSED);
    let mut two = query(5, "www.allowed.test", A);
    two[5] = 2;
    guest.say(&framed(&two));
    assert_eq!(guest.hear()[3] & 15, 1);
    i.settle();
    assert_eq!(host_write_some(&mut host, b""), 0);
    host_idle(&mut host);
}

#[test]
fn names_over_tcp_are_answered_after_the_guest_has_ended() {
    if !names("names_over_tcp_are_answered_after_the_guest_has_ended") {
        return;
    }
    let (i, _udp) = allowed("");
    let server = tcp_server();
    let mut guest = Asking::new(&i);
    let asked = query(1, "www.allowed.test", A);
    guest.say(&framed(&asked));
    guest.conn.send(&i, FIN | ACK, b"");
    let mut host = accept(&i, &server);
    assert_eq!(hear_query(&i, &mut host), asked);
    let reply = answer(&asked, &[address("www.allowed.test", "127.0.0.5", 300)]);
    host_write_some(&mut host, &framed(&reply));
    assert_eq!(guest.conn.receive(&i, framed(&reply).len()).1, framed(&reply));
    guest.conn.expect_fin(&i);
    assert_eq!(host_end(&i, &mut host), (Vec::new(), End::Eof));
}

#[test]
fn names_over_tcp_without_a_server_fail() {
    if !names("names_over_tcp_without_a_server_fail") {
        return;
    }
    let (i, _udp) = allowed("");
    let mut guest = Asking::new(&i);
    guest.say(&framed(&query(1, "www.allowed.test", A)));
    assert_eq!(guest.hear()[..4], [0, 1, 0x81, 0x82]);
    // One that goes while it is asked, and one that says nothing.
    let server = tcp_server();
    guest.say(&framed(&query(2, "www.allowed.test", A)));
    let mut host = accept(&i, &server);
    hear_query(&i, &mut host);
    drop(host);
    assert_eq!(guest.hear()[..4], [0, 2, 0x81, 0x82]);
    guest.say(&framed(&query(3, "www.allowed.test", A)));
    let mut host = accept(&i, &server);
    hear_query(&i, &mut host);
    for _ in 0..3 {
        i.move_clock(Duration::from_secs(4));
        i.settle();
    }
    assert_eq!(guest.hear()[..4], [0, 3, 0x81, 0x82]);
    assert_eq!(host_end(&i, &mut host), (Vec::new(), End::Eof));
    // The connection is there still.
    guest.say(&framed(&query(4, "denied.test", A)));
    assert_eq!(guest.hear()[3] & 15, REFUSED);
}

#[test]
fn names_over_tcp_of_a_guest_that_does_not_read_are_bounded() {
    if !names("names_over_tcp_of_a_guest_that_does_not_read_are_bounded") {
        return;
    }
    let (i, _udp) = allowed("");
    let server = tcp_server();
    let mut guest = Asking::new(&i);
    let asked = query(1, "www.allowed.test", A);
    let burst = framed(&asked).repeat(20);
    guest.say(&burst);
    let mut host = accept(&i, &server);
    // As many as are waited for at one time, and no more until they are answered.
    for _ in 0..30 {
        guest.say(&burst);
        i.settle();
    }
    let mut heard = 0;
    let mut buffer = vec![0; 1 << 20];
    while let Ok(count) = std::io::Read::read(&mut host, &mut buffer) {
        heard += count;
        i.settle();
    }
    assert_eq!(heard, 64 * framed(&asked).len());
    for _ in 0..3 {
        host_write_some(&mut host, &framed(&answer(&asked, &[])));
        hear_query(&i, &mut host);
    }
}

#[test]
fn names_of_ones_own_are_answered_over_tcp() {
    if !names("names_of_ones_own_are_answered_over_tcp") {
        return;
    }
    let (i, _udp) = own("[dns]\nrecords = [{ name = 'db.test', a = '10.0.2.2' }]\n");
    let server = tcp_server();
    let mut guest = Asking::new(&i);
    guest.say(&framed(&query(1, "db.test", A)));
    assert_eq!(read(&guest.hear()).1, ["10.0.2.2".parse::<IpAddr>().unwrap()]);
    i.settle();
    assert!(server.accept().is_err());
    // What is no query of the DNS goes on as ever, and so does its answer.
    guest.say(&framed(b"anything"));
    let mut host = accept(&i, &server);
    assert_eq!(hear_query(&i, &mut host), b"anything");
    host_write_some(&mut host, &framed(b"whatever"));
    assert_eq!(guest.hear(), b"whatever");
}
