//! The file that OXISLIRP_CONFIG names: what the structures of libslirp have no words for, under programs that are not
//! changed. It is read once, in `slirp_new`, before a program locks itself in; an error in it makes that fail, so that
//! nobody runs with less than was written down.
//!
//! Here are the reading and the list of tables; each table has a file of its own, which turns what was written into values
//! of the engine. `item` has single values, `fault` says what is wrong and where, `paths` what `%p` and `%i` in a path stand
//! for, `places` where something stands, `plain` what others say of a file in words for people, `unmade` what the system says of a file or a socket that stands there, and `schema` what may stand in a file, made from the same types; only the command is compiled with it. What a value means is the engine's, and nothing here knows of it.

mod capture;
mod control;
mod dns;
mod fault;
mod item;
mod limits;
mod log;
mod network;
mod paths;
#[allow(dead_code, reason = "some of it only the command asks for")]
mod places;
mod plain;
mod policy;
#[cfg(feature = "schema")]
mod policy_schema;
mod ring;
#[cfg(feature = "schema")]
mod schema;
mod unmade;

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use oxislirp::limits::Limits;
use oxislirp::policy::Policy;
use oxislirp::{CaptureOptions, ConfigBuilder, ControlOptions, LogOptions, Stack};
use serde::Deserialize;

use crate::system::{never_waiting, runs_with_other_rights};

pub(crate) use fault::Fault;
pub(crate) use paths::Instance;
#[allow(unused_imports, reason = "it is the command that asks")]
pub(crate) use places::Places;
#[cfg(feature = "schema")]
pub(crate) use schema::schema;

/// The variable that names the file.
const VARIABLE: &str = "OXISLIRP_CONFIG";
/// The most bytes that a file may have: a policy of 10,000 rules is smaller.
const LONGEST: u64 = 4 << 20;

// Each table is a field here and a file beside this one; a table that is not known is an error.
/// What a program has no options for: the file, of up to 4 MiB, that the environment variable `OXISLIRP_CONFIG` names.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "oxislirp.toml"))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Tables {
    #[serde(deserialize_with = "item::table")]
    capture: Option<capture::Table>,
    #[serde(deserialize_with = "item::table")]
    control: Option<control::Table>,
    #[serde(deserialize_with = "item::table")]
    limits: Option<limits::Table>,
    #[serde(deserialize_with = "item::table")]
    dns: Option<dns::Table>,
    #[serde(deserialize_with = "item::table")]
    log: Option<log::Table>,
    #[serde(deserialize_with = "item::table")]
    network: Option<network::Table>,
    #[serde(deserialize_with = "item::table")]
    policy: Option<policy::Table>,
}

/// What a file says, checked.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) capture: Option<CaptureOptions>,
    pub(crate) control: Option<ControlOptions>,
    pub(crate) limits: Limits,
    pub(crate) dns: Option<dns::Dns>,
    pub(crate) log: Option<LogOptions>,
    pub(crate) network: network::Network,
    pub(crate) policy: Option<Policy>,
    /// Where that stands which is to be made.
    places: Places,
}

/// What is to be said where the environment names a file that is not taken from there.
pub(crate) fn ignored() -> Option<String> {
    let ignores = std::env::var_os(VARIABLE).is_some() && runs_with_other_rights();
    ignores.then(|| {
        format!("{VARIABLE} is ignored: this program has other rights than whoever has started it, and nothing of the file holds")
    })
}

impl Settings {
    /// What the file says that the environment names; nothing where it names none. A program that runs with other rights
    /// than its caller's (setuid, setgid, file capabilities) takes no file from there.
    ///
    /// # Errors
    /// The file cannot be read, or something in it makes no sense.
    pub(crate) fn from_environment(instance: &Instance) -> Result<Settings, Fault> {
        let Some(path) = std::env::var_os(VARIABLE).filter(|_| !runs_with_other_rights()) else {
            return Ok(Settings::default());
        };
        // An empty name is more likely a variable that was not set in a script than the wish to have no file.
        if path.is_empty() {
            return Err(Fault::of_variable(VARIABLE, "names no file"));
        }
        Settings::from_file(Path::new(&path), instance).map_err(|fault| fault.named_by(VARIABLE))
    }

    /// What a file says.
    ///
    /// # Errors
    /// As for [`Settings::from_environment`].
    pub(crate) fn from_file(path: &Path, instance: &Instance) -> Result<Settings, Fault> {
        Settings::parse(path, &text_of(path)?, instance)
    }

    /// What its text says.
    ///
    /// # Errors
    /// Something in it makes no sense.
    pub(crate) fn parse(path: &Path, text: &str, instance: &Instance) -> Result<Settings, Fault> {
        let tables: Tables = toml::from_str(text).map_err(|error| Fault::in_text(path, text, &error))?;
        let places = Places::of_made(&tables, path, text);
        let Tables { capture, control, dns, limits, log, network, policy } = tables;
        let at = |(place, message): (Range<usize>, String)| Fault::at(path, text, place.start, &message);
        let capture = capture.map(|table| table.options(instance)).transpose().map_err(at)?;
        let control = control.map(|table| table.options(text, instance)).transpose().map_err(at)?;
        let dns = dns.map(|table| table.dns(instance)).transpose().map_err(at)?;
        let log = log.map(|table| table.options(instance)).transpose().map_err(at)?;
        // A device is nobody's alone, and no ring.
        let captures = capture.iter().filter(|capture| !is_device(capture.path()));
        let captures = captures.flat_map(CaptureOptions::paths).map(|file| (file, &places.capture));
        let logs = log.iter().filter(|log| !is_device(log.path()));
        let logs = logs.flat_map(LogOptions::paths).map(|file| (file, &places.log));
        let socket = control.iter().map(|control| (control.path().to_owned(), &places.control));
        let mut made = HashMap::new();
        for (file, place) in captures.chain(logs).chain(socket) {
            // It would be emptied when it is opened.
            if place != &places.control && is_same(&file, path) {
                return Err(Fault::at_place(place, "that is this file itself, which would be emptied"));
            }
            // Each is somebody's alone.
            if let Some(other) = made.insert(file, place) {
                return Err(Fault::at_place(place, &format!("that is {other} as well")));
            }
        }
        let network = network.map(network::Table::network).transpose().map_err(at)?.unwrap_or_default();
        let (whole, guest) = limits.map(|table| table.limits()).transpose().map_err(at)?.unwrap_or_default();
        let of_rules = policy.as_ref().map(policy::Table::limits).transpose().map_err(at)?.unwrap_or_default();
        let limits = Limits::new().whole(whole).each_guest(guest);
        let limits = of_rules.into_iter().fold(limits, |limits, (number, limit)| limits.rule(number, limit));
        let policy = policy.map(policy::Table::policy).transpose().map_err(at)?;
        Ok(Settings { capture, control, dns, limits, log, network, policy, places })
    }

    /// A configuration with what the file says.
    pub(crate) fn apply(&self, config: ConfigBuilder) -> ConfigBuilder {
        let config = self.network.apply(config).limits(self.limits.clone());
        let config = match &self.policy {
            Some(policy) => config.policy(policy.clone()),
            None => config,
        };
        match &self.dns {
            Some(dns) => dns.apply(config),
            None => config,
        }
    }

    /// Has a stack write down what the file says, and take requests where it says. All files and sockets are opened here.
    ///
    /// # Errors
    /// What the system says of one, and where in the file that stands.
    pub(crate) fn open(&self, stack: &mut Stack) -> io::Result<()> {
        if let Some(control) = &self.control {
            stack.start_control(control).map_err(|error| unmade::at(&self.places.control, error))?;
        }
        if let Some(capture) = &self.capture {
            stack.start_capture(capture).map_err(|error| unmade::at(&self.places.capture, error))?;
        }
        match &self.log {
            Some(log) => stack.start_log(log).map_err(|error| unmade::at(&self.places.log, error)),
            None => Ok(()),
        }
    }
}

/// Whether two paths are one file that there is.
fn is_same(one: &Path, other: &Path) -> bool {
    one.canonicalize().ok().zip(other.canonicalize().ok()).is_some_and(|(one, other)| one == other)
}

/// Whether there is something at a path that is neither a file nor a folder.
fn is_device(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// The text of a file.
///
/// # Errors
/// It cannot be read.
pub(crate) fn text_of(path: &Path) -> Result<String, Fault> {
    read(path).map_err(|error| Fault::of_file(path, error))
}

/// Reads a file whole. What is no ordinary file is refused: it might make the program wait for ever.
fn read(path: &Path) -> io::Result<String> {
    let file = never_waiting(OpenOptions::new().read(true)).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not an ordinary file"));
    }
    let mut text = String::new();
    file.take(LONGEST + 1).read_to_string(&mut text).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => io::Error::new(error.kind(), "the text is not UTF-8"),
        _ => error,
    })?;
    if text.len() as u64 > LONGEST {
        return Err(io::Error::other(format!("longer than {LONGEST} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::errno;

    pub(crate) fn parse(text: &str) -> Result<Settings, String> {
        Settings::parse(Path::new("x.toml"), text, &Instance::numbered(1)).map_err(|fault| fault.to_string())
    }

    /// docs/config.md has each table and no other, and what it shows is taken.
    #[test]
    fn the_page_has_every_table() {
        let page = include_str!("../../docs/config.md");
        let listed =
            page.lines().filter_map(|line| line.strip_prefix("| `[")?.split_once("]` |")).map(|(name, _)| name);
        let known = parse("[no-such-table]\n").unwrap_err();
        let known = known.split_once("what there is: ").unwrap().1.split(", ");
        let (mut listed, mut known): (Vec<_>, Vec<_>) = (listed.collect(), known.collect());
        listed.sort_unstable();
        known.sort_unstable();
        assert_eq!(listed, known);
        let shown = page.split("```toml\n").nth(1).and_then(|rest| rest.split_once("```")).unwrap().0;
        assert_eq!(parse(shown).unwrap().network.mtu(), Some(65520));
    }

    #[test]
    fn an_empty_file_says_nothing_and_an_unknown_table_is_an_error() {
        parse("").unwrap();
        parse("# nothing\n").unwrap();
        for list in ["network = [1500]\n", "policy = []\n", "[[policy]]\ndefault = 'deny'\n"] {
            assert!(parse(list).unwrap_err().ends_with(": this is a list, and has to be a table"), "{list}");
        }
        let fault = parse("\n[polcy]\n").unwrap_err();
        assert!(fault.starts_with("x.toml:2: polcy: there is no `polcy` here"), "{fault}");
    }

    #[test]
    fn what_cannot_be_made_is_said_with_its_place_and_the_systems_number() {
        let text = "\n[log]\nfile = '/nonexistent/x'\n";
        let settings = Settings::parse("x.toml".as_ref(), text, &Instance::numbered(1)).unwrap();
        let mut stack = Stack::new(oxislirp::Config::default()).unwrap();
        let error = settings.open(&mut stack).unwrap_err();
        assert!(error.to_string().starts_with("x.toml:3: log.file: /nonexistent/x: "), "{error}");
        assert_eq!(crate::system::errno_of(&error, errno::EIO), errno::ENOENT);
    }

    #[test]
    fn a_file_that_would_empty_itself_is_refused_as_it_is() {
        let path = std::env::temp_dir().join(format!("oxislirp-itself-{}.toml", std::process::id()));
        for (table, line) in [("log", 2), ("capture", 3)] {
            // A literal text of TOML: a path of Windows has backslashes.
            let text = format!("{}[{table}]\nfile = '{}'\n", "\n".repeat(line - 2), path.display());
            std::fs::write(&path, &text).unwrap();
            let fault = Settings::from_file(&path, &Instance::numbered(1)).unwrap_err().to_string();
            assert!(
                fault.ends_with(&format!(":{line}: {table}.file: that is this file itself, which would be emptied")),
                "{fault}"
            );
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn what_is_no_file_or_too_long_is_refused() {
        let fault = |path: &str| Fault::of_file(path.as_ref(), read(path.as_ref()).unwrap_err());
        // Not an ordinary one, or none at all, as on Windows.
        assert!(fault("/dev/null").to_string().starts_with("/dev/null: "));
        assert_eq!(fault("/nonexistent/x").errno(), errno::ENOENT);
        assert!(
            fault("/nonexistent/x")
                .named_by(VARIABLE)
                .to_string()
                .starts_with("OXISLIRP_CONFIG names /nonexistent/x: ")
        );
        let fault = Settings::parse("x.toml".as_ref(), "[x]\n", &Instance::numbered(1)).unwrap_err();
        assert!(fault.named_by(VARIABLE).to_string().starts_with("x.toml:1: "));
        let path = std::env::temp_dir().join(format!("oxislirp-long-{}.toml", std::process::id()));
        std::fs::write(&path, b"[log]\nfile = '\xff'\n").unwrap();
        assert_eq!(read(&path).unwrap_err().to_string(), "the text is not UTF-8");
        std::fs::write(&path, vec![b'#'; LONGEST as usize + 1]).unwrap();
        let long = read(&path).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(long, "longer than 4194304 bytes");
    }
}
