//! Recorded data through the daemon's engine: tables in, predictions and a summary out.

mod summary;
mod table;

use std::io::Write;

use crate::engine::{Engine, EngineParams};
use crate::row::{Outcome, Row};

pub use summary::{ChannelSummary, Summary, Verdict};
pub use table::{Table, TableError, TableOptions};

/// The engine of a recording, with the channel names that it was built for.
pub struct Replayed {
    engine: Engine,
    channels: Vec<String>,
}

impl Replayed {
    /// A fresh engine for the channels of `table`.
    pub fn fresh(params: &EngineParams, table: &Table<'_>) -> Replayed {
        let channels = table.channels().to_vec();
        Replayed {
            engine: Engine::new(params, channels.len()),
            channels,
        }
    }

    /// Takes over from a recording before: its channels must be the same, in the same order.
    ///
    /// # Errors
    /// The channels that it was built for, when they are others.
    pub fn fits(&self, table: &Table<'_>) -> Result<(), String> {
        if self.channels == table.channels() {
            return Ok(());
        }
        Err(format!(
            "the model was learned on the channels {}, this recording has {}",
            self.channels.join(", "),
            table.channels().join(", ")
        ))
    }

    /// Runs every row of `table` through the engine, writes one line a row to `out` if given, and
    /// calls `progress` with the bytes read now and then.
    ///
    /// # Errors
    /// A row that cannot be read, or a failure to write.
    pub fn run(
        &mut self,
        table: &mut Table<'_>,
        mut out: Option<&mut dyn Write>,
        mut progress: impl FnMut(u64),
    ) -> Result<Summary, TableError> {
        let mut summary = Summary::new(&self.channels, self.engine.params());
        let mut line = Vec::new();
        if let Some(out) = out.as_mut() {
            write_header(&self.channels, &mut line);
            out.write_all(&line)?;
        }
        let mut row = Row {
            ts_ms: 0,
            arrival_ms: 0,
            values: vec![f64::NAN; self.channels.len()],
        };
        while table.read(&mut row)? {
            let outcome = self.engine.step(&row);
            summary.observe(&outcome);
            if let Some(out) = out.as_mut() {
                line.clear();
                write_outcome(table.time_text(), &outcome, &mut line);
                out.write_all(&line)?;
            }
            if outcome.row.is_multiple_of(1024) {
                progress(table.bytes_read());
            }
        }
        self.engine.flush();
        summary.finish(self.engine.stats(), self.engine.wanted_false_alarms());
        Ok(summary)
    }
}

fn write_header(channels: &[String], line: &mut Vec<u8>) {
    line.extend_from_slice(b"ts,warming_up,score,anomaly,kind");
    for channel in channels {
        for what in ["value", "mean", "sd", "score"] {
            line.push(b',');
            line.extend_from_slice(quoted(&format!("{channel}.{what}")).as_bytes());
        }
    }
    line.push(b'\n');
}

/// A field as CSV wants it: in quotes where it holds a separator, a quote or a line end.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_string()
    }
}

/// One line; numbers that are not there are left empty.
fn write_outcome(time: &str, outcome: &Outcome, line: &mut Vec<u8>) {
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
    let kind = outcome.kind.map_or("", |kind| kind.as_str());
    let _ = write!(line, ",{},{kind}", u8::from(outcome.anomaly));
    for channel in &outcome.channels {
        for x in [channel.value, channel.mean, channel.sd, channel.score] {
            number(line, x);
        }
    }
    line.push(b'\n');
}
