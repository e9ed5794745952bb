//! Emitters of Ethernet, IPv4, IPv6, TCP and UDP headers for the data path.
//!
//! Each function writes one header at the start of the slice it is given and fails only when the slice is too short or
//! a length does not fit its field. The `*_frame` functions write a whole frame and copy and sum the payload in one
//! pass. All numbers in the field structures are plain values; the emitters put them in network byte order.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use smoltcp::wire::EthernetAddress;

use super::checksum::{Checksum, Partial, copy_and_sum};

/// Length of an Ethernet header without VLAN tag.
pub(crate) const ETHERNET_LEN: usize = 14;
/// The largest packet that an Ethernet frame takes where nothing else was agreed, in bytes (RFC 894).
pub(crate) const ETHERNET_MTU: usize = 1500;
/// The longest packet that every IPv4 host takes, in bytes (RFC 1122 section 3.3.2). Paths that carry less cut it.
pub(crate) const IPV4_TAKEN_BY_ALL: usize = 576;
/// The least MTU of a path of IPv6, in bytes (RFC 8200 section 5).
pub(crate) const IPV6_LEAST_MTU: usize = 1280;
/// Length of an IPv4 header without options.
pub(crate) const IPV4_LEN: usize = 20;
/// Length of an IPv6 header without extension headers.
pub(crate) const IPV6_LEN: usize = 40;
/// Length of a UDP header.
pub(crate) const UDP_LEN: usize = 8;
/// Length of a TCP header without options.
pub(crate) const TCP_LEN: usize = 20;
/// The most bytes of options a TCP header holds.
pub(crate) const TCP_OPTIONS_MAX: usize = 40;
/// Shortest frame that is handed to the application; shorter ones are padded with zero bytes
/// (docs/contract/ethernet-arp-ndp.md section 2).
pub(crate) const MIN_FRAME_LEN: usize = 60;

/// EtherType of IPv4.
pub(crate) const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub(crate) const ETHERTYPE_ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub(crate) const ETHERTYPE_IPV6: u16 = 0x86dd;

/// IP protocol number of ICMP.
pub(crate) const PROTOCOL_ICMP: u8 = 1;
/// IP protocol number of TCP.
pub(crate) const PROTOCOL_TCP: u8 = 6;
/// IP protocol number of UDP.
pub(crate) const PROTOCOL_UDP: u8 = 17;
/// IP protocol number of ICMPv6.
pub(crate) const PROTOCOL_ICMPV6: u8 = 58;

/// Type of service: low delay (RFC 1349 section 4).
pub(crate) const TOS_LOW_DELAY: u8 = 0x10;

/// Why a header was not written. The buffer holds unspecified bytes then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EmitError {
    /// The buffer is shorter than what has to be written.
    BufferTooShort,
    /// A length exceeds the field that announces it: an IP packet above 65535 bytes, or TCP options above 40.
    TooLong,
}

impl fmt::Display for EmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EmitError::BufferTooShort => "buffer too short for the packet",
            EmitError::TooLong => "length does not fit its header field",
        })
    }
}

impl std::error::Error for EmitError {}

/// Addresses of an Ethernet header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ethernet {
    /// Destination address.
    pub dst: EthernetAddress,
    /// Source address.
    pub src: EthernetAddress,
}

/// Fields of an IPv4 header that the frame emitters cannot know. Flags and fragment offset are always zero:
/// fragmentation is done afterwards by `ip::fragment`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ipv4 {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Time to live.
    pub ttl: u8,
    /// Type of service (RFC 2474: DS field and ECN).
    pub tos: u8,
    /// Identification.
    pub id: u16,
}

/// Fields of an IPv6 header that the frame emitters cannot know. The flow label is always zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ipv6 {
    /// Source address.
    pub src: Ipv6Addr,
    /// Destination address.
    pub dst: Ipv6Addr,
    /// Hop limit.
    pub hop_limit: u8,
    /// Traffic class.
    pub traffic_class: u8,
}

/// Ports of a UDP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Udp {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
}

/// Fields of a TCP header (RFC 9293 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tcp<'a> {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Control bits as in the header's 14th byte: CWR, ECE, URG, ACK, PSH, RST, SYN, FIN from bit 7 to bit 0.
    pub flags: u8,
    /// Window as sent, that is already scaled.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// Encoded options. A length that is no multiple of 4 is filled up with End of Option List bytes.
    pub options: &'a [u8],
}

impl Tcp<'_> {
    /// Length of the header with its padded options.
    pub(crate) fn header_len(&self) -> usize {
        TCP_LEN + self.options.len().next_multiple_of(4)
    }
}

/// A payload in up to two pieces, as it lies in a ring buffer; either may be empty or of odd length.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Payload<'a>(pub &'a [u8], pub &'a [u8]);

impl<'a> From<&'a [u8]> for Payload<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Payload(bytes, &[])
    }
}

impl Payload<'_> {
    /// Length of both pieces.
    pub(crate) fn len(&self) -> usize {
        self.0.len() + self.1.len()
    }

    /// Copies both pieces to the start of `buf` and sums them.
    ///
    /// # Errors
    /// [`EmitError::BufferTooShort`].
    pub(crate) fn copy_and_sum(&self, buf: &mut [u8]) -> Result<Partial, EmitError> {
        // Few payloads lie in two pieces, and a bare acknowledgment has none.
        if self.1.is_empty() {
            let whole = buf.get_mut(..self.0.len()).ok_or(EmitError::BufferTooShort)?;
            return Ok(if whole.is_empty() { Partial::EMPTY } else { copy_and_sum(whole, self.0) });
        }
        let (first, rest) = buf.split_at_mut_checked(self.0.len()).ok_or(EmitError::BufferTooShort)?;
        let second = rest.get_mut(..self.1.len()).ok_or(EmitError::BufferTooShort)?;
        Ok(copy_and_sum(first, self.0).then(copy_and_sum(second, self.1)))
    }
}

/// Splits the header of `N` bytes off the start of a buffer.
fn split_header<const N: usize>(buf: &mut [u8]) -> Result<(&mut [u8; N], &mut [u8]), EmitError> {
    buf.split_first_chunk_mut::<N>().ok_or(EmitError::BufferTooShort)
}

/// Writes an Ethernet header of 14 bytes.
///
/// # Errors
/// [`EmitError::BufferTooShort`].
#[inline(always)]
pub(crate) fn emit_ethernet(buf: &mut [u8], link: &Ethernet, ethertype: u16) -> Result<(), EmitError> {
    let (header, _) = split_header::<ETHERNET_LEN>(buf)?;
    header[0..6].copy_from_slice(&link.dst.0);
    header[6..12].copy_from_slice(&link.src.0);
    header[12..14].copy_from_slice(&ethertype.to_be_bytes());
    Ok(())
}

/// Writes an IPv4 header of 20 bytes with its checksum; flags and fragment offset are zero.
///
/// `total_len` is the length of the whole packet in bytes, header included.
///
/// # Errors
/// [`EmitError::BufferTooShort`].
#[inline(always)]
pub(crate) fn emit_ipv4(buf: &mut [u8], ip: &Ipv4, protocol: u8, total_len: u16) -> Result<(), EmitError> {
    let (header, _) = split_header::<IPV4_LEN>(buf)?;
    // As 32-bit words: version, header length, type of service, total length; identification, flags, offset; time to live,
    // protocol, checksum; addresses.
    let first = 0x4500_0000 | (u32::from(ip.tos) << 16) | u32::from(total_len);
    let second = u32::from(ip.id) << 16;
    let third = (u32::from(ip.ttl) << 24) | (u32::from(protocol) << 16);
    let (src, dst) = (ip.src.to_bits(), ip.dst.to_bits());
    let mut checksum = Checksum::new();
    checksum.add_fields([first, second, third, src, dst].into_iter().map(u64::from).sum());
    header[0..4].copy_from_slice(&first.to_be_bytes());
    header[4..8].copy_from_slice(&second.to_be_bytes());
    header[8..12].copy_from_slice(&(third | u32::from(checksum.finish())).to_be_bytes());
    header[12..16].copy_from_slice(&src.to_be_bytes());
    header[16..20].copy_from_slice(&dst.to_be_bytes());
    Ok(())
}

/// Writes an IPv6 header of 40 bytes with a zero flow label.
///
/// `payload_len` is the length of everything after this header in bytes.
///
/// # Errors
/// [`EmitError::BufferTooShort`].
pub(crate) fn emit_ipv6(buf: &mut [u8], ip: &Ipv6, next_header: u8, payload_len: u16) -> Result<(), EmitError> {
    let (header, _) = split_header::<IPV6_LEN>(buf)?;
    header[0..4].copy_from_slice(&((6 << 28) | (u32::from(ip.traffic_class) << 20)).to_be_bytes());
    header[4..6].copy_from_slice(&payload_len.to_be_bytes());
    header[6] = next_header;
    header[7] = ip.hop_limit;
    header[8..24].copy_from_slice(&ip.src.octets());
    header[24..40].copy_from_slice(&ip.dst.octets());
    Ok(())
}

/// Writes a UDP header of 8 bytes.
///
/// `length` is the value of the length field (header and payload), `checksum` already covers the pseudo header and
/// nothing else, `payload` is the sum of the payload. A result of 0 goes out as 0xffff.
///
/// # Errors
/// [`EmitError::BufferTooShort`].
pub(crate) fn emit_udp(
    buf: &mut [u8],
    udp: &Udp,
    length: u16,
    mut checksum: Checksum,
    payload: Partial,
) -> Result<(), EmitError> {
    let (header, _) = split_header::<UDP_LEN>(buf)?;
    let ports = (u32::from(udp.src_port) << 16) | u32::from(udp.dst_port);
    checksum.add_fields(u64::from(ports) + u64::from(length));
    checksum.add_partial(payload);
    header[0..4].copy_from_slice(&ports.to_be_bytes());
    header[4..6].copy_from_slice(&length.to_be_bytes());
    header[6..8].copy_from_slice(&checksum.finish_udp().to_be_bytes());
    Ok(())
}

/// Writes a TCP header with its options and returns the header's length.
///
/// `checksum` already covers the pseudo header and nothing else, `payload` is the sum of the payload.
///
/// # Errors
/// [`EmitError::BufferTooShort`]; [`EmitError::TooLong`] for more than 40 bytes of options.
#[inline(always)]
pub(crate) fn emit_tcp(
    buf: &mut [u8],
    tcp: &Tcp<'_>,
    mut checksum: Checksum,
    payload: Partial,
) -> Result<usize, EmitError> {
    let header_len = tcp.header_len();
    if tcp.options.len() > TCP_OPTIONS_MAX {
        return Err(EmitError::TooLong);
    }
    let (header, rest) = split_header::<TCP_LEN>(buf)?;
    let ports = (u32::from(tcp.src_port) << 16) | u32::from(tcp.dst_port);
    // Data offset, which is at most 15, because the options are at most 40 bytes; control bits; window.
    let fourth = ((header_len as u32 / 4) << 28) | (u32::from(tcp.flags) << 16) | u32::from(tcp.window);
    let words = [ports, tcp.seq, tcp.ack, fourth, u32::from(tcp.urgent)];
    checksum.add_fields(words.into_iter().map(u64::from).sum());
    if !tcp.options.is_empty() {
        let options = rest.get_mut(..header_len - TCP_LEN).ok_or(EmitError::BufferTooShort)?;
        let (given, padding) = options.split_at_mut(tcp.options.len());
        given.copy_from_slice(tcp.options);
        padding.fill(0);
        checksum.add(options);
    }
    checksum.add_partial(payload);
    header[0..4].copy_from_slice(&ports.to_be_bytes());
    header[4..8].copy_from_slice(&tcp.seq.to_be_bytes());
    header[8..12].copy_from_slice(&tcp.ack.to_be_bytes());
    header[12..16].copy_from_slice(&fourth.to_be_bytes());
    header[16..18].copy_from_slice(&checksum.finish().to_be_bytes());
    header[18..20].copy_from_slice(&tcp.urgent.to_be_bytes());
    Ok(header_len)
}

/// Writes a frame Ethernet + IPv4 + TCP + payload and returns its length, which may be below [`MIN_FRAME_LEN`].
///
/// # Errors
/// See [`EmitError`].
#[inline(always)]
pub(crate) fn tcp_ipv4_frame(
    buf: &mut [u8],
    link: &Ethernet,
    ip: &Ipv4,
    tcp: &Tcp<'_>,
    payload: Payload<'_>,
) -> Result<usize, EmitError> {
    let segment_len = tcp.header_len() + payload.len();
    let total_len = u16::try_from(IPV4_LEN + segment_len).map_err(|_| EmitError::TooLong)?;
    let packet = buf.get_mut(ETHERNET_LEN..).ok_or(EmitError::BufferTooShort)?;
    let segment = packet.get_mut(IPV4_LEN..).ok_or(EmitError::BufferTooShort)?;
    let body = segment.get_mut(tcp.header_len()..).ok_or(EmitError::BufferTooShort)?;
    let payload_sum = payload.copy_and_sum(body)?;
    let pseudo = Checksum::pseudo_ipv4(ip.src, ip.dst, PROTOCOL_TCP, total_len - IPV4_LEN as u16);
    emit_tcp(segment, tcp, pseudo, payload_sum)?;
    emit_ipv4(packet, ip, PROTOCOL_TCP, total_len)?;
    emit_ethernet(buf, link, ETHERTYPE_IPV4)?;
    Ok(ETHERNET_LEN + IPV4_LEN + segment_len)
}

/// Writes a frame Ethernet + IPv4 + ICMP, whose message has its checksum already: the first bytes, and the rest.
///
/// # Errors
/// See [`EmitError`].
pub(crate) fn icmp_ipv4_frame(
    buf: &mut [u8],
    link: &Ethernet,
    ip: &Ipv4,
    first: &[u8; 8],
    rest: &[u8],
) -> Result<(), EmitError> {
    let total_len = u16::try_from(IPV4_LEN + first.len() + rest.len()).map_err(|_| EmitError::TooLong)?;
    let (head, body) = split_header::<{ ETHERNET_LEN + IPV4_LEN + 8 }>(buf)?;
    emit_ethernet(head, link, ETHERTYPE_IPV4)?;
    emit_ipv4(&mut head[ETHERNET_LEN..], ip, PROTOCOL_ICMP, total_len)?;
    head[ETHERNET_LEN + IPV4_LEN..].copy_from_slice(first);
    body.get_mut(..rest.len()).ok_or(EmitError::BufferTooShort)?.copy_from_slice(rest);
    Ok(())
}

/// Writes a frame Ethernet + IPv4 + UDP + payload and returns its length, which may be below [`MIN_FRAME_LEN`].
///
/// # Errors
/// See [`EmitError`].
pub(crate) fn udp_ipv4_frame(
    buf: &mut [u8],
    link: &Ethernet,
    ip: &Ipv4,
    udp: &Udp,
    payload: Payload<'_>,
) -> Result<usize, EmitError> {
    let packet = buf.get_mut(ETHERNET_LEN..).ok_or(EmitError::BufferTooShort)?;
    let packet_len = udp_ipv4_packet(packet, ip, udp, payload)?;
    emit_ethernet(buf, link, ETHERTYPE_IPV4)?;
    Ok(ETHERNET_LEN + packet_len)
}

/// Writes a packet IPv4 + UDP + payload without Ethernet header and returns its length. This is the form that
/// `ip::fragment` takes.
///
/// # Errors
/// See [`EmitError`].
pub(crate) fn udp_ipv4_packet(buf: &mut [u8], ip: &Ipv4, udp: &Udp, payload: Payload<'_>) -> Result<usize, EmitError> {
    let packet_len = IPV4_LEN + UDP_LEN + payload.len();
    let total_len = u16::try_from(packet_len).map_err(|_| EmitError::TooLong)?;
    let length = total_len - IPV4_LEN as u16;
    let datagram = buf.get_mut(IPV4_LEN..).ok_or(EmitError::BufferTooShort)?;
    let body = datagram.get_mut(UDP_LEN..).ok_or(EmitError::BufferTooShort)?;
    let payload_sum = payload.copy_and_sum(body)?;
    let pseudo = Checksum::pseudo_ipv4(ip.src, ip.dst, PROTOCOL_UDP, length);
    emit_udp(datagram, udp, length, pseudo, payload_sum)?;
    emit_ipv4(buf, ip, PROTOCOL_UDP, total_len)?;
    Ok(packet_len)
}

/// Writes a frame Ethernet + IPv6 + TCP + payload and returns its length.
///
/// # Errors
/// See [`EmitError`].
pub(crate) fn tcp_ipv6_frame(
    buf: &mut [u8],
    link: &Ethernet,
    ip: &Ipv6,
    tcp: &Tcp<'_>,
    payload: Payload<'_>,
) -> Result<usize, EmitError> {
    let segment_len = tcp.header_len() + payload.len();
    let payload_len = u16::try_from(segment_len).map_err(|_| EmitError::TooLong)?;
    let packet = buf.get_mut(ETHERNET_LEN..).ok_or(EmitError::BufferTooShort)?;
    let segment = packet.get_mut(IPV6_LEN..).ok_or(EmitError::BufferTooShort)?;
    let body = segment.get_mut(tcp.header_len()..).ok_or(EmitError::BufferTooShort)?;
    let payload_sum = payload.copy_and_sum(body)?;
    let pseudo = Checksum::pseudo_ipv6(ip.src, ip.dst, PROTOCOL_TCP, payload_len.into());
    emit_tcp(segment, tcp, pseudo, payload_sum)?;
    emit_ipv6(packet, ip, PROTOCOL_TCP, payload_len)?;
    emit_ethernet(buf, link, ETHERTYPE_IPV6)?;
    Ok(ETHERNET_LEN + IPV6_LEN + segment_len)
}

/// Writes a frame Ethernet + IPv6 + UDP + payload and returns its length.
///
/// # Errors
/// See [`EmitError`].
pub(crate) fn udp_ipv6_frame(
    buf: &mut [u8],
    link: &Ethernet,
    ip: &Ipv6,
    udp: &Udp,
    payload: Payload<'_>,
) -> Result<usize, EmitError> {
    let length = u16::try_from(UDP_LEN + payload.len()).map_err(|_| EmitError::TooLong)?;
    let packet = buf.get_mut(ETHERNET_LEN..).ok_or(EmitError::BufferTooShort)?;
    let datagram = packet.get_mut(IPV6_LEN..).ok_or(EmitError::BufferTooShort)?;
    let body = datagram.get_mut(UDP_LEN..).ok_or(EmitError::BufferTooShort)?;
    let payload_sum = payload.copy_and_sum(body)?;
    let pseudo = Checksum::pseudo_ipv6(ip.src, ip.dst, PROTOCOL_UDP, length.into());
    emit_udp(datagram, udp, length, pseudo, payload_sum)?;
    emit_ipv6(packet, ip, PROTOCOL_UDP, length)?;
    emit_ethernet(buf, link, ETHERTYPE_IPV6)?;
    Ok(ETHERNET_LEN + IPV6_LEN + usize::from(length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::{IpAddress, Ipv4Packet, TcpPacket, UdpPacket, UdpRepr};

    use super::*;

    const LINK4: Ethernet = Ethernet {
        dst: EthernetAddress([0x52, 0x54, 0x00, 0x12, 0x34, 0x56]),
        src: EthernetAddress([0x52, 0x55, 10, 0, 2, 2]),
    };
    const LINK6: Ethernet = Ethernet { dst: LINK4.dst, src: EthernetAddress([0x52, 0x56, 0, 0, 0, 2]) };
    const HOST4: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
    const GUEST4: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
    const HOST6: Ipv6Addr = Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 2);
    const GUEST6: Ipv6Addr = Ipv6Addr::new(0xfec0, 0, 0, 0, 0x5054, 0xff, 0xfe12, 0x3456);
    const UDP: Udp = Udp { src_port: 53, dst_port: 4660 };
    const TCP: Tcp<'static> = Tcp {
        src_port: 80,
        dst_port: 40000,
        seq: 0x0102_0304,
        ack: 0xa0b0_c0d0,
        flags: 0x18,
        window: 0x7210,
        urgent: 0,
        options: &[2, 4, 5, 0xb4, 3, 3, 7],
    };

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn udp_over_ipv4_is_written_byte_for_byte() {
        let ip = Ipv4 { src: HOST4, dst: GUEST4, ttl: 64, tos: 0x10, id: 7 };
        let mut buf = [0xee; 100];
        let len = udp_ipv4_frame(&mut buf, &LINK4, &ip, &UDP, Payload(b"hel", b"lo")).unwrap();
        assert_eq!(
            hex(&buf[..len]),
            "52540012345652550a0002020800\
             4510002100070000401162a50a0002020a00020f\
             00351234000d918868656c6c6f"
        );
        assert!(buf[len..].iter().all(|byte| *byte == 0xee));
    }

    #[test]
    fn tcp_over_ipv4_is_written_byte_for_byte_with_padded_options() {
        let ip = Ipv4 { src: HOST4, dst: GUEST4, ttl: 64, tos: 0, id: 0x1234 };
        let mut buf = [0xee; 100];
        let len = tcp_ipv4_frame(&mut buf, &LINK4, &ip, &TCP, Payload(b"a", b"bc")).unwrap();
        assert_eq!(
            hex(&buf[..len]),
            "52540012345652550a0002020800\
             4500003312340000400650810a0002020a00020f\
             00509c4001020304a0b0c0d0701872102d6b0000020405b403030700616263"
        );
    }

    #[test]
    fn udp_and_tcp_over_ipv6_are_written_byte_for_byte() {
        let ip = Ipv6 { src: HOST6, dst: GUEST6, hop_limit: 64, traffic_class: 0x10 };
        let mut buf = [0; 128];
        let len = udp_ipv6_frame(&mut buf, &LINK6, &ip, &UDP, Payload(b"hello", b"")).unwrap();
        assert_eq!(
            hex(&buf[..len]),
            "52540012345652560000000286dd\
             61000000000d1140fec00000000000000000000000000002fec0000000000000505400fffe123456\
             00351234000d285968656c6c6f"
        );
        let ip = Ipv6 { traffic_class: 0, ..ip };
        let len = tcp_ipv6_frame(&mut buf, &LINK6, &ip, &TCP, Payload(b"", b"abc")).unwrap();
        assert_eq!(
            hex(&buf[..len]),
            "52540012345652560000000286dd\
             60000000001f0640fec00000000000000000000000000002fec0000000000000505400fffe123456\
             00509c4001020304a0b0c0d070187210c43b0000020405b403030700616263"
        );
    }

    #[test]
    fn a_udp_checksum_that_comes_out_as_zero_is_sent_as_ffff() {
        let ip = Ipv4 { src: HOST4, dst: GUEST4, ttl: 64, tos: 0, id: 0 };
        let mut buf = [0; 44];
        udp_ipv4_frame(&mut buf, &LINK4, &ip, &UDP, Payload(&[0, 0], b"")).unwrap();
        // A payload equal to the checksum over a zero payload brings the sum to all ones.
        let payload = [buf[40], buf[41]];
        udp_ipv4_frame(&mut buf, &LINK4, &ip, &UDP, Payload(&payload, b"")).unwrap();
        assert_eq!(buf[40..42], [0xff, 0xff]);
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        let ip = Ipv4 { src: HOST4, dst: GUEST4, ttl: 64, tos: 0, id: 0 };
        let big = vec![0; 65535];
        let mut buf = vec![0; 70000];
        let most = Payload(&big[..65535 - 28], b"");
        assert_eq!(udp_ipv4_frame(&mut buf, &LINK4, &ip, &UDP, most), Ok(14 + 65535));
        let above = Payload(&big[..65535 - 28], b"x");
        assert_eq!(udp_ipv4_frame(&mut buf, &LINK4, &ip, &UDP, above), Err(EmitError::TooLong));
        let options = Tcp { options: &[1; 41], ..TCP };
        assert_eq!(tcp_ipv4_frame(&mut buf, &LINK4, &ip, &options, Payload::default()), Err(EmitError::TooLong));
        for room in 0..14 + 20 + 28 + 3 {
            let result = tcp_ipv4_frame(&mut buf[..room], &LINK4, &ip, &TCP, Payload(b"ab", b"c"));
            assert_eq!(result, Err(EmitError::BufferTooShort), "{room} bytes");
        }
    }

    proptest! {
        #[test]
        fn another_implementation_reads_what_is_written(
            src in any::<u32>(), dst in any::<u32>(), ports in any::<(u16, u16)>(), numbers in any::<(u32, u32)>(),
            options in 0usize..=40, flags in any::<u8>(),
            first in prop::collection::vec(any::<u8>(), 0..200), second in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let ip = Ipv4 { src: Ipv4Addr::from_bits(src), dst: Ipv4Addr::from_bits(dst), ttl: 64, tos: 0, id: 1 };
            let options = vec![1; options];
            let (src_port, dst_port) = ports;
            let (seq, ack) = numbers;
            let tcp = Tcp { src_port, dst_port, seq, ack, flags, window: 5, urgent: 6, options: &options };
            let (from, to) = (IpAddress::Ipv4(ip.src), IpAddress::Ipv4(ip.dst));
            let payload = [first.clone(), second.clone()].concat();
            let mut buf = [0; 700];

            let len = tcp_ipv4_frame(&mut buf, &LINK4, &ip, &tcp, Payload(&first, &second)).unwrap();
            let packet = Ipv4Packet::new_checked(&buf[14..len]).unwrap();
            prop_assert!(packet.verify_checksum());
            prop_assert_eq!(usize::from(packet.total_len()), len - 14);
            let segment = TcpPacket::new_checked(packet.payload()).unwrap();
            prop_assert!(segment.verify_checksum(&from, &to));
            prop_assert_eq!(segment.payload(), &payload[..]);

            let udp = Udp { src_port, dst_port: dst_port.max(1) };
            let len = udp_ipv4_frame(&mut buf, &LINK4, &ip, &udp, Payload(&first, &second)).unwrap();
            let packet = Ipv4Packet::new_checked(&buf[14..len]).unwrap();
            let datagram = UdpPacket::new_checked(packet.payload()).unwrap();
            prop_assert_ne!(datagram.checksum(), 0);
            prop_assert!(UdpRepr::parse(&datagram, &from, &to, &ChecksumCapabilities::default()).is_ok());
            prop_assert_eq!(datagram.payload(), &payload[..]);
        }
    }
}
