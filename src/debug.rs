//! The debug mask: one for the whole process, as its functions take no instance. Source: docs/contract/api.md section
//! 8.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use super::log::{self, Level};

static MASK: AtomicU32 = AtomicU32::new(0);
static ENVIRONMENT: Once = Once::new();

/// The names SLIRP_DEBUG takes, in the order "help" lists them.
const NAMES: [(&str, u32); 5] = [("call", 1), ("misc", 2), ("error", 4), ("tftp", 8), ("verbose_call", 16)];

/// Sets bits of the mask.
pub(crate) fn set(flags: u32) {
    MASK.fetch_or(flags, Ordering::Relaxed);
}

/// Clears bits of the mask.
pub(crate) fn reset(flags: u32) {
    MASK.fetch_and(!flags, Ordering::Relaxed);
}

/// Writes a message when any of `flags` is set; `text` is made only then.
pub(crate) fn message(flags: u32, text: impl FnOnce() -> String) {
    if MASK.load(Ordering::Relaxed) & flags != 0 {
        log::write(Level::Debug, &text());
    }
}

/// Reads SLIRP_DEBUG, the first time it is called in a process.
pub(crate) fn read_environment() {
    ENVIRONMENT.call_once(|| {
        let Some(value) = std::env::var_os("SLIRP_DEBUG") else { return };
        let value = value.to_string_lossy();
        if value.eq_ignore_ascii_case("help") {
            let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
            eprintln!("Supported debug values: {} all help", names.join(" "));
        } else {
            set(parse(&value));
        }
    });
}

/// The mask of a list of names: separated by any of ":;, " and tab, in any case, with '-' as good as '_'. A list that
/// has "all" in it means all but what it names besides, as GLib's lists do.
fn parse(value: &str) -> u32 {
    let known = NAMES.iter().fold(0, |mask, (_, bit)| mask | bit);
    let mut mask = 0;
    let mut invert = false;
    for word in value.split([':', ';', ',', ' ', '\t']) {
        let word = word.replace('-', "_").to_ascii_lowercase();
        if word == "all" {
            invert = true;
        } else if let Some((_, bit)) = NAMES.iter().find(|(name, _)| *name == word) {
            mask |= bit;
        }
    }
    if invert { known & !mask } else { mask }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn lists_of_names() {
        assert_eq!(parse("call"), 1);
        assert_eq!(parse("CALL:Verbose-Call"), 17);
        assert_eq!(parse("misc, error;tftp\tnonsense"), 14);
        assert_eq!(parse("all"), 31);
        assert_eq!(parse("all:call"), 30);
        assert_eq!(parse(""), 0);
    }
}
