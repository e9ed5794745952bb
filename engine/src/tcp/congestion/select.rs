//! The controller that the configuration names.

use super::bbr::Bbr;
use super::cubic::Cubic;
use super::loss_based::LossBased;
use super::{Ack, Control, Loss, Missing, Path, Sample, bbr};
use crate::time::Instant;

/// How much a TCP connection has in flight towards the guest, and how fast it sends it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Congestion {
    /// CUBIC, until losses are found to be those of a link that always loses something, with no queue on the way: then BBR.
    #[default]
    Automatic,
    /// CUBIC (RFC 9438) with HyStart++ (RFC 9406): the window grows until something is lost, or a queue of some hundred segments
    /// stands.
    Cubic,
    /// BBR, version 3 (draft-ietf-ccwg-bbr): as much is in flight as the path delivers in its least round trip. Losses count
    /// where many segments of a round trip are lost. The guest has to have selective acknowledgments (RFC 2018); CUBIC stands
    /// in where it has not.
    Bbr,
}

/// The controller of a connection.
#[derive(Debug)]
pub(in crate::tcp) enum Controller {
    /// Until it gives way to BBR.
    Automatic(LossBased),
    Cubic(LossBased),
    Bbr(Box<Bbr>),
}

/// What is kept of a controller; see [`Control::before`].
#[derive(Clone, Copy, Debug)]
pub(in crate::tcp) enum Before {
    Cubic(Cubic),
    Bbr(bbr::Before),
}

impl Controller {
    pub(in crate::tcp) fn new(segment: u32) -> Controller {
        Controller::Cubic(LossBased::new(segment))
    }

    /// Whether it goes by what the path delivers alone.
    #[inline]
    pub(in crate::tcp) fn is_model(&self) -> bool {
        matches!(self, Controller::Bbr(_))
    }

    /// Whether something was lost behind a queue, which others may keep: their part of it is measured, also on a short path.
    #[inline]
    pub(in crate::tcp) fn looks_for_company(&self) -> bool {
        match self {
            Controller::Automatic(one) | Controller::Cubic(one) => one.looks_for_company(),
            Controller::Bbr(_) => false,
        }
    }

    /// Whether the highest rate of late, from which follows what may be in flight, is to be forgotten soon.
    pub(in crate::tcp) fn forgets_soon(&self) -> bool {
        match self {
            Controller::Automatic(one) | Controller::Cubic(one) => one.forgets_soon(),
            Controller::Bbr(_) => false,
        }
    }

    /// Whether others fill the queue, so that there may be more in flight than [`Path::most`].
    #[inline]
    pub(in crate::tcp) fn has_company(&self) -> bool {
        match self {
            Controller::Automatic(one) | Controller::Cubic(one) => one.beside() > 0,
            Controller::Bbr(_) => false,
        }
    }

    /// [`Control::on_ack`] where no more than `flight` bytes were in flight: whether that says all there is to it, because the window
    /// was hardly used.
    #[inline]
    pub(in crate::tcp) fn on_unused_window(&mut self, flight: u32) -> bool {
        match self {
            Controller::Automatic(one) | Controller::Cubic(one) => one.on_unused_window(flight),
            Controller::Bbr(_) => false,
        }
    }

    /// The handshake, or the peer's behaviour, settled the size of a full segment and whether there are selective acknowledgments.
    pub(in crate::tcp) fn choose(&mut self, congestion: Congestion, segment: u32, sack: bool, now: Instant) {
        *self = match congestion {
            Congestion::Bbr if sack => Controller::Bbr(Box::new(Bbr::new(segment, now))),
            Congestion::Automatic if sack => Controller::Automatic(LossBased::new(segment)),
            _ => Controller::Cubic(LossBased::new(segment)),
        };
        self.begin(segment);
    }
}

/// The same call to whichever it is.
macro_rules! each {
    ($controller:expr, $one:ident => $call:expr) => {
        match $controller {
            Controller::Automatic($one) | Controller::Cubic($one) => $call,
            Controller::Bbr($one) => $call,
        }
    };
}

impl Control for Controller {
    type Before = Before;

    #[inline]
    fn window(&self) -> u32 {
        each!(self, one => one.window())
    }

    fn threshold(&self) -> u32 {
        each!(self, one => one.threshold())
    }

    #[inline]
    fn buffer_wanted(&self) -> u32 {
        each!(self, one => one.buffer_wanted())
    }

    #[inline]
    fn rate(&self, path: &Path) -> Option<u64> {
        each!(self, one => one.rate(path))
    }

    fn begin(&mut self, segment: u32) {
        each!(self, one => one.begin(segment))
    }

    fn restore(&mut self, window: u32, threshold: u32) {
        each!(self, one => one.restore(window, threshold))
    }

    fn set_segment(&mut self, segment: u32) {
        each!(self, one => one.set_segment(segment))
    }

    #[inline]
    fn on_sent(&mut self, bytes: u32) {
        each!(self, one => one.on_sent(bytes))
    }

    #[inline]
    fn on_restart(&mut self, now: Instant) {
        each!(self, one => one.on_restart(now))
    }

    fn on_lost(&mut self, missing: &Missing, now: Instant) {
        each!(self, one => one.on_lost(missing, now))
    }

    #[inline]
    fn on_ack(&mut self, ack: &Ack, path: &Path) {
        each!(self, one => one.on_ack(ack, path))
    }

    #[inline]
    fn on_sample(&mut self, sample: &Sample, path: &Path) {
        each!(self, one => one.on_sample(sample, path))
    }

    fn on_marked(&mut self, now: Instant) {
        each!(self, one => one.on_marked(now))
    }

    fn on_loss(&mut self, loss: &Loss, path: &Path) -> bool {
        let window = self.window();
        let begins = each!(self, one => one.on_loss(loss, path));
        if let Controller::Automatic(one) = self
            && one.is_on_lossy_link()
        {
            let mut bbr = Bbr::new(one.segment(), path.now);
            bbr.restore(window, 0);
            *self = Controller::Bbr(Box::new(bbr));
        }
        begins
    }

    fn on_repair(&mut self, delivered: u32, safe: bool, pipe: u32) {
        each!(self, one => one.on_repair(delivered, safe, pipe))
    }

    #[inline]
    fn has_reduced(&self) -> bool {
        each!(self, one => one.has_reduced())
    }

    fn on_repaired(&mut self) {
        each!(self, one => one.on_repaired())
    }

    fn on_tail_loss(&mut self) {
        each!(self, one => one.on_tail_loss())
    }

    fn on_timeout(&mut self, again: bool) {
        each!(self, one => one.on_timeout(again))
    }

    fn before(&self) -> Before {
        match self {
            Controller::Automatic(one) | Controller::Cubic(one) => Before::Cubic(one.before()),
            Controller::Bbr(one) => Before::Bbr(one.before()),
        }
    }

    fn take_back(&mut self, before: &Before) {
        match (self, before) {
            (Controller::Automatic(one) | Controller::Cubic(one), Before::Cubic(before)) => one.take_back(before),
            (Controller::Bbr(one), Before::Bbr(before)) => one.take_back(before),
            // It was changed for another one meanwhile, which knows of no reduction.
            _ => {}
        }
    }
}
