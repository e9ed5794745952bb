//! Each kind of error is reached, what works is taken, and nothing that can be asked for makes a stack panic.

use std::error::Error;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};

use proptest::prelude::*;

use super::*;
use crate::{Glance, Instant, Output, Stack};

fn ip<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

fn builder() -> ConfigBuilder {
    Config::builder()
}

/// The error of a configuration that libslirp would have taken all the same.
fn refused(builder: ConfigBuilder) -> ConfigError {
    assert!(builder.clone().build_lenient().is_ok(), "{builder:?}");
    builder.build().unwrap_err()
}

#[test]
fn the_default_is_sound_and_the_same_by_every_road() {
    let built = builder().build().unwrap();
    assert_eq!(format!("{built:?}"), format!("{:?}", Config::default()));
    assert_eq!(format!("{built:?}"), format!("{:?}", builder().build_lenient().unwrap()));
    assert!(built.has_ipv4() && !built.has_ipv6() && built.mtu() == 1500);
    assert!(builder().ipv6(true).build().is_ok());
}

#[test]
fn addresses_that_are_not_given_follow_from_the_network_in_any_order() {
    let config = builder().host(ip("172.16.0.9")).network(ip("172.16.0.0"), ip("255.255.0.0")).build().unwrap();
    assert_eq!(config.network4().host, ip::<Ipv4Addr>("172.16.0.9"));
    assert_eq!(config.network4().name_server, ip::<Ipv4Addr>("172.16.0.3"));
    assert_eq!(config.dhcp_start(), ip::<Ipv4Addr>("172.16.0.15"));
    let config = builder().network(ip("10.9.8.77"), ip("255.255.255.248")).build().unwrap();
    assert_eq!(config.network4().host, ip::<Ipv4Addr>("10.9.8.74"));
    assert_eq!(config.dhcp_start(), ip::<Ipv4Addr>("10.9.8.77"));
    assert_eq!(config.network4().network, ip::<Ipv4Addr>("10.9.8.72"), "host bits count for nothing");
    let config = builder().ipv6(true).network6(ip("2001:db8:5::77"), 64).build().unwrap();
    assert_eq!(config.network6().host, ip::<std::net::Ipv6Addr>("2001:db8:5::2"));
    assert_eq!(config.network6().name_server, ip::<std::net::Ipv6Addr>("2001:db8:5::3"));
}

#[test]
fn mtu_and_mru_have_a_range_however_they_are_built() {
    for (field, set) in
        [(ConfigField::Mtu, ConfigBuilder::mtu as fn(_, _) -> _), (ConfigField::Mru, ConfigBuilder::mru)]
    {
        for given in [0, 67, 65522, usize::MAX] {
            let expected = ConfigError::OutOfRange { field, given: given as u64, least: 68, most: 65521 };
            assert_eq!(set(builder(), given).build().unwrap_err(), expected);
            assert_eq!(set(builder(), given).build_lenient().unwrap_err(), expected);
        }
        for given in [68, 1500, 65521] {
            assert!(set(builder(), given).build().is_ok(), "{field} {given}");
        }
    }
    for given in [0, (1 << 20) - 1] {
        let error = builder().buffer_memory(given).build_lenient().unwrap_err();
        assert!(matches!(error, ConfigError::OutOfRange { field: ConfigField::BufferMemory, .. }), "{error}");
    }
    assert!(builder().buffer_memory(1 << 20).build().is_ok());
    let error = builder().mru(67).build().unwrap_err();
    assert_eq!(error.to_string(), "mru: 67 is not one of 68 to 65521");
}

#[test]
fn the_keep_alive_and_the_prefix_have_a_range() {
    for silence in [Duration::ZERO, Duration::from_millis(999), Duration::MAX] {
        let error = builder().tcp_keep_alive(silence).build_lenient().unwrap_err();
        let field = ConfigField::TcpKeepAlive;
        assert!(
            matches!(error, ConfigError::DurationOutOfRange { field: told, given, .. } if told == field && given == silence)
        );
    }
    let error = builder().tcp_keep_alive(Duration::from_millis(999)).build().unwrap_err();
    assert_eq!(error.to_string(), "tcp_keep_alive: 999ms is not between 1s and 3000000000s");
    assert!(builder().tcp_keep_alive(Duration::from_secs(1)).tcp_keep_alive(None).build().is_ok());
    for length in [0, 127, 128, 255] {
        let error = refused(builder().ipv6(true).network6(ip("fd00::"), length));
        assert!(matches!(error, ConfigError::OutOfRange { field: ConfigField::PrefixLen, .. }), "{error}");
    }
    // Without IPv6 nobody asks for it.
    assert!(builder().network6(ip("fd00::"), 0).build().is_ok());
}

#[test]
fn texts_that_have_no_room() {
    let long = |length| vec![b'x'; length];
    for (field, most, set) in [
        (ConfigField::HostName, 32, ConfigBuilder::host_name as fn(_, Vec<u8>) -> _),
        (ConfigField::Domain, 255, ConfigBuilder::domain),
        (ConfigField::TftpServerName, 255, ConfigBuilder::tftp_server_name),
    ] {
        let expected = ConfigError::TooLong { field, length: most + 1, most };
        assert_eq!(refused(set(builder(), long(most + 1))), expected);
        assert!(set(builder(), long(most)).build().is_ok(), "{field}");
        assert_eq!(refused(set(builder(), b"a\0b".to_vec())), ConfigError::NulByte { field });
    }
    let expected = ConfigError::TooLong { field: ConfigField::BootFile, length: 128, most: 127 };
    assert_eq!(builder().boot_file(long(128)).build().unwrap_err(), expected);
    assert_eq!(builder().boot_file(long(128)).build_lenient().unwrap_err(), expected);
    assert_eq!(expected.to_string(), "boot_file: 128 bytes are too many, at most 127 have room");
    assert!(builder().boot_file(long(127)).build().is_ok());
}

#[test]
fn texts_that_their_readers_do_not_take() {
    let byte = |field, byte| ConfigError::Byte { field, byte };
    for (text, bad) in [("two words", b' '), ("line\n", b'\n'), ("a/b", b'/'), ("tab\t", b'\t'), ("\u{fc}", 0xc3)] {
        assert_eq!(refused(builder().host_name(text)), byte(ConfigField::HostName, bad), "{text:?}");
    }
    for (field, set) in [
        (ConfigField::Domain, ConfigBuilder::domain as fn(_, Vec<u8>) -> _),
        (ConfigField::TftpServerName, ConfigBuilder::tftp_server_name),
        (ConfigField::BootFile, ConfigBuilder::boot_file),
    ] {
        assert_eq!(refused(set(builder(), b"a\nb".to_vec())), byte(field, b'\n'));
        assert_eq!(refused(set(builder(), b"a\x7fb".to_vec())), byte(field, 0x7f));
        let spaced = set(builder(), b"http://10.0.2.2/a b".to_vec()).build();
        assert_eq!(spaced.err(), (field == ConfigField::TftpServerName).then(|| byte(field, b' ')));
    }
    assert_eq!(byte(ConfigField::HostName, b'\n').to_string(), "host_name: the byte '\\n' cannot be part of it");
    for name in [".", "a..b", ".a", "a.."] {
        assert_eq!(
            refused(builder().host_name(name)),
            ConfigError::EmptyLabel { field: ConfigField::HostName },
            "{name}"
        );
    }
    for name in ["", "guest-1.example", "guest."] {
        assert!(builder().host_name(name).build().is_ok(), "{name}");
    }
}

#[test]
fn a_link_that_is_too_narrow_for_ipv6() {
    for given in [68, 1279] {
        assert_eq!(refused(builder().ipv6(true).mtu(given)), ConfigError::MtuForIpv6 { given, least: 1280 });
        assert!(builder().mtu(given).build().is_ok());
    }
    assert!(builder().ipv6(true).mtu(1280).build().is_ok());
    let error = builder().ipv6(true).mtu(68).build().unwrap_err();
    assert_eq!(error.to_string(), "mtu: 68 is less than the 1280 that IPv6 needs");
}

#[test]
fn networks_that_no_machine_can_be_in() {
    for network in ["255.255.255.0", "224.0.0.0", "240.1.2.0", "127.0.0.0", "0.0.0.0"] {
        let expected = ConfigError::Address { field: ConfigField::Network, address: ip(network) };
        assert_eq!(refused(builder().network(ip(network), ip("255.255.255.0"))), expected);
    }
    let error = builder().network(ip("255.255.255.0"), ip("255.255.255.0")).build().unwrap_err();
    assert_eq!(error.to_string(), "network: no machine can have the address 255.255.255.0");
}

#[test]
fn a_network_that_is_too_small_asks_for_what_it_has_no_default_for() {
    let small = |last| builder().network(ip("10.0.2.8"), Ipv4Addr::new(255, 255, 255, last));
    let missing = |field, number, last| {
        let netmask = Ipv4Addr::new(255, 255, 255, last);
        ConfigError::NoDefault { field, number, netmask }
    };
    assert!(small(248).build().is_ok());
    assert_eq!(refused(small(252)), missing(ConfigField::NameServer, 3, 252));
    assert_eq!(refused(small(252).dns(false)), missing(ConfigField::DhcpStart, 5, 252));
    assert_eq!(refused(small(254)), missing(ConfigField::Host, 2, 254));
    let error = small(252).name_server(ip("9.9.9.9")).build().unwrap_err();
    let said = "dhcp_start: it has to be given, as a network with the mask 255.255.255.252 has no number 5";
    assert_eq!(error.to_string(), said);
    assert!(small(252).name_server(ip("9.9.9.9")).dhcp_start(ip("10.0.2.9")).build().is_ok());
    assert!(small(252).dns(false).dhcp(false).build().is_ok());
}

#[test]
fn sources_that_nothing_can_leave_from() {
    for text in ["0.1.2.3", "239.0.0.1", "255.255.255.255"] {
        let expected = ConfigError::Address { field: ConfigField::Outbound, address: ip(text) };
        assert_eq!(refused(builder().outbound(SocketAddrV4::new(ip(text), 0))), expected);
    }
    assert!(builder().outbound(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 4000)).build().is_ok());
    for text in ["::ffff:192.0.2.1", "fe80::1", "ff0e::1"] {
        let outbound = SocketAddrV6::new(ip(text), 0, 0, 0);
        let expected = ConfigError::Address { field: ConfigField::Outbound6, address: ip(text) };
        assert_eq!(refused(builder().outbound6(outbound)), expected);
    }
    assert!(builder().outbound6(SocketAddrV6::new(ip("fe80::1"), 0, 0, 3)).build().is_ok());
    assert!(builder().outbound6(SocketAddrV6::new(ip("2001:db8::1"), 0, 0, 0)).build().is_ok());
}

#[test]
fn paths_that_lead_nowhere() {
    let empty = |field| ConfigError::EmptyPath { field };
    assert_eq!(refused(builder().tftp(TftpFiles::Directory("".into()))), empty(ConfigField::Tftp));
    let names = builder().name_server_source(NameServerSource::ResolverFile("".into()));
    assert_eq!(refused(names), empty(ConfigField::NameServerSource));
    assert_eq!(empty(ConfigField::Tftp).to_string(), "tftp: an empty path leads nowhere");
}

#[test]
fn paths_with_a_zero_byte() {
    let nul = |field| ConfigError::NulByte { field };
    let tftp = builder().tftp(TftpFiles::Directory("a\0b".into()));
    assert_eq!(refused(tftp), nul(ConfigField::Tftp));
    let names = builder().name_server_source(NameServerSource::ResolverFile("a\0b".into()));
    assert_eq!(refused(names), nul(ConfigField::NameServerSource));
    assert_eq!(nul(ConfigField::Tftp).to_string(), "tftp: a zero byte cannot be part of it");
}

#[test]
fn masks_are_ones_before_zeros_with_room_for_a_host_and_a_guest() {
    for mask in ["255.0.255.0", "0.255.255.255", "255.255.255.253", "0.0.0.0", "255.255.255.255"] {
        let error = refused(builder().network(ip("10.0.2.0"), ip(mask)));
        assert_eq!(error, ConfigError::Netmask { netmask: ip(mask) });
    }
    for mask in ["255.255.255.240", "255.254.0.0", "254.0.0.0"] {
        assert!(builder().network(ip("10.0.2.0"), ip(mask)).build().is_ok(), "{mask}");
    }
    // A host and a guest, and a name server elsewhere (RFC 3021).
    let two = builder().network(ip("10.0.2.2"), ip("255.255.255.254")).host(ip("10.0.2.2")).dhcp_start(ip("10.0.2.3"));
    assert_eq!(two.name_server(ip("10.9.9.9")).build().err(), None);
}

#[test]
fn addresses_that_no_machine_can_have() {
    let address = |field, text| ConfigError::Address { field, address: ip::<IpAddr>(text) };
    for text in ["0.0.0.0", "10.0.2.0", "10.0.2.255", "127.0.0.1", "224.0.0.1", "255.255.255.255"] {
        assert_eq!(refused(builder().host(ip(text))), address(ConfigField::Host, text));
        assert_eq!(refused(builder().name_server(ip(text))), address(ConfigField::NameServer, text));
        assert_eq!(refused(builder().dhcp_start(ip(text))), address(ConfigField::DhcpStart, text));
        assert!(builder().name_server(ip(text)).dns(false).build().is_ok(), "nobody asks it");
    }
    for text in ["::", "::1", "ff02::1", "fe80::5", "::ffff:10.0.2.2"] {
        let six = || builder().ipv6(true);
        assert_eq!(refused(six().host6(ip(text))), address(ConfigField::Host6, text));
        assert_eq!(refused(six().name_server6(ip(text))), address(ConfigField::NameServer6, text));
        assert_eq!(refused(six().network6(ip(text), 64)), address(ConfigField::Network6, text));
    }
    let outbound = "224.0.0.1:0".parse::<SocketAddrV4>().unwrap();
    assert_eq!(refused(builder().outbound(outbound)), address(ConfigField::Outbound, "224.0.0.1"));
    let outbound = "[ff02::1]:0".parse::<SocketAddrV6>().unwrap();
    assert_eq!(refused(builder().outbound6(outbound)), address(ConfigField::Outbound6, "ff02::1"));
    assert_eq!(
        address(ConfigField::Host, "10.0.2.255").to_string(),
        "host: no machine can have the address 10.0.2.255"
    );
}

#[test]
fn host_and_leases_are_in_the_network_and_the_name_server_may_be_anywhere() {
    let outside = |field, text| ConfigError::OutsideNetwork {
        field,
        address: ip(text),
        network: ip("10.0.2.0"),
        netmask: ip("255.255.255.0"),
    };
    assert_eq!(refused(builder().host(ip("10.0.3.2"))), outside(ConfigField::Host, "10.0.3.2"));
    assert_eq!(refused(builder().dhcp_start(ip("10.0.3.15"))), outside(ConfigField::DhcpStart, "10.0.3.15"));
    assert!(builder().name_server(ip("9.9.9.9")).build().is_ok());
    assert!(builder().dhcp_start(ip("10.0.3.15")).dhcp(false).build().is_ok());
}

#[test]
fn two_services_have_two_addresses() {
    let same = |first, second, text| ConfigError::SameAddress { first, second, address: ip(text) };
    let error = refused(builder().name_server(ip("10.0.2.2")));
    assert_eq!(error, same(ConfigField::Host, ConfigField::NameServer, "10.0.2.2"));
    assert_eq!(error.to_string(), "name_server: 10.0.2.2 is the address of host already");
    let error = refused(builder().ipv6(true).name_server6(ip("fec0::2")));
    assert_eq!(error, same(ConfigField::Host6, ConfigField::NameServer6, "fec0::2"));
    assert!(builder().name_server(ip("10.0.2.2")).dns(false).build().is_ok());
}

#[test]
fn a_guest_has_a_family_and_something_to_lease() {
    assert_eq!(refused(builder().ipv4(false)), ConfigError::NoFamily);
    // One address besides the network's own: the host's.
    let full = builder()
        .network(ip("10.0.2.0"), ip("255.255.255.252"))
        .host(ip("10.0.2.2"))
        .name_server(ip("10.0.2.1"))
        .dhcp_start(ip("10.0.2.2"));
    assert_eq!(refused(full.clone()), ConfigError::NothingToLease { dhcp_start: ip("10.0.2.2") });
    assert!(full.dhcp(false).build().is_ok());
}

#[test]
fn domains_to_search_in_are_domain_names() {
    let error = refused(builder().search(["example.org", "bad..name"]));
    let ConfigError::Search(bad) = &error else { panic!("{error:?}") };
    assert_eq!(bad.name, "bad..name");
    assert!(error.source().unwrap().to_string().contains("empty label"));
    assert_eq!(error.to_string(), "search: \"bad..name\" is no domain name");
    let long = format!("{}.example", "x".repeat(64));
    for name in ["a\0b", "two words", "line\n", "a\tb", "", ".", "a/b", "\u{fc}.example", &long, &"x.".repeat(200)] {
        let error = builder().search([name]).build().unwrap_err();
        assert!(matches!(&error, ConfigError::Search(bad) if bad.name == name), "{name:?}: {error:?}");
    }
    assert!(builder().search(["_tcp.Example-1.org", "example.org."]).build().is_ok());
}

#[test]
fn fixed_name_servers_can_be_asked() {
    let fixed = |servers: Vec<SocketAddr>| builder().name_server_source(NameServerSource::Fixed(servers));
    for text in ["192.0.2.1:0", "0.0.0.0:53", "[::]:53", "224.0.0.251:5353", "255.255.255.255:53"] {
        assert_eq!(refused(fixed(vec![ip(text)])), ConfigError::NameServer { server: ip(text) });
    }
    let many = |many| (0..many).map(|last| SocketAddr::from(([192, 0, 2, last], 53))).collect();
    assert_eq!(refused(fixed(many(17))), ConfigError::TooManyNameServers { given: 17, most: 16 });
    assert!(fixed(many(16)).build().is_ok() && fixed(Vec::new()).build().is_ok());
}

#[test]
fn every_error_begins_with_the_name_of_what_it_is_about() {
    for field in [ConfigField::Mtu, ConfigField::Host6, ConfigField::NameServerSource] {
        let error = ConfigError::TooLong { field, length: 2, most: 1 };
        assert!(error.to_string().starts_with(field.name()), "{error}");
    }
    assert!(ConfigError::NoFamily.to_string().starts_with("ipv4, ipv6:"));
}

/// One call of a method of the builder, with whatever it can be given.
#[derive(Clone, Debug)]
struct Call {
    method: u8,
    on: bool,
    number: u64,
    short: u32,
    mask: u32,
    long: u128,
    text: Vec<u8>,
}

fn call() -> impl Strategy<Value = Call> {
    let short = prop_oneof![
        any::<u32>(),
        (0u32..300).prop_map(|low| 0x0a00_0200 | low),
        Just(0),
        Just(u32::MAX),
        (0u32..=32).prop_map(|ones| u32::MAX.checked_shl(ones).unwrap_or(0)),
    ];
    let long = prop_oneof![any::<u128>(), (0u128..5).prop_map(|low| 0xfec0 << 112 | low), Just(0), Just(u128::MAX)];
    let number = prop_oneof![0u64..=300, 0u64..=70_000, any::<u64>()];
    let text = prop_oneof![prop::collection::vec(any::<u8>(), 0..300), "[a-z.]{0,40}".prop_map(String::into_bytes)];
    (0u8..26, any::<bool>(), number, short.clone(), short, long, text)
        .prop_map(|(method, on, number, short, mask, long, text)| Call { method, on, number, short, mask, long, text })
}

impl Call {
    fn make(&self, builder: ConfigBuilder) -> ConfigBuilder {
        let (four, six) = (Ipv4Addr::from_bits(self.short), std::net::Ipv6Addr::from_bits(self.long));
        let (on, port, text) = (self.on, self.number as u16, self.text.clone());
        match self.method {
            0 => builder.ipv4(on),
            1 => builder.ipv6(on),
            2 => builder.network(four, Ipv4Addr::from_bits(self.mask)),
            3 => builder.host(four),
            4 => builder.name_server(four),
            5 => builder.dhcp_start(four),
            6 => builder.network6(six, self.number as u8),
            7 => builder.host6(six),
            8 => builder.name_server6(six),
            9 => builder.restricted(on).host_loopback(!on),
            10 => builder.dns(on),
            11 => builder.dhcp(on),
            12 => builder.outbound(on.then_some(SocketAddrV4::new(four, port))),
            13 => builder.outbound6(on.then_some(SocketAddrV6::new(six, port, self.short, self.mask))),
            14 => builder.host_name(text),
            15 => builder.domain(text),
            16 => builder.search(text.split(|byte| *byte == 0)),
            17 => builder.boot_file(text),
            18 => builder.tftp_server_name(text),
            19 => builder.tftp(TftpFiles::Directory(String::from_utf8_lossy(&text).into_owned().into())),
            20 => builder.name_server_source(NameServerSource::Fixed(vec![SocketAddr::from((six, port)); text.len()])),
            21 => builder.mtu(self.number as usize),
            22 => builder.mru(self.number as usize),
            23 => builder.tcp_keep_alive(on.then_some(Duration::from_secs(self.number))),
            24 => builder.ncsi(NcsiConfig::new(self.short, [port as u8; 6])),
            _ => builder.direct_poll(on).handover(!on),
        }
    }
}

proptest! {
    #[test]
    fn nothing_that_can_be_asked_for_panics(calls in prop::collection::vec(call(), 0..12)) {
        let builder = calls.iter().fold(builder(), |builder, call| call.make(builder));
        let lenient = builder.clone().build_lenient();
        let strict = builder.build();
        // What is refused in every case is refused in the same words, and nothing else is refused only sometimes.
        match (&strict, &lenient) {
            (Err(error), Err(same)) => prop_assert_eq!(error, same),
            (Ok(_), Err(error)) => prop_assert!(false, "only the lenient one refuses: {}", error),
            _ => {}
        }
        for config in [strict, lenient].into_iter().flatten() {
            let mut stack = Stack::new(config).unwrap();
            // The second time is late enough for a router advertisement.
            for now in [Instant::ZERO, Instant::from_secs(700)] {
                stack.handle_events(Glance::Unknown, now);
                let rested = (0..1000).any(|_| matches!(stack.poll_output(now), Output::Timeout(_)));
                prop_assert!(rested, "there is no end to what comes out");
            }
            stack.shut_down();
        }
    }
}
