//! Rounds of the application's loop, as far as frames of the guest come in them: a run is rounds in a row that each brought
//! one. An application that hands over one frame a round shows in that way that a burst has not ended.

/// The run that the present round belongs to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Run {
    round: u64,
    /// Its first round.
    began: u64,
}

impl Run {
    /// A round has ended, which brought so many frames.
    pub(super) fn round_ended(&mut self, frames: u32) {
        self.round += 1;
        if frames == 0 {
            self.began = self.round;
        }
    }

    /// So many rounds have ended that brought none.
    pub(super) fn pass(&mut self, rounds: u8) {
        if rounds > 0 {
            self.round += u64::from(rounds);
            self.began = self.round;
        }
    }

    /// The number of the present round.
    pub(super) fn round(&self) -> u64 {
        self.round
    }

    /// How many rounds in a row have brought a frame.
    pub(super) fn length(&self) -> u64 {
        self.round - self.began
    }

    /// Whether a round belongs to the run.
    pub(super) fn has(&self, round: u64) -> bool {
        round >= self.began
    }
}
