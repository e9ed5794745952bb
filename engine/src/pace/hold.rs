//! For how many rounds what is staged for the host may be held, because more of it is expected.
//!
//! Each batch that the host gets is a system call, and wakes whoever waits for it. While frames of the guest keep coming a
//! burst may still grow; but an application that hands over several frames a round has handed over the burst when its round
//! ends, and only one that hands over one a round, as slirp4netns does, makes a long burst of many rounds: the end of
//! that shows as a round without a frame. Nothing waits for a timer.

/// Rounds for which a run of full segments, pushed segments and datagrams are held while one frame comes in each. 90 full
/// segments of an Ethernet are 128 KiB, two slabs of the buffer; twice as many gained nothing, and a third slab costs more than it saves.
const SEGMENTS: u8 = 89;
const PUSHED: u8 = 32;
const DATAGRAMS: u8 = 64;
/// The same for a run of full segments where several come.
const SEGMENTS_OF_SEVERAL: u8 = 1;

/// What a round has decided: for how many rounds in a row something may have been held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(super) segments: u8,
    pub(super) pushed: u8,
    datagrams: u8,
}

/// For how many rounds in a row something was held.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held(u8);

impl Hold {
    /// Nothing is held: no frame has come.
    pub(super) const NOTHING: Hold = Hold { segments: 0, pushed: 0, datagrams: 0 };

    /// After a round that brought so many frames.
    pub(super) fn after(frames: u32) -> Hold {
        match frames {
            0 => Hold::NOTHING,
            1 => Hold { segments: SEGMENTS, pushed: PUSHED, datagrams: DATAGRAMS },
            _ => Hold { segments: SEGMENTS_OF_SEVERAL, pushed: 0, datagrams: 0 },
        }
    }

    /// Whether a burst of datagrams is held until the next round.
    pub(crate) fn datagrams(self, held: &mut Held) -> bool {
        held.once_more(self.datagrams)
    }
}

impl Held {
    /// Whether to hold it for another round, where `most` are allowed.
    pub(super) fn once_more(&mut self, most: u8) -> bool {
        let hold = self.0 < most;
        self.0 = if hold { self.0 + 1 } else { 0 };
        hold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds for which datagrams are held when each brings so many frames.
    fn rounds(held: &mut Held, frames: u32) -> u32 {
        let mut count = 0;
        while count < 1000 && Hold::after(frames).datagrams(held) {
            count += 1;
        }
        count
    }

    #[test]
    fn frames_that_come_one_a_round_are_waited_for_but_not_for_ever() {
        let mut held = Held::default();
        assert_eq!(rounds(&mut held, 1), u32::from(DATAGRAMS));
        assert_eq!(rounds(&mut held, 1), u32::from(DATAGRAMS), "and anew for the next burst");
        assert_eq!((rounds(&mut held, 0), rounds(&mut held, 5)), (0, 0));
    }
}
