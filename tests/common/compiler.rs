//! The C and C++ compilers, chosen as the crate `cc` does: CC, CXX and CFLAGS count, with and without the target's name,
//! and a foreign target has its own compiler.

use std::process::Command;

use once_cell::sync::OnceCell;

/// What the library is built for; from the build script.
const TARGET: &str = env!("OXISLIRP_TARGET");

/// The compiler, with the usual warnings and the flags that the target needs. Finding it takes a run of it, so each is looked for once; what went
/// wrong is tried again.
fn find(cpp: bool, found: &'static OnceCell<cc::Tool>) -> Result<Command, cc::Error> {
    let find = || {
        let mut build = cc::Build::new();
        build.cpp(cpp).target(TARGET).host(TARGET).out_dir(env!("CARGO_TARGET_TMPDIR"));
        build.opt_level(0).debug(true).cargo_metadata(false);
        build.try_get_compiler()
    };
    Ok(found.get_or_try_init(find)?.to_command())
}

/// A command that compiles C.
pub fn c() -> Result<Command, cc::Error> {
    static FOUND: OnceCell<cc::Tool> = OnceCell::new();
    find(false, &FOUND)
}

/// A command that compiles C++.
pub fn cpp() -> Result<Command, cc::Error> {
    static FOUND: OnceCell<cc::Tool> = OnceCell::new();
    find(true, &FOUND)
}
