//! The DHCP server: any messages at any times. Answers are well formed, addresses come from the pool, and no two
//! machines hold one.
//!
//! Input: one byte for the configuration, then records: time, length (two bytes), the message.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use slirp::service::dhcp::{Config, Dhcp, REPLY_LEN, SLOTS};
use slirp::time::Instant;

use crate::input::Input;

const FIRST: u32 = u32::from_be_bytes([10, 0, 2, 15]);
const FIXED_LEN: usize = 236;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let shape = input.u8();
    let text = |bit: u8, len: usize| (shape & bit != 0).then(|| vec![b'x'; len]);
    let mut dhcp = Dhcp::new(Config {
        vhost: Ipv4Addr::new(10, 0, 2, 2),
        vnetwork: Ipv4Addr::new(10, 0, 2, 0),
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
    });
    let mut now = Instant::ZERO;
    for _ in 0..256 {
        if input.is_empty() {
            break;
        }
        now += input.duration();
        let len = input.u16().into();
        let message = input.bytes(len);
        let Some(reply) = dhcp.on_message(message, now) else { continue };
        assert!(message.len() >= FIXED_LEN, "a message of {} bytes was answered", message.len());
        check(&reply.payload, message);
        if let Some((address, mac)) = reply.lease {
            assert!(in_pool(address), "{address} was leased");
            assert!(mac.is_unicast(), "{address} was leased to {mac}");
        }
        let held: Vec<_> = dhcp.slots().into_iter().flatten().collect();
        let machines: HashSet<_> = held.iter().map(|mac| mac.0).collect();
        assert_eq!(machines.len(), held.len(), "a machine holds two addresses");
    }
}

fn in_pool(address: Ipv4Addr) -> bool {
    (FIRST..FIRST + SLOTS as u32).contains(&address.to_bits())
}

fn check(reply: &[u8; REPLY_LEN], request: &[u8]) {
    assert_eq!((reply[0], &reply[4..8], &reply[28..34]), (2, &request[4..8], &request[28..34]));
    assert_eq!(reply[FIXED_LEN..FIXED_LEN + 4], [0x63, 0x82, 0x53, 0x63]);
    let mut options = &reply[FIXED_LEN + 4..];
    loop {
        match options {
            [255, rest @ ..] => break assert!(rest.iter().all(|byte| *byte == 0), "bytes after the end option"),
            [0, rest @ ..] => options = rest,
            [_, len, rest @ ..] => options = rest.get(usize::from(*len)..).expect("an option fits"),
            _ => panic!("the options do not end"),
        }
    }
}
