//! Publishes the plant's readings and announcements at the pace of simulated time.

use std::time::Duration;

use rumqttc::{AsyncClient, ClientError, QoS};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::cooler::{self, COOLER, Cooler};
use super::faults::FaultEdge;
use super::plant::{CHANNELS, PERIOD_S, PUMPS, Plant};

/// First level of the topics on which faults are announced; the daemon does not read them.
pub const FAULTS: &str = "plant-faults";

/// Publishes until `end` (for ever without); `speed` is in simulated seconds a second. Returns the
/// simulated moment of the last readings, unix milliseconds.
///
/// # Errors
/// If the client is gone.
pub async fn feed(
    client: AsyncClient,
    mut plant: Plant,
    mut cooler: Cooler,
    speed: f64,
    end: Option<Instant>,
) -> Result<i64, ClientError> {
    let topics = PUMPS.map(|pump| CHANNELS.map(|channel| format!("plant/{pump}/{channel}")));
    let cooler_topics = cooler::CHANNELS.map(|channel| format!("plant/{COOLER}/{channel}"));
    let mut numbers = Numbers::default();
    let mut pace = interval(Duration::from_secs_f64(PERIOD_S / speed));
    // Behind after a pause: catch up, simulated time goes on at its own rate.
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut last_ms = 0;
    loop {
        let over = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = over => return Ok(last_ms),
            _ = pace.tick() => {}
        }
        let tick = plant.tick();
        last_ms = tick.ts_ms;
        let of_cooler = cooler.edge(tick.ts_ms);
        for edge in tick.edges.into_iter().chain(of_cooler) {
            let edge = numbers.number(edge);
            // An announcement holds numbers and short words: it has a JSON form.
            let text = serde_json::to_string(&edge).unwrap_or_default();
            let topic = format!("{FAULTS}/{}", edge.stream);
            client.publish(topic, QoS::AtMostOnce, false, text).await?;
        }
        for (pump, channel, value) in tick.measurements {
            let text = format!("{{\"value\":{value},\"ts\":{}}}", tick.ts_ms);
            let topic = topics[pump][channel].as_str();
            client.publish(topic, QoS::AtMostOnce, false, text).await?;
        }
        for (topic, value) in cooler_topics.iter().zip(cooler.tick()) {
            let text = format!("{{\"value\":{value},\"ts\":{}}}", tick.ts_ms);
            client.publish(topic, QoS::AtMostOnce, false, text).await?;
        }
    }
}

/// Numbers the faults of all streams in the order in which they begin.
#[derive(Debug, Default)]
struct Numbers {
    begun: Vec<(String, u64)>,
}

impl Numbers {
    fn number(&mut self, edge: FaultEdge) -> FaultEdge {
        let key = (edge.stream.clone(), edge.fault);
        if edge.begins {
            self.begun.push(key.clone());
        }
        let place = self.begun.iter().position(|begun| *begun == key);
        FaultEdge {
            fault: place.map_or(edge.fault, |place| place as u64 + 1),
            ..edge
        }
    }
}
