use super::*;
use proptest::prelude::*;

fn servers(count: u8) -> Vec<SocketAddr> {
    (1..=count).map(|last| SocketAddr::from(([192, 0, 2, last], 53))).collect()
}

fn client(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 2, 15], port))
}

fn at(seconds: f64) -> Instant {
    Instant::from_micros((seconds * 1e6) as i64)
}

/// A query for `name` in zone "test", type A.
fn query(id: u16, name: &str) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    bytes.push(u8::try_from(name.len()).unwrap());
    bytes.extend(name.as_bytes());
    bytes.extend(b"\x04test\x00\x00\x01\x00\x01");
    bytes
}

fn answer(id: u16, name: &str) -> Vec<u8> {
    let mut bytes = query(id, name);
    bytes[2] |= 0x80;
    bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 99]);
    bytes
}

#[test]
fn no_server_no_choice() {
    let mut relay = DnsRelay::new();
    assert_eq!(relay.pick(&[], &query(1, "a"), client(1000), at(0.0)), None);
    assert_eq!(relay.pick_stream(&[], at(0.0)), None);
}

#[test]
fn first_server_while_all_is_well() {
    let (mut relay, list) = (DnsRelay::new(), servers(3));
    for round in 0..1000_u16 {
        let now = at(f64::from(round) * 0.7);
        assert_eq!(relay.pick(&list, &query(round, "a"), client(1000), now), Some(0));
        assert_eq!(relay.pick_stream(&list, now), Some(0));
        relay.answered(list[0], &answer(round, "a"), client(1000));
    }
}

#[test]
fn repetition_goes_to_the_next_server() {
    let (mut relay, list) = (DnsRelay::new(), servers(3));
    for (seconds, index) in [(0.0, 0), (0.5, 1), (1.0, 2), (1.5, 0)] {
        assert_eq!(relay.pick(&list, &query(7, "a"), client(1000), at(seconds)), Some(index));
    }
}

#[test]
fn repetition_is_same_client_id_and_question() {
    let (mut relay, list) = (DnsRelay::new(), servers(2));
    let mut pick = |query: &[u8], port| relay.pick(&list, query, client(port), at(0.0));
    assert_eq!(pick(&query(7, "a"), 1000), Some(0));
    assert_eq!(pick(&query(7, "a"), 1001), Some(0));
    assert_eq!(pick(&query(8, "a"), 1000), Some(0));
    assert_eq!(pick(&query(7, "b"), 1000), Some(0));
    let mut other_type = query(7, "a");
    let len = other_type.len();
    other_type[len - 3] = 28;
    assert_eq!(pick(&other_type, 1000), Some(0));
    // What follows the question, such as an EDNS record, may differ.
    let mut with_more = query(7, "a");
    with_more.extend([0; 11]);
    assert_eq!(pick(&with_more, 1000), Some(1));
}

#[test]
fn answered_query_may_be_asked_again() {
    // Some clients use one transaction id for ever.
    let (mut relay, list) = (DnsRelay::new(), servers(2));
    for round in 0..10 {
        assert_eq!(relay.pick(&list, &query(7, "a"), client(1000), at(f64::from(round))), Some(0));
        relay.answered(list[0], &answer(7, "a"), client(1000));
    }
}

#[test]
fn repetition_is_forgotten_after_30_seconds() {
    let (mut relay, list) = (DnsRelay::new(), servers(2));
    assert_eq!(relay.pick(&list, &query(7, "a"), client(1000), at(0.0)), Some(0));
    assert_eq!(relay.pick(&list, &query(7, "a"), client(1000), at(30.0)), Some(1));
    assert_eq!(relay.pick(&list, &query(7, "a"), client(1000), at(60.1)), Some(0));
}

#[test]
fn oldest_of_128_queries_is_forgotten() {
    let (mut relay, list) = (DnsRelay::new(), servers(2));
    for id in 0..129 {
        assert_eq!(relay.pick(&list, &query(id, "a"), client(1000), at(0.0)), Some(0));
    }
    assert_eq!(relay.queries.len(), 128);
    assert_eq!(relay.pick(&list, &query(1, "a"), client(1000), at(0.0)), Some(1));
    assert_eq!(relay.pick(&list, &query(0, "a"), client(1000), at(0.0)), Some(0));
}

#[test]
fn silent_server_is_avoided_for_ten_seconds() {
    let (mut relay, list) = (DnsRelay::new(), servers(2));
    // Every query is new: this client takes a fresh transaction id when it tries again.
    let mut id = 0;
    let mut pick = |seconds: f64| {
        id += 1;
        let index = relay.pick(&list, &query(id, "a"), client(1000), at(seconds));
        if index == Some(1) {
            relay.answered(list[1], &answer(id, "a"), client(1000));
        }
        index
    };
    assert_eq!(pick(0.0), Some(0));
    assert_eq!(pick(2.0), Some(0));
    assert_eq!(pick(2.1), Some(1));
    assert_eq!(pick(11.9), Some(1));
    assert_eq!(pick(12.0), Some(0));
    assert_eq!(pick(14.0), Some(0));
    assert_eq!(pick(14.1), Some(1));
}

#[test]
fn any_answer_ends_the_silence() {
    let (mut relay, list) = (DnsRelay::new(), servers(2));
    relay.pick(&list, &query(1, "slow"), client(1000), at(0.0));
    relay.pick(&list, &query(2, "quick"), client(1000), at(0.5));
    relay.answered(list[0], &answer(2, "quick"), client(1000));
    assert_eq!(relay.pick(&list, &query(3, "a"), client(1000), at(2.5)), Some(0));
    // An answer that comes while the server is avoided brings it back at once.
    assert_eq!(relay.pick(&list, &query(4, "a"), client(1000), at(5.0)), Some(1));
    relay.answered(list[0], &answer(1, "slow"), client(1000));
    assert_eq!(relay.pick(&list, &query(5, "a"), client(1000), at(5.1)), Some(0));
}

#[test]
fn answer_from_another_address_counts_for_the_server_asked() {
    let (mut relay, list) = (DnsRelay::new(), servers(2));
    relay.pick(&list, &query(1, "a"), client(1000), at(0.0));
    let another = SocketAddr::from(([192, 0, 2, 201], 53));
    // Nothing that was asked: no sign of life.
    relay.answered(another, &answer(2, "a"), client(1000));
    assert_eq!(relay.pick_stream(&list, at(3.0)), Some(1));
    relay.answered(another, &answer(1, "a"), client(1000));
    assert_eq!(relay.pick_stream(&list, at(3.0)), Some(0));
}

#[test]
fn failed_server_is_avoided_for_ten_seconds() {
    let (mut relay, list) = (DnsRelay::new(), servers(3));
    assert_eq!(relay.pick_stream(&list, at(0.0)), Some(0));
    relay.failed(list[0], at(0.0));
    assert_eq!(relay.pick_stream(&list, at(0.0)), Some(1));
    assert_eq!(relay.pick(&list, &query(1, "a"), client(1000), at(9.9)), Some(1));
    assert_eq!(relay.pick(&list, &query(2, "a"), client(1000), at(10.0)), Some(0));
    // A connection shows that it lives.
    relay.failed(list[0], at(11.0));
    relay.connected(list[0]);
    assert_eq!(relay.pick_stream(&list, at(11.0)), Some(0));
}

/// The transaction ids of the queries that go on, each with the server that has it next.
fn moved(refused: &Refused) -> Vec<(u16, usize)> {
    refused.moved.iter().map(|(query, index)| (u16::from_be_bytes([query[0], query[1]]), *index)).collect()
}

#[test]
fn refused_queries_go_round_all_servers_once() {
    let (mut relay, list) = (DnsRelay::new(), servers(3));
    for id in 1..=2 {
        assert_eq!(relay.pick(&list, &query(id, "a"), client(1000), at(0.0)), Some(0));
    }
    relay.pick(&list, &query(1, "a"), client(1001), at(0.0));
    assert_eq!(moved(&relay.refused(list[0], client(1000), at(0.1))), [(1, 1), (2, 1)]);
    // The error for the second query says nothing new.
    let again = relay.refused(list[0], client(1000), at(0.1));
    assert!(again.moved.is_empty() && again.exhausted.is_empty() && relay.is_awaited(client(1000), at(0.1)));
    relay.answered(list[1], &answer(2, "a"), client(1000));
    assert_eq!(moved(&relay.refused(list[1], client(1000), at(0.2))), [(1, 2)]);
    let refused = relay.refused(list[2], client(1000), at(0.3));
    assert!(refused.moved.is_empty());
    assert_eq!(refused.exhausted, [query(1, "a").into_boxed_slice()]);
    assert!(!relay.is_awaited(client(1000), at(0.3)) && relay.is_awaited(client(1001), at(0.3)));
}

#[test]
fn refused_stream_goes_to_avoided_servers_last() {
    let (mut relay, list) = (DnsRelay::new(), servers(3));
    assert_eq!(relay.behind(list[0], at(0.0)), None);
    assert_eq!(relay.pick_stream(&list, at(0.0)), Some(0));
    assert_eq!(relay.behind(list[0], at(0.0)), Some(1));
    relay.failed(list[1], at(0.0));
    assert_eq!(relay.behind(list[0], at(0.0)), Some(2));
    relay.failed(list[2], at(0.0));
    assert_eq!(relay.behind(list[0], at(0.0)), Some(1));
    assert_eq!(relay.pick_stream(&servers(1), at(0.0)), Some(0));
    assert_eq!(relay.behind(list[0], at(0.0)), None);
}

#[test]
fn refused_query_goes_to_avoided_servers_last() {
    let (mut relay, list) = (DnsRelay::new(), servers(4));
    relay.pick(&list, &query(1, "a"), client(1000), at(0.0));
    relay.failed(list[1], at(0.0));
    relay.failed(list[2], at(0.0));
    let next = |relay: &mut DnsRelay, server: usize| moved(&relay.refused(list[server], client(1000), at(0.1)));
    assert_eq!(next(&mut relay, 0), [(1, 3)]);
    assert_eq!(next(&mut relay, 3), [(1, 1)]);
    assert_eq!(next(&mut relay, 1), [(1, 2)]);
    assert_eq!(next(&mut relay, 2), []);
}

#[test]
fn query_that_the_client_sends_again_may_go_round_again() {
    let (mut relay, list) = (DnsRelay::new(), servers(2));
    for seconds in [0.0, 1.0, 2.0] {
        let first = relay.pick(&list, &query(1, "a"), client(1000), at(seconds)).unwrap();
        let refused = relay.refused(list[first], client(1000), at(seconds));
        assert_eq!(moved(&refused), [(1, 1 - first)], "{seconds}");
    }
}

#[test]
fn what_nobody_waits_for_any_more_stays_refused() {
    let (mut relay, list) = (DnsRelay::new(), servers(2));
    relay.pick(&list, &query(1, "a"), client(1000), at(0.0));
    let refused = relay.refused(list[0], client(1000), at(5.1));
    assert!(refused.moved.is_empty() && refused.exhausted.is_empty() && !relay.is_awaited(client(1000), at(5.1)));
    // Nor does what is too long to be kept move.
    let mut long = query(2, "a");
    long.resize(KEPT_MAX + 1, 0);
    relay.pick(&list, &long, client(1000), at(6.0));
    assert!(relay.refused(list[1], client(1000), at(6.0)).moved.is_empty());
    // A stranger refuses nothing.
    relay.pick(&list, &query(3, "a"), client(1000), at(7.0));
    let refused = relay.refused(SocketAddr::from(([192, 0, 2, 200], 53)), client(1000), at(7.0));
    assert!(refused.moved.is_empty() && refused.exhausted.is_empty());
}

#[test]
fn server_that_refused_is_tried_again_after_ten_seconds() {
    let (mut relay, list) = (DnsRelay::new(), servers(2));
    relay.pick(&list, &query(1, "a"), client(1000), at(0.0));
    relay.refused(list[0], client(1000), at(0.0));
    relay.answered(list[1], &answer(1, "a"), client(1000));
    assert_eq!(relay.pick(&list, &query(2, "a"), client(1000), at(9.9)), Some(1));
    relay.answered(list[1], &answer(2, "a"), client(1000));
    assert_eq!(relay.pick(&list, &query(3, "a"), client(1000), at(10.0)), Some(0));
}

#[test]
fn repetition_passes_over_a_failed_server() {
    let (mut relay, list) = (DnsRelay::new(), servers(3));
    relay.pick(&list, &query(1, "a"), client(1000), at(0.0));
    relay.failed(list[1], at(0.1));
    assert_eq!(relay.pick(&list, &query(1, "a"), client(1000), at(1.0)), Some(2));
}

#[test]
fn servers_take_turns_when_all_have_failed() {
    let (mut relay, list) = (DnsRelay::new(), servers(3));
    relay.pick_stream(&list, at(0.0));
    list.iter().for_each(|server| relay.failed(*server, at(0.0)));
    let turns: Vec<_> = (0..4).filter_map(|id| relay.pick(&list, &query(id, "a"), client(1000), at(1.0))).collect();
    assert_eq!(turns, [0, 1, 2, 0]);
    // A repetition still goes to the one behind: query 2 went to server 2.
    assert_eq!(relay.pick(&list, &query(2, "a"), client(1000), at(1.1)), Some(0));
    // One that lives again gets everything.
    relay.answered(list[2], &answer(99, "a"), client(1000));
    assert_eq!(relay.pick_stream(&list, at(1.1)), Some(2));
}

#[test]
fn changed_list_is_a_new_beginning() {
    let (mut relay, list) = (DnsRelay::new(), servers(2));
    relay.pick(&list, &query(1, "a"), client(1000), at(0.0));
    relay.failed(list[0], at(0.0));
    let longer = servers(3);
    assert_eq!(relay.pick(&longer, &query(1, "a"), client(1000), at(0.1)), Some(0));
    // A stranger's address means nothing.
    relay.failed(SocketAddr::from(([192, 0, 2, 200], 53)), at(0.1));
    assert_eq!(relay.pick_stream(&longer, at(0.1)), Some(0));
}

#[test]
fn what_is_no_query_proves_nothing() {
    let (mut relay, list) = (DnsRelay::new(), servers(2));
    let mut damaged = query(1, "a");
    damaged.truncate(16);
    let mut empty = query(1, "a");
    empty[5] = 0;
    let mut compressed = query(1, "a");
    compressed[12] = 0xc0;
    for payload in [&b""[..], b"hello", &answer(1, "a"), &damaged, &empty, &compressed] {
        assert_eq!(relay.pick(&list, payload, client(1000), at(0.0)), Some(0));
        assert_eq!(relay.pick(&list, payload, client(1000), at(5.0)), Some(0));
    }
    assert!(relay.queries.is_empty());
}

#[test]
fn clock_that_goes_back_makes_nothing_old() {
    let (mut relay, list) = (DnsRelay::new(), servers(2));
    assert_eq!(relay.pick(&list, &query(1, "a"), client(1000), at(1000.0)), Some(0));
    assert_eq!(relay.pick(&list, &query(2, "a"), client(1000), at(0.0)), Some(0));
}

proptest! {
    #[test]
    fn any_bytes_get_a_server(
        payloads in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..80), any::<bool>()), 0..200),
        count in 1_u8..5,
    ) {
        let (mut relay, list) = (DnsRelay::new(), servers(count));
        for (number, (mut payload, plausible)) in payloads.into_iter().enumerate() {
            if plausible && payload.len() > 5 {
                payload[2] &= 0x7f;
                payload[4..6].copy_from_slice(&[0, 1]);
            }
            let now = at(number as f64);
            let index = relay.pick(&list, &payload, client(1000), now);
            prop_assert!(index.is_some_and(|index| index < list.len()));
            relay.answered(list[0], &payload, client(1000));
            prop_assert!(relay.queries.len() <= QUERIES_MAX);
        }
    }
}
