//! Host forwards: listed, added, removed, replaced. A request is done whole or not at all.

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::net::{Ipv6Addr, SocketAddr};
use std::ops;

use serde_json::{Map, Value, json};

use super::answer::{Answer, Kind, Trouble};
use super::job::{Change, Changed};
use super::range::{Place, Range, word, write_ports};
use super::request::{WrittenForward, WrittenPlace};
use super::server::Shared;
use super::waiting::{self, Waiting, reason};
use crate::forward::error::ForwardError;
use crate::forward::host::{HostForwardHandle, ListenAddress, Protocol};
use crate::host::fault::Fault;
use crate::host::limit;
use crate::stack::Stack;

/// The path may be there for whoever has asked, and not for this process.
const ELSEWHERE: &str = "if its folder is there for you, this program has left its file system (as in a sandbox)";

/// How many are added or removed in one round.
const SLICE: usize = 32;
/// The most of one request: all that there may be.
const MOST: usize = 2 * 65_536;
/// Handles of one answer that say which port the host chose.
const MOST_BOUND: usize = 256;

/// A change of the forwards as it was written.
pub(super) enum Asked {
    Add(Vec<WrittenForward>),
    Remove(Vec<WrittenPlace>),
    /// Exactly these are to be there.
    Replace(Vec<WrittenForward>),
}

/// Forwards that are being added, one after the other.
pub(super) struct Adding {
    ranges: Vec<Range>,
    /// The range and the forward in it that comes next.
    next: (usize, usize),
    made: Vec<HostForwardHandle>,
    /// Ranges whose address is not there yet.
    waits: Vec<(Range, ForwardError)>,
    /// Where the host chose the port.
    bound: Vec<SocketAddr>,
    replaces: Option<Replacing>,
}

/// What becomes of the forwards that there are, once all others were added.
struct Replacing {
    lead: Vec<(HostForwardHandle, SocketAddr)>,
    remove: Vec<HostForwardHandle>,
    kept: usize,
}

/// Forwards that are being removed.
#[derive(Default)]
pub(super) struct Removing(Vec<HostForwardHandle>);

impl Removing {
    /// Removes some; false when none were left. Their sockets are closed at the end of the round, so that what was removed in one
    /// is free in the next.
    pub(super) fn go_on(&mut self, stack: &mut Stack) -> bool {
        if self.is_done() {
            return false;
        }
        for handle in self.0.drain(self.0.len().saturating_sub(SLICE)..) {
            // The program itself may have removed it meanwhile.
            let _ = stack.remove_host_forward(handle);
        }
        true
    }

    pub(super) fn is_done(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn append(&mut self, mut other: Removing) {
        self.0.append(&mut other.0);
    }
}

impl Adding {
    pub(super) fn go_on(mut self: Box<Self>, stack: &mut Stack, shared: &mut Shared) -> Changed {
        for _ in 0..SLICE {
            let (index, number) = self.next;
            let Some(range) = self.ranges.get(index) else { return self.finish(stack, shared) };
            if number >= range.count() {
                self.next = (index + 1, 0);
                continue;
            }
            match stack.add_host_forward(range.nth(number)) {
                Ok(handle) => {
                    let asked = matches!(&range.place, Place::Inet { first, .. } if first.port() == 0);
                    self.bound.extend(handle.bound().filter(|_| asked && self.bound.len() < MOST_BOUND));
                    self.made.push(handle);
                    self.next = (index, number + 1);
                }
                Err(error) if number == 0 && range.waits && waiting::may_come(&error) => {
                    self.waits.push((range.clone(), error));
                    self.next = (index + 1, 0);
                }
                Err(error) => return self.fail(&error),
            }
        }
        Changed::Later(Change::Adding(self))
    }

    fn finish(self, stack: &mut Stack, shared: &mut Shared) -> Changed {
        let waiting = shared.waiting();
        let kept = self.replaces.is_none().then_some(&*waiting);
        if let Some(trouble) = in_the_way(&self.waits, kept) {
            return undoing(self.undo(), trouble);
        }
        let others = if self.replaces.is_some() { 0 } else { waiting.len() };
        if others + self.waits.len() > waiting::MOST {
            let trouble = Trouble::new(Kind::Limit, format!("more than {} ranges would wait", waiting::MOST));
            return undoing(self.undo(), trouble);
        }
        if self.replaces.is_some() {
            waiting.clear();
        }
        let waits = self.waits.len();
        for (range, error) in self.waits {
            waiting.push(range, &error, stack.time());
        }
        let mut answer = Map::new();
        answer.insert("added".into(), self.made.len().into());
        answer.insert("waiting".into(), waits.into());
        if !self.bound.is_empty() {
            let bound: Vec<Value> = self.bound.iter().map(|bound| bound.to_string().into()).collect();
            answer.insert("bound".into(), bound.into());
        }
        let Some(Replacing { lead, remove, kept }) = self.replaces else {
            return Changed::Done(Ok(Value::Object(answer)));
        };
        answer.insert("kept".into(), kept.into());
        answer.insert("changed".into(), lead.len().into());
        answer.insert("removed".into(), remove.len().into());
        for (handle, guest) in lead {
            stack.lead_host_forward(handle, guest);
        }
        Changed::Later(Change::Removing(Removing(remove), Ok(Value::Object(answer))))
    }

    /// One of them cannot be had, so none is.
    fn fail(self, error: &ForwardError) -> Changed {
        let trouble = match error {
            ForwardError::Listen { address, error } if Fault::of(error) == Fault::Descriptors => {
                let limit = limit::descriptors();
                Trouble::of_system(format!("listen: {address}: the process may have {limit} descriptors"), error)
            }
            ForwardError::Listen { address: ListenAddress::Unix(path), error }
                if error.kind() == ErrorKind::NotFound =>
            {
                Trouble::of_system(format!("listen: {path}"), error).and(ELSEWHERE)
            }
            ForwardError::Listen { address, error } => Trouble::of_system(format!("listen: {address}"), error),
            ForwardError::TooMany { .. } | ForwardError::Unwatched(_) => Trouble::new(Kind::Limit, reason(error)),
            other => Trouble::invalid(reason(other)),
        };
        undoing(self.undo(), trouble)
    }

    /// What is to be removed again.
    pub(super) fn undo(self) -> Removing {
        Removing(self.made)
    }
}

/// What is wrong where of ranges that are to wait one meets another, or one that waits already: one of the two would wait for ever.
fn in_the_way(waits: &[(Range, ForwardError)], waiting: Option<&Waiting>) -> Option<Trouble> {
    let mut before =
        waits.iter().enumerate().map(|(index, (range, _))| (range, waits.get(..index).unwrap_or_default()));
    before.find_map(|(range, before)| {
        let own = before.iter().map(|(other, _)| other).find(|other| other.meets(range));
        let other = own.or_else(|| waiting?.meeting(range))?.words();
        Some(Trouble::invalid(format!("listen: {} {} waits for the same address", other.protocol, other.listen)))
    })
}

fn undoing(removing: Removing, trouble: Trouble) -> Changed {
    Changed::Later(Change::Removing(removing, Err(trouble)))
}

/// Reads all that is written, and looks at what can be known before anything is done.
fn read(stack: &Stack, written: &[WrittenForward]) -> Result<Vec<Range>, Trouble> {
    let ranges = written.iter().map(Range::read).collect::<Result<Vec<Range>, Trouble>>()?;
    let count: usize = ranges.iter().map(Range::count).sum();
    if count > MOST {
        return Err(Trouble::new(Kind::Limit, format!("{count} forwards, and there may be {MOST}")));
    }
    // Each is a descriptor.
    let limit = limit::descriptors();
    if count as u64 > limit {
        let text = format!("{count} forwards need as many descriptors, and the process may have {limit}");
        return Err(Trouble::new(Kind::Limit, text));
    }
    for range in &ranges {
        // The ports of a range differ, and no more.
        stack.check_host_forward(&range.nth(0)).map_err(|error| Trouble::invalid(reason(&error)))?;
    }
    Ok(ranges)
}

fn adding(ranges: Vec<Range>, replaces: Option<Replacing>) -> Change {
    let (made, waits, bound) = (Vec::new(), Vec::new(), Vec::new());
    Change::Adding(Box::new(Adding { ranges, next: (0, 0), made, waits, bound, replaces }))
}

/// Begins a change. Nobody else changes forwards until it is over, but for the program itself.
pub(super) fn begin(stack: &Stack, shared: &mut Shared, asked: &Asked) -> Result<Change, Trouble> {
    Ok(match asked {
        Asked::Add(written) => adding(read(stack, written)?, None),
        Asked::Remove(written) => {
            let (removing, waiting) = find(stack, shared, written)?;
            let answer = json!({ "removed": removing.0.len(), "waiting": waiting });
            Change::Removing(removing, Ok(answer))
        }
        Asked::Replace(written) => replace(stack, written)?,
    })
}

/// The forwards that are to go; and how many that wait have gone.
fn find(stack: &Stack, shared: &mut Shared, written: &[WrittenPlace]) -> Result<(Removing, usize), Trouble> {
    let (mut found, mut looked) = (HashSet::new(), 0);
    let mut waiting = Vec::new();
    for place in written {
        let (protocol, place) = Place::read(&place.protocol, &place.listen)?;
        if shared.waiting().has(protocol, &place) {
            waiting.push((protocol, place));
            continue;
        }
        looked += place.count();
        if looked > MOST {
            return Err(Trouble::new(Kind::Limit, format!("{looked} forwards and more, and there may be {MOST}")));
        }
        for number in 0..place.count() {
            let listen = place.nth(number);
            let handle = stack.host_forward_at(protocol, &listen);
            let missing = || Trouble::new(Kind::Missing, format!("listen: no forward is at {listen}"));
            found.insert(handle.ok_or_else(missing)?);
        }
    }
    for (protocol, place) in &waiting {
        shared.waiting().remove(*protocol, place);
    }
    Ok((Removing(found.into_iter().collect()), waiting.len()))
}

/// Has exactly these forwards be there. The new ones come first, as only they can fail.
fn replace(stack: &Stack, written: &[WrittenForward]) -> Result<Change, Trouble> {
    let ranges = read(stack, written)?;
    let mut stays = HashSet::new();
    let mut lead = HashMap::new();
    let mut new = Vec::new();
    for range in ranges {
        let mut fresh = Vec::new();
        for number in 0..range.count() {
            let forward = range.nth(number);
            match stack.host_forward_at(forward.protocol(), forward.listen()) {
                Some(handle) => {
                    let Some((guest, only_v6)) = stack.host_forward_leads(handle) else { continue };
                    if only_v6 != range.is_only_v6() && is_everywhere(forward.listen()) {
                        let there = if only_v6 { "for IPv6 only" } else { "for both families" };
                        let text =
                            format!("listen: {} is there {there}, and has to be removed before", forward.listen());
                        return Err(Trouble::invalid(text));
                    }
                    stays.insert(handle);
                    if guest != forward.guest() {
                        lead.insert(handle, forward.guest());
                    }
                }
                None => fresh.push(number),
            }
        }
        new.extend(pieces(&range, &fresh));
    }
    let remove: Vec<HostForwardHandle> =
        stack.host_forwards().map(|entry| entry.handle).filter(|handle| !stays.contains(handle)).collect();
    let kept = stays.len() - lead.len();
    Ok(adding(new, Some(Replacing { lead: lead.into_iter().collect(), remove, kept })))
}

/// Whether it is the one address of IPv6 that IPv4 can come to.
fn is_everywhere(listen: &ListenAddress) -> bool {
    matches!(listen, ListenAddress::Inet(listen) if listen.ip() == Ipv6Addr::UNSPECIFIED)
}

/// The parts of a range with these numbers, which follow each other.
fn pieces(range: &Range, numbers: &[usize]) -> Vec<Range> {
    let runs = numbers.chunk_by(|one, other| one + 1 == *other);
    runs.filter_map(|run| Some(range.part(*run.first()?, run.len()))).collect()
}

/// All forwards in the order in which they are listed, and which of them are one entry. It is made for the first page of many, and serves
/// the next ones as long as no forward has changed.
pub(super) struct Listing {
    changed: u64,
    forwards: Vec<Listed>,
    entries: Vec<ops::Range<usize>>,
}

impl Listing {
    fn of(stack: &Stack) -> Listing {
        let mut forwards: Vec<Listed> =
            stack.host_forwards().map(|entry| (entry.protocol, entry.listen, entry.guest, entry.only_v6)).collect();
        forwards.sort_by_cached_key(key);
        let mut next = 0;
        let entries = runs(&forwards).map(|run| {
            let first = next;
            next += run.len();
            first..next
        });
        let entries = entries.collect();
        Listing { changed: stack.forwards_changed(), forwards, entries }
    }
}

/// The forwards that there are. Those whose ports follow each other are one entry.
pub(super) fn list(stack: &Stack, shared: &mut Shared, after: usize, most: usize) -> Answer {
    let kept = shared.listing().take().filter(|kept| kept.changed == stack.forwards_changed());
    let listing = kept.unwrap_or_else(|| Listing::of(stack));
    let rest = listing.entries.get(after..).unwrap_or_default();
    let page = rest.iter().take(most).filter_map(|range| describe(listing.forwards.get(range.clone())?));
    let mut answer = json!({ "forwards": page.collect::<Vec<Value>>() });
    let more = rest.len() > most;
    if let Value::Object(answer) = &mut answer {
        if more {
            answer.insert("next".into(), (after + most).into());
        }
        if after == 0 {
            answer.insert("waiting".into(), shared.waiting().words().into());
        }
    }
    *shared.listing() = more.then_some(listing);
    Ok(answer)
}

/// What it carries, where it listens, where it leads, and whether it is at all addresses of IPv6 without those of IPv4.
type Listed = (Protocol, ListenAddress, SocketAddr, bool);

fn key((protocol, listen, guest, _): &Listed) -> (bool, Option<(std::net::IpAddr, u16)>, String, SocketAddr) {
    match listen {
        ListenAddress::Inet(at) => (*protocol == Protocol::Udp, Some((at.ip(), at.port())), String::new(), *guest),
        ListenAddress::Unix(at) => (false, None, at.to_string(), *guest),
    }
}

/// Forwards that can be one entry: their ports follow each other, and those of the guest do as well, or are one.
fn runs(mut entries: &[Listed]) -> impl Iterator<Item = &[Listed]> {
    std::iter::from_fn(move || {
        let first = entries.first()?;
        let spread = entries.get(1).is_some_and(|second| is_next(first.2, second.2));
        let fits = |pair: &[Listed]| matches!(pair, [one, other] if follows(one, other, spread));
        let count = 1 + entries.windows(2).take_while(|pair| fits(pair)).count();
        let (run, rest) = entries.split_at_checked(count)?;
        entries = rest;
        Some(run)
    })
}

fn is_next(one: SocketAddr, other: SocketAddr) -> bool {
    one.ip() == other.ip() && one.port().checked_add(1) == Some(other.port())
}

fn follows(one: &Listed, other: &Listed, spread: bool) -> bool {
    let (ListenAddress::Inet(first), ListenAddress::Inet(second)) = (&one.1, &other.1) else { return false };
    let guests = if spread { is_next(one.2, other.2) } else { one.2 == other.2 };
    one.0 == other.0 && one.3 == other.3 && is_next(*first, *second) && guests
}

fn describe(run: &[Listed]) -> Option<Value> {
    let (protocol, listen, guest, only_v6) = run.first()?;
    let spread = run.get(1).is_some_and(|second| second.2 != *guest);
    let (protocol, listen) = match listen {
        ListenAddress::Inet(listen) => (word(*protocol), write_ports(*listen, run.len())),
        ListenAddress::Unix(address) => ("unix", address.to_string()),
    };
    let guest = write_ports(*guest, if spread { run.len() } else { 1 });
    let mut words = json!({ "protocol": protocol, "listen": listen, "guest": guest });
    if let (true, Value::Object(words)) = (only_v6, &mut words) {
        words.insert("only_v6".into(), true.into());
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_follow_each_other_are_one_entry() {
        let forward = |port: u16, guest: u16| {
            let listen = ListenAddress::Inet(([127, 0, 0, 1], port).into());
            (Protocol::Tcp, listen, SocketAddr::from(([0, 0, 0, 0], guest)), false)
        };
        let listed = [(10, 80), (11, 80), (12, 80), (13, 81), (14, 82), (16, 84), (17, 9), (65535, 1)];
        let listed: Vec<Listed> = listed.into_iter().map(|(port, guest)| forward(port, guest)).collect();
        let words: Vec<String> = runs(&listed)
            .filter_map(describe)
            .map(|entry| format!("{} {}", entry["listen"].as_str().unwrap(), entry["guest"].as_str().unwrap()))
            .collect();
        assert_eq!(
            words,
            [
                "127.0.0.1:10-12 0.0.0.0:80",
                "127.0.0.1:13-14 0.0.0.0:81-82",
                "127.0.0.1:16 0.0.0.0:84",
                "127.0.0.1:17 0.0.0.0:9",
                "127.0.0.1:65535 0.0.0.0:1"
            ]
        );
        assert_eq!(runs(&[]).count(), 0);
        let of_v6 = (listed[1].0, listed[1].1.clone(), listed[1].2, true);
        assert_eq!(runs(&[listed[0].clone(), of_v6]).count(), 2, "of both families, and of one");
    }
}
