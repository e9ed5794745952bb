//! What a stack writes down of itself: frames as they come and go, and what its journal notes. Frames count as given to the guest
//! when they leave the engine for that; what is dropped before, nobody was to see.

use std::io;
use std::path::Path;

use super::Stack;
use crate::capture::frames::{Capture, Recorded};
use crate::capture::log::Log;
use crate::capture::options::CaptureOptions;
use crate::capture::pcapng::Direction;
use crate::flow::Effect;
use crate::flow::timers::Own;
use crate::host::foreign::Foreign;
use crate::link::handover::handing::Handing;
use crate::time::Instant;

/// See the module.
#[derive(Default)]
pub(super) struct Recording {
    capture: Option<Box<Capture>>,
    /// What the captures and logs that have ended came to.
    captured: Recorded,
    logged: Recorded,
}

impl Recording {
    /// Whether frames are captured.
    #[inline]
    pub(super) fn captures(&self) -> bool {
        self.capture.is_some()
    }
}

/// # What is written down
///
/// A capture has the frames, in the format pcapng that Wireshark and its like read; a log has a line of JSON for each flow that
/// begins, is refused and ends. Both go through buffers with a bound: what does not fit is counted, and the network never waits for
/// them. A disk that is full, or any other error, ends the one or the other with a warning ([`Effect::Warning`]).
impl Stack {
    /// Has every frame captured from now on, in place of a capture that is going on. All files are opened at once.
    ///
    /// # Errors
    /// What the system says of a file; its text names the file.
    pub fn start_capture(&mut self, options: &CaptureOptions) -> io::Result<()> {
        let capture = Capture::open(options)?;
        self.stop_capture();
        self.recording.capture = Some(Box::new(capture));
        self.disturb();
        Ok(())
    }

    /// Ends the capture: what waits is written.
    pub fn stop_capture(&mut self) {
        if let Some(mut capture) = self.recording.capture.take() {
            capture.finish();
            self.recording.captured.add(&capture.recorded());
        }
    }

    /// Has the log written from now on, in place of one that is being written. Of flows that have begun before there is nothing
    /// in it.
    ///
    /// # Errors
    /// What the system says of the file; its text names it.
    pub fn start_log(&mut self, path: &Path) -> io::Result<()> {
        let log = Log::open(path)?;
        self.stop_log();
        self.cx.journal.write_to(Some(log));
        self.disturb();
        Ok(())
    }

    /// Ends the log: what waits is written. Flows that go on have no end in it ([`Stack::shut_down`] ends them before).
    pub fn stop_log(&mut self) {
        if let Some(log) = self.cx.journal.log() {
            log.finish();
            self.recording.logged.add(&log.recorded());
            self.cx.journal.write_to(None);
        }
    }

    /// What the captures have come to.
    pub(crate) fn captured(&self) -> Recorded {
        let mut all = self.recording.captured;
        if let Some(capture) = &self.recording.capture {
            all.add(&capture.recorded());
        }
        all
    }

    /// What the logs have come to.
    pub(crate) fn logged(&self) -> Recorded {
        let mut all = self.recording.logged;
        if let Some(recorded) = self.cx.journal.recorded() {
            all.add(&recorded);
        }
        all
    }

    /// A frame of the guest, before it is looked at.
    pub(super) fn capture_input(&mut self, frame: &[u8]) {
        if let Some(capture) = &mut self.recording.capture {
            capture.take(Direction::Inbound, std::iter::once(frame), self.cx.now);
        }
    }

    /// [`Stack::input_foreign`] where frames are captured: what is captured and what is judged is the same copy, whatever the
    /// guest writes meanwhile.
    #[cold]
    pub(super) fn input_captured(&mut self, frame: &Foreign<'_>, now: Instant) {
        let mut copy = std::mem::take(&mut self.frame_copy);
        let (frame, sum) = copy.of(frame);
        self.capture_input(frame);
        if !self.input_in_place(&Foreign::from(frame), now) {
            self.take_frame(frame, Some(sum), now);
        }
        self.frame_copy = copy;
    }

    /// Frames for the guest that leave the engine now.
    pub(super) fn capture_output(&mut self, handing: &Handing) {
        if let Some(capture) = &mut self.recording.capture {
            capture.take(Direction::Outbound, handing.frames(), self.cx.now);
        }
    }

    /// Sees to the deadline of what waits to be written, and to the end of what cannot be.
    #[inline]
    pub(super) fn look_after_records(&mut self) {
        if self.recording.captures() || self.cx.journal.is_written() {
            self.await_records();
        }
    }

    fn await_records(&mut self) {
        let capture = self.recording.capture.as_ref();
        let captures_until = capture.and_then(|capture| capture.due());
        if let Some(text) = capture.and_then(|capture| capture.ended()).map(str::to_owned) {
            self.stop_capture();
            self.cx.effects.push(Effect::Warning(text));
        }
        let logs_until = self.cx.journal.log().and_then(|log| log.due());
        if let Some(text) = self.cx.journal.log().and_then(|log| log.ended()).map(str::to_owned) {
            self.stop_log();
            self.cx.effects.push(Effect::Warning(text));
        }
        self.cx.timers.set(Own::Records, crate::time::earliest(captures_until, logs_until));
    }

    /// What waits is written.
    pub(super) fn write_records(&mut self) {
        let now = self.cx.now;
        if let Some(capture) = &mut self.recording.capture {
            capture.on_deadline(now);
        }
        if let Some(log) = self.cx.journal.log() {
            log.on_deadline(now);
        }
    }
}

/// Nothing comes after it.
impl Drop for Recording {
    fn drop(&mut self) {
        if let Some(capture) = &mut self.capture {
            capture.finish();
        }
    }
}
