//! Where in a file that stands of which more can be said than whether it makes sense: for whoever explains a file, and for what `slirp_new`
//! cannot make.

use std::path::Path;

use super::Tables;
use super::fault::{Fault, place};

/// Places, each with the name of the file, the line and the field, as a fault has them.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// Paths of files and sockets that are to be made.
    pub(crate) capture: String,
    pub(crate) control: String,
    pub(crate) log: String,
    /// The rules, in their order.
    pub(crate) rules: Vec<String>,
    /// What makes sense and has no effect, in words.
    pub(crate) idle: Vec<String>,
}

impl Places {
    /// Those of this text, which the file has.
    ///
    /// # Errors
    /// The text makes no sense.
    pub(crate) fn of(path: &Path, text: &str) -> Result<Places, Fault> {
        let tables: Tables = toml::from_str(text).map_err(|error| Fault::in_text(path, text, &error))?;
        let mut line = 1;
        let mut seen = 0;
        let rules = tables.policy.iter().flat_map(|policy| policy.places()).map(|start| {
            // They are in their order, so that each line is counted once.
            line += text.get(seen..start).map_or(0, |passed| passed.matches('\n').count());
            seen = start;
            format!("{}:{line}: policy.rule", path.display())
        });
        Ok(Places { rules: rules.collect(), idle: idle(&tables), ..Places::of_made(&tables, path, text) })
    }

    /// Those of what is to be made, without the rules.
    pub(super) fn of_made(tables: &Tables, path: &Path, text: &str) -> Places {
        let Tables { capture, control, log, .. } = tables;
        let at = |start: usize| place(path, text, start);
        Places {
            capture: capture.as_ref().map(|table| at(table.place())).unwrap_or_default(),
            control: control.as_ref().map(|table| at(table.place())).unwrap_or_default(),
            log: log.as_ref().map(|table| at(table.place())).unwrap_or_default(),
            ..Places::default()
        }
    }
}

/// What of the tables makes sense and has no effect.
fn idle(tables: &Tables) -> Vec<String> {
    let policy = tables.policy.as_ref();
    let mut idle = tables
        .capture
        .iter()
        .flat_map(|table| table.idle(policy.map_or(0, |policy| policy.count())))
        .collect::<Vec<String>>();
    let pings = policy.into_iter().flat_map(|policy| policy.pings_with_ports());
    idle.extend(pings.map(|number| format!("policy.rule: rule {number} is about no pings: they have no ports")));
    if tables.limits.as_ref().is_some_and(|limits| limits.limits().is_ok_and(|both| both == Default::default())) {
        idle.push("limits: nothing is limited".into());
    }
    idle
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_and_each_rule_has_its_place() {
        let text = "[log]\nfile = 'a'\n[capture]\nsnap-length = 60\nfile = 'b'\n[control]\nsocket = 'c'\n\
                    [[policy.rule]]\naction = 'deny'\n\n[[policy.rule]]\naction = 'deny'\n";
        let places = Places::of(Path::new("x.toml"), text).unwrap();
        assert_eq!(places.log, "x.toml:2: log.file");
        assert_eq!(places.capture, "x.toml:5: capture.file");
        assert_eq!(places.control, "x.toml:7: control.socket");
        assert_eq!(places.rules, ["x.toml:8: policy.rule", "x.toml:11: policy.rule"]);
        assert!(Places::of(Path::new("x.toml"), "[x]\n").is_err());
    }
}
