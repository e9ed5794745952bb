//! The panic fence: no panic crosses into C.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::log::{self, Level};

/// Runs the body of an exported function; a panic in it is logged and `fallback` returned.
///
/// The engine itself is fenced further in ([`super::instance::Instance`]), where the one frame that was worked on is
/// lost and the application told. This outer fence is for what lies between the two.
pub(crate) fn fenced<T>(function: &str, fallback: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        log::write(Level::Critical, &format!("{function}: internal error: {}", describe(&*panic)));
        fallback
    })
}

/// What a panic said.
pub(crate) fn describe(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "no message"
    }
}
