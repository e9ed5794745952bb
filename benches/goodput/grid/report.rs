//! The grid as text, as a table and as JSON.

use std::fmt::Write;

use super::cells::Cell;
use super::{Arguments, Row};
use crate::dumbbell::Figures;

fn rate(rate: u64) -> String {
    if rate >= 1_000_000_000 {
        format!("{} Gbit/s", rate / 1_000_000_000)
    } else {
        format!("{} Mbit/s", rate / 1_000_000)
    }
}

fn millis(nanos: i64) -> f64 {
    nanos as f64 / 1e6
}

fn verdict(row: &Row) -> String {
    let missed: Vec<_> = row.bars.iter().filter(|bar| !bar.met).map(|bar| bar.text.as_str()).collect();
    match (row.bars.is_empty(), missed.is_empty()) {
        (true, _) => String::new(),
        (false, true) => "met".to_owned(),
        (false, false) => format!("**missed**: {}", missed.join(", ")),
    }
}

fn shares(row: &Row) -> String {
    row.shares.iter().map(|share| format!("{:.1}", share * 100.0)).collect::<Vec<_>>().join(" + ")
}

/// One line for the one who waits.
pub fn line(row: &Row) -> String {
    let Cell { trial, rate: bits, rtt, queue, loss } = row.cell;
    format!(
        "{} {} {} ms {} KiB {} ppm: {} %, dropped {:.2} %, queue {:.0} KiB: {}",
        trial.name(),
        rate(bits),
        millis(rtt),
        queue >> 10,
        loss,
        shares(row),
        row.dropped * 100.0,
        row.queue_mean / 1024.0,
        verdict(row)
    )
}

pub fn markdown(rows: &[Row], arguments: &Arguments) -> String {
    let bars: Vec<_> = rows.iter().flat_map(|row| &row.bars).collect();
    let mut text = format!(
        "Sender `{}`, {} seeds of {} s. Of {} bars {} are met.\n\n",
        arguments.sender.name(),
        arguments.seeds,
        arguments.length.as_secs(),
        bars.len(),
        bars.iter().filter(|bar| bar.met).count()
    );
    text += "| trial | rate | round trip | queue | queue / BDP | loss | share of the link, % | dropped: of all / ours | queue, mean / p95 | Jain | bars |\n";
    text += "|---|---|---|---|---|---|---|---|---|---|---|\n";
    for row in rows {
        let cell = &row.cell;
        let queue = cell.queue as f64;
        let jain = if row.shares.len() > 1 { format!("{:.3}", row.jain) } else { String::new() };
        let _ = writeln!(
            text,
            "| {} | {} | {} ms | {} KiB | {:.2} | {} | {} | {:.2} % / {:.2} % | {:.0} % / {:.0} % | {jain} | {} |",
            cell.trial.name(),
            rate(cell.rate),
            millis(cell.rtt),
            cell.queue >> 10,
            queue / cell.bdp(),
            if cell.loss > 0 { format!("{} %", cell.loss as f64 / 1e4) } else { String::new() },
            shares(row),
            row.dropped * 100.0,
            row.dropped_ours * 100.0,
            row.queue_mean / queue * 100.0,
            row.queue_p95 / queue * 100.0,
            verdict(row)
        );
    }
    text
}

pub fn json(rows: &[Row], arguments: &Arguments) -> String {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            let Cell { trial, rate, rtt, queue, loss } = row.cell;
            let bars: Vec<_> =
                row.bars.iter().map(|bar| format!("{{\"bar\": \"{}\", \"met\": {}}}", bar.text, bar.met)).collect();
            let shares: Vec<_> = row.shares.iter().map(|share| format!("{share:.4}")).collect();
            format!(
                "    {{\"trial\": \"{}\", \"rate\": {rate}, \"rtt_us\": {}, \"queue\": {queue}, \"loss_ppm\": {loss}, \
                 \"shares\": [{}], \"least\": {:.4}, \"jain\": {:.4}, \"dropped\": {:.6}, \"dropped_ours\": {:.6}, \
                 \"marked\": {:.6}, \
                 \"queue_mean\": {:.0}, \"queue_p95\": {:.0}, \"bars\": [{}]}}",
                trial.name(),
                rtt / 1000,
                shares.join(", "),
                row.least,
                row.jain,
                row.dropped,
                row.dropped_ours,
                row.marked,
                row.queue_mean,
                row.queue_p95,
                bars.join(", ")
            )
        })
        .collect();
    format!(
        "{{\n  \"sender\": \"{}\",\n  \"seeds\": {},\n  \"seconds\": {},\n  \"rows\": [\n{}\n  ]\n}}\n",
        arguments.sender.name(),
        arguments.seeds,
        arguments.length.as_secs(),
        rows.join(",\n")
    )
}

pub fn trace(cell: &Cell, arguments: &Arguments, figures: &Figures) -> String {
    let points: Vec<_> = figures
        .trace
        .iter()
        .map(|point| {
            let at = millis(point.at);
            format!("    [{at:.3}, {}, {}, {}, {}]", point.flight, point.window, point.queue, point.arrived)
        })
        .collect();
    format!(
        "{{\n  \"sender\": \"{}\",\n  \"rate\": {},\n  \"rtt_us\": {},\n  \"queue\": {},\n  \
         \"fields\": [\"ms\", \"flight\", \"window\", \"queue\", \"arrived\"],\n  \"points\": [\n{}\n  ]\n}}\n",
        arguments.sender.name(),
        cell.rate,
        cell.rtt / 1000,
        cell.queue,
        points.join(",\n")
    )
}
