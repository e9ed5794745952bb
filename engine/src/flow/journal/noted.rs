//! What the journal notes, for a capture: whose frames they are.

use super::{About, Carrier};
use crate::capture::ends::{self, Ends};

/// The ends of the frames of a flow.
pub(super) fn ends(about: &About) -> Ends {
    let (carrier, has_ports) = match about.carrier {
        Carrier::Tcp => (ends::Carrier::Tcp, true),
        Carrier::Udp => (ends::Carrier::Udp, true),
        Carrier::Icmp => (ends::Carrier::Icmp, false),
    };
    let ports = has_ports.then_some((about.guest.port, about.remote.port));
    Ends { carrier, guest: about.guest.ip, remote: about.remote.ip, ports }
}
