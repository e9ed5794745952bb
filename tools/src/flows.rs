//! The flows that there are, as a table.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Failure;
use super::client::{Client, say, say_each};

/// Lines of what `top` shows where no terminal says how many it has.
const LINES: usize = 24;
/// The ends of a flow are cut to no less.
const LEAST_ENDS: usize = 20;
/// The column of the ends.
const ENDS: usize = 1;

pub(crate) fn list(client: &mut Client, json: bool) -> Result<(), Failure> {
    let flows = client.ask_all("flows", "flows")?;
    if json {
        return say_each(&flows);
    }
    let rows: Vec<Row> = flows.iter().map(|flow| Row::new(flow, None)).collect();
    say(&table(&rows, false, None))
}

/// The flows that carry most, again and again.
pub(crate) fn top(client: &mut Client, interval: f64, count: Option<u64>) -> Result<(), Failure> {
    let interval =
        Duration::try_from_secs_f64(interval).map_err(|error| Failure::new(format!("--interval: {error}")))?;
    let mut before = Carried::new();
    let mut looked = None;
    let terminal = std::io::stdout().is_terminal();
    for round in 0.. {
        if count.is_some_and(|count| round >= count) {
            break;
        }
        if round > 0 {
            std::thread::sleep(interval);
        }
        let flows = client.ask_all("flows", "flows")?;
        let now = Instant::now();
        let passed = looked.replace(now).map(|looked: Instant| (now - looked).as_secs_f64());
        let mut rows: Vec<Row> =
            flows.iter().map(|flow| Row::new(flow, passed.map(|passed| (&before, passed)))).collect();
        rows.sort_by(|one, other| other.weight().total_cmp(&one.weight()));
        before = flows.iter().filter_map(|flow| Some((flow["flow"].as_u64()?, bytes(flow)))).collect();
        let there = rows.len();
        let up: f64 = rows.iter().fold(0.0, |sum, row| sum + row.rates.0);
        let down: f64 = rows.iter().fold(0.0, |sum, row| sum + row.rates.1);
        // It may have another size each time. The last line stays empty, as the cursor is there.
        let (lines, columns) = size();
        rows.truncate(lines.saturating_sub(4));
        let clear = if terminal { "\x1b[H\x1b[2J" } else { "" };
        let noun = if there == 1 { "flow" } else { "flows" };
        let head = format!("{there} {noun}, to the host {}/s, to the guest {}/s", amount(up), amount(down));
        let head: String = head.chars().take(columns.unwrap_or(usize::MAX)).collect();
        say(&format!("{clear}{head}\n\n{}", table(&rows, true, columns)))?;
    }
    Ok(())
}

/// Lines and columns of the terminal; where there is none, the lines that the environment says, and no end of columns.
fn size() -> (usize, Option<usize>) {
    match rustix::termios::tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row.into(), Some(size.ws_col.into())),
        _ => (std::env::var("LINES").ok().and_then(|lines| lines.parse().ok()).unwrap_or(LINES), None),
    }
}

/// A text of so many characters at most; of a longer one the end is missing.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain((most > 0).then_some('…')).collect()
}

fn bytes(flow: &Value) -> (u64, u64) {
    (flow["to_host"].as_u64().unwrap_or(0), flow["to_guest"].as_u64().unwrap_or(0))
}

/// What each flow had carried, to the host and to the guest.
type Carried = HashMap<u64, (u64, u64)>;

struct Row {
    words: [String; 5],
    bytes: (u64, u64),
    /// Bytes a second, to the host and to the guest.
    rates: (f64, f64),
    rtt: String,
    rule: String,
}

impl Row {
    fn new(flow: &Value, before: Option<(&Carried, f64)>) -> Row {
        let text = |name: &str| flow[name].as_str().unwrap_or("-").to_owned();
        let bytes = bytes(flow);
        let rates = before.map_or((0.0, 0.0), |(before, passed)| {
            let known = flow["flow"].as_u64().and_then(|flow| before.get(&flow)).copied().unwrap_or_default();
            let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / passed.max(0.001);
            (rate(bytes.0, known.0), rate(bytes.1, known.1))
        });
        let name = flow["name"].as_str().map(|name| format!(" ({name})")).unwrap_or_default();
        let arrow = if flow["direction"] == "in" { "<-" } else { "->" };
        let seconds = flow["seconds"].as_f64().map_or("-".into(), |seconds| format!("{seconds:.0}s"));
        let rule = flow["rule"].as_u64().map_or_else(|| text("by"), |rule| rule.to_string());
        let rtt = flow["rtt"].as_f64().map_or("-".into(), |rtt| format!("{:.1}ms", rtt * 1000.0));
        let ends = format!("{} {arrow} {}{name}", text("guest"), text("remote"));
        let state = flow["state"].as_str().unwrap_or("").to_owned();
        Row { words: [text("protocol"), ends, state, seconds, text("host")], bytes, rates, rtt, rule }
    }

    fn weight(&self) -> f64 {
        self.rates.0 + self.rates.1
    }
}

/// The rows beneath each other, no line of more than so many columns where there are that many: first of all the ends are cut.
fn table(rows: &[Row], rates: bool, columns: Option<usize>) -> String {
    let (up, down) = if rates { ("UP/s", "DOWN/s") } else { ("UP", "DOWN") };
    let head = ["PROT", "GUEST AND REMOTE", "STATE", "AGE", "RTT", up, down, "RULE"].map(str::to_owned);
    let mut cells = vec![head];
    for Row { words: [protocol, ends, state, age, _], bytes, rates: per_second, rtt, rule } in rows {
        let [up, down] = match rates {
            true => [per_second.0, per_second.1],
            false => [bytes.0 as f64, bytes.1 as f64],
        };
        let (protocol, ends, state, age) = (protocol.clone(), ends.clone(), state.clone(), age.clone());
        cells.push([protocol, ends, state, age, rtt.clone(), amount(up), amount(down), rule.clone()]);
    }
    let mut widths: Vec<usize> =
        (0..8).map(|column| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    if let Some(columns) = columns {
        let whole: usize = widths.iter().sum::<usize>() + 2 * (widths.len() - 1);
        let ends = widths[ENDS].saturating_sub(whole.saturating_sub(columns)).max(LEAST_ENDS.min(widths[ENDS]));
        widths[ENDS] = ends;
        cells.iter_mut().for_each(|row| row[ENDS] = cut(&row[ENDS], ends));
    }
    let line = |row: &[String; 8]| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
            3..=6 => format!("{cell:>width$}"),
            _ => format!("{cell:<width$}"),
        });
        cut(cells.collect::<Vec<String>>().join("  ").trim_end(), columns.unwrap_or(usize::MAX)) + "\n"
    };
    cells.iter().map(line).collect()
}

/// A number of bytes, in a unit of which there are less than a thousand.
fn amount(bytes: f64) -> String {
    let mut left = bytes;
    for unit in ["B", "kB", "MB", "GB"] {
        if left < 999.5 {
            return if unit == "B" { format!("{left:.0} B") } else { format!("{left:.1} {unit}") };
        }
        left /= 1000.0;
    }
    format!("{left:.1} TB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_has_its_columns_beneath_each_other() {
        let flow = json!({ "flow": 7, "protocol": "tcp", "direction": "out", "guest": "10.0.2.15:4000",
            "remote": "192.0.2.1:443", "name": "api.example.org", "state": "ESTABLISHED", "to_host": 1500,
            "to_guest": 2_000_000, "seconds": 12.3, "rtt": 0.0021, "by": "rule", "rule": 3 });
        let before = HashMap::from([(7, (500, 1_000_000))]);
        let row = Row::new(&flow, Some((&before, 2.0)));
        assert_eq!(row.rates, (500.0, 500_000.0));
        for columns in [0, 1, 20, 60, 80, 99, 200] {
            let text = table(std::slice::from_ref(&row), true, Some(columns));
            assert!(text.lines().count() == 2 && text.lines().all(|line| line.chars().count() <= columns), "{text}");
            // What carries most is to be seen in any ordinary terminal.
            assert_eq!(columns >= 80, text.contains("500.0 kB  3\n"), "{text}");
        }
        let text = table(&[row], true, None);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1].find("ESTABLISHED"), lines[0].find("STATE"));
        for word in ["10.0.2.15:4000 -> 192.0.2.1:443 (api.example.org)", "12s", "2.1ms", "500 B", "500.0 kB", "3"] {
            assert!(lines[1].contains(word), "{word}: {text}");
        }
    }

    #[test]
    fn amounts_have_a_unit() {
        assert_eq!([0.0, 999.0, 1000.0, 1_234_567.0, 5e12].map(amount), ["0 B", "999 B", "1.0 kB", "1.2 MB", "5.0 TB"]);
    }
}
