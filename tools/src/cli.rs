//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

/// Asks and changes the networks of oxislirp that run, and explains their configuration.
#[derive(Parser)]
#[command(name = "oxislirp", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Says in words what a file of OXISLIRP_CONFIG means, or what is wrong with it.
    Check {
        /// The file.
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Asks a network that runs, by its control socket, or changes it.
    Ctl {
        /// The socket. Without it the only one in $XDG_RUNTIME_DIR/oxislirp or /run/oxislirp (*.sock) that answers.
        #[arg(long, short, global = true, value_hint = ValueHint::FilePath)]
        socket: Option<PathBuf>,
        #[command(subcommand)]
        command: Ctl,
    },
    /// Runs one program on this library, and leaves everything else on the machine as it is.
    ///
    /// The library reaches the program, and what the program starts, through LD_LIBRARY_PATH. Where the loader would not look there (a program that
    /// is static, that runs with other rights than the caller's, or that names its own library's folder) this says so and runs nothing: the exit status is 126, and
    /// 127 where there is no such program. Which library was loaded is read from the running program and told on standard error.
    #[cfg(target_os = "linux")]
    Run(super::run::Run),
    /// Writes the JSON Schema of a file of OXISLIRP_CONFIG to standard output, for editors.
    #[cfg(feature = "schema")]
    Schema,
    /// Writes the completions of a shell to standard output.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Writes the manual pages into a folder.
    Man {
        /// The folder.
        #[arg(value_hint = ValueHint::DirPath)]
        directory: PathBuf,
    },
}

/// A number as it is written: without a unit, without a sign.
fn whole(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "it has to be a whole number, without a unit".to_owned())
}

/// What a forward may take.
const LISTENING: [&str; 3] = ["tcp", "udp", "unix"];
/// What a frame may be of.
const CARRYING: [&str; 3] = ["tcp", "udp", "icmp"];

#[derive(Subcommand)]
pub(crate) enum Ctl {
    /// Host forwards: ports of this machine that lead to the guest.
    #[command(subcommand)]
    Forward(Forward),
    /// The flows that there are.
    Flows {
        /// As the library says them, a line of JSON for each.
        #[arg(long)]
        json: bool,
    },
    /// The flows that carry most, again and again.
    Top {
        /// Seconds between two looks.
        #[arg(long, short, default_value_t = 1.0, value_hint = ValueHint::Other)]
        interval: f64,
        /// How many looks; without it until it is interrupted.
        #[arg(long, short, value_hint = ValueHint::Other)]
        count: Option<u64>,
    },
    /// How much went through.
    Counters {
        /// In the text format of Prometheus.
        #[arg(long)]
        prometheus: bool,
        /// As the library says them, one object of JSON.
        #[arg(long, conflicts_with = "prometheus")]
        json: bool,
    },
    /// Every frame into a file that Wireshark reads.
    #[command(subcommand)]
    Capture(Capture),
    /// A line for each flow that begins, is refused and ends.
    #[command(subcommand)]
    Log(Log),
    /// Which hosts the guest may reach.
    #[command(subcommand)]
    Policy(Policy),
    /// Lets no flow begin any more.
    Drain {
        /// Waits until the last one has ended.
        #[arg(long)]
        wait: bool,
    },
    /// Lets flows begin again.
    Resume,
    /// Who answers.
    Version {
        /// What the library answers, one object of JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
pub(crate) enum Forward {
    /// Lists them; ports that follow each other are one line.
    List {
        /// As the library says them, a line of JSON for each; one that waits says `why`.
        #[arg(long)]
        json: bool,
    },
    /// Adds a forward, or all of a range, or none.
    Add {
        /// The protocol; unix is a Unix socket that leads to a port of TCP.
        #[arg(value_parser = LISTENING)]
        protocol: String,
        /// Where it listens: an address with a port or a range of ports (127.0.0.1:8000-8099), or the path of a Unix socket.
        #[arg(value_hint = ValueHint::AnyPath)]
        listen: String,
        /// Where it leads: :80, or 10.0.2.15:8000-8099. Without it to the same ports.
        #[arg(value_hint = ValueHint::Other)]
        guest: Option<String>,
        /// Waits for an address that this machine does not have yet.
        #[arg(long)]
        wait: bool,
        /// Takes peers of IPv6 only.
        #[arg(long)]
        only_v6: bool,
    },
    /// Removes forwards, all or none.
    Remove {
        /// The protocol.
        #[arg(value_parser = LISTENING)]
        protocol: String,
        /// Where they listen.
        #[arg(required = true, value_hint = ValueHint::AnyPath)]
        listen: Vec<String>,
    },
    /// Has exactly these forwards be there.
    #[command(
        override_usage = "oxislirp ctl forward replace [OPTIONS] <FORWARDS>...\n       oxislirp ctl forward replace [OPTIONS] --none"
    )]
    Replace {
        /// Each as PROTOCOL,LISTEN[,GUEST]: tcp,127.0.0.1:8080,:80 or unix,/run/ssh.sock,:22
        #[arg(required_unless_present = "none")]
        forwards: Vec<String>,
        /// None at all: all that there are go.
        #[arg(long, conflicts_with = "forwards")]
        none: bool,
    },
}

#[derive(Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one of them in a process")]
pub(crate) enum Capture {
    /// Begins one, in the place of one that is going on.
    Start {
        /// Where to, as the program that runs the network finds it.
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Bytes of each frame.
        #[arg(long, value_hint = ValueHint::Other, value_parser = whole)]
        snap_length: Option<u64>,
        /// How long a file may become, in bytes, 1048576 at least.
        #[arg(long, value_hint = ValueHint::Other, value_parser = whole)]
        max_bytes: Option<u64>,
        /// So many files in a ring. Without this and --max-bytes: 4, with 1 GiB in all.
        #[arg(long, value_hint = ValueHint::Other, value_parser = whole)]
        files: Option<u64>,
        #[command(flatten)]
        filter: Filter,
    },
    /// Ends it.
    Stop,
}

/// Which frames are captured: those to which everything that is given applies; of several values of one kind, one has to.
#[derive(Args)]
pub(crate) struct Filter {
    /// Only frames of this protocol.
    #[arg(long, value_name = "PROTOCOL", value_parser = CARRYING)]
    pub(crate) protocol: Vec<String>,
    /// Only frames of a guest with this address, or one of these (10.0.2.0/24).
    #[arg(long, value_name = "ADDRESSES", value_hint = ValueHint::Other)]
    pub(crate) guest: Vec<String>,
    /// Only frames whose other end has this address, or one of these, as the guest knows it.
    #[arg(long, value_name = "ADDRESSES", value_hint = ValueHint::Other)]
    pub(crate) remote: Vec<String>,
    /// Only frames with this port, or one of these (8000-8099), at the guest's end.
    #[arg(long, value_name = "PORTS", value_hint = ValueHint::Other)]
    pub(crate) guest_port: Vec<String>,
    /// Only frames with this port, or one of these, at the other end.
    #[arg(long, value_name = "PORTS", value_hint = ValueHint::Other)]
    pub(crate) remote_port: Vec<String>,
    /// Only frames of flows about which the rule with this number has decided.
    #[arg(long, value_name = "NUMBER", value_hint = ValueHint::Other)]
    pub(crate) rule: Vec<u32>,
}

#[derive(Subcommand)]
pub(crate) enum Log {
    /// Begins one, in the place of one that is going on.
    Start {
        /// Where to, as the program that runs the network finds it.
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// How long a file may become, in bytes, 1048576 at least.
        #[arg(long, value_hint = ValueHint::Other, value_parser = whole)]
        max_bytes: Option<u64>,
        /// So many files in a ring. Without this and --max-bytes: 4, with 1 GiB in all.
        #[arg(long, value_hint = ValueHint::Other, value_parser = whole)]
        files: Option<u64>,
    },
    /// Ends it.
    Stop,
}

#[derive(Subcommand)]
pub(crate) enum Policy {
    /// Says the policy in force, in words.
    Show {
        /// As the library says it, a line of JSON for each sentence.
        #[arg(long)]
        json: bool,
    },
    /// Says the policy of a file of OXISLIRP_CONFIG, in words.
    Explain {
        /// The file.
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Says what would become of a flow; the exit status is 1 where it is not allowed.
    Test {
        #[command(flatten)]
        question: Question,
        /// The guest's end: an address and a port, or a port of whatever address it has (:22). Where somebody comes to the guest, that is the port he comes to.
        #[arg(long, value_name = "[ADDRESS]:PORT", value_hint = ValueHint::Other)]
        guest: Option<String>,
        /// By the policy of a file, without a network that runs.
        #[arg(long, value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
        /// What the library answers, one object of JSON.
        #[arg(long, conflicts_with = "file")]
        json: bool,
    },
    /// Has the policy of a file judge from now on, also what there is already.
    Replace {
        /// The file. Its tables but [policy] are left out, or say what they said when the network was made.
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Question {
    /// A connection of the guest to this address and port.
    #[arg(long, value_hint = ValueHint::Other)]
    pub(crate) tcp: Option<String>,
    /// Datagrams of the guest to this address and port.
    #[arg(long, value_hint = ValueHint::Other)]
    pub(crate) udp: Option<String>,
    /// Pings of the guest to this address.
    #[arg(long, value_hint = ValueHint::Other)]
    pub(crate) ping: Option<String>,
    /// A connection of this address to the guest, through a host forward.
    #[arg(long, value_hint = ValueHint::Other)]
    pub(crate) from: Option<String>,
}

impl Question {
    /// The protocol, and where the guest goes to; who comes, where there is none.
    pub(crate) fn parts(&self) -> (&'static str, Option<&str>, Option<&str>) {
        let to = [("tcp", &self.tcp), ("udp", &self.udp), ("icmp", &self.ping)];
        match to.into_iter().find_map(|(protocol, to)| Some((protocol, to.as_deref()?))) {
            Some((protocol, to)) => (protocol, Some(to), None),
            None => ("tcp", None, self.from.as_deref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_makes_sense() {
        Cli::command().debug_assert();
    }
}
