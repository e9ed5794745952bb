//! The BOOTP message (RFC 951 section 3) with the option area of RFC 2132: reading a request, writing a reply.
//!
//! smoltcp's DHCP view refuses a message without an option area, which plain BOOTP clients send, and its emitter
//! chooses length and order of the options itself; both are fixed here by docs/contract/dhcp.md section A3.

use std::net::Ipv4Addr;

use smoltcp::wire::EthernetAddress;

/// Length of the fixed part, in bytes; the least that is answered.
const FIXED_LEN: usize = 236;

/// Length of the option area of a reply, in bytes: the 312 bytes of RFC 2131 section 2.
const OPTIONS_LEN: usize = 312;

/// Length of every reply's UDP payload, in bytes.
pub const REPLY_LEN: usize = FIXED_LEN + OPTIONS_LEN;

const COOKIE: [u8; 4] = [0x63, 0x82, 0x53, 0x63];
const BOOTREQUEST: u8 = 1;
const BOOTREPLY: u8 = 2;
const HTYPE_ETHERNET: u8 = 1;
const PAD: u8 = 0;
const END: u8 = 255;
const REQUESTED_ADDRESS: u8 = 50;
const PARAMETER_LIST: u8 = 55;

/// The longest name of a boot file, in bytes: the file field has 128, of which the last one is zero.
pub(crate) const BOOT_FILE_MAX: usize = 127;
/// The most that one option holds, in bytes (RFC 2132 section 2).
pub(crate) const OPTION_MAX: usize = 255;

/// What the server looks at in a client's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub xid: [u8; 4],
    pub ciaddr: Ipv4Addr,
    /// The first six bytes of chaddr, whatever hlen says.
    pub chaddr: EthernetAddress,
    /// Option 53, or zero without one.
    pub kind: u8,
    /// Option 50 unless it is 0.0.0.0.
    pub requested: Option<Ipv4Addr>,
    /// Option 54.
    pub server: Option<Ipv4Addr>,
    /// Option 55 names the interface MTU.
    pub wants_mtu: bool,
}

impl Request {
    /// Reads a message; `None` when it is too short or no BOOTREQUEST. A damaged option area ends the options early
    /// and what stands before the damage counts.
    pub(super) fn parse(bootp: &[u8]) -> Option<Request> {
        let (fixed, area) = bootp.split_first_chunk::<FIXED_LEN>()?;
        if fixed[0] != BOOTREQUEST {
            return None;
        }
        let mut request = Request {
            xid: [fixed[4], fixed[5], fixed[6], fixed[7]],
            ciaddr: Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]),
            chaddr: EthernetAddress([fixed[28], fixed[29], fixed[30], fixed[31], fixed[32], fixed[33]]),
            kind: 0,
            requested: None,
            server: None,
            wants_mtu: false,
        };
        if let Some(options) = area.strip_prefix(&COOKIE) {
            for (code, data) in Options(options) {
                match code {
                    super::code::MESSAGE_TYPE => request.kind = data.first().copied().unwrap_or(request.kind),
                    REQUESTED_ADDRESS => request.requested = address(data).or(request.requested),
                    PARAMETER_LIST => request.wants_mtu |= data.contains(&super::code::INTERFACE_MTU),
                    super::code::SERVER_IDENTIFIER => request.server = address(data).or(request.server),
                    _ => {}
                }
            }
            request.requested = request.requested.filter(|wish| !wish.is_unspecified());
        }
        Some(request)
    }
}

fn address(data: &[u8]) -> Option<Ipv4Addr> {
    data.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets))
}

/// The options of an area behind its cookie, up to END, the area's end or the first option that is cut off.
pub(super) struct Options<'a>(pub &'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&code, rest) = self.0.split_first()?;
            match code {
                PAD => self.0 = rest,
                END => return None,
                _ => {
                    let (&len, rest) = rest.split_first()?;
                    let (data, rest) = rest.split_at_checked(usize::from(len))?;
                    self.0 = rest;
                    return Some((code, data));
                }
            }
        }
    }
}

/// The fields of a reply that differ from one to the next.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub xid: [u8; 4],
    pub ciaddr: Ipv4Addr,
    pub yiaddr: Ipv4Addr,
    pub siaddr: Ipv4Addr,
    pub chaddr: EthernetAddress,
}

/// Writes a reply from front to back; what is not written stays zero.
pub(super) struct Emitter<'a> {
    bytes: &'a mut [u8; REPLY_LEN],
    /// Where the next option goes. At least one byte, for END, is always left.
    at: usize,
}

impl Emitter<'_> {
    /// Writes to `bytes`, whatever they are.
    pub(super) fn new<'a>(header: &Header, bytes: &'a mut [u8; REPLY_LEN]) -> Emitter<'a> {
        bytes.fill(0);
        bytes[0] = BOOTREPLY;
        bytes[1] = HTYPE_ETHERNET;
        bytes[2] = 6;
        bytes[4..8].copy_from_slice(&header.xid);
        bytes[12..16].copy_from_slice(&header.ciaddr.octets());
        bytes[16..20].copy_from_slice(&header.yiaddr.octets());
        bytes[20..24].copy_from_slice(&header.siaddr.octets());
        bytes[28..34].copy_from_slice(header.chaddr.as_bytes());
        bytes[FIXED_LEN..FIXED_LEN + 4].copy_from_slice(&COOKIE);
        Emitter { bytes, at: FIXED_LEN + COOKIE.len() }
    }

    /// Sets the file field. False when the name had to be cut.
    pub(super) fn file(&mut self, name: &[u8]) -> bool {
        let cut = name.get(..BOOT_FILE_MAX).unwrap_or(name);
        self.bytes[108..FIXED_LEN].iter_mut().zip(cut).for_each(|(to, from)| *to = *from);
        cut.len() == name.len()
    }

    /// Appends an option. False, and nothing written, when it does not fit.
    pub(super) fn option(&mut self, code: u8, data: &[u8]) -> bool {
        let Ok(length) = u8::try_from(data.len()) else { return false };
        if length == 0 {
            return true;
        }
        let need = 2 + data.len();
        let left = self.bytes.get_mut(self.at..REPLY_LEN - 1).and_then(|left| left.get_mut(..need));
        let Some([first, second, place @ ..]) = left else { return false };
        (*first, *second) = (code, length);
        place.copy_from_slice(data);
        self.at += need;
        true
    }

    /// Appends an option of any length in as many pieces of at most [`OPTION_MAX`] bytes as it takes (RFC 3396 section 5). False,
    /// and nothing written, when they do not all fit.
    pub(super) fn long_option(&mut self, code: u8, data: &[u8]) -> bool {
        let pieces = data.chunks(OPTION_MAX);
        let need = data.len().saturating_add(pieces.len().saturating_mul(2));
        let Some(room) = self.bytes.get_mut(self.at..REPLY_LEN - 1).and_then(|left| left.get_mut(..need)) else {
            return false;
        };
        let with_headers = pieces.flat_map(|piece| {
            let len = u8::try_from(piece.len()).unwrap_or(u8::MAX);
            [code, len].into_iter().chain(piece.iter().copied())
        });
        room.iter_mut().zip(with_headers).for_each(|(to, from)| *to = from);
        self.at += need;
        true
    }

    /// Closes the option area.
    pub(super) fn finish(self) {
        if let Some(end) = self.bytes.get_mut(self.at) {
            *end = END;
        }
    }
}
