//! `[network]`: what the program has said of the network, said otherwise.

use std::ops::Range;

use oxislirp::ConfigBuilder;
use serde::Deserialize;
use toml::Spanned;

/// What the program has said of the network, said otherwise.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "network"))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Table {
    /// The longest IP packet both ways, in bytes. 65520 makes bulk several times faster where the guest's card takes such frames.
    ///
    /// Without it: what the program says; QEMU says 1500.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "Option<i64>", range(min = MTU.start, max = MTU.end - 1), extend("examples" = [65520]))
    )]
    mtu: Option<Spanned<i64>>,
}

/// Packets for which there is room in every frame, and which IPv6 goes through.
const MTU: Range<i64> = 1280..65522;

/// What the engine makes of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Network {
    mtu: Option<usize>,
}

impl Table {
    /// What it says.
    ///
    /// # Errors
    /// Where a value is that makes no sense, and what is wrong with it.
    pub(super) fn network(self) -> Result<Network, (Range<usize>, String)> {
        let Some(mtu) = self.mtu else { return Ok(Network::default()) };
        match usize::try_from(*mtu.get_ref()).ok().filter(|_| MTU.contains(mtu.get_ref())) {
            Some(bytes) => Ok(Network { mtu: Some(bytes) }),
            None => Err((mtu.span(), format!("{} is not {} to {}", mtu.get_ref(), MTU.start, MTU.end - 1))),
        }
    }
}

impl Network {
    /// The longest packet, in bytes, where the file says it.
    #[cfg_attr(not(test), allow(dead_code, reason = "it is the command that asks"))]
    pub(crate) fn mtu(self) -> Option<usize> {
        self.mtu
    }

    /// A configuration with that.
    pub(crate) fn apply(self, config: ConfigBuilder) -> ConfigBuilder {
        match self.mtu {
            Some(bytes) => config.mtu(bytes).mru(bytes),
            None => config,
        }
    }
}

#[cfg(test)]
mod tests {
    use oxislirp::Config;

    use crate::config_file::tests::parse;

    #[test]
    fn an_mtu_takes_the_place_of_the_programs() {
        let settings = parse("[network]\nmtu = 65520\n").unwrap();
        assert_eq!(settings.apply(Config::builder().mtu(1500)).build().unwrap().mtu(), 65520);
        assert_eq!(parse("[network]\n").unwrap().apply(Config::builder().mtu(9000)).build().unwrap().mtu(), 9000);
        for (value, fault) in [
            ("1279", "1279 is not 1280 to 65521"),
            ("65522", "65522 is not 1280 to 65521"),
            ("-1", "-1 is not 1280 to 65521"),
        ] {
            let told = parse(&format!("[network]\nmtu = {value}\n")).unwrap_err();
            assert_eq!(told, format!("x.toml:2: network.mtu: {fault}"));
        }
    }
}
