//! See `gatewayd_recorder::fuzz::segment`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gatewayd_recorder::fuzz::segment(bytes));
