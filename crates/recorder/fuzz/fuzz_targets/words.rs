//! See `gatewayd_recorder::fuzz::words`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gatewayd_recorder::fuzz::words(bytes));
