//! Whether flows may begin, and who says so.

use serde_json::json;

use super::Failure;
use super::client::{Client, say};

/// Lets no flow begin any more.
///
/// # Errors
/// Those of [`Client::ask`]; and flows may begin again when the last one was waited for, so that nobody takes the network for empty.
pub(crate) fn drain(client: &mut Client, wait: bool) -> Result<(), Failure> {
    client.ask("drain", json!({ "wait": wait }))?;
    let flows = client.take_answer()["flows"].as_u64().unwrap_or_default();
    if !wait {
        return say(&format!("no flow begins any more, flows that go on: {flows}\n"));
    }
    client.ask("version", json!({}))?;
    // The library answers as well when another client lets flows begin again.
    if flows > 0 || client.take_answer()["draining"] != true {
        let text = format!("the network is not drained: somebody has let flows begin again, flows that go on: {flows}");
        return Err(Failure::new(text));
    }
    say("no flow begins any more, and the last one has ended\n")
}

/// Who answers.
///
/// # Errors
/// Those of [`Client::ask`].
pub(crate) fn version(client: &mut Client, json: bool) -> Result<(), Failure> {
    client.ask("version", json!({}))?;
    let answer = client.take_answer();
    if json {
        return say(&format!("{answer}\n"));
    }
    let version = answer["version"].as_str().unwrap_or("?");
    let draining = if answer["draining"] == true { "; no flow begins any more" } else { "" };
    let (process, protocol) = (&answer["process"], &answer["protocol"]);
    say(&format!("oxislirp {version} in process {process}, version {protocol} of the protocol{draining}\n"))
}
