//! What a stack writes down of itself: frames as they come and go, and what its journal notes. Frames count as given to the guest
//! when they leave the engine for that; what is dropped before, nobody was to see.

use std::io;

use super::Stack;
use crate::capture::frames::{Capture, Recorded};
use crate::capture::log::Log;
use crate::capture::options::{CaptureOptions, LogOptions};
use crate::capture::pcapng::{Direction, Frame};
use crate::flow::Effect;
use crate::flow::journal::Journal;
use crate::flow::timers::Own;
use crate::link::handover::handing::Handing;
use crate::time::Instant;

/// See the module.
#[derive(Default)]
pub(super) struct Recording {
    /// There is a capture, or a log.
    any: bool,
    capture: Option<Box<Capture>>,
    /// What the captures and logs that have ended came to.
    captured: Recorded,
    logged: Recorded,
    /// The last one of each, if an error has ended it and nobody was told.
    broken_capture: Option<Finished>,
    broken_log: Option<Finished>,
}

/// A capture, or a log, that is over.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) recorded: Recorded,
    /// Why it has ended before somebody wanted that.
    #[cfg_attr(not(feature = "control"), expect(dead_code, reason = "it is told over the control socket"))]
    pub(crate) why: Option<String>,
}

impl Recording {
    /// Whether there is a capture. Asked for each frame, before what is cold.
    #[inline]
    pub(super) fn captures(&self) -> bool {
        self.capture.is_some()
    }

    /// A frame of a flow that there is. Its bytes are those that are judged, whatever the guest writes meanwhile.
    // Not cold, here and below: a capture is not there for most, but who has one has this for each frame.
    #[inline(never)]
    pub(super) fn input(&mut self, frame: Frame<'_>, journal: &mut Journal, now: Instant) {
        if let Some(capture) = &mut self.capture {
            capture.take(Direction::Inbound, std::iter::once(frame), journal.notes(), now);
        }
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
        self.cx.journal.note(true);
        self.recording.any = true;
        self.disturb();
        Ok(())
    }

    /// Ends the capture: what waits is written.
    pub fn stop_capture(&mut self) {
        self.end_capture();
    }

    /// The same, and what it has come to; that of one which has ended by itself before, once. `None` where there is neither.
    pub(crate) fn end_capture(&mut self) -> Option<Finished> {
        let Some(mut capture) = self.recording.capture.take() else { return self.recording.broken_capture.take() };
        capture.finish();
        self.cx.journal.note(false);
        let recorded = capture.recorded();
        self.recording.captured.add(&recorded);
        self.recording.any = self.cx.journal.is_written();
        Some(Finished { recorded, why: capture.ended().map(str::to_owned) })
    }

    /// Has the log written from now on, in place of one that is being written. Of flows that have begun before there is nothing
    /// in it. All files are opened at once.
    ///
    /// # Errors
    /// What the system says of a file; its text names the file.
    pub fn start_log(&mut self, options: &LogOptions) -> io::Result<()> {
        let log = Log::open(options)?;
        self.stop_log();
        self.cx.journal.write_to(Some(log));
        self.recording.any = true;
        self.disturb();
        Ok(())
    }

    /// Ends the log: what waits is written. Flows that go on have no end in it ([`Stack::shut_down`] ends them before).
    pub fn stop_log(&mut self) {
        self.end_log();
    }

    /// As [`Stack::end_capture`].
    pub(crate) fn end_log(&mut self) -> Option<Finished> {
        let Some(log) = self.cx.journal.log() else { return self.recording.broken_log.take() };
        log.finish();
        let finished = Finished { recorded: log.recorded(), why: log.ended().map(str::to_owned) };
        self.recording.logged.add(&finished.recorded);
        self.cx.journal.write_to(None);
        self.recording.any = self.recording.captures();
        Some(finished)
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
    #[inline(never)]
    pub(super) fn capture_input(&mut self, frame: &[u8]) {
        if let Some(capture) = &mut self.recording.capture {
            capture.open_frame(frame, self.cx.now);
        }
    }

    /// The same frame when it was looked at.
    #[inline(never)]
    pub(super) fn captured_input(&mut self, frame: &[u8]) {
        if let Some(capture) = &mut self.recording.capture {
            capture.close_frame(frame, self.cx.journal.notes(), self.cx.now);
        }
    }

    /// Frames for the guest that leave the engine now.
    #[inline(never)]
    pub(super) fn capture_output(&mut self, handing: &Handing) {
        if let Some(capture) = &mut self.recording.capture {
            capture.take(Direction::Outbound, handing.frames().map(Frame::from), self.cx.journal.notes(), self.cx.now);
        }
    }

    /// Sees to the deadline of what waits to be written, and to the end of what cannot be. To be called when it is asked how long
    /// the application may sleep.
    #[inline]
    pub(super) fn look_after_records(&mut self) {
        if self.recording.any {
            self.await_records();
        }
    }

    #[inline(never)]
    fn await_records(&mut self) {
        let (mut until, mut any_ended) = (None, false);
        if let Some(capture) = &self.recording.capture {
            until = capture.due();
            any_ended = capture.ended().is_some();
        }
        if let Some(log) = self.cx.journal.log() {
            until = crate::time::earliest(until, log.due());
            any_ended |= log.ended().is_some();
        }
        if any_ended {
            self.end_broken_records();
        }
        self.cx.timers.set(Own::Records, until);
    }

    #[cold]
    fn end_broken_records(&mut self) {
        if let Some(text) = self.recording.capture.as_ref().and_then(|capture| capture.ended()).map(str::to_owned) {
            self.recording.broken_capture = self.end_capture();
            self.cx.effects.push(Effect::Warning(text));
        }
        if let Some(text) = self.cx.journal.log().and_then(|log| log.ended()).map(str::to_owned) {
            self.recording.broken_log = self.end_log();
            self.cx.effects.push(Effect::Warning(text));
        }
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
