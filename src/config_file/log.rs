//! `[log]`: a line of JSON for each flow that begins, is refused and ends.

use oxislirp::LogOptions;
use serde::Deserialize;

use super::paths::Instance;
use super::ring::{FILES, MAX_BYTES, within};

/// A line of JSON for each flow that begins, is refused and ends.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "log"))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Table {
    /// Where to. A file that exists is emptied and becomes its owner's alone. With several files the others have `.1`, `.2` and so on behind this name.
    #[cfg_attr(feature = "schema", schemars(with = "super::paths::Written", extend("examples" = ["/var/tmp/guest-%p-%i.jsonl"])))]
    file: toml::Spanned<String>,
    /// How long a file may become, in bytes. The log ends there, unless there are several files.
    ///
    /// Without it: so much that all files have 1 GiB.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "Option<u64>", range(min = MAX_BYTES.0, max = MAX_BYTES.1), extend("examples" = [16_777_216]))
    )]
    max_bytes: Option<toml::Spanned<u64>>,
    /// So many files in a ring: `file`, then those with a number, and then `file` anew.
    ///
    /// Without it: 1 where `max-bytes` is there, or else 4.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "Option<u32>", range(min = FILES.0, max = FILES.1), extend("examples" = [8]))
    )]
    files: Option<toml::Spanned<u32>>,
}

impl Table {
    /// Where in the text the path stands.
    pub(super) fn place(&self) -> usize {
        self.file.span().start
    }

    /// What the engine makes of it.
    ///
    /// # Errors
    /// Where a value is that makes no sense, and what is wrong with it.
    pub(super) fn options(&self, instance: &Instance) -> Result<LogOptions, (std::ops::Range<usize>, String)> {
        let path = instance.path(self.file.get_ref()).map_err(|text| (self.file.span(), text))?;
        let mut options = LogOptions::new(path);
        if let Some(most) = &self.max_bytes {
            options = options.max_bytes(within(most, MAX_BYTES)?);
        }
        if let Some(files) = &self.files {
            options = options.files(within(files, FILES)?);
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use crate::config_file::tests::parse;

    #[test]
    fn a_log_is_where_it_was_written_down() {
        let settings = parse("[log]\nfile = \"/var/log/%%\"\n").unwrap();
        assert_eq!(settings.log, Some(oxislirp::LogOptions::new("/var/log/%")));
        let settings = parse("[log]\nfile = '/x'\nmax-bytes = 1048576\nfiles = 9\n").unwrap();
        assert_eq!(settings.log, Some(oxislirp::LogOptions::new("/x").max_bytes(1 << 20).files(9)));
        assert!(parse("[log]\nfile = \"\"\n").unwrap_err().starts_with("x.toml:2: log.file: the path is empty"));
        let fault = |text: &str| parse(&format!("[log]\nfile = 'x'\n{text}\n")).unwrap_err();
        assert!(fault("max-bytes = 1").starts_with("x.toml:3: log.max-bytes: 1 is not 1048576 or more"));
        assert_eq!(fault("files = 0"), "x.toml:3: log.files: 0 is not 1 to 64");
    }
}
