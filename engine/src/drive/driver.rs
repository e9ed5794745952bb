//! A loop that sleeps in `poll(2)`.

use std::time::Duration;

use super::station::Station;
use super::{Counts, DriveError, FrameLink, NotDriven, StackHandle, Stop};
use crate::flow::Effect;
use crate::host::wait::{Watch, wait};
use crate::pace::Glance;
use crate::stack::Stack;

/// Runs a stack on a link, in the thread that calls it.
///
/// A link that is full is given 10 ms to make room. Until then the stack is asked for nothing more, while frames of the guest are
/// still taken; after that frames are dropped and counted ([`Counts::dropped`]), until it takes one again.
///
/// A driver that is dropped leaves the stack to those who have a [`StackHandle`], where nothing moves any more; without one the stack is
/// dropped too, with all its connections. [`Driver::into_parts`] gives it back.
///
/// ```
/// use oxislirp::drive::{Driver, FrameLink, MemoryLink};
/// use oxislirp::{Config, Stack};
/// use std::time::Duration;
///
/// let (link, _guest) = MemoryLink::pair()?;
/// let mut driver = Driver::new(Stack::new(Config::default())?, link)?;
/// driver.run_once(Duration::ZERO, |effect| println!("{effect:?}"))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Driver<L> {
    station: Station<L>,
}

impl<L: FrameLink> Driver<L> {
    /// A driver of the stack. Nothing is done yet.
    ///
    /// # Errors
    /// [`DriveError::Direct`], and [`DriveError::Wait`] when there is no descriptor left. The stack and the link come back with it.
    pub fn new(stack: Stack, link: L) -> Result<Driver<L>, NotDriven<L>> {
        Ok(Driver { station: Station::new(stack, link)? })
    }

    /// The stack, for whoever else has something to do with it.
    pub fn handle(&self) -> StackHandle {
        self.station.stack.clone()
    }

    /// The link.
    pub fn link(&self) -> &L {
        &self.station.link
    }

    /// The link, to be changed. Whatever is done to it, its descriptor has to stay open.
    pub fn link_mut(&mut self) -> &mut L {
        &mut self.station.link
    }

    /// The stack and the link, without the driver. A frame that waited for room on the link is lost. The stack itself is to be had by
    /// [`StackHandle::into_stack`].
    pub fn into_parts(self) -> (StackHandle, L) {
        (self.station.stack, self.station.link)
    }

    /// What has been done so far.
    pub fn counts(&self) -> Counts {
        self.station.counts
    }

    /// Sleeps until there is something to do, but no longer than `longest`, and does it. Effects are told to `effect` after the
    /// frames were sent; it may use the [`StackHandle`].
    ///
    /// # Errors
    /// See [`DriveError`].
    pub fn run_once(&mut self, longest: Duration, effect: impl FnMut(Effect)) -> Result<(), DriveError> {
        self.sleep_and_work(longest, None, effect).map(drop)
    }

    /// Goes on until `stop` says so.
    ///
    /// # Errors
    /// See [`DriveError`]; it can be called again.
    pub fn run(&mut self, stop: &Stop, mut effect: impl FnMut(Effect)) -> Result<(), DriveError> {
        while self.sleep_and_work(Duration::MAX, Some(stop), &mut effect)? {}
        Ok(())
    }

    /// True unless it was stopped.
    fn sleep_and_work(
        &mut self,
        longest: Duration,
        stop: Option<&Stop>,
        effect: impl FnMut(Effect),
    ) -> Result<bool, DriveError> {
        let station = &self.station;
        let room = station.waits_for_room();
        let news = (!room).then_some(&station.news);
        let mut watches = [
            Watch::link(&station.link, room && station.link.room_is_writable()),
            Watch::perhaps(news),
            Watch::perhaps(stop),
        ];
        wait(&mut watches, station.sleep().min(longest)).map_err(DriveError::Wait)?;
        let ended = watches[0].has_ended();
        let [_, news, stop] = watches.map(|watch| watch.has_news());
        if stop {
            return Ok(false);
        }
        let seen = if news { Glance::News } else { Glance::Quiet };
        self.station.round(if room { Glance::Unknown } else { seen }, ended, effect)?;
        Ok(true)
    }
}
