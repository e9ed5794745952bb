//! Files that the reader refuses. The schema refuses them as well, but for those that stand in the page as beyond it.

use super::agreement::{reader, schema};
use super::page::{BEYOND, Beyond};

/// What the schema refuses too.
const BOTH: &[&str] = &[
    // Tables and keys.
    "[polcy]\n",
    "policy = 1",
    "policy = []",
    "[[network]]\nmtu = 1500",
    "[network]\nmtu = \"1500\"",
    "[network]\nmtu = 1279",
    "[network]\nmtu = 65522",
    "[network]\nmtu = -1",
    "[network]\nmtu = 1500.5",
    "[network]\nmtu = true",
    "[network]\nmru = 1500",
    "[log]\n",
    "[log]\nfile = ''",
    "[log]\nfile = 7",
    "[log]\nfile = '/x%d'",
    "[log]\nfile = '/x%'",
    "[log]\nfile = \"/x\\u0000\"",
    "[log]\nfile = ['/x']",
    "[log]\nfiles = 2",
    "[log]\nfile = '/x'\nmax-bytes = 1048575",
    "[log]\nfile = '/x'\nmax-bytes = '1048576'",
    "[log]\nfile = '/x'\nfiles = 0",
    "[log]\nfile = '/x'\nfiles = 65",
    "[log]\nfile = '/x'\nsnap-length = 96",
    "[control]\n",
    "[control]\nsocket = ''",
    "[control]\nsocket = '/x'\nport = 1",
    // Captures.
    "[capture]\n",
    "[capture]\nfile = '/x'\nsnap-length = 13",
    "[capture]\nfile = '/x'\nsnap-length = 262145",
    "[capture]\nfile = '/x'\nmax-bytes = 1048575",
    "[capture]\nfile = '/x'\nfiles = 0",
    "[capture]\nfile = '/x'\nfiles = 65",
    "[capture]\nfile = '/x'\nrule = 0",
    "[capture]\nfile = '/x'\nrule = 4294967296",
    "[capture]\nfile = '/x'\nrule = '1'",
    "[capture]\nfile = '/x'\nprotocol = 'arp'",
    "[capture]\nfile = '/x'\nremote-port = []",
    "[capture]\nfile = '/x'\nremote = 'a.test'",
    // Limits.
    "[limits]\nup = 1",
    "[limits.whole]\nup = 0",
    "[limits.whole]\ndown = -1",
    "[limits.whole]\nflows = '9'",
    "[limits.each-guest]\nflows = 4294967296",
    "[limits.each-guest]\nnew-flows-per-second = 0",
    "[limits.all]\nup = 1",
    // Names.
    "[dns]\nservers = []",
    "[dns]\nservers = 'a.test'",
    "[dns]\nservers = '0.0.0.0'",
    "[dns]\nservers = '224.0.0.251'",
    "[dns]\nservers = '::'",
    "[dns]\nservers = '0:0::0.0.0.0'",
    "[dns]\nservers = '[ff02::fb]:53'",
    "[dns]\nservers = '192.0.2.53:0'",
    "[dns]\nservers = '192.0.2.53:65536'",
    "[dns]\nservers = '[::1]'",
    "[dns]\nservers = ':::1'",
    "[dns]\nservers = '1::2::3'",
    "[dns]\nservers = '01.2.3.4'",
    "[dns]\nhost-alias = 'a..b'",
    "[dns]\nhost-alias = ''",
    "[dns]\nhost-alias = 'b\u{fc}cher.test'",
    "[dns]\nhost-alias = 'a b'",
    "[[dns.records]]\na = '1.2.3.4'",
    "[[dns.records]]\nname = 'a.b'",
    "[[dns.records]]\nname = 'a.b'\na = '::1'",
    "[[dns.records]]\nname = 'a.b'\naaaa = '1.2.3.4'",
    "[[dns.records]]\nname = 'a.b'\nptr = 'c'",
    "[[dns.records]]\nname = 'a.b'\na = '1.2.3.4'\nttl = 4294967296",
    "[[dns.records]]\nname = 'a.b'\na = '1.2.3.4'\nttl = -1",
    "[[dns.records]]\nname = 'a.b'\na = '1.2.3.4'\ncname = 'c'",
    "[[dns.records]]\nname = ['a.b', 'c.d']\na = '1.2.3.4'",
    "[[dns.zone]]\nservers = []",
    "[[dns.zone]]\ndomain = 'a'\nservers = '192.0.2.53'",
    // Policies.
    "[policy]\ndefault = 'alow'",
    "[policy]\ndefault = ['allow']",
    "[policy]\ndefault = 'allow'\npreset = 'none'",
    "[policy]\npreset = 'all'",
    "[policy]\nrebind = 'no'",
    "[policy]\nrules = []",
    "[policy]\nrule = { action = 'deny' }",
    "[[policy.rule]]\nhost = '10.0.0.0/8'",
    "[[policy.rule]]\naction = 'deny'\nport = 1",
    "[[policy.rule]]\naction = 'deny'\ndirection = 'both'",
    "[[policy.rule]]\naction = 'deny'\nprotocol = 'sctp'",
    "[[policy.rule]]\naction = 'deny'\nservice = 'ntp'",
    "[[policy.rule]]\naction = 'deny'\nhost = []",
    "[[policy.rule]]\naction = 'deny'\nhost = 'localhost'",
    "[[policy.rule]]\naction = 'deny'\nhost = '10.0.0.0/33'",
    "[[policy.rule]]\naction = 'deny'\nhost = '10.0.0.0/08'",
    "[[policy.rule]]\naction = 'deny'\nhost = '::/129'",
    "[[policy.rule]]\naction = 'deny'\nhost-port = 65536",
    "[[policy.rule]]\naction = 'deny'\nhost-port = -1",
    "[[policy.rule]]\naction = 'deny'\nhost-port = '+9'",
    "[[policy.rule]]\naction = 'deny'\nhost-port = '1-2-3'",
    "[[policy.rule]]\naction = 'deny'\nhost-port = '80,443'",
    "[[policy.rule]]\naction = 'deny'\nprotocol = 'icmp'\nhost-port = 1",
    "[[policy.rule]]\naction = 'allow'\nname = 'http://a.org'",
    "[[policy.rule]]\naction = 'allow'\nname = '192.0.2.1'",
    "[[policy.rule]]\naction = 'allow'\nname = 'a.*.org'",
    "[[policy.rule]]\naction = 'allow'\nname = 'a.test'\ndirection = 'in'",
    "[[policy.rule]]\naction = 'allow'\nname = 'a.test'\nservice = 'dns'",
    "[[policy.rule]]\naction = 'allow'\nnamed = '10.0.2.2'\ndirection = 'in'",
    "[[policy.rule]]\naction = 'allow'\nservice = 'dns'\ndirection = 'in'",
    "[[policy.rule]]\naction = 'allow'\ntls = 'sni'",
    "[[policy.rule]]\naction = 'allow'\nname = 'a.org'\ntls = 'name'",
    "[[policy.rule]]\naction = 'allow'\nname = 'a.org'\ntls = 'sni'\nprotocol = 'icmp'",
    "[[policy.rule]]\naction = 'allow'\nname = 'a.org'\nhttp = 'host'\nprotocol = 'udp'",
    "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nredirect = '192.0.2.7'",
    "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nredirect = '192.0.2.7:0'",
    "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nredirect = '0.0.0.0:80'",
    "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nredirect = '[::]:80'",
    "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nredirect = '[fe80::1%3]:80'",
    "[[policy.rule]]\naction = 'allow'\nredirect = '192.0.2.7:80'",
    "[[policy.rule]]\naction = 'deny'\nprotocol = 'tcp'\nredirect = '192.0.2.7:80'",
    "[[policy.rule]]\naction = 'allow'\nprotocol = ['tcp', 'icmp']\nredirect = '192.0.2.7:80'",
    "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\ndirection = 'in'\nredirect = '192.0.2.7:80'",
    "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nredirect = '192.0.2.7:80'\nproxy = 'http://192.0.2.7:1'",
    "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nproxy-names = true",
    "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nproxy = '192.0.2.7:1'",
    "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nproxy = 'socks4://192.0.2.7:1'",
    "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nproxy = 'socks5://me@192.0.2.7:1'",
    "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nproxy = 'socks5://me:100%@192.0.2.7:1'",
    "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nproxy = 'socks5://me:x@y@192.0.2.7:1'",
    "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nproxy = 'http://m%3ae:x@192.0.2.7:1'",
    "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nproxy = 'http://me:x%0a@192.0.2.7:1'",
    "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nproxy = 'socks5://proxy.example:1'",
    "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nproxy = 'socks5://[::]:1'",
    "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nproxy = 'socks5://192.0.2.7:00'",
    "[[policy.rule]]\naction = 'allow'\nprotocol = 'udp'\nproxy = 'http://192.0.2.7:1'",
    "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nname = 'a.org'\ntls = 'sni'\nproxy = 'socks5://192.0.2.7:1'",
    "[[policy.rule]]\naction = 'deny'\nprotocol = 'tcp'\nlimit = { up = 7 }",
    "[[policy.rule]]\naction = 'allow'\nlimit = { up = 7 }",
    "[[policy.rule]]\naction = 'allow'\ndirection = 'in'\nprotocol = ['tcp', 'udp']\nlimit = { up = 7 }",
    "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nservice = 'dns'\nlimit = { up = 7 }",
    "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nlimit = { up = 0 }",
    "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nlimit = 7",
];

/// What only the reader refuses, and why.
const READER_ALONE: &[(Beyond, &str)] = &[
    (Beyond::Float, "[[policy.rule]]\naction = 'deny'\nhost-port = 443.0"),
    (Beyond::Float, "[network]\nmtu = 1500.0"),
    (Beyond::Date, "[log]\nfile = 2026-12-01"),
    (Beyond::Bits, "[[policy.rule]]\naction = 'deny'\nhost = '10.0.0.1/8'"),
    (Beyond::Bits, "[capture]\nfile = '/x'\nremote = 'fe80::1/10'"),
    (Beyond::Order, "[[policy.rule]]\naction = 'deny'\nhost-port = '9-8'"),
    (
        Beyond::Rules,
        "[[policy.rule]]\naction = 'allow'\nname = 'a.org'\ntls = 'sni'\n\
         [[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nredirect = '192.0.2.7:1'",
    ),
    (Beyond::Records, "[[dns.records]]\nname = 'a.b'\na = '1.2.3.4'\n[[dns.records]]\nname = 'A.B.'\ncname = 'c'"),
    (
        Beyond::Records,
        "[[dns.records]]\nname = 'a.b'\na = ['1.1.1.1', '1.1.1.2', '1.1.1.3', '1.1.1.4', '1.1.1.5', '1.1.1.6', '1.1.1.7', '1.1.1.8', '1.1.1.9', \
         '1.1.1.10', '1.1.1.11', '1.1.1.12', '1.1.1.13', '1.1.1.14', '1.1.1.15', '1.1.1.16', '1.1.1.17']",
    ),
    (Beyond::Zones, "[[dns.zone]]\ndomain = 'a'\n[[dns.zone]]\ndomain = 'A.'"),
    (Beyond::Scope, "[dns]\nservers = '[fe80::1%4294967296]:53'"),
    (Beyond::System, "[dns]\nhosts = '/nonexistent/x'"),
];

#[test]
fn what_is_wrong_is_refused_by_both_wherever_a_schema_can_tell() {
    for text in BOTH {
        assert!(reader(text).is_err(), "the reader takes it:\n{text}");
        assert!(schema(text).is_err(), "the schema takes it:\n{text}");
    }
    assert!(BOTH.len() >= 40);
}

#[test]
fn what_is_beyond_the_schema_is_refused_by_the_reader_alone() {
    let long = format!(
        "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nproxy = 'socks5://me:{}@192.0.2.7:1'",
        "\u{e9}".repeat(200)
    );
    let files = READER_ALONE.iter().copied().chain([(Beyond::Bytes, long.as_str())]);
    let mut shown = vec![Beyond::Toml];
    for (why, text) in files {
        assert!(reader(text).is_err(), "the reader takes it:\n{text}");
        schema(text).unwrap_or_else(|said| panic!("{why:?} is not beyond the schema, which says {said}:\n{text}"));
        shown.push(why);
    }
    for (why, what) in BEYOND {
        assert!(shown.contains(why), "no file shows this: {what}");
    }
    // Nobody asks a schema of what no parser takes.
    for text in ["[network\n", "[log]\nfile = '/x'\nfile = '/y'"] {
        assert!(reader(text).is_err() && toml::from_str::<toml::Table>(text).is_err());
    }
}

/// More than there may be of what is counted.
#[test]
fn lists_have_their_bounds_in_the_schema() {
    let zones = |count: usize| (0..count).map(|n| format!("[[dns.zone]]\ndomain = 'a{n}'\n")).collect::<String>();
    let rules = |count: usize| "[[policy.rule]]\naction = 'deny'\n".repeat(count);
    for (most, few, many) in [(256, zones(256), zones(257)), (10_000, rules(10_000), rules(10_001))] {
        assert_eq!((reader(&few), schema(&few)), (Ok(()), Ok(())), "{most}");
        assert!(reader(&many).is_err() && schema(&many).is_err(), "{most}");
    }
}
