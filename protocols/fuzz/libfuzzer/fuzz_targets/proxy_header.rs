//! See `mailhorn_fuzz::TARGETS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| mailhorn_fuzz::target(env!("CARGO_BIN_NAME"))(octets));
