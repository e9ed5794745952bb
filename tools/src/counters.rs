//! How much went through, for people and for Prometheus.

use serde_json::{Value, json};

use super::Failure;
use super::client::{Client, say};

pub(crate) fn write(client: &mut Client, prometheus: bool) -> Result<(), Failure> {
    client.ask("counters", json!({}))?;
    let counters = client.take_answer();
    say(&if prometheus { exposition(&counters) } else { plain(&counters) })
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

/// The text format, version 0.0.4: a type for each name, and samples with labels.
fn exposition(counters: &Value) -> String {
    let mut text = String::new();
    for (name, value) in members(counters).filter(|(_, value)| !value.is_object()) {
        text += &format!("# TYPE oxislirp_{name}_total counter\noxislirp_{name}_total {value}\n");
    }
    for part in ["begun", "refused", "ended", "now"] {
        let (name, kind) = match part {
            "now" => ("oxislirp_flows".to_owned(), "gauge"),
            part => (format!("oxislirp_flows_{part}_total"), "counter"),
        };
        text += &format!("# TYPE {name} {kind}\n");
        for (protocol, value) in members(counters).filter(|(_, value)| value.is_object()) {
            text += &format!("{name}{{protocol=\"{protocol}\"}} {}\n", value[part]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_reads_a_line_for_each_counter() {
        let counters = json!({ "bytes_to_guest": 5, "tcp": { "begun": 3, "refused": 0, "ended": 1, "now": 2 } });
        let text = exposition(&counters);
        assert!(text.starts_with("# TYPE oxislirp_bytes_to_guest_total counter\noxislirp_bytes_to_guest_total 5\n"));
        assert!(text.contains("# TYPE oxislirp_flows gauge\noxislirp_flows{protocol=\"tcp\"} 2\n"), "{text}");
        assert!(text.contains("oxislirp_flows_begun_total{protocol=\"tcp\"} 3\n"), "{text}");
        assert_eq!(plain(&counters).lines().count(), 2);
    }
}
