//! Several networks that have learned the same table predict together.
//!
//! Each has its readout; their parts make a mixture of equal networks. Its mean is the average of
//! networks that were each fitted as if the others were not there. Better known is
//! f(x) = (1/K) sum_k w_k'f_k(x) with the output weights of all K networks learned at once, as in a
//! readout: one linear regression on the spikes of all, each at 1/K. The mixture is moved there as a
//! whole: the networks learned from the same rows, so what they do not know does not average out,
//! and its width is kept.

use serde::{Deserialize, Serialize};

use super::normal::Normal;
use super::readout::{LinearReadout, MAX_JOINT, Predicted, SampleTable};
use super::{Input, Network};
use crate::ep::noise::StudentNoise;

/// Networks with their readouts, and all output weights learned at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Committee {
    members: Vec<LinearReadout>,
    /// Output weights of all members, one a draw of idle units; none where they are not known
    /// jointly.
    together: Vec<Vec<f64>>,
    /// Parts of the last prediction, each with its member.
    #[serde(skip)]
    seen: Vec<(usize, Predicted)>,
    #[serde(skip)]
    features: Vec<f64>,
}

impl Committee {
    /// Networks by their own belief, as [`LinearReadout::single`].
    ///
    /// # Panics
    /// If a network has not one output.
    pub fn single<'a>(networks: impl Iterator<Item = &'a Network>) -> Committee {
        Committee::of(networks.map(LinearReadout::single).collect())
    }

    /// Networks as [`LinearReadout::joint`], each given with its noise; where there are several, their
    /// output weights are learned at once (up to 512 of them).
    ///
    /// # Panics
    /// If a network has not one output or a sample does not fit it.
    pub fn joint<'a>(
        networks: impl Iterator<Item = (&'a Network, StudentNoise)>,
        n: usize,
        table: &SampleTable<'_>,
    ) -> Committee {
        let surveyed =
            networks.map(|(network, noise)| LinearReadout::surveyed(network, n, table, noise));
        let (members, noises): (_, Vec<_>) = surveyed.unzip();
        let mut committee = Committee::of(members);
        committee.learn_together(&noises, table);
        committee
    }

    fn of(members: Vec<LinearReadout>) -> Committee {
        Committee {
            members,
            together: Vec::new(),
            seen: Vec::new(),
            features: Vec::new(),
        }
    }

    /// `noises`: noise variance of each sample for each member.
    fn learn_together(&mut self, noises: &[Vec<f64>], table: &SampleTable<'_>) {
        let k = self.members.len();
        let weights: usize = self.members.iter().map(|m| m.prior().len()).sum();
        let known = self.members.iter().all(LinearReadout::is_joint);
        if k < 2 || !known || weights > MAX_JOINT {
            return;
        }
        let noise: Vec<f64> = (0..noises[0].len())
            .map(|i| noises.iter().map(|noise| noise[i]).sum::<f64>() / k as f64)
            .collect();
        let draws = self
            .members
            .iter()
            .map(LinearReadout::draws)
            .max()
            .unwrap_or(1);
        let solved = (0..draws).map(|draw| self.weights(draw, &noise, table));
        // One draw that cannot be solved leaves the average.
        self.together = solved.collect::<Option<_>>().unwrap_or_default();
    }

    /// Output weights of all members for one draw.
    fn weights(&mut self, draw: usize, noise: &[f64], table: &SampleTable<'_>) -> Option<Vec<f64>> {
        let share = 1.0 / self.members.len() as f64;
        let prior = self.members.iter().flat_map(LinearReadout::prior);
        let mut sums = Normal::new(prior.collect());
        for (i, noise) in noise.iter().enumerate() {
            let (x, y) = table(i);
            self.features.clear();
            let mut spread = 0.0;
            for member in &mut self.members {
                spread += share * share * member.look(draw, x);
                self.features
                    .extend(member.met(draw).iter().map(|f| share * f));
            }
            sums.add(&self.features, y.into(), noise + spread);
        }
        sums.solve().map(|(mean, _)| mean)
    }

    /// Number of inputs, the bias included.
    pub fn inputs(&self) -> usize {
        self.members.first().map_or(0, LinearReadout::inputs)
    }

    /// Output weights are known jointly.
    pub fn is_joint(&self) -> bool {
        self.members.iter().all(LinearReadout::is_joint)
    }

    /// Output weights of several networks were learned at once: otherwise their mixture is an average.
    pub fn is_together(&self) -> bool {
        !self.together.is_empty()
    }

    /// The equal parts of a prediction, one after the other to `seen` with the number of the
    /// network they come from.
    ///
    /// # Panics
    /// If the input does not fit the networks.
    pub fn predict(&mut self, x: Input<'_>, mut seen: impl FnMut(usize, Predicted)) {
        self.seen.clear();
        for (i, member) in self.members.iter_mut().enumerate() {
            member.predict(x, |part| self.seen.push((i, part)));
        }
        let shift = self.shift();
        for (i, part) in &self.seen {
            let mean = part.mean + shift;
            seen(*i, Predicted { mean, ..*part });
        }
    }

    /// From the mean of the parts of the last prediction to that of the weights learned at once.
    fn shift(&self) -> f64 {
        if self.together.is_empty() {
            return 0.0;
        }
        let mut sum = 0.0;
        for (draw, weights) in self.together.iter().enumerate() {
            let met = self.members.iter().flat_map(|m| m.met(draw));
            sum += met.zip(weights).map(|(f, w)| f * w).sum::<f64>();
        }
        let mean = sum / (self.members.len() * self.together.len()) as f64;
        let parts = self.seen.iter().map(|(_, part)| part.mean).sum::<f64>();
        mean - parts / self.seen.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ep::NetworkDraft;
    use crate::num::counter;

    const INDEX: [u32; 2] = [0, 1];
    const ROWS: usize = 40;
    const NOISE: StudentNoise = StudentNoise {
        variance: 0.05,
        dof: f64::INFINITY,
    };

    fn row(i: usize) -> ([f32; 2], f32) {
        let x = counter::bell(i as u32, 0);
        ([x, 1.0], (2.0 * x).sin() + 0.2 * counter::bell(i as u32, 1))
    }

    /// Networks of `hidden` units that have learned the rows, and a committee of them.
    fn learned(hidden: &[usize], k: u64) -> (Vec<Network>, Committee) {
        let rows: Vec<_> = (0..ROWS).map(row).collect();
        let input = |i: usize| Input {
            index: &INDEX,
            value: &rows[i].0,
        };
        let networks: Vec<Network> = (0..k)
            .map(|seed| {
                let mut draft = NetworkDraft::regression(2, hidden, 1);
                draft.seed = seed;
                let mut network = Network::new(&draft.build().unwrap());
                for (i, (_, y)) in rows.iter().enumerate() {
                    network.learn(input(i), &[*y], &[0.05], 1.0);
                }
                network
            })
            .collect();
        let table = |i: usize| (input(i), rows[i].1);
        let members = networks.iter().map(|network| (network, NOISE));
        let committee = Committee::joint(members, ROWS, &table);
        (networks, committee)
    }

    fn parts(committee: &mut Committee, x: f32) -> Vec<(usize, Predicted)> {
        let mut parts = Vec::new();
        let value = [x, 1.0];
        let input = Input {
            index: &INDEX,
            value: &value,
        };
        committee.predict(input, |i, part| parts.push((i, part)));
        parts
    }

    #[test]
    fn the_average_of_linear_networks_is_one_with_a_share_of_their_prior_variance() {
        let (networks, mut committee) = learned(&[], 4);
        let prior = f64::from(networks[0].spec.priors.direct.variance);
        let mut one = Normal::new(vec![prior / 4.0; 2]);
        for i in 0..ROWS {
            let (x, y) = row(i);
            one.add(&x.map(f64::from), y.into(), NOISE.variance);
        }
        let (weights, _) = one.solve().unwrap();
        for x in [-1.5f32, 0.0, 0.3, 4.0] {
            let want = f64::from(x) * weights[0] + weights[1];
            let parts = parts(&mut committee, x);
            let mean = parts.iter().map(|(_, part)| part.mean).sum::<f64>() / parts.len() as f64;
            assert!((mean - want).abs() < 1e-10, "{mean} {want}");
        }
    }

    #[test]
    fn no_other_weights_explain_the_rows_better_under_their_prior() {
        let (_, mut committee) = learned(&[6], 3);
        assert!(committee.is_together());
        for draw in 0..committee.together.len() {
            let mut seen = Vec::new();
            for i in 0..ROWS {
                let (value, y) = row(i);
                let x = Input {
                    index: &INDEX,
                    value: &value,
                };
                let (mut features, mut noise) = (Vec::new(), NOISE.variance);
                for member in &mut committee.members {
                    noise += member.look(draw, x) / 9.0;
                    features.extend(member.met(draw).iter().map(|f| f / 3.0));
                }
                seen.push((features, f64::from(y), noise));
            }
            let prior: Vec<f64> = committee
                .members
                .iter()
                .flat_map(LinearReadout::prior)
                .collect();
            let cost = |w: &[f64]| {
                let fits = seen.iter().map(|(f, y, noise)| {
                    let error = y - f.iter().zip(w).map(|(f, w)| f * w).sum::<f64>();
                    error * error / noise
                });
                let far = w.iter().zip(&prior).map(|(w, v)| w * w / v);
                fits.sum::<f64>() + far.sum::<f64>()
            };
            let best = &committee.together[draw];
            for k in 0..best.len() {
                for step in [-1e-3, 1e-3] {
                    let mut other = best.clone();
                    other[k] += step;
                    assert!(cost(&other) > cost(best), "{draw} {k}");
                }
            }
        }
    }

    #[test]
    fn one_network_or_too_many_weights_are_not_learned_at_once() {
        assert!(!learned(&[6], 1).1.is_together());
        let (_, mut wide) = learned(&[MAX_JOINT / 2], 2);
        assert!(wide.is_joint() && !wide.is_together());
        assert!(
            parts(&mut wide, 0.3)
                .iter()
                .all(|(_, part)| part.mean.is_finite())
        );
    }

    #[test]
    fn the_mixture_moves_as_a_whole() {
        let (networks, mut committee) = learned(&[6], 3);
        let mut apart = committee.clone();
        apart.together.clear();
        let mut moved = 0;
        for x in [-1.5f32, 0.0, 0.3, 4.0] {
            let (alone, together) = (parts(&mut apart, x), parts(&mut committee, x));
            assert_eq!(alone.len(), together.len());
            let shift = together[0].1.mean - alone[0].1.mean;
            moved += u32::from(shift.abs() > 1e-3);
            for ((i, a), (j, b)) in alone.iter().zip(&together) {
                assert_eq!((i, a.ignorance, a.spikes), (j, b.ignorance, b.spikes));
                assert!((b.mean - a.mean - shift).abs() < 1e-12);
            }
        }
        assert_eq!(moved, 4);
        let own = Committee::single(networks.iter());
        assert!(own.together.is_empty() && !own.is_joint());
    }
}
