//! `[capture]`: the guest's frames in a file that Wireshark reads.

use serde::Deserialize;

use super::paths::Instance;
use oxislirp::CaptureOptions;

/// The table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Table {
    /// Where to.
    file: toml::Spanned<String>,
    /// How many bytes of each frame.
    snap_length: Option<toml::Spanned<usize>>,
    /// How long a file may become, in bytes.
    max_bytes: Option<toml::Spanned<u64>>,
    /// How many files there are, each behind the other.
    files: Option<toml::Spanned<u32>>,
}

impl Table {
    /// What the engine makes of it.
    ///
    /// # Errors
    /// Where a value is that makes no sense, and what is wrong with it.
    pub(super) fn options(&self, instance: &Instance) -> Result<CaptureOptions, (std::ops::Range<usize>, String)> {
        let path = instance.path(self.file.get_ref()).map_err(|text| (self.file.span(), text))?;
        let mut options = CaptureOptions::new(path);
        if let Some(length) = &self.snap_length {
            options = options.snap_length(within(length, 14, 262_144)?);
        }
        if let Some(most) = &self.max_bytes {
            options = options.max_bytes(within(most, 1 << 20, u64::MAX)?);
        }
        if let Some(files) = &self.files {
            options = options.files(within(files, 1, 64)?);
            if self.max_bytes.is_none() {
                return Err((files.span(), "there is no max-bytes at which the next file begins".into()));
            }
        }
        Ok(options)
    }
}

/// A number, if it is one of these.
fn within<T: PartialOrd + Copy + std::fmt::Display>(
    number: &toml::Spanned<T>,
    least: T,
    most: T,
) -> Result<T, (std::ops::Range<usize>, String)> {
    let value = *number.get_ref();
    if value < least || value > most {
        return Err((number.span(), format!("{value} is not {least} to {most}")));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use crate::config_file::tests::parse;

    #[test]
    fn a_capture_is_where_and_how_it_was_written_down() {
        let settings = parse("[capture]\nfile = \"/tmp/%p.%i\"\nsnap-length = 96\nmax-bytes = 1048576\nfiles = 4\n");
        let path = format!("/tmp/{}.1", std::process::id());
        let expected = oxislirp::CaptureOptions::new(path).snap_length(96).max_bytes(1 << 20).files(4);
        assert_eq!(settings.unwrap().capture, Some(expected));
    }

    #[test]
    fn what_makes_no_sense_is_refused_where_it_stands() {
        let fault = |text: &str| parse(&format!("[capture]\nfile = \"x\"\n{text}\n")).unwrap_err();
        assert_eq!(fault("snap-length = 13"), "x.toml:3: capture.snap-length: 13 is not 14 to 262144");
        assert_eq!(fault("files = 65"), "x.toml:3: capture.files: 65 is not 1 to 64");
        assert!(fault("files = 2").ends_with("capture.files: there is no max-bytes at which the next file begins"));
        assert!(fault("max-bytes = 10").contains("10 is not 1048576 to"));
        assert!(fault("snaplen = 10").starts_with("x.toml:3: capture.snaplen: unknown field"));
        assert!(parse("[capture]\n").unwrap_err().contains("missing field `file`"));
        assert!(parse("[capture]\nfile = \"%x\"\n").unwrap_err().starts_with("x.toml:2: capture.file: "));
    }
}
