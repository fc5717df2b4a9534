//! What evidence does on a normal stream: how high its excursions from zero go, and from that the
//! bar that a wanted number of false alarms asks for.

use serde::{Deserialize, Serialize};

/// Bins of the histogram of peaks.
const BINS: usize = 128;
/// Width of a bin, nats.
const WIDTH: f64 = 0.125;
/// Share of the peaks that the tail is fitted to.
const TAIL: f64 = 0.1;
/// The prior of the tail, e^-x as for exact e-values, counts as this many peaks.
const PRIOR_PEAKS: f64 = 10.0;
/// Rows after which theory and measurement weigh the same.
const TRUST_ROWS: f64 = 500.0;
/// Above this the growing weight of new peaks is scaled back to 1.
const MAX_UNIT: f32 = 1_048_576.0;

/// Fading histogram of the peaks of evidence between two zeros, all channels of a stream together.
///
/// Peaks past some level u come at a rate r a row and have an exponential tail of mean m: false
/// alarms at bar h come at r e^-(h - u)/m. Peaks that reached the bar are known to be no lower
/// than it, not how much higher a normal one would have gone: they count as censored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NullPeaks {
    /// Up to the highest peak met.
    bins: Vec<f32>,
    unit: f32,
    rows: f64,
    /// Censored peaks, in units of `unit` as the bins.
    censored: f32,
}

impl Default for NullPeaks {
    fn default() -> NullPeaks {
        NullPeaks {
            bins: Vec::new(),
            unit: 1.0,
            rows: 0.0,
            censored: 0.0,
        }
    }
}

impl NullPeaks {
    /// One more row, with a memory of `memory` rows.
    pub fn row(&mut self, memory: f64) {
        let keep = 1.0 - 1.0 / memory;
        self.rows = self.rows * keep + 1.0;
        self.unit /= keep as f32;
        if self.unit > MAX_UNIT {
            let shrink = 1.0 / self.unit;
            self.bins.iter_mut().for_each(|bin| *bin *= shrink);
            self.censored *= shrink;
            self.unit = 1.0;
        }
    }

    /// Rows that are remembered.
    pub fn rows(&self) -> f64 {
        self.rows
    }

    /// An excursion ended that had reached `peak`; it raised an alarm if that passed `bar`.
    pub fn observe(&mut self, peak: f64, bar: f64) {
        let bin = ((peak.min(bar) / WIDTH) as usize).min(BINS - 1);
        if bin >= self.bins.len() {
            // Once and for all: there is one of these a stream.
            self.bins.reserve_exact(BINS - self.bins.len());
            self.bins.resize(bin + 1, 0.0);
        }
        self.bins[bin] += self.unit;
        if peak > bar {
            self.censored += self.unit;
        }
    }

    /// The bar, nats, for one false alarm in `rows_between` rows over all `n_channels` channels.
    pub fn bar(&self, rows_between: f64, n_channels: usize) -> f64 {
        let theory = rows_between.ln() + (n_channels.max(1) as f64).ln();
        let unit = f64::from(self.unit);
        let total = self.bins.iter().map(|&bin| f64::from(bin)).sum::<f64>() / unit;
        let need = TAIL * total;
        let (mut above, mut excess, mut level) = (0.0, 0.0, self.bins.len());
        while level > 1 && above < need {
            level -= 1;
            // The peaks counted so far lie one bin further above the new level.
            excess += above * WIDTH;
            let here = f64::from(self.bins[level]) / unit;
            above += here;
            excess += here * 0.5 * WIDTH;
        }
        if above <= 0.0 {
            return theory;
        }
        let censored = (f64::from(self.censored) / unit).min(above);
        let mean = (excess + PRIOR_PEAKS) / (above - censored + PRIOR_PEAKS);
        let rate = above / self.rows;
        let level = level as f64 * WIDTH;
        let measured = level + mean * (rate * rows_between).max(1.0).ln();
        let trust = self.rows / (self.rows + TRUST_ROWS);
        trust * measured + (1.0 - trust) * theory
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64;

    use super::*;

    /// Excursions whose peaks have an exponential tail of mean `mean`, one every ten rows.
    fn learned(mean: f64) -> NullPeaks {
        let mut rng = Pcg64::seed_from_u64(5);
        let mut null = NullPeaks::default();
        for row in 0..40_000 {
            null.row(20_000.0);
            if row % 10 == 0 {
                null.observe(-mean * (1.0 - rng.random::<f64>()).ln(), f64::INFINITY);
            }
        }
        null
    }

    #[test]
    fn it_starts_at_what_theory_says() {
        assert_eq!(NullPeaks::default().bar(1e4, 8), 1e4f64.ln() + 8f64.ln());
    }

    #[test]
    fn the_bar_is_where_the_tail_reaches_the_wanted_rate() {
        for mean in [0.4, 1.0, 2.0] {
            // A peak passes h once in `rows_between` rows: e^(-h/mean)/10 = 1/rows_between.
            let expected = mean * 1000f64.ln();
            let bar = learned(mean).bar(1e4, 1);
            assert!(
                (bar / expected - 1.0).abs() < 0.15,
                "{mean}: {bar} for {expected}"
            );
        }
    }

    #[test]
    fn fewer_false_alarms_ask_for_a_higher_bar() {
        let null = learned(1.0);
        assert!(null.bar(1e5, 1) > null.bar(1e3, 1) + 2.0);
    }

    #[test]
    fn censored_peaks_lengthen_the_tail() {
        let mut null = learned(1.0);
        let before = null.bar(1e4, 1);
        (0..100).for_each(|_| null.observe(50.0, 7.0));
        assert!(null.bar(1e4, 1) > before);
    }
}
