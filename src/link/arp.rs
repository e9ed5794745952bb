//! ARP (RFC 826) as the virtual hosts speak it (contract/ethernet-arp-ndp.md section 3).

use std::net::Ipv4Addr;

use smoltcp::wire::EthernetAddress;

use super::addresses::mac_of_ipv4;
use super::neighbor::NeighborTable;
use crate::wire::header::{ETHERNET_LEN, ETHERTYPE_ARP, MIN_FRAME_LEN};
use crate::wire::subnet::Ipv4Subnet;

/// Length of an ARP message for IPv4 over Ethernet.
const ARP_LEN: usize = 28;
/// Length of a frame with such a message, before padding.
const ARP_FRAME_LEN: usize = ETHERNET_LEN + ARP_LEN;
/// Length of the frames in which replies are sent.
pub const REPLY_LEN: usize = 64;
/// Length of the frames in which requests are sent.
pub const REQUEST_LEN: usize = MIN_FRAME_LEN;

/// Operation: request.
const REQUEST: u16 = 1;
/// Operation: reply.
const REPLY: u16 = 2;

/// What a frame of the guest leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArpAction {
    /// Nothing.
    None,
    /// The table now knows this neighbor; frames that wait for it can leave.
    Learned(Ipv4Addr),
    /// The frame to send. If `learned` is set, the table also knows this neighbor now.
    Reply {
        /// The whole Ethernet frame.
        frame: [u8; REPLY_LEN],
        /// The sender, unless it may not be stored.
        learned: Option<Ipv4Addr>,
    },
}

/// Handles an ARP frame of the guest, Ethernet header included.
///
/// `is_ours` tells whether an address belongs to a virtual host: the gateway, the name server or a guest forward.
/// Hardware type, protocol type and address lengths are not looked at.
pub fn on_arp(
    frame: &[u8],
    subnet: &Ipv4Subnet,
    is_ours: impl Fn(Ipv4Addr) -> bool,
    neighbors: &mut NeighborTable,
) -> ArpAction {
    let Some(frame) = frame.first_chunk::<ARP_FRAME_LEN>() else { return ArpAction::None };
    let operation = u16::from_be_bytes([frame[20], frame[21]]);
    let sender_mac = mac_at(frame, 22);
    let sender = ipv4_at(frame, 28);
    let target = ipv4_at(frame, 38);
    let asks_for_us = subnet.contains(target) && is_ours(target);
    let gratuitous = operation == REQUEST && sender == target;
    if operation != REPLY && !gratuitous && !(operation == REQUEST && asks_for_us) {
        return ArpAction::None;
    }
    let learned = neighbors.learn_ipv4(sender, sender_mac, subnet, &is_ours).then_some(sender);
    if operation == REPLY || gratuitous {
        return learned.map_or(ArpAction::None, ArpAction::Learned);
    }
    let mac = mac_of_ipv4(target);
    let mut reply = [0; REPLY_LEN];
    emit(&mut reply, mac_at(frame, 6), REPLY, (mac, target), (sender_mac, sender));
    ArpAction::Reply { frame: reply, learned }
}

/// The frame in which the virtual host `vhost` asks for the Ethernet address of `target`.
pub fn request(vhost: Ipv4Addr, target: Ipv4Addr) -> [u8; REQUEST_LEN] {
    let mut frame = [0; REQUEST_LEN];
    let nobody = EthernetAddress([0; 6]);
    emit(&mut frame, EthernetAddress::BROADCAST, REQUEST, (mac_of_ipv4(vhost), vhost), (nobody, target));
    frame
}

fn mac_at(frame: &[u8; ARP_FRAME_LEN], at: usize) -> EthernetAddress {
    let mut mac = [0; 6];
    mac.copy_from_slice(&frame[at..at + 6]);
    EthernetAddress(mac)
}

fn ipv4_at(frame: &[u8; ARP_FRAME_LEN], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(frame[at], frame[at + 1], frame[at + 2], frame[at + 3])
}

/// Writes Ethernet header and ARP message; the rest of the frame stays as it is.
fn emit<const N: usize>(
    frame: &mut [u8; N],
    dst: EthernetAddress,
    operation: u16,
    sender: (EthernetAddress, Ipv4Addr),
    target: (EthernetAddress, Ipv4Addr),
) {
    const { assert!(N >= ARP_FRAME_LEN) };
    frame[0..6].copy_from_slice(&dst.0);
    frame[6..12].copy_from_slice(&sender.0.0);
    frame[12..14].copy_from_slice(&ETHERTYPE_ARP.to_be_bytes());
    // Hardware type Ethernet, protocol type IPv4, address lengths 6 and 4.
    frame[14..20].copy_from_slice(&[0, 1, 8, 0, 6, 4]);
    frame[20..22].copy_from_slice(&operation.to_be_bytes());
    frame[22..28].copy_from_slice(&sender.0.0);
    frame[28..32].copy_from_slice(&sender.1.octets());
    frame[32..38].copy_from_slice(&target.0.0);
    frame[38..42].copy_from_slice(&target.1.octets());
}
