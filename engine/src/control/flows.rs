//! The flows that there are, a page at a time.

use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::rules;
use crate::flow::journal::Carrier;
use crate::inspect::{self, FlowEntry};
use crate::stack::Stack;
use crate::time::Duration;

pub(super) fn page(stack: &Stack, after: u64, most: usize) -> Answer {
    let (flows, more) = inspect::flows(stack, after, most);
    let next = flows.last().filter(|_| more).map(|flow| flow.number);
    let flows: Vec<Value> = flows.iter().map(describe).collect();
    let mut answer = json!({ "flows": flows });
    if let (Some(next), Value::Object(answer)) = (next, &mut answer) {
        answer.insert("next".into(), next.into());
    }
    Ok(answer)
}

fn describe(flow: &FlowEntry<'_>) -> Value {
    let (protocol, has_ports) = match flow.carrier {
        Carrier::Tcp => ("tcp", true),
        Carrier::Udp => ("udp", true),
        Carrier::Icmp => ("icmp", false),
    };
    let end = |end: SocketAddr| if has_ports { end.to_string() } else { end.ip().to_string() };
    let mut members = Map::new();
    let mut put = |name: &str, value: Value| members.insert(name.into(), value);
    put("flow", flow.number.into());
    put("protocol", protocol.into());
    put("direction", if flow.incoming { "in" } else { "out" }.into());
    put("guest", end(flow.guest).into());
    if let Some(remote) = flow.remote {
        put("remote", end(remote).into());
    }
    if let Some(host) = flow.host {
        put("host", end(host).into());
    }
    if flow.guest_forward {
        put("service", "guestfwd".into());
    }
    if let Some(name) = flow.name {
        put("name", name.into());
    }
    if let Some(state) = flow.state {
        put("state", state.into());
    }
    put("to_host", flow.to_host.into());
    put("to_guest", flow.to_guest.into());
    if let Some(age) = flow.age {
        put("seconds", seconds(age));
    }
    if let Some(round_trip) = flow.round_trip {
        put("rtt", seconds(round_trip));
    }
    if let Some(verdict) = flow.verdict {
        rules::name_reason(&mut members, &verdict);
    }
    Value::Object(members)
}

fn seconds(time: Duration) -> Value {
    (time.total_micros() as f64 / 1e6).into()
}
