//! Limits as sentences.

use std::fmt::{self, Display};

use super::{Limit, Limits};

/// `1000000 bytes a second up, 100 flows at a time`.
impl Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bounds = [
            (self.up, "bytes a second up"),
            (self.down, "bytes a second down"),
            (self.begins.map(u64::from), "new flows a second"),
            (self.flows.map(u64::from), "flows at a time"),
            (self.volume, "bytes in all"),
        ];
        let words = bounds.into_iter().filter_map(|(bound, word)| Some(format!("{} {word}", bound?)));
        let words: Vec<String> = words.collect();
        f.write_str(&if words.is_empty() { "no bound".into() } else { words.join(", ") })
    }
}

impl Limits {
    /// What is bounded, a sentence for each.
    pub fn sentences(&self) -> impl Iterator<Item = String> {
        let both = [("all together", self.whole), ("each address of the guest", self.guest)];
        let both = both.into_iter().map(|(who, limit)| (who.to_owned(), limit));
        let rules = self.rules.iter().map(|(number, limit)| (format!("all by rule {number}"), *limit));
        both.chain(rules).filter(|(_, limit)| !limit.is_none()).map(|(who, limit)| format!("{who}: {limit}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_bounded_is_said_and_nothing_else() {
        let limits = Limits::new().whole(Limit::new().down(1000).volume(5)).rule(3, Limit::new().flows(2));
        let sentences: Vec<String> = limits.sentences().collect();
        assert_eq!(
            sentences,
            ["all together: 1000 bytes a second down, 5 bytes in all", "all by rule 3: 2 flows at a time"]
        );
        assert_eq!((Limits::new().sentences().count(), Limit::new().to_string()), (0, "no bound".into()));
    }
}
