//! Recordings as strangers send them: each form is read rightly, and no bytes bring a parser down.
//!
//! `SPIKED_FUZZ` sets the inputs a parser (2000; the long form is 10000000).

#![expect(clippy::print_stdout, reason = "a test prints what it measured")]

mod cases;
mod fuzz;
mod report;
mod shapes;
