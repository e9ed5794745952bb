//! Rules that want the server's name in a ClientHello of QUIC (`tls = "sni"` over UDP), through the C ABI: which datagrams get to the
//! host, and which do not, however the hello comes. docs/policy.md says what is promised.

mod common;
use common::config_file::{try_under, under};
use common::*;

use aes::Aes128;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use aes_gcm::Aes128Gcm;
use aes_gcm::aead::AeadInOut;
use hkdf::Hkdf;
use sha2::Sha256;

fn vector(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

/// A ClientHello (RFC 8446 section 4.1.2) with this name and so much beside it.
fn hello(name: &str, beside: usize) -> Vec<u8> {
    let names = vector(&[&[0][..], &vector(name.as_bytes())].concat());
    let extension = |kind: u16, data: &[u8]| [&kind.to_be_bytes()[..], &vector(data)].concat();
    let extensions = [extension(21, &vec![0; beside]), extension(0, &names)].concat();
    let body = [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0x13, 1], &[1, 0], &vector(&extensions)].concat();
    [&[1][..], &(body.len() as u32).to_be_bytes()[1..], &body].concat()
}

/// The salt and the version of QUIC of RFC 9001 section 5.2.
const SALT: [u8; 20] = [
    0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f,
    0x0a,
];

fn expand(secret: &Hkdf<Sha256>, label: &str, to: &mut [u8]) {
    let label = format!("tls13 {label}");
    let info = [&(to.len() as u16).to_be_bytes()[..], &[label.len() as u8], label.as_bytes(), &[0]].concat();
    secret.expand(&info, to).unwrap();
}

/// An Initial packet with these frames, of the connection whose first one went to `first`; this one goes to `to`.
fn initial_to(first: &[u8], to: &[u8], number: u32, frames: &[u8]) -> Vec<u8> {
    let (mut secret, mut key, mut iv, mut hp) = ([0; 32], [0; 16], [0; 12], [0; 16]);
    expand(&Hkdf::new(Some(&SALT), first), "client in", &mut secret);
    let client = Hkdf::from_prk(&secret).unwrap();
    expand(&client, "quic key", &mut key);
    expand(&client, "quic iv", &mut iv);
    expand(&client, "quic hp", &mut hp);
    let length = ((4 + frames.len() + 16) as u16 | 0x4000).to_be_bytes();
    let ids = [&[to.len() as u8][..], to, &[3, 7, 7, 7, 0]].concat();
    let mut header = [&[0xc3, 0, 0, 0, 1][..], &ids, &length, &number.to_be_bytes()].concat();
    iv[8..].iter_mut().zip(number.to_be_bytes()).for_each(|(byte, other)| *byte ^= other);
    let mut payload = frames.to_vec();
    Aes128Gcm::new(&Array(key)).encrypt_in_place(&Array(iv), &header, &mut payload).unwrap();
    let mut mask = Array(*payload.first_chunk::<16>().unwrap());
    Aes128::new(&Array(hp)).encrypt_block(&mut mask);
    header[0] ^= mask[0] & 15;
    let number_at = header.len() - 4;
    header[number_at..].iter_mut().zip(&mask[1..]).for_each(|(byte, mask)| *byte ^= mask);
    [header, payload].concat()
}

const FIRST: &[u8] = &[1, 2, 3, 4, 5, 6, 7, 8];

fn initial(number: u32, frames: &[u8]) -> Vec<u8> {
    initial_to(FIRST, FIRST, number, frames)
}

fn crypto(at: usize, bytes: &[u8]) -> Vec<u8> {
    let number = |number: usize| (number as u16 | 0x4000).to_be_bytes();
    [&[6][..], &number(at), &number(bytes.len()), bytes].concat()
}

/// One packet that says it all.
fn whole(name: &str) -> Vec<u8> {
    initial(0, &[crypto(0, &hello(name, 100)), vec![0; 800]].concat())
}

/// What comes when the connection has begun: a packet of the handshake, and one behind it.
const HANDSHAKE: &[u8] = &[0xe0, 0, 0, 0, 1, 0, 0, 1, 9];
const SHORT: &[u8] = &[0x40, 1, 2, 3, 4, 5, 6, 7, 8, 9];

fn only_named(port: u16) -> Box<Instance> {
    under(&format!(
        "[[policy.rule]]\naction = 'allow'\nhost = '127.0.0.1'\nhost-port = {port}\nname = ['*.example.org', 'a.org']\ntls = 'sni'\n"
    ))
}

fn send(i: &Instance, from: u16, port: u16, data: &[u8]) {
    i.input(&udp_frame(from, at_vhost(port), data));
}

fn is_refused(i: &Instance, host: &UdpSocket, from: u16, port: u16, datagrams: &[Vec<u8>], what: &str) {
    datagrams.iter().for_each(|one| send(i, from, port, one));
    assert_eq!(i.wait_icmp(what).1.code, 13, "{what}");
    host_gets_nothing(i, host);
}

#[test]
fn quic_a_name_of_the_rule_gets_through_however_it_comes() {
    let (host, port) = udp_peer();
    let i = only_named(port);
    let message = hello("api.example.org", 1500);
    let (first, second) = message.split_at(900);
    let pieces: Vec<u8> = (0..20).rev().flat_map(|at| crypto(at * 10, &message[at * 10..at * 10 + 10])).collect();
    let cases = [
        vec![whole("A.org")],
        vec![initial(0, &crypto(0, first)), initial(1, &crypto(900, second))],
        vec![initial(1, &crypto(900, second)), initial(0, &crypto(0, first))],
        vec![
            initial(0, &pieces),
            initial(1, &crypto(200, &message[200..1000])),
            initial(2, &crypto(1000, &message[1000..])),
        ],
    ];
    for (from, datagrams) in (4000..).zip(cases) {
        for (number, datagram) in datagrams.iter().enumerate() {
            send(&i, from, port, datagram);
            if number + 1 < datagrams.len() {
                host_gets_nothing(&i, &host);
            }
        }
        let mut peer = None;
        for datagram in &datagrams {
            let (got, came_from) = host_recv(&i, &host);
            assert_eq!(&got, datagram, "all of them, in their order");
            assert!(peer.replace(came_from).is_none_or(|before| before == came_from));
        }
        // It is a flow like others now, both ways.
        host.send_to(b"answer", peer.unwrap()).unwrap();
        assert_eq!(i.wait_udp("an answer").1.data, b"answer");
        for datagram in [
            SHORT.to_vec(),
            initial_to(FIRST, &[5; 9], 9, &[2, 0, 0, 0, 0]),
            [HANDSHAKE, SHORT].concat(),
            SHORT.to_vec(),
        ] {
            send(&i, from, port, &datagram);
            assert_eq!(host_recv(&i, &host).0, datagram);
        }
    }
    i.expect_silence();
}

#[test]
fn quic_what_says_no_name_of_the_rule_is_refused() {
    let (host, port) = udp_peer();
    let i = only_named(port);
    let good = hello("a.org", 100);
    let changed = |at: usize, byte: u8| {
        let mut bytes = whole("a.org");
        bytes[at] = byte;
        bytes
    };
    let mut from = 4000;
    for (what, datagrams) in [
        ("another name", vec![whole("evil.com")]),
        ("the name above", vec![whole("example.org")]),
        ("another name in two", {
            let bad = hello("evil.com", 100);
            vec![initial(0, &crypto(0, &bad[..50])), initial(1, &crypto(50, &bad[50..]))]
        }),
        ("another version", vec![changed(4, 9)]),
        ("a version of a draft", vec![changed(1, 0xff)]),
        ("version negotiation", vec![changed(4, 0)]),
        ("a packet that was changed", vec![changed(100, 0)]),
        ("a packet of no connection", vec![SHORT.to_vec()]),
        ("no QUIC", vec![b"\x16\xfe\xfd\0\0".to_vec()]),
        ("nothing", vec![Vec::new()]),
        ("bytes that differ", vec![initial(0, &[crypto(0, &good[..60]), crypto(50, &[9; 20])].concat())]),
        (
            "a packet behind it that begins another",
            vec![[whole("a.org"), initial_to(&[9; 8], &[9; 8], 0, &crypto(0, &hello("evil.com", 9)))].concat()],
        ),
    ] {
        is_refused(&i, &host, from, port, &datagrams, what);
        from += 1;
    }
    // TCP at the same port is judged as ever, and another port not opened.
    let other = udp_peer();
    is_refused(&i, &other.0, from, other.1, &[whole("a.org")], "another port");
}

#[test]
fn quic_another_connection_between_the_same_ends_is_judged() {
    let (host, port) = udp_peer();
    let i = only_named(port);
    send(&i, 4000, port, &whole("a.org"));
    assert_eq!(host_recv(&i, &host).0, whole("a.org"));
    // The same once more, which got lost.
    send(&i, 4000, port, &whole("a.org"));
    assert_eq!(host_recv(&i, &host).0, whole("a.org"));
    let evil = crypto(0, &hello("evil.com", 100));
    let others = [
        initial_to(&[9; 8], &[9; 8], 0, &evil),
        // With the keys of the first one.
        initial(0, &evil),
        [HANDSHAKE, &initial_to(&[9; 8], &[9; 8], 0, &evil)].concat(),
        [0x80, 0, 0, 0, 9, 0, 0].to_vec(),
    ];
    for other in &others {
        is_refused(&i, &host, 4000, port, std::slice::from_ref(other), "another connection");
        // In a run of datagrams as well.
        for datagram in [SHORT, SHORT, SHORT] {
            send(&i, 4000, port, datagram);
        }
        send(&i, 4000, port, other);
        for _ in 0..3 {
            assert_eq!(host_recv(&i, &host).0, SHORT);
        }
        assert_eq!(i.wait_icmp("a refusal").1.code, 13);
        host_gets_nothing(&i, &host);
    }
    // One to a name of the rule goes on, also when the first one has got so far that it has no more of these packets.
    send(&i, 4000, port, HANDSHAKE);
    assert_eq!(host_recv(&i, &host).0, HANDSHAKE);
    for other in &others {
        is_refused(&i, &host, 4000, port, std::slice::from_ref(other), "another connection");
    }
    let second = initial_to(&[8; 8], &[8; 8], 0, &crypto(0, &hello("b.example.org", 100)));
    send(&i, 4000, port, &second);
    assert_eq!(host_recv(&i, &host).0, second);
}

#[test]
fn quic_half_a_hello_is_kept_for_ten_seconds() {
    let (host, port) = udp_peer();
    let i = only_named(port);
    let message = hello("a.org", 100);
    let halves = [initial(0, &crypto(0, &message[..50])), initial(1, &crypto(50, &message[50..]))];
    send(&i, 4000, port, &halves[0]);
    i.advance(Duration::from_secs(11));
    send(&i, 4000, port, &halves[1]);
    host_gets_nothing(&i, &host);
    send(&i, 4000, port, &halves[0]);
    assert_eq!([host_recv(&i, &host).0, host_recv(&i, &host).0], [halves[1].clone(), halves[0].clone()]);
    // A flood of halves of one connection ends in a refusal; of many, in nothing.
    for number in 0..17 {
        send(&i, 4001, port, &initial(number, &crypto(0, &message[..10])));
    }
    assert_eq!(i.wait_icmp("a refusal").1.code, 13);
    for from in 5000..6000 {
        send(&i, from, port, &halves[0]);
    }
    host_gets_nothing(&i, &host);
    i.expect_silence();
}

#[test]
fn quic_a_denied_name_is_refused_and_the_others_go_on() {
    let (host, port) = udp_peer();
    let i = under(&format!(
        "[policy]\ndefault = 'allow'\n[[policy.rule]]\naction = 'deny'\nprotocol = 'udp'\nhost-port = {port}\nname = 'ads.org'\ntls = 'sni'\n"
    ));
    is_refused(&i, &host, 4000, port, &[whole("ads.org")], "a denied name");
    is_refused(&i, &host, 4000, port, &[b"no QUIC".to_vec()], "what cannot be read");
    send(&i, 4000, port, &whole("a.org"));
    assert_eq!(host_recv(&i, &host).0, whole("a.org"));
    let (other, other_port) = udp_peer();
    send(&i, 4000, other_port, b"no QUIC");
    assert_eq!(host_recv(&i, &other).0, b"no QUIC");
}

#[test]
fn quic_rules_that_make_no_sense_are_refused() {
    for text in [
        "protocol = 'udp'\nhttp = 'host'",
        "protocol = 'icmp'\ntls = 'sni'",
        "protocol = 'udp'\nservice = 'dns'\ntls = 'sni'",
    ] {
        let text = format!("[[policy.rule]]\naction = 'allow'\nname = 'a.org'\n{text}\n");
        assert!(try_under(&text, Setup::default()).is_none(), "{text}");
    }
}
