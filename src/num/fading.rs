//! Fading means: every sample weighs the same at first, then older ones less.

/// Learning rate of the `weight`-th sample: 1/n until `memory` samples are known, 1/memory from
/// then on.
pub fn rate(weight: f64, memory: f64) -> f64 {
    (1.0 / weight).max(1.0 / memory)
}

/// Running mean with exponential memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct FadingMean {
    mean: f64,
    weight: f64,
}

impl FadingMean {
    /// A mean that begins at `mean`, which counts as `weight` samples.
    pub fn with_prior(mean: f64, weight: f64) -> FadingMean {
        FadingMean { mean, weight }
    }

    /// The mean; 0 before any sample.
    pub fn get(&self) -> f64 {
        self.mean
    }

    /// Effective number of samples, without the fading.
    pub fn weight(&self) -> f64 {
        self.weight
    }

    /// Learns a sample of weight `weight` in 0..=1 with a memory of `memory` samples.
    pub fn observe(&mut self, sample: f64, weight: f64, memory: f64) {
        if weight <= 0.0 {
            return;
        }
        self.weight += weight;
        self.mean += weight * rate(self.weight, memory) * (sample - self.mean);
    }

    /// Reduces what is known to the share `keep`.
    pub fn fade(&mut self, keep: f64) {
        self.weight *= keep;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_samples_average_evenly_and_later_ones_fade() {
        let mut mean = FadingMean::default();
        for x in [1.0, 2.0, 6.0] {
            mean.observe(x, 1.0, 100.0);
        }
        assert!((mean.get() - 3.0).abs() < 1e-12);
        (0..2000).for_each(|_| mean.observe(7.0, 1.0, 100.0));
        assert!((mean.get() - 7.0).abs() < 1e-6);
    }

    #[test]
    fn a_prior_counts_as_its_weight() {
        let mut mean = FadingMean::with_prior(1.0, 3.0);
        mean.observe(5.0, 1.0, 100.0);
        assert_eq!(mean.get(), 2.0);
    }
}
