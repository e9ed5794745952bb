//! The door: every exported C function, the C structs, callbacks, panic and thread fences. Knows nothing of protocols.
