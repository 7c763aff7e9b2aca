//! See `gatewayd_recorder::fuzz::leaf`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gatewayd_recorder::fuzz::leaf(bytes));
