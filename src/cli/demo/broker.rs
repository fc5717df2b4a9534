//! A broker in the process (rumqttd) on a free loopback port, for the demo and for tests.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

/// How long the broker may take to listen.
const START_UP: Duration = Duration::from_secs(5);

/// A loopback address whose port is free at this moment.
///
/// # Errors
/// If nothing can be bound.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// Starts a broker on a free loopback port and waits until it listens. It lives as long as the
/// process: rumqttd has no way to end it.
///
/// # Errors
/// If no port is free, or it does not listen within five seconds.
pub fn start() -> io::Result<SocketAddr> {
    let address = free_address()?;
    let mut broker = Broker::new(config(address));
    thread::Builder::new()
        .name("broker".to_owned())
        .spawn(move || {
            if let Err(error) = broker.start() {
                tracing::error!(%error, "the demo's broker ended");
            }
        })?;
    let begun = Instant::now();
    while let Err(error) = TcpStream::connect(address) {
        if begun.elapsed() > START_UP {
            return Err(error);
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(address)
}

fn config(listen: SocketAddr) -> Config {
    let connections = ConnectionSettings {
        connection_timeout_ms: 5_000,
        max_payload_size: 262_144,
        max_inflight_count: 500,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = ServerSettings {
        name: "demo".to_owned(),
        listen,
        tls: None,
        next_connection_delay_ms: 1,
        connections,
    };
    Config {
        router: RouterConfig {
            max_connections: 100,
            max_outgoing_packet_count: 200,
            // Per subscription filter: enough to catch up after a pause, little in memory.
            max_segment_size: 8 << 20,
            max_segment_count: 4,
            ..RouterConfig::default()
        },
        v4: Some(HashMap::from([("1".to_owned(), server)])),
        ..Config::default()
    }
}
