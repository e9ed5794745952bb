//! One connection of the guest: what it remembers and what it may send.
#![forbid(unsafe_code)]

use std::time::Instant;

use super::linux::{Habits, receive_window};
use super::recovery::Recovery;
use super::transmit::SHIFT;
use crate::wire::Header;

/// The window field that the guest always advertises: with its scale 1 MiB, on a link that loses 8 MiB, on one that
/// delays 32 MiB.
const WINDOW: u16 = 8192;
/// The same where the library does not scale windows.
const WINDOW_UNSCALED: u16 = u16::MAX;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    SynSent,
    SynReceived,
    Established,
    Closed,
}

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Sends cells for ever.
    Sender,
    /// Receives and acknowledges the host's pattern.
    Receiver,
    /// Acknowledges what comes, but its reader is stuck: the window closes when it is full.
    Stuck,
    /// Acknowledges what comes; sends only when the workload asks for it.
    Quiet,
    /// Sends a request, waits for the whole answer, closes first, then is replaced by a new connection.
    Client,
    /// Answers one request, closes when the other side has closed.
    Server,
}

#[derive(Debug)]
pub struct Conn {
    pub(super) state: State,
    pub(super) role: Role,
    pub(super) local: u16,
    pub(super) remote: u16,
    pub(super) iss: u32,
    /// Sequence space since `iss`, 64-bit so that long runs do not wrap: acknowledged, next to send, highest ever sent.
    pub(super) una: u64,
    pub(super) nxt: u64,
    pub(super) max: u64,
    pub(super) send_window: u32,
    pub(super) send_shift: u8,
    /// What the window field of this end says.
    window: u16,
    pub(super) irs: u32,
    /// Octets received in order (without SYN and FIN).
    pub(super) received: u64,
    pub(super) peer_fin: bool,
    pub(super) fin_sent: bool,
    pub(super) unacked_segments: u32,
    pub(super) ack_queued: bool,
    /// Send one partial segment although the window says otherwise (retransmission or persist probe).
    pub(super) force: bool,
    pub(super) in_burst: u32,
    pub(super) started: Option<Instant>,
    /// The library takes SACK blocks (RFC 2018 §2).
    pub(super) sack: bool,
    pub(super) recovery: Recovery,
    /// What makes a Linux guest of it.
    pub(super) habits: Option<Box<Habits>>,
}

impl Conn {
    pub(super) fn new(role: Role, local: u16, remote: u16, iss: u32) -> Conn {
        Conn {
            state: State::SynSent,
            role,
            local,
            remote,
            iss,
            una: 0,
            nxt: 1,
            max: 1,
            send_window: 0,
            send_shift: 0,
            window: WINDOW_UNSCALED,
            irs: 0,
            received: 0,
            peer_fin: false,
            fin_sent: false,
            unacked_segments: 0,
            ack_queued: false,
            force: false,
            in_burst: 0,
            started: None,
            sack: false,
            recovery: Recovery::default(),
            habits: None,
        }
    }

    pub(super) fn header(&self, sent: u64, flags: u8) -> Header {
        let ack = self.irs.wrapping_add(1).wrapping_add(self.received as u32).wrapping_add(self.peer_fin.into());
        Header {
            src: self.local,
            dst: self.remote,
            seq: self.iss.wrapping_add(sent as u32),
            ack,
            flags,
            window: self.window_field(),
        }
    }

    /// The window field. What has come stays in the buffer where the reader is stuck.
    fn window_field(&self) -> u16 {
        let reads = self.role != Role::Stuck;
        if reads && self.habits.is_none() {
            return self.window;
        }
        let shift = if self.window == WINDOW { SHIFT } else { 0 };
        let left = match self.habits {
            Some(_) => receive_window(self.received, reads),
            None => (u64::from(self.window) << shift).saturating_sub(self.received),
        };
        (left >> shift).min(u64::from(u16::MAX)) as u16
    }

    /// Sequence space in flight that the library has not reported to have.
    pub(super) fn flight(&self) -> u64 {
        (self.nxt - self.una).saturating_sub(self.recovery.reported_octets())
    }

    /// Octets that may leave: as far as the library's window goes, and the guest's own.
    fn allowed(&self) -> u64 {
        let window = u64::from(self.send_window).saturating_sub(self.nxt - self.una);
        let own = self.habits.as_ref().map_or(u64::MAX, |habits| habits.may_fly().saturating_sub(self.flight()));
        window.min(own)
    }

    /// Take in the window field and the options of the other end's SYN.
    pub(super) fn other_end(&mut self, window: u16, shift: Option<u8>) {
        self.send_window = window.into();
        self.send_shift = shift.unwrap_or(0);
        // RFC 7323 §2.2: windows are scaled in both directions or in none.
        self.window = if shift.is_some() { WINDOW } else { WINDOW_UNSCALED };
    }

    /// Bulk octets that may leave now: a whole rest of the current cell if the window takes it, else nothing,
    /// or what a forced segment may carry.
    pub(super) fn sendable(&self, cell: u64) -> u64 {
        if self.role != Role::Sender || self.state != State::Established {
            return 0;
        }
        let rest = cell - (self.nxt - 1) % cell;
        let free = self.allowed();
        match (free >= rest, self.force) {
            (true, _) => rest,
            (false, true) => free.clamp(1, rest),
            (false, false) => 0,
        }
    }
}
