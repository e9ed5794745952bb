//! Packets of the guest for the tests of this room.

use std::net::Ipv4Addr;

use crate::wire::checksum::Checksum;

/// The virtual host.
pub(super) const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// The guest.
pub(super) const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);

fn checksum(bytes: &[u8]) -> [u8; 2] {
    let mut checksum = Checksum::new();
    checksum.add(bytes);
    checksum.finish().to_be_bytes()
}

/// Sets the header checksum as far as the header is there.
pub(super) fn fix_checksum(packet: &mut [u8]) {
    let header_len = (usize::from(packet[0] & 0x0f) * 4).clamp(20, packet.len());
    packet[10..12].fill(0);
    let value = checksum(&packet[..header_len]);
    packet[10..12].copy_from_slice(&value);
}

/// A packet from the guest to the virtual host: identification 99, TTL 64.
pub(super) fn packet(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x45, 0, 0, 0, 0, 99, 0, 0, 64, protocol, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2];
    bytes.extend_from_slice(payload);
    let total_len = u16::try_from(bytes.len()).unwrap();
    bytes[2..4].copy_from_slice(&total_len.to_be_bytes());
    fix_checksum(&mut bytes);
    bytes
}

/// An ICMP message with its checksum set.
pub(super) fn icmp(message_type: u8, code: u8, rest: &[u8]) -> Vec<u8> {
    let mut message = vec![message_type, code, 0, 0];
    message.extend_from_slice(rest);
    let value = checksum(&message);
    message[2..4].copy_from_slice(&value);
    message
}

/// An echo request with id 0x1234 and sequence number 1.
pub(super) fn echo_request(data: &[u8]) -> Vec<u8> {
    packet(1, &icmp(8, 0, &[&[0x12, 0x34, 0, 1], data].concat()))
}

/// `packet` with its 20-byte header extended by `options`.
pub(super) fn with_options(packet: &[u8], options: &[u8]) -> Vec<u8> {
    assert!(options.len().is_multiple_of(4));
    let mut bytes = [&packet[..20], options, &packet[20..]].concat();
    bytes[0] = 0x45 + u8::try_from(options.len() / 4).unwrap();
    let total_len = u16::try_from(bytes.len()).unwrap();
    bytes[2..4].copy_from_slice(&total_len.to_be_bytes());
    fix_checksum(&mut bytes);
    bytes
}

/// The fragment of `packet` (20-byte header) that carries its payload bytes `offset..end`, with `options`.
pub(super) fn piece(packet: &[u8], offset: usize, end: usize, options: &[u8]) -> Vec<u8> {
    let more = end + 20 < packet.len();
    let mut bytes = with_options(&[&packet[..20], &packet[20 + offset..20 + end]].concat(), options);
    let field = u16::try_from(offset / 8).unwrap() | if more { 0x2000 } else { 0 };
    bytes[6..8].copy_from_slice(&field.to_be_bytes());
    fix_checksum(&mut bytes);
    bytes
}
