//! Captures and logs that end.

use serde_json::json;

use super::Failure;
use super::client::{Client, say};

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
