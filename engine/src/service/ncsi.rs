//! The NC-SI responder (DMTF DSP0222): shows a management controller in the guest a network controller that is always
//! ready, over Ethernet frames of a type of its own.
//!
//! Every frame is answered by itself; there is no state, and no unsolicited notification. Which answers there are and
//! what is in them: docs/contract/ncsi.md. Two of them are odd and kept, because images of management controllers were
//! made with them: a command that is not known is answered without a response code, and the Mellanox status byte stands
//! where the revision belongs.

use crate::wire::header::ETHERNET_LEN;
use crate::wire::mac_address::MacAddress;

/// The EtherType of NC-SI.
pub(crate) const ETHERTYPE: u16 = 0x88f8;

const HEADER_LEN: usize = 16;
const CHECKSUM_LEN: usize = 4;
/// The longest payload, that of the statistics.
const PAYLOAD_MAX: usize = 172;
const FRAME_MAX: usize = ETHERNET_LEN + HEADER_LEN + PAYLOAD_MAX + CHECKSUM_LEN;

const REVISION: u8 = 1;
const RESPONSE: u8 = 0x80;

/// Command packet types (DSP0222 table 17).
mod command {
    pub(super) const SET_LINK: u8 = 0x09;
    pub(super) const GET_LINK_STATUS: u8 = 0x0a;
    pub(super) const GET_VERSION_ID: u8 = 0x15;
    pub(super) const GET_CAPABILITIES: u8 = 0x16;
    pub(super) const GET_PARAMETERS: u8 = 0x17;
    pub(super) const GET_CONTROLLER_STATISTICS: u8 = 0x18;
    pub(super) const GET_PASSTHROUGH_STATISTICS: u8 = 0x1a;
    pub(super) const GET_PACKAGE_STATUS: u8 = 0x1b;
    pub(super) const OEM: u8 = 0x50;
    pub(super) const GET_PACKAGE_UUID: u8 = 0x52;
}

/// The manufacturer (IANA enterprise number) whose OEM command is known.
const MELLANOX: u32 = 0x8119;
/// Mellanox's Get MAC address: command and parameter.
const MELLANOX_GET_MAC: (u8, u8) = (0x00, 0x1b);
/// What a Mellanox OEM command has behind the header: manufacturer, revision, command, parameter and one more byte.
const MELLANOX_REQUEST_LEN: usize = 8;

/// Response code and reason of a command that is not supported.
const UNSUPPORTED: [u8; 4] = [0x00, 0x03, 0x7f, 0xff];

/// What the NC-SI controller says of itself to a management controller in the guest (DMTF DSP0222). By default both are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NcsiConfig {
    /// The manufacturer: its IANA enterprise number. Its own commands are answered where they are known: so far those of
    /// Mellanox, 0x8119.
    pub manufacturer: u32,
    /// The address for the management controller's own use, which the manufacturer's command asks for.
    pub oob_address: MacAddress,
}

impl NcsiConfig {
    /// A controller of this manufacturer, which gives this address to the management controller.
    #[must_use]
    pub fn new(manufacturer: u32, oob_address: impl Into<MacAddress>) -> NcsiConfig {
        NcsiConfig { manufacturer, oob_address: oob_address.into() }
    }
}

/// A frame that answers another one.
pub(crate) struct Reply {
    bytes: [u8; FRAME_MAX],
    length: usize,
}

impl Reply {
    /// The frame, not yet padded to the least length of Ethernet.
    #[must_use]
    pub(crate) fn frame(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// The answer to an Ethernet frame of type [`ETHERTYPE`]; `None` when it is too short for an NC-SI header.
#[must_use]
pub(crate) fn answer(frame: &[u8], config: &NcsiConfig) -> Option<Reply> {
    let (request, payload) = frame.get(ETHERNET_LEN..)?.split_first_chunk::<HEADER_LEN>()?;
    let kind = request[4];
    let mut data = [0; PAYLOAD_MAX];
    let length = respond(kind, payload, config, &mut data);
    let data = data.get(..length)?;

    let mut bytes = [0; FRAME_MAX];
    bytes[..12].fill(0xff);
    bytes[12..ETHERNET_LEN].copy_from_slice(&ETHERTYPE.to_be_bytes());
    let header = bytes.get_mut(ETHERNET_LEN..)?.first_chunk_mut::<HEADER_LEN>()?;
    header[..6].copy_from_slice(&[request[0], REVISION, 0, request[3], kind.wrapping_add(RESPONSE), request[5]]);
    header[6..8].copy_from_slice(&u16::try_from(length).ok()?.to_be_bytes());
    let end = ETHERNET_LEN + HEADER_LEN + length;
    bytes.get_mut(ETHERNET_LEN + HEADER_LEN..end)?.copy_from_slice(data);
    let sum = checksum(bytes.get(ETHERNET_LEN..end)?);
    bytes.get_mut(end..end + CHECKSUM_LEN)?.copy_from_slice(&sum.to_be_bytes());
    Some(Reply { bytes, length: end + CHECKSUM_LEN })
}

/// Writes the payload of a response into `data`, which is zero, and gives its length. A response code and a reason of
/// zero, "completed", are there already.
fn respond(kind: u8, payload: &[u8], config: &NcsiConfig, data: &mut [u8; PAYLOAD_MAX]) -> usize {
    match kind {
        ..=command::SET_LINK | 0x0b..=0x0e | 0x10..=0x14 => 4,
        command::GET_LINK_STATUS => {
            data[7] = 1;
            16
        }
        command::GET_VERSION_ID => {
            data[4..8].copy_from_slice(&[0xf1, 0xf0, 0xf0, 0x00]);
            data[36..40].copy_from_slice(&config.manufacturer.to_be_bytes());
            40
        }
        command::GET_CAPABILITIES => {
            data[4..24].fill(0xff);
            data[24..32].copy_from_slice(&[0, 0, 0, 2, 0, 0, 0xff, 0]);
            32
        }
        command::GET_PARAMETERS => 40,
        command::GET_CONTROLLER_STATISTICS..=command::GET_PASSTHROUGH_STATISTICS => PAYLOAD_MAX,
        command::GET_PACKAGE_STATUS => 8,
        command::OEM => oem(payload, config, data),
        command::GET_PACKAGE_UUID => 20,
        // PLDM among them.
        _ => 0,
    }
}

fn oem(payload: &[u8], config: &NcsiConfig, data: &mut [u8; PAYLOAD_MAX]) -> usize {
    let manufacturer = payload.first_chunk::<4>().copied().unwrap_or_default();
    let known = config.manufacturer == MELLANOX && u32::from_be_bytes(manufacturer) == MELLANOX;
    if known
        && let Some(&[_, _, _, _, _, command, parameter, optional]) = payload.first_chunk::<MELLANOX_REQUEST_LEN>()
        && (command, parameter) == MELLANOX_GET_MAC
    {
        let status = u8::from(config.oob_address.0.iter().any(|byte| *byte != 0));
        data[4..8].copy_from_slice(&manufacturer);
        data[8..12].copy_from_slice(&[status, command, parameter, optional]);
        data[16..22].copy_from_slice(&config.oob_address.0);
        return 24;
    }
    data[..4].copy_from_slice(&UNSUPPORTED);
    data[4..8].copy_from_slice(&manufacturer);
    8
}

/// The two's complement of the sum of all 16-bit words (DSP0222 section 8.2.2.3).
fn checksum(message: &[u8]) -> u32 {
    let (words, _) = message.as_chunks::<2>();
    let sum = words.iter().fold(0u32, |sum, word| sum.wrapping_add(u16::from_be_bytes(*word).into()));
    sum.wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: NcsiConfig = NcsiConfig { manufacturer: MELLANOX, oob_address: MacAddress([2, 1, 2, 3, 4, 5]) };

    /// A request of management controller 1, instance 9, channel 3.
    fn request(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0xff; 12];
        frame.extend([0x88, 0xf8, 1, 1, 0, 9, kind, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        frame.truncate(ETHERNET_LEN + HEADER_LEN);
        frame.extend(payload);
        frame
    }

    /// The response code and all behind it, without the checksum, which is checked, as is the header.
    fn payload(kind: u8, payload: &[u8], config: &NcsiConfig) -> Vec<u8> {
        let reply = answer(&request(kind, payload), config).unwrap();
        let frame = reply.frame();
        assert_eq!(frame[..14], [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x88, 0xf8]);
        let length = frame.len() - 34;
        assert_eq!(frame[14..20], [1, 1, 0, 9, kind.wrapping_add(0x80), 3]);
        assert_eq!(frame[20..22], (length as u16).to_be_bytes());
        assert_eq!(frame[22..30], [0; 8]);
        let sum: u64 = frame[14..30 + length].chunks(2).map(|word| u64::from(word[0]) << 8 | u64::from(word[1])).sum();
        assert_eq!(frame[30 + length..], ((1u64 << 32) - sum).to_be_bytes()[4..]);
        frame[30..30 + length].to_vec()
    }

    #[test]
    fn fact_1_clear_initial_state_is_golden() {
        let reply = answer(&request(0, &[]), &CONFIG).unwrap();
        let golden = [1, 1, 0, 9, 0x80, 3, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0x7e, 0xef];
        assert_eq!(reply.frame()[14..], golden);
    }

    #[test]
    fn commands_without_data_complete() {
        for kind in (0x00..=0x09).chain(0x0b..=0x0e).chain(0x10..=0x14) {
            assert_eq!(payload(kind, &[], &CONFIG), [0; 4], "{kind:#x}");
        }
    }

    #[test]
    fn fact_2_the_link_is_up() {
        let mut expected = [0; 16];
        expected[7] = 1;
        assert_eq!(payload(0x0a, &[], &CONFIG), expected);
    }

    #[test]
    fn fact_3_the_version_ends_with_the_manufacturer() {
        let version = payload(0x15, &[], &CONFIG);
        assert_eq!(version[..8], [0, 0, 0, 0, 0xf1, 0xf0, 0xf0, 0]);
        assert_eq!(version[8..36], [0; 28]);
        assert_eq!(version[36..], [0, 0, 0x81, 0x19]);
    }

    #[test]
    fn fact_4_the_capabilities() {
        let mut expected = [0xff; 32];
        expected[..4].fill(0);
        expected[24..].copy_from_slice(&[0, 0, 0, 2, 0, 0, 0xff, 0]);
        assert_eq!(payload(0x16, &[], &CONFIG), expected);
    }

    #[test]
    fn fact_5_parameters_and_statistics_are_zeros() {
        for (kind, length) in [(0x17, 40), (0x18, 172), (0x19, 172), (0x1a, 172), (0x1b, 8), (0x52, 20)] {
            assert_eq!(payload(kind, &[], &CONFIG), vec![0; length], "{kind:#x}");
        }
    }

    #[test]
    fn fact_6_unknown_commands_have_an_empty_answer() {
        for kind in [0x0f, 0x1c, 0x51, 0x53, 0xff] {
            assert!(payload(kind, &[1; 40], &CONFIG).is_empty(), "{kind:#x}");
        }
    }

    #[test]
    fn fact_7_mellanox_get_mac_address() {
        let get = [0, 0, 0x81, 0x19, 7, 0, 0x1b, 0x55];
        let mut expected = vec![0, 0, 0, 0, 0, 0, 0x81, 0x19, 1, 0, 0x1b, 0x55, 0, 0, 0, 0, 2, 1, 2, 3, 4, 5, 0, 0];
        assert_eq!(payload(0x50, &get, &CONFIG), expected);
        expected[8] = 0;
        expected[16..22].fill(0);
        assert_eq!(payload(0x50, &get, &NcsiConfig { oob_address: MacAddress([0; 6]), ..CONFIG }), expected);
        let refused = [0, 3, 0x7f, 0xff, 0, 0, 0x81, 0x19];
        assert_eq!(payload(0x50, &get[..7], &CONFIG), refused);
        assert_eq!(payload(0x50, &[0, 0, 0x81, 0x19, 7, 0, 0x1c, 0], &CONFIG), refused);
        assert_eq!(payload(0x50, &get, &NcsiConfig { manufacturer: 0x113d, ..CONFIG }), refused);
    }

    #[test]
    fn oem_commands_of_others_are_refused() {
        let broadcom = NcsiConfig { manufacturer: 0x113d, ..CONFIG };
        assert_eq!(payload(0x50, &[0, 0, 0x11, 0x3d, 0, 0, 0x1b, 0], &broadcom), [0, 3, 0x7f, 0xff, 0, 0, 0x11, 0x3d]);
        for short in 0..4 {
            let got = payload(0x50, &[0x81; 3][..short], &NcsiConfig { manufacturer: 0, ..CONFIG });
            assert_eq!(got, [0, 3, 0x7f, 0xff, 0, 0, 0, 0]);
        }
    }

    #[test]
    fn fact_8_short_frames_are_ignored() {
        let whole = request(0, &[]);
        assert_eq!(whole.len(), 30);
        for length in 0..whole.len() {
            assert!(answer(&whole[..length], &CONFIG).is_none(), "{length}");
        }
        assert!(answer(&whole, &CONFIG).is_some());
    }
}
