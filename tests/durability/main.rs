//! Nothing lost: the state file alone, and the daemon against a real broker.
//!
//! The tests that need `mosquitto` say so and return where it is missing, unless
//! `SPIKED_REQUIRE_TOOLS=1`. Long forms by environment variables: see each test.

#![expect(clippy::print_stdout, reason = "a test prints what it measured")]

mod broker;
mod clock;
mod damage;
mod evict;
mod faults;
mod feedback;
mod fuzz;
mod kill;
mod load;
mod plant;
mod properties;
mod proxy;
mod state;
