//! Recorded data through the daemon's engine: tables in, predictions and a summary out.

mod ahead;
mod flagged;
mod messages;
mod proposals;
mod recorded;
mod report;
mod summary;
pub(crate) mod words;

use std::io::Write;

use crate::engine::{Engine, EngineParams, Plan};
use crate::row::{Outcome, Row};
use crate::table::{TableError, WideTable};

pub use messages::Messages;
pub(crate) use messages::StreamOutputs;
pub(crate) use proposals::SeenValues;
pub(crate) use proposals::SettingProposal;
pub(crate) use report::{Costs, DetectorScore, Money, Recorder};
pub(crate) use summary::Summary;

/// Half-width of the nominal 90% interval in published standard deviations.
const Z90: f64 = 1.644_853_626_951_472_7;

/// Why a recording cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The table cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Not a recording of messages.
    #[error(
        "{0:?} is no message; expected JSON lines as mosquitto_sub -F '%j' writes them, or lines of \
         time, topic and payload as -F '%U %t %p' does"
    )]
    Messages(String),
}

/// The engine of a recording, with the channel names that it was built for.
pub(crate) struct Replayed {
    engine: Engine,
    channels: Vec<String>,
    plans: Vec<Plan>,
}

impl Replayed {
    /// A fresh engine for the channels of `table`, as those of the stream named `stream`.
    pub fn fresh(params: &EngineParams, table: &WideTable<'_>, stream: &str) -> Replayed {
        let channels = table.channels().to_vec();
        let plans = channels.iter().map(|name| params.plan(stream, name));
        let plans: Vec<Plan> = plans.collect();
        let mut engine = Engine::new(params, 0);
        engine.add(plans.iter().cloned());
        Replayed {
            engine,
            channels,
            plans,
        }
    }

    /// Takes over from a recording before: its channels must be the same, in the same order.
    ///
    /// # Errors
    /// The channels that it was built for, when they are others.
    pub fn fits(&self, table: &WideTable<'_>) -> Result<(), String> {
        if self.channels == table.channels() {
            return Ok(());
        }
        Err(format!(
            "the model was learned on the channels {}, this recording has {}",
            self.channels.join(", "),
            table.channels().join(", ")
        ))
    }

    /// Runs every row of `table` through the engine, writes one line a row to `out` if given, shows
    /// every outcome to `recorder`, and calls `progress` with the bytes read now and then.
    ///
    /// # Errors
    /// A row that cannot be read, or a failure to write.
    pub fn run(
        &mut self,
        table: &mut WideTable<'_>,
        mut out: Option<&mut dyn Write>,
        mut recorder: Option<&mut Recorder>,
        mut progress: impl FnMut(u64),
    ) -> Result<Summary, ReplayError> {
        let mut summary = Summary::new(&self.channels, self.engine.params());
        let mut line = Vec::new();
        if let Some(out) = out.as_mut() {
            write_header(&self.channels, &mut line);
            self.write_further_header(&mut line);
            line.push(b'\n');
            out.write_all(&line)?;
        }
        let mut row = Row {
            ts_ms: 0,
            arrival_ms: 0,
            values: vec![f64::NAN; self.channels.len()],
            held: Vec::new(),
        };
        while table.read(&mut row)? {
            let outcome = self.engine.step(&row);
            summary.observe(&outcome);
            if let Some(recorder) = recorder.as_mut() {
                recorder.observe(&outcome, self.engine.incident());
            }
            if let Some(last) = self.engine.incident() {
                let (row, list) = (summary.rows, &mut summary.incident_list);
                list.observe(&self.channels, row, table.time_text(), &outcome, last);
            }
            if let Some(out) = out.as_mut() {
                line.clear();
                let open = self.engine.incident().filter(|_| outcome.anomaly);
                let number = open.map(|incident| incident.id);
                write_outcome(table.time_text(), &outcome, number, &mut line);
                out.write_all(&line)?;
            }
            if outcome.row.is_multiple_of(1024) {
                progress(table.bytes_read());
            }
            self.engine.recycle(outcome);
        }
        let texts = table
            .texts()
            .map(|(name, texts)| SettingProposal::of_texts(name, texts));
        summary.proposals.extend(texts);
        summary.finish(self.engine.stats(), self.engine.wanted_false_alarms());
        Ok(summary)
    }
}

impl Replayed {
    /// Columns of the forecasts further ahead, then of the channels of states; in the order in
    /// which an outcome has them.
    fn write_further_header(&self, line: &mut Vec<u8>) {
        let named = || self.channels.iter().zip(&self.plans);
        let mut column = |name: String| {
            line.push(b',');
            line.extend_from_slice(quoted(&name).as_bytes());
        };
        for horizon in &self.engine.params().get().horizons {
            for (name, _) in named().filter(|(_, plan)| plan.is_shared()) {
                column(format!("{name}.h{horizon}.mean"));
                column(format!("{name}.h{horizon}.sd"));
            }
        }
        for (name, _) in named().filter(|(_, plan)| plan.has_states()) {
            for what in ["state", "predicted", "probabilities"] {
                column(format!("{name}.{what}"));
            }
        }
    }
}

fn write_header(channels: &[String], line: &mut Vec<u8>) {
    line.extend_from_slice(b"ts,warming_up,score,severity,anomaly,incident,kind");
    for channel in channels {
        for what in ["value", "mean", "sd", "score"] {
            line.push(b',');
            line.extend_from_slice(quoted(&format!("{channel}.{what}")).as_bytes());
        }
    }
}

/// A field as CSV wants it: in quotes where it holds a separator, a quote or a line end.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_string()
    }
}

/// One line, `incident` the number of the open one; numbers that are not there are left empty.
fn write_outcome(time: &str, outcome: &Outcome, incident: Option<u64>, line: &mut Vec<u8>) {
    let number = |line: &mut Vec<u8>, x: f64| {
        line.push(b',');
        if !x.is_nan() {
            // Writing to a vector cannot fail.
            let _ = write!(line, "{x}");
        }
    };
    line.extend_from_slice(quoted(time).as_bytes());
    let _ = write!(line, ",{}", u8::from(outcome.warming_up));
    number(line, outcome.score);
    number(line, outcome.severity);
    let kind = outcome.kind.map_or("", |kind| kind.as_str());
    let _ = write!(line, ",{},", u8::from(outcome.anomaly));
    let _ = incident.map_or(Ok(()), |number| write!(line, "{number}"));
    let _ = write!(line, ",{kind}");
    for channel in &outcome.channels {
        for x in [channel.value, channel.mean, channel.sd, channel.score] {
            number(line, x);
        }
    }
    for forecast in &outcome.forecasts {
        number(line, forecast.mean);
        number(line, forecast.sd);
    }
    for odds in &outcome.odds {
        let name = |place: Option<usize>| place.and_then(|k| odds.states.get(k)).map(|s| &*s.0);
        let all: Vec<String> = odds
            .states
            .iter()
            .map(|(s, p)| format!("{s}:{p}"))
            .collect();
        let all = all.join(" ");
        let states = [name(odds.seen), name(odds.likeliest()), Some(all.as_str())];
        for text in states.map(Option::unwrap_or_default) {
            line.push(b',');
            line.extend_from_slice(quoted(text).as_bytes());
        }
    }
    line.push(b'\n');
}
