//! ARP (RFC 826) as the virtual hosts speak it (docs/contract/ethernet-arp-ndp.md section 3).

use std::net::Ipv4Addr;

use smoltcp::wire::EthernetAddress;

use super::addresses::mac_of_ipv4;
use super::neighbor::NeighborTable;
use crate::time::Instant;
use crate::wire::header::{ETHERNET_LEN, ETHERTYPE_ARP, MIN_FRAME_LEN};
use crate::wire::subnet::Ipv4Subnet;

/// Length of an ARP message for IPv4 over Ethernet.
const ARP_LEN: usize = 28;
/// Length of a frame with such a message, before padding.
const ARP_FRAME_LEN: usize = ETHERNET_LEN + ARP_LEN;
/// Length of the frames in which replies are sent.
pub(crate) const REPLY_LEN: usize = 64;
/// Length of the frames in which requests are sent.
pub(crate) const REQUEST_LEN: usize = MIN_FRAME_LEN;

/// Operation: request.
const REQUEST: u16 = 1;
/// Operation: reply.
const REPLY: u16 = 2;

/// What a frame of the guest leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ArpAction {
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

/// Who answers whom in an ARP reply.
pub(crate) fn reply_of(frame: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let frame = frame.first_chunk::<ARP_FRAME_LEN>()?;
    (frame[20..22] == REPLY.to_be_bytes()).then(|| (ipv4_at(frame, 28), ipv4_at(frame, 38)))
}

/// Handles an ARP frame of the guest, Ethernet header included.
///
/// `is_ours` tells whether an address belongs to a virtual host: the gateway, the name server or a guest forward.
/// Hardware type, protocol type and address lengths are not looked at.
pub(crate) fn on_arp(
    frame: &[u8],
    subnet: &Ipv4Subnet,
    is_ours: impl Fn(Ipv4Addr) -> bool,
    neighbors: &mut NeighborTable,
    now: Instant,
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
    let learned = neighbors.learn_ipv4(sender, sender_mac, subnet, &is_ours, Some(now)).then_some(sender);
    if operation == REPLY || gratuitous {
        return learned.map_or(ArpAction::None, ArpAction::Learned);
    }
    let mac = mac_of_ipv4(target);
    let mut reply = [0; REPLY_LEN];
    emit(&mut reply, mac_at(frame, 6), REPLY, (mac, target), (sender_mac, sender));
    ArpAction::Reply { frame: reply, learned }
}

/// The frame in which the virtual host `vhost` asks for the Ethernet address of `target`.
pub(crate) fn request(vhost: Ipv4Addr, target: Ipv4Addr) -> [u8; REQUEST_LEN] {
    request_at(vhost, target, EthernetAddress::BROADCAST)
}

/// The same, sent only to where `target` is known to be (RFC 1122 section 2.3.2.1).
pub(crate) fn request_at(vhost: Ipv4Addr, target: Ipv4Addr, dst: EthernetAddress) -> [u8; REQUEST_LEN] {
    let mut frame = [0; REQUEST_LEN];
    let nobody = EthernetAddress([0; 6]);
    emit(&mut frame, dst, REQUEST, (mac_of_ipv4(vhost), vhost), (nobody, target));
    frame
}

fn mac_at(frame: &[u8; ARP_FRAME_LEN], at: usize) -> EthernetAddress {
    EthernetAddress(frame.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default())
}

fn ipv4_at(frame: &[u8; ARP_FRAME_LEN], at: usize) -> Ipv4Addr {
    Ipv4Addr::from(frame.get(at..).and_then(<[u8]>::first_chunk::<4>).copied().unwrap_or_default())
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VHOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
    const NAMESERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
    const FORWARD: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 4);
    const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
    const GUEST_MAC: EthernetAddress = EthernetAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

    fn subnet() -> Ipv4Subnet {
        Ipv4Subnet::new(VHOST, Ipv4Addr::new(255, 255, 255, 0))
    }

    /// An ARP frame of the guest, 42 bytes long.
    fn arp(operation: u16, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
        let mut frame = [0; ARP_FRAME_LEN];
        let nobody = EthernetAddress([0; 6]);
        emit(&mut frame, EthernetAddress::BROADCAST, operation, (GUEST_MAC, sender), (nobody, target));
        frame.to_vec()
    }

    fn give(frame: &[u8], neighbors: &mut NeighborTable) -> ArpAction {
        on_arp(frame, &subnet(), |address| address == VHOST || address == NAMESERVER, neighbors, Instant::ZERO)
    }

    fn reply_source(action: &ArpAction) -> Option<[u8; 6]> {
        match action {
            ArpAction::Reply { frame, .. } => Some(frame[6..12].try_into().unwrap()),
            _ => None,
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn who_has_10_0_2_2_gets_a_64_byte_reply() {
        let mut neighbors = NeighborTable::new();
        let action = give(&arp(1, GUEST, VHOST), &mut neighbors);
        let ArpAction::Reply { frame, learned } = action else { panic!("{action:?}") };
        assert_eq!(
            hex(&frame),
            "52540012345652550a0002020806\
             000108000604000252550a0002020a0002025254001234560a00020f\
             00000000000000000000000000000000000000000000"
        );
        assert_eq!(learned, Some(GUEST));
        assert!(neighbors.iter_ipv4().eq([(GUEST, GUEST_MAC)]));
    }

    #[test]
    fn who_has_10_0_2_3_is_answered_and_10_0_2_4_only_with_a_guest_forward() {
        let mut neighbors = NeighborTable::new();
        let action = give(&arp(1, GUEST, NAMESERVER), &mut neighbors);
        assert_eq!(reply_source(&action), Some([0x52, 0x55, 10, 0, 2, 3]));

        let mut neighbors = NeighborTable::new();
        assert_eq!(give(&arp(1, GUEST, FORWARD), &mut neighbors), ArpAction::None);
        assert_eq!(neighbors.iter_ipv4().count(), 0);
        let action =
            on_arp(&arp(1, GUEST, FORWARD), &subnet(), |address| address == FORWARD, &mut neighbors, Instant::ZERO);
        assert_eq!(reply_source(&action), Some([0x52, 0x55, 10, 0, 2, 4]));
    }

    #[test]
    fn gratuitous_arp_is_learned_without_a_reply() {
        let mut neighbors = NeighborTable::new();
        assert_eq!(give(&arp(1, GUEST, GUEST), &mut neighbors), ArpAction::Learned(GUEST));
        assert_eq!(give(&arp(1, VHOST, VHOST), &mut neighbors), ArpAction::None);
        assert!(neighbors.iter_ipv4().eq([(GUEST, GUEST_MAC)]));
    }

    #[test]
    fn a_probe_for_the_guests_own_address_is_silent_and_one_for_vhost_is_answered() {
        let mut neighbors = NeighborTable::new();
        assert_eq!(give(&arp(1, Ipv4Addr::UNSPECIFIED, GUEST), &mut neighbors), ArpAction::None);
        let action = give(&arp(1, Ipv4Addr::UNSPECIFIED, VHOST), &mut neighbors);
        assert!(matches!(action, ArpAction::Reply { learned: None, .. }), "{action:?}");
        assert_eq!(neighbors.iter_ipv4().count(), 0);
    }

    #[test]
    fn frames_of_41_bytes_other_operations_and_targets_outside_are_silent() {
        let mut neighbors = NeighborTable::new();
        assert_eq!(give(&arp(1, GUEST, VHOST)[..41], &mut neighbors), ArpAction::None);
        for operation in [0, 3, 4, 8, 0x100, 0xffff] {
            assert_eq!(give(&arp(operation, GUEST, VHOST), &mut neighbors), ArpAction::None, "op {operation}");
        }
        let outside = arp(1, GUEST, Ipv4Addr::new(10, 0, 3, 2));
        assert_eq!(on_arp(&outside, &subnet(), |_| true, &mut neighbors, Instant::ZERO), ArpAction::None);
        assert_eq!(neighbors.iter_ipv4().count(), 0);
    }

    #[test]
    fn wrong_hardware_type_or_length_is_answered_anyway() {
        let mut neighbors = NeighborTable::new();
        let mut frame = arp(1, GUEST, VHOST);
        frame[14..20].copy_from_slice(&[0xff, 0xff, 0x12, 0x34, 7, 9]);
        let ArpAction::Reply { frame, .. } = give(&frame, &mut neighbors) else { panic!("no reply") };
        assert_eq!(frame[14..22], [0, 1, 8, 0, 6, 4, 0, 2]);
    }

    #[test]
    fn the_reply_goes_to_the_frames_source_and_names_the_messages_sender() {
        let mut request = arp(1, GUEST, VHOST);
        request[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
        let ArpAction::Reply { frame, .. } = give(&request, &mut NeighborTable::new()) else { panic!("no reply") };
        assert_eq!(frame[0..6], [2, 0, 0, 0, 0, 9]);
        assert_eq!(frame[32..38], GUEST_MAC.0);
    }

    #[test]
    fn a_reply_is_learned_even_from_outside_the_network_but_not_for_our_addresses() {
        let mut neighbors = NeighborTable::new();
        let outside = Ipv4Addr::new(8, 8, 8, 8);
        assert_eq!(give(&arp(2, outside, VHOST), &mut neighbors), ArpAction::Learned(outside));
        assert_eq!(give(&arp(2, VHOST, GUEST), &mut neighbors), ArpAction::None);
        assert_eq!(give(&arp(2, NAMESERVER, NAMESERVER), &mut neighbors), ArpAction::None);
        assert!(neighbors.iter_ipv4().eq([(outside, GUEST_MAC)]));
    }

    #[test]
    fn a_request_of_the_library_is_60_bytes() {
        assert_eq!(
            hex(&request(VHOST, GUEST)),
            "ffffffffffff52550a0002020806\
             000108000604000152550a0002020a0002020000000000000a00020f\
             000000000000000000000000000000000000"
        );
    }

    proptest! {
        #[test]
        fn any_frame_is_harmless(mut frame in prop::collection::vec(any::<u8>(), 0..100), operation in 0u8..4, ours in any::<bool>()) {
            if let Some(field) = frame.get_mut(20..22) {
                field.copy_from_slice(&[0, operation]);
            }
            if let Some(target) = frame.get_mut(38..42) {
                target[..3].copy_from_slice(&[10, 0, 2]);
            }
            let mut neighbors = NeighborTable::new();
            let action = on_arp(&frame, &subnet(), |_| ours, &mut neighbors, Instant::ZERO);
            if frame.len() < 42 {
                prop_assert_eq!(&action, &ArpAction::None);
            }
            prop_assert_eq!(matches!(action, ArpAction::Reply { .. }), ours && frame.len() >= 42 && operation == 1 && frame[28..32] != frame[38..42]);
            prop_assert!(!ours || neighbors.iter_ipv4().count() == 0);
        }
    }
}
