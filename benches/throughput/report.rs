//! What the parent prints and writes: a table for people and JSON for programs.
#![forbid(unsafe_code)]

use std::fmt::Write;

use crate::bars::Verdict;
use crate::stats::{Better, Summary};

/// One metric of one workload over all rounds on both sides; a side without results is `None`.
pub struct Row {
    pub workload: &'static str,
    pub metric: String,
    pub unit: String,
    pub better: Better,
    pub ours: Option<Summary>,
    pub theirs: Option<Summary>,
    /// What is asked of this row and whether it is so.
    pub verdict: Option<Verdict>,
}

impl Row {
    /// ours / upstream, by medians; `None` where a side is missing, zero, or the metric is context only.
    pub fn ratio(&self) -> Option<f64> {
        let (ours, theirs) = (self.ours.as_ref()?.median, self.theirs.as_ref()?.median);
        (self.better != Better::Neither && theirs != 0.0).then(|| ours / theirs)
    }
}

/// Everything about a session of runs.
pub struct Report {
    /// Names and values of the conditions: library paths and versions, rounds, kernel and so on.
    pub conditions: Vec<(&'static str, String)>,
    pub rows: Vec<Row>,
    /// Runs that failed: workload, side, reason.
    pub failures: Vec<(&'static str, &'static str, String)>,
}

/// Three significant digits, more for whole numbers.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn cells(summary: Option<&Summary>) -> (String, String) {
    match summary {
        Some(s) => (number(s.median), format!("{}..{}", number(s.min), number(s.max))),
        None => ("-".into(), "-".into()),
    }
}

/// The table's heading.
pub fn heading() -> String {
    format!(
        "{:<25} {:<13} {:<8} {:>9} {:>19} {:>9} {:>19} {:>9}  {}\n",
        "workload", "metric", "unit", "ours", "range", "upstream", "range", "ours/up.", "bar"
    )
}

/// One line of the table; the arrow says which direction is good.
pub fn line(row: &Row) -> String {
    let (ours, ours_range) = cells(row.ours.as_ref());
    let (theirs, theirs_range) = cells(row.theirs.as_ref());
    let ratio = row.ratio().map_or(String::new(), number);
    let arrow = match row.better {
        Better::Higher => "↑",
        Better::Lower => "↓",
        Better::Neither => "",
    };
    let bar = row.verdict.as_ref().map_or(String::new(), |v| {
        let said = if v.met { "met" } else { "MISSED" };
        format!("  {} {said}", v.bar)
    });
    format!(
        "{:<25} {:<13} {:<8} {ours:>9} {ours_range:>19} {theirs:>9} {theirs_range:>19} {ratio:>8}{arrow:<1}{bar}\n",
        row.workload, row.metric, row.unit
    )
}

fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn summary_json(summary: Option<&Summary>) -> String {
    let Some(s) = summary else { return "null".into() };
    let values: Vec<String> = s.values.iter().map(f64::to_string).collect();
    format!("{{\"median\":{},\"min\":{},\"max\":{},\"values\":[{}]}}", s.median, s.min, s.max, values.join(","))
}

/// The whole report as JSON (RFC 8259).
pub fn json(report: &Report) -> String {
    let conditions: Vec<String> =
        report.conditions.iter().map(|(name, value)| format!("    {}: {}", quote(name), quote(value))).collect();
    let rows: Vec<String> = report
        .rows
        .iter()
        .map(|row| {
            format!(
                "    {{\"workload\":{},\"metric\":{},\"unit\":{},\"better\":{},\"ours\":{},\"upstream\":{},\"ratio\":{},\"bar\":{},\"met\":{}}}",
                quote(row.workload),
                quote(&row.metric),
                quote(&row.unit),
                quote(row.better.name()),
                summary_json(row.ours.as_ref()),
                summary_json(row.theirs.as_ref()),
                row.ratio().map_or("null".into(), |r| r.to_string()),
                row.verdict.as_ref().map_or("null".into(), |v| quote(&v.bar)),
                row.verdict.as_ref().map_or("null".into(), |v| v.met.to_string()),
            )
        })
        .collect();
    let failures: Vec<String> = report
        .failures
        .iter()
        .map(|(workload, side, reason)| {
            format!("    {{\"workload\":{},\"side\":{},\"reason\":{}}}", quote(workload), quote(side), quote(reason))
        })
        .collect();
    let list =
        |items: Vec<String>| if items.is_empty() { String::new() } else { format!("\n{}\n  ", items.join(",\n")) };
    format!(
        "{{\n  \"conditions\": {{{}}},\n  \"results\": [{}],\n  \"failures\": [{}]\n}}\n",
        list(conditions),
        list(rows),
        list(failures)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ours: &[f64], theirs: &[f64], better: Better) -> Row {
        Row {
            workload: "w",
            metric: "m".into(),
            unit: "u".into(),
            better,
            ours: Summary::of(ours),
            theirs: Summary::of(theirs),
            verdict: None,
        }
    }

    #[test]
    fn ratio_is_of_medians_and_only_where_it_means_something() {
        assert_eq!(row(&[9.0, 10.0, 100.0], &[5.0], Better::Higher).ratio(), Some(2.0));
        assert_eq!(row(&[1.0], &[], Better::Higher).ratio(), None);
        assert_eq!(row(&[1.0], &[0.0], Better::Lower).ratio(), None);
        assert_eq!(row(&[1.0], &[1.0], Better::Neither).ratio(), None);
    }

    #[test]
    fn json_escapes_and_nulls() {
        let report = Report {
            conditions: vec![("library", "a\"b\\c\n".into())],
            rows: vec![row(&[1.5], &[], Better::Lower)],
            failures: vec![],
        };
        let text = json(&report);
        assert!(text.contains(r#""library": "a\"b\\c\u000a""#), "{text}");
        assert!(
            text.contains(r#""ours":{"median":1.5,"min":1.5,"max":1.5,"values":[1.5]},"upstream":null,"ratio":null"#)
        );
        assert!(text.contains(r#""failures": []"#));
    }
}
