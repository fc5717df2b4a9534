//! Tests of the house: its floors, the demo as a person runs it, and what `deploy/` holds.

mod architecture;
mod demo;
mod deploy;
mod prometheus;
mod readme;
mod snippets;
mod support;
