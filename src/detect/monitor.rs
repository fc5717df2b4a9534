//! Monitors one channel: residual histories, evidence and its bar, run lengths.

use serde::{Deserialize, Serialize};

use super::alarm_debt::AlarmDebts;
use super::channel::{ChannelKind, ChannelOptions};
use super::evidence::EvidenceCusum;
use super::history::{Learning, ResidualHistory};
use super::lasting_level::LastingLevel;
use super::mean_shift::MeanShiftCusum;
use super::record::ExcursionRecord;
use super::residuals::{ChannelResiduals, Residual, Scored, Witness};
use super::rest::RestHazard;
use super::run_length::RunLengthMonitor;
use super::settings::{DetectSettings, Heads};
use super::usual_level::UsualLevel;

/// Changes of state after which standing still is worth a word.
const CHANGES: u32 = 4;
/// The evidence may pass the bar by this share of the base bar.
const SLACK: f64 = 0.2;
/// That for a shift by less: the ratio behind it, which has to fall when the shift is over, grows
/// faster than the evidence.
const SHIFT_SLACK: f64 = 0.05;
/// A shift that was stopped past the bar is recorded as this many bars: how much further it would
/// have gone is not known.
const STOPPED: f64 = 2.0;
/// Exponent of the tail of evidence: nats are logarithms already, and have a thin tail.
const ALPHA: f64 = 10.0;
/// Memory of the record, in wanted times between alarms.
const RECORD_MEMORY: f64 = 4.0;

/// Thresholds that all channels of a stream share.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// Lowest bar, nats.
    pub base: f64,
    /// Rows wanted between two alarms of the stream.
    pub between: f64,
    /// Channels of the stream.
    pub n_channels: f64,
    /// Factor of the bars.
    pub stretch: f64,
}

/// The detector's state of one channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChannelMonitor {
    pub(super) options: ChannelOptions,
    /// Incidents that the channel raised.
    pub(super) debts: AlarmDebts,
    histories: [Option<Box<ResidualHistory>>; Witness::ALL.len()],
    evidence: EvidenceCusum,
    mean_shift: MeanShiftCusum,
    /// Highest evidence for a shift since it last left zero.
    shift_peak: f64,
    record: ExcursionRecord,
    /// Bar of the evidence, nats.
    bar: f64,
    /// Factor in it, and in the length of what lasts too long.
    stretch: f64,
    /// How far the level is off, for long, from what the others let expect.
    pub(super) lasting: LastingLevel,
    /// How usual the level is.
    pub(super) usual: UsualLevel,
    rest: RestHazard,
    stuck: RunLengthMonitor,
    silent: RunLengthMonitor,
    /// Last fresh value; NaN before the first.
    last: f64,
    /// Smallest change ever; 0 before any.
    grid: f64,
    changes: u32,
    is_out_of_range: bool,
    muted_until_ms: i64,
    /// The excursion that goes on began in an incident or reached into one.
    in_incident: bool,
    /// Peaks of excursions that ended in the present row, or by a ruling after it.
    ended: Vec<f64>,
}

impl ChannelMonitor {
    /// A monitor of a channel of which nothing is known.
    pub fn new(options: ChannelOptions) -> ChannelMonitor {
        ChannelMonitor {
            options,
            debts: AlarmDebts::default(),
            histories: Default::default(),
            evidence: EvidenceCusum::default(),
            mean_shift: MeanShiftCusum::default(),
            shift_peak: 0.0,
            record: ExcursionRecord::default(),
            bar: f64::INFINITY,
            stretch: 1.0,
            lasting: LastingLevel::default(),
            usual: UsualLevel::default(),
            rest: RestHazard::default(),
            stuck: RunLengthMonitor::default(),
            silent: RunLengthMonitor::default(),
            last: f64::NAN,
            grid: 0.0,
            changes: 0,
            is_out_of_range: false,
            muted_until_ms: i64::MIN,
            in_incident: false,
            ended: Vec::new(),
        }
    }

    /// The history of a witness; it begins with the first residual.
    pub fn history(&self, witness: Witness) -> Option<&ResidualHistory> {
        self.histories[witness as usize].as_deref()
    }

    /// The same, to be changed.
    pub fn history_mut(&mut self, witness: Witness) -> Option<&mut ResidualHistory> {
        self.histories[witness as usize].as_deref_mut()
    }

    /// The value equals the last one in a channel that is likelier to stay than to change.
    pub fn is_at_rest(&self, value: f64) -> bool {
        value == self.last && self.rest.rests()
    }

    /// Takes in the residuals of a row: those of held values, and of values at rest, say nothing.
    pub fn take(&mut self, residuals: &ChannelResiduals, rests: bool, scored: &mut Scored) {
        if !residuals.is_fresh {
            return;
        }
        let known = [
            (Witness::Step, residuals.step),
            (Witness::Context, residuals.context),
            (Witness::Given, residuals.given),
            (Witness::Event, residuals.event),
        ];
        for (witness, residual) in known {
            scored.set(witness, residual);
            if let (Some(scored), Some(residual)) = (scored.get_mut(witness), residual)
                && !(self.options.watch.is_worth(residual.z, residual.scale)
                    && self.is_visible(residual.z * residual.scale))
            {
                scored.p_factor = f64::INFINITY;
            }
        }
        if rests && self.rest.rests() {
            // Only steps are sure to be none: a level stays as odd as it is.
            for witness in [Witness::Step, Witness::Given] {
                if let Some(scored) = scored.get_mut(witness) {
                    scored.is_at_rest = residuals.value == self.last;
                    scored.p_factor *= 1.0 - self.rest.stay_probability();
                }
            }
        }
        self.is_out_of_range = self.options.watch.is_out_of_range(residuals.value);
    }

    /// A deviation of this size reaches beyond a cell of the sensor's grid, of which only the smallest
    /// change ever is known; an unknown size does.
    fn is_visible(&self, deviation: f64) -> bool {
        let too_small = deviation.abs() < 0.5 * self.grid;
        !too_small
    }

    /// Makes sure that a witness that has spoken has a history.
    pub fn prepare(&mut self, scored: &Scored) {
        for witness in Witness::ALL {
            let history = &mut self.histories[witness as usize];
            if scored.get(witness).is_some() && history.is_none() {
                let kind = self.options.kind;
                *history = Some(Box::new(ResidualHistory::new(witness, kind)));
            }
        }
    }

    /// Adds a row to the evidence.
    pub fn add(&mut self, scored: &Scored, settings: &DetectSettings, at: Thresholds) {
        let mut ln_e = [(Witness::Step, 0.0); Witness::ALL.len()];
        let mut n = 0;
        for witness in Witness::ALL {
            if self.hears(witness, scored, settings.heads) {
                let spoken = scored.get(witness).map_or(0.0, |r| r.ln_e);
                ln_e[n] = (witness, spoken);
                n += 1;
            }
        }
        let slack = SLACK * at.base;
        let ended = self.evidence.add(&ln_e[..n], self.bar, slack);
        self.ended.extend(ended);
        self.add_shift(scored, settings, at);
        let stays = settings.usual && self.is_exceeded(&self.usual.stays, at);
        let habits =
            settings.habits && (self.is_exceeded(&self.stuck, at) || self.is_silent(at) || stays);
        if habits || self.is_out_of_range {
            self.evidence.raise(self.bar + slack);
        }
    }

    fn add_shift(&mut self, scored: &Scored, settings: &DetectSettings, at: Thresholds) {
        if !settings.shift || settings.heads == Heads::Step {
            self.mean_shift.reset();
        } else if let Some(residual) = scored.get(Witness::Context)
            && self.options.kind == ChannelKind::Number
        {
            let worth = residual.p_factor.is_finite();
            let z = if worth {
                residual.z
            } else {
                self.mean_shift.mean()
            };
            self.mean_shift.add(z, self.bar + SHIFT_SLACK * at.base);
        }
        self.end_shift();
    }

    /// Records the peak of the evidence for a shift once it is back at zero.
    fn end_shift(&mut self) {
        let now = self.mean_shift.get();
        if now > 0.0 {
            self.shift_peak = self.shift_peak.max(now);
        } else if self.shift_peak > 0.0 {
            let stopped = self.shift_peak > self.bar;
            let peak = if stopped {
                STOPPED * self.bar
            } else {
                self.shift_peak
            };
            self.ended.push(peak);
            self.shift_peak = 0.0;
        }
    }

    /// The witness takes part in the mixture: with e = 1 where it has nothing to say in this row.
    fn hears(&self, witness: Witness, scored: &Scored, heads: Heads) -> bool {
        let spoken = scored.get(witness).is_some();
        match witness {
            _ if self.options.kind != ChannelKind::Number => spoken,
            Witness::Step => heads != Heads::Context,
            Witness::Context => heads != Heads::Step,
            Witness::CrossChannel => spoken && heads == Heads::Both,
            Witness::Given | Witness::Event => spoken,
        }
    }

    /// An excursion that ended with the row was part of an incident; `open` while one is. Goes on to
    /// the next row.
    pub fn was_in_incident(&mut self, open: bool) -> bool {
        let in_incident = open || self.in_incident;
        self.in_incident = open || (self.in_incident && self.evidence() > 0.0);
        in_incident
    }

    /// Takes the peak of an excursion that ended with the row, nats.
    pub fn pop_ended(&mut self) -> Option<f64> {
        self.ended.pop()
    }

    /// Records an excursion's peak; a negative weight takes one out.
    pub fn record(&mut self, peak: f64, weight: f64) {
        if weight != 0.0 {
            self.record.observe(peak, weight);
        }
    }

    /// Adds `rows` rows to the record and sets the bar; it stays as it is while an incident is
    /// `open`.
    pub fn set_bar(&mut self, rows: f64, open: bool, calibrate: bool, at: Thresholds) {
        self.record.rows(rows, RECORD_MEMORY * at.between);
        if open {
            return;
        }
        let between = at.between * at.n_channels;
        let own = if calibrate {
            self.record.return_level(between, ALPHA)
        } else {
            0.0
        };
        self.stretch = at.stretch;
        self.bar = self.stretch * own.max(at.base);
    }

    /// The larger of the evidence's sum and that for a shift, nats.
    pub fn evidence(&self) -> f64 {
        self.evidence.get().max(self.mean_shift.get())
    }

    /// The evidence has reached the bar.
    pub fn is_over(&self) -> bool {
        self.evidence() > self.bar
    }

    /// Evidence over the bar, in units of the base bar: 1 is an alarm.
    pub fn score(&self, base: f64) -> f64 {
        self.predicted_score(base).max(self.usual.deviation())
    }

    /// The same by what predictors say alone, not by how usual the level is.
    pub fn predicted_score(&self, base: f64) -> f64 {
        let evidence = (1.0 + (self.evidence() - self.bar) / base).max(0.0);
        evidence.max(self.lasting.score())
    }

    /// Judges whether a fresh value is at a usual level; where its deviation from the mean is worth no word
    /// it is. Returns whether its surprise was limited.
    pub fn judge_usual(&mut self, ts_ms: i64, residuals: &ChannelResiduals) -> bool {
        let watch = self.options.watch;
        let worth = residuals
            .context
            .is_none_or(|r| watch.is_worth(r.z, r.scale));
        self.has_usual_level(residuals) && self.usual.judge(ts_ms, residuals.value, worth)
    }

    /// Learns it. Returns whether it lay beyond what is told apart.
    pub fn learn_usual(&mut self, residuals: &ChannelResiduals, weight: f64, memory: f64) -> bool {
        if !self.has_usual_level(residuals) {
            return false;
        }
        let is_beyond = self.usual.learn(residuals.value, weight, memory);
        self.usual.observe_stay(residuals.value);
        is_beyond
    }

    fn has_usual_level(&self, residuals: &ChannelResiduals) -> bool {
        self.options.kind == ChannelKind::Number
            && residuals.is_fresh
            && residuals.value.is_finite()
    }

    /// Judges how far the level is off from what the others let expect; where deviations in its
    /// direction are worth no word it is not.
    pub fn judge_lasting(&mut self, ts_ms: i64, residual: Residual) {
        let Residual { z, scale } = residual;
        let worth = self.options.watch.is_worth(z, scale);
        self.lasting.judge(ts_ms, if worth { z } else { 0.0 });
    }

    /// Weight of the channel in an incident: its evidence over the bar, or the height of its level
    /// over its own.
    pub fn part(&self) -> f64 {
        let evidence = self.evidence() / self.bar;
        let lasting = self.lasting.score().max(self.usual.deviation());
        if lasting > 0.5 {
            evidence.max(lasting)
        } else {
            evidence
        }
    }

    /// Raises no incident before this moment.
    pub fn mute(&mut self, until_ms: i64) {
        self.muted_until_ms = until_ms;
    }

    /// No incident is to be raised at this moment.
    pub fn is_muted(&self, ts_ms: i64) -> bool {
        ts_ms < self.muted_until_ms
    }

    /// Most of the evidence speaks of a level that has moved, not of a surprising step.
    pub fn is_drift(&self) -> bool {
        let lasting = self.lasting.score().max(self.usual.deviation()) >= 1.0 && !self.is_over();
        lasting || self.mean_shift.get() > self.evidence.get() || self.evidence.is_of_level()
    }

    fn is_exceeded(&self, runs: &RunLengthMonitor, at: Thresholds) -> bool {
        runs.is_exceeded(at.between, at.n_channels, self.stretch)
    }

    /// The channel is silent beyond its habit.
    pub fn is_silent(&self, at: Thresholds) -> bool {
        self.is_exceeded(&self.silent, at)
    }

    /// The channel stands still beyond its habit.
    pub fn is_stuck(&self, at: Thresholds) -> bool {
        self.is_exceeded(&self.stuck, at) || self.is_exceeded(&self.usual.stays, at)
    }

    /// Forgets the evidence, not what is usual.
    pub fn reset(&mut self) {
        let ended = self.evidence.reset();
        self.ended.extend(ended);
        self.mean_shift.reset();
        self.end_shift();
        self.lasting.reset();
        self.usual.reset();
    }

    /// Takes runs that go on for normal.
    pub fn accept_runs(&mut self) {
        self.stuck.accept();
        self.silent.accept();
        self.usual.stays.accept();
    }

    /// Takes the present for normal: the share `keep` is kept of what is known.
    pub fn accept(&mut self, keep: f64) {
        self.reset();
        self.mean_shift.fade(keep);
        self.end_shift();
        self.histories
            .iter_mut()
            .flatten()
            .for_each(|h| h.fade(keep));
        self.lasting.accept(keep);
        self.usual.accept(keep);
        self.accept_runs();
    }

    /// Another predictor of the level stands behind its residuals from now on.
    pub fn renew_level(&mut self, keep: f64) {
        for witness in [Witness::Context, Witness::CrossChannel] {
            if let Some(history) = &mut self.histories[witness as usize] {
                history.renew(keep);
            }
        }
        self.mean_shift.fade(keep);
        self.end_shift();
    }

    /// Learns a row; witnesses of levels learn with the weight of `how`, steps with 1.
    pub fn observe(&mut self, scored: &Scored, how: Learning) {
        for witness in Witness::ALL {
            let of_level = witness.is_of_level() || self.options.kind == ChannelKind::Target;
            let weight = if of_level { how.weight } else { 1.0 };
            let history = self.histories[witness as usize].as_mut();
            let residual = scored.get(witness).filter(|r| !r.is_at_rest);
            if let (Some(residual), Some(history)) = (residual, history) {
                history.observe(residual, Learning { weight, ..how });
            }
        }
        if let Some(residual) = scored.get(Witness::Context) {
            self.mean_shift.observe(residual.z, how.weight, how.memory);
        }
    }

    /// Learns how long the channel stays the same, and silent. Standing still is learned with
    /// `weight`.
    pub fn observe_runs(&mut self, residuals: &ChannelResiduals, weight: f64) {
        let value = residuals.value;
        if self.options.kind.is_sensor() {
            self.silent.observe(!residuals.is_fresh);
        }
        if !residuals.is_fresh {
            return;
        }
        if !self.last.is_nan() {
            let same = value == self.last;
            let change = (value - self.last).abs();
            if !same && (self.grid == 0.0 || change < self.grid) {
                self.grid = change;
            }
            let numeric = self.options.kind == ChannelKind::Number;
            if self.options.kind.is_sensor() && (numeric || self.changes >= CHANGES) {
                self.stuck.observe(same);
            }
            self.changes = self.changes.saturating_add(u32::from(!same));
            if numeric {
                self.rest.observe(same, weight);
            }
        }
        self.last = value;
    }
}

/// Chooses of which channel the largest deviation from what the others let expect is told. A level that
/// is off makes those look off that are predicted from it, so only one of them is: a channel that is over
/// its bar by other evidence, or else the one among those that are off whose correction would bring the
/// levels nearest to what they are together, by the `contributions` to the joint level.
pub fn tell_one_lasting(channels: &mut [ChannelMonitor], contributions: &[f64]) {
    if channels.iter().any(ChannelMonitor::is_over) {
        for channel in channels {
            let own = channel.lasting.deviation();
            let told = if channel.is_over() { own } else { 0.0 };
            channel.lasting.tell(told);
        }
        return;
    }
    let furthest = channels.iter().map(|c| c.lasting.deviation());
    let furthest = furthest.fold(0.0, f64::max);
    let apart = |c: usize| contributions.get(c).copied().unwrap_or(0.0);
    let off = channels
        .iter()
        .enumerate()
        .filter(|(_, channel)| channel.lasting.deviation() > 0.0);
    let first = off.max_by(|(a, x), (b, y)| {
        let by_deviation = || x.lasting.deviation().total_cmp(&y.lasting.deviation());
        apart(*a).total_cmp(&apart(*b)).then_with(by_deviation)
    });
    let first = first.map(|(c, _)| c);
    for (c, channel) in channels.iter_mut().enumerate() {
        let told = if first == Some(c) { furthest } else { 0.0 };
        channel.lasting.tell(told);
    }
}
