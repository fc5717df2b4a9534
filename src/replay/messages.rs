//! Runs recorded messages through the daemon's streams.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufRead, Write};
use std::sync::Arc;

use super::ReplayError;
use super::recorded::{LineReader, RecordedMessage};
use super::report::Recorder;
use super::summary::Summary;
use crate::decode::{Decoder, Refusals, RefusedTopic, refused_reading};
use crate::payload::{Refused, Reject, prediction_json};
use crate::row::{Outcome, Reading};
use crate::stream::{Stream, StreamParams};

/// Where a stream's predictions go: asked for with its name when its first row comes.
pub type StreamOutputs<'a> = dyn FnMut(&str) -> std::io::Result<Box<dyn Write>> + 'a;

/// Topics with blanks that are named.
const MAX_GUESSED: usize = 3;

/// One stream that was met.
struct ReplayedStream {
    stream: Stream,
    summary: Summary,
    out: Option<Box<dyn Write>>,
    recorder: Option<Recorder>,
}

/// The figures of a stream at the end of a recording.
pub struct MessagesOfStream {
    /// Its name.
    pub stream: Arc<str>,
    /// Its figures.
    pub summary: Summary,
    /// Its rows, where they were wanted for a report.
    pub recorder: Option<Recorder>,
}

/// The streams of a recording, as the daemon would have them.
pub struct Messages {
    params: StreamParams,
    decoder: Decoder,
    streams: BTreeMap<Arc<str>, ReplayedStream>,
    refused: HashMap<Reject, u64>,
    refusals: Refusals,
    remarks: Vec<String>,
    /// Lines that were messages, and those that were not.
    lines: (u64, u64),
    outcomes: Vec<Outcome>,
    text: String,
    /// Topics met in lines that blanks separate.
    topics: HashSet<String>,
    guessed: Vec<String>,
    keeps_rows: bool,
}

impl Messages {
    /// None met yet; `decoder` numbers from 0 on.
    pub fn new(params: &StreamParams, decoder: Decoder) -> Messages {
        Messages {
            params: params.clone(),
            decoder,
            streams: BTreeMap::new(),
            refused: HashMap::new(),
            refusals: Refusals::default(),
            remarks: Vec::new(),
            lines: (0, 0),
            outcomes: Vec::new(),
            text: String::new(),
            topics: HashSet::new(),
            guessed: Vec::new(),
            keeps_rows: false,
        }
    }

    /// Keeps the rows of each stream for a report.
    pub fn keep_rows(&mut self) {
        self.keeps_rows = true;
    }

    /// Takes every line of `input`: JSON as `mosquitto_sub -F '%j'` writes it, or time, topic and
    /// payload with blanks or tabs between them.
    /// Predictions go to `outputs`, a line a row as the daemon publishes them; `progress` is told
    /// the bytes read now and then.
    ///
    /// # Errors
    /// A file in which no line has a time and a topic, or a failure to read or to write.
    pub fn run(
        &mut self,
        mut input: impl BufRead,
        mut outputs: Option<&mut StreamOutputs<'_>>,
        mut progress: impl FnMut(u64),
    ) -> Result<(), ReplayError> {
        let (mut line, mut first, mut bytes) = (Vec::new(), None, 0);
        let (mut reader, mut readings) = (LineReader::default(), Vec::new());
        self.lines = (0, 0);
        while input.read_until(b'\n', &mut line)? > 0 {
            bytes += line.len() as u64;
            let text = line.trim_ascii_end();
            let messages = reader.read(text);
            if !messages.is_empty() {
                self.lines.0 += 1;
                self.read(&messages, &mut readings);
            } else if !text.is_empty() {
                self.lines.1 += 1;
                first.get_or_insert_with(|| String::from_utf8_lossy(text).into_owned());
            }
            for reading in readings.drain(..) {
                self.learn(&reading, &mut outputs)?;
            }
            line.clear();
            progress(bytes);
        }
        match first {
            Some(text) if self.lines.0 == 0 => {
                Err(ReplayError::Messages(text.chars().take(80).collect()))
            }
            _ => Ok(()),
        }
    }

    /// Takes the first of the messages that a line may be which an input accepts; where none is
    /// accepted, it is refused as an input refuses it, if any takes its topic.
    fn read(&mut self, messages: &[RecordedMessage<'_>], readings: &mut Vec<Reading>) {
        let mut likeliest = (Reject::NoRoute, 0);
        for (i, recorded) in messages.iter().enumerate() {
            let known = self.topics.contains(&*recorded.topic);
            match self.decoder.read(recorded.message(), readings) {
                Ok(()) => {
                    self.accepted(recorded, i > 0, messages.len() > 1);
                    return;
                }
                Err(reason) if known || likeliest.0 == Reject::NoRoute => likeliest = (reason, i),
                Err(_) => {}
            }
            if known {
                break;
            }
        }
        let (reason, i) = likeliest;
        let message = messages[i].message();
        // Read again, for the explanation of this one.
        let reason = self.decoder.read(message, readings).err().unwrap_or(reason);
        *self.refused.entry(reason).or_default() += 1;
        let explain = || self.decoder.explain(reason, None, &message);
        self.refusals.note(reason, message.topic, 0, explain);
        self.remarks.extend(self.decoder.remarks());
    }

    /// Notes the parts of a message that were refused, and a topic that was told from its payload.
    fn accepted(&mut self, recorded: &RecordedMessage<'_>, guessed: bool, doubtful: bool) {
        let message = recorded.message();
        let parts: Vec<Refused> = self.decoder.refused().collect();
        for part in &parts {
            *self.refused.entry(part.reason).or_default() += 1;
            let explain = || {
                self.decoder
                    .explain(part.reason, Some(&part.detail), &message)
            };
            self.refusals.note(part.reason, message.topic, 0, explain);
        }
        self.remarks.extend(self.decoder.remarks());
        if doubtful && !self.topics.contains(&*recorded.topic) {
            self.topics.insert(recorded.topic.to_string());
            if guessed && self.guessed.len() < MAX_GUESSED {
                self.guessed.push(recorded.topic.to_string());
            }
        }
    }

    /// Topics with blanks in them that were told from their payloads by what an input takes.
    pub fn guessed(&self) -> &[String] {
        &self.guessed
    }

    /// Refusals by topic and reason, the first of each explained.
    pub fn refusals(&self) -> Vec<RefusedTopic> {
        self.refusals.list()
    }

    /// Remarks on the inputs, such as the unit of their timestamps.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// Lines of the last file that were no messages.
    pub fn unreadable(&self) -> u64 {
        self.lines.1
    }

    fn learn(
        &mut self,
        reading: &Reading,
        outputs: &mut Option<&mut StreamOutputs<'_>>,
    ) -> Result<(), ReplayError> {
        let met = self.streams.entry(reading.stream.name().clone());
        let met = met.or_insert_with(|| ReplayedStream {
            stream: Stream::new(&reading.stream, &self.params),
            summary: Summary::new(&[], &self.params.engine),
            out: None,
            recorder: self.keeps_rows.then(|| Recorder::new(&[], Vec::new())),
        });
        let verdict = met.stream.push(reading, &mut self.outcomes);
        if let Some(reason) = Reject::from_verdict(verdict) {
            *self.refused.entry(reason).or_default() += 1;
            let source = format!("{} {}", reading.stream, reading.channel);
            let explain = || refused_reading(reason, reading);
            self.refusals.note(reason, &source, 0, explain);
        }
        met.show(&mut self.outcomes, outputs, &mut self.text)
    }

    /// Ends the recording: the figures of each stream by its name.
    ///
    /// # Errors
    /// A failure to write.
    pub fn finish(
        &mut self,
        mut outputs: Option<&mut StreamOutputs<'_>>,
    ) -> Result<Vec<MessagesOfStream>, ReplayError> {
        let mut all = Vec::new();
        for (name, mut met) in std::mem::take(&mut self.streams) {
            met.stream.finish(&mut self.outcomes);
            met.show(&mut self.outcomes, &mut outputs, &mut self.text)?;
            if let Some(out) = &mut met.out {
                out.flush()?;
            }
            let engine = met.stream.engine();
            met.summary
                .finish(engine.stats(), engine.wanted_false_alarms());
            all.push(MessagesOfStream {
                stream: name,
                summary: met.summary,
                recorder: met.recorder,
            });
        }
        Ok(all)
    }

    /// Refusals so far, by reason, as the daemon's metric has it.
    pub fn refused(&self) -> BTreeMap<&'static str, u64> {
        self.refused
            .iter()
            .map(|(reason, &n)| (reason.as_str(), n))
            .collect()
    }
}

impl ReplayedStream {
    fn show(
        &mut self,
        outcomes: &mut Vec<Outcome>,
        outputs: &mut Option<&mut StreamOutputs<'_>>,
        text: &mut String,
    ) -> Result<(), ReplayError> {
        let channels = self.stream.channels();
        if !outcomes.is_empty() {
            self.summary.add(channels);
            if let Some(recorder) = &mut self.recorder {
                recorder.add(channels);
            }
        }
        for outcome in outcomes.drain(..) {
            // An operator's ruling makes an outcome without a row.
            if outcome.channels.is_empty() {
                continue;
            }
            self.summary.observe(&outcome);
            if let Some(recorder) = &mut self.recorder {
                recorder.observe(&outcome, self.stream.engine().incident());
            }
            let flagged = outcome.anomaly || outcome.edge.is_some();
            if let Some(last) = self.stream.engine().incident().filter(|_| flagged) {
                let time = utc_text(outcome.ts_ms);
                let list = &mut self.summary.incident_list;
                list.observe(channels, self.summary.rows, &time, &outcome, last);
            }
            if let Some(outputs) = outputs {
                let out = match &mut self.out {
                    Some(out) => out,
                    none => none.insert(outputs(self.stream.name())?),
                };
                text.clear();
                let seq = self.stream.last_seq();
                prediction_json(self.stream.name(), channels, &outcome, seq, text);
                text.push('\n');
                out.write_all(text.as_bytes())?;
            }
        }
        Ok(())
    }
}

fn utc_text(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |at| format!("{at:.0}"))
}
