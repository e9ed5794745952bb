//! Everything that touches the operating system: sockets, the poller, the resolver file. Beside `capi` the only
//! room with `unsafe`. Knows nothing of guests.
