//! Feeds `config` of the entries with what libFuzzer makes.
#![no_main]

#[path = "../entries.rs"]
#[expect(dead_code, reason = "other targets use the rest")]
mod entries;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entries::config(data));
