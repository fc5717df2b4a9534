//! One stream: readings in, outcomes out; the assembler and the engine under one roof.

mod mutes;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::assemble::{AssembleParams, Assembler, Verdict};
use crate::detect::{Ruled, SilenceMonitor};
use crate::engine::{Engine, EngineParams, Plan};
use crate::row::{
    Incident, IncidentEdge, Instruction, Kind, Mute, Muted, Outcome, Reading, Row, StreamId,
};
use mutes::Mutes;

/// Everything that one stream is built from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamParams {
    /// How readings become rows.
    pub assemble: AssembleParams,
    /// How rows are learned and judged.
    pub engine: EngineParams,
}

/// Settings, by the path of their field in [`StreamParams`], that a model which was learned with
/// others can go on with: they neither say what a row is nor which weights there are. All others
/// make another model.
pub const TUNABLE: [&str; 8] = [
    "assemble.max_age_ms",
    "assemble.max_channels",
    "engine.calendar",
    "engine.detect",
    "engine.hourly_noise",
    "engine.memory_rows",
    "engine.statistics_rows",
    "engine.student_nu",
];

/// A stream's whole state. Serialised, it is the stream's snapshot: the same readings after
/// loading it give the same bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    name: StreamId,
    assembler: Assembler,
    engine: Engine,
    /// Sequence number of the last reading taken.
    last_seq: u64,
    /// Readings taken: accepted and learned, or waiting in a partial row or batch.
    readings: u64,
    silence: SilenceMonitor,
    mutes: Mutes,
    #[serde(skip)]
    rows: Vec<Row>,
}

impl Stream {
    /// A stream that has seen nothing. Channels listed in `params.assemble` exist from the start,
    /// others are discovered.
    pub fn new(name: &str, params: &StreamParams) -> Stream {
        let assembler = Assembler::new(&params.assemble);
        let mut stream = Stream {
            name: name.into(),
            assembler,
            engine: Engine::new(&params.engine, 0),
            last_seq: 0,
            readings: 0,
            silence: SilenceMonitor::default(),
            mutes: Mutes::default(),
            rows: Vec::new(),
        };
        stream.add_channels();
        stream
    }

    /// Tells the engine of the channels that it does not know yet.
    fn add_channels(&mut self) {
        let known = self.engine.n_channels();
        let new = &self.assembler.channels()[known..];
        if new.is_empty() {
            return;
        }
        let params = self.engine.params();
        let plans = new.iter().map(|name| params.plan(&self.name, name));
        let plans: Vec<Plan> = plans.collect();
        for (c, plan) in (known..).zip(&plans) {
            if !plan.is_input() {
                self.assembler.hold_nothing_of(c);
            }
        }
        self.engine.add(plans);
        if !self.mutes.is_empty() {
            self.apply_mutes();
        }
    }

    /// Takes one reading, or an instruction that travels as one; appends an outcome to `out` for each
    /// row that it completed, or edge that it made.
    pub fn push(&mut self, reading: &Reading, out: &mut Vec<Outcome>) -> Verdict {
        self.last_seq = self.last_seq.max(reading.seq);
        if !self.mutes.is_empty() && self.mutes.expire(reading.arrival_ms) {
            self.apply_mutes();
        }
        if let Some(instruction) = Instruction::of(reading) {
            return self.follow(instruction, reading.arrival_ms, out);
        }
        let verdict = self.assembler.push(reading, &mut self.rows);
        self.readings += u64::from(verdict.is_taken());
        if verdict.is_taken() {
            self.silence.observe(reading.arrival_ms);
        }
        self.learn_rows(out);
        verdict
    }

    /// The incident of the whole stream's silence at `now_ms`, the edge's time of day, where it has
    /// lasted far longer than usual; `heard_since_ms` is the moment since which the broker has been
    /// connected. The stream stays as it is, so that the same readings give the same bits; the
    /// incident's number is the moment of the last reading, in milliseconds.
    pub fn silence(&self, now_ms: i64, heard_since_ms: i64) -> Option<Incident> {
        let last_ms = self.silence.last_ms()?;
        let wanted = self.engine.params().get().detect.false_alarms_per_week;
        let limit_ms = self.silence.limit_ms(wanted)?;
        let silent_ms = now_ms.saturating_sub(last_ms.max(heard_since_ms));
        (silent_ms as f64 > limit_ms).then(|| Incident {
            id: u64::try_from(last_ms).unwrap_or(1),
            kind: Kind::Gap,
            start_ms: last_ms,
            peak_ms: last_ms,
            end_ms: None,
            peak_score: silent_ms as f64 / limit_ms,
            channels: Vec::new(),
            accepted: false,
            verdict: None,
        })
    }

    /// The stream's state with an edge of the incident of its silence.
    pub fn outcome_of_silence(&self, edge: IncidentEdge) -> Outcome {
        let stats = self.engine.stats();
        let silent = matches!(edge, IncidentEdge::Opened(_));
        let open = self.engine.incident().filter(|_| stats.open);
        Outcome {
            ts_ms: edge.incident().start_ms,
            arrival_ms: edge.incident().start_ms,
            row: stats.rows,
            warming_up: false,
            score: if silent {
                edge.incident().peak_score
            } else {
                0.0
            },
            severity: self.engine.detector().severity(),
            anomaly: silent || stats.open,
            kind: if silent {
                Some(Kind::Gap)
            } else {
                open.map(|i| i.kind)
            },
            channels: Vec::new(),
            forecasts: Vec::new(),
            odds: Vec::new(),
            edge: Some(edge),
        }
    }

    /// Does what an operator said; `now_ms` is when it arrived.
    fn follow(&mut self, said: Instruction, now_ms: i64, out: &mut Vec<Outcome>) -> Verdict {
        match said {
            Instruction::Feedback(feedback) => match self.engine.feedback(feedback, out) {
                Ruled::Taken => Verdict::Taken,
                Ruled::Known => Verdict::Duplicate,
                Ruled::Unknown => Verdict::UnknownIncident,
            },
            Instruction::Mute(mute) => {
                let verdict = self.mute(&mute, now_ms);
                if verdict.is_taken() {
                    out.push(self.engine.outcome_of(None));
                }
                verdict
            }
            Instruction::Forget => {
                self.forget();
                out.push(self.engine.outcome_of(None));
                Verdict::Taken
            }
        }
    }

    /// Raises no incident and learns nothing of a channel, or of the whole stream, for a time. An open
    /// incident of what is muted ends with the next rows.
    fn mute(&mut self, mute: &Mute, now_ms: i64) -> Verdict {
        let place = mute.channel.as_ref().map(|name| {
            let known = self.channels().iter();
            known.into_iter().position(|known| known == name)
        });
        if place == Some(None) {
            return Verdict::UnknownChannel;
        }
        let for_ms = i64::try_from(mute.for_ms).unwrap_or(i64::MAX);
        let until_ms = now_ms.saturating_add(for_ms);
        self.mutes.set(place.flatten(), until_ms, now_ms);
        self.apply_mutes();
        Verdict::Taken
    }

    /// Tells the detector what is muted now. It goes by arrivals, the detector by the rows' time: the
    /// end of a mute is told when it has come.
    fn apply_mutes(&mut self) {
        let until = |muted: bool| if muted { i64::MAX } else { i64::MIN };
        self.engine.mute(None, until(self.mutes.whole().is_some()));
        for &(channel, _) in self.mutes.channels() {
            self.engine.mute(Some(channel), i64::MAX);
        }
    }

    /// Drops everything learned: the stream warms up anew. Incidents, and rulings on them, stay.
    fn forget(&mut self) {
        let mut engine = Engine::new(&self.engine.params().clone(), 0);
        std::mem::swap(&mut engine, &mut self.engine);
        self.silence = SilenceMonitor::default();
        self.add_channels();
        self.engine.inherit_incidents(engine);
        self.apply_mutes();
    }

    /// Until when the stream, or channels of it, are muted.
    pub fn muted(&self) -> Muted {
        self.mutes.named(self.channels())
    }

    /// The whole stream is muted.
    pub fn is_muted(&self) -> bool {
        self.mutes.whole().is_some()
    }

    /// Ends the recording: completes the open row.
    /// Never called by a daemon that means to go on: the row is part of the snapshot instead.
    pub fn finish(&mut self, out: &mut Vec<Outcome>) {
        self.assembler.finish(&mut self.rows);
        self.learn_rows(out);
    }

    fn learn_rows(&mut self, out: &mut Vec<Outcome>) {
        self.add_channels();
        for mut row in self.rows.drain(..) {
            if self.mutes.is_empty() {
                out.push(self.engine.step(&row));
            } else {
                out.push(step_muted(&mut self.engine, &self.mutes, &mut row));
            }
            self.assembler.recycle(row);
        }
    }

    /// Its present parameters.
    pub fn params(&self) -> StreamParams {
        StreamParams {
            assemble: self.assembler.params().clone(),
            engine: self.engine.params().clone(),
        }
    }

    /// Goes on with other parameters, that differ in [`TUNABLE`] alone.
    pub fn retune(&mut self, params: &StreamParams) {
        self.assembler.retune(&params.assemble);
        self.engine.retune(&params.engine);
    }

    /// Usual interval between two readings of a channel, milliseconds; 0 while unknown.
    pub fn usual_interval_ms(&self) -> f64 {
        self.assembler.usual_interval_ms()
    }

    /// Takes back an outcome that nobody needs any more, for its memory; see [`Engine::recycle`].
    pub fn recycle(&mut self, outcome: Outcome) {
        self.engine.recycle(outcome);
    }

    /// The same knowledge under another name and from another number on: a model carried over
    /// from elsewhere, which is to learn the readings after `last_seq` next.
    #[must_use]
    pub fn carried_over(self, name: &str, last_seq: u64) -> Stream {
        Stream {
            name: name.into(),
            last_seq,
            ..self
        }
    }

    /// The stream's name.
    pub fn name(&self) -> &StreamId {
        &self.name
    }

    /// Channel names, in the order of a row's values.
    pub fn channels(&self) -> &[Arc<str>] {
        self.assembler.channels()
    }

    /// Sequence number of the last reading taken; 0 before any.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Readings accepted so far.
    pub fn readings(&self) -> u64 {
        self.readings
    }

    /// The engine, for its counters and summaries.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }
}

/// A row with the values of muted channels missing to the engine, so that nothing is learned of them,
/// but shown.
fn step_muted(engine: &mut Engine, mutes: &Mutes, row: &mut Row) -> Outcome {
    let came = mutes.take_out(row);
    let mut outcome = engine.step(row);
    for (channel, value) in outcome.channels.iter_mut().zip(came) {
        channel.value = value;
    }
    outcome
}

#[cfg(test)]
mod mute_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assemble::Align;
    use crate::engine::{EngineSettings, Role, Rule};

    #[test]
    fn a_channel_that_comes_in_the_middle_of_a_mini_batch_is_learned_with_the_others() {
        let assemble = AssembleParams::new(Align::WhenComplete, 0, 60_000, 8, Vec::new()).unwrap();
        let params = StreamParams {
            assemble,
            engine: EngineParams::default(),
        };
        let mut stream = Stream::new("pump", &params);
        let mut out = Vec::new();
        for seq in 1..=200 {
            // A second channel from the twelfth reading on, a third from the fiftieth.
            let n_channels = 1 + u64::from(seq >= 12) + u64::from(seq >= 50);
            for channel in 0..n_channels {
                let reading = Reading {
                    seq: seq * 4 + channel,
                    stream: "pump".into(),
                    channel: format!("c{channel}").into(),
                    value: (seq as f64 * 0.3).sin(),
                    ts_ms: 1_000_000 + seq as i64 * 1000,
                    arrival_ms: 1_000_000 + seq as i64 * 1000,
                };
                assert!(stream.push(&reading, &mut out).is_taken());
            }
        }
        stream.finish(&mut out);
        assert_eq!(out.last().map(|outcome| outcome.channels.len()), Some(3));
        // The first rows only teach scales.
        assert!(stream.engine().stats().learned + 20 > out.len() as u64);
    }

    #[test]
    fn a_targets_value_counts_once_however_long_a_sensors_is_held() {
        let assemble = AssembleParams::new(Align::PerReading, 0, 60_000, 8, Vec::new()).unwrap();
        let target = Rule {
            stream: "pu*".to_owned(),
            channel: "lab".to_owned(),
            plan: Plan {
                role: Role::Target,
                ..Plan::default()
            },
        };
        let settings = EngineSettings {
            channels: vec![target],
            ..EngineSettings::default()
        };
        let params = StreamParams {
            assemble,
            engine: EngineParams::new(settings).unwrap(),
        };
        let mut stream = Stream::new("pump", &params);
        let mut out = Vec::new();
        for seq in 1..=30 {
            let name = if seq % 10 == 5 { "lab" } else { "flow" };
            let reading = Reading {
                seq,
                stream: "pump".into(),
                channel: name.into(),
                value: seq as f64,
                ts_ms: seq as i64 * 1000,
                arrival_ms: seq as i64 * 1000,
            };
            assert!(stream.push(&reading, &mut out).is_taken());
        }
        let rows = out.iter().enumerate();
        let seen = rows.filter(|(_, o)| o.channels.get(1).is_some_and(|c| !c.value.is_nan()));
        assert_eq!(seen.map(|(i, _)| i).collect::<Vec<_>>(), [4, 14, 24]);
        assert!(out.iter().all(|o| !o.channels[0].value.is_nan()));
    }

    /// Readings of a quick channel every 100 ms and of a slow one every `slow_s` seconds.
    fn of_two_rhythms(slow_s: u64, seconds: u64) -> Vec<(u64, usize, f64)> {
        let noise = |i: u64| (i * 7919 % 1009) as f64 / 1009.0 - 0.5;
        let ticks = (0..seconds * 10).flat_map(move |tick| {
            let slow = (tick % (slow_s * 10) == 3).then(|| {
                let value = 60.0 + 2.0 * noise(tick / 7);
                (tick * 100 + 5, 1, (value * 10.0).round() / 10.0)
            });
            let quick = (tick * 100, 0, noise(tick * 31) + noise(tick * 17 + 5));
            std::iter::once(quick).chain(slow)
        });
        ticks.collect()
    }

    #[test]
    fn a_slow_channel_beside_a_quick_one_is_judged_in_its_own_rhythm() {
        for (slow_s, align) in [(60, Align::WhenComplete), (20, Align::PerReading)] {
            let assemble = AssembleParams::new(align, 0, 300_000, 8, Vec::new()).unwrap();
            let params = StreamParams {
                assemble,
                engine: EngineParams::default(),
            };
            let mut stream = Stream::new("machine", &params);
            let mut out = Vec::new();
            for (i, (ms, channel, value)) in of_two_rhythms(slow_s, 1_200).iter().enumerate() {
                let at_ms = 1_000_000 + *ms as i64;
                let reading = Reading {
                    seq: i as u64 + 1,
                    stream: "machine".into(),
                    channel: ["vibration", "temp"][*channel].into(),
                    value: *value,
                    ts_ms: at_ms,
                    arrival_ms: at_ms,
                };
                stream.push(&reading, &mut out);
            }
            let opened = out
                .iter()
                .filter(|o| matches!(o.edge, Some(IncidentEdge::Opened(_))));
            assert_eq!(opened.count(), 0, "a temperature every {slow_s} s");
        }
    }

    #[test]
    fn a_stream_that_falls_silent_is_an_incident_by_its_own_period() {
        let assemble = AssembleParams::new(Align::PerReading, 0, 60_000, 8, Vec::new()).unwrap();
        let params = StreamParams {
            assemble,
            engine: EngineParams::default(),
        };
        for period_ms in [50, 1_000, 30_000] {
            let mut stream = Stream::new("pump", &params);
            let mut at_ms = 1_000_000;
            for seq in 1..=400 {
                at_ms += period_ms;
                let reading = Reading {
                    seq,
                    stream: "pump".into(),
                    channel: "flow".into(),
                    value: 80.0 + (seq % 3) as f64,
                    ts_ms: at_ms,
                    arrival_ms: at_ms,
                };
                stream.push(&reading, &mut Vec::new());
            }
            let silence = |periods: i64| stream.silence(at_ms + periods * period_ms, 0);
            assert_eq!(silence(10), None, "{period_ms}");
            let incident = silence(800).expect("silent for 800 periods");
            assert_eq!((incident.kind, incident.start_ms), (Kind::Gap, at_ms));
            // While the broker was away nothing could be heard.
            let now_ms = at_ms + 800 * period_ms;
            assert_eq!(stream.silence(now_ms, now_ms - 5 * period_ms), None);
        }
    }
}
