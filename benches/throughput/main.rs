//! How fast the whole daemon is, beside a real mosquitto and beside a subscriber that only counts.
//!
//! `cargo bench --bench throughput -- WHAT`, or `tests/bench/throughput WHAT`:
//!
//! | WHAT | measures |
//! |---|---|
//! | `flood [STREAMS] [QOS] [DURABILITY] [MESSAGES] [ROUNDS]` | lists by comma; readings a second and CPU of the daemon, with all and with few predictions, beside a counter, and one that publishes as much |
//! | `latency CEILING [SECONDS]` | latency at 1 k/s, 10 k/s and 80% of CEILING readings a second |
//! | `fleet [STREAMS] [ROWS] [SECONDS]` | memory, CPU and start-up of many slow streams |
//! | `evict [STREAMS] [ROWS] [SECONDS]` | memory while streams are live, idle and evicted, back |
//! | `skew [SECONDS]` | how busy each of two workers is while the hot streams begin on one |
//! | `beside [SECONDS]` | latency of a small stream, alone and beside wide ones on its worker |
//! | `scaling` | cost of a row by channels, hidden units, fields, streams |
//! | `compare BEFORE AFTER [ROUNDS]` | two programs in turn, over MQTT 3.1.1 and 5: flood, latency, fleet, as ratios |
//! | `replay [ROWS] [ROUNDS]` | `spiked replay`, default settings, eight channels |
//!
//! `--nodelay` gives the broker `set_tcp_nodelay true`.
//!
//! Prints a table, and as its last line the same as JSON.
#![expect(clippy::print_stdout, reason = "a bench prints its tables")]

mod compare;
mod cost;
mod flood;
mod memory;
mod process;
mod wire;
mod workers;

use std::path::Path;

fn main() {
    let (flags, args): (Vec<String>, Vec<String>) = std::env::args()
        .skip(1)
        .partition(|arg| arg.starts_with("--"));
    let nodelay = flags.iter().any(|flag| flag == "--nodelay");
    process::NODELAY.store(nodelay, std::sync::atomic::Ordering::Relaxed);
    let text =
        |i: usize, default: &'static str| args.get(i).map_or(default, String::as_str).to_owned();
    let number = |i: usize, default: u64| {
        args.get(i)
            .map_or(default, |x| x.parse().expect("a number"))
    };
    let json = match args.first().map(String::as_str) {
        Some("count") => {
            let answers = number(4, 0) == 1;
            return process::count(
                number(1, 0) as u16,
                number(2, 0) as u8,
                number(3, 0),
                answers,
            );
        }
        Some("flood") => {
            let list = |text: &str| -> Vec<usize> {
                text.split(',')
                    .map(|x| x.parse().expect("a number"))
                    .collect()
            };
            let qos: Vec<u8> = list(&text(2, "0,1")).into_iter().map(|x| x as u8).collect();
            let durability = text(3, "none,journal");
            let durability: Vec<&str> = durability.split(',').collect();
            flood::flood(
                &list(&text(1, "1,10,100")),
                &qos,
                &durability,
                number(4, 200_000),
                number(5, 3) as usize,
            )
        }
        Some("latency") => flood::latency(number(1, 30_000) as f64, number(2, 10) as f64),
        Some("fleet") => memory::fleet(number(1, 10_000) as usize, number(2, 20), number(3, 30)),
        Some("evict") => memory::evict(number(1, 1000) as usize, number(2, 12), number(3, 60)),
        Some("skew") => workers::skew(number(1, 5)),
        Some("beside") => workers::beside(number(1, 10)),
        Some("scaling") => cost::scaling(),
        Some("compare") => {
            let programs = [text(1, ""), text(2, "")];
            compare::compare(programs.each_ref().map(Path::new), number(3, 5) as usize)
        }
        Some("replay") => cost::replay(number(1, 200_000), number(2, 3) as usize),
        _ => {
            println!(
                "flood, latency, fleet, evict, skew, beside, scaling, compare or replay; see the first lines of benches/throughput/main.rs"
            );
            return;
        }
    };
    println!("{json}");
}
