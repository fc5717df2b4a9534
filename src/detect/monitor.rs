//! Monitors one channel: residual histories, evidence, run lengths.

use serde::{Deserialize, Serialize};

use super::evidence::EvidenceCusum;
use super::history::{Learning, ResidualHistory};
use super::mean_shift::MeanShiftCusum;
use super::residuals::{ChannelKind, Scored, Witness};
use super::run_length::RunLengthMonitor;
use super::settings::{DetectSettings, Heads};

/// Changes of state after which standing still is worth a word.
const CHANGES: u32 = 4;

/// The detector's state of one channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChannelMonitor {
    kind: ChannelKind,
    histories: [Option<Box<ResidualHistory>>; Witness::ALL.len()],
    evidence: EvidenceCusum,
    mean_shift: MeanShiftCusum,
    stuck: RunLengthMonitor,
    silent: RunLengthMonitor,
    /// Last value that was not missing, and in the last row; NaN before the first.
    last: f64,
    previous: f64,
    changes: u32,
}

impl ChannelMonitor {
    /// A monitor of a channel of which nothing is known.
    pub fn new(kind: ChannelKind) -> ChannelMonitor {
        ChannelMonitor {
            kind,
            histories: Default::default(),
            evidence: EvidenceCusum::default(),
            mean_shift: MeanShiftCusum::default(),
            stuck: RunLengthMonitor::default(),
            silent: RunLengthMonitor::default(),
            last: f64::NAN,
            previous: f64::NAN,
            changes: 0,
        }
    }

    /// The history of a witness; it begins with the first residual.
    pub fn history(&self, witness: Witness) -> Option<&ResidualHistory> {
        self.histories[witness as usize].as_deref()
    }

    /// Makes sure that a witness that has spoken has a history.
    pub fn prepare(&mut self, scored: &Scored) {
        for witness in Witness::ALL {
            let history = &mut self.histories[witness as usize];
            if scored.get(witness).is_some() && history.is_none() {
                *history = Some(Box::new(ResidualHistory::new(witness, self.kind)));
            }
        }
    }

    /// Adds a row to the evidence, which stays below `cap` nats, that of a shift below
    /// `shift_cap`. Returns the peak of an excursion that ended.
    pub fn add(
        &mut self,
        scored: &Scored,
        settings: &DetectSettings,
        bar: f64,
        caps: EvidenceCaps,
    ) -> Option<f64> {
        let mut ln_e = [(Witness::Step, 0.0); Witness::ALL.len()];
        let mut n = 0;
        for witness in Witness::ALL {
            if self.hears(witness, scored, settings.heads) {
                let spoken = scored.get(witness).map_or(0.0, |r| r.ln_e);
                ln_e[n] = (witness, spoken);
                n += 1;
            }
        }
        let peak = self.evidence.add(&ln_e[..n], caps.sum);
        if !settings.shift || settings.heads == Heads::Step {
            self.mean_shift.reset();
        } else if let Some(residual) = scored.get(Witness::Context)
            && self.kind == ChannelKind::Number
        {
            self.mean_shift.add(residual.z, caps.shift);
        }
        if settings.habits && (self.stuck.is_exceeded(bar) || self.silent.is_exceeded(bar)) {
            self.evidence.raise(caps.sum);
        }
        peak
    }

    /// The witness takes part in the mixture: with e = 1 where it has nothing to say in this row.
    fn hears(&self, witness: Witness, scored: &Scored, heads: Heads) -> bool {
        let spoken = scored.get(witness).is_some();
        match witness {
            _ if self.kind != ChannelKind::Number => spoken,
            Witness::Step => heads != Heads::Context,
            Witness::Context => heads != Heads::Step,
            Witness::CrossChannel => spoken && heads == Heads::Both,
            Witness::Given | Witness::Event => spoken,
        }
    }

    /// The larger of the evidence's sum and that for a shift, nats.
    pub fn evidence(&self) -> f64 {
        self.evidence.get().max(self.mean_shift.get())
    }

    /// Most of the evidence speaks of a level that has moved, not of a surprising step.
    pub fn is_drift(&self) -> bool {
        self.mean_shift.get() > self.evidence.get() || self.evidence.is_of_level()
    }

    /// The channel is silent beyond its habit.
    pub fn is_silent(&self, bar: f64) -> bool {
        self.silent.is_exceeded(bar)
    }

    /// The channel stands still beyond its habit.
    pub fn is_stuck(&self, bar: f64) -> bool {
        self.stuck.is_exceeded(bar)
    }

    /// Forgets the evidence, not what is usual.
    pub fn reset(&mut self) {
        self.evidence.reset();
        self.mean_shift.reset();
    }

    /// Takes runs that go on for normal.
    pub fn accept_runs(&mut self) {
        self.stuck.accept();
        self.silent.accept();
    }

    /// Takes the present for normal: the share `keep` is kept of what is known.
    pub fn accept(&mut self, keep: f64) {
        self.reset();
        self.mean_shift.fade(keep);
        self.histories
            .iter_mut()
            .flatten()
            .for_each(|h| h.fade(keep));
        self.accept_runs();
    }

    /// Another predictor of the level stands behind its residuals from now on.
    pub fn renew_level(&mut self, keep: f64) {
        for witness in [Witness::Context, Witness::CrossChannel] {
            if let Some(history) = &mut self.histories[witness as usize] {
                history.renew(keep);
            }
        }
    }

    /// Learns a row; witnesses of levels learn with weight `gate`.
    pub fn observe(&mut self, scored: &Scored, how: Learning) {
        for witness in Witness::ALL {
            let of_level = witness.is_of_level() || self.kind == ChannelKind::Target;
            let weight = if of_level { how.weight } else { 1.0 };
            let history = self.histories[witness as usize].as_mut();
            if let (Some(residual), Some(history)) = (scored.get(witness), history) {
                history.observe(residual, Learning { weight, ..how });
            }
        }
        if let Some(residual) = scored.get(Witness::Context) {
            self.mean_shift.observe(residual.z, how.weight, how.memory);
        }
    }

    /// Learns how long the channel stays the same, and silent.
    pub fn observe_runs(&mut self, value: f64) {
        let silent = value.is_nan();
        if self.kind.is_sensor() {
            self.silent.observe(silent);
        }
        if !silent {
            let changes = self.kind == ChannelKind::Number || self.changes >= CHANGES;
            if self.kind.is_sensor() && changes {
                self.stuck.observe(value == self.previous);
            }
            let changed = !self.last.is_nan() && value != self.last;
            self.changes = self.changes.saturating_add(u32::from(changed));
            self.last = value;
        }
        self.previous = value;
    }
}

/// Bounds of a channel's evidence, nats.
#[derive(Clone, Copy, Debug)]
pub struct EvidenceCaps {
    /// Of the sum of log e-values.
    pub sum: f64,
    /// Of the evidence for a shift.
    pub shift: f64,
}
