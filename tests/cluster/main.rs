//! Several workers over one nats-server: nothing lost, nothing learned twice, whoever is killed.
//!
//! `tests/run` installs nats-server below target/tools; without it the tests fail. Long forms are chosen
//! by environment variables, and print what they measured: `SPIKED_CLUSTER_KILLS` (4) workers killed or
//! stopped, `SPIKED_CLUSTER_STREAMS` (24), `SPIKED_CLUSTER_RATE` (400) readings a second,
//! `SPIKED_CLUSTER_PARTITIONS` (16); of two workers against one `SPIKED_CLUSTER_MESSAGES` (5,000) and
//! `SPIKED_CLUSTER_ROUNDS` (1).

#![expect(clippy::print_stdout, reason = "a test prints what it measured")]

#[path = "../kit/authority.rs"]
mod authority;
mod cluster;
mod credentials;
mod kills;
mod membership;
#[path = "../durability/plant.rs"]
#[expect(
    dead_code,
    reason = "the plant of the durability tests has more than is needed here"
)]
mod plant;
mod retained;
mod scaling;
mod security;
mod server;
mod storage;

use plant::waiting;
