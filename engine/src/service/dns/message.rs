//! Messages of the DNS (RFC 1035 section 4) where it matters what they say: what is asked, a reply to that, and an answer with
//! nothing in it but what belongs to the question.
//!
//! A query is taken only where it can be read in one way: one question, at most the record of EDNS behind it, and nothing behind
//! that. So nobody reads another name in it than was judged here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use simple_dns::rdata::{A, AAAA, CNAME, HTTPS, OPT, PTR, RData, SVCB, SVCParam};
use simple_dns::{CLASS, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE};

use super::own::Found;
use super::relay::{HEADER_LEN, question_section};
use crate::policy::Name;
use crate::time::Duration;

/// Addresses that one answer may have; those behind are taken out.
const MOST_ADDRESSES: usize = 64;
/// Aliases behind each other that are followed, as resolvers do.
const MOST_ALIASES: usize = 16;
/// The least that a record and a question have (RFC 1035 sections 4.1.2 and 4.1.3).
const LEAST_RECORD: usize = 11;
/// How long a client may keep an answer at most: what it keeps longer it could not use.
pub(crate) const LONGEST_TTL: u32 = 3600;
/// What a reply of ours says of the datagrams that are taken (RFC 6891 section 6.2.5).
const DATAGRAM: u16 = 1232;
/// Keys of SVCB that bring addresses along, and keys to hide names with (RFC 9460 section 14.3.2).
const HINTS: [u16; 3] = [4, 5, 6];

/// A question, and where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The number of the query.
    pub id: u16,
    /// The name.
    pub name: Name,
    /// The type that is asked for, as its number.
    pub kind: u16,
}

/// Why a query is not asked on.
#[derive(Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It is no query at all: nobody is to be told.
    Silent,
    /// This is to be replied.
    Reply(Vec<u8>),
}

/// What a query asks.
///
/// # Errors
/// It is none that is asked on.
pub fn read_query(query: &[u8]) -> Result<Asked, Unfit> {
    let Some((header, rest)) = query.split_first_chunk::<HEADER_LEN>() else { return Err(Unfit::Silent) };
    let is_response = header[2] & 0x80 != 0;
    if is_response {
        return Err(Unfit::Silent);
    }
    let broken = || Unfit::Reply(bare_reply(header, RCODE::FormatError));
    if header[2] & 0x78 != 0 {
        return Err(Unfit::Reply(bare_reply(header, RCODE::NotImplemented)));
    }
    // The bit that is left over is zero in all queries (RFC 1035 section 4.1.1).
    let is_odd = header[3] & 0x40 != 0;
    let (counts, additional) = (&header[4..10], [header[10], header[11]]);
    if is_odd || counts != [0, 1, 0, 0, 0, 0] || additional[0] != 0 || additional[1] > 1 {
        return Err(broken());
    }
    let question = question_section(rest, 1).ok_or_else(broken)?;
    let behind = rest.get(question.len()..).unwrap_or_default();
    let is_whole = if additional[1] == 0 { behind.is_empty() } else { is_edns(behind) };
    if !is_whole {
        return Err(broken());
    }
    let refused = || Unfit::Reply(reply(query, RCODE::Refused));
    // What can be split off is known by now.
    let (name, kind) = question.split_at(question.len().saturating_sub(4));
    let &[high, low, class_high, class_low] = kind else { return Err(broken()) };
    if [class_high, class_low] != [0, 1] {
        return Err(refused());
    }
    let name = Name::from_labels(labels(name)).map_err(|_| refused())?;
    let asked = Asked { id: u16::from_be_bytes([header[0], header[1]]), name, kind: u16::from_be_bytes([high, low]) };
    if is_needed(asked.kind) { Ok(asked) } else { Err(refused()) }
}

/// The labels of a name that has no compression; it was looked at already.
fn labels(mut name: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (&length, rest) = name.split_first()?;
        let (label, rest) = rest.split_at_checked(usize::from(length))?;
        name = rest;
        (!label.is_empty()).then_some(label)
    })
}

/// Whether these bytes are the record of EDNS, whole (RFC 6891 section 6.1.2).
fn is_edns(bytes: &[u8]) -> bool {
    match bytes {
        [0, 0, 41, _, _, _, _, _, _, high, low, options @ ..] => {
            options.len() == usize::from(u16::from_be_bytes([*high, *low])) && are_options(options)
        }
        _ => false,
    }
}

/// Whether these bytes are options of EDNS, all of them whole.
fn are_options(mut bytes: &[u8]) -> bool {
    while let [_, _, high, low, rest @ ..] = bytes {
        let Some(behind) = rest.get(usize::from(u16::from_be_bytes([*high, *low]))..) else { return false };
        bytes = behind;
    }
    bytes.is_empty()
}

/// Whether hosts ask for this type. Whole zones, everything at once and bytes without a meaning are for nobody behind a policy.
fn is_needed(kind: u16) -> bool {
    // A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, SRV, NAPTR, DS, RRSIG, NSEC, DNSKEY, SVCB, HTTPS, CAA.
    let is_needed = matches!(kind, 1 | 2 | 5 | 6 | 12 | 15 | 16 | 28 | 33 | 35 | 43 | 46 | 47 | 48 | 64 | 65 | 257);
    // An answer that asks for what is not known here could not be read.
    is_needed && QTYPE::try_from(kind).is_ok()
}

/// A reply of nothing but a header.
fn bare_reply(header: &[u8; HEADER_LEN], code: RCODE) -> Vec<u8> {
    let [id_high, id_low, flags, ..] = *header;
    // QR, and the operation and RD of the query.
    vec![id_high, id_low, 0x80 | flags & 0x79, code as u8, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// The reply to a query without any records, with its question; of a header alone where the query cannot be read.
pub(crate) fn reply(query: &[u8], code: RCODE) -> Vec<u8> {
    let reply = || reply_with(&Packet::parse(query).ok()?, Vec::new(), code).build_bytes_vec_compressed().ok();
    let bare = || query.first_chunk().map(|header| bare_reply(header, code)).unwrap_or_default();
    question_only(query).then(reply).flatten().unwrap_or_else(bare)
}

/// The reply that a refused query gets.
pub fn refusal(query: &[u8]) -> Vec<u8> {
    reply(query, RCODE::Refused)
}

/// Whether a message has one question and at most one record behind it, so that little is made of it.
fn question_only(query: &[u8]) -> bool {
    matches!(query.get(4..HEADER_LEN), Some([0, 1, 0, 0, 0, 0, 0, 0 | 1]))
}

/// The reply to a query, with these records.
pub(crate) fn reply_with<'a>(query: &Packet<'a>, answers: Vec<ResourceRecord<'a>>, code: RCODE) -> Packet<'a> {
    let mut reply = Packet::new_reply(query.id());
    reply.questions.clone_from(&query.questions);
    reply.answers = answers;
    *reply.rcode_mut() = code;
    reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
    if query.has_flags(PacketFlag::RECURSION_DESIRED) {
        reply.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    if query.opt().is_some() {
        *reply.opt_mut() = Some(OPT { opt_codes: Vec::new(), udp_packet_size: DATAGRAM, version: 0 });
    }
    reply
}

/// The reply to a question that could not be answered.
pub fn failure(asked: &Asked) -> Option<Vec<u8>> {
    let mut reply = Packet::new_reply(asked.id);
    let name = simple_dns::Name::new(asked.name.as_str()).ok()?;
    let kind = QTYPE::try_from(asked.kind).ok()?;
    reply.questions.push(Question::new(name, kind, QCLASS::CLASS(CLASS::IN), false));
    *reply.rcode_mut() = RCODE::ServerFailure;
    reply.set_flags(PacketFlag::RECURSION_DESIRED | PacketFlag::RECURSION_AVAILABLE);
    reply.build_bytes_vec_compressed().ok()
}

/// The reply that names of here make, of at most `longest` bytes over datagrams: a longer one is cut, so that it is asked for by TCP.
pub(crate) fn own_reply(query: &[u8], asked: &Asked, found: &Found, over_datagrams: bool) -> Option<Vec<u8>> {
    let query = Packet::parse(query).ok()?;
    let longest = match query.opt() {
        _ if !over_datagrams => usize::from(u16::MAX),
        Some(opt) => usize::from(opt.udp_packet_size.clamp(512, DATAGRAM)),
        None => 512,
    };
    let record =
        |name: &Name, ttl: u32, data: RData<'static>| Some(ResourceRecord::new(dns_name(name)?, CLASS::IN, ttl, data));
    let last = found.aliases.last().map_or(&asked.name, |(_, target, _)| target);
    let mut records = aliases(&found.aliases);
    for (ip, ttl) in &found.addresses {
        let data = match ip {
            IpAddr::V4(ip) => RData::A(A { address: ip.to_bits() }),
            IpAddr::V6(ip) => RData::AAAA(AAAA { address: ip.to_bits() }),
        };
        records.extend(record(last, *ttl, data));
    }
    if let Some((pointer, ttl)) = &found.pointer {
        records.extend(record(&asked.name, *ttl, RData::PTR(PTR(dns_name(pointer)?))));
    }
    let code = if found.missing { RCODE::NameError } else { RCODE::NoError };
    let mut reply = reply_with(&query, records, code);
    reply.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    let bytes = reply.build_bytes_vec_compressed().ok()?;
    if bytes.len() <= longest {
        return Some(bytes);
    }
    reply.answers.clear();
    reply.set_flags(PacketFlag::TRUNCATION);
    reply.build_bytes_vec_compressed().ok()
}

fn aliases(found: &[(Name, Name, u32)]) -> Vec<ResourceRecord<'static>> {
    let record = |(name, target, ttl): &(Name, Name, u32)| {
        Some(ResourceRecord::new(dns_name(name)?, CLASS::IN, *ttl, RData::CNAME(CNAME(dns_name(target)?))))
    };
    found.iter().filter_map(record).collect()
}

fn dns_name(name: &Name) -> Option<simple_dns::Name<'static>> {
    simple_dns::Name::new(name.as_str()).ok().map(simple_dns::Name::into_owned)
}

/// The query for what a name of here is an alias of, in the place of one for that name, and what that asks.
pub(crate) fn query_elsewhere(query: &[u8], asked: &Asked, elsewhere: &Name) -> Option<(Vec<u8>, Asked)> {
    let (header, rest) = query.split_at_checked(HEADER_LEN)?;
    let behind = rest.get(question_section(rest, 1)?.len()..)?;
    let mut bytes = header.to_vec();
    for label in elsewhere.as_str().split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).ok()?);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(asked.kind.to_be_bytes());
    bytes.extend([0, 1]);
    bytes.extend(behind);
    Some((bytes, Asked { name: elsewhere.clone(), ..asked.clone() }))
}

/// What stands before the answer of a server that was asked for what a name of here is an alias of: the question, and the aliases.
#[derive(Debug, PartialEq, Eq)]
pub struct Before {
    /// The question of the guest.
    pub asked: Asked,
    /// The aliases from its name on, and how long each counts.
    pub aliases: Vec<(Name, Name, u32)>,
}

/// What an answer says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The answer as the guest is to have it; `None` where that is as it came.
    pub rewritten: Option<Vec<u8>>,
    /// The addresses of the name that was asked for, and how long each counts.
    pub addresses: Vec<(IpAddr, Duration)>,
}

/// Whether a message answers this question, as far as its header and its question tell. (One that says that something went wrong
/// need not have the question in it.)
pub fn answers(message: &[u8], asked: &Asked) -> bool {
    let Some((header, rest)) = message.split_first_chunk::<HEADER_LEN>() else { return false };
    if header[2] & 0xf8 != 0x80 || [header[0], header[1]] != asked.id.to_be_bytes() {
        return false;
    }
    let failed = header[3] & 0x0f != 0;
    match header[4..6] {
        [0, 0] => failed && rest.is_empty(),
        [0, 1] => {
            let Some(question) = question_section(rest, 1) else { return false };
            let (name, kind) = question.split_at(question.len().saturating_sub(4));
            let [high, low] = asked.kind.to_be_bytes();
            kind == [high, low, 0, 1] && Name::from_labels(labels(name)).is_ok_and(|name| name == asked.name)
        }
        _ => false,
    }
}

/// Looks an answer through that [`answers`] a question: takes out what does not belong to it and addresses that may not stand in it.
/// `None` where it cannot be read.
///
/// With `before`, the answer becomes one to the question that is there.
///
/// What belongs to it are the records of the name and of the names that it is an alias of. Records of SVCB and HTTPS lose their
/// addresses, and the keys with which a name would be hidden from whoever looks at the connection; what else they lead to is asked
/// for by itself.
pub fn look_through(
    message: &[u8],
    asked: &Asked,
    before: Option<&Before>,
    may_stand: impl Fn(IpAddr) -> bool,
) -> Option<Answer> {
    // Who says that there are many records is believed if there is room for them.
    let count = |at| Some(usize::from(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?])));
    let records = count(6)? + count(8)? + count(10)?;
    if records > message.len() / LEAST_RECORD {
        return None;
    }
    let mut packet = Packet::parse(message).ok()?;
    let chain = Chain::of(asked, &packet.answers);
    let mut answer = Answer::default();
    let (answers, additional) = (std::mem::take(&mut packet.answers), std::mem::take(&mut packet.additional_records));
    let mut changed = !additional.is_empty() || before.is_some();
    let least = before.and_then(|before| before.aliases.iter().map(|(.., ttl)| *ttl).min()).unwrap_or(u32::MAX);
    let mut longest = message.len();
    if let Some(Before { asked, aliases: found }) = before {
        let class = QCLASS::CLASS(CLASS::IN);
        let question = Question::new(dns_name(&asked.name)?, QTYPE::try_from(asked.kind).ok()?, class, false);
        packet.questions = vec![question];
        packet.answers = aliases(found);
        longest = usize::from(DATAGRAM).max(longest);
    }
    let authority = packet.name_servers.len();
    packet.name_servers.retain(|record| address(&record.rdata).is_none() && !is_svcb(&record.rdata));
    changed |= packet.name_servers.len() != authority;
    for mut record in answers {
        let ttl = Chain::ttl(&record);
        if ttl != record.ttl {
            (record.ttl, changed) = (ttl, true);
        }
        let before = record.rdata.clone();
        if !chain.takes(&mut record, asked) {
            changed = true;
            continue;
        }
        changed |= record.rdata != before;
        if let Some(ip) = address(&record.rdata) {
            if answer.addresses.len() >= MOST_ADDRESSES || !may_stand(ip) {
                changed = true;
                continue;
            }
            let shortest = chain.shortest(&record.name).map_or(ttl, |others| ttl.min(others)).min(least);
            answer.addresses.push((ip, Duration::from_secs(shortest.into())));
        }
        packet.answers.push(record);
    }
    if changed {
        // It is not what somebody has signed any more.
        packet.remove_flags(PacketFlag::AUTHENTIC_DATA);
        answer.rewritten = Some(rebuilt(packet, longest)?);
    }
    Some(answer)
}

/// A message that was changed, no longer than it was. Only what some server has compressed much better does not fit.
fn rebuilt(mut packet: Packet<'_>, longest: usize) -> Option<Vec<u8>> {
    if packet.rcode() == RCODE::Reserved || packet.opcode() == OPCODE::Reserved {
        return None;
    }
    let bytes = packet.build_bytes_vec_compressed().ok()?;
    if bytes.len() <= longest.max(512) {
        return Some(bytes);
    }
    packet.answers.clear();
    packet.name_servers.clear();
    packet.set_flags(PacketFlag::TRUNCATION);
    packet.build_bytes_vec_compressed().ok()
}

/// The address that a record has.
fn address(data: &RData<'_>) -> Option<IpAddr> {
    match data {
        RData::A(a) => Some(Ipv4Addr::from_bits(a.address).into()),
        RData::AAAA(aaaa) => Some(Ipv6Addr::from_bits(aaaa.address).into()),
        _ => None,
    }
}

fn is_svcb(data: &RData<'_>) -> bool {
    matches!(data, RData::SVCB(_) | RData::HTTPS(_))
}

fn name_of(name: &simple_dns::Name<'_>) -> Option<Name> {
    Name::from_labels(name.as_bytes()).ok()
}

/// The name that was asked for and those that it is an alias of, each with the shortest time that any of the aliases up to it counts.
struct Chain(Vec<(Name, Option<u32>)>);

impl Chain {
    fn of(asked: &Asked, answers: &[ResourceRecord<'_>]) -> Chain {
        let aliases = answers.iter().filter_map(|record| {
            let RData::CNAME(target) = &record.rdata else { return None };
            let (from, to) = (name_of(&record.name)?, name_of(&target.0)?);
            (record.class == CLASS::IN).then(|| (from, to, Chain::ttl(record)))
        });
        let aliases: Vec<(Name, Name, u32)> = aliases.collect();
        let mut chain = vec![(asked.name.clone(), None)];
        for _ in 0..MOST_ALIASES {
            let Some((last, shortest)) = chain.last() else { break };
            let Some((_, to, ttl)) = aliases.iter().find(|(from, ..)| from == last) else { break };
            if chain.iter().any(|(name, _)| name == to) {
                break;
            }
            let shortest = shortest.map_or(*ttl, |shortest: u32| shortest.min(*ttl));
            chain.push((to.clone(), Some(shortest)));
        }
        Chain(chain)
    }

    /// How long a record counts, in seconds. What has the highest bit set counts as nothing (RFC 2181 section 8).
    fn ttl(record: &ResourceRecord<'_>) -> u32 {
        if record.ttl > i32::MAX as u32 { 0 } else { record.ttl.min(LONGEST_TTL) }
    }

    fn has(&self, name: &simple_dns::Name<'_>) -> bool {
        name_of(name).is_some_and(|name| self.0.iter().any(|(link, _)| *link == name))
    }

    fn shortest(&self, name: &simple_dns::Name<'_>) -> Option<u32> {
        let name = name_of(name)?;
        self.0.iter().find(|(link, _)| *link == name)?.1
    }

    /// Whether a record belongs to the answer. What would lead elsewhere is taken out of it.
    fn takes(&self, record: &mut ResourceRecord<'_>, asked: &Asked) -> bool {
        /// DNAME (RFC 6672), which stands at a name above, and RRSIG (RFC 4034 section 3).
        const DNAME: u16 = 39;
        const RRSIG: u16 = 46;
        let kind = u16::from(record.rdata.type_code());
        if kind == DNAME {
            return true;
        }
        let wanted = kind == asked.kind || kind == RRSIG || record.rdata.type_code() == TYPE::CNAME;
        let is_address = address(&record.rdata).is_some();
        if record.class != CLASS::IN || !self.has(&record.name) || !(wanted || is_address) {
            return false;
        }
        let service = match &record.rdata {
            RData::SVCB(service) => self.without_hints(service).map(RData::SVCB),
            RData::HTTPS(HTTPS(service)) => self.without_hints(service).map(|service| RData::HTTPS(HTTPS(service))),
            _ => return true,
        };
        match service {
            Some(data) => record.rdata = data,
            None => return false,
        }
        true
    }

    /// A record of SVCB without what brings addresses along. None is left of one that needs these, or that leads to another name: its
    /// client goes on with the name that it has.
    fn without_hints<'a>(&self, service: &SVCB<'a>) -> Option<SVCB<'a>> {
        let needs = |key| match service.get_param(0) {
            Some(SVCParam::Mandatory(keys)) => keys.contains(&key),
            _ => false,
        };
        let is_root = service.target.as_bytes().next().is_none();
        if HINTS.into_iter().any(needs) || !(is_root && service.priority != 0 || self.has(&service.target)) {
            return None;
        }
        let rest = service.iter_params().filter(|param| !HINTS.contains(&param.key_code())).cloned();
        Some(rest.fold(SVCB::new(service.priority, service.target.clone()), SVCB::with_param))
    }
}

#[cfg(test)]
mod tests;
