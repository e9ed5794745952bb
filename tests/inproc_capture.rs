//! What OXISLIRP_CONFIG has written down of a guest, through the C ABI: frames as pcapng, flows as a log of JSON lines, and
//! `oxislirp_counters`. docs/capture.md says what they promise. The capture is read here by a reader that knows nothing of the
//! library; compat-tests/slirp4netns has Wireshark's read one.

mod common;
use common::pcapng::{Way, read};
use common::target::FORWARD;
use common::*;

use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// A folder for the files of one test; it goes with this value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("oxislirp-capture-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The environment is everybody's: instances are made one at a time.
static ENVIRONMENT: Mutex<()> = Mutex::new(());

/// An instance under no file.
fn under_none(setup: Setup) -> Box<Instance> {
    let _alone = ENVIRONMENT.lock().unwrap_or_else(|poison| poison.into_inner());
    setup.start()
}

/// An instance under a file with this text; `None` when `slirp_new` refuses it.
fn try_under(folder: &Folder, text: &str, setup: Setup) -> Option<Box<Instance>> {
    let _alone = ENVIRONMENT.lock().unwrap_or_else(|poison| poison.into_inner());
    let path = folder.file("config.toml");
    std::fs::write(&path, text).unwrap();
    // SAFETY: instances are made here only, by one thread at a time, and nothing else in this program looks at the environment.
    unsafe { std::env::set_var("OXISLIRP_CONFIG", &path) };
    let instance = setup.try_start();
    // SAFETY: as above.
    unsafe { std::env::remove_var("OXISLIRP_CONFIG") };
    instance
}

fn under(folder: &Folder, text: &str) -> Box<Instance> {
    try_under(folder, text, Setup::default().silent()).expect("the file makes sense")
}

/// The same with a guest that is known.
fn greeted_under(folder: &Folder, text: &str) -> Box<Instance> {
    let i = under(folder, text);
    i.input(&arp(1, GUEST_MAC, GUEST, [0; 6], GUEST));
    i
}

/// A guest that notes every frame in the order in which the library has it.
#[derive(Default)]
struct Noted(Vec<(Way, Vec<u8>)>);

impl Noted {
    fn give(&mut self, i: &Instance, frame: Vec<u8>) {
        i.input(&frame);
        self.0.push((Way::In, frame));
        self.take(i);
    }

    fn take(&mut self, i: &Instance) {
        self.0.extend(i.drain_raw().into_iter().map(|frame| (Way::Out, frame)));
    }

    /// Goes round until the library has given a frame that `pick` likes.
    fn until<T>(&mut self, i: &Instance, what: &str, pick: impl Fn(&Frame) -> Option<T>) -> T {
        let from = self.0.len();
        i.until(what, || {
            self.take(i);
            self.0[from.min(self.0.len())..]
                .iter()
                .find_map(|(way, frame)| if *way == Way::Out { pick(&Frame::parse(frame)) } else { None })
        })
    }
}

#[test]
fn capture_has_every_frame_of_both_directions_in_order() {
    let folder = Folder::new("order");
    let file = folder.file("x.pcapng");
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let i = under(&folder, &format!("[capture]\nfile = {:?}\n", file.display().to_string()));
    let mut noted = Noted::default();
    noted.give(&i, arp(1, GUEST_MAC, GUEST, [0; 6], VHOST));
    noted.give(&i, Ip::new(VHOST, ICMP).frame(&echo_request(7, 1, b"0123456789")));
    // Too short to be a frame, one of an unknown kind, and one that is longer than it says.
    noted.give(&i, vec![1, 2, 3]);
    noted.give(&i, vec![0x77; 60]);

    let (listener, port) = tcp_listener();
    let mut conn = Conn::new(&i, at_vhost(port));
    noted.give(&i, conn.segment(SYN, &[]).frame());
    let answer = noted.until(&i, "the SYN's answer", |frame| frame.tcp().filter(|s| s.has(SYN)));
    conn.snd_nxt = conn.snd_nxt.wrapping_add(1);
    conn.rcv_nxt = answer.seq.wrapping_add(1);
    noted.give(&i, conn.segment(ACK, &[]).frame());
    let mut stream = accept(&i, &listener);
    // Long segments that the library takes from where they lie.
    for part in 0..40_u8 {
        noted.give(&i, conn.segment(ACK, &[part; 1400]).frame());
        conn.snd_nxt = conn.snd_nxt.wrapping_add(1400);
    }
    assert_eq!(host_read(&i, &mut stream, 56_000).len(), 56_000);
    std::io::Write::write_all(&mut stream, b"and back").unwrap();
    noted.until(&i, "the host's bytes", |frame| frame.tcp().filter(|s| s.payload == b"and back"));
    noted.take(&i);
    drop(i);

    let capture = read(&file);
    let frames: Vec<_> = capture.frames.iter().map(|frame| (frame.way, frame.bytes.clone())).collect();
    assert_eq!(frames.len(), noted.0.len());
    for (number, (captured, seen)) in frames.iter().zip(&noted.0).enumerate() {
        assert_eq!(captured, seen, "frame {number}");
    }
    assert_eq!(capture.statistics, Some((frames.len() as u64, 0)));
    let mut at = before;
    for frame in &capture.frames {
        assert!(frame.nanoseconds >= at && frame.length == frame.bytes.len());
        at = frame.nanoseconds;
    }
    assert!(at - before < 600_000_000_000);
}

/// A frame that carries a number, of a kind that the library does not know.
fn numbered(number: u32) -> Vec<u8> {
    let mut payload = vec![0; 1000];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    ethernet(VHOST_MAC, 0x7777, &payload)
}

#[test]
fn capture_goes_round_its_files_and_cuts_frames() {
    let folder = Folder::new("ring");
    let file = folder.file("x");
    let text = format!("[capture]\nfile = {:?}\nmax-bytes = 1048576\nfiles = 3\n", file.display().to_string());
    let i = under(&folder, &text);
    for number in 0..10_000 {
        i.input(&numbered(number));
    }
    let dropped = counters(&i).capture_dropped;
    drop(i);
    let mut numbers = Vec::new();
    let mut files = Vec::new();
    for name in ["x", "x.1", "x.2"] {
        let path = folder.file(name);
        assert!(std::fs::metadata(&path).unwrap().len() <= 1 << 20);
        let capture = read(&path);
        files.push(capture.comment);
        let inbound = capture.frames.iter().filter(|frame| frame.way == Way::In);
        numbers.extend(inbound.map(|frame| u32::from_be_bytes(frame.bytes[14..18].try_into().unwrap())));
    }
    numbers.sort_unstable();
    // Where the machine is so busy that a write takes long, some are missing, which the counter says.
    if dropped == 0 {
        assert_eq!(numbers, (10_000 - numbers.len() as u32..10_000).collect::<Vec<_>>());
    }
    assert!(numbers.is_sorted() && numbers.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(numbers.len() > if dropped == 0 { 2000 } else { 0 }, "{}", numbers.len());
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 4, "three files, and the configuration");
    files.sort();
    files.dedup();
    assert_eq!(files.len(), 3);

    let i = under(&folder, &format!("[capture]\nfile = {:?}\nsnap-length = 60\n", file.display().to_string()));
    i.input(&numbered(7));
    drop(i);
    let capture = read(&file);
    assert_eq!((capture.frames[0].length, &capture.frames[0].bytes[..]), (1014, &numbered(7)[..60]));
}

#[test]
fn capture_is_in_its_file_soon_after_the_frame_was_there() {
    let folder = Folder::new("soon");
    let file = folder.file("x");
    let i = under(&folder, &format!("[capture]\nfile = {:?}\n", file.display().to_string()));
    assert!(read(&file).frames.is_empty(), "it can be read at once");
    i.input(&numbered(1));
    i.turn(Duration::ZERO);
    assert!(i.fill(1000).timeout <= 250);
    i.poll_with(true, &[]);
    i.advance(Duration::from_millis(250));
    assert_eq!(read(&file).frames[0].bytes, numbered(1));
}

fn warnings_do_not_stop_the_network(folder: &Folder, file: &Path, frames: u32) {
    let i = greeted_under(folder, &format!("[capture]\nfile = {:?}\n", file.display().to_string()));
    for number in 0..frames {
        i.input(&numbered(number));
        i.turn(Duration::ZERO);
    }
    i.pass(Duration::from_secs(1));
    assert_eq!((counters(&i).captures_broken, counters(&i).logs_broken), (1, 0));
    let (listener, port) = tcp_listener();
    let mut conn = Conn::connect(&i, at_vhost(port));
    let mut stream = accept(&i, &listener);
    conn.data(&i, b"still here");
    assert_eq!(host_read(&i, &mut stream, 10), b"still here");
}

#[test]
fn capture_on_a_full_disk_ends_and_the_network_goes_on() {
    let folder = Folder::new("full");
    warnings_do_not_stop_the_network(&folder, Path::new("/dev/full"), 500);
}

#[test]
fn capture_beyond_the_longest_file_of_the_process_ends_and_the_process_lives() {
    if !isolated("capture_beyond_the_longest_file_of_the_process_ends_and_the_process_lives", Isolation::Process) {
        return;
    }
    let limit = libc::rlimit { rlim_cur: 100_000, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the limit is a value that lives until the call is over.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
    let folder = Folder::new("limit");
    let file = folder.file("x");
    warnings_do_not_stop_the_network(&folder, &file, 500);
    assert!(std::fs::metadata(&file).unwrap().len() <= 100_000);
    assert!(read(&file).frames.len() > 50, "what was written before is there, whole");
}

#[test]
fn capture_that_cannot_be_had_makes_slirp_new_fail() {
    let folder = Folder::new("refused");
    let refused = |text: &str| try_under(&folder, text, Setup::default()).is_none();
    assert!(refused("[capture]\nfile = \"/nowhere/at/all\"\n"));
    assert!(refused("[log]\nfile = \"/nowhere/at/all\"\n"));
    assert!(refused("[capture]\nfile = \"x\"\nsnaplength = 3\n"));
    let file = folder.file("x");
    let text = format!("[log]\nfile = {:?}\n", file.display().to_string());
    let _first = under(&folder, &text);
    assert!(refused(&text), "two instances would write into each other");
    // Each file of the ring is somebody's alone, and is had at once.
    let other = folder.file("y");
    let text = format!("[log]\nfile = {:?}\n", other.display().to_string());
    let bounds = |bounds: &str| format!("{text}{bounds}");
    std::fs::create_dir(folder.file("y.2")).unwrap();
    assert!(
        refused(&bounds("files = 3\n"))
            && !refused(&bounds("files = 2\n"))
            && !refused(&bounds("max-bytes = 1048576\n"))
    );
    assert!(refused(&bounds("max-bytes = 1048575\n")));
}

/// The lines of a log without their times.
fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let line = |line: &str| {
        let rest = line.strip_prefix("{\"time\":\"20").and_then(|rest| rest.split_once("Z\",")).expect("a time").1;
        rest.strip_suffix('}').expect("an object").to_owned()
    };
    text.lines().map(line).collect()
}

/// The value of a member of a line.
fn member<'a>(line: &'a str, name: &str) -> &'a str {
    let found = line.split(',').find_map(|member| member.strip_prefix(&format!("\"{name}\":")));
    found.unwrap_or_else(|| panic!("no {name} in {line}")).trim_matches('"')
}

/// A guest may have as many lines written as it has frames.
#[test]
fn log_that_a_guest_fills_keeps_to_its_bytes_and_has_the_last_lines() {
    let folder = Folder::new("bound");
    let file = folder.file("log");
    let policy = "[policy]\ndefault = 'drop'\n";
    let text =
        |more: &str| format!("[log]\nfile = {:?}\nmax-bytes = 1048576\n{more}{policy}", file.display().to_string());
    // Each asks for another port, so that no line stands for another one.
    let fill = |i: &Instance, count: u16| {
        for port in 1..=count {
            i.input(&udp_frame(4000, at_vhost(port), b"datagram"));
        }
    };
    let i = greeted_under(&folder, &text("files = 2\n"));
    fill(&i, 20_000);
    let dropped = counters(&i).log_dropped;
    assert_eq!(counters(&i).logs_broken, 0);
    drop(i);
    let mut ports = Vec::new();
    for path in [&file, &folder.file("log.1")] {
        assert!(std::fs::metadata(path).unwrap().len() <= 1 << 20);
        for line in lines(path).iter().filter(|line| !line.starts_with("\"event\":\"dropped\"")) {
            ports.push(member(line, "remote").rsplit_once(':').unwrap().1.parse::<u16>().unwrap());
        }
    }
    ports.sort_unstable();
    assert!(ports.windows(2).all(|pair| pair[0] < pair[1]) && ports.len() > if dropped == 0 { 5000 } else { 0 });
    // Where the machine is so busy that a write takes long, some are missing, which the counter says.
    if dropped == 0 {
        assert_eq!(ports, (20_001 - ports.len() as u16..=20_000).collect::<Vec<_>>());
    }

    let i = greeted_under(&folder, &text(""));
    fill(&i, 20_000);
    i.settle();
    assert_eq!(counters(&i).logs_broken, 1, "a single file is no ring");
    drop(i);
    let length = std::fs::metadata(&file).unwrap().len();
    assert!(((1 << 20) - 1000..=1 << 20).contains(&length), "{length}");
}

#[test]
fn log_has_each_flow_once_with_what_became_of_it() {
    let folder = Folder::new("log");
    let file = folder.file("log");
    let i = greeted_under(&folder, &format!("[log]\nfile = {:?}\n", file.display().to_string()));

    // A connection that carries bytes both ways and ends in order.
    let (listener, port) = tcp_listener();
    let mut conn = Conn::connect(&i, at_vhost(port));
    let mut stream = accept(&i, &listener);
    conn.data(&i, b"question");
    assert_eq!(host_read(&i, &mut stream, 8), b"question");
    std::io::Write::write_all(&mut stream, b"answer").unwrap();
    assert_eq!(conn.receive(&i, 6).1, b"answer");
    conn.send(&i, RST | ACK, &[]);
    // One that nobody listens for.
    let closed = closed_tcp_port();
    Conn::try_connect(&i, at_vhost(closed), &[]);
    // Datagrams to two destinations, of one flow.
    let (first, first_port) = udp_peer();
    let (second, second_port) = udp_peer();
    for (socket, port) in [(&first, first_port), (&second, second_port), (&first, first_port)] {
        i.input(&udp_frame(4000, at_vhost(port), b"datagram"));
        i.settle();
        let (payload, from) = host_recv(&i, socket);
        assert_eq!(payload, b"datagram");
        socket.send_to(b"reply", from).unwrap();
        i.wait_udp("the reply");
    }
    // Through a host forward.
    let forward = closed_tcp_port();
    i.add_hostfwd(false, at(Ipv4Addr::LOCALHOST, forward), at(GUEST, 22)).unwrap();
    let client = client(forward);
    let mut incoming = Conn::incoming(&i, 22);
    incoming.answer_syn(&i, &[]);
    let counters = counters(&i);
    drop(client);
    drop(i);

    let lines = lines(&file);
    let of = |event: &str, protocol: &str| -> Vec<&String> {
        let is_it = |line: &&String| member(line, "event") == event && member(line, "protocol") == protocol;
        lines.iter().filter(is_it).collect()
    };
    let begun = of("begun", "tcp");
    assert_eq!(begun.len(), 3, "{lines:#?}");
    assert_eq!((member(begun[0], "direction"), member(begun[0], "host")), ("out", &*format!("127.0.0.1:{port}")));
    assert_eq!(member(begun[0], "remote"), format!("10.0.2.2:{port}"));
    assert_eq!(member(begun[2], "direction"), "in");
    let ended = of("ended", "tcp");
    assert_eq!(ended.len(), 3, "{lines:#?}");
    let end = |number: &str| ended.iter().find(|line| member(line, "flow") == number).unwrap();
    let first_end = end(member(begun[0], "flow"));
    assert_eq!((member(first_end, "to_host"), member(first_end, "to_guest")), ("8", "6"));
    assert_eq!(member(first_end, "end"), "guest-reset");
    assert_eq!(member(end(member(begun[1], "flow")), "end"), "not-connected");
    assert_eq!(member(end(member(begun[2], "flow")), "end"), "stopped");

    assert_eq!((of("begun", "udp").len(), of("destination", "udp").len()), (1, 1), "{lines:#?}");
    assert_eq!(member(of("destination", "udp")[0], "remote"), format!("10.0.2.2:{second_port}"));
    let udp = of("ended", "udp");
    assert_eq!((udp.len(), member(udp[0], "to_host"), member(udp[0], "to_guest")), (1, "24", "15"));

    assert_eq!((counters.tcp.begun, counters.tcp.ended, counters.tcp.now), (3, 2, 1));
    assert_eq!((counters.udp.begun, counters.udp.now), (1, 1));
    assert!(counters.logged >= 6 && counters.log_dropped == 0 && counters.captured == 0);
}

#[test]
fn log_tells_which_rule_decided() {
    let folder = Folder::new("rules");
    let file = folder.file("log");
    let (listener, port) = tcp_listener();
    let (peer, peer_port) = udp_peer();
    let (other, other_port) = udp_peer();
    let i = greeted_under(
        &folder,
        &format!(
            "log.file = {:?}\n[policy]\nrule = [\n\
             {{ action = 'allow', protocol = 'tcp', host-port = {port} }},\n\
             {{ action = 'allow', protocol = 'udp', host-port = {peer_port} }},\n\
             {{ action = 'allow', protocol = 'udp', host-port = {other_port} }},\n\
             {{ action = 'deny', service = ['dns', 'echo', 'tftp', 'dhcp', 'guestfwd'] }},\n\
             {{ action = 'allow', direction = 'in', guest-port = 22 }},\n\
             {{ action = 'drop', protocol = 'icmp' }},\n]\n",
            file.display().to_string()
        ),
    );
    assert_eq!(i.add_guestfwd(&mut FORWARD.clone(), 7, Box::new(|_, _| panic!("bytes of the guest"))), 0);
    // Allowed, each by a rule of its own.
    Conn::connect(&i, at_vhost(port));
    accept(&i, &listener);
    for (socket, port) in [(&peer, peer_port), (&other, other_port)] {
        i.input(&udp_frame(4000, at_vhost(port), b"x"));
        assert_eq!(host_recv(&i, socket).0, b"x");
    }
    for (port, guest_port) in [(closed_tcp_port(), 22), (closed_tcp_port(), 23)] {
        i.add_hostfwd(false, at(Ipv4Addr::LOCALHOST, port), at(GUEST, guest_port)).unwrap();
        drop(client(port));
        i.settle();
    }
    let port = closed_udp_port();
    i.add_hostfwd(true, at(Ipv4Addr::LOCALHOST, port), at(GUEST, 24)).unwrap();
    peer.send_to(b"from outside", (Ipv4Addr::LOCALHOST, port)).unwrap();
    i.settle();
    // Refused, and each service is named.
    Conn::try_connect(&i, at(FORWARD, 7), &[]);
    Conn::try_connect(&i, at(VDNS, 53), &[]);
    Conn::try_connect(&i, at_vhost(closed_tcp_port()), &[]);
    i.input(&udp_frame(4001, at(VDNS, 53), b"a query"));
    i.input(&udp_frame(4002, at_vhost(69), b"\0\x01file\0octet\0"));
    i.input(&udp_frame(68, at_vhost(67), b"dhcp"));
    for to in [VHOST, Ipv4Addr::new(192, 0, 2, 1)] {
        i.input(&Ip::new(to, ICMP).frame(&echo_request(1, 1, b"ping")));
    }
    i.settle();
    drop(i);

    let lines = lines(&file);
    let told = |event: &str| -> Vec<String> {
        let optional = |line: &str, name: &str| match line.contains(&format!("\"{name}\":")) {
            true => member(line, name).to_owned(),
            false => "-".to_owned(),
        };
        let is_it = lines.iter().filter(|line| member(line, "event") == event);
        let mut told: Vec<String> = is_it
            .map(|line| {
                assert!(event != "refused" || member(line, "reason") == "policy", "{line}");
                let ends = [member(line, "protocol"), member(line, "direction")];
                format!("{} {} {} {}", ends[0], ends[1], optional(line, "service"), optional(line, "rule"))
            })
            .collect();
        told.sort();
        told
    };
    assert_eq!(told("begun"), ["tcp in - 5", "tcp out - 1", "udp out - 2"], "{lines:#?}");
    assert_eq!(told("destination"), ["udp out - 3"]);
    let refused = [
        "icmp out - 6",
        "icmp out echo 4",
        "tcp in - -",
        "tcp out - -",
        "tcp out dns 4",
        "tcp out guestfwd 4",
        "udp in - -",
        "udp out dhcp 4",
        "udp out dns 4",
        "udp out tftp 4",
    ];
    assert_eq!(told("refused"), refused, "{lines:#?}");
}

/// A query for the address of a name.
fn query(labels: &[&[u8]]) -> Vec<u8> {
    let name: Vec<u8> = labels.iter().flat_map(|label| [&[label.len() as u8], *label].concat()).collect();
    [b"\0\x07\x01\0\0\x01\0\0\0\0\0\0", &name[..], b"\0\0\x01\0\x01"].concat()
}

#[test]
fn log_tells_which_names_are_refused_to_the_guest() {
    let folder = Folder::new("refused-names");
    let file = folder.file("log");
    let i = greeted_under(
        &folder,
        &format!(
            "log.file = {:?}\n[policy]\nrule = [\n{{ action = 'allow', service = 'dns' }},\n\
             {{ action = 'deny', name = '*.evil.test' }},\n{{ action = 'allow', name = 'good.test' }},\n]\n",
            file.display().to_string()
        ),
    );
    let ask = |labels: &[&[u8]]| {
        i.input(&udp_frame(i.fresh_port(), at(VDNS, 53), &query(labels)));
        assert_eq!(i.wait_udp("a refusal").1.data[3] & 15, 5);
    };
    // From several ports, and in other letters: it is the same name.
    let secret: &[&[u8]] = &[b"c2VjcmV0", b"evil", b"test"];
    ask(secret);
    ask(&[b"C2vjcmv0", b"EVIL", b"test"]);
    ask(&[b"other", b"test"]);
    // What no name has is not written into the log either.
    ask(&[b"\",\"x\":\"\n", b"test"]);
    let mut conn = Conn::connect(&i, at(VDNS, 53));
    let message = query(secret);
    let framed = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
    conn.data(&i, &[framed.clone(), framed.clone()].concat());
    conn.receive(&i, 2 * framed.len());
    let seen = counters(&i);
    assert_eq!((seen.udp.refused, seen.tcp.refused), (3, 1));
    i.advance(std::time::Duration::from_secs(10));
    ask(secret);
    assert_eq!(counters(&i).udp.refused, 4);
    drop(i);
    let optional = |line: &str, name: &str| match line.contains(&format!("\"{name}\":")) {
        true => member(line, name).to_owned(),
        false => String::new(),
    };
    let lines = lines(&file);
    let refused: Vec<_> = lines.iter().filter(|line| member(line, "event") == "refused").collect();
    let shown = |line: &String| {
        assert_eq!((member(line, "reason"), member(line, "service")), ("policy", "dns"));
        assert_eq!(member(line, "remote"), at(VDNS, 53).to_string());
        [member(line, "protocol").to_owned(), optional(line, "name"), optional(line, "rule")].join(" ")
    };
    let shown: Vec<String> = refused.into_iter().map(shown).collect();
    let secret = "c2vjcmv0.evil.test 2";
    assert_eq!(
        shown,
        [&format!("udp {secret}"), "udp other.test ", "udp  ", &format!("tcp {secret}"), &format!("udp {secret}")]
    );
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct FlowCounters {
    begun: u64,
    refused: u64,
    ended: u64,
    now: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    frames_from_guest: u64,
    bytes_from_guest: u64,
    frames_to_guest: u64,
    bytes_to_guest: u64,
    tcp: FlowCounters,
    udp: FlowCounters,
    icmp: FlowCounters,
    tcp_resent: u64,
    dropped_to_guest: u64,
    dropped_unresolved: u64,
    captured: u64,
    capture_dropped: u64,
    logged: u64,
    log_dropped: u64,
    dropped_over_limit: u64,
    captures_broken: u64,
    logs_broken: u64,
}

fn counters(i: &Instance) -> Counters {
    let mut counters = Counters::default();
    let ask = library().oxislirp_counters.expect("the library is ours");
    // SAFETY: as many bytes are there.
    let written = unsafe { ask(i.slirp.get(), (&raw mut counters).cast(), size_of::<Counters>()) };
    assert_eq!(written, size_of::<Counters>());
    counters
}

#[test]
fn counters_are_there_without_any_file() {
    let i = under_none(Setup::default().silent());
    let frames = i.answer(&arp(1, GUEST_MAC, GUEST, [0; 6], VHOST));
    assert_eq!(frames.len(), 1);
    let seen = counters(&i);
    assert_eq!((seen.frames_from_guest, seen.bytes_from_guest), (1, 42));
    assert_eq!((seen.frames_to_guest, seen.bytes_to_guest), (1, 64));
    // A program that knows fewer members, and mistakes.
    let ask = library().oxislirp_counters.expect("the library is ours");
    let mut place = [u64::MAX; 3];
    // SAFETY: as many bytes are there as it is told.
    unsafe {
        assert_eq!(ask(i.slirp.get(), place.as_mut_ptr().cast(), 16), 16);
        assert_eq!(ask(i.slirp.get(), std::ptr::null_mut(), 16), 0);
        assert_eq!(ask(std::ptr::null_mut(), place.as_mut_ptr().cast(), 16), 0);
    }
    assert_eq!(place, [1, 42, u64::MAX]);
}

#[test]
fn counters_tell_refused_flows_once() {
    let i = under_none(Setup::with(|config| config.restricted = 1));
    let syn = Conn::new(&i, at_vhost(80)).segment(SYN, &[]).frame();
    for _ in 0..3 {
        i.input(&syn);
        i.input(&udp_frame(4000, at(Ipv4Addr::new(192, 0, 2, 1), 9), b"x"));
    }
    let seen = counters(&i);
    assert_eq!((seen.udp.refused, seen.udp.begun, seen.tcp.refused, seen.tcp.begun), (1, 0, 1, 0));
}
