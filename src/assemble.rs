//! Readings to rows: alignment, gaps, late and duplicate readings.
//!
//! Everything here goes by the stamps that the readings carry, so the same readings in the same
//! order always make the same rows. A reading is placed at `min(ts_ms, arrival_ms)`: a source
//! whose clock runs ahead can therefore not age the channels of its neighbours.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::num::scrap::Scrap;
use crate::row::{Reading, Row};

/// A source stamp further ahead of its arrival than this (milliseconds) is not believed. Clocks
/// of field devices are off by minutes; a wrong time zone or epoch is off by more.
pub const MAX_AHEAD_MS: i64 = 300_000;

/// Most rows that one reading may complete with [`Align::FixedPeriod`]; a longer silence is
/// skipped and counted, see [`Assembler::skipped_periods`]. They repeat what is held, and the worker does
/// nothing else meanwhile: a second at most, where a row takes a millisecond.
pub const MAX_ROWS_AT_ONCE: i64 = 1_000;

/// A channel whose readings have all been late for so long (milliseconds, by their arrival) starts its
/// time anew, provided that their stamps advance as the readings arrive: then it is an earlier stamp that
/// was wrong. Stamps of a backlog advance faster. As long as an arrival stamp of a wall clock that was set
/// anew takes to be believed.
pub const RESTART_AFTER_MS: i64 = 60_000;

/// Trust at which a channel is waited for, its step a row, and its ceiling: two misses in a row
/// and the others stop waiting, two appearances and they wait again.
const TRUST_AWAITED: u8 = 4;
const TRUST_STEP: u8 = 2;
const TRUST_MAX: u8 = 8;

/// A pause longer than this part of the usual period ends the open row.
const PAUSE_SHARE: f64 = 2.0 / 3.0;

/// When a row is complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Align {
    /// Every reading makes a row; the other channels hold their last value.
    PerReading,
    /// A row once every channel that usually reports has reported, or when a reading arrives that
    /// must belong to the next round: its channel has reported already, or it comes after a pause
    /// of most of the usual period. A channel that missed two rounds is not waited for.
    #[default]
    WhenComplete,
    /// A row every `period_ms` of source time (at multiples of it since the epoch), from the last
    /// value of each channel. No rows while every channel is silent.
    FixedPeriod,
}

/// How readings become rows; validated by [`AssembleParams::new`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AssembleParams {
    align: Align,
    period_ms: i64,
    max_age_ms: i64,
    max_channels: usize,
    channels: Vec<Arc<str>>,
}

impl AssembleParams {
    /// `period_ms` is used by [`Align::FixedPeriod`] only and must be positive there; a value older
    /// than `max_age_ms` (positive) is missing; `channels` exist from the start, in this order, and
    /// up to `max_channels` (1 and more) are accepted.
    ///
    /// # Errors
    /// Every offence, each naming what was wrong.
    pub fn new(
        align: Align,
        period_ms: i64,
        max_age_ms: i64,
        max_channels: usize,
        channels: Vec<Arc<str>>,
    ) -> Result<AssembleParams, Vec<String>> {
        let mut errors = Vec::new();
        if align == Align::FixedPeriod && period_ms <= 0 {
            errors.push(format!("period_ms must be positive, got {period_ms}"));
        }
        if max_age_ms <= 0 {
            errors.push(format!("max_age_ms must be positive, got {max_age_ms}"));
        }
        if max_channels == 0 || channels.len() > max_channels {
            errors.push(format!(
                "max_channels must be at least 1 and at least the {} listed, got {max_channels}",
                channels.len()
            ));
        }
        for (i, name) in channels.iter().enumerate() {
            if channels[..i].contains(name) {
                errors.push(format!("channels must differ, got `{name}` twice"));
            }
        }
        if errors.is_empty() {
            Ok(AssembleParams {
                align,
                // Elsewhere it means nothing: a change is none.
                period_ms: match align {
                    Align::FixedPeriod => period_ms,
                    Align::PerReading | Align::WhenComplete => 0,
                },
                max_age_ms,
                max_channels,
                channels,
            })
        } else {
            Err(errors)
        }
    }
}

/// Fate of one reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Taken, in order.
    Taken,
    /// Taken; it is the first reading of a channel not seen before.
    NewChannel,
    /// Refused: same channel and source timestamp as one already taken. Readings stamped by their
    /// arrival (`ts_ms == arrival_ms`) share a millisecond in good faith: those are duplicates
    /// only if the value is the same too.
    Duplicate,
    /// Refused: older than the channel's newest reading, or so old against the last row
    /// (`max_age_ms`) that it would be missing on arrival.
    Late,
    /// Refused: source timestamp more than [`MAX_AHEAD_MS`] ahead of its arrival.
    Future,
    /// Refused: the stream has `max_channels` channels already.
    TooManyChannels,
    /// Refused: a feedback on an incident that the stream does not know, or not any more.
    UnknownIncident,
    /// Refused: an instruction on a channel that the stream does not have.
    UnknownChannel,
}

impl Verdict {
    /// Every verdict, for tables and metric labels.
    pub const ALL: [Verdict; 8] = [
        Verdict::Taken,
        Verdict::NewChannel,
        Verdict::Duplicate,
        Verdict::Late,
        Verdict::Future,
        Verdict::TooManyChannels,
        Verdict::UnknownIncident,
        Verdict::UnknownChannel,
    ];

    /// The reading was accepted.
    pub fn is_taken(self) -> bool {
        matches!(self, Verdict::Taken | Verdict::NewChannel)
    }

    /// The word used in metric labels and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Taken => "taken",
            Verdict::NewChannel => "new_channel",
            Verdict::Duplicate => "duplicate",
            Verdict::Late => "late",
            Verdict::Future => "future",
            Verdict::TooManyChannels => "too_many_channels",
            Verdict::UnknownIncident => "unknown_incident",
            Verdict::UnknownChannel => "unknown_channel",
        }
    }
}

/// State of one channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ChannelSlot {
    /// Source stamps of the last readings, newest at `taken % 8`: redeliveries are among them.
    recent: [i64; 8],
    /// Readings taken.
    taken: u64,
    /// The last value; meaningless before the first reading.
    value: f64,
    /// Where the last value sits in time.
    at_ms: i64,
    /// Has reported since the last row.
    in_row: bool,
    /// The open row waits for it.
    awaited: bool,
    /// How reliably it reports, 0 to [`TRUST_MAX`].
    trust: u8,
    /// Its values are of their moment: none is held for the next row.
    momentary: bool,
    /// Arrival and source stamp of the first of its readings that have all been late.
    late_since: Option<(i64, i64)>,
}

impl ChannelSlot {
    fn new(awaited: bool) -> ChannelSlot {
        ChannelSlot {
            recent: [i64::MIN; 8],
            taken: 0,
            value: 0.0,
            at_ms: i64::MIN,
            in_row: false,
            awaited,
            trust: TRUST_AWAITED,
            momentary: false,
            late_since: None,
        }
    }

    /// Whether `reading` may follow what this channel has seen.
    fn judge(&self, reading: &Reading) -> Verdict {
        let newest = self.recent[(self.taken % 8) as usize];
        if self.taken == 0 || reading.ts_ms > newest {
            return Verdict::Taken;
        }
        if reading.ts_ms == newest && reading.ts_ms == reading.arrival_ms {
            return match self.value.to_bits() == reading.value.to_bits() {
                true => Verdict::Duplicate,
                false => Verdict::Taken,
            };
        }
        match self.recent.contains(&reading.ts_ms) {
            true => Verdict::Duplicate,
            false => Verdict::Late,
        }
    }

    fn take(&mut self, reading: &Reading, at_ms: i64) {
        self.late_since = None;
        self.taken += 1;
        self.recent[(self.taken % 8) as usize] = reading.ts_ms;
        self.value = reading.value;
        self.at_ms = at_ms;
    }

    /// Takes note of a late reading; true where it shows that an earlier stamp was wrong.
    fn is_misdated(&mut self, reading: &Reading) -> bool {
        let (arrival_ms, ts_ms) = *self
            .late_since
            .get_or_insert((reading.arrival_ms, reading.ts_ms));
        let waited = reading.arrival_ms.saturating_sub(arrival_ms);
        let advanced = reading.ts_ms.saturating_sub(ts_ms);
        if waited < 0 || advanced < 0 || advanced / 2 > waited {
            // The clock again, or a backlog: from here on.
            self.late_since = Some((reading.arrival_ms, reading.ts_ms));
            return false;
        }
        waited >= RESTART_AFTER_MS && advanced >= waited / 2
    }

    fn is_alive(&self, now_ms: i64, max_age_ms: i64) -> bool {
        self.taken > 0 && now_ms.saturating_sub(self.at_ms) <= max_age_ms
    }
}

/// One stream's open row and the last value of each channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assembler {
    params: AssembleParams,
    channels: Vec<Arc<str>>,
    slots: Vec<ChannelSlot>,
    /// Channel indices in the order of their names, for the search.
    by_name: Vec<u32>,
    /// The channel that is likely to report next: sources keep their order.
    hint: usize,
    /// Channels that the open row still waits for.
    waiting: usize,
    /// The open row has a reading.
    open: bool,
    /// The open row has a reading of a channel that is waited for: it can complete by itself.
    anchored: bool,
    /// Newest reading of the open row.
    open_ms: i64,
    /// Arrival of the last reading taken.
    arrival_ms: i64,
    /// The last row; `i64::MIN` before any.
    row_ms: i64,
    /// Next multiple of the period that makes a row; `None` before the first reading.
    due_ms: Option<i64>,
    /// Usual interval between two readings of a channel, 0 while unknown.
    usual_ms: f64,
    skipped_periods: u64,
    restarts: u64,
    /// Memory of the last row given back.
    #[serde(skip)]
    used: Scrap<Vec<f64>>,
    #[serde(skip)]
    used_flags: Scrap<Vec<bool>>,
}

impl Assembler {
    /// An assembler that has seen nothing.
    pub fn new(params: &AssembleParams) -> Assembler {
        let mut assembler = Assembler {
            params: params.clone(),
            channels: Vec::new(),
            slots: Vec::new(),
            by_name: Vec::new(),
            hint: 0,
            waiting: params.channels.len(),
            open: false,
            anchored: false,
            open_ms: i64::MIN,
            arrival_ms: i64::MIN,
            row_ms: i64::MIN,
            due_ms: None,
            usual_ms: 0.0,
            skipped_periods: 0,
            restarts: 0,
            used: Scrap::default(),
            used_flags: Scrap::default(),
        };
        for name in &params.channels {
            assembler.add(name, true);
        }
        assembler
    }

    /// Goes on with other parameters, that differ in [`crate::stream::TUNABLE`] alone.
    pub fn retune(&mut self, params: &AssembleParams) {
        self.params = params.clone();
    }

    /// How readings become rows.
    pub fn params(&self) -> &AssembleParams {
        &self.params
    }

    /// Channel names, in the order of a row's values: listed ones first, then as they appeared.
    pub fn channels(&self) -> &[Arc<str>] {
        &self.channels
    }

    /// The values of `channel` are of their moment: none is held for a later row. A laboratory's
    /// figure told once must not be learned in every row until it is too old.
    pub fn hold_nothing_of(&mut self, channel: usize) {
        self.slots[channel].momentary = true;
    }

    /// Periods without a row since a silence was longer than [`MAX_ROWS_AT_ONCE`] of them or than
    /// `max_age_ms`.
    pub fn skipped_periods(&self) -> u64 {
        self.skipped_periods
    }

    /// Usual interval between two readings of a channel, milliseconds; 0 while unknown.
    pub fn usual_interval_ms(&self) -> f64 {
        self.usual_ms
    }

    /// Takes one reading and appends the rows that it completed.
    pub fn push(&mut self, reading: &Reading, rows: &mut Vec<Row>) -> Verdict {
        if reading.ts_ms > reading.arrival_ms.saturating_add(MAX_AHEAD_MS) {
            return Verdict::Future;
        }
        let at_ms = reading.ts_ms.min(reading.arrival_ms);
        let stale = self.row_ms.saturating_sub(at_ms) > self.params.max_age_ms;
        let found = self.find(&reading.channel);
        let (channel, mut verdict) = match found {
            Some(channel) => (channel, self.slots[channel].judge(reading)),
            None if stale => return Verdict::Late,
            None if self.channels.len() >= self.params.max_channels => {
                return Verdict::TooManyChannels;
            }
            None => (self.add(&reading.channel, false), Verdict::NewChannel),
        };
        if stale && verdict == Verdict::Taken {
            verdict = Verdict::Late;
        }
        if verdict == Verdict::Late && self.slots[channel].is_misdated(reading) {
            self.restart(channel, stale.then_some(at_ms));
            verdict = Verdict::Taken;
        }
        if verdict.is_taken() {
            self.hint = channel + 1;
            self.arrival_ms = reading.arrival_ms;
            match self.params.align {
                Align::PerReading => self.place_alone(channel, reading, at_ms, rows),
                Align::WhenComplete => self.place_together(channel, reading, at_ms, rows),
                Align::FixedPeriod => self.place_by_period(channel, reading, at_ms, rows),
            }
        }
        verdict
    }

    /// Forgets a channel's stamps, and those of the rows where they are to go on at `rows_at_ms`: they were
    /// wrong. The values of the open row are kept under the new ones.
    fn restart(&mut self, channel: usize, rows_at_ms: Option<i64>) {
        self.restarts += 1;
        self.slots[channel].recent = [i64::MIN; 8];
        if let Some(at_ms) = rows_at_ms {
            self.row_ms = i64::MIN;
            self.open_ms = at_ms;
            self.due_ms = None;
            for slot in &mut self.slots {
                slot.at_ms = i64::MIN;
            }
        }
    }

    /// Times that a wrong stamp was found out and a channel's time began anew.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Completes the open row, if any.
    pub fn finish(&mut self, rows: &mut Vec<Row>) {
        if self.open {
            let ts_ms = self.due_ms.unwrap_or(self.open_ms);
            self.emit(ts_ms, rows);
        }
    }

    /// Takes back a row that nobody needs any more, for its memory.
    pub fn recycle(&mut self, row: Row) {
        self.used.0 = row.values;
        self.used_flags.0 = row.held;
    }

    fn place_alone(&mut self, channel: usize, reading: &Reading, at_ms: i64, rows: &mut Vec<Row>) {
        self.learn_interval(channel, at_ms);
        let slot = &mut self.slots[channel];
        slot.take(reading, at_ms);
        slot.in_row = true;
        self.emit(at_ms, rows);
    }

    fn place_together(
        &mut self,
        channel: usize,
        reading: &Reading,
        at_ms: i64,
        rows: &mut Vec<Row>,
    ) {
        let pause = at_ms.saturating_sub(self.open_ms);
        let pause_is_long = self.usual_ms > 0.0 && pause as f64 > PAUSE_SHARE * self.usual_ms;
        let next_round = self.slots[channel].in_row
            || (self.anchored && pause_is_long)
            || pause > self.params.max_age_ms;
        if self.open && next_round {
            self.emit(self.open_ms, rows);
        }
        self.learn_interval(channel, at_ms);
        self.join(channel, reading, at_ms);
        if self.anchored && self.waiting == 0 {
            self.emit(self.open_ms, rows);
        }
    }

    fn place_by_period(
        &mut self,
        channel: usize,
        reading: &Reading,
        at_ms: i64,
        rows: &mut Vec<Row>,
    ) {
        let period = self.params.period_ms;
        let first_due = next_multiple(at_ms, period);
        let mut due = self.due_ms.unwrap_or(first_due);
        let mut n_emitted = 0;
        while due < at_ms && n_emitted < MAX_ROWS_AT_ONCE && self.any_alive(due) {
            self.emit(due, rows);
            due = due.saturating_add(period);
            n_emitted += 1;
        }
        if due < at_ms {
            let skipped = first_due.saturating_sub(due) / period;
            self.skipped_periods += skipped.unsigned_abs();
            due = first_due;
        }
        self.due_ms = Some(due);
        self.learn_interval(channel, at_ms);
        self.join(channel, reading, at_ms);
    }

    /// Puts the reading into the open row.
    fn join(&mut self, channel: usize, reading: &Reading, at_ms: i64) {
        let slot = &mut self.slots[channel];
        slot.take(reading, at_ms);
        if slot.awaited && !slot.in_row {
            self.waiting -= 1;
            self.anchored = true;
        }
        slot.in_row = true;
        self.open_ms = match self.open {
            true => self.open_ms.max(at_ms),
            false => at_ms,
        };
        self.open = true;
    }

    /// Appends a row at `ts_ms`, or at the last row's moment if that is later, and opens the next.
    fn emit(&mut self, ts_ms: i64, rows: &mut Vec<Row>) {
        let ts_ms = ts_ms.max(self.row_ms);
        let max_age_ms = self.params.max_age_ms;
        let mut values = std::mem::take(&mut self.used.0);
        values.clear();
        values.reserve_exact(self.slots.len());
        let mut held = std::mem::take(&mut self.used_flags.0);
        held.clear();
        held.reserve_exact(self.slots.len());
        self.waiting = 0;
        for slot in &mut self.slots {
            let alive = slot.is_alive(ts_ms, max_age_ms);
            let shown = alive && (slot.in_row || !slot.momentary);
            values.push(if shown { slot.value } else { f64::NAN });
            held.push(shown && !slot.in_row);
            slot.trust = match slot.in_row {
                true => (slot.trust + TRUST_STEP).min(TRUST_MAX),
                false => slot.trust.saturating_sub(TRUST_STEP),
            };
            slot.in_row = false;
            slot.awaited = alive && slot.trust >= TRUST_AWAITED;
            self.waiting += usize::from(slot.awaited);
        }
        self.open = false;
        self.anchored = false;
        self.row_ms = ts_ms;
        rows.push(Row {
            ts_ms,
            arrival_ms: self.arrival_ms,
            values,
            held,
        });
    }

    /// Follows the usual interval of a channel; single gaps and bursts move it little.
    fn learn_interval(&mut self, channel: usize, at_ms: i64) {
        let slot = &self.slots[channel];
        let interval = at_ms.saturating_sub(slot.at_ms) as f64;
        if slot.at_ms == i64::MIN || interval <= 0.0 {
            return;
        }
        if self.usual_ms > 0.0 {
            let near = interval.clamp(0.5 * self.usual_ms, 2.0 * self.usual_ms);
            self.usual_ms += (near - self.usual_ms) / 16.0;
        } else {
            self.usual_ms = interval;
        }
    }

    fn any_alive(&self, now_ms: i64) -> bool {
        self.slots
            .iter()
            .any(|slot| slot.is_alive(now_ms, self.params.max_age_ms))
    }

    fn find(&self, name: &str) -> Option<usize> {
        let hint = if self.hint < self.channels.len() {
            self.hint
        } else {
            0
        };
        if self.channels.get(hint).is_some_and(|c| **c == *name) {
            return Some(hint);
        }
        self.search(name).ok()
    }

    /// The channel of this name, or where it would stand in `by_name`.
    fn search(&self, name: &str) -> Result<usize, usize> {
        self.by_name
            .binary_search_by(|&i| (*self.channels[i as usize]).cmp(name))
            .map(|place| self.by_name[place] as usize)
    }

    fn add(&mut self, name: &Arc<str>, awaited: bool) -> usize {
        let channel = self.channels.len();
        if let Err(place) = self.search(name) {
            self.by_name.insert(place, channel as u32);
        }
        self.channels.push(Arc::clone(name));
        self.slots.push(ChannelSlot::new(awaited));
        channel
    }
}

/// The smallest multiple of `period` that is not before `at`.
fn next_multiple(at: i64, period: i64) -> i64 {
    let floor = at.div_euclid(period).saturating_mul(period);
    if floor < at {
        floor.saturating_add(period)
    } else {
        floor
    }
}
