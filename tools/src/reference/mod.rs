//! What may stand in a file of OXISLIRP_CONFIG, as the reader's own types say it: the schema, which `oxislirp schema` prints, and `page`, which makes
//! docs/config-reference.md of it. Both are checked in; a test compares, and `OXISLIRP_WRITE_REFERENCE=1 cargo test -p oxislirp-tools reference` writes
//! them anew.

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod page;
#[cfg(test)]
mod random;
#[cfg(test)]
mod refusals;

use super::config_file;

/// The schema as it is written and printed.
pub(crate) fn schema_text() -> String {
    format!("{:#}\n", config_file::schema())
}
