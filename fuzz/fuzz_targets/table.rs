//! Feeds `table` of the entries with what libFuzzer makes.
#![no_main]

#[path = "../entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entries::table(data));
