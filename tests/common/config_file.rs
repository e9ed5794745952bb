//! Instances under a file of OXISLIRP_CONFIG.

use super::{GUEST6, Instance, Setup, setup6};
use std::sync::Mutex;

/// The environment is everybody's: instances are made one at a time. How many files were made.
static ENVIRONMENT: Mutex<u32> = Mutex::new(0);

/// An instance under a file with this text; `None` when `slirp_new` refuses it.
pub fn try_under(text: &str, setup: Setup) -> Option<Box<Instance>> {
    let mut number = ENVIRONMENT.lock().unwrap_or_else(|poison| poison.into_inner());
    *number += 1;
    let path = std::env::temp_dir().join(format!("oxislirp-config-{}-{number}.toml", std::process::id()));
    std::fs::write(&path, text).unwrap();
    // SAFETY: instances are made here only, by one thread at a time, and nothing else in these programs looks at the environment.
    unsafe { std::env::set_var("OXISLIRP_CONFIG", &path) };
    let instance = setup.try_start();
    // SAFETY: as above.
    unsafe { std::env::remove_var("OXISLIRP_CONFIG") };
    std::fs::remove_file(&path).unwrap();
    instance
}

/// One with both families whose guest is known by both.
pub fn under(text: &str) -> Box<Instance> {
    let i = try_under(text, setup6()).expect("the file makes sense");
    i.greet6(GUEST6);
    i.settle();
    i.drain();
    i
}
