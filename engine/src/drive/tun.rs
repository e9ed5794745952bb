//! A tun device as a link: it carries IP packets, so the Ethernet around them is made and taken off here.
//!
//! The stack asks who has the guest's addresses (ARP, RFC 826; neighbor solicitations, RFC 4861). A device without Ethernet cannot
//! answer that; the link does, for the addresses that it was given and those that the guest's packets come from (of IPv6 it makes
//! some itself). Everything else that is not IP is dropped.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;

use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, Icmpv6Packet,
    Icmpv6Repr, IpProtocol, Ipv4Packet, Ipv6Packet, Ipv6Repr, NdiscNeighborFlags, NdiscRepr,
};

use super::FrameLink;
use super::ending::receive;
use crate::host::fault::Fault;
use crate::host::tap::{Layer, open};
use crate::host::wait::never_block;
use crate::wire::header::ETHERNET_LEN;

/// The Ethernet address of a guest that has none: locally administered.
const GUEST: EthernetAddress = EthernetAddress([0x02, 0, 0, 0, 0, 1]);
/// Where its packets go. The stack takes what goes to a station that it does not know.
const ROUTER: EthernetAddress = EthernetAddress([0x02, 0, 0, 0, 0, 2]);
/// Addresses that are known from the guest's packets at most; the one that was learned first goes first.
const LEARNED: usize = 16;
/// Answers that wait for the stack at most. It asks for few addresses at a time, and asks again.
const ANSWERS: usize = 16;

/// A link over a tun device, or any other descriptor of which each read takes one IP packet and each write gives one.
#[derive(Debug)]
pub struct TunLink {
    device: File,
    is_socket: bool,
    addresses: Vec<IpAddr>,
    learned: VecDeque<IpAddr>,
    /// Frames with answers for the stack.
    answers: Vec<Vec<u8>>,
}

impl TunLink {
    /// Makes a tun device in the network namespace of this thread, or attaches to the one of this name. `addresses` are those that
    /// the guest has or will be given; others are known once a packet comes from them.
    ///
    /// # Errors
    /// As for [`TapLink::open`](super::TapLink::open).
    pub fn open(name: &str, addresses: impl IntoIterator<Item = IpAddr>) -> io::Result<TunLink> {
        TunLink::new(open(name, Layer::Ip)?.into(), addresses)
    }

    /// A link over a tun device that somebody else has opened, with the flag `IFF_NO_PI`. It is made non-blocking.
    ///
    /// # Errors
    /// What the operating system says when it cannot be made non-blocking.
    pub fn new(device: OwnedFd, addresses: impl IntoIterator<Item = IpAddr>) -> io::Result<TunLink> {
        never_block(device.as_raw_fd())?;
        let device = File::from(device);
        Ok(TunLink {
            is_socket: device.metadata()?.file_type().is_socket(),
            device,
            addresses: addresses.into_iter().collect(),
            learned: VecDeque::new(),
            answers: Vec::new(),
        })
    }

    fn is_guest(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address) || self.learned.contains(&address)
    }

    /// A packet has come from this address.
    fn learn(&mut self, source: IpAddr) {
        if source.is_unspecified() || source.is_multicast() || self.is_guest(source) {
            return;
        }
        if self.learned.len() == LEARNED {
            self.learned.pop_front();
        }
        self.learned.push_back(source);
    }

    fn answer(&mut self, answer: Option<Vec<u8>>) {
        if self.answers.len() < ANSWERS {
            self.answers.extend(answer);
        }
    }
}

impl AsFd for TunLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl From<TunLink> for OwnedFd {
    fn from(link: TunLink) -> OwnedFd {
        link.device.into()
    }
}

impl FrameLink for TunLink {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(answer) = self.answers.pop() {
            let length = answer.len().min(buffer.len());
            let (Some(to), Some(from)) = (buffer.get_mut(..length), answer.get(..length)) else { return Ok(0) };
            to.copy_from_slice(from);
            return Ok(length);
        }
        let Some((header, packet)) = buffer.split_at_mut_checked(ETHERNET_LEN) else { return Ok(0) };
        let length = receive(&self.device, self.is_socket, || (&self.device).read(packet))?;
        if length == 0 {
            return Ok(0);
        }
        let packet = packet.get(..length).unwrap_or_default();
        let ethertype = match (Ipv4Packet::new_checked(packet), Ipv6Packet::new_checked(packet)) {
            (Ok(packet), _) if packet.version() == 4 => {
                self.learn(packet.src_addr().into());
                EthernetProtocol::Ipv4
            }
            (_, Ok(packet)) if packet.version() == 6 => {
                self.learn(packet.src_addr().into());
                EthernetProtocol::Ipv6
            }
            // Nothing that the stack can make sense of.
            _ => EthernetProtocol::Ipv4,
        };
        ethernet(ethertype).emit(&mut EthernetFrame::new_unchecked(header));
        Ok(ETHERNET_LEN + length)
    }

    /// As for a tap device.
    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        let Ok(view) = EthernetFrame::new_checked(frame) else { return Ok(()) };
        let packet = view.payload();
        let length = match view.ethertype() {
            EthernetProtocol::Arp => {
                let answer = arp_answer(packet, |address| self.is_guest(address));
                self.answer(answer);
                return Ok(());
            }
            EthernetProtocol::Ipv6 => {
                if let Some(target) = solicited(packet) {
                    let answer = self.is_guest(target.into()).then(|| neighbor_answer(packet, target));
                    self.answer(answer.flatten());
                    return Ok(());
                }
                Ipv6Packet::new_checked(packet).map(|packet| packet.total_len())
            }
            EthernetProtocol::Ipv4 => Ipv4Packet::new_checked(packet).map(|packet| packet.total_len().into()),
            _ => return Ok(()),
        };
        // Without the padding of a short frame.
        let Some(packet) = length.ok().and_then(|length| packet.get(..length)) else { return Ok(()) };
        match self.device.write(packet) {
            Ok(_) => Ok(()),
            // The interface is down, or does not speak this version of IP.
            Err(error) if matches!(Fault::of(&error), Fault::Device | Fault::Invalid) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn has_own_frame(&self) -> bool {
        !self.answers.is_empty()
    }
}

fn ethernet(ethertype: EthernetProtocol) -> EthernetRepr {
    EthernetRepr { src_addr: GUEST, dst_addr: ROUTER, ethertype }
}

/// The answer to an ARP request for one of the guest's addresses.
fn arp_answer(packet: &[u8], is_guest: impl Fn(IpAddr) -> bool) -> Option<Vec<u8>> {
    let ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr,
        source_protocol_addr,
        target_protocol_addr,
        ..
    } = ArpRepr::parse(&ArpPacket::new_checked(packet).ok()?).ok()?
    else {
        return None;
    };
    if !is_guest(target_protocol_addr.into()) {
        return None;
    }
    let answer = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: GUEST,
        source_protocol_addr: target_protocol_addr,
        target_hardware_addr: source_hardware_addr,
        target_protocol_addr: source_protocol_addr,
    };
    let mut frame = vec![0; ETHERNET_LEN + answer.buffer_len()];
    let mut view = EthernetFrame::new_unchecked(&mut frame);
    EthernetRepr { dst_addr: source_hardware_addr, ..ethernet(EthernetProtocol::Arp) }.emit(&mut view);
    answer.emit(&mut ArpPacket::new_unchecked(view.payload_mut()));
    Some(frame)
}

/// The address that a neighbor solicitation asks for.
fn solicited(packet: &[u8]) -> Option<Ipv6Addr> {
    let packet = Ipv6Packet::new_checked(packet).ok().filter(|packet| packet.next_header() == IpProtocol::Icmpv6)?;
    let message = Icmpv6Packet::new_checked(packet.payload()).ok()?;
    match NdiscRepr::parse(&message).ok()? {
        NdiscRepr::NeighborSolicit { target_addr, .. } => Some(target_addr),
        _ => None,
    }
}

/// The advertisement that answers the solicitation in a packet.
fn neighbor_answer(packet: &[u8], target: Ipv6Addr) -> Option<Vec<u8>> {
    let asker = Ipv6Packet::new_checked(packet).ok()?.src_addr();
    let answer = Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
        flags: NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE,
        target_addr: target,
        lladdr: Some(GUEST.into()),
    });
    let header = Ipv6Repr {
        src_addr: target,
        dst_addr: asker,
        next_header: IpProtocol::Icmpv6,
        payload_len: answer.buffer_len(),
        // Only neighbors are believed (RFC 4861 section 7.1.2).
        hop_limit: 255,
    };
    let mut frame = vec![0; ETHERNET_LEN + header.buffer_len() + answer.buffer_len()];
    let mut view = EthernetFrame::new_unchecked(&mut frame);
    ethernet(EthernetProtocol::Ipv6).emit(&mut view);
    let mut packet = Ipv6Packet::new_unchecked(view.payload_mut());
    header.emit(&mut packet);
    answer.emit(
        &target,
        &asker,
        &mut Icmpv6Packet::new_unchecked(packet.payload_mut()),
        &smoltcp::phy::ChecksumCapabilities::default(),
    );
    Some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::Driver;
    use crate::{Config, Stack};
    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::{Icmpv4Packet, Icmpv4Repr, Ipv4Repr};
    use std::net::Ipv4Addr;
    use std::os::unix::net::UnixDatagram;
    use std::time::{Duration, Instant};

    const GUEST4: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
    const GUEST6: Ipv6Addr = Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0x15);

    fn echo4() -> Vec<u8> {
        let (host, checksums) = (Ipv4Addr::new(10, 0, 2, 2), ChecksumCapabilities::default());
        let request = Icmpv4Repr::EchoRequest { ident: 1, seq_no: 2, data: b"hello" };
        let (next_header, payload_len) = (IpProtocol::Icmp, request.buffer_len());
        let header = Ipv4Repr { src_addr: GUEST4, dst_addr: host, next_header, payload_len, hop_limit: 64 };
        let mut bytes = vec![0; header.buffer_len() + payload_len];
        let mut packet = Ipv4Packet::new_unchecked(&mut bytes);
        header.emit(&mut packet, &checksums);
        request.emit(&mut Icmpv4Packet::new_unchecked(packet.payload_mut()), &checksums);
        bytes
    }

    fn echo6() -> Vec<u8> {
        let (host, checksums) = ("fec0::2".parse().unwrap(), ChecksumCapabilities::default());
        let request = Icmpv6Repr::EchoRequest { ident: 1, seq_no: 2, data: b"hello" };
        let (next_header, payload_len) = (IpProtocol::Icmpv6, request.buffer_len());
        let header = Ipv6Repr { src_addr: GUEST6, dst_addr: host, next_header, payload_len, hop_limit: 64 };
        let mut bytes = vec![0; header.buffer_len() + payload_len];
        let mut packet = Ipv6Packet::new_unchecked(&mut bytes);
        header.emit(&mut packet);
        request.emit(&GUEST6, &host, &mut Icmpv6Packet::new_unchecked(packet.payload_mut()), &checksums);
        bytes
    }

    /// The guest has no Ethernet: it sees nothing but its own packets' answers, without a byte behind them.
    #[test]
    fn packets_of_both_versions_are_answered_to_a_device_without_ethernet() {
        for (request, kind_at, reply) in [(echo4(), 20, 0), (echo6(), 40, 129)] {
            let (device, guest) = UnixDatagram::pair().unwrap();
            guest.set_nonblocking(true).unwrap();
            let link = TunLink::new(device.into(), [GUEST4.into(), GUEST6.into()]).unwrap();
            let stack = Stack::new(Config::builder().ipv6(true).build().unwrap()).unwrap();
            let mut driver = Driver::new(stack, link).unwrap();
            guest.send(&request).unwrap();
            let (mut buffer, end) = ([0; 2_000], Instant::now() + Duration::from_secs(10));
            let length = loop {
                assert!(Instant::now() < end, "no answer: {:?}", driver.counts());
                match guest.recv(&mut buffer) {
                    Ok(length) if buffer[kind_at] == reply => break length,
                    _ => driver.run_once(Duration::from_millis(100), drop).unwrap(),
                }
            };
            assert_eq!(length, request.len());
            assert_eq!(buffer[length - 5..length], *b"hello");
        }
    }

    #[test]
    fn addresses_that_are_not_the_guest_s_are_not_answered_for() {
        let (device, _guest) = UnixDatagram::pair().unwrap();
        let mut link = TunLink::new(device.into(), [GUEST4.into()]).unwrap();
        let mut request = crate::drive::test_guest::arp_request();
        link.send(&request).unwrap();
        assert!(!link.has_own_frame(), "10.0.2.2 is asked for");
        request[41] = 15;
        link.send(&request).unwrap();
        let mut answer = [0; 100];
        assert_eq!(link.receive(&mut answer).unwrap(), 42);
        assert_eq!(answer[20..22], [0, 2]);
        assert_eq!(answer[28..32], GUEST4.octets());
        assert_eq!(link.receive(&mut answer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn an_address_that_the_guest_has_made_itself_is_known_from_its_packets() {
        let (device, guest) = UnixDatagram::pair().unwrap();
        let mut link = TunLink::new(device.into(), []).unwrap();
        guest.send(&echo4()).unwrap();
        guest.send(&echo6()).unwrap();
        let mut buffer = [0; 2_000];
        link.receive(&mut buffer).unwrap();
        link.receive(&mut buffer).unwrap();
        assert_eq!(link.learned, [IpAddr::from(GUEST4), IpAddr::from(GUEST6)]);
        for number in 0..100 {
            link.learn(IpAddr::from([192, 0, 2, number]));
        }
        assert_eq!(link.learned.len(), LEARNED);
        assert!(link.is_guest(IpAddr::from([192, 0, 2, 99])) && !link.is_guest(GUEST4.into()));
    }

    #[test]
    fn questions_that_nobody_reads_the_answers_of_are_forgotten() {
        let (device, _guest) = UnixDatagram::pair().unwrap();
        let mut link = TunLink::new(device.into(), [GUEST4.into()]).unwrap();
        let mut request = crate::drive::test_guest::arp_request();
        request[41] = 15;
        for _ in 0..10 * ANSWERS {
            link.send(&request).unwrap();
        }
        assert_eq!(link.answers.len(), ANSWERS);
    }

    #[test]
    fn what_is_no_packet_is_dropped() {
        let (device, guest) = UnixDatagram::pair().unwrap();
        guest.set_nonblocking(true).unwrap();
        let mut link = TunLink::new(device.into(), []).unwrap();
        let header = |kind: u16| [&[0; 12][..], &kind.to_be_bytes()].concat();
        for frame in [vec![], vec![0; 13], header(0x0800), header(0x86dd), header(0x0806), header(0x88cc)] {
            link.send(&frame).unwrap();
        }
        // A length that lies.
        link.send(&[header(0x0800), vec![0x45, 0, 0xff, 0xff], vec![0; 40]].concat()).unwrap();
        assert_eq!(guest.recv(&mut [0; 100]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
