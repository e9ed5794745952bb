//! `docs/facts.md` lists which test shows which observable fact of `docs/contract/`. It is made from the lists of facts there
//! and from the names of the tests in `tests/` (`tcp_fact_08_…`, `info_facts_02_to_05_…`), so it cannot name a test that
//! does not exist; this test fails when it is stale. `OXISLIRP_WRITE_FACTS=1 cargo test --test facts` writes it anew.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// What a prefix of a test's name stands for, and the page of `docs/contract/` with the facts of that subject.
const SUBJECTS: &[(&str, &str, &str)] = &[
    ("api", "API and ABI", "api.md"),
    ("poll", "polling, timers and callback order", "poll-and-timers.md"),
    ("ethernet", "Ethernet, ARP, NDP", "ethernet-arp-ndp.md"),
    ("ipv4", "IPv4", "ipv4.md"),
    ("ipv6", "IPv6", "ipv6.md"),
    ("icmp", "ICMP and ICMPv6", "icmp.md"),
    ("tcp", "TCP", "tcp.md"),
    ("udp", "UDP", "udp.md"),
    ("dns", "DNS", "dns.md"),
    ("dhcp", "DHCP", "dhcp.md"),
    ("tftp", "TFTP", "tftp.md"),
    ("hostfwd", "host forwards", "hostfwd.md"),
    ("guestfwd", "guest forwards", "guestfwd-exec-unix.md"),
    ("ncsi", "NC-SI", "ncsi.md"),
    ("info", "info texts", "info-text.md"),
    ("state", "saved state", "state.md"),
    ("security", "security", "security.md"),
];

/// Facts that a test shows whose name tells of something else: subject, number, file and test.
const ALSO: &[(&str, u32, &str, &str)] = &[
    ("api", 1, "tests/c_abi.rs", "exported_functions_are_on_their_version_nodes"),
    ("poll", 13, "tests/inproc_api.rs", "api_fact_05_version_4_gets_init_completed_and_the_opaque_timer"),
    ("icmp", 13, "tests/inproc_ipv4.rs", "ipv4_no_route_is_reported_at_once"),
    ("udp", 10, "tests/inproc_dns.rs", "dns_fact_09_an_answered_flow_lives_ten_seconds"),
    ("dns", 4, "engine/src/service/dns/resolv_conf.rs", "fact_4_indented_or_upper_case_keyword_is_no_server_line"),
    ("dhcp", 3, "tests/inproc_dhcp.rs", "dhcp_fact_01_discover_is_offered_the_first_address"),
    ("tftp", 11, "tests/inproc_ipv6_services.rs", "tftp_over_ipv6_moves_whole_files"),
    ("security", 1, "tests/testing_page.rs", "the_tests_of_known_holes_exist"),
    ("security", 3, "tests/inproc_badinput.rs", "security_cve_2014_3640_udp_from_nowhere"),
    ("security", 5, "tests/inproc_badinput.rs", "security_lengths_that_exceed_the_frame_are_dropped"),
    ("security", 6, "tests/inproc_ipv4.rs", "ipv4_fact_05_options_in_some_fragments_only"),
    ("security", 9, "tests/inproc_ipv6_services.rs", "security_dhcpv6_under_a_small_mtu_fits_it"),
    ("security", 10, "tests/inproc_state.rs", "state_a_stream_cut_anywhere_is_refused_and_changes_nothing"),
];

/// The subject, the facts and the full name of a test, when its name says so.
fn facts(name: &str) -> Option<(&'static str, Vec<u32>)> {
    let (subject, rest) = SUBJECTS.iter().find_map(|(subject, _, _)| {
        let rest = name.strip_prefix(subject)?.strip_prefix("_fact")?;
        Some((*subject, rest.strip_prefix('s').unwrap_or(rest).strip_prefix('_')?))
    })?;
    let mut words = rest.split('_');
    let first: u32 = words.next()?.parse().ok()?;
    let mut numbers = vec![first];
    while let Some(word) = words.next() {
        match (word, words.clone().next().and_then(|next| next.parse::<u32>().ok())) {
            ("to", Some(last)) => numbers.extend(first + 1..=last),
            ("and", Some(other)) => numbers.push(other),
            _ => break,
        }
        words.next();
    }
    Some((subject, numbers))
}

/// How many observable facts a page of the contract has; they are numbered from 1.
fn count(page: &str) -> u32 {
    let list = page.split_once("## Observable facts").expect("the page has a list of observable facts").1;
    let list = list.split_once("\n## ").map_or(list, |(list, _)| list);
    let numbers = list.lines().filter_map(|line| line.split_once(". ")?.0.parse::<u32>().ok());
    let count = numbers
        .zip(1..)
        .inspect(|(number, expected)| assert_eq!(number, expected, "facts are numbered in order"))
        .count();
    count.try_into().unwrap()
}

/// The names of the tests in a source file: functions behind a `#[test]`.
fn tests_in(source: &str) -> impl Iterator<Item = &str> {
    source.split("#[test]").skip(1).filter_map(|after| {
        let name = after.split_once("fn ")?.1;
        name.split_once('(').map(|(name, _)| name)
    })
}

fn page() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found: BTreeMap<(&str, u32), Vec<String>> = BTreeMap::new();
    let mut files: Vec<_> = fs::read_dir(root.join("tests")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs")) {
        let source = fs::read_to_string(file).unwrap();
        let place = file.file_name().unwrap().to_string_lossy().into_owned();
        for name in tests_in(&source) {
            let Some((subject, numbers)) = facts(name) else { continue };
            for number in numbers {
                found.entry((subject, number)).or_default().push(format!("`{place}` {name}"));
            }
        }
    }
    for (subject, number, file, name) in ALSO {
        let source = fs::read_to_string(root.join(file)).unwrap();
        assert!(tests_in(&source).any(|test| test == *name), "there is no test {name} in {file}");
        let place = file.strip_prefix("tests/").unwrap_or(file);
        found.entry((subject, *number)).or_default().push(format!("`{place}` {name}"));
    }
    let mut page = String::from(
        "# Observable facts and the tests that show them\n\n\
         Made from the names of the tests; `OXISLIRP_WRITE_FACTS=1 cargo test --test facts` writes this page anew. The numbers\n\
         are those of the lists of observable facts in the [contract](contract/README.md). Where this library chooses to differ\n\
         from upstream, the test of the fact asserts the difference (`tests/common/differences.rs`), and\n\
         [compatibility.md](compatibility.md) says what is different. A dash stands where no test shows a fact.\n",
    );
    for (subject, title, file) in SUBJECTS {
        let count = count(&fs::read_to_string(root.join("docs/contract").join(file)).unwrap());
        let shown = (1..=count).filter(|number| found.contains_key(&(*subject, *number))).count();
        let _ = write!(page, "\n## [{title}](contract/{file}): {shown} of {count}\n\n| fact | test |\n|---|---|\n");
        for number in 1..=count {
            let tests = found.get(&(*subject, number)).map_or_else(|| "-".to_string(), |tests| tests.join("<br>"));
            let _ = writeln!(page, "| {number} | {tests} |");
        }
    }
    page
}

#[test]
fn the_list_of_facts_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/facts.md");
    let page = page();
    if std::env::var_os("OXISLIRP_WRITE_FACTS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == page, "docs/facts.md is stale: OXISLIRP_WRITE_FACTS=1 cargo test --test facts");
}

#[test]
fn names_are_understood() {
    assert_eq!(facts("tcp_fact_08_hello"), Some(("tcp", vec![8])));
    assert_eq!(facts("info_facts_02_to_05_lines"), Some(("info", vec![2, 3, 4, 5])));
    assert_eq!(facts("tcp_window_scaling"), None);
}
