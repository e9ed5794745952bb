//! Numbers: one metric of one run, and medians and ranges over runs.
#![forbid(unsafe_code)]

/// Which direction of a metric is good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Better {
    Higher,
    Lower,
    /// Context only; no ratio is made of it.
    Neither,
}

impl Better {
    pub fn name(self) -> &'static str {
        match self {
            Better::Higher => "higher",
            Better::Lower => "lower",
            Better::Neither => "neither",
        }
    }

    pub fn from_name(name: &str) -> Option<Better> {
        [Better::Higher, Better::Lower, Better::Neither].into_iter().find(|b| b.name() == name)
    }
}

/// Name of the metric that only runs with `--syscalls` have.
pub const SYSTEM_CALLS: &str = "syscalls";

/// One measured number of one run.
#[derive(Clone, PartialEq, Debug)]
pub struct Metric {
    pub name: String,
    pub unit: String,
    pub better: Better,
    pub value: f64,
}

impl Metric {
    pub fn new(name: &str, unit: &str, better: Better, value: f64) -> Metric {
        Metric { name: name.into(), unit: unit.into(), better, value }
    }

    /// System calls per `unit`, of which there were `amount`; `calls` as `Span` counts them.
    pub fn system_calls(unit: &str, calls: Option<u64>, amount: f64) -> Option<Metric> {
        calls.map(|calls| Metric::new(SYSTEM_CALLS, unit, Better::Lower, calls as f64 / amount))
    }

    /// One line, as a child process reports it.
    pub fn to_line(&self) -> String {
        format!("metric\t{}\t{}\t{}\t{}", self.name, self.unit, self.better.name(), self.value)
    }

    /// The reverse of `to_line`.
    pub fn from_line(line: &str) -> Option<Metric> {
        let mut fields = line.split('\t');
        if fields.next()? != "metric" {
            return None;
        }
        let (name, unit) = (fields.next()?, fields.next()?);
        let better = Better::from_name(fields.next()?)?;
        let value = fields.next()?.parse().ok().filter(|v: &f64| v.is_finite())?;
        Some(Metric::new(name, unit, better, value))
    }
}

/// The value below which `share` (0..=1) of the sorted values lie; NaN of nothing.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get(((last as f64) * share).round() as usize).copied().unwrap_or(f64::NAN)
}

/// Median and range of one metric over the rounds.
#[derive(Clone, PartialEq, Debug)]
pub struct Summary {
    pub median: f64,
    pub min: f64,
    pub max: f64,
    pub values: Vec<f64>,
}

/// Jain's index of fairness: 1 where all have the same, 1 / n where one of n has everything; NaN of nothing.
pub fn fairness(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    sum * sum / (shares.len() as f64 * squares)
}

impl Summary {
    /// `None` of no values.
    pub fn of(values: &[f64]) -> Option<Summary> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let upper = *sorted.get(middle)?;
        let median = match sorted.len() % 2 {
            0 => (sorted.get(middle - 1)? + upper) / 2.0,
            _ => upper,
        };
        Some(Summary { median, min, max, values: values.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_and_even_counts() {
        let odd = Summary::of(&[5.0, 1.0, 3.0]).unwrap();
        assert_eq!((odd.median, odd.min, odd.max), (3.0, 1.0, 5.0));
        assert_eq!(Summary::of(&[4.0, 1.0, 3.0, 2.0]).unwrap().median, 2.5);
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn percentile_picks_ends_and_middle() {
        let sorted: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!(percentile(&sorted, 0.5), 50.0);
        assert_eq!(percentile(&sorted, 0.99), 99.0);
        assert!(percentile(&[], 0.5).is_nan());
    }

    #[test]
    fn fairness_is_one_of_equals_and_least_where_one_has_all() {
        assert_eq!(fairness(&[3.0, 3.0, 3.0]), 1.0);
        assert_eq!(fairness(&[0.0, 8.0, 0.0, 0.0]), 0.25);
        assert!(fairness(&[]).is_nan());
    }

    #[test]
    fn a_metric_survives_the_pipe() {
        let metric = Metric::new("cpu", "s/GB", Better::Lower, 0.125);
        assert_eq!(Metric::from_line(&metric.to_line()), Some(metric));
        assert_eq!(Metric::from_line("metric\tcpu\ts/GB\tlower\tNaN"), None);
        assert_eq!(Metric::from_line("note\tx"), None);
    }
}
