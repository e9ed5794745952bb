//! Host forwards.

use serde_json::{Value, json};

use super::Failure;
use super::client::{Client, absolute, say, say_each};

/// A path is this process's, and the other one has another current folder.
fn place(protocol: &str, listen: &str) -> Result<Value, Failure> {
    Ok(match protocol {
        "unix" => absolute(listen.as_ref())?.into(),
        _ => listen.into(),
    })
}

pub(crate) fn list(client: &mut Client, json: bool) -> Result<(), Failure> {
    client.ask("forward.list", json!({ "most": 1 }))?;
    let waiting = client.take_answer()["waiting"].take();
    let forwards = client.ask_all("forward.list", "forwards")?;
    if json {
        return say_each(forwards.iter().chain(waiting.as_array().into_iter().flatten()));
    }
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or("-").to_owned();
    let mut lines = String::new();
    for entry in &forwards {
        let more = if entry["only_v6"] == true { ", IPv6 only" } else { "" };
        let words = ["protocol", "listen", "guest"].map(|name| text(entry, name));
        lines += &format!("{:<5} {} -> {}{more}\n", words[0], words[1], words[2]);
    }
    for entry in waiting.as_array().into_iter().flatten() {
        let words = ["protocol", "listen", "guest", "why"].map(|name| text(entry, name));
        lines += &format!("{:<5} {} -> {} waits: {}\n", words[0], words[1], words[2], words[3]);
    }
    say(&lines)
}

pub(crate) fn add(
    client: &mut Client,
    protocol: &str,
    listen: &str,
    guest: Option<&str>,
    wait: bool,
    only_v6: bool,
) -> Result<(), Failure> {
    let mut forward =
        json!({ "protocol": protocol, "listen": place(protocol, listen)?, "wait": wait, "only_v6": only_v6 });
    if let Some(guest) = guest {
        forward["guest"] = guest.into();
    }
    client.ask("forward.add", json!({ "forwards": [forward] }))?;
    say_done(client)
}

pub(crate) fn remove(client: &mut Client, protocol: &str, listen: &[String]) -> Result<(), Failure> {
    let places = listen.iter().map(|listen| Ok(json!({ "protocol": protocol, "listen": place(protocol, listen)? })));
    let places = places.collect::<Result<Vec<Value>, Failure>>()?;
    client.ask("forward.remove", json!({ "forwards": places }))?;
    say_done(client)
}

pub(crate) fn replace(client: &mut Client, forwards: &[String]) -> Result<(), Failure> {
    let forwards = forwards.iter().map(|text| {
        let mut parts = text.splitn(3, ',');
        let (Some(protocol), Some(listen)) = (parts.next(), parts.next()) else {
            return Err(Failure::new(format!("`{text}` is not PROTOCOL,LISTEN[,GUEST]")));
        };
        let mut forward = json!({ "protocol": protocol, "listen": place(protocol, listen)? });
        if let Some(guest) = parts.next() {
            forward["guest"] = guest.into();
        }
        Ok(forward)
    });
    let forwards = forwards.collect::<Result<Vec<Value>, Failure>>()?;
    client.ask("forward.replace", json!({ "forwards": forwards }))?;
    say_done(client)
}

/// How many of which kind: `added 100`.
fn say_done(client: &mut Client) -> Result<(), Failure> {
    let answer = client.take_answer();
    let counts = answer.as_object().into_iter().flatten();
    let counts = counts.filter_map(|(name, count)| Some((name, count.as_u64().filter(|count| *count > 0)?)));
    let mut words: Vec<String> = counts.map(|(name, count)| format!("{name} {count}")).collect();
    if let Some(bound) = answer["bound"].as_array() {
        words.extend(bound.iter().filter_map(|bound| Some(format!("at {}", bound.as_str()?))));
    }
    if words.is_empty() {
        words.push("nothing to do".into());
    }
    say(&(words.join(", ") + "\n"))
}
