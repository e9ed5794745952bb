//! The one list of places where our library chooses to differ from upstream's, as these tests see them.

use super::library::library;

/// One difference: what the contract file says about it, and what each library does.
pub struct Difference {
    pub id: &'static str,
    pub contract: &'static str,
    pub upstream: &'static str,
    pub ours: &'static str,
}

const fn d(id: &'static str, contract: &'static str, upstream: &'static str, ours: &'static str) -> Difference {
    Difference { id, contract, upstream, ours }
}

/// True when the library under test is ours and so takes the better side of the difference `id`.
pub fn ours(id: &str) -> bool {
    assert!(DIFFERENCES.iter().any(|d| d.id == id), "{id} is not in the table of differences");
    !library().upstream
}

pub const DIFFERENCES: &[Difference] = &[
    d(
        "arp-claims",
        "ethernet-arp-ndp.md: unsolicited replies may claim the library's addresses",
        "learned like any other",
        "ignored",
    ),
    d(
        "arp-one-request",
        "ethernet-arp-ndp.md section 5: one request per waiting packet class",
        "each reply of the library itself asks again",
        "one request per address and second",
    ),
    d(
        "fragment-timeout",
        "ipv4.md section 2: timeout at most 499 ms while a fragment waits",
        "at most 499 ms",
        "at most 1000 ms; the deadline is what counts",
    ),
    d(
        "reassembly-timeout",
        "ipv4.md section 2: fragments whose rest does not come",
        "forgotten silently",
        "ICMP time exceeded, code 1, when the first fragment is among them (RFC 792, RFC 8200)",
    ),
    d(
        "udp-broadcast-reply",
        "ipv4.md oddities: replies for 255.255.255.255",
        "come from 127.0.0.1",
        "come from the virtual host",
    ),
    d(
        "loopback-bypass",
        "ipv4.md oddities: disable_host_loopback and 127.0.0.0/8, 0.0.0.0",
        "still reachable",
        "refused",
    ),
    d("ping-ttl", "icmp.md oddities: the TTL of an echo request", "ignored", "may be honoured"),
    d(
        "icmp-loopback-offender",
        "icmp.md oddities: source of errors from the host's loopback",
        "127.0.0.1",
        "the address that the guest used",
    ),
    d("icmp-broadcast", "icmp.md oddities: errors for broadcast packets", "sent", "not sent (RFC 1122 section 3.2.2)"),
    d(
        "path-mtu",
        "icmp.md section 3: errors of the host's error queue",
        "fragmentation needed without the next hop's MTU",
        "with the next hop's MTU (RFC 1191)",
    ),
    d(
        "ping-no-permission",
        "icmp.md oddities: ping where the host allows none",
        "a UDP datagram to port 7, whose answer is not a reply",
        "ICMP host unreachable",
    ),
    d(
        "state-truncated",
        "state.md section 5: a stream that ends early",
        "gives zeros, a positive result and half a connection",
        "refused, and nothing is changed",
    ),
    d("udp-length", "udp.md section 1: a UDP length below 8", "4.7.0 may send what it likes", "dropped"),
    d("udp-cold-clock", "udp.md oddities: a flow made before the first pollfds_poll", "expires at once", "lives 240 s"),
    d(
        "udp-reply-source",
        "udp.md oddities: an answer of an earlier destination",
        "carries the latest destination's address",
        "carries its own address",
    ),
    d("flow-bound", "udp.md oddities: number of flows", "unlimited", "bounded; the oldest idle one goes"),
    d("hostxfwd-family", "hostfwd.md oddities: unknown address family", "aborts the process", "-1"),
    d(
        "restricted-udp-forward",
        "hostfwd.md fact 12: answers on UDP forwards in restricted mode",
        "dropped",
        "reach the peer that asked, and no one else",
    ),
    d(
        "hostfwd-mixed",
        "hostfwd.md section 2: forwards between the two families",
        "accepted; the first client aborts the process, or gets no answer",
        "translated: the guest sees the virtual host",
    ),
    d("hostfwd-backlog", "hostfwd.md oddities: listen backlog", "1", "larger"),
    d(
        "hostfwd-same-port",
        "hostfwd.md oddities: clients that collapse to one 4-tuple",
        "one connection is lost",
        "another source port is shown to the guest",
    ),
    d(
        "udp-forward-peer",
        "hostfwd.md: a UDP client at another loopback address",
        "the answer goes to 127.0.0.1",
        "the answer goes to the client",
    ),
    d(
        "udp-two-forwards",
        "hostfwd.md: two UDP forwards to one guest port",
        "answers leave from the one used last",
        "answers leave from the port the client asked",
    ),
    d(
        "dhcp-nak",
        "dhcp.md oddities: the address in a NAK",
        "255.255.255.255 and no server identifier",
        "0.0.0.0 or 255.255.255.255; a server identifier may follow",
    ),
    d("dhcp-pool", "dhcp.md oddities: a full pool", "silence for ever", "the oldest entry may be recycled"),
    d("dhcp-inform", "dhcp.md oddities: INFORM", "unanswered", "may be acknowledged without a lease"),
    d(
        "dhcp-mtu",
        "dhcp.md section A3: the interface MTU (option 26)",
        "never sent",
        "sent when asked for and not 1500",
    ),
    d(
        "search-pointer",
        "dns.md oddities: compression of a third name",
        "the pointer lands inside another name",
        "the pointer is right",
    ),
    d("dns-cross-family", "dns.md oddities: only a server of the other family", "refused", "relayed across families"),
    d(
        "dns-zone-number",
        "dns.md section 1: an interface by number behind a '%'",
        "not understood",
        "understood (RFC 4007)",
    ),
    d("dns-mtime", "dns.md oddities: an edit of equal size within a second", "goes unnoticed", "is noticed"),
    d(
        "dns-failover",
        "dns.md oddities: the first server does not answer",
        "it is asked again for ever",
        "a retry goes to the next server",
    ),
    d("window-scaling", "tcp.md oddities: RFC 7323", "no window scaling", "offered back when the guest offers it"),
    d(
        "mss-1460",
        "tcp.md oddities: segment size towards the guest",
        "MTU - 60 on connections that the guest opened",
        "the full MTU - 40, as far as the guest's option allows",
    ),
    d("guest-mss", "tcp.md oddities: the guest's MSS option on connections that it opened", "ignored", "honoured"),
    d(
        "guest-reset",
        "tcp.md oddities: a reset by the guest",
        "the host peer sees an orderly close",
        "the host peer sees a reset",
    ),
    d(
        "stray-fin",
        "tcp.md section 1: the answer to a stray FIN without ACK",
        "acknowledges the data only",
        "may acknowledge the FIN as well (RFC 9293)",
    ),
    d("reset-to-reset", "tcp.md oddities: a stray reset", "is answered by a reset", "is not answered"),
    d("syn-data", "tcp.md fact 23: data in the SYN", "accepted", "accepted, or left for the guest to send again"),
    d(
        "rfc5961-reset",
        "tcp.md oddities: where a reset is accepted",
        "anywhere left of the right edge",
        "only at rcv_nxt (RFC 5961)",
    ),
    d("time-wait", "tcp.md section 6: TIME_WAIT", "10 s", "a bounded time of its own"),
    d(
        "null-callbacks",
        "api.md section 4: NULL members",
        "only the listed calls are safe",
        "any member may be NULL, and so may the table",
    ),
    d(
        "guestfwd-removed",
        "guestfwd-exec-unix.md oddities: connections of a removed forward",
        "stay, with a pointer to what the application may have freed",
        "are reset",
    ),
    d(
        "one-descriptor",
        "poll-and-timers.md section 2: what fill adds",
        "every socket with its events",
        "one poller descriptor that contains every socket",
    ),
    d(
        "select-error-reads",
        "poll-and-timers.md fact 8: select_error",
        "host data is not read in that round",
        "the library's own poller is looked at; get_revents is not called",
    ),
    d("accept-many", "poll-and-timers.md oddities: accepts per poll", "one", "a bounded number greater than one"),
    d(
        "datagrams-many",
        "poll-and-timers.md oddities: datagrams per poll and flow",
        "one",
        "a bounded number greater than one",
    ),
    d(
        "fragment-crash",
        "ipv4.md section 2: reassembly",
        "4.7.0 crashes when the fragment that arrives first is not the datagram's first",
        "any order; the memory held is bounded",
    ),
    d(
        "virtual-source",
        "security.md section 3: packets from the library's own addresses or 127.0.0.0/8",
        "accepted",
        "dropped",
    ),
    d("arp-queue-bound", "ethernet-arp-ndp.md section 5: packets that wait for one neighbor", "unlimited", "bounded"),
    d(
        "ra-options",
        "ethernet-arp-ndp.md section 4: options of a router advertisement",
        "RDNSS only with an IPv6 server, for 1200000 s",
        "RDNSS with a server of any family for 1800 s, MTU and DNSSL",
    ),
    d(
        "ndp-options",
        "ethernet-arp-ndp.md section 4: options of the guest's messages",
        "not looked at",
        "damaged ones make the message invalid (RFC 4861)",
    ),
    d(
        "ipv6-extensions",
        "ipv6.md fact 4: extension headers and unknown protocols",
        "dropped silently",
        "walked; unknown protocols are answered by a parameter problem (RFC 8200)",
    ),
    d(
        "ipv6-fragments",
        "ipv6.md oddities: fragments",
        "neither put together nor made",
        "put together, without overlaps; large answers are cut",
    ),
    d(
        "udp6-multicast-reply",
        "ipv6.md section 3: answers for ff02::1",
        "come from ff02::1",
        "come from the virtual host",
    ),
    d("tcp6-refused", "ipv6.md section 3: a refused connection", "ICMPv6 error", "ICMPv6 error and a reset"),
    d(
        "dhcpv6-server",
        "dhcp.md part B: replies",
        "from port 8962, without server identifier and search list",
        "from port 547, with both (RFC 8415)",
    ),
    d(
        "link-local-services",
        "ipv6.md oddities: TCP, UDP and DNS at fe80::2 and fe80::3",
        "unreachable",
        "as at the addresses under the prefix",
    ),
    d(
        "ndp-router",
        "ethernet-arp-ndp.md section 4: solicitations for the router's address, fe80::2, when the host has another one",
        "silent, so that the guest gives its router up",
        "answered; the router is always the virtual host",
    ),
    d(
        "hostfwd6-global",
        "ethernet-arp-ndp.md oddities: which address a forward to :: leads to",
        "the first ever learned",
        "one under the prefix, when one is known",
    ),
    d(
        "hostfwd6-mapped",
        "hostfwd.md section 3: IPv4 clients of a dual-stack forward",
        "shown with their mapped address",
        "shown as the virtual host",
    ),
    d(
        "hostfwd6-on-link",
        "hostfwd.md section 3: clients with an address of the guest's own link",
        "shown unchanged, where the guest looks for them in vain",
        "shown as the virtual host",
    ),
    d(
        "interface-local",
        "ipv6.md section 3: groups of interface-local scope",
        "sent out on the host",
        "dropped (RFC 4291 section 2.7)",
    ),
    d(
        "unix-path-length",
        "guestfwd-exec-unix.md section 2: a Unix path of more than 107 bytes",
        "accepted, and fails when a guest connects",
        "refused",
    ),
    d(
        "unix-urgent",
        "guestfwd-exec-unix.md section 5: urgent data for a Unix socket",
        "sent out of band, which fails or takes the byte out of the stream",
        "stays in the stream",
    ),
    d(
        "unix-connect",
        "guestfwd-exec-unix.md oddities: connecting to a Unix socket",
        "blocks the application while the queue is full",
        "is tried again for 75 s",
    ),
    d(
        "unix-info",
        "info-text.md section 1: host forwards on Unix sockets",
        "bytes of the path as address and port",
        "\"*\" and 0",
    ),
    d(
        "unix-hostfwd-file",
        "hostfwd.md section 2: the file of a Unix host forward",
        "must not exist, and stays",
        "a stale one is replaced, and it goes with the forward",
    ),
    d(
        "unix-names",
        "hostfwd.md section 2: abstract names, and datagram Unix sockets",
        "cannot be removed; cannot answer",
        "work; are refused",
    ),
    d(
        "time-wait-descriptor",
        "tcp.md section 6: the host's descriptor of a connection in TIME_WAIT",
        "stays open",
        "is closed",
    ),
    d(
        "udp-same-port",
        "hostfwd.md oddities: UDP clients with one port on two loopback addresses",
        "are one to the guest; all its answers go to 127.0.0.1",
        "the second is shown from another port",
    ),
    d(
        "udp-forward-address",
        "hostfwd.md section 3: a UDP forward on all addresses",
        "answers from whichever address routing prefers",
        "answers from the address that was asked",
    ),
    d(
        "tftp-acknowledgments",
        "tftp.md section 3: which acknowledgment brings which block",
        "any brings the next one; nothing is ever sent again",
        "that of the last block; what is lost is sent again",
    ),
    d(
        "tftp-error-port",
        "tftp.md section 3: a file that opens and cannot be read",
        "error from port 0",
        "from port 69",
    ),
    d("tftp-netascii", "tftp.md section 1: netascii", "error 4", "served with its line ends converted"),
    d("tftp-timeout-option", "tftp.md section 2: the option timeout", "ignored", "accepted (RFC 2349)"),
    d("tftp-tiny-blocks", "tftp.md section 2: block sizes of 1 to 7", "accepted", "ignored (RFC 2348)"),
    d("tftp-small-mtu", "tftp.md oddities: blocks larger than the MTU", "the heap is corrupted", "blocks fit"),
    d("tftp-symlinks", "tftp.md oddities: symbolic links that lead out", "followed", "not found"),
    d(
        "tftp-special-files",
        "security.md class 9: FIFOs and devices",
        "opened, which can block for ever",
        "not found, like directories",
    ),
];
