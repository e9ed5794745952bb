//! The place that frames are copied to before they are looked at, where others may write them meanwhile; see [`Foreign`].

use crate::host::foreign::Foreign;
use crate::wire::checksum::Partial;
use crate::wire::header::ETHERNET_LEN;

/// The longest frame that is looked at: an Ethernet header, the longest IP packet, and room. Behind that is only padding.
const LONGEST: usize = 66_000;

/// Where in its place a frame begins: its packet then begins where vector registers load best.
const START: usize = 32 - ETHERNET_LEN;

/// The place that frames are copied to. Made with the first frame.
#[derive(Debug, Default)]
pub(super) struct FrameCopy {
    bytes: Vec<u8>,
}

impl FrameCopy {
    /// A copy of a frame, without what is behind [`LONGEST`] bytes, and the sum of what follows its Ethernet header.
    pub(super) fn of(&mut self, frame: &Foreign<'_>) -> (&[u8], Partial) {
        self.bytes.resize(START + LONGEST, 0);
        let length = frame.len().min(LONGEST);
        let Some(copy) = self.bytes.get_mut(START..START + length) else { return (&[], Partial::EMPTY) };
        let Some((header, packet)) = copy.split_first_chunk_mut::<ETHERNET_LEN>() else {
            let _ = frame.copy(0, copy);
            return (copy, Partial::EMPTY);
        };
        let _ = frame.copy(0, header);
        // The sum may be that of other bytes where somebody writes meanwhile, which a guest could have sent as well.
        let sum = frame.copy_and_sum(ETHERNET_LEN, packet).unwrap_or_default();
        let rest = packet.len();
        (copy, Partial::of_words(sum, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::checksum;

    #[test]
    fn a_frame_longer_than_any_packet_is_cut() {
        let mut copy = FrameCopy::default();
        let long: Vec<u8> = (0..70_000u32).map(|n| n as u8).collect();
        let (frame, sum) = copy.of(&Foreign::from(&long[..]));
        assert_eq!((frame, sum), (&long[..LONGEST], checksum::sum(&long[ETHERNET_LEN..LONGEST])));
        assert_eq!(copy.of(&Foreign::from(&long[..60])).0, &long[..60]);
        assert_eq!(copy.of(&Foreign::from(&long[..9])), (&long[..9], Partial::EMPTY));
    }
}
