//! The policy: what it says of a flow, and another one in its place.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Map, Value, json};

use super::answer::{Answer, Kind, Trouble};
use super::request::WrittenQuestion;
use super::server::Shared;
use crate::policy::{Action, Direction, Name, Policy, Protocol, Question, Reason, Service, Verdict};
use crate::stack::Stack;

/// What the policy says of a flow that might begin.
pub(super) fn test(stack: &Stack, written: &WrittenQuestion) -> Answer {
    let protocol = written.protocol.as_deref().map_or(Ok(Protocol::Tcp), protocol)?;
    let expected = stack.expected_guest();
    let guest = written.guest.as_deref().map_or(Ok(expected), |guest| guest_end(guest, expected))?;
    if let Some((name, port)) = written.to.as_deref().filter(|_| written.from.is_none()).and_then(name) {
        if stack.is_draining() {
            return Ok(drained());
        }
        return Ok(stack.policy().map_or_else(without_policy, |policy| {
            let mut members = Map::new();
            name_verdict(&mut members, &policy.judge_visit(protocol, guest, &name, port));
            Value::Object(members)
        }));
    }
    let needs_port = (protocol != Protocol::Icmp).then_some(protocol);
    let question = match (written.to.as_deref(), written.from.as_deref()) {
        (Some(to), None) => stack.question_out(protocol, guest, end(to, "to", needs_port)?),
        (None, Some(from)) => Some(Question::incoming(protocol, guest, end(from, "from", None)?)),
        _ => return Err(Trouble::invalid("one of `to` (where the guest goes) and `from` (who comes to it) is needed")),
    };
    let mut members = Map::new();
    let Some(question) = question else {
        members.insert("action".into(), "deny".into());
        members.insert("by".into(), "network".into());
        return Ok(Value::Object(members));
    };
    if let Some(service) = question.service {
        members.insert("service".into(), word(service).into());
    } else if question.host != question.named {
        members.insert("host".into(), question.host.to_string().into());
    }
    if question.direction == Direction::In {
        members.insert("guest".into(), guest.to_string().into());
    }
    if stack.is_draining() && !matches!(question.service, Some(Service::Dhcp | Service::Echo)) {
        if let Value::Object(drained) = drained() {
            members.extend(drained);
        }
        return Ok(Value::Object(members));
    }
    match stack.verdict(&question) {
        None => {
            members.insert("action".into(), "allow".into());
            members.insert("by".into(), "no-policy".into());
        }
        Some(verdict) => {
            name_verdict(&mut members, &verdict);
            if stack.policy().is_some_and(|policy| waits_for_a_name(policy, &question, &verdict)) {
                members.insert("if_named".into(), "allow".into());
            }
        }
    }
    Ok(Value::Object(members))
}

/// What becomes of every flow that might begin while the network is drained, as it is told to the guest.
fn drained() -> Value {
    json!({ "action": "deny", "by": "draining" })
}

/// Whether this is refused, and would not be if its address counted for the names of the rules: no answer has had it yet.
fn waits_for_a_name(policy: &Policy, question: &Question, verdict: &Verdict) -> bool {
    let passes = |verdict: &Verdict| verdict.action == Action::Allow || matches!(verdict.reason, Reason::Hello(_));
    let may_count = question.direction == Direction::Out && question.service.is_none() && policy.has_names();
    may_count && !passes(verdict) && passes(&policy.judge_among(question, |_| true))
}

/// The guest's end: an address with a port, or the port of whatever address it has (`:22`).
fn guest_end(text: &str, expected: SocketAddr) -> Result<SocketAddr, Trouble> {
    match text.strip_prefix(':').map(str::parse) {
        Some(Ok(port)) => Ok(SocketAddr::new(expected.ip(), port)),
        _ => end(text, "guest", None),
    }
}

/// A protocol by its name.
pub(super) fn protocol(word: &str) -> Result<Protocol, Trouble> {
    match word {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        "icmp" => Ok(Protocol::Icmp),
        other => Err(Trouble::invalid(format!("protocol: `{other}` is none of tcp, udp, icmp"))),
    }
}

fn without_policy() -> Value {
    json!({ "action": "allow", "by": "no-policy" })
}

/// A name and a port, if that is what it is.
fn name(text: &str) -> Option<(Name, u16)> {
    let (name, port) = text.rsplit_once(':')?;
    if name.parse::<IpAddr>().is_ok() {
        return None;
    }
    Some((name.parse().ok()?, port.parse().ok()?))
}

fn name_verdict(members: &mut Map<String, Value>, verdict: &Verdict) {
    let action = match verdict.action {
        Action::Allow => "allow",
        Action::Deny => "deny",
        Action::Drop => "drop",
    };
    members.insert("action".into(), action.into());
    name_reason(members, verdict);
}

/// What a verdict rests on.
pub(super) fn name_reason(members: &mut Map<String, Value>, verdict: &Verdict) {
    let by = match verdict.reason {
        Reason::Rule(number) => {
            members.insert("rule".into(), number.into());
            "rule"
        }
        Reason::Hello(number) => {
            members.insert("rule".into(), number.into());
            "hello"
        }
        Reason::Preset => "preset",
        Reason::Default => "default",
    };
    members.insert("by".into(), by.into());
}

fn word(service: Service) -> &'static str {
    match service {
        Service::Dns => "dns",
        Service::Dhcp => "dhcp",
        Service::Tftp => "tftp",
        Service::GuestForward => "guestfwd",
        Service::Echo => "echo",
    }
}

/// An address with a port, or without one where none is needed.
fn end(text: &str, what: &str, needs_port: Option<Protocol>) -> Result<SocketAddr, Trouble> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    match text.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) if needs_port.is_none() => Ok(SocketAddr::new(ip, 0)),
        Ok(_) => Err(Trouble::invalid(format!("{what}: `{text}` has no port"))),
        Err(_) => {
            let wanted = match (needs_port, what) {
                (Some(_), _) => "no address with a port, such as 192.0.2.1:443",
                (None, "guest") => "no address with a port, such as 10.0.2.15:22, and no port alone, such as :22",
                (None, _) => "no address, such as 192.0.2.1",
            };
            Err(Trouble::invalid(format!("{what}: `{text}` is {wanted}")))
        }
    }
}

/// As much text as one page of sentences has; one sentence more may begin before. (A rule can have thousands of addresses.)
const ENOUGH: usize = 64 * 1024;

/// What the policy says in words, some sentences at a time.
pub(super) fn show(stack: &Stack, after: usize, most: usize) -> Value {
    let Some(policy) = stack.policy() else {
        return json!({ "sentences": ["default: allow everything; there is no policy"] });
    };
    let (mut sentences, mut bytes) = (Vec::new(), 0);
    let mut rest = policy.sentences_after(after).peekable();
    while sentences.len() < most
        && bytes < ENOUGH
        && let Some(sentence) = rest.next()
    {
        bytes += sentence.len();
        sentences.push(sentence);
    }
    match rest.peek().is_some() {
        true => json!({ "next": after + sentences.len(), "sentences": sentences }),
        false => json!({ "sentences": sentences }),
    }
}

/// Has another policy judge, of this text. What is wrong with it changes nothing.
pub(super) fn replace(stack: &mut Stack, shared: &mut Shared, text: &str) -> Result<(), Trouble> {
    let reader = shared.reader();
    let reader = reader.ok_or_else(|| Trouble::new(Kind::Unsupported, "nobody here reads the text of a policy"))?;
    let policy = reader(text).map_err(Trouble::invalid)?;
    shared.begin_review(stack.replace_policy(policy));
    Ok(())
}
