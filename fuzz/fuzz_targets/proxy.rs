#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oxislirp_fuzz::proxy::run(data));
