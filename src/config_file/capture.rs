//! `[capture]`: the guest's frames in a file that Wireshark reads.

use std::num::NonZeroU32;

use oxislirp::policy::{Cidr, PortRange, Protocol};
use oxislirp::{CaptureFilter, CaptureOptions};
use serde::Deserialize;

use super::item::{Item, Several};
use super::paths::Instance;
use super::ring::{FILES, MAX_BYTES, within};

/// The guest's frames in files that Wireshark reads. Which frames: those to which each of `protocol`, `guest`, `remote`, `guest-port`, `remote-port` and `rule`
/// applies that is there; of a list one value has to.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "capture"))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Table {
    /// Where to. With several files the others have `.1`, `.2` and so on behind this name.
    #[cfg_attr(feature = "schema", schemars(with = "super::paths::Written", extend("examples" = ["/var/tmp/guest-%p-%i.pcapng"])))]
    file: toml::Spanned<String>,
    /// How many bytes of each frame.
    ///
    /// Without it: all.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "Option<usize>", range(min = SNAP_LENGTH.0, max = SNAP_LENGTH.1), extend("examples" = [128]))
    )]
    snap_length: Option<toml::Spanned<usize>>,
    /// How long a file may become, in bytes. The capture ends there, unless there are several files.
    ///
    /// Without it: so much that all files have 1 GiB.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "Option<u64>", range(min = MAX_BYTES.0, max = MAX_BYTES.1), extend("examples" = [268_435_456]))
    )]
    max_bytes: Option<toml::Spanned<u64>>,
    /// So many files in a ring: `file`, then those with a number, and then `file` anew.
    ///
    /// Without it: 1 where `max-bytes` is there, or else 4.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "Option<u32>", range(min = FILES.0, max = FILES.1), extend("examples" = [4]))
    )]
    files: Option<toml::Spanned<u32>>,
    /// Only packets of these protocols.
    ///
    /// Without it: all.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = ["tcp", ["udp", "icmp"]])))]
    protocol: Option<Several<Protocol>>,
    /// Only packets of guests with one of these addresses.
    ///
    /// Without it: all.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = ["10.0.2.15"])))]
    guest: Option<Several<Cidr>>,
    /// Only packets whose other end has one of these addresses, as the guest knows it.
    ///
    /// Without it: all.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = [["192.0.2.0/24", "2001:db8::/32"]])))]
    remote: Option<Several<Cidr>>,
    /// Only packets with one of these ports at the guest's end.
    ///
    /// Without it: all.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = [22])))]
    guest_port: Option<Several<PortRange>>,
    /// Only packets with one of these ports at the other end.
    ///
    /// Without it: all.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = [[443, "8000-8099"]])))]
    remote_port: Option<Several<PortRange>>,
    /// Only packets of flows about which a rule of the policy with one of these numbers has decided, also by refusing them.
    ///
    /// Without it: all.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = [3, [1, 2]])))]
    rule: Option<Several<RuleNumber>>,
}

/// The least and the most bytes of a frame.
const SNAP_LENGTH: (usize, usize) = (14, 262_144);
/// The number of a rule of the policy.
#[derive(Clone, Copy, Debug)]
struct RuleNumber(NonZeroU32);

impl Item for RuleNumber {
    const WHAT: &'static str = "the number of a rule, from 1";

    fn of_text(text: &str) -> Result<RuleNumber, String> {
        Err(format!("`{text}` is not {}", Self::WHAT))
    }

    fn of_number(number: i64) -> Result<RuleNumber, String> {
        let fits = u32::try_from(number).ok().and_then(NonZeroU32::new);
        fits.map(RuleNumber).ok_or_else(|| format!("{number} is not {}", Self::WHAT))
    }

    #[cfg(feature = "schema")]
    fn form() -> super::schema::Form {
        super::schema::Form::number("rule-number", 1, u32::MAX)
    }
}

/// All values of a field that may be left out.
fn all<T>(field: Option<&Several<T>>) -> &[T] {
    field.map_or(&[], |Several(values)| values)
}

impl Table {
    /// Where in the text the path stands.
    pub(super) fn place(&self) -> usize {
        self.file.span().start
    }

    /// What the engine makes of it.
    ///
    /// # Errors
    /// Where a value is that makes no sense, and what is wrong with it.
    pub(super) fn options(&self, instance: &Instance) -> Result<CaptureOptions, (std::ops::Range<usize>, String)> {
        let path = instance.path(self.file.get_ref()).map_err(|text| (self.file.span(), text))?;
        let mut options = CaptureOptions::new(path).filter(self.filter());
        if let Some(length) = &self.snap_length {
            options = options.snap_length(within(length, SNAP_LENGTH)?);
        }
        if let Some(most) = &self.max_bytes {
            options = options.max_bytes(within(most, MAX_BYTES)?);
        }
        if let Some(files) = &self.files {
            options = options.files(within(files, FILES)?);
        }
        Ok(options)
    }

    /// What of it can be no frame's, where the policy has so many rules.
    pub(super) fn idle(&self, rules: usize) -> Vec<String> {
        let none = all(self.rule.as_ref()).iter().map(|RuleNumber(number)| number.get());
        let none = none.filter(|number| usize::try_from(*number).is_ok_and(|number| number > rules));
        let mut idle: Vec<String> = none.map(|number| format!("capture.rule: there is no rule {number}")).collect();
        let protocols = all(self.protocol.as_ref());
        let only_pings = !protocols.is_empty() && protocols.iter().all(|one| *one == Protocol::Icmp);
        if only_pings && (self.guest_port.is_some() || self.remote_port.is_some()) {
            idle.push("capture.protocol: ICMP has no ports, so that no frame is captured".into());
        }
        idle
    }

    fn filter(&self) -> CaptureFilter {
        let filter = CaptureFilter::new()
            .guest(all(self.guest.as_ref()).iter().copied())
            .remote(all(self.remote.as_ref()).iter().copied())
            .guest_ports(all(self.guest_port.as_ref()).iter().copied())
            .remote_ports(all(self.remote_port.as_ref()).iter().copied())
            .rules(all(self.rule.as_ref()).iter().map(|RuleNumber(number)| *number));
        all(self.protocol.as_ref()).iter().copied().fold(filter, CaptureFilter::protocol)
    }
}

#[cfg(test)]
mod tests {
    use crate::config_file::tests::parse;

    #[test]
    fn a_capture_is_where_and_how_it_was_written_down() {
        let settings = parse("[capture]\nfile = \"/tmp/%p.%i\"\nsnap-length = 96\nmax-bytes = 1048576\nfiles = 4\n");
        let path = format!("/tmp/{}.1", std::process::id());
        let expected = oxislirp::CaptureOptions::new(path).snap_length(96).max_bytes(1 << 20).files(4);
        assert_eq!(settings.unwrap().capture, Some(expected));
    }

    #[test]
    fn a_capture_may_be_of_some_frames_only() {
        let settings = parse(
            "[capture]\nfile = '/x'\nprotocol = ['tcp', 'udp']\nguest = '10.0.2.15'\nremote = ['192.0.2.0/24']\n\
             guest-port = '1-9'\nremote-port = [443, 80]\nrule = 3\n",
        );
        let said = settings.unwrap().capture.unwrap().to_string();
        let filter = "frames of tcp or udp, guest 10.0.2.15/32, remote 192.0.2.0/24, guest port 1-9, \
                      remote port 443 or 80, rule 3, whole";
        assert!(said.starts_with(filter), "{said}");
    }

    #[test]
    fn what_makes_no_sense_is_refused_where_it_stands() {
        let fault = |text: &str| parse(&format!("[capture]\nfile = \"x\"\n{text}\n")).unwrap_err();
        assert_eq!(fault("snap-length = 13"), "x.toml:3: capture.snap-length: 13 is not 14 to 262144");
        assert_eq!(fault("files = 65"), "x.toml:3: capture.files: 65 is not 1 to 64");
        assert_eq!(fault("rule = 0"), "x.toml:3: capture.rule: 0 is not the number of a rule, from 1");
        assert!(fault("remote = 'a.test'").starts_with("x.toml:3: capture.remote: `a.test`: no IP address"));
        assert!(fault("protocol = 'arp'").starts_with("x.toml:3: capture.protocol: `arp` is none of tcp, udp, icmp"));
        assert!(fault("guest-port = []").starts_with("x.toml:3: capture.guest-port: an empty list"));
        assert!(fault("max-bytes = 10").contains("10 is not 1048576 or more"));
        assert!(fault("snaplen = 10").starts_with("x.toml:3: capture.snaplen: there is no `snaplen` here"));
        assert!(parse("[capture]\n").unwrap_err().contains("`file` is missing"));
        assert!(parse("[capture]\nfile = \"%x\"\n").unwrap_err().starts_with("x.toml:2: capture.file: "));
    }
}
