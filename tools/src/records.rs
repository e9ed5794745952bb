//! Captures and logs that begin and end.

use serde_json::{Value, json};

use super::Failure;
use super::client::{Client, say};

/// Adds the numbers that were given: a library that is older knows no field that was not.
pub(crate) fn add_given<const N: usize>(members: &mut Value, numbers: [(&str, Option<u64>); N]) {
    for (name, number) in numbers.into_iter().filter_map(|(name, number)| Some((name, number?))) {
        members[name] = number.into();
    }
}

/// Ends one, and says what is in it: `count` is the member that counts `what`.
///
/// # Errors
/// Those of [`Client::ask`].
pub(crate) fn stop(client: &mut Client, word: &str, count: &str, what: &str) -> Result<(), Failure> {
    client.ask(word, json!({}))?;
    let answer = client.take_answer();
    let before = answer["ended"].as_str().map(|why| format!("; it had ended before: {why}")).unwrap_or_default();
    say(&format!("{what} {count}: {}, dropped: {}{before}\n", answer[count], answer["dropped"]))
}
