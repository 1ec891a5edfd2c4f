#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| affinity_fuzz_bodies::preferences(data));
