//! The predictors of all channels given the others, and who is whose partner.

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::expert::{ExpertKind, RowTime};
use super::given::{Given, GivenShape};
use super::level_given::{LevelGiven, LevelResidual};
use super::mixture::Verified;
use super::past::Past;
use crate::num::scrap::Scrap;

/// Rows after which partners are chosen, and chosen again.
const CHOOSE_AFTER: [u64; 2] = [300, 3_000];
/// Memory of the correlations between levels, rows.
const CORRELATION_ROWS: f64 = 2_000.0;
/// Partners from which the level of a channel is predicted, at most.
const LEVEL_PARTNERS: usize = 8;
/// Rows before an expert may be left out, and the gain below which it is, nats a value.
const TRIAL_ROWS: u64 = 20_000;
const LEAST_GAIN: f64 = 1e-3;

/// Specification of the predictors given the others.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GivenSettings {
    /// Partners of a channel, at most; 0 switches these predictors off.
    pub partners: usize,
    /// Hidden spiking units of each; 0 takes them from the expert that has them, which goes on with the
    /// codes alone.
    pub hidden: usize,
    /// Bytes of all predictors, at most; experts that do not fit are left out, the costliest first.
    pub max_bytes: usize,
    /// Rows that wait before they teach what a level is given the others.
    pub delay_rows: u64,
    /// Seed of the hidden layers.
    pub seed: u64,
}

/// The predictors of a stream's channels given one another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GivenOthers {
    settings: GivenSettings,
    /// Mean products of the channels' standardised levels.
    products: Array2<f32>,
    rows: u64,
    predictors: Vec<Given>,
    levels_given: LevelGiven,
    /// The row with predictions in place of values that are not to be trusted.
    #[serde(skip)]
    trusted: Scrap<Vec<f64>>,
    #[serde(skip)]
    levels: Scrap<Vec<f32>>,
}

impl GivenOthers {
    /// None yet: partners are chosen once correlations are known.
    pub fn new(settings: GivenSettings) -> GivenOthers {
        GivenOthers {
            settings,
            products: Array2::zeros((0, 0)),
            rows: 0,
            predictors: Vec::new(),
            levels_given: LevelGiven::new(settings.delay_rows),
            trusted: Scrap::default(),
            levels: Scrap::default(),
        }
    }

    /// The row's values, to be changed where one is not to be trusted; for [`GivenOthers::compare`].
    pub fn start(&mut self, values: &[f64]) -> &mut Vec<f64> {
        let trusted = &mut self.trusted.0;
        trusted.clear();
        trusted.extend_from_slice(values);
        trusted
    }

    /// Compares each value with what the others lead to: one entry a channel goes to `out`.
    pub fn compare<P: AsRef<Past>>(
        &mut self,
        moment: RowTime,
        values: &[f64],
        pasts: &[P],
        out: &mut Vec<Option<Verified>>,
    ) {
        out.clear();
        out.resize(values.len(), None);
        for given in &mut self.predictors {
            let value = values[given.channel];
            out[given.channel] = given.compare(moment, &self.trusted.0, pasts, value);
        }
    }

    /// Learns the row that was compared last, before the pasts take it.
    pub fn learn<P: AsRef<Past>>(&mut self, values: &[f64], pasts: &[P], weight: f64) {
        if self.settings.partners == 0 || values.len() < 2 {
            return;
        }
        self.rows += 1;
        for given in &mut self.predictors {
            given.learn(values[given.channel], pasts, weight);
        }
        self.correlate(values, pasts);
        if CHOOSE_AFTER.contains(&self.rows) {
            self.choose(pasts);
        }
        if self.rows.is_multiple_of(TRIAL_ROWS) {
            self.predictors
                .iter_mut()
                .for_each(|g| g.leave_out(LEAST_GAIN));
        }
    }

    fn correlate<P: AsRef<Past>>(&mut self, values: &[f64], pasts: &[P]) {
        // Later the partners stand, and nothing asks for correlations.
        if self.rows > CHOOSE_AFTER[1] {
            return;
        }
        let n = values.len();
        if self.products.nrows() < n {
            let mut products = Array2::zeros((n, n));
            for (place, p) in self.products.indexed_iter() {
                products[place] = *p;
            }
            self.products = products;
        }
        let levels = &mut self.levels.0;
        levels.clear();
        levels.extend(pasts.iter().zip(values).map(|(past, &value)| {
            let history = past.as_ref().history();
            history.map_or(0.0, |history| history.standardise(value))
        }));
        let rate = (1.0 / self.rows as f64).max(1.0 / CORRELATION_ROWS) as f32;
        for (a, mut row) in self.products.rows_mut().into_iter().enumerate() {
            for (product, b) in row.iter_mut().zip(&*levels) {
                *product += rate * (levels[a] * b - *product);
            }
        }
    }

    /// Chooses the partners; a channel whose partners are others than before starts anew.
    fn choose<P: AsRef<Past>>(&mut self, pasts: &[P]) {
        let number = |c: &usize| pasts[*c].as_ref().history().is_some();
        for channel in (0..self.products.nrows()).filter(number) {
            let levels = self.most_correlated(channel, LEVEL_PARTNERS, pasts);
            self.levels_given.set_partners(channel, &levels);
            let others = self.most_correlated(channel, self.settings.partners, pasts);
            self.rebuild(channel, others, pasts);
        }
    }

    /// The `most` numbers whose levels correlate most with that of `channel`, in ascending order.
    fn most_correlated<P: AsRef<Past>>(
        &self,
        channel: usize,
        most: usize,
        pasts: &[P],
    ) -> Vec<usize> {
        let number = |c: &usize| *c != channel && pasts[*c].as_ref().history().is_some();
        let mut others: Vec<usize> = (0..self.products.nrows()).filter(number).collect();
        let correlation = |o: usize| {
            let spread = self.products[[o, o]] * self.products[[channel, channel]];
            let product = self.products[[o, channel]];
            if spread > 0.0 {
                product * product / spread
            } else {
                0.0
            }
        };
        others.sort_by(|&a, &b| correlation(b).total_cmp(&correlation(a)).then(a.cmp(&b)));
        others.truncate(most);
        others.sort_unstable();
        others
    }

    fn rebuild<P: AsRef<Past>>(&mut self, channel: usize, partners: Vec<usize>, pasts: &[P]) {
        let place = self.predictors.iter().position(|g| g.channel == channel);
        if partners.is_empty() || place.is_some_and(|i| self.predictors[i].partners() == partners) {
            return;
        }
        if let Some(i) = place {
            self.predictors.remove(i);
        }
        // The expert of spikes sees the codes too: one of codes alone beside it gains next to nothing.
        let kinds = [ExpertKind::Spikes, ExpertKind::Code, ExpertKind::Linear];
        let may = |kind: &ExpertKind| *kind != ExpertKind::Spikes || self.settings.hidden > 0;
        for richest in kinds.into_iter().filter(may) {
            let mut kinds = vec![ExpertKind::Linear, richest];
            kinds.dedup();
            let shape = GivenShape {
                channel,
                partners: partners.clone(),
                kinds,
                hidden: self.settings.hidden,
                seed: self.settings.seed,
            };
            let Some(given) = Given::new(&shape, pasts) else {
                return;
            };
            // An even share of what the channels have together.
            if given.bytes() * self.products.nrows() <= self.settings.max_bytes {
                self.predictors.push(given);
                return;
            }
        }
    }

    /// Compares each level with what the others' levels let expect, see [`LevelGiven::compare`].
    pub fn compare_levels<P: AsRef<Past>>(
        &mut self,
        hour: Option<f64>,
        values: &[f64],
        pasts: &[P],
        flagged: impl Fn(usize) -> bool,
        out: &mut Vec<Option<LevelResidual>>,
    ) {
        out.clear();
        if self.settings.partners > 0 && values.len() > 1 {
            self.levels_given.compare(hour, values, pasts, flagged, out);
        }
    }

    /// The row that was compared last lay in an incident, or did not, see [`LevelGiven::learn`].
    pub fn learn_levels(&mut self, in_incident: bool) {
        self.levels_given.learn(in_incident);
    }

    /// Takes over the delay after which rows teach the levels; all else stays as it was built.
    pub fn retune(&mut self, settings: GivenSettings) {
        self.settings.delay_rows = settings.delay_rows;
        self.levels_given.set_delay(settings.delay_rows);
    }

    /// The present is the new normal, see [`LevelGiven::accept`].
    pub fn accept(&mut self, forgets: f64) {
        self.levels_given.accept(forgets);
    }

    /// The predictors that there are.
    pub fn predictors(&self) -> &[Given] {
        &self.predictors
    }

    /// Changes what the predictors may take, bytes; for those that are still to be built.
    pub fn set_max_bytes(&mut self, bytes: usize) {
        self.settings.max_bytes = bytes;
    }

    /// Limits of all predictors, see [`Given::limited`].
    pub fn limited(&self) -> u64 {
        self.predictors.iter().map(Given::limited).sum::<u64>() + self.levels_given.limited()
    }

    /// Bytes of all filters and hidden layers.
    pub fn bytes(&self) -> usize {
        self.predictors.iter().map(Given::bytes).sum::<usize>() + self.levels_given.bytes()
    }
}
