//! Nothing lost: the state file alone, and the daemon against a real broker.
//!
//! A missing `mosquitto` fails the tests that need it; `SPIKED_SKIP_TOOLS=1` leaves them out. Long forms
//! are chosen by environment variables: see each test.

#![expect(clippy::print_stdout, reason = "a test prints what it measured")]

mod bounds;
mod broker;
mod clock;
mod damage;
mod evict;
mod faults;
mod feedback;
mod fuzz;
mod health;
mod kill;
mod load;
mod mute;
mod plant;
mod properties;
mod proxy;
mod recovery;
mod state;
