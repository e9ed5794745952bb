"""The platforms, and what of each can be shown on a Linux machine of x86-64."""

import dataclasses

# What a guest of the in-process tests does on every platform that runs them.
IN_PROCESS = ("api", "dns", "forward", "hostfwd", "icmp", "ipv6", "smoltcp", "state", "tcp", "udp")

# The simulations know no system: what they would show in an hour of emulation, the row of x86-64 shows.
SIMULATIONS = ("sim::",)
# These need upstream's library for the same processor.
UPSTREAM = ("state_moves_between_upstream_and_this_library_and_back", "state_job")


@dataclasses.dataclass(frozen=True)
class Target:
    """A row of the table."""

    name: str
    # Packages of Debian that compile, link and run for it.
    packages: tuple[str, ...] = ()
    # The C compiler, which links as well. Without one the library is only compiled.
    compiler: tuple[str, ...] = ()
    # Further arguments of rustc.
    rustflags: tuple[str, ...] = ()
    # What a program is run with.
    runner: tuple[str, ...] = ()
    # Tests that are left out, by the names of the parts.
    unit_without: tuple[str, ...] = ()
    in_process_without: tuple[str, ...] = ()
    in_process: tuple[str, ...] = IN_PROCESS
    # What nobody has seen, for the table.
    not_shown: str = "–"
    # Parts that are not run for it, by their columns in the table, and why.
    reasons: tuple[tuple[str, str], ...] = ()
    # What its tests find in their environment.
    environment: tuple[tuple[str, str], ...] = ()
    # Whether std has to be built for it.
    builds_std: bool = True
    # Whether the library can be linked without a libc of its own kind beside it.
    static: bool = False
    # Whether the highest byte of a number comes first in memory, as it does in a saved state then.
    big_endian: bool = False
    # Libraries: what each is called where it is installed, what cargo calls it, and how `strip` is told to leave what linking needs.
    installed: tuple[tuple[str, ...], ...] = (("libslirp.so", "libslirp.so"), ("libslirp.a", "libslirp.a", "--strip-debug"))


def emulated(name, gnu, architecture, qemu, **more):
    """Linux on another processor: Debian's cross compiler, and QEMU for programs."""
    return Target(
        name,
        packages=(f"gcc-{gnu}", f"libc6-dev-{architecture}-cross", "qemu-user-static"),
        compiler=(f"{gnu}-gcc",),
        runner=(f"qemu-{qemu}-static", "-L", f"/usr/{gnu}"),
        # Properties are tried so often in place of 256 times, but for those that say how often.
        environment=(("PROPTEST_CASES", "32"),),
        not_shown="real hardware",
        reasons=EMULATED_PARTS,
        **more,
    )


# What takes seconds natively takes minutes there: loads of megabytes, and rates over long times.
SLOW = (
    "the_rate_is_kept_whatever_the_steps_of_the_clock",
    "buffers_share_the_less_the_more_there_are",
    "more_than_65535_blocks_wrap",
    "rounds_that_pass_leave_behind_what_looking_at_them_does",
    "what_a_crowd_has_left_goes_while_a_load_goes_on",
    "bytes_written_ahead_become_the_stream",
    "a_guest_in_memory_loads_both_ways",
    "a_guest_behind_datagrams_loads_both_ways_and_a_short_queue_loses_nothing",
    "a_question_that_is_passed_on_leaves_what_a_buffered_one_does",
    "bytes_go_both_ways_at_once_and_both_ends_arrive",
    "slow_start_fills_a_long_path_and_the_buffer_keeps_up",
    "another_stack_in_the_place_of_the_driven_one_is_noticed",
    "policy::properties",
)
# Control messages come as they are, and SIOCOUTQNSD is not known to the emulator.
EMULATOR = SIMULATIONS + SLOW + (
    "datagrams_that_the_kernel_put_together_come_apart_again",
    "runs_leave_from_the_address_that_was_asked",
    "datagrams_of_all_sizes_arrive_whole_and_in_order_with_and_without_segmenting",
    "what_a_peer_has_not_got_is_told",
)

# About what stands for all sockets, where there are such pollers.
POLLER = (
    "bytes_from_elsewhere_do_not_wait_for_a_loop_that_sleeps",
    "a_stack_at_rest_sleeps_until_something_is_due",
    "a_segment_that_is_refused_is_not_acknowledged_and_comes_through_the_next_time",
    "rounds_that_pass_leave_behind_what_looking_at_them_does",
)
# In network namespaces, which are Linux' own.
NAMESPACES = (
    "icmp_fact_03_a_ping_of_the_hosts_loopback_by_ping_socket",
    "icmp_fact_04_a_ping_without_route_is_unreachable",
    "icmp_fact_05_ttl_one_reaches_the_hosts_own_addresses",
    "icmp_fact_06_a_ping_of_the_hosts_loopback_by_raw_socket",
    "icmp_fact_08_unanswered_echo_is_listed_and_expires",
    "errors_that_the_host_hears_reach_the_guest_with_its_own_addresses",
    "ipv6_facts_08_and_09_unreachable_and_hop_limit",
    "smoltcp_resolves_a_name",
    "smoltcp_reaches_other_networks_by_the_router_and_is_refused_where_there_is_none",
    "tcp_fact_03_no_route_is_reported_at_once",
    "udp_fact_12_no_route_is_reported_and_the_flow_stays",
    "udp_fact_15_disable_dns_leaves_the_dns_address_alone",
)

# Wine 8 ends a connection with FIN where SO_LINGER asks for a reset, does not tell where urgent data lie, binds a socket of datagrams
# to any address, reports no refused datagram, as Windows does not where SIO_UDP_CONNRESET is off, and has no pings over IPv6.
WINE = (
    "tcp_fact_13_a_reset_by_the_host_reaches_the_guest",
    "tcp_fact_14_a_reset_by_the_guest_ends_the_host_side",
    "tcp_fact_25_a_guest_reset_with_unread_host_data_resets_the_host",
    "smoltcp_resets_cross_in_both_directions",
    "tcp_fact_21_urgent_data_passes_both_ways",
    "tcp_urgent_data_among_other_data_is_marked_at_its_place",
    "hostfwd_fact_02_a_foreign_address_cannot_be_forwarded",
    "icmp_fact_09_a_closed_udp_port_is_reported",
    "udp_fact_11_a_closed_port_is_reported_and_the_flow_stays",
    "icmp_fact_12_a_closed_udp_port_is_reported",
    "a_ping_of_the_hosts_loopback_is_answered_from_it",
)
# Wine 8 leaves out which address a datagram is to leave from.
ADDRESS_OF_ANSWERS = ("hostfwd_a_burst_of_answers_leaves_from_the_address_that_was_asked_whole_and_in_order",)

I686_LIBRARIES = "/usr/i686-linux-gnu/lib"
I686_LINK = f"-Wl,--dynamic-linker={I686_LIBRARIES}/ld-linux.so.2,-rpath,{I686_LIBRARIES}"

# The project is developed there.
OWN_PARTS = tuple((part, "parts of `script/test` itself") for part in ("clippy", "unit", "in-process", "meson"))
# Of the others what nobody has run yet, and what shows something of the same.
I686_PARTS = (
    ("clippy", "no run of clippy yet; it is compiled for the tests and the programs"),
    ("meson", "no run yet; the cross file is that of aarch64 with another compiler's name"),
)
EMULATED_PARTS = (
    ("clippy", "no run of clippy yet; it is compiled for the programs"),
    ("unit", "no run yet; s390x's went through the same emulator, with the other byte order"),
    ("in-process", "no run yet under the emulator; the C programs go the same ways"),
    ("meson", "no run yet; the cross file is that of aarch64 with another compiler's name"),
    ("release", "no run yet"),
)
# Of systems without a C compiler here.
COMPILED = "that it links and runs: neither their linker and libraries nor a machine of theirs are here"

TARGETS = (
    Target("x86_64-unknown-linux-gnu", compiler=("cc",), builds_std=False, packages=("gcc", "libc6-dev"), reasons=OWN_PARTS),
    Target(
        "i686-unknown-linux-gnu",
        packages=("gcc-i686-linux-gnu", "libc6-dev-i386-cross"),
        compiler=("i686-linux-gnu-gcc", I686_LINK),
        reasons=I686_PARTS,
        unit_without=SIMULATIONS,
        in_process_without=UPSTREAM,
    ),
    Target(
        "x86_64-unknown-linux-musl",
        packages=("musl-tools",),
        compiler=("musl-gcc",),
        # A library that programs load has musl's shared one under it; the objects that start a program are musl-gcc's.
        rustflags=("-C target-feature=-crt-static", "-C link-self-contained=no"),
        unit_without=SIMULATIONS,
        in_process_without=UPSTREAM,
        static=True,
    ),
    emulated(
        "aarch64-unknown-linux-gnu", "aarch64-linux-gnu", "arm64", "aarch64", unit_without=EMULATOR, in_process_without=UPSTREAM
    ),
    emulated(
        "riscv64gc-unknown-linux-gnu", "riscv64-linux-gnu", "riscv64", "riscv64", unit_without=EMULATOR, in_process_without=UPSTREAM
    ),
    emulated(
        "s390x-unknown-linux-gnu", "s390x-linux-gnu", "s390x", "s390x", unit_without=EMULATOR, in_process_without=UPSTREAM, big_endian=True
    ),
    Target(
        "x86_64-pc-windows-gnu",
        packages=("gcc-mingw-w64-x86-64", "wine64"),
        compiler=("x86_64-w64-mingw32-gcc",),
        runner=("/usr/lib/wine/wine64",),
        unit_without=SIMULATIONS + POLLER,
        in_process=("hostfwd", "icmp", "ipv6", "smoltcp", "state", "tcp", "udp"),
        installed=(("libslirp-0.dll", "slirp.dll"), ("libslirp.a", "libslirp.a", "--strip-debug")),
        in_process_without=UPSTREAM + NAMESPACES + WINE + ADDRESS_OF_ANSWERS,
        not_shown="real Windows; Unix sockets, resets and urgent data, which this wine lacks; the linker of Microsoft",
    ),
    Target("x86_64-unknown-freebsd", not_shown=COMPILED),
    Target("x86_64-unknown-netbsd", not_shown=COMPILED),
    Target("x86_64-unknown-openbsd", not_shown=COMPILED),
    Target("x86_64-unknown-illumos", not_shown=COMPILED),
    Target("x86_64-unknown-haiku", not_shown=COMPILED),
    Target("x86_64-apple-darwin", not_shown=COMPILED),
    Target("aarch64-apple-darwin", not_shown=COMPILED),
    Target("aarch64-linux-android", not_shown=COMPILED),
)

# What every run of script/test has: the layout for a processor of 32 bits, and two systems that are no Linux. Unit tests of others take ten minutes.
SUBSET = {
    "i686-unknown-linux-gnu": ("layout",),
    "x86_64-unknown-freebsd": ("clippy",),
    "x86_64-pc-windows-gnu": ("clippy", "layout"),
}
