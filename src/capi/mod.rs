//! The door: every exported C function, the C structs, callbacks, panic and thread fences. Knows nothing of protocols.
//!
//! `exports` is what C sees; it turns pointers into Rust values and calls `instance`. `instance` owns the engine, lets one
//! thread at a time into it, and calls the application only while nobody is inside.

pub mod address;
pub mod callbacks;
pub mod config;
pub mod debug;
pub mod exports;
pub mod fence;
pub mod instance;
pub mod log;
pub mod types;
