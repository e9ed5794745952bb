//! `[control]`: a socket at which requests come in while the guest runs.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use oxislirp::ControlOptions;
use oxislirp::policy::Policy;
use serde::Deserialize;

use super::fault::Fault;
use super::paths::Instance;
use super::policy;

/// The table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Table {
    /// Where.
    socket: toml::Spanned<String>,
}

impl Table {
    /// What the engine makes of it.
    ///
    /// # Errors
    /// Where a value is that makes no sense, and what is wrong with it.
    pub(super) fn options(&self, instance: &Instance) -> Result<ControlOptions, (Range<usize>, String)> {
        let path = instance.path(self.socket.get_ref()).map_err(|text| (self.socket.span(), text))?;
        Ok(ControlOptions::new(path).policy_reader(Arc::new(read_policy)))
    }
}

/// A file with nothing in it but a policy.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Alone {
    policy: policy::Table,
}

/// The policy that a client has sent.
///
/// # Errors
/// What is wrong with it, with its line and its field.
fn read_policy(text: &str) -> Result<Policy, String> {
    let path = Path::new("text");
    let Alone { policy } = toml::from_str(text).map_err(|error| Fault::in_text(path, text, &error).to_string())?;
    let fault = |(place, message): (Range<usize>, String)| Fault::at(path, text, place.start, &message).to_string();
    if !policy.limits().map_err(fault)?.is_empty() {
        return Err("a rule has a limit: those are counted from the beginning on, and come with no other policy".into());
    }
    policy.policy().map_err(fault)
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
        assert!(parse("[control]\n").unwrap_err().contains("missing field `socket`"));
        assert!(parse("[control]\nsocket = '/x'\nport = 1\n").unwrap_err().contains("unknown field `port`"));
    }

    #[test]
    fn a_policy_alone_is_read_and_what_is_wrong_has_its_line() {
        assert!(read_policy("[policy]\ndefault = 'allow'\n").is_ok());
        let fault = |text: &str| read_policy(text).unwrap_err();
        assert!(fault("[policy]\ndefault = 'alow'\n").starts_with("text:2: policy.default: `alow` is none of"));
        assert!(fault("[log]\nfile = 'x'\n").contains("unknown field `log`"));
        assert!(fault("").contains("missing field `policy`"));
        let limit = "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nlimit = { up = 1 }\n";
        assert!(fault(limit).starts_with("a rule has a limit"));
    }
}
