//! What a stack holds, for people and programs that ask: the info texts, in lines that are to the byte those of libslirp, and
//! `counters`, how much went through it. `flows` is the flows that there are.
// Reads the stack, changes nothing. Source: docs/contract/info-text.md.
#![forbid(unsafe_code)]

mod counters;
#[cfg(feature = "control")]
mod flows;

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

pub use counters::{Counters, FlowCounters, counters};
#[cfg(feature = "control")]
pub(crate) use flows::{FlowEntry, flows};

use crate::flow::icmp::IcmpFlow;
use crate::flow::key::Endpoint;
use crate::flow::table::Entry;
use crate::flow::tcp::{Origin, Side};
use crate::flow::udp::UdpFlow;
use crate::host::handle::{HostNamed, displayed};
use crate::stack::{Stack, Tables};
use crate::tcp::State;

/// The columns of one line.
struct Line {
    /// The number of what it describes: newer lines come first.
    number: u64,
    tag: String,
    descriptor: i64,
    source: Ipv4Addr,
    source_port: Option<u16>,
    destination: Ipv4Addr,
    destination_port: Option<u16>,
    receive_queue: usize,
    send_queue: usize,
}

impl Line {
    fn new(
        number: u64,
        tag: String,
        descriptor: i64,
        source: Option<Endpoint>,
        destination: Option<Endpoint>,
        (receive_queue, send_queue): (usize, usize),
    ) -> Line {
        let (source, source_port) = shown(source);
        let (destination, destination_port) = shown(destination);
        Line {
            number,
            tag,
            descriptor,
            source,
            source_port: Some(source_port),
            destination,
            destination_port: Some(destination_port),
            receive_queue,
            send_queue,
        }
    }

    fn write(&self, text: &mut String) {
        let source = if self.source.is_unspecified() { "*".to_string() } else { self.source.to_string() };
        let port = |port: Option<u16>| port.map_or_else(|| " -   ".to_string(), |port| format!("{port:5}"));
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:<19.19} {:3} {:>15} {} {:>15} {} {:5} {:5}",
            format!("  {}", self.tag),
            self.descriptor,
            source,
            port(self.source_port),
            self.destination.to_string(),
            port(self.destination_port),
            self.receive_queue,
            self.send_queue
        );
    }
}

/// An address as the text shows it: IPv6 ones have no place in its columns.
fn shown(endpoint: Option<Endpoint>) -> (Ipv4Addr, u16) {
    match endpoint {
        Some(Endpoint { ip: IpAddr::V4(ip), port }) => (ip, port),
        Some(Endpoint { port, .. }) => (Ipv4Addr::UNSPECIFIED, port),
        None => (Ipv4Addr::UNSPECIFIED, 0),
    }
}

/// Where a forward leads as far as the text tells: the unspecified IPv4 address is the one where the guest is expected.
fn expected(tables: &Tables<'_>, guest: Endpoint) -> Endpoint {
    let anywhere = guest.ip == IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    if anywhere { Endpoint::new(tables.cx.first_guest, guest.port) } else { guest }
}

/// The name of a state, as in the table of docs/contract/info-text.md section 1.
fn state_name(state: State) -> &'static str {
    match state {
        State::Opening | State::SynReceived => "SYN_RCVD",
        State::SynSent => "SYN_SENT",
        State::Established => "ESTABLISHED",
        State::FinWait1 => "FIN_WAIT_1",
        State::FinWait2 => "FIN_WAIT_2",
        State::CloseWait => "CLOSE_WAIT",
        State::Closing => "CLOSING",
        State::LastAck => "LAST_ACK",
        State::TimeWait => "TIME_WAIT",
        State::Closed => "CLOSED",
    }
}

/// The text of `slirp_connection_info`: one line for each socket, TCP, UDP and ICMP in this order.
pub fn connections(stack: &Stack) -> String {
    let tables = stack.tables();
    let mut text = String::from("  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\n");

    write_newest_first(tcp_lines(&tables), &mut text);
    write_newest_first(udp_lines(&tables), &mut text);
    write_newest_first(icmp_lines(&tables), &mut text);
    text
}

fn write_newest_first(mut lines: Vec<Line>, text: &mut String) {
    lines.sort_by_key(|line| std::cmp::Reverse(line.number));
    for line in lines {
        line.write(text);
    }
}

fn tcp_lines(tables: &Tables<'_>) -> Vec<Line> {
    let connections = tables.tcp.flows.iter().map(|(_, Entry { flow, number, .. })| {
        let (descriptor, local) = match flow.side() {
            Side::Host(stream) => (displayed(stream.raw_socket()), stream.local_address().map(Endpoint::from)),
            #[cfg(feature = "policy")]
            Side::Queries(dialogue) => (dialogue.stream().map_or(-1, |stream| displayed(stream.raw_socket())), None),
            Side::Callback | Side::Application(_) | Side::Waiting(_) | Side::Gone => (-1, None),
        };
        let (source, destination) = match flow.origin() {
            Origin::Guest => (Some(flow.key().guest), Some(flow.key().remote)),
            Origin::Host { .. } => (local, Some(flow.key().guest)),
        };
        let conn = flow.connection();
        let tag = format!("TCP[{}]", state_name(conn.state()));
        let queues = (conn.recv().len(), conn.send().len());
        Line::new(*number, tag, descriptor, source, destination, queues)
    });
    let forwards = tables.tcp_forwards.flows.iter().map(|(_, Entry { flow, number, .. })| {
        let listener = flow.listener();
        let source = listener.local_address().map(Endpoint::from);
        let tag = "TCP[HOST_FORWARD]".to_string();
        Line::new(*number, tag, displayed(listener.raw_socket()), source, Some(expected(tables, flow.guest())), (0, 0))
    });
    connections.chain(forwards).collect()
}

fn udp_lines(tables: &Tables<'_>) -> Vec<Line> {
    let line = |Entry { flow, number, .. }: &Entry<UdpFlow>| {
        let (tag, source, destination) = match flow.remaining(tables.cx.now) {
            None => {
                let local = flow.socket().local_address().map(Endpoint::from);
                ("UDP[HOST_FORWARD]".to_string(), local, Some(expected(tables, flow.guest())))
            }
            Some(left) => (format!("UDP[{} sec]", left.secs()), Some(flow.guest()), flow.remote()),
        };
        Line::new(*number, tag, displayed(flow.socket().raw_socket()), source, destination, (0, 0))
    };
    tables.udp.flows.iter().map(|(_, entry)| line(entry)).collect()
}

fn icmp_lines(tables: &Tables<'_>) -> Vec<Line> {
    let line = |Entry { flow, number, .. }: &Entry<IcmpFlow>| {
        let tag = format!("ICMP[{} sec]", flow.remaining(tables.cx.now).secs());
        let end = |ip| Some(Endpoint { ip, port: 0 });
        let descriptor = displayed(flow.socket().raw_socket());
        let line = Line::new(*number, tag, descriptor, end(flow.guest()), end(flow.destination()), (0, 0));
        Line { source_port: None, destination_port: None, ..line }
    };
    tables.icmp.flows.iter().map(|(_, entry)| line(entry)).collect()
}

/// The text of `slirp_neighbor_info`.
pub fn neighbors(stack: &Stack) -> String {
    let tables = stack.tables();
    let mut text = String::from("  Table  MacAddr            IP Address\n");
    for (ip, mac) in tables.cx.egress.neighbors.iter_ipv4() {
        neighbor(&mut text, "ARP", mac.0, &ip.to_string());
    }
    for (ip, mac) in tables.cx.egress.neighbors.iter_ipv6() {
        neighbor(&mut text, "NDP", mac.0, &ip.to_string());
    }
    text
}

fn neighbor(text: &mut String, table: &str, [a, b, c, d, e, f]: [u8; 6], ip: &str) {
    let mac = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
    // Writing to a String cannot fail.
    let _ = writeln!(text, "  {table:>5}  {mac:<17}  {ip}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_upstreams_to_the_byte() {
        let mut text = String::new();
        Line {
            number: 0,
            tag: "TCP[HOST_FORWARD]".into(),
            descriptor: 5,
            source: Ipv4Addr::UNSPECIFIED,
            source_port: Some(12346),
            destination: Ipv4Addr::new(10, 0, 2, 15),
            destination_port: Some(80),
            receive_queue: 0,
            send_queue: 0,
        }
        .write(&mut text);
        Line {
            number: 0,
            tag: "ICMP[240 sec]".into(),
            descriptor: 12,
            source: Ipv4Addr::new(10, 0, 2, 15),
            source_port: None,
            destination: Ipv4Addr::LOCALHOST,
            destination_port: None,
            receive_queue: 0,
            send_queue: 0,
        }
        .write(&mut text);
        assert_eq!(
            text,
            "  TCP[HOST_FORWARD]   5               * 12346       10.0.2.15    80     0     0\n\
             \x20 ICMP[240 sec]      12       10.0.2.15  -          127.0.0.1  -        0     0\n"
        );
    }
}
