//! In the place of `config_file`, where the library is built without the feature of that name: there are no settings. Who has
//! written some down for a program is not served without them.

use std::fmt::{self, Display, Formatter};
use std::io;

use oxislirp::{ConfigBuilder, Stack};

use crate::system::runs_with_other_rights;

const VARIABLE: &str = "OXISLIRP_CONFIG";

/// An instance of the library, which no path has to tell from others.
pub(crate) struct Instance;

impl Instance {
    pub(crate) fn next() -> Instance {
        Instance
    }
}

/// What a file says: nothing.
#[derive(Debug, Default)]
pub(crate) struct Settings;

/// There is a file and nobody who reads it.
#[derive(Debug)]
pub(crate) struct Fault;

impl Fault {
    pub(crate) fn errno(&self) -> libc::c_int {
        crate::system::errno::EINVAL
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{VARIABLE} is set, and this library was built without the feature that reads its file")
    }
}

/// There is no file that would be taken from there.
pub(crate) fn ignored() -> Option<String> {
    None
}

impl Settings {
    /// No settings.
    ///
    /// # Errors
    /// The environment names a file.
    pub(crate) fn from_environment(_: &Instance) -> Result<Settings, Fault> {
        match std::env::var_os(VARIABLE).filter(|_| !runs_with_other_rights()) {
            Some(_) => Err(Fault),
            None => Ok(Settings),
        }
    }

    pub(crate) fn apply(&self, config: ConfigBuilder) -> ConfigBuilder {
        config
    }

    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "as where there are settings")]
    pub(crate) fn open(&self, _: &mut Stack) -> io::Result<()> {
        Ok(())
    }
}
