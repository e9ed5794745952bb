//! What was measured: kept as JSON, shown as a table with the ratios and the bars.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::network::{self, IPSTACK, NETSTACK, OURS};
use crate::stats::{Better, Metric, Summary};
use crate::workload::{self, Workload};

const BEGIN: &str = "<!-- peers: written by script/bench-peers --table -->";
const END: &str = "<!-- end of peers -->";

/// One run of one workload, or why there is none.
pub struct Run {
    pub workload: String,
    pub stack: String,
    pub runtime: String,
    pub outcome: Result<Vec<Metric>, String>,
}

#[derive(Default)]
pub struct Report {
    pub conditions: Vec<(String, String)>,
    pub runs: Vec<Run>,
}

/// A stack's median of one metric.
struct Figure {
    summary: Summary,
    unit: String,
    better: Better,
}

impl Report {
    pub fn read(path: &Path) -> Result<Report, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let value: Value = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        let word = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let runs = value["runs"].as_array().into_iter().flatten().map(|run| Run {
            workload: word(run, "workload"),
            stack: word(run, "stack"),
            runtime: word(run, "runtime"),
            outcome: match run["failed"].as_str() {
                Some(reason) => Err(reason.to_owned()),
                None => Ok(run["metrics"].as_array().into_iter().flatten().filter_map(metric).collect()),
            },
        });
        let conditions = value["conditions"].as_object().into_iter().flatten();
        let conditions = conditions.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()));
        Ok(Report { runs: runs.collect(), conditions: conditions.collect() })
    }

    pub fn write(&self, path: &Path) -> Result<(), String> {
        let conditions: serde_json::Map<String, Value> =
            self.conditions.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let runs: Vec<Value> = self.runs.iter().map(value_of).collect();
        let text = format!("{:#}\n", json!({ "conditions": conditions, "runs": runs }));
        std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// The median over the rounds.
    fn figure(&self, workload: &str, stack: &str, runtime: &str, name: &str) -> Option<Figure> {
        let runs =
            self.runs.iter().filter(|run| (&*run.workload, &*run.stack, &*run.runtime) == (workload, stack, runtime));
        let metrics: Vec<&Metric> =
            runs.filter_map(|run| run.outcome.as_ref().ok()?.iter().find(|metric| metric.name == name)).collect();
        let values: Vec<f64> = metrics.iter().map(|metric| metric.value).collect();
        let first = metrics.first()?;
        Some(Figure { summary: Summary::of(&values)?, unit: first.unit.clone(), better: first.better })
    }

    /// The runtime with which a stack does better in what is compared first.
    fn best_runtime(&self, workload: &Workload, stack: &str) -> Option<&'static str> {
        let figures = network::ALL.into_iter().filter(|variant| variant.stack == stack).filter_map(|variant| {
            let figure = self.figure(workload.name, stack, variant.runtime, workload.metric)?;
            let sign = if figure.better == Better::Lower { -1.0 } else { 1.0 };
            Some((sign * figure.summary.median, variant.runtime))
        });
        figures.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, runtime)| runtime)
    }

    pub fn table(&self) -> String {
        let mut text = self.preamble();
        let _ = writeln!(text, "| workload | metric | {OURS} | {NETSTACK} | ratio | {IPSTACK} | ratio | bar |");
        text += "|---|---|---|---|---|---|---|---|\n";
        for workload in &workload::ALL {
            for (position, name) in [workload.metric, other(workload.metric), "memory", "p99"].into_iter().enumerate() {
                if let Some(line) = self.line(workload, name, position == 0) {
                    text += &line;
                }
            }
        }
        let failed: Vec<String> = self.runs.iter().filter_map(failure).collect();
        if !failed.is_empty() {
            let _ = write!(text, "\nFailed: {}\n", failed.join("; "));
        }
        text
    }

    /// Where and how it was measured.
    fn preamble(&self) -> String {
        let of = |name: &str| {
            let found = self.conditions.iter().find(|(other, _)| other == name);
            found.map_or("?", |(_, value)| value.as_str())
        };
        let rate = |name: &str| of(name).parse::<f64>().map_or(0.0, |ns| 1460.0 * 8.0 / ns);
        format!(
            "{} CPUs, Linux {}, load {} beforehand, {} rounds of {} s. Medians, with the range in brackets; the ratio says how many times \
             as good oxislirp is, in bold where it is better.\nThe guest alone takes {} ns for a segment that it sends ({:.0} Gbit/s) and {} ns for one \
             that it receives ({:.0} Gbit/s). One thread on the stacks' CPU that does nothing but write 256 KiB at a time to the same \
             server moves {} Gbit/s: that is what the host's loopback carries.\n\n",
            of("cpus"),
            of("kernel"),
            of("load"),
            of("rounds"),
            of("seconds"),
            of("guest_sends_ns"),
            rate("guest_sends_ns"),
            of("guest_receives_ns"),
            rate("guest_receives_ns"),
            of("loopback_gbits"),
        )
    }

    /// One metric of one workload, if anybody has it.
    fn line(&self, workload: &Workload, name: &str, first: bool) -> Option<String> {
        let of = |stack: &str| {
            let runtime = self.best_runtime(workload, stack)?;
            Some((self.figure(workload.name, stack, runtime, name)?, runtime))
        };
        let ours = of(OURS);
        let others = [of(NETSTACK), of(IPSTACK)];
        let (figure, _) = ours.iter().chain(others.iter().flatten()).next()?;
        let arrow = if figure.better == Better::Lower { "↓" } else { "↑" };
        let head = if first { format!("`{}`", workload.name) } else { String::new() };
        let mut line = format!("| {head} | {name} {arrow}, {} ", figure.unit);
        let _ = write!(line, "| {} ", shown(ours.as_ref().map(|(figure, _)| figure), None));
        let mut verdicts = Vec::new();
        for other in &others {
            let ratio = ours.as_ref().zip(other.as_ref()).map(|((ours, _), (other, _))| ratio(ours, other));
            let runtime = other.as_ref().map(|(_, runtime)| *runtime).filter(|_| first);
            let _ = write!(line, "| {} ", shown(other.as_ref().map(|(figure, _)| figure), runtime));
            let _ = write!(line, "| {} ", ratio.map_or("–".into(), bold));
            verdicts.push(ratio);
        }
        let bar = workload.bar.filter(|_| first).map_or(String::new(), |bar| {
            let met = |ratio: &Option<f64>| match ratio {
                Some(ratio) if *ratio >= bar => "met",
                Some(_) => "**missed**",
                None => "–",
            };
            format!("≥ {bar}×: {}", verdicts.iter().map(met).collect::<Vec<_>>().join(", "))
        });
        let _ = writeln!(line, "| {bar} |");
        Some(line)
    }

    /// Puts the table between its marks in a page.
    pub fn insert(&self, path: &Path, table: &str) -> Result<(), String> {
        let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let page = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
        let (before, rest) = page.split_once(BEGIN).ok_or_else(|| wrong(&"there is no place for the table"))?;
        let (_, after) = rest.split_once(END).ok_or_else(|| wrong(&"the place for the table has no end"))?;
        std::fs::write(path, format!("{before}{BEGIN}\n\n{table}\n{END}{after}")).map_err(|error| wrong(&error))
    }
}

/// The metric that stands beside the first one.
fn other(metric: &str) -> &'static str {
    if metric == "rate" { "cpu" } else { "rate" }
}

/// How many times as good as `other`.
fn ratio(ours: &Figure, other: &Figure) -> f64 {
    let (ours_median, other_median) = (ours.summary.median, other.summary.median);
    if ours.better == Better::Lower { other_median / ours_median } else { ours_median / other_median }
}

fn bold(ratio: f64) -> String {
    let text = short(ratio);
    if ratio > 1.0 { format!("**{text}**") } else { text }
}

/// Three significant digits.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || size == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn shown(figure: Option<&Figure>, runtime: Option<&str>) -> String {
    let Some(Summary { median, min, max, .. }) = figure.map(|figure| &figure.summary) else { return "–".into() };
    let range = format!("{} ({}–{})", short(*median), short(*min), short(*max));
    runtime.map_or(range.clone(), |runtime| format!("{range}, {runtime}"))
}

fn failure(run: &Run) -> Option<String> {
    let reason = run.outcome.as_ref().err()?;
    Some(format!("`{}`, {} ({}): {reason}", run.workload, run.stack, run.runtime))
}

fn value_of(run: &Run) -> Value {
    let mut value = json!({ "workload": run.workload, "stack": run.stack, "runtime": run.runtime });
    match &run.outcome {
        Err(reason) => value["failed"] = json!(reason),
        Ok(metrics) => {
            let of =
                |m: &Metric| json!({ "name": m.name, "unit": m.unit, "better": m.better.name(), "value": m.value });
            value["metrics"] = metrics.iter().map(of).collect();
        }
    }
    value
}

fn metric(value: &Value) -> Option<Metric> {
    let better = Better::from_name(value["better"].as_str()?)?;
    Some(Metric::new(value["name"].as_str()?, value["unit"].as_str()?, better, value["value"].as_f64()?))
}
