//! The DHCP server: any messages at any times. Answers are well formed, addresses come from the pool, and no machine
//! gets an address away from another one that was told it may use it, while the lease lasts.
//!
//! Input: one byte for the configuration, then records: time, length (two bytes), the message.

use std::net::Ipv4Addr;

use oxislirp::internals::dhcp::{Config, Dhcp, REPLY_LEN, SLOTS};
use oxislirp::internals::time::{Duration, Instant};

use crate::input::Input;

const FIRST: u32 = u32::from_be_bytes([10, 0, 2, 15]);
const FIXED_LEN: usize = 236;
/// What option 51 says.
const LEASE: Duration = Duration::from_secs(86_400);
/// The message type of RFC 2132 section 9.6.
const ACK: u8 = 5;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let shape = input.u8();
    let text = |bit: u8, len: usize| (shape & bit != 0).then(|| vec![b'x'; len]);
    let mut dhcp = Dhcp::new(Config {
        vhost: Ipv4Addr::new(10, 0, 2, 2),
        vnetmask: Ipv4Addr::new(255, 255, 255, 0),
        vdhcp_start: Ipv4Addr::from(FIRST),
        vnameserver: Ipv4Addr::new(10, 0, 2, 3),
        restricted: shape & 1 != 0,
        hostname: text(2, 40),
        domain: text(4, 200),
        tftp_server_name: text(8, 255),
        tftp_server_addr: None,
        bootfile: text(16, 300),
        search: text(32, 300).unwrap_or_default(),
        mtu: if shape & 64 != 0 { 576 } else { 1500 },
    });
    let mut now = Instant::ZERO;
    // Who was told by an ACK that the address is his, and when.
    let mut confirmed = [None; SLOTS];
    for _ in 0..256 {
        if input.is_empty() {
            break;
        }
        now += input.duration();
        let len = input.u16().into();
        let message = input.bytes(len);
        let reply = dhcp.on_message(message, now);
        let machine = message.get(28..34);
        for (owner, told) in dhcp.slots().iter().zip(&mut confirmed) {
            if let Some((mac, at)) = *told
                && *owner != Some(mac)
            {
                let over = now > at + LEASE;
                assert!(over || machine == Some(&mac.0[..]), "{mac} lost its address to {owner:?}");
                *told = None;
            }
        }
        let Some(reply) = reply else { continue };
        assert!(message.len() >= FIXED_LEN, "a message of {} bytes was answered", message.len());
        let kind = check(&reply.payload, message);
        if let Some((address, mac)) = reply.lease {
            assert!(mac.is_unicast(), "{address} was leased to {mac}");
            assert_eq!(reply.payload[16..20], address.octets());
            let index = address.to_bits().wrapping_sub(FIRST) as usize;
            assert_eq!(dhcp.slots().get(index), Some(&Some(mac)), "{address} was leased");
            if kind == ACK {
                confirmed[index] = Some((mac, now));
            }
        }
    }
}

/// Checks a reply's form and gives its type.
fn check(reply: &[u8; REPLY_LEN], request: &[u8]) -> u8 {
    assert_eq!((reply[0], &reply[4..8], &reply[28..34]), (2, &request[4..8], &request[28..34]));
    assert_eq!(reply[FIXED_LEN..FIXED_LEN + 4], [0x63, 0x82, 0x53, 0x63]);
    let mut kind = 0;
    let mut options = &reply[FIXED_LEN + 4..];
    loop {
        match options {
            [255, rest @ ..] => {
                assert!(rest.iter().all(|byte| *byte == 0), "bytes after the end option");
                return kind;
            }
            [0, rest @ ..] => options = rest,
            [53, 1, value, rest @ ..] => (kind, options) = (*value, rest),
            [_, len, rest @ ..] => options = rest.get(usize::from(*len)..).expect("an option fits"),
            _ => panic!("the options do not end"),
        }
    }
}
