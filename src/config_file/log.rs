//! `[log]`: a line of JSON for each flow that begins, is refused and ends.

use std::path::PathBuf;

use serde::Deserialize;

use super::paths::Instance;

/// A line of JSON for each flow that begins, is refused and ends.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "log"))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Table {
    /// Where to. A file that exists is emptied and becomes its owner's alone.
    #[cfg_attr(feature = "schema", schemars(with = "super::paths::Written", extend("examples" = ["/var/tmp/guest-%p-%i.jsonl"])))]
    file: toml::Spanned<String>,
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
    pub(super) fn path(&self, instance: &Instance) -> Result<PathBuf, (std::ops::Range<usize>, String)> {
        instance.path(self.file.get_ref()).map_err(|text| (self.file.span(), text))
    }
}

#[cfg(test)]
mod tests {
    use crate::config_file::tests::parse;

    #[test]
    fn a_log_is_where_it_was_written_down() {
        let settings = parse("[log]\nfile = \"/var/log/%%\"\n").unwrap();
        assert_eq!(settings.log.as_deref(), Some(std::path::Path::new("/var/log/%")));
        assert!(parse("[log]\nfile = \"\"\n").unwrap_err().starts_with("x.toml:2: log.file: the path is empty"));
    }
}
