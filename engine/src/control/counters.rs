//! How much went through.

use serde_json::{Value, json};

use super::answer::Answer;
use crate::inspect::{self, FlowCounters};
use crate::stack::Stack;

pub(super) fn all(stack: &Stack) -> Answer {
    let c = inspect::counters(stack);
    Ok(json!({
        "frames_from_guest": c.frames_from_guest,
        "bytes_from_guest": c.bytes_from_guest,
        "frames_to_guest": c.frames_to_guest,
        "bytes_to_guest": c.bytes_to_guest,
        "tcp": flows(c.tcp),
        "udp": flows(c.udp),
        "icmp": flows(c.icmp),
        "tcp_resent": c.tcp_resent,
        "dropped_from_guest": c.dropped_from_guest,
        "dropped_to_guest": c.dropped_to_guest,
        "dropped_unresolved": c.dropped_unresolved,
        "dropped_over_limit": c.dropped_over_limit,
        "captured": c.captured,
        "capture_dropped": c.capture_dropped,
        "logged": c.logged,
        "log_dropped": c.log_dropped,
        "captures_broken": c.captures_broken,
        "logs_broken": c.logs_broken,
    }))
}

fn flows(c: FlowCounters) -> Value {
    json!({ "begun": c.begun, "refused": c.refused, "ended": c.ended, "now": c.now })
}
