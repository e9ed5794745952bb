//! Services the virtual network offers to the guest: DHCP, DNS relay policy. A service is a value fed with
//! payloads and the time; it never touches a socket and knows no other service.

#![forbid(unsafe_code)]
