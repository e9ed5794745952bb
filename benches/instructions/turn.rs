//! The application's loop with nothing left to chance.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::path::Path;

use crate::ffi::Instance;
use crate::guest::{Guest, Role, Shape, Transmit};
use crate::sys::{self, PollSet};
use crate::wire::Template;

/// What the clock advances by in each round.
const ROUND_NS: i64 = 100_000;
/// Rounds after which something that has to happen has not happened.
const PATIENCE: u32 = 10_000;

/// One library, one guest, one loop.
pub struct Turn {
    pub instance: Instance,
    pub guest: &'static RefCell<Guest>,
    pub transmit: Transmit,
    pub set: PollSet,
    /// Frames handed over in one round, at most.
    pub frames: u32,
    /// Report `select_error` in rounds that brought a frame, as slirp4netns does.
    pub error_after_frame: bool,
}

impl Turn {
    pub fn new(library: &Path) -> Result<Turn, String> {
        Turn::with_mtu(library, 1500)
    }

    /// A guest and a library with this MTU.
    pub fn with_mtu(library: &Path, mtu: usize) -> Result<Turn, String> {
        let shape = Shape { mtu, burst: 44, push_each: false, ack_every: 0, verify: true, impairment: None };
        // Leaked: the library keeps its address until the process ends.
        let guest: &'static RefCell<Guest> = Box::leak(Box::new(RefCell::new(Guest::new(shape, 64))));
        let transmit = guest.borrow().transmit();
        let instance = Instance::new(library, shape.mtu, guest)?;
        let set = PollSet::touched(1024);
        let mut turn = Turn { instance, guest, transmit, set, frames: 64, error_after_frame: false };
        turn.guest.borrow_mut().announce();
        turn.round();
        turn.round();
        Ok(turn)
    }

    /// One round that does not wait.
    pub fn round(&mut self) {
        self.begin();
        let mut came = false;
        for _ in 0..self.frames {
            let Some(slot) = self.guest.borrow_mut().next_frame(&mut self.transmit) else { break };
            self.instance.input(self.transmit.frame(&slot));
            came = true;
        }
        self.instance.poll(self.error_after_frame && came, &self.set);
    }

    /// One round that hands over `count` datagrams from a template, numbered from `first`.
    pub fn round_of_datagrams(&mut self, template: &mut Template, first: u64, count: u64) {
        self.begin();
        for number in first..first + count {
            self.instance.input(template.fill_udp(number));
        }
        self.instance.poll(false, &self.set);
    }

    /// One round that hands over one given frame, behind what the guest itself has to say.
    pub fn round_of_frame(&mut self, frame: &[u8]) {
        self.begin();
        loop {
            let Some(slot) = self.guest.borrow_mut().next_frame(&mut self.transmit) else { break };
            self.instance.input(self.transmit.frame(&slot));
        }
        self.instance.input(frame);
        self.instance.poll(false, &self.set);
    }

    fn begin(&mut self) {
        sys::advance(ROUND_NS);
        self.set.clear();
        self.instance.fill(&mut 1000, &mut self.set);
        self.set.wait(0);
    }

    /// Rounds until `done`, which also serves the peer.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&Guest) -> bool) -> Result<(), String> {
        for _ in 0..PATIENCE {
            if done(&self.guest.borrow()) {
                return Ok(());
            }
            self.round();
        }
        Err(format!("{what} did not happen in {PATIENCE} rounds"))
    }

    /// Open a connection and wait until it stands.
    pub fn connect(&mut self, port: u16, role: Role) -> Result<u32, String> {
        let want = self.guest.borrow().counters.established + 1;
        let index = self.guest.borrow_mut().connect(port, role);
        self.until("a connection", |guest| guest.counters.established >= want)?;
        self.round();
        Ok(index)
    }

    /// Whether the guest saw only sound frames.
    pub fn sound(&self) -> Result<(), String> {
        let counters = self.guest.borrow().counters;
        match (counters.corrupt, counters.resets, counters.retransmitted) {
            (0, 0, 0) => Ok(()),
            _ => Err(format!("the run was not sound: {counters:?}")),
        }
    }
}
