//! The engine: `Stack` owns every table below it and dispatches frames, readiness and deadlines. It calls nobody:
//! frames and effects are results. No C type, no callback may come in.

#![forbid(unsafe_code)]
