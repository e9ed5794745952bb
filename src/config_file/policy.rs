//! The table `[policy]`: which hosts the guest may reach, and who may reach the guest. What the words mean is told in
//! docs/policy.md.

use std::net::SocketAddr;
use std::ops::Range;

use oxislirp::policy::{
    Action, Cidr, Direction, HelloKind, NamePattern, Policy, PolicyError, PortRange, Preset, Protocol, Proxy, Rebind,
    Rule, Service, Via,
};
use serde::Deserialize;
use toml::Spanned;

use super::item::{Item, One, Several, words};
use super::limits::{Bounds, OfRules};
#[cfg(feature = "schema")]
use super::schema::{Form, text};

/// Which hosts and names a guest may reach, who may reach it, and by which way. The first rule that is about a flow decides; where none is, those of the preset
/// follow, and then the default.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "policy", transform = super::policy_schema::of_table))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Table {
    /// What becomes of what no rule is about. Not beside `preset`, which brings its own.
    ///
    /// Without it: `"deny"`, or what the preset has.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = ["drop"])))]
    default: Option<One<Action>>,
    /// Rules for a usual case, behind those of the file: `"internet-only"` opens every address of the internet and nothing of the machine and of its networks,
    /// `"host-only"` the host's loopback, `"none"` nothing.
    ///
    /// Without it: none.
    #[cfg_attr(feature = "schema", schemars(with = "Option<One<Preset>>", extend("examples" = ["internet-only"])))]
    preset: Option<Spanned<One<Preset>>>,
    /// What becomes of addresses of the inside in answers of the name server: taken out, or left.
    ///
    /// Without it: `"strip"` where a rule has names, else `"allow"`.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = ["strip"])))]
    rebind: Option<One<Rebind>>,
    /// The rules in their order, each a table of its own.
    ///
    /// Without it: no rule.
    #[cfg_attr(
        feature = "schema",
        schemars(
            with = "Vec<WrittenRule>",
            length(max = Policy::MAX_RULES),
            extend("examples" = [[{ "action": "allow", "service": "dns" }]])
        )
    )]
    #[serde(default)]
    rule: Vec<Spanned<WrittenRule>>,
}

/// What it is about, and what becomes of that. It is about what every key is about that is there, but for `action` and for `limit`, `redirect`, `proxy` and
/// `proxy-names`, which say what becomes of it; of a list one value has to be.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "rule", transform = super::policy_schema::of_rule))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenRule {
    /// What becomes of the flow: it begins (`"allow"`); it does not and the guest is told at once, by a reset (TCP) or by ICMP's "administratively prohibited" (`"deny"`);
    /// it does not and the guest is told nothing (`"drop"`).
    #[cfg_attr(feature = "schema", schemars(extend("examples" = ["allow"])))]
    action: One<Action>,
    /// Who begins: the guest (`"out"`), or a peer of a host forward (`"in"`).
    #[cfg_attr(feature = "schema", schemars(extend("default" = "out", "examples" = ["in"])))]
    direction: Option<One<Direction>>,
    /// The protocols; `"icmp"` is echo requests of both families.
    ///
    /// Without it: all.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = ["tcp", ["tcp", "udp"]])))]
    protocol: Option<Several<Protocol>>,
    /// Services of the virtual network. Services have no name, and are not in the direction `"in"`.
    ///
    /// Without it: the rule is about no service.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = ["dns", ["dns", "dhcp"]])))]
    service: Option<Several<Service>>,
    /// Addresses of the guest.
    ///
    /// Without it: all.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = ["10.0.2.15"])))]
    guest: Option<Several<Cidr>>,
    /// Addresses of the other end, as they are on the host's side: the guest's 10.0.2.2 is 127.0.0.1 here.
    ///
    /// Without it: all.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = ["192.0.2.0/24", ["127.0.0.1", "::1"]])))]
    host: Option<Several<Cidr>>,
    /// Addresses of the other end, as the guest calls them. Not in the direction `"in"`.
    ///
    /// Without it: all.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = ["10.0.2.2"])))]
    named: Option<Several<Cidr>>,
    /// Ports of the guest.
    ///
    /// Without it: all, and ICMP, which has none.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = [22, "1024-65535"])))]
    guest_port: Option<Several<PortRange>>,
    /// Ports of the other end.
    ///
    /// Without it: all, and ICMP, which has none.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = [443, [80, "8000-8099"]])))]
    host_port: Option<Several<PortRange>>,
    /// Names of the other end, each with the addresses that it has by an answer of the virtual name server. Not in the direction `"in"`.
    ///
    /// Without it: all.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = ["api.example.org", ["example.org", "*.example.org"]])))]
    name: Option<Several<NamePattern>>,
    /// The connection (of QUIC as well) has to say one of the names in `name`, as the server's name of TLS. Only of what the guest begins with a host, with
    /// `protocol` `tcp`, `udp`, both or none.
    ///
    /// Without it: nothing is looked at.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = ["sni"])))]
    tls: Option<One<Tls>>,
    /// The connection has to say one of the names in `name`, as the host of its requests of HTTP/1. Only of what the guest begins with a host, with `protocol` `tcp` or
    /// none; with `tls` beside it also `udp`.
    ///
    /// Without it: nothing is looked at.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = ["host"])))]
    http: Option<One<Http>>,
    /// How much all connections and datagrams together may carry that the rule lets in. Only where the action is `"allow"`, with `protocol` `tcp`, `udp` or both (`tcp` in
    /// the direction `"in"`), and without `service`.
    ///
    /// Without it: no limit.
    #[cfg_attr(feature = "schema", schemars(with = "Option<Bounds>", extend("examples" = [{ "down": 200_000, "up": 50_000 }])))]
    limit: Option<Spanned<Bounds>>,
    /// Where connections and datagrams go in the place of where they were going. Only where the action is `"allow"`, for what the guest begins with a host, with
    /// `protocol` `tcp`, `udp` or both, and before all rules with `tls` or `http`.
    ///
    /// Without it: where they were going.
    #[cfg_attr(feature = "schema", schemars(with = "Option<One<Redirect>>", extend("examples" = ["127.0.0.1:3128"])))]
    redirect: Option<Spanned<One<Redirect>>>,
    /// A proxy that connections and datagrams go through, in place of a `redirect` and where that could be; one of HTTP takes `protocol = "tcp"` only. User and password are
    /// percent-encoded.
    ///
    /// Without it: where they were going.
    #[cfg_attr(feature = "schema", schemars(with = "Option<One<Proxy>>", extend("examples" = ["socks5://user:password@192.0.2.7:1080", "http://192.0.2.7:3128"])))]
    proxy: Option<Spanned<One<Proxy>>>,
    /// The proxy is told the name that an address counts for, where there is one, and finds the address itself. Not without `proxy`.
    #[cfg_attr(feature = "schema", schemars(with = "Option<bool>", extend("default" = false, "examples" = [true])))]
    proxy_names: Option<Spanned<bool>>,
}

/// The name that a rule compares in a connection of TLS; there is one.
#[derive(Clone, Copy, Debug)]
struct Tls;

/// The same of HTTP.
#[derive(Clone, Copy, Debug)]
struct Http;

/// Another destination.
#[derive(Clone, Copy, Debug)]
struct Redirect(SocketAddr);

/// All values of a field that may be left out.
fn all<T>(field: Option<Several<T>>) -> Vec<T> {
    field.map(|Several(values)| values).unwrap_or_default()
}

impl WrittenRule {
    fn rule(self) -> Rule {
        let One(action) = self.action;
        let rule = Rule::new(action);
        let rule = self.direction.into_iter().fold(rule, |rule, One(direction)| rule.direction(direction));
        let rule = all(self.protocol).into_iter().fold(rule, Rule::protocol);
        let rule = all(self.service).into_iter().fold(rule, Rule::service);
        let rule = rule
            .guest(all(self.guest))
            .host(all(self.host))
            .named(all(self.named))
            .guest_ports(all(self.guest_port))
            .host_ports(all(self.host_port))
            .names(all(self.name));
        let rule = self.tls.into_iter().fold(rule, |rule, _| rule.hello(HelloKind::Tls));
        let rule = self.http.into_iter().fold(rule, |rule, _| rule.hello(HelloKind::Http));
        let names = self.proxy_names.is_some_and(Spanned::into_inner);
        let proxy = self.proxy.map(|proxy| Via::Proxy(proxy.into_inner().0.with_names(names)));
        let redirect = self.redirect.map(|redirect| Via::Address(redirect.into_inner().0.0));
        proxy.or(redirect).into_iter().fold(rule, Rule::via)
    }

    /// What is wrong with the fields that say where it leads, and where.
    fn fault(&self) -> Option<(Range<usize>, String)> {
        let WrittenRule { redirect, proxy, proxy_names, .. } = self;
        match (redirect, proxy, proxy_names) {
            (Some(_), Some(proxy), _) => Some((proxy.span(), "a rule has either a redirect or a proxy".into())),
            (_, None, Some(names)) => Some((names.span(), "there is no proxy".into())),
            _ => None,
        }
    }
}

impl Table {
    /// The limits of rules, each with the rule's number.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub(super) fn limits(&self) -> Result<OfRules, (Range<usize>, String)> {
        let mut limits = Vec::new();
        for (number, rule) in (1..).zip(&self.rule) {
            let WrittenRule { action: One(action), direction, protocol, service, limit, .. } = rule.get_ref();
            let Some(limit) = limit else { continue };
            let only = |those: &[Protocol]| {
                protocol.as_ref().is_some_and(|Several(all)| all.iter().all(|one| those.contains(one)))
            };
            let is_in = direction.as_ref().is_some_and(|One(direction)| *direction == Direction::In);
            let wrong = match (action, service) {
                (Action::Deny | Action::Drop, _) => "what is refused needs no limit",
                (Action::Allow, Some(_)) => "services are not counted",
                _ if !only(&[Protocol::Tcp, Protocol::Udp]) => {
                    "pings are not counted by rules: the rule has to have a protocol, tcp or udp"
                }
                _ if is_in && !only(&[Protocol::Tcp]) => {
                    "what comes in by udp is not counted by rules: the rule has to have protocol = \"tcp\""
                }
                _ => {
                    limits.push((number, limit.get_ref().limit()?));
                    continue;
                }
            };
            return Err((limit.span(), wrong.to_owned()));
        }
        Ok(limits)
    }

    /// Where the first limit of a rule stands.
    pub(super) fn place_of_limit(&self) -> Option<Range<usize>> {
        self.rule.iter().find_map(|rule| rule.get_ref().limit.as_ref()).map(Spanned::span)
    }

    /// The rules, from 1, that name pings among other protocols and have ports, which pings have not.
    pub(super) fn pings_with_ports(&self) -> impl Iterator<Item = usize> {
        let both = |rule: &WrittenRule| {
            let pings = rule.protocol.as_ref().is_some_and(|Several(all)| all.contains(&Protocol::Icmp));
            pings && (rule.guest_port.is_some() || rule.host_port.is_some())
        };
        (1..).zip(&self.rule).filter(move |(_, rule)| both(rule.get_ref())).map(|(number, _)| number)
    }

    /// How many rules there are.
    pub(super) fn count(&self) -> usize {
        self.rule.len()
    }

    /// Where in the text each rule stands.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        self.rule.iter().map(|rule| rule.span().start)
    }

    /// The policy that is written here.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub(super) fn policy(self) -> Result<Policy, (Range<usize>, String)> {
        let Table { default, preset, rebind, rule } = self;
        if let Some(fault) = rule.iter().find_map(|rule| rule.get_ref().fault()) {
            return Err(fault);
        }
        let places: Vec<Range<usize>> = rule.iter().map(Spanned::span).collect();
        let place_of_preset = preset.as_ref().map(Spanned::span).unwrap_or_default();
        let policy = rule.into_iter().fold(Policy::builder(), |all, rule| all.rule(rule.into_inner().rule()));
        let policy = default.into_iter().fold(policy, |policy, One(action)| policy.default_action(action));
        let preset = preset.map(Spanned::into_inner);
        let policy = preset.into_iter().fold(policy, |policy, One(preset)| policy.preset(preset));
        let policy = rebind.into_iter().fold(policy, |policy, One(rebind)| policy.rebind(rebind));
        policy.build().map_err(|error| {
            let place = match error {
                PolicyError::Rule(number, _) => places.get(number.saturating_sub(1)).cloned().unwrap_or_default(),
                PolicyError::TooMany => places.last().cloned().unwrap_or_default(),
                _ => place_of_preset,
            };
            (place, error.to_string())
        })
    }
}

words! {
    Action as "action", "one of allow, deny, drop": "allow" => Action::Allow, "deny" => Action::Deny, "drop" => Action::Drop;
    Preset as "preset", "one of internet-only, host-only, none": "internet-only" => Preset::InternetOnly, "host-only" => Preset::HostOnly, "none" => Preset::None;
    Direction as "direction", "one of out, in": "out" => Direction::Out, "in" => Direction::In;
    Protocol as "protocol", "one of tcp, udp, icmp": "tcp" => Protocol::Tcp, "udp" => Protocol::Udp, "icmp" => Protocol::Icmp;
    Service as "service", "one of dns, dhcp, tftp, guestfwd, echo": "dns" => Service::Dns, "dhcp" => Service::Dhcp, "tftp" => Service::Tftp,
        "guestfwd" => Service::GuestForward, "echo" => Service::Echo;
    Tls as "tls", "the word sni": "sni" => Tls;
    Http as "http", "the word host": "host" => Http;
    Rebind as "rebind", "one of strip, allow": "strip" => Rebind::Strip, "allow" => Rebind::Allow;
}

impl Item for Cidr {
    const WHAT: &'static str = "an address, or a prefix such as \"192.0.2.0/24\"";

    fn of_text(text: &str) -> Result<Cidr, String> {
        text.parse().map_err(|error| format!("`{text}`: {error}"))
    }

    // That no bit behind the prefix is set is more than a pattern can say.
    #[cfg(feature = "schema")]
    fn form() -> Form {
        let (v4, v6) = (text::IPV4, text::ipv6());
        let all = format!("(?:{v4}(?:/(?:[0-9]|[12][0-9]|3[0-2]))?|{v6}(?:/(?:[0-9]|[1-9][0-9]|1[01][0-9]|12[0-8]))?)");
        Form::text("addresses", &all, &["192.0.2.7", "192.0.2.0/24", "2001:db8::/32"])
            .note("Bits behind the prefix are zero. `::/0` has no address of IPv4 in it; who means everything leaves the key out.")
    }
}

impl Item for NamePattern {
    const WHAT: &'static str = "a name, or all names below one, such as \"*.example.org\"";

    fn of_text(text: &str) -> Result<NamePattern, String> {
        text.parse().map_err(|error| format!("`{text}`: {error}"))
    }

    #[cfg(feature = "schema")]
    fn form() -> Form {
        let form = Form::text("names", &format!(r"(?:\*\.)?{}\.?", text::NAME), &["example.org", "*.example.org"]);
        form.but_not(&format!("^{}$", text::IPV4)).note(text::NAME_NOTE)
    }
}

impl Item for Redirect {
    const WHAT: &'static str = "an address with a port, such as \"192.0.2.7:3128\"";

    fn of_text(text: &str) -> Result<Redirect, String> {
        text.parse().map(Redirect).map_err(|_| format!("`{text}` is not {}", Self::WHAT))
    }

    #[cfg(feature = "schema")]
    fn form() -> Form {
        Form::text("destination", &text::destination(), &["192.0.2.7:3128", "[2001:db8::7]:3128"])
            .but_not(text::NOBODY)
            .note("Neither a group, nor unspecified, nor the port 0.")
    }
}

impl Item for Proxy {
    const WHAT: &'static str = "a proxy, such as \"socks5://192.0.2.7:1080\"";

    fn of_text(text: &str) -> Result<Proxy, String> {
        // What is wrong may be the password, which does not belong into a message.
        text.parse().map_err(|error: oxislirp::policy::ProxyError| error.to_string())
    }

    #[cfg(feature = "schema")]
    fn form() -> Form {
        // A byte of user and password as it is written; for HTTP neither a control character nor, in the user, a colon.
        let (any, any_user) = ("(?:[^%@]|%[0-9A-Fa-f]{2})", "(?:[^%@:]|%[0-9A-Fa-f]{2})");
        let encoded = "%(?:[2-6][0-9A-Fa-f]|7[0-9A-Ea-e]|[89A-Fa-f][0-9A-Fa-f])";
        let plain = format!(r"(?:[^%@\u0000-\u001f\u007f]|{encoded})");
        let plain_user = format!(r"(?:[^%@:\u0000-\u001f\u007f]|(?!%3[Aa]){encoded})");
        let at = text::destination();
        let socks = format!("socks5://(?:{any_user}{{1,255}}:{any}{{1,255}}@)?");
        let http = format!("http://(?:{plain_user}{{1,255}}:{plain}{{1,255}}@)?");
        let examples = ["socks5://192.0.2.7:1080", "http://user:password@192.0.2.7:3128"];
        Form::text("proxy", &format!("(?:{socks}|{http}){at}/?"), &examples)
            .but_not(text::NOBODY_BEHIND)
            .note("User and password have 1 to 255 bytes each, are percent-encoded (`@` is `%40`, `%` is `%25`, and `:` in the user `%3A`) and have for HTTP no control characters, and its user no colon.")
    }
}

impl Item for PortRange {
    const WHAT: &'static str = "a port, or a text with the first and the last, such as \"8000-8099\"";

    fn of_text(text: &str) -> Result<PortRange, String> {
        let number = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit()).then(|| text.parse().ok())?;
        let range = match text.split_once('-') {
            Some((first, last)) => {
                number(first).zip(number(last)).and_then(|(first, last)| PortRange::new(first, last))
            }
            None => number(text).map(PortRange::one),
        };
        range.ok_or_else(|| format!("`{text}` is not {}", Self::WHAT))
    }

    fn of_number(number: i64) -> Result<PortRange, String> {
        u16::try_from(number).map(PortRange::one).map_err(|_| format!("{number} is no port"))
    }

    // That the first port is not behind the last one is more than a pattern can say.
    #[cfg(feature = "schema")]
    fn form() -> Form {
        let port = text::PORT;
        Form::text("ports", &format!("{port}(?:-{port})?"), &["443", "8000-8099"]).or_number(0, u16::MAX.into())
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use oxislirp::policy::{Question, Reason, Verdict};

    use super::super::tests::parse;
    use super::*;

    fn fault(text: &str) -> String {
        parse(text).unwrap_err()
    }

    fn verdict(policy: &Policy, named: &str, host: &str) -> (Action, Reason) {
        let [guest, named, host] = ["10.0.2.15:1000", named, host].map(|at| at.parse::<SocketAddr>().unwrap());
        let Verdict { action, reason, .. } = policy.judge(&Question::out(Protocol::Tcp, guest, named, host));
        (action, reason)
    }

    #[test]
    fn a_policy_is_what_is_written() {
        let settings = parse(
            r#"
            [policy]
            default = "drop"
            [[policy.rule]]
            action = "allow"
            service = "dns"
            [[policy.rule]]
            action = "allow"
            protocol = ["tcp", "udp"]
            host = ["192.0.2.0/24", "2001:db8::1"]
            host-port = [443, "8000-8099"]
            guest = "10.0.2.15"
            guest-port = "1-60000"
            [[policy.rule]]
            action = "deny"
            named = "10.0.2.2"
            direction = "out"
            "#,
        );
        let policy = settings.unwrap().policy.unwrap();
        let direct = |at: &str| verdict(&policy, at, at);
        assert_eq!(direct("192.0.2.9:443"), (Action::Allow, Reason::Rule(2)));
        assert_eq!(direct("[2001:db8::1]:8050"), (Action::Allow, Reason::Rule(2)));
        assert_eq!(direct("192.0.2.9:8100"), (Action::Drop, Reason::Default));
        assert_eq!(verdict(&policy, "10.0.2.2:80", "127.0.0.1:80"), (Action::Deny, Reason::Rule(3)));
        // A table without a word denies.
        let empty = parse("[policy]\n").unwrap().policy.unwrap();
        assert_eq!(verdict(&empty, "192.0.2.9:443", "192.0.2.9:443"), (Action::Deny, Reason::Default));
        let preset = parse("policy.preset = 'internet-only'").unwrap().policy.unwrap();
        assert_eq!(verdict(&preset, "8.8.8.8:443", "8.8.8.8:443"), (Action::Allow, Reason::Preset));
        assert!(parse("").unwrap().policy.is_none());
    }

    #[test]
    fn what_is_wrong_has_its_line_and_its_field() {
        for (text, wanted) in [
            ("[policy]\ndefault = \"alow\"\n", "x.toml:2: policy.default: `alow` is none of allow, deny, drop"),
            ("[policy]\ndefault = true\n", "x.toml:2: policy.default: this is true, and has to be one of"),
            ("[policy]\nrules = []\n", "x.toml:2: policy.rules: there is no `rules` here"),
            ("[[policy.rule]]\naction = 'deny'\nport = 1\n", "x.toml:3: policy.rule.port: there is no `port` here"),
            ("[[policy.rule]]\nhost = '10.0.0.0/8'\n", "x.toml:1: policy.rule: `action` is missing"),
            (
                "[[policy.rule]]\naction = 'deny'\nhost = [\n '10.0.0.0/8',\n '10.0.0.1/8',\n]\n",
                "x.toml:5: policy.rule.host: `10.0.0.1/8`: the address has bits behind its prefix",
            ),
            (
                "[[policy.rule]]\naction = 'deny'\nhost = 'localhost'\n",
                "x.toml:3: policy.rule.host: `localhost`: no IP address",
            ),
            ("[[policy.rule]]\naction = 'deny'\nhost = []\n", "x.toml:3: policy.rule.host: an empty list"),
            ("[[policy.rule]]\naction = 'deny'\nhost-port = 65536\n", "x.toml:3: policy.rule.host-port: 65536 is no"),
            ("[[policy.rule]]\naction = 'deny'\nhost-port = '9-8'\n", "x.toml:3: policy.rule.host-port: `9-8` is not"),
            ("[[policy.rule]]\naction = 'deny'\nhost-port = '+9'\n", "x.toml:3: policy.rule.host-port: `+9` is not"),
            (
                "[policy]\n[[policy.rule]]\naction = 'allow'\n\n[[policy.rule]]\naction = 'deny'\nprotocol = 'icmp'\nhost-port = 1\n",
                "x.toml:5: policy.rule: rule 2: ICMP has no ports",
            ),
            (
                "[[policy.rule]]\naction = 'allow'\nname = 'http://a.org'\n",
                "x.toml:3: policy.rule.name: `http://a.org`: a name has letters",
            ),
            (
                "[[policy.rule]]\naction = 'allow'\nname = 'a.test'\ndirection = 'in'\n",
                "x.toml:1: policy.rule: rule 1: who comes in has an address",
            ),
            ("[policy]\nrebind = 'no'\n", "x.toml:2: policy.rebind: `no` is none of strip, allow"),
            ("[[policy.rule]]\naction = 'allow'\ntls = 'name'\n", "x.toml:3: policy.rule.tls: `name` is not sni"),
            ("[[policy.rule]]\naction = 'allow'\ntls = 'sni'\n", "x.toml:1: policy.rule: rule 1: there is no name to"),
            (
                "[[policy.rule]]\naction = 'allow'\nhttp = 'host'\nname = 'a.org'\nprotocol = 'udp'\n",
                "x.toml:1: policy.rule: rule 1: only what the guest begins with a host has",
            ),
            (
                "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nredirect = '192.0.2.7'\n",
                "x.toml:4: policy.rule.redirect: `192.0.2.7` is not an address with a port",
            ),
            (
                "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nproxy = 'socks5://me@192.0.2.7:1'\n",
                "x.toml:4: policy.rule.proxy: user and password have 1 to 255 bytes each",
            ),
            (
                "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nproxy = 'http://192.0.2.7:1'\nredirect = '192.0.2.7:1'\n",
                "x.toml:4: policy.rule.proxy: a rule has either a redirect or a proxy",
            ),
            (
                "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nproxy-names = true\n",
                "x.toml:4: policy.rule.proxy-names: there is no proxy",
            ),
            (
                "[[policy.rule]]\naction = 'allow'\nproxy = 'http://192.0.2.7:1'\n",
                "x.toml:1: policy.rule: rule 1: only what a rule allows the guest can be led elsewhere",
            ),
            // The first bytes would be waited for on a connection with the proxy.
            (
                "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nname = 'a.org'\ntls = 'sni'\nproxy = 'socks5://192.0.2.7:1'\n",
                "x.toml:1: policy.rule: rule 1: what waits for its first bytes is connected by then: rules with redirect or proxy stand before",
            ),
            (
                "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nname = 'a.org'\nhttp = 'host'\nredirect = '192.0.2.7:1'\n",
                "x.toml:1: policy.rule: rule 1: what waits for its first bytes is connected by then: rules with redirect or proxy stand before",
            ),
            (
                "[policy]\ndefault = 'allow'\npreset = 'none'\n",
                "x.toml:3: policy.preset: a preset brings its own default action",
            ),
            ("[policy\n", "x.toml:1: "),
            ("[policy]\ndefault = 'deny'\ndefault = 'allow'\n", "x.toml:3: policy.default: this is there twice"),
        ] {
            let fault = fault(text);
            assert!(fault.starts_with(wanted), "{fault}\n{wanted}");
        }
    }

    /// The files that docs/policy.md shows.
    #[test]
    fn what_the_page_shows_is_taken() {
        let page = include_str!("../../docs/policy.md");
        let shown: Vec<&str> =
            page.split("```toml\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0)).collect();
        assert!(shown.len() >= 2);
        for text in &shown {
            assert!(parse(text).unwrap().policy.is_some(), "{text}");
        }
        let policy = parse(shown[0]).unwrap().policy.unwrap();
        assert_eq!(verdict(&policy, "192.0.2.7:443", "192.0.2.7:443").0, Action::Allow);
        assert_eq!(verdict(&policy, "10.0.2.2:8080", "127.0.0.1:8080").0, Action::Allow);
        assert_eq!(verdict(&policy, "10.0.2.2:22", "127.0.0.1:22").0, Action::Deny);
        assert_eq!(verdict(&policy, "127.0.0.1:8080", "127.0.0.1:8080").0, Action::Deny);
    }

    #[test]
    fn more_rules_than_there_may_be_are_refused() {
        let many = "[[policy.rule]]\naction = 'deny'\n".repeat(Policy::MAX_RULES + 1);
        let fault = fault(&many);
        assert!(fault.starts_with("x.toml:20001: policy.rule: there are more than 10000 rules"), "{fault}");
    }
}
