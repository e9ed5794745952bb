//! The command itself, against a network that runs in this program.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread::JoinHandle;

use oxislirp::drive::{Driver, MemoryLink, Stop};
use oxislirp::policy::{Direction, Policy, PortRange, Protocol, Rule};
use oxislirp::{Config, ControlOptions, Stack};
use serde_json::{Value, json};

/// A network with a control socket, and a folder; both go with this value.
struct Network {
    folder: PathBuf,
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl Network {
    fn new(name: &str) -> Network {
        let folder = std::env::temp_dir().join(format!("oxislirp-ctl-{}-{name}", std::process::id()));
        std::fs::create_dir_all(folder.join("oxislirp")).unwrap();
        let mut stack = Stack::new(Config::default()).unwrap();
        let reader = |text: &str| match text {
            "none" => Policy::builder().build().map_err(|error| error.to_string()),
            "ssh" => {
                let ssh = Rule::allow().direction(Direction::In).guest_ports([PortRange::one(22)]);
                let name = Rule::allow().protocol(Protocol::Tcp).names(["example.org".parse().unwrap()]);
                Policy::builder().rule(ssh).rule(name).build().map_err(|error| error.to_string())
            }
            _ => Err("text:1: nonsense".to_owned()),
        };
        let options = ControlOptions::new(folder.join("oxislirp/x.sock")).policy_reader(Arc::new(reader));
        stack.start_control(&options).unwrap();
        let (link, guest) = MemoryLink::pair().unwrap();
        let mut driver = Driver::new(stack, link).unwrap();
        let stop = Arc::new(Stop::new().unwrap());
        let seen = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let _guest = guest;
            driver.run(&seen, |_| {}).unwrap();
        });
        Network { folder, stop, thread: Some(thread) }
    }

    fn run(&self, words: &str) -> Output {
        run(&self.folder, words)
    }

    fn ok(&self, words: &str) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn refused(&self, words: &str) -> String {
        let output = self.run(words);
        assert_eq!(output.status.code(), Some(1), "{words}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop.stop();
        let _ = self.thread.take().map(JoinHandle::join);
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn run(runtime: &Path, words: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oxislirp"));
    command.args(words.split_whitespace()).env("XDG_RUNTIME_DIR", runtime).output().unwrap()
}

#[test]
fn forwards_are_added_listed_replaced_and_removed() {
    let network = Network::new("forwards");
    let port = |text: &str| text.rsplit(':').next().unwrap().trim().parse::<u16>().unwrap();
    let one = port(&network.ok("ctl forward add tcp 127.0.0.1:0 :80"));
    let socket = network.folder.join("ssh.sock");
    assert_eq!(network.ok(&format!("ctl forward add unix {} :22", socket.display())), "added 1\n");
    let list = network.ok("ctl forward list");
    assert!(list.contains(&format!("tcp   127.0.0.1:{one} -> 0.0.0.0:80\n")), "{list}");
    assert!(list.contains(&format!("unix  {} -> 0.0.0.0:22\n", socket.display())), "{list}");
    assert!(network.refused(&format!("ctl forward add tcp 127.0.0.1:{one} :80")).contains("in use"));
    assert!(network.refused("ctl forward add tcp nowhere:1 :80").starts_with("oxislirp: listen: `nowhere:1` is no"));
    let done = network.ok(&format!("ctl forward replace tcp,127.0.0.1:{one},:81"));
    assert_eq!(done, "changed 1, removed 1\n");
    // Nothing that was said, as by a variable that is empty, is not the wish to have none.
    assert_eq!(network.run("ctl forward replace").status.code(), Some(2));
    assert_ne!(network.ok("ctl forward list"), "");
    assert_eq!(network.ok("ctl forward replace --none"), "removed 1\n");
    let one = port(&network.ok("ctl forward add tcp 127.0.0.1:0 :80"));
    assert_eq!(network.ok(&format!("ctl forward remove tcp 127.0.0.1:{one}")), "removed 1\n");
    assert_eq!(network.ok("ctl forward list"), "");
}

/// What is told as JSON is what the protocol has, word by word.
#[test]
fn what_there_is_is_told_as_the_library_says_it() {
    let network = Network::new("json");
    let port = free_port();
    network.ok(&format!("ctl forward add tcp 127.0.0.1:{port} :80"));
    network.ok("ctl forward add --wait tcp 192.0.2.77:2222 :22");
    let parsed = |words: &str| -> Vec<Value> {
        network.ok(words).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let mut stream = greeted(&network.folder.join("oxislirp/x.sock"));
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    lines.next().unwrap().unwrap();
    let mut answer = |request: &str| -> Value {
        writeln!(stream, "{{\"do\":\"{request}\"}}").unwrap();
        serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap()["ok"].take()
    };
    let list = answer("forward.list");
    let each: Vec<Value> =
        ["forwards", "waiting"].iter().flat_map(|part| list[part].as_array().unwrap().clone()).collect();
    assert_eq!((parsed("ctl forward list --json"), each.len()), (each, 2));
    assert_eq!(parsed("ctl counters --json"), [answer("counters")]);
    assert_eq!(parsed("ctl version --json"), [answer("version")]);
    std::fs::write(network.folder.join("policy"), "ssh").unwrap();
    network.ok(&format!("ctl policy replace {}", network.folder.join("policy").display()));
    assert_eq!(Value::Array(parsed("ctl policy show --json")), answer("policy.show")["sentences"]);
    let test = parsed("ctl policy test --from 192.0.2.1 --guest :22 --json");
    assert_eq!((&test[0]["action"], &test[0]["rule"]), (&json!("allow"), &json!(1)));
    // Whoever asks for both gets neither.
    assert_eq!(network.run("ctl counters --json --prometheus").status.code(), Some(2));
}

/// Each counter of the library that there is has a name of its own, with its type and what it is.
#[test]
fn prometheus_is_told_what_each_counter_is() {
    let network = Network::new("prometheus");
    let text = network.ok("ctl counters --prometheus");
    assert!(!text.contains("What the library counts as"), "a counter has no name for Prometheus: {text}");
    let mut known = None;
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["#", "HELP", name, _, ..] => known = Some((name, false)),
            ["#", "TYPE", name, kind] => {
                assert_eq!((known, kind == "counter"), (Some((name, false)), name.ends_with("_total")), "{text}");
                known = Some((name, true));
            }
            [sample, number] => {
                assert_eq!(known, Some((sample.split('{').next().unwrap(), true)), "{text}");
                number.parse::<u64>().unwrap();
            }
            _ => panic!("{line}"),
        }
    }
}

/// A port of which nobody knows at the moment.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn what_there_is_is_told_in_tables_and_lines() {
    let network = Network::new("tables");
    assert!(network.ok("ctl flows").starts_with("PROT  GUEST AND REMOTE"));
    assert_eq!(network.ok("ctl flows --json"), "");
    let top = network.ok("ctl top --count 2 --interval 0.01");
    assert_eq!(top.matches("0 flows, to the host 0 B/s").count(), 2, "{top}");
    assert!(network.ok("ctl counters").contains("frames_from_guest    0\n"));
    assert!(network.ok("ctl counters --prometheus").contains("oxislirp_flows{protocol=\"udp\"} 0\n"));
    let version = network.ok("ctl version");
    assert!(version.contains(&format!(" in process {}, version 1 of the protocol\n", std::process::id())), "{version}");
    let file = network.folder.join("x.pcapng");
    network.ok(&format!("ctl capture start {}", file.display()));
    assert_eq!(network.ok("ctl capture stop"), "frames captured: 0, dropped: 0\n");
    assert!(std::fs::metadata(file).unwrap().len() > 0);
    assert!(network.refused("ctl capture stop").contains("there is no capture"));
    let refused = network.refused("ctl capture start /nowhere/x");
    assert!(refused.contains("/nowhere/x") && refused.contains("has left its file system"), "{refused}");
    let log = network.folder.join("log");
    network.ok(&format!("ctl log start {} --max-bytes 1048576 --files 3", log.display()));
    assert_eq!(network.ok("ctl log stop"), "lines logged: 0, dropped: 0\n");
    assert!(log.with_extension("2").exists() && !log.with_extension("3").exists());
    assert!(network.refused(&format!("ctl log start {} --files 0", log.display())).contains("files: 0 is not 1 to 64"));
    let wrong = String::from_utf8(network.run("ctl log start x --max-bytes 10M").stderr).unwrap();
    assert!(wrong.contains("it has to be a whole number, without a unit"), "{wrong}");
    // Pings have no port, and who comes need not have one.
    for (what, wanted) in [
        ("--ping example.org", "to: `example.org` is no address, such as 192.0.2.1"),
        ("--from example.org", "from: `example.org` is no address, such as 192.0.2.1"),
        ("--from 192.0.2.1 --guest 22", "and no port alone, such as :22"),
        ("--tcp example.org", "to: `example.org` is no address with a port"),
    ] {
        let said = network.refused(&format!("ctl policy test {what}"));
        assert!(said.contains(wanted), "{said}");
    }
}

#[test]
fn the_policy_is_tested_shown_and_replaced() {
    let network = Network::new("policy");
    assert_eq!(network.ok("ctl policy test --tcp 192.0.2.1:443"), "allow: there is no policy\n");
    let file = network.folder.join("policy");
    std::fs::write(&file, "nonsense").unwrap();
    let replace = format!("ctl policy replace {}", file.display());
    assert_eq!(network.refused(&replace), format!("oxislirp: {}:1: nonsense\n", file.display()));
    std::fs::write(&file, "none").unwrap();
    assert_eq!(network.ok(&replace), "another policy judges, flows that it ended: 0\n");
    assert!(network.refused("ctl policy test --tcp 192.0.2.1:443").contains("not allowed"));
    assert!(network.ok("ctl policy show").starts_with("default: deny"));
    assert_eq!(network.ok("ctl drain --wait"), "no flow begins any more, and the last one has ended\n");
    assert_eq!(network.ok("ctl drain"), "no flow begins any more, flows that go on: 0\n");
    assert!(network.ok("ctl version").contains("; no flow begins any more\n"));
    assert_eq!(network.ok("ctl resume"), "");
}

#[test]
fn a_test_says_what_its_answer_rests_on() {
    let network = Network::new("asked");
    let file = network.folder.join("policy");
    std::fs::write(&file, "ssh").unwrap();
    network.ok(&format!("ctl policy replace {}", file.display()));
    let from = "ctl policy test --from 192.0.2.1";
    assert_eq!(network.ok(&format!("{from} --guest :22")), "allow (to 10.0.2.15:22): rule 1\n");
    assert_eq!(network.ok(&format!("{from} --guest 10.0.2.99:22")), "allow (to 10.0.2.99:22): rule 1\n");
    let said = |words: &str| {
        let output = network.run(words);
        assert_eq!(output.status.code(), Some(1), "{words}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(said(&format!("{from} --guest :23")), "deny (to 10.0.2.15:23): the default\n");
    assert!(said(from).contains("(to no port in particular; --guest says to which): the default"));
    assert!(network.refused(&format!("{from} --guest :x")).contains("guest: `:x` is no address"));
    // What counts for a name is known when the guest has asked for that.
    assert!(said("ctl policy test --tcp 192.0.2.1:443").contains("deny: the default; no answer to the guest has had"));
    assert_eq!(said("ctl policy test --udp 192.0.2.1:443"), "deny: the default\n");
    assert_eq!(network.ok("ctl policy test --tcp example.org:443"), "allow: rule 2\n");
    network.ok("ctl drain");
    for what in ["--tcp example.org:443", "--from 192.0.2.1 --guest :22", "--udp 192.0.2.1:443"] {
        assert!(
            said(&format!("ctl policy test {what}")).contains("the network is drained, and no flow begins"),
            "{what}"
        );
    }
    std::fs::write(&file, "[[policy.rule]]\naction = 'allow'\ndirection = 'in'\nprotocol = 'tcp'\nguest-port = 22\n")
        .unwrap();
    let of_file = |guest: &str| run(&network.folder, &format!("{from} --guest {guest} --file {}", file.display()));
    assert_eq!(of_file(":22").stdout, b"allow (to 10.0.2.15:22): rule 1\n");
    assert_eq!(of_file(":23").status.code(), Some(1));
}

#[test]
fn one_socket_is_found_and_none_or_several_are_told_of() {
    let network = Network::new("found");
    let nobody = network.folder.join("empty");
    std::fs::create_dir_all(&nobody).unwrap();
    let output = run(&nobody, "ctl version");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("no socket answers in"));
    let socket = network.folder.join("oxislirp/x.sock");
    assert!(run(&nobody, &format!("ctl --socket {} version", socket.display())).status.success());
    // One at which nobody says a word is none, and who is sent there is told so.
    let mute = network.folder.join("oxislirp/mute.sock");
    let _mute = std::os::unix::net::UnixListener::bind(&mute).unwrap();
    network.ok("ctl version");
    let said = network.refused(&format!("ctl --socket {} version", mute.display()));
    assert!(said.contains("nobody answers within 5 seconds"), "{said}");
    std::fs::remove_file(&mute).unwrap();
    let other = Network::new("found-as-well");
    std::os::unix::fs::symlink(other.folder.join("oxislirp/x.sock"), network.folder.join("oxislirp/y.sock")).unwrap();
    assert!(network.refused("ctl version").contains("several sockets answer"));
}

#[test]
fn a_file_is_explained_or_what_is_wrong_with_it_is_told_as_slirp_new_does() {
    let folder = std::env::temp_dir().join(format!("oxislirp-check-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("x.toml");
    let text = "[log]\nfile = '/tmp/x'\n[policy]\n[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nhost = '127.0.0.1'\nhost-port = 80\n";
    std::fs::write(&file, text).unwrap();
    let check = run(&folder, &format!("check {}", file.display()));
    let said = String::from_utf8(check.stdout).unwrap();
    assert_eq!(
        said,
        "log: a line for each flow that begins, is refused and ends, into /tmp/x and 3 more in a ring, each of up to 268435456 bytes\n\
         policy: 1: allow tcp from the guest to 127.0.0.1, port 80\n\
         policy: default: deny, and say so, everything else but DHCP and pings of the virtual addresses\n"
    );
    let explained = run(&folder, &format!("ctl policy explain {}", file.display()));
    assert!(String::from_utf8(explained.stdout).unwrap().starts_with("1: allow tcp"));
    let test = |to: &str| run(&folder, &format!("ctl policy test --tcp {to} --file {}", file.display()));
    assert_eq!(test("10.0.2.2:80").stdout, b"allow: rule 1\n");
    assert_eq!(
        (test("10.0.2.2:81").stdout, test("10.0.2.2:81").status.code()),
        (b"deny: the default\n".into(), Some(1))
    );
    let ping =
        |to: &str| run(&folder, &format!("ctl policy test --ping {to} --file {}", file.display())).status.success();
    assert!(
        ping("10.0.2.2") && ping("fec0::3") && !ping("192.0.2.1"),
        "pings of the virtual addresses are always allowed"
    );
    assert_eq!(test("10.0.2.3:53").status.code(), Some(1));
    std::fs::write(&file, "[limits.whole]\nflows = 7\n").unwrap();
    let limits = run(&folder, &format!("check {}", file.display()));
    assert!(String::from_utf8(limits.stdout).unwrap().starts_with("limit: all together: 7 flows at a time\n"));
    let names = "[policy]\n[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nname = '*.example.org'\nhost-port = 443\ntls = 'sni'\n";
    std::fs::write(&file, names).unwrap();
    assert_eq!(test("api.example.org:443").stdout, b"allow: rule 1\n");
    assert_eq!(test("api.example.org:80").status.code(), Some(1));
    assert_eq!(test("api.example.com:443").status.code(), Some(1));
    std::fs::write(&file, text.replace("'tcp'", "'tpc'")).unwrap();
    let wrong = run(&folder, &format!("check {}", file.display()));
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert_eq!(wrong.status.code(), Some(1));
    assert!(said.starts_with(&format!("oxislirp: {}:6: policy.rule.protocol: ", file.display())), "{said}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn files_that_are_one_are_refused() {
    let folder = std::env::temp_dir().join(format!("oxislirp-check-same-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("x.toml");
    let at = |name: &str| folder.join(name).display().to_string();
    for (text, place) in [
        (format!("[capture]\nfile = '{0}'\n[log]\nfile = '{0}'\n", at("a")), "4: log.file: that is"),
        (
            format!("[capture]\nfile = '{}'\nfiles = 2\n[log]\nfile = '{}.1'\n", at("a"), at("a")),
            "5: log.file: that is",
        ),
        (format!("[log]\nfile = '{0}'\n[control]\nsocket = '{0}'\n", at("a")), "4: control.socket: that is"),
    ] {
        std::fs::write(&file, text).unwrap();
        let check = run(&folder, &format!("check {}", file.display()));
        let said = String::from_utf8(check.stderr).unwrap();
        assert!(!check.status.success() && said.contains(place) && said.ends_with(" as well\n"), "{said}");
    }
    // A device is nobody's alone.
    std::fs::write(&file, "[capture]\nfile = '/dev/null'\n[log]\nfile = '/dev/null'\n").unwrap();
    let check = run(&folder, &format!("check {}", file.display()));
    let said = String::from_utf8(check.stdout).unwrap();
    assert!(check.status.success() && said.contains("whole, into the device /dev/null, as much as comes\n"), "{said}");
    // It is no ring either, of which further files would be in the way.
    std::fs::write(&file, "[capture]\nfile = '/dev/full'\nsnap-length = 96\n").unwrap();
    let check = run(&folder, &format!("check {}", file.display()));
    let (said, wrong) = (String::from_utf8(check.stdout).unwrap(), String::from_utf8(check.stderr).unwrap());
    assert!(!(said + &wrong).contains("/dev/full.1"), "{wrong}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn what_will_not_work_is_said_with_its_place() {
    let folder = std::env::temp_dir().join(format!("oxislirp-check-not-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("x.toml");
    let text = format!(
        "[capture]\nfile = '{0}/none/frames'\nremote-port = 443\n[log]\nfile = '{0}'\n[control]\nsocket = '{0}/x.toml'\n\
         [network]\nmtu = 9000\n[dns]\nservers = '192.0.2.53'\nhost-alias = 'host.internal'\nrecords = [\n\
         {{ name = 'a.test', cname = 'b.test' }},\n{{ name = 'b.test', cname = 'a.test' }},\n]\n\
         [[policy.rule]]\naction = 'allow'\nprotocol = ['tcp', 'udp']\nhost = '192.0.2.0/24'\n\
         [[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nhost = '192.0.2.7'\nhost-port = 80\n",
        folder.display()
    );
    std::fs::write(&file, text).unwrap();
    let check = run(&folder, &format!("check {}", file.display()));
    let (said, wrong) = (String::from_utf8(check.stdout).unwrap(), String::from_utf8(check.stderr).unwrap());
    assert_eq!(check.status.code(), Some(1));
    let place = |line: u32, field: &str| format!("{}:{line}: {field}: ", file.display());
    for sentence in [
        "network: packets of up to 9000 bytes both ways, ",
        "capture: frames of remote port 443, whole, into ",
        "dns: names are asked of 192.0.2.53:53, ",
        "dns: host.internal is the host\n",
        "dns: 2 aliases of names\n",
        "warning: dns.records: the alias a.test leads in a circle",
    ] {
        assert!(said.contains(sentence), "{said}\n{sentence}");
    }
    let shadowed = "rule 2 never decides: rule 1 comes first and is about all of it\n";
    assert!(said.contains(&format!("warning: {}{shadowed}", place(21, "policy.rule"))), "{said}");
    for number in ["", ".1", ".2", ".3"] {
        let there = format!("{}{}/none/frames{number}: the folder ", place(2, "capture.file"), folder.display());
        assert!(wrong.contains(&there), "{wrong}\n{there}");
    }
    assert!(
        wrong.contains(&format!("{}{}: it is no ordinary file", place(5, "log.file"), folder.display())),
        "{wrong}"
    );
    assert!(wrong.contains(&format!("{}{}: there is something else", place(7, "control.socket"), file.display())));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn what_the_library_has_said_before_it_took_no_more_is_told() {
    let network = Network::new("turned-away");
    let path = network.folder.join("oxislirp/x.sock");
    let clients: Vec<UnixStream> = (0..8).map(|_| greeted(&path)).collect();
    assert_eq!(network.refused("ctl version"), "oxislirp: there are as many clients as there may be\n");
    drop(clients);
    // One that refuses a request of which it has read the beginning only.
    let path = network.folder.join("other.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let library = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"{\"oxislirp\":1}\n").unwrap();
        stream.read_exact(&mut [0; 1024]).unwrap();
        stream.write_all(b"{\"error\":{\"kind\":\"syntax\",\"message\":\"too much\"},\"id\":null}\n").unwrap();
    });
    let file = network.folder.join("policy");
    // More than a socket keeps for somebody who does not read.
    std::fs::write(&file, vec![b'#'; 1_000_000]).unwrap();
    let replace = format!("ctl --socket {} policy replace {}", path.display(), file.display());
    assert_eq!(network.refused(&replace), "oxislirp: too much\n");
    library.join().unwrap();
}

#[test]
fn the_longest_request_is_sent_and_a_longer_one_is_not() {
    let network = Network::new("longest");
    let around = json!({ "do": "policy.replace", "id": 1, "text": "" }).to_string().len();
    let file = network.folder.join("policy");
    let replace = format!("ctl policy replace {}", file.display());
    std::fs::write(&file, vec![b'#'; 1_048_576 - around]).unwrap();
    assert_eq!(network.refused(&replace), format!("oxislirp: {}:1: nonsense\n", file.display()));
    std::fs::write(&file, vec![b'#'; 1_048_577 - around]).unwrap();
    let said = "oxislirp: the request has 1048577 bytes, and a control socket takes 1048576\n";
    assert_eq!(network.refused(&replace), said);
}

/// Somebody else has sent `resume` while this one waited.
#[test]
fn a_network_that_was_let_go_on_counts_for_no_drained_one() {
    let network = Network::new("resumed");
    let path = network.folder.join("other.sock");
    for (flows, draining, what) in
        [(1, false, Some("that go on: 1")), (0, false, Some("that go on: 0")), (0, true, None)]
    {
        let listener = UnixListener::bind(&path).unwrap();
        let library = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"{\"oxislirp\":1}\n").unwrap();
            let mut requests = BufReader::new(stream.try_clone().unwrap()).lines();
            for answer in [json!({ "flows": flows }), json!({ "draining": draining })] {
                requests.next().unwrap().unwrap();
                writeln!(stream, "{}", json!({ "id": 1, "ok": answer })).unwrap();
            }
        });
        let words = format!("ctl --socket {} drain --wait", path.display());
        match what {
            Some(what) => assert!(network.refused(&words).contains(what)),
            None => assert!(network.ok(&words).contains("the last one has ended")),
        }
        library.join().unwrap();
        std::fs::remove_file(&path).unwrap();
    }
}

/// A client that was let in.
fn greeted(path: &Path) -> UnixStream {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.read_exact(&mut [0; 1]).unwrap();
    stream
}

#[test]
fn what_makes_sense_and_has_no_effect_is_warned_of() {
    let folder = std::env::temp_dir().join(format!("oxislirp-check-idle-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("x.toml");
    let warnings = |text: String| {
        std::fs::write(&file, text).unwrap();
        let check = run(&folder, &format!("check {}", file.display()));
        assert!(check.status.success(), "{check:?}");
        let said = String::from_utf8(check.stdout).unwrap();
        said.lines().filter_map(|line| line.strip_prefix("warning: ").map(str::to_owned)).collect::<Vec<String>>()
    };
    let rule = |fields: &str| format!("[[policy.rule]]\naction = 'deny'\n{fields}\n");
    let allow = "[policy]\ndefault = 'allow'\n";
    let half = "policy: 127.0.0.1 is closed, and ::1 (the guest's fec0::2) is open by the default: it is the other half of this machine's loopback";
    assert_eq!(warnings(format!("{allow}{}", rule("host = '127.0.0.0/8'"))), [half]);
    assert_eq!(warnings(format!("{allow}{}", rule("named = '10.0.2.2'"))), [half]);
    assert!(
        warnings(format!("{allow}{}", rule("host = '::1'")))[0].starts_with("policy: ::1 is closed, and 127.0.0.1 ")
    );
    for fine in ["host = ['127.0.0.0/8', '::1']", "host = '127.0.0.0/8'\nhost-port = 22", "host = '192.0.2.1'"] {
        assert_eq!(warnings(format!("{allow}{}", rule(fine))), [""; 0], "{fine}");
    }
    assert_eq!(warnings(rule("host = '127.0.0.0/8'")), [""; 0]);
    let named = "[policy]\n[[policy.rule]]\naction = 'allow'\nname = 'a.test'\n";
    let unasked = "policy.rule: there are rules with names, and none that lets the guest ask for them (`service = \"dns\"`): no address will count for a name";
    assert_eq!(warnings(named.to_owned()), [unasked]);
    for fine in ["service = 'dns'", "service = 'dns'\nprotocol = 'tcp'", "host = '192.0.2.1'"] {
        let unasked = if fine.starts_with("host") { vec![unasked] } else { Vec::new() };
        assert_eq!(warnings(format!("{named}[[policy.rule]]\naction = 'allow'\n{fine}\n")), unasked, "{fine}");
    }
    let capture = format!("[capture]\nfile = '{}/frames'\n", folder.display());
    let text = format!(
        "{capture}rule = [1, 2]\nprotocol = 'icmp'\nremote-port = 7\n[limits]\n{}",
        rule("protocol = ['tcp', 'icmp']\nhost-port = 7")
    );
    assert_eq!(
        warnings(text),
        [
            "capture.rule: there is no rule 2",
            "capture.protocol: ICMP has no ports, so that no frame is captured",
            "policy.rule: rule 1 is about no pings: they have no ports",
            "limits: nothing is limited",
        ]
    );
    let text = format!(
        "{capture}protocol = ['icmp', 'tcp']\nremote-port = 7\n[limits.whole]\nflows = 1\n{}",
        rule("protocol = 'icmp'")
    );
    assert_eq!(warnings(text), [""; 0]);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn completions_and_manual_pages_are_made() {
    let folder = std::env::temp_dir().join(format!("oxislirp-man-{}", std::process::id()));
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&folder, &format!("completions {shell}"));
        assert!(String::from_utf8(output.stdout).unwrap().contains("oxislirp"), "{shell}");
    }
    // What bash offers, asked as bash asks it; where there is no bash nobody asks.
    let offers = |words: &str| -> Option<Vec<String>> {
        let script = r#"eval "$("$0" completions bash)"
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
            compopt() { :; }
            _oxislirp oxislirp "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            printf '%s\n' "${COMPREPLY[@]}""#;
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", script, env!("CARGO_BIN_EXE_oxislirp")]).args(words.split(' '));
        let output = bash.current_dir(&folder).output().ok()?;
        assert!(output.status.success(), "{output:?}");
        Some(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect())
    };
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("sandbox.toml"), "").unwrap();
    for (words, wanted) in [
        ("oxislirp ctl forward add u", vec!["udp", "unix"]),
        ("oxislirp ctl forward remove t", vec!["tcp"]),
        ("oxislirp ctl capture start x --protocol ", vec!["tcp", "udp", "icmp"]),
        ("oxislirp ctl policy test --file s", vec!["sandbox.toml"]),
        ("oxislirp run --config s", vec!["sandbox.toml"]),
        // An address is no file.
        ("oxislirp ctl policy test --tcp s", vec!["s"]),
        ("oxislirp ctl capture start x --remote-port s", vec!["s"]),
        ("oxislirp completions b", vec!["bash"]),
    ] {
        let Some(offered) = offers(words) else { break };
        assert_eq!(offered, wanted, "{words}");
    }
    assert!(run(&folder, &format!("man {}", folder.display())).status.success());
    let page = std::fs::read_to_string(folder.join("oxislirp-ctl-forward-add.1")).unwrap();
    assert!(page.contains("Where it leads"), "{page}");
    std::fs::remove_dir_all(&folder).unwrap();
}
