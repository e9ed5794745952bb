//! Sans-IO TCP (RFC 9293): one `Connection` is the protocol state towards the guest. No socket, clock or frame may come in:
//! segments and the time are arguments, segments to send are results.

#![forbid(unsafe_code)]
