//! Full expectation propagation on a table: one site a sample, for every weight that it touches.

use super::kernel::{self, NaturalRun};
use super::network::{Input, Network};
use super::report::Report;
use super::runs::{MomentRun, MomentRunMut};

/// The sites of all samples of a table, in natural parameters. Gaussian weights only.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sites {
    /// Where each sample's run starts and ends; empty before its first visit.
    runs: Vec<(usize, usize)>,
    precision: Vec<f32>,
    shift: Vec<f32>,
    /// The belief without any site, precision and shift of every weight; `None`: the prior.
    base: Option<(Vec<f64>, Vec<f64>)>,
}

impl Sites {
    /// Empty sites for `samples` samples.
    pub fn new(samples: usize) -> Sites {
        Sites {
            runs: vec![(0, 0); samples],
            ..Sites::default()
        }
    }

    /// Empty sites for `samples` samples over the network's present belief: what it knows already
    /// stays, and is the prior of what it learns through these sites.
    pub fn over(network: &mut Network, samples: usize) -> Sites {
        Sites {
            base: Some(natural(network)),
            ..Sites::new(samples)
        }
    }

    /// f32 values that a sample of `active` inputs needs in this network.
    pub fn size_of_sample(network: &Network, active: usize) -> usize {
        2 * network.weights_touched(active)
    }

    /// Takes sample `i` out of the belief: leaves the cavity, whose natural parameters wait in the
    /// site's own place. Returns how many cavities had to be limited to the prior's precision.
    fn remove(&mut self, i: usize, network: &mut Network, index: &[u32]) -> u64 {
        let (start, end) = self.runs[i];
        let mut limited = 0;
        if start == end {
            let start = self.precision.len();
            network.visit(index, &mut |m, s, _| {
                self.precision.extend(s.iter().map(|s| 1.0 / s));
                self.shift.extend(m.iter().zip(s).map(|(m, s)| *m / *s));
            });
            self.runs[i] = (start, self.precision.len());
            return 0;
        }
        let mut at = start;
        network.visit(index, &mut |m, s, floor| {
            let run = at..at + m.len();
            at = run.end;
            let site = NaturalRun {
                precision: &mut self.precision[run.clone()],
                shift: &mut self.shift[run],
            };
            let belief = MomentRunMut {
                mean: m,
                variance: s,
            };
            limited += kernel::remove_site(belief, site, floor);
        });
        limited
    }

    /// Learns sample `i` through its site: leaves the cavity, lets `step` predict (the sample
    /// without the sample) and learn, and keeps what changed as the new site.
    ///
    /// # Panics
    /// If `i` or an input index is out of range, or the sample's active inputs are not those of its
    /// last visit.
    pub fn learn(
        &mut self,
        i: usize,
        network: &mut Network,
        x: Input<'_>,
        mut step: impl FnMut(&mut Network) -> Report,
    ) -> Report {
        let limited = self.remove(i, network, x.index);
        let mut report = step(network);
        let mut at = self.runs[i].0;
        network.visit(x.index, &mut |m, s, _| {
            let run = at..at + m.len();
            at = run.end;
            let site = NaturalRun {
                precision: &mut self.precision[run.clone()],
                shift: &mut self.shift[run],
            };
            let belief = MomentRun {
                mean: m,
                variance: s,
            };
            kernel::store_site(belief, site);
        });
        report.clipped += limited;
        report
    }

    /// Rebuilds the belief as prior times all sites, in f64: takes away the rounding of a pass.
    /// `index` gives a sample's active inputs.
    pub fn rebuild<'a>(&self, network: &mut Network, index: impl Fn(usize) -> &'a [u32]) {
        let all: Vec<u32> = (0..network.inputs() as u32).collect();
        let base = self.base.clone();
        let (mut p, mut h) = base.unwrap_or_else(|| natural(&mut network.at_prior()));
        let stride = network.weights_touched(1) - network.weights_touched(0);
        let dense = stride * all.len();
        let width = p.len();
        for (i, &(start, end)) in self.runs.iter().enumerate() {
            if start == end {
                continue;
            }
            let mut from = start;
            let mut add = |at: usize, n: usize| {
                let run = from..from + n;
                from = run.end;
                let sums = p[at..at + n].iter_mut().zip(&self.precision[run.clone()]);
                sums.for_each(|(sum, site)| *sum += f64::from(*site));
                let sums = h[at..at + n].iter_mut().zip(&self.shift[run]);
                sums.for_each(|(sum, site)| *sum += f64::from(*site));
            };
            for &j in index(i) {
                add(j as usize * stride, stride);
            }
            add(dense, width - dense);
        }
        let mut at = 0;
        network.visit(&all, &mut |m, s, floor| {
            for (m, s) in m.iter_mut().zip(s) {
                let precision = p[at].max(f64::from(floor));
                *m = (h[at] / precision) as f32;
                *s = (1.0 / precision) as f32;
                at += 1;
            }
        });
    }
}

/// Precision and shift of every weight, in the order of [`Network::visit`] with all inputs.
fn natural(network: &mut Network) -> (Vec<f64>, Vec<f64>) {
    let all: Vec<u32> = (0..network.inputs() as u32).collect();
    let (mut p, mut h) = (Vec::new(), Vec::new());
    network.visit(&all, &mut |m, s, _| {
        for (m, s) in m.iter().zip(s) {
            p.push(1.0 / f64::from(*s));
            h.push(f64::from(*m) / f64::from(*s));
        }
    });
    (p, h)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ep::noise::StudentNoise;
    use crate::ep::{LinearReadout, NetworkDraft};
    use crate::num::oracle;

    #[test]
    fn a_linear_network_reaches_the_exact_posterior_means() {
        // Inputs scaled by the prior's sd and targets shifted by its mean give every weight the
        // prior N(0, 1).
        let rows = oracle::table("tiny_linear_data");
        let exact = oracle::table("tiny_linear_posterior");
        let noise = exact[0][3];
        let scaled = |row: &[f64], j: usize| row[j] * exact[j][2].sqrt();
        let mut draft = NetworkDraft::regression(4, &[], 1);
        draft.priors.direct.variance = 1.0;
        let mut network = Network::new(&draft.build().expect("valid"));
        let index = [0, 1, 2, 3];
        let mut sites = Sites::new(rows.len());
        for pass in 0..1500 {
            for (i, row) in rows.iter().enumerate() {
                let value: Vec<f32> = (0..4).map(|j| scaled(row, j) as f32).collect();
                let shift: f64 = (0..4).map(|j| row[j] * exact[j][1]).sum();
                let target = [(row[4] - shift) as f32];
                let x = Input {
                    index: &index,
                    value: &value,
                };
                let report = sites.learn(i, &mut network, x, |network| {
                    network.learn(x, &target, &[noise as f32], 1.0)
                });
                assert_eq!(report.accepted, 1);
            }
            if pass % 50 == 49 {
                sites.rebuild(&mut network, |_| &index);
            }
        }
        // The same posterior without rounding of sites: the joint readout, weight by weight.
        let values: Vec<[f32; 4]> = rows
            .iter()
            .map(|row| [0, 1, 2, 3].map(|j| scaled(row, j) as f32))
            .collect();
        let table = |i: usize| {
            let shift: f64 = (0..4).map(|j| rows[i][j] * exact[j][1]).sum();
            let x = Input {
                index: &index,
                value: &values[i],
            };
            (x, (rows[i][4] - shift) as f32)
        };
        let noise = StudentNoise {
            variance: noise,
            dof: f64::INFINITY,
        };
        let mut readout = LinearReadout::joint(&network, rows.len(), &table, noise);
        for (j, row) in exact.iter().enumerate() {
            let unit = Input {
                index: &[j as u32],
                value: &[1.0],
            };
            readout.predict(unit, |seen| {
                let mean = row[1] + seen.mean * row[2].sqrt();
                oracle::close(mean, row[4], 0.0, 1e-6, row);
            });
        }
        for (j, row) in exact.iter().enumerate() {
            let (m, s) = network.direct_weight(j, 0);
            let mean = row[1] + f64::from(m) * row[2].sqrt();
            let variance = f64::from(s) * row[2];
            // Sites and moments are f32: what is left is their rounding.
            oracle::close(mean, row[4], 0.0, 5e-6, row);
            oracle::close(mean, row[6], 0.0, 5e-6, row);
            oracle::close(variance, row[7], 1e-4, 0.0, row);
        }
    }
}
