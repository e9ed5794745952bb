//! `[control]`: a socket at which requests come in while the guest runs.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use oxislirp::ControlOptions;
use oxislirp::policy::Policy;
use serde::Deserialize;
use toml::{Spanned, Value};

use super::Tables;
use super::fault::Fault;
use super::paths::Instance;
use super::plain::plain;

/// A socket at which a network that runs is asked and changed.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "control"))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Table {
    /// Where the Unix socket is made, with the mode 0600. One that a dead process has left is replaced.
    #[cfg_attr(feature = "schema", schemars(with = "super::paths::Written", extend("examples" = ["/run/user/1000/guest-%p-%i.sock"])))]
    socket: toml::Spanned<String>,
}

impl Table {
    /// Where in the text the path stands.
    pub(super) fn place(&self) -> usize {
        self.socket.span().start
    }

    /// What the engine makes of it; `text` is that of the whole file.
    ///
    /// # Errors
    /// Where a value is that makes no sense, and what is wrong with it.
    pub(super) fn options(&self, text: &str, instance: &Instance) -> Result<ControlOptions, (Range<usize>, String)> {
        let path = instance.path(self.socket.get_ref()).map_err(|text| (self.socket.span(), text))?;
        let made_from = Fixed::of(text);
        let reader = move |text: &str| read_policy(text, &made_from);
        Ok(ControlOptions::new(path).policy_reader(Arc::new(reader)))
    }
}

/// The policy of a file that a client has sent.
///
/// # Errors
/// What is wrong with the file, with its line and its field; or it says something else than the one that the network was made from, which
/// cannot change while it runs.
fn read_policy(text: &str, made_from: &Fixed) -> Result<Policy, String> {
    let path = Path::new("text");
    // What a table means is for its own file: the whole makes sense, or nothing of it counts.
    let Tables { policy, .. } = toml::from_str(text).map_err(|error| Fault::in_text(path, text, &error).to_string())?;
    let fault = |(place, message): (Range<usize>, String)| Fault::at(path, text, place.start, &message).to_string();
    made_from.allows(text).map_err(fault)?;
    let Some(policy) = policy else { return Err("text: there is no table [policy]".into()) };
    if let Some(place) = policy.place_of_limit() {
        let why = "limits are counted from the beginning on, and come with no other policy".to_owned();
        return Err(fault((place, why)));
    }
    policy.policy().map_err(fault)
}

/// What a file says besides its policy: what cannot change while the network runs.
#[derive(Debug, Default)]
struct Fixed(BTreeMap<String, Value>);

/// The one table that can.
const CHANGES: &str = "policy";

impl Fixed {
    /// That of this text.
    fn of(text: &str) -> Fixed {
        let mut tables: BTreeMap<String, Value> = toml::from_str(text).unwrap_or_default();
        tables.remove(CHANGES);
        Fixed(tables)
    }

    /// Whether a file may take its place: it says the same of each of its other tables, or nothing.
    ///
    /// # Errors
    /// Where it says something else, and what is to be done.
    fn allows(&self, text: &str) -> Result<(), (Range<usize>, String)> {
        let tables: BTreeMap<String, BTreeMap<String, Spanned<Value>>> = match toml::from_str(text) {
            Ok(tables) => tables,
            Err(error) => return Err((error.span().unwrap_or_default(), plain(error.message()))),
        };
        for (name, fields) in tables.iter().filter(|(name, _)| *name != CHANGES) {
            let before = self.0.get(name).and_then(Value::as_table);
            let is_new = |field: &String, value: &Value| before.and_then(|table| table.get(field)) != Some(value);
            if let Some((_, value)) = fields.iter().find(|(field, value)| is_new(field, value.get_ref())) {
                let what = "this cannot change while the network runs";
                return Err((value.span(), format!("{what}: leave it as it was, or leave out [{name}]")));
            }
            let gone = before.and_then(|table| table.keys().find(|field| !fields.contains_key(*field)));
            if let Some(field) = gone {
                let place = fields.values().next().map(Spanned::span).unwrap_or_default();
                let what = format!("{name}.{field} was there, and cannot go while the network runs");
                return Err((place, format!("{what}: leave out all of [{name}], or nothing")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config_file::tests::parse;

    #[test]
    fn a_socket_is_where_it_was_written_down() {
        let settings = parse("[control]\nsocket = \"/run/x-%p-%i.sock\"\n").unwrap();
        let path = format!("/run/x-{}-1.sock", std::process::id());
        assert!(format!("{:?}", settings.control.unwrap()).contains(&path));
        assert!(
            parse("[control]\nsocket = \"\"\n").unwrap_err().starts_with("x.toml:2: control.socket: the path is empty")
        );
        assert!(parse("[control]\n").unwrap_err().contains("`socket` is missing"));
        assert!(parse("[control]\nsocket = '/x'\nport = 1\n").unwrap_err().contains("there is no `port` here"));
    }

    #[test]
    fn a_file_is_read_for_its_policy_and_what_is_wrong_has_its_line() {
        let read = |text: &str| read_policy(text, &Fixed::default());
        assert!(read("[policy]\ndefault = 'allow'\n").is_ok());
        let fault = |text: &str| read(text).unwrap_err();
        assert!(fault("[policy]\ndefault = 'alow'\n").starts_with("text:2: policy.default: `alow` is none of"));
        assert!(fault("[policy]\n[lgo]\n").contains("there is no `lgo` here"));
        assert_eq!(fault(""), "text: there is no table [policy]");
        let limit = "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nlimit = { up = 1 }\n";
        assert!(fault(limit).starts_with("text:4: policy.rule.limit: limits are counted from the beginning on"));
    }

    #[test]
    fn what_cannot_change_while_the_network_runs_is_named() {
        let file =
            "[control]\nsocket = '/x'\n[log]\nfile = '/log'\n[network]\nmtu = 9000\n[policy]\ndefault = 'allow'\n";
        let read = |text: &str| read_policy(text, &Fixed::of(file));
        // The same file with another policy, one with fewer tables, and the policy alone.
        assert!(read(&file.replace("allow", "deny")).is_ok());
        assert!(read("[log]\nfile = '/log'\n[policy]\n").is_ok());
        assert!(read("[policy]\n").is_ok());
        let fault = |text: &str| read(text).unwrap_err();
        let changed = fault(&file.replace("9000", "1500"));
        let advice = "leave it as it was, or leave out [network]";
        assert_eq!(changed, format!("text:6: network.mtu: this cannot change while the network runs: {advice}"));
        assert!(fault("[policy]\n[capture]\nfile = '/c'\n").starts_with("text:3: capture.file: this cannot change"));
        assert!(fault("[policy]\n[limits.whole]\nflows = 1\n").contains("this cannot change"));
        // It is wrong whether or not it could change.
        assert!(
            fault("[policy]\n[network]\nmtu = 'x'\n")
                .starts_with("text:3: network.mtu: this is the text \"x\", and has to be a whole number")
        );
    }
}
