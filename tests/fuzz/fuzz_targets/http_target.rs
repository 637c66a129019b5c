#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| common::testing::fuzz::http_target(data));
