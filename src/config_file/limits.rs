//! `[limits]`: how much may pass, of everything and of each address of the guest; a rule of `[policy]` has the same as its `limit`.

use std::ops::Range;

use oxislirp::limits::Limit;
use serde::Deserialize;
use toml::Spanned;

/// How much may pass. Bytes are those of payload.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "limit"))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Bounds {
    /// Bytes a second from the guest.
    ///
    /// Without it: no limit.
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>", range(min = 1), extend("examples" = [500_000])))]
    up: Option<Spanned<u64>>,
    /// Bytes a second to the guest.
    ///
    /// Without it: no limit.
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>", range(min = 1), extend("examples" = [2_000_000])))]
    down: Option<Spanned<u64>>,
    /// Flows that begin in a second; after a second without any, as many may begin at once.
    ///
    /// Without it: no limit.
    #[cfg_attr(feature = "schema", schemars(with = "Option<u32>", range(min = 1), extend("examples" = [50])))]
    new_flows_per_second: Option<Spanned<u32>>,
    /// Flows at a time: connections (until both of their sides have ended on the host's side), UDP sockets of the guest, runs of pings.
    ///
    /// Without it: no limit but the library's own.
    #[cfg_attr(feature = "schema", schemars(with = "Option<u32>", range(min = 1), extend("examples" = [200])))]
    flows: Option<Spanned<u32>>,
    /// Bytes both ways together, since the network was made.
    ///
    /// Without it: no limit.
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>", range(min = 1), extend("examples" = [10_000_000_000_u64])))]
    volume: Option<Spanned<u64>>,
}

/// How much may pass. A rule of `[policy]` has the same as its `limit`.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "limits"))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Table {
    /// Of all that the network carries.
    ///
    /// Without it: no limit.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = [{ "down": 2_000_000, "volume": 10_000_000_000_u64 }])))]
    #[serde(default)]
    whole: Bounds,
    /// Of what each address of the guest sends and takes.
    ///
    /// Without it: no limit.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = [{ "flows": 200 }])))]
    #[serde(default)]
    each_guest: Bounds,
}

/// The limits of rules, each with the rule's number.
pub(super) type OfRules = Vec<(u32, Limit)>;

/// A number, and what it bounds.
fn bound<T: Copy + Default + PartialEq>(
    limit: Limit,
    number: Option<&Spanned<T>>,
    set: fn(Limit, T) -> Limit,
) -> Result<Limit, (Range<usize>, String)> {
    let Some(number) = number else { return Ok(limit) };
    if *number.get_ref() == T::default() {
        let text = "0 would be nothing at all, which a rule of the policy says better".to_owned();
        return Err((number.span(), text));
    }
    Ok(set(limit, *number.get_ref()))
}

impl Bounds {
    /// What the engine makes of it.
    ///
    /// # Errors
    /// Where a value is that makes no sense, and what is wrong with it.
    pub(super) fn limit(&self) -> Result<Limit, (Range<usize>, String)> {
        let limit = bound(Limit::new(), self.up.as_ref(), Limit::up)?;
        let limit = bound(limit, self.down.as_ref(), Limit::down)?;
        let limit = bound(limit, self.new_flows_per_second.as_ref(), Limit::new_flows_per_second)?;
        let limit = bound(limit, self.flows.as_ref(), Limit::flows)?;
        bound(limit, self.volume.as_ref(), Limit::volume)
    }
}

impl Table {
    /// The limits of everything, and of each address of the guest.
    ///
    /// # Errors
    /// As [`Bounds::limit`].
    pub(super) fn limits(&self) -> Result<(Limit, Limit), (Range<usize>, String)> {
        Ok((self.whole.limit()?, self.each_guest.limit()?))
    }
}

#[cfg(test)]
mod tests {
    use oxislirp::limits::Limits;

    use super::super::tests::parse;
    use super::*;

    #[test]
    fn limits_are_what_is_written() {
        let settings = parse(
            "[limits.whole]\ndown = 1_000_000\nvolume = 10_000_000_000\n\
             [limits.each-guest]\nup = 500\nflows = 9\nnew-flows-per-second = 3\n\
             [[policy.rule]]\naction = 'deny'\n\
             [[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nlimit = { up = 7 }\n",
        )
        .unwrap();
        let expected = Limits::new()
            .whole(Limit::new().down(1_000_000).volume(10_000_000_000))
            .each_guest(Limit::new().up(500).flows(9).new_flows_per_second(3))
            .rule(2, Limit::new().up(7));
        assert_eq!(settings.limits, expected);
        assert!(parse("").unwrap().limits.is_none());
    }

    /// The file that docs/limits.md shows.
    #[test]
    fn what_the_page_shows_is_taken() {
        let page = include_str!("../../docs/limits.md");
        let shown = page.split_once("```toml\n").and_then(|(_, rest)| rest.split_once("```")).unwrap().0;
        let expected = Limits::new()
            .whole(Limit::new().down(2_000_000).up(500_000).volume(10_000_000_000))
            .each_guest(Limit::new().flows(200).new_flows_per_second(50))
            .rule(1, Limit::new().down(200_000).up(50_000));
        assert_eq!(parse(shown).unwrap().limits, expected);
    }

    #[test]
    fn what_makes_no_sense_is_refused_where_it_stands() {
        for (text, wanted) in [
            ("[limits.whole]\nup = 0\n", "x.toml:2: limits.whole.up: 0 would be nothing at all"),
            ("[limits]\nup = 1\n", "x.toml:2: limits.up: there is no `up` here"),
            (
                "[limits.each-guest]\nflows = -1\n",
                "x.toml:2: limits.each-guest.flows: this is -1, and has to be a whole number from 0 to 4294967295",
            ),
            ("[limits.whole]\nflows = '9'\n", "x.toml:2: limits.whole.flows: this is the text"),
            (
                "[[policy.rule]]\naction = 'deny'\nprotocol = 'tcp'\nlimit = { up = 7 }\n",
                "x.toml:4: policy.rule.limit: what is refused needs no limit",
            ),
            (
                "[[policy.rule]]\naction = 'allow'\nlimit = { up = 7 }\n",
                "x.toml:3: policy.rule.limit: pings are not counted by rules",
            ),
            (
                "[[policy.rule]]\naction = 'allow'\ndirection = 'in'\nprotocol = ['tcp', 'udp']\nlimit = { up = 7 }\n",
                "x.toml:5: policy.rule.limit: what comes in by udp is not counted by rules",
            ),
            (
                "[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\nservice = 'dns'\nlimit = { up = 7 }\n",
                "x.toml:5: policy.rule.limit: services are not counted",
            ),
        ] {
            let fault = parse(text).unwrap_err();
            assert!(fault.starts_with(wanted), "{fault}\n{wanted}");
        }
    }
}
