#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cusax_tests::fuzz::description(data));
