//! `oxislirp_counters`, the first function that upstream does not have. The header `oxislirp.h` is made from this file.
//!
//! Functions of this kind are on version nodes of their own, so that a program that is linked to one asks for this library.
//! Safety is as in `exports`.
#![allow(clippy::missing_safety_doc)]

use super::exports::with;
use super::types::Slirp;
use oxislirp::inspect;

/// Flows of one kind.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct OxislirpFlowCounters {
    /// Those that have begun.
    pub begun: u64,
    /// Those that did not come about. One that is tried again within ten seconds counts once.
    pub refused: u64,
    /// Those that have ended.
    pub ended: u64,
    /// Those that there are.
    pub now: u64,
}

/// How much went through an instance since it was made. A flow is a connection of TCP; all that a UDP socket of the guest
/// sends and receives, or what one client exchanges with it through a host forward; or the pings of one program of the
/// guest to one address. Later versions may have more members at the end.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct OxislirpCounters {
    /// Frames of the guest that were taken.
    pub frames_from_guest: u64,
    /// Their bytes.
    pub bytes_from_guest: u64,
    /// Frames that were made for the guest and not dropped.
    pub frames_to_guest: u64,
    /// Their bytes.
    pub bytes_to_guest: u64,
    /// Connections of TCP.
    pub tcp: OxislirpFlowCounters,
    /// Flows of UDP.
    pub udp: OxislirpFlowCounters,
    /// Flows of ICMP and ICMPv6.
    pub icmp: OxislirpFlowCounters,
    /// Segments of TCP that were sent to the guest again.
    pub tcp_resent: u64,
    /// Frames for the guest that were dropped because it reads nothing.
    pub dropped_to_guest: u64,
    /// Frames for the guest that were dropped because too many waited for its hardware address.
    pub dropped_unresolved: u64,
    /// Frames that there were to capture.
    pub captured: u64,
    /// Those of them that found no room in the capture.
    pub capture_dropped: u64,
    /// Lines that there were for the log of flows.
    pub logged: u64,
    /// Those of them that found no room in it.
    pub log_dropped: u64,
    /// Datagrams and pings that a limit had dropped.
    pub dropped_over_limit: u64,
    /// Captures that ended before somebody wanted that, as on a full disk.
    pub captures_broken: u64,
    /// Logs that did.
    pub logs_broken: u64,
}

impl From<inspect::FlowCounters> for OxislirpFlowCounters {
    fn from(flows: inspect::FlowCounters) -> OxislirpFlowCounters {
        OxislirpFlowCounters { begun: flows.begun, refused: flows.refused, ended: flows.ended, now: flows.now }
    }
}

impl From<inspect::Counters> for OxislirpCounters {
    fn from(counters: inspect::Counters) -> OxislirpCounters {
        OxislirpCounters {
            frames_from_guest: counters.frames_from_guest,
            bytes_from_guest: counters.bytes_from_guest,
            frames_to_guest: counters.frames_to_guest,
            bytes_to_guest: counters.bytes_to_guest,
            tcp: counters.tcp.into(),
            udp: counters.udp.into(),
            icmp: counters.icmp.into(),
            tcp_resent: counters.tcp_resent,
            dropped_to_guest: counters.dropped_to_guest,
            dropped_unresolved: counters.dropped_unresolved,
            captured: counters.captured,
            capture_dropped: counters.capture_dropped,
            logged: counters.logged,
            log_dropped: counters.log_dropped,
            dropped_over_limit: counters.dropped_over_limit,
            captures_broken: counters.captures_broken,
            logs_broken: counters.logs_broken,
        }
    }
}

/// Writes what went through an instance into `counters`, of which the caller has `size` bytes: it gives
/// `sizeof(OxislirpCounters)`, and a library that has more members leaves out the last ones. Members that the library
/// does not have are left alone.
///
/// Returns how many bytes were written; 0 for a NULL instance or a NULL place.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oxislirp_counters(slirp: *mut Slirp, counters: *mut OxislirpCounters, size: usize) -> usize {
    with(slirp, "oxislirp_counters", 0, |instance| {
        let Some(counted) = instance.counters().filter(|_| !counters.is_null()) else { return 0 };
        let counted = OxislirpCounters::from(counted);
        let size = size.min(size_of::<OxislirpCounters>());
        // SAFETY: the caller has as many bytes, and the structure is whole numbers without padding.
        unsafe { std::ptr::copy_nonoverlapping((&raw const counted).cast::<u8>(), counters.cast::<u8>(), size) };
        size
    })
}
