//! Frames on their way from the outbox into the application: those that are being given now, and those that wait behind.

use super::Grant;
use crate::link::outbox::Outbox;

/// Ethernet and IPv6 headers.
const HEADERS: usize = 54;

/// What one hand-over takes out of the engine. Frames that may not be given yet stay in it, in their order, and come first
/// the next time.
#[derive(Debug)]
pub struct Handing {
    outbox: Outbox,
    /// The first frame that is not given, and the first that may not be given yet.
    first: usize,
    end: usize,
    marker: Option<Vec<u8>>,
    /// The headers of the last frame that was given, or of a longer one than it has; zeros before the first.
    last: [u8; HEADERS],
    watched: bool,
}

impl Default for Handing {
    fn default() -> Handing {
        Handing { outbox: Outbox::default(), first: 0, end: 0, marker: None, last: [0; HEADERS], watched: false }
    }
}

impl Handing {
    /// Gives the frames to be given now to `give`, in order, until it says false.
    #[inline]
    pub fn give(&self, mut give: impl FnMut(&[u8]) -> bool) {
        if self.outbox.some(self.first..self.end).all(&mut give)
            && let Some(marker) = &self.marker
        {
            give(marker);
        }
    }

    /// How many there are to be given now.
    pub fn count(&self) -> usize {
        self.end - self.first + usize::from(self.marker.is_some())
    }

    /// The frames to be given now, in order.
    pub fn frames(&self) -> impl Iterator<Item = &[u8]> {
        self.outbox.some(self.first..self.end).chain(self.marker.as_deref())
    }

    /// One of them.
    pub fn frame(&self, index: usize) -> Option<&[u8]> {
        let at = self.first + index;
        if at < self.end { self.outbox.some(at..at + 1).next() } else { self.marker.as_deref() }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.first == self.end && self.marker.is_none()
    }

    /// How many bytes they have together.
    pub fn bytes(&self) -> usize {
        self.outbox.bytes_of(self.first..self.end)
    }

    /// Whether the caller is to find out if the application sleeps while it takes them.
    pub fn is_watched(&self) -> bool {
        self.watched
    }

    /// They were given. `marked` tells whether a marker may have to follow the last one, which needs its headers.
    pub fn done(&mut self, marked: bool) {
        if marked
            && let Some(at) = self.end.checked_sub(1)
            && at >= self.first
            && let Some(frame) = self.outbox.some(at..self.end).next()
        {
            match frame.first_chunk() {
                Some(headers) => self.last = *headers,
                // None is as short: the least of Ethernet is longer.
                None => self.last = [0; HEADERS],
            }
        }
        self.first = self.end;
        self.marker = None;
        self.watched = false;
        if self.first == self.outbox.len() {
            self.clear();
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.outbox.clear();
        (self.first, self.end) = (0, 0);
        self.marker = None;
    }

    /// Takes new frames, when none wait. False when some do.
    pub(crate) fn take(&mut self, new: &mut Outbox) -> bool {
        let none = self.outbox.is_empty();
        if none {
            self.outbox.swap_frames(new);
        }
        none
    }

    /// What the frames that are not given yet cost, each.
    pub(crate) fn costs(&self) -> impl ExactSizeIterator<Item = u64> {
        (self.first..self.outbox.len()).map(|at| self.outbox.cost_of(self.outbox.length(at)))
    }

    /// Whether there are neither frames to be given now nor any that wait.
    #[inline]
    pub fn has_nothing(&self) -> bool {
        self.outbox.is_empty() && self.marker.is_none()
    }

    /// Whether frames wait behind those that are given.
    pub(crate) fn has_rest(&self) -> bool {
        self.end < self.outbox.len()
    }

    /// What may be given.
    pub(crate) fn grant(&mut self, grant: Grant) {
        self.end = self.first + grant.frames;
        self.watched = grant.watched;
    }

    /// The last frame that is given now, or was, as far as its headers.
    pub(crate) fn last(&self) -> &[u8] {
        let last = self.end.checked_sub(1).filter(|at| *at >= self.first);
        last.and_then(|at| self.outbox.some(at..self.end).next()).unwrap_or(&self.last)
    }

    /// Has a frame go out behind those that are given now.
    pub(crate) fn add_marker(&mut self, frame: Vec<u8>) {
        self.marker = Some(frame);
    }
}
