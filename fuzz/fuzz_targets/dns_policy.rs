#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oxislirp_fuzz::dns_policy::run(data));
