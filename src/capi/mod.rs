//! The door: every exported C function, the C structs, callbacks, panic and thread fences. Knows nothing of protocols.
//!
//! `exports` is what C sees; it turns pointers into Rust values and calls `instance`. `instance` owns the engine, lets one
//! thread at a time into it, and calls the application only while nobody is inside; `polling` is its side of the
//! application's loop.

mod address;
mod callbacks;
mod config;
mod debug;
pub mod exports;
mod fence;
mod instance;
mod log;
mod polling;
pub mod types;
