//! Tests of the house: its floors, the demo as a person runs it, and what `deploy/` holds.

mod architecture;
mod commands;
mod demo;
mod deploy;
mod files;
#[path = "../kit/mod.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod kit;
mod prometheus;
mod readme;
mod snippets;
mod support;
