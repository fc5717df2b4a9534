//! The plant of `spiked demo`, played through one engine a stream for as long as is wanted.

#[expect(dead_code, unused_imports, reason = "the demo uses all of it")]
#[path = "../../src/cli/demo/cooler.rs"]
mod cooler;
#[expect(dead_code, unused_imports, reason = "the demo uses all of it")]
#[path = "../../src/cli/demo/faults.rs"]
mod faults;
#[expect(dead_code, unused_imports, reason = "the demo uses all of it")]
#[path = "../../src/cli/demo/plant.rs"]
mod plant;
#[path = "../../src/cli/demo/sensors.rs"]
mod sensors;

use std::collections::BTreeMap;

use cooler::{COOLER, Cooler};
use faults::{FIRST_ROW, FaultEdge, FaultPlan, SPACING};
use plant::{CHANNELS, PUMPS, Plant};
use spiked::engine::{Engine, EngineParams};
use spiked::row::{Feedback, IncidentEdge, Row, Ruling};

/// Moment of the first row: a Monday at 06:00 UTC.
const START_MS: i64 = 1_704_088_800_000;
/// Rows after a fault in which a new incident is put down to its end.
const AFTERMATH: u64 = 100;

/// One stream: its engine, and the fault that goes on or ended last.
struct Played {
    name: &'static str,
    engine: Engine,
    anomaly: bool,
    fault: Option<FaultEdge>,
    is_flagged: bool,
    /// The last incident opened in a fault, or in the rows behind one.
    was_fault: bool,
    ended: u64,
}

/// Faults flagged, faults, and incidents outside any.
#[derive(Clone, Copy, Debug, Default)]
pub struct Score {
    /// Faults in which an incident opened.
    pub flagged: u32,
    /// Faults.
    pub faults: u32,
    /// Incidents that opened outside any fault and the rows behind it.
    pub false_alarms: u32,
}

/// Scores by the kind of the fault, and whether it is among the first ten.
pub type Scores = BTreeMap<(String, bool), Score>;

/// Plays `n_faults` faults of the pumps, and those of the cooler meanwhile. With `is_ruled` an operator rules
/// on each incident once it has ended, rightly.
pub fn play(params: &EngineParams, seed: u64, n_faults: u64, is_ruled: bool) -> Scores {
    let names = PUMPS.into_iter().chain([COOLER]);
    let mut streams: Vec<Played> = names
        .map(|name| Played {
            name,
            engine: Engine::new(
                params,
                if name == COOLER {
                    cooler::CHANNELS.len()
                } else {
                    CHANNELS.len()
                },
            ),
            anomaly: false,
            fault: None,
            is_flagged: false,
            was_fault: false,
            ended: 0,
        })
        .collect();
    let mut plant = Plant::new(seed, START_MS, FaultPlan::scripted());
    let mut cooler = Cooler::new(seed, true);
    let mut scores = Scores::new();
    for row in 0..FIRST_ROW + n_faults * SPACING {
        let tick = plant.tick();
        let is_early = row < FIRST_ROW + 10 * SPACING;
        let edges = tick.edges.iter().cloned().chain(cooler.edge(tick.ts_ms));
        for edge in edges {
            let stream = streams.iter_mut().find(|s| s.name == edge.stream);
            let stream = stream.expect("a fault of a stream");
            if edge.begins {
                (stream.fault, stream.is_flagged) = (Some(edge), false);
            } else {
                let ended = stream.fault.take().expect("a fault that ends has begun");
                stream.ended = row;
                let key = (ended.kind.as_str().to_owned(), is_early);
                let score = scores.entry(key).or_default();
                score.faults += 1;
                score.flagged += u32::from(stream.is_flagged);
            }
        }
        let mut values: Vec<Vec<f64>> = PUMPS.map(|_| vec![f64::NAN; CHANNELS.len()]).into();
        for (pump, channel, value) in tick.measurements {
            values[pump][channel] = value;
        }
        values.push(cooler.tick().to_vec());
        for (stream, values) in streams.iter_mut().zip(&values) {
            let outcome = stream.engine.step(&Row {
                ts_ms: tick.ts_ms,
                arrival_ms: tick.ts_ms,
                values: values.clone(),
                held: Vec::new(),
            });
            let anomaly = outcome.anomaly;
            let aftermath = stream.ended > 0 && row < stream.ended + AFTERMATH;
            match &outcome.edge {
                Some(IncidentEdge::Opened(_)) => {
                    stream.was_fault = stream.fault.is_some() || aftermath;
                }
                Some(IncidentEdge::Closed(incident)) if is_ruled => {
                    let ruling = if stream.was_fault {
                        Ruling::True
                    } else {
                        Ruling::False
                    };
                    let incident = incident.id;
                    let feedback = Feedback { incident, ruling };
                    stream.engine.feedback(feedback, &mut Vec::new());
                }
                _ => {}
            }
            stream.engine.recycle(outcome);
            if anomaly && !stream.anomaly {
                stream.is_flagged |= stream.fault.is_some();
                if stream.fault.is_none() && !aftermath {
                    let key = ("none".to_owned(), is_early);
                    scores.entry(key).or_default().false_alarms += 1;
                }
            }
            stream.anomaly = anomaly;
        }
    }
    scores
}
