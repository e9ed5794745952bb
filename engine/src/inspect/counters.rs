//! How much went through a stack since it was made. Everything is counted where it happens anyway; here it is only put together.

use crate::flow::journal::Carrier;
use crate::stack::Stack;

/// Flows of one kind: see [`Counters`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlowCounters {
    /// Those that have begun.
    pub begun: u64,
    /// Those that did not come about. One that is tried again within ten seconds counts once, as far as it is remembered.
    pub refused: u64,
    /// Those that have ended.
    pub ended: u64,
    /// Those that there are.
    pub now: u64,
}

/// How much went through a stack since it was made.
///
/// A flow is a connection of TCP; all that a guest's UDP socket sends and receives, or what one client exchanges with it through a
/// host forward; or the pings of one program to one address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Frames of the guest that were taken, and their bytes.
    pub frames_from_guest: u64,
    /// See [`Counters::frames_from_guest`].
    pub bytes_from_guest: u64,
    /// Frames that were made for the guest and not dropped, and their bytes.
    pub frames_to_guest: u64,
    /// See [`Counters::frames_to_guest`].
    pub bytes_to_guest: u64,
    /// Connections.
    pub tcp: FlowCounters,
    /// Flows of UDP.
    pub udp: FlowCounters,
    /// Flows of ICMP.
    pub icmp: FlowCounters,
    /// Segments of TCP that were sent to the guest again.
    pub tcp_resent: u64,
    /// Frames of the guest that were not taken because too much waited: [`Stack::refused_frames`].
    pub dropped_from_guest: u64,
    /// Frames for the guest that were dropped because it reads nothing.
    pub dropped_to_guest: u64,
    /// Frames for the guest that were dropped because too many waited for its hardware address.
    pub dropped_unresolved: u64,
    /// Datagrams and pings that a limit had dropped.
    pub dropped_over_limit: u64,
    /// Frames that there were to capture.
    pub captured: u64,
    /// Those of them that found no room.
    pub capture_dropped: u64,
    /// Lines that there were for the log.
    pub logged: u64,
    /// Those of them that found no room.
    pub log_dropped: u64,
    /// Captures that ended before somebody wanted that, as on a full disk.
    pub captures_broken: u64,
    /// Logs that did.
    pub logs_broken: u64,
}

/// See [`Counters`].
pub fn counters(stack: &Stack) -> Counters {
    let tables = stack.tables();
    let journal = &tables.cx.journal;
    let flows = |carrier| {
        let counts = journal.counts(carrier);
        let now = counts.begun.saturating_sub(counts.ended);
        FlowCounters { begun: counts.begun, refused: counts.refused, ended: counts.ended, now }
    };
    let traffic = stack.traffic();
    let egress = &tables.cx.egress;
    let (frames_to_guest, bytes_to_guest) = egress.given_ever();
    #[cfg(feature = "capture")]
    let (captured, logged) = (stack.captured(), stack.logged());
    #[cfg(not(feature = "capture"))]
    let (captured, logged) = (Nothing::default(), Nothing::default());
    #[cfg(feature = "policy")]
    let dropped_over_limit = tables.cx.limits.as_ref().map_or(0, |limits| limits.dropped());
    #[cfg(not(feature = "policy"))]
    let dropped_over_limit = 0;
    Counters {
        frames_from_guest: traffic.frames_in,
        bytes_from_guest: traffic.bytes_in,
        frames_to_guest,
        bytes_to_guest,
        tcp: flows(Carrier::Tcp),
        udp: flows(Carrier::Udp),
        icmp: flows(Carrier::Icmp),
        tcp_resent: journal.resent,
        dropped_from_guest: stack.refused_frames(),
        dropped_to_guest: egress.dropped_waiting(),
        dropped_unresolved: egress.dropped_unresolved(),
        dropped_over_limit,
        captured: captured.seen,
        capture_dropped: captured.dropped,
        logged: logged.seen,
        log_dropped: logged.dropped,
        captures_broken: captured.broken,
        logs_broken: logged.broken,
    }
}

/// Where nothing is recorded.
#[cfg(not(feature = "capture"))]
#[derive(Default)]
struct Nothing {
    seen: u64,
    dropped: u64,
    broken: u64,
}
