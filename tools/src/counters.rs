//! How much went through, for people, for programs and for Prometheus.

use serde_json::{Value, json};

use super::Failure;
use super::client::{Client, say};

pub(crate) fn write(client: &mut Client, prometheus: bool, json: bool) -> Result<(), Failure> {
    client.ask("counters", json!({}))?;
    let counters = client.take_answer();
    say(&match (prometheus, json) {
        (true, _) => exposition(&counters),
        (_, true) => format!("{counters}\n"),
        _ => plain(&counters),
    })
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn plain(counters: &Value) -> String {
    let mut text = String::new();
    for (name, value) in members(counters) {
        if value.is_object() {
            let words: Vec<String> = members(value).map(|(part, count)| format!("{part} {count}")).collect();
            text += &format!("{name:<20} {}\n", words.join(", "));
        } else {
            text += &format!("{name:<20} {value}\n");
        }
    }
    text
}

/// Counters of the protocol, with their names for Prometheus, the unit before `_total`, and what they count.
const COUNTERS: [(&str, &str, &str); 15] = [
    ("bytes_from_guest", "from_guest_bytes_total", "Bytes of frames that the guest has sent."),
    ("frames_from_guest", "from_guest_frames_total", "Frames that the guest has sent."),
    ("dropped_from_guest", "from_guest_dropped_frames_total", "Frames of the guest that found no room."),
    ("bytes_to_guest", "to_guest_bytes_total", "Bytes of frames that were made for the guest."),
    ("frames_to_guest", "to_guest_frames_total", "Frames that were made for the guest."),
    ("dropped_to_guest", "to_guest_dropped_frames_total", "Frames for the guest that it did not take."),
    (
        "dropped_unresolved",
        "to_guest_unresolved_frames_total",
        "Frames for the guest that were dropped while its hardware address was not known.",
    ),
    ("dropped_over_limit", "over_limit_dropped_packets_total", "Datagrams and pings that a limit has dropped."),
    ("tcp_resent", "tcp_resent_segments_total", "Segments of TCP that were sent to the guest again."),
    ("captured", "capture_frames_total", "Frames that there were to capture."),
    ("capture_dropped", "capture_dropped_frames_total", "Frames that found no room in the capture."),
    ("captures_broken", "captures_broken_total", "Captures that something else than their user has ended."),
    ("logged", "log_lines_total", "Lines that there were for the log."),
    ("log_dropped", "log_dropped_lines_total", "Lines that found no room in the log."),
    ("logs_broken", "logs_broken_total", "Logs that something else than their user has ended."),
];

/// What is counted of the flows of each protocol: the member of the protocol's object, the name, the kind of metric, and what it is.
const FLOWS: [(&str, &str, &str, &str); 4] = [
    ("begun", "flows_begun_total", "counter", "Flows that have begun."),
    ("refused", "flows_refused_total", "counter", "Flows that were refused."),
    ("ended", "flows_ended_total", "counter", "Flows that have ended."),
    ("now", "flows", "gauge", "Flows that there are."),
];

/// The text format, version 0.0.4: what each metric is, its type, and its samples.
fn exposition(counters: &Value) -> String {
    let head = |name: &str, kind: &str, what: &str| format!("# HELP {name} {what}\n# TYPE {name} {kind}\n");
    let mut text = String::new();
    for (member, value) in members(counters).filter(|(_, value)| value.is_u64()) {
        // A later library may count more.
        let known = COUNTERS.iter().find(|(known, ..)| known == member);
        let (name, what) = match known {
            Some((_, name, what)) => (format!("oxislirp_{name}"), (*what).to_owned()),
            None => (format!("oxislirp_{member}_total"), format!("What the library counts as {member}.")),
        };
        text += &format!("{}{name} {value}\n", head(&name, "counter", &what));
    }
    for (part, name, kind, what) in FLOWS {
        let name = format!("oxislirp_{name}");
        text += &head(&name, kind, what);
        for (protocol, value) in members(counters).filter(|(_, value)| value[part].is_u64()) {
            text += &format!("{name}{{protocol=\"{protocol}\"}} {}\n", value[part]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_reads_what_each_counter_is() {
        let counters =
            json!({ "bytes_to_guest": 5, "tcp": { "begun": 3, "refused": 0, "ended": 1, "now": 2 }, "new": 7 });
        let text = exposition(&counters);
        let bytes = "# HELP oxislirp_to_guest_bytes_total Bytes of frames that were made for the guest.\n\
                     # TYPE oxislirp_to_guest_bytes_total counter\noxislirp_to_guest_bytes_total 5\n";
        assert!(text.starts_with(bytes), "{text}");
        assert!(text.contains("# TYPE oxislirp_flows gauge\noxislirp_flows{protocol=\"tcp\"} 2\n"), "{text}");
        assert!(text.contains("oxislirp_flows_begun_total{protocol=\"tcp\"} 3\n"), "{text}");
        assert!(text.contains("# TYPE oxislirp_new_total counter\noxislirp_new_total 7\n"), "{text}");
        assert_eq!(plain(&counters).lines().count(), 3);
    }

    /// <https://prometheus.io/docs/practices/naming/>: a counter ends in `_total`, behind its unit in the plural, a gauge does not.
    #[test]
    fn names_are_as_prometheus_has_them() {
        let counters = COUNTERS.map(|(_, name, what)| (name, "counter", what));
        for (name, kind, what) in counters.into_iter().chain(FLOWS.map(|(_, name, kind, what)| (name, kind, what))) {
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            assert!(what.ends_with('.') && !what.contains(['\n', '\\']), "{what}");
            assert_eq!(what.starts_with("Bytes"), name.contains("bytes"), "{name}");
        }
    }
}
