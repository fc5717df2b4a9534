//! How far out whole episodes went: what has come and gone before is no news.

use serde::{Deserialize, Serialize};

/// Rows of an episode, if no incident makes it longer: as far apart as incidents have to be.
const ROWS: f64 = 100.0;
/// Width of a bin, in ln score; the first begins at 0, a residual of one standard deviation.
const WIDTH: f64 = 0.25;
/// Most bins: as high as the scores' histogram reaches.
const BINS: usize = 68;
/// Bins that are made room for at once: growing is rare, a bin costs memory in every output.
const ROOM: usize = 16;
/// An episode speaks for scores this much higher than its own, as a mean: the width that the tail
/// of scores is given before it has been seen.
const XI: f64 = 0.25;
/// Memory, as a multiple of that of single scores: episodes are rarer by that much and more.
const MEMORY: f64 = 10.0;

/// Fading histogram of the highest score of each episode, and a floor of p-values from it.
///
/// The tail of the scores is fitted to rows, and a spike that comes once a day is a thousandth of
/// them: its law has no say where usual scores end. But ten episodes that went as far as this one
/// in the last N rows say that p is 10/N and no less. Episodes are blocks of rows, and a whole
/// incident is one (declustering; Coles, "An Introduction to Statistical Modeling of Extreme
/// Values", 2001, section 5.3.2), so that a long fault does not become usual by its length. One
/// counts only after the next has ended: no fault is its own precedent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Episodes {
    /// Up to the highest one met.
    bins: Vec<f32>,
    /// Ended ones that count, those below every bin too.
    mass: f64,
    /// Rows of the present one.
    rows: f64,
    /// Highest score of the present one and of the one before; 0 if none was above.
    highest: [f64; 2],
}

impl Episodes {
    /// The share of rows that past episodes as far out as `score` claim, in 0..=1: each counts as
    /// one row at scores up to its own, and as e^(-excess/xi) beyond.
    pub fn floor(&self, score: f64) -> f64 {
        let centre = |bin: usize| (bin as f64 + 0.5) * WIDTH;
        let as_far =
            |(bin, &n): (usize, &f32)| f64::from(n) * (-(score - centre(bin)).max(0.0) / XI).exp();
        let seen: f64 = self.bins.iter().enumerate().map(as_far).sum();
        (seen / (self.mass * ROWS).max(1.0)).min(1.0)
    }

    /// Takes the score of one row, with a memory of single scores of `memory` rows; none ends
    /// while an incident is open.
    pub fn observe(&mut self, score: f64, memory: f64, open: bool) {
        self.highest[0] = self.highest[0].max(score);
        self.rows += 1.0;
        if self.rows < ROWS || open {
            return;
        }
        self.fade((1.0 - ROWS / (MEMORY * memory)).max(0.0));
        self.mass += 1.0;
        let [present, before] = self.highest;
        if before > 0.0 {
            let bin = ((before / WIDTH) as usize).min(BINS - 1);
            if bin >= self.bins.len() {
                let room = (bin + 1).next_multiple_of(ROOM).min(BINS);
                self.bins.reserve_exact(room - self.bins.len());
                self.bins.resize(bin + 1, 0.0);
            }
            self.bins[bin] += 1.0;
        }
        self.highest = [0.0, present];
        self.rows = 0.0;
    }

    /// Keeps the share `keep` of what is known.
    pub fn fade(&mut self, keep: f64) {
        self.mass *= keep;
        self.bins.iter_mut().for_each(|bin| *bin *= keep as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: f64 = 6.1;

    fn learned(
        rows: usize,
        score: impl Fn(usize) -> f64,
        open: impl Fn(usize) -> bool,
    ) -> Episodes {
        let mut episodes = Episodes::default();
        (0..rows).for_each(|row| episodes.observe(score(row), 2000.0, open(row)));
        episodes
    }

    #[test]
    fn a_spike_that_comes_again_and_again_claims_its_share_of_the_rows() {
        let spikes = |row| if row % 250 == 0 { FAR } else { -1.0 };
        let episodes = learned(20_000, spikes, |_| false);
        let share = episodes.floor(FAR) * 250.0;
        assert!((0.9..1.1).contains(&share), "{share}");
        assert_eq!(episodes.floor(1.0), episodes.floor(FAR - 0.2));
        assert!(episodes.floor(FAR + 2.0) < episodes.floor(FAR) * 1e-3);
    }

    #[test]
    fn an_incident_is_one_episode_however_long() {
        let inside = |row: &usize| (1000..1900).contains(row);
        let score = |row| if inside(&row) { FAR } else { -1.0 };
        let one = learned(3000, score, |row| inside(&row));
        let many = learned(3000, score, |_| false);
        assert!((many.floor(FAR) / one.floor(FAR)) > 5.0);
        assert!(one.floor(FAR) < 1.2 / 2000.0);
    }

    #[test]
    fn no_fault_is_its_own_precedent() {
        let score = |row| if row >= 1050 { FAR } else { -1.0 };
        assert_eq!(learned(1150, score, |row| row >= 1060).floor(FAR), 0.0);
    }

    #[test]
    fn what_is_faded_counts_less_against_what_comes() {
        let mut episodes = learned(4000, |row| if row < 2000 { FAR } else { -1.0 }, |_| false);
        let before = episodes.floor(FAR);
        episodes.fade(0.1);
        (0..2000).for_each(|_| episodes.observe(-1.0, 2000.0, false));
        assert!(episodes.floor(FAR) < 0.3 * before);
    }
}
