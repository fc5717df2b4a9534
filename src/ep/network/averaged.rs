//! Averaged EP within a mini-batch: one site for the batch, the average of the sites of its samples.
//!
//! The belief is q0 f^B: q0 the belief without the batch, f the averaged site (in the first sweep
//! 1). A sweep projects every sample against one cavity, q0 f^(B-1), and moves f^B towards the
//! product of the sites that come of it. Sites of one cavity do not know of each other, and several
//! of them may each explain the same error: each unit takes only the share
//! clip(sum of g domega / (sum of Gamma+ domega^2 + sum of dm^2/s), 0, 1) of its step in the first
//! sweep (a line search), and at most half a step in those that follow.

use super::Network;
use super::sample::{Flat, LabelledInput, Observation};
use crate::ep::kernel::padded;
use crate::ep::report::Report;

/// The messages of a sample to the units: g and Gamma of the input lanes, then of each upper layer, and
/// the spike probabilities below each.
struct SampleMessages {
    lanes: (Vec<f32>, Vec<f32>),
    upper: Vec<(Vec<f32>, Vec<f32>, Vec<f32>)>,
}

impl SampleMessages {
    fn of(network: &Network, lesson: Observation<'_>) -> SampleMessages {
        let s = &network.scratch;
        let mut upper = Vec::new();
        for (i, units) in s.units.iter().enumerate() {
            let (g, gamma) = match s.units.get(i + 1) {
                Some(next) => (next.g.clone(), next.gamma.clone()),
                None => output_messages(network, lesson),
            };
            upper.push((g, gamma, units.a.clone()));
        }
        SampleMessages {
            lanes: (s.g.clone(), s.gamma.clone()),
            upper,
        }
    }
}

fn output_messages(network: &Network, lesson: Observation<'_>) -> (Vec<f32>, Vec<f32>) {
    let s = &network.scratch;
    let Observation::Values(target, noise) = lesson else {
        return (s.out_g.clone(), s.out_gamma.clone());
    };
    let moments = s.mean.iter().zip(&s.out_variance).enumerate();
    moments
        .map(|(k, (&m, &v))| {
            let total = v + noise[k];
            if target[k].is_nan() {
                (0.0, 0.0)
            } else {
                ((target[k] - m) / total, 1.0 / total)
            }
        })
        .unzip()
}

/// Largest share of a step after the first sweep: two beliefs that each answer the other's error
/// would swing for ever.
const LATER: f32 = 0.5;

/// Learns a batch in `sweeps` sweeps (1 and more) by averaged EP.
pub(super) fn averaged(
    network: &mut Network,
    batch: &[LabelledInput<'_>],
    sweeps: usize,
) -> Report {
    let base = Flat::of(network);
    let n = base.mean.len();
    // f^B, in natural parameters.
    let (mut precision, mut shift) = (vec![0.0f32; n], vec![0.0f32; n]);
    let mut report = Report::default();
    for sweep in 0..sweeps {
        let kept = 1.0 - 1.0 / batch.len() as f32;
        let cavity = if sweep == 0 {
            base.clone()
        } else {
            base.times(&precision, &shift, kept, &mut report)
        };
        let (sites, sent, learned) = project(network, batch, &cavity);
        report = Report {
            clipped: report.clipped + learned.clipped,
            ..learned
        };
        let now = base.times(&precision, &shift, 1.0, &mut report);
        let goal = base.times(&sites.0, &sites.1, 1.0, &mut report);
        let change: Vec<f32> = goal
            .mean
            .iter()
            .zip(&now.mean)
            .map(|(a, b)| a - b)
            .collect();
        let mut share = damping(network, batch, &sent, &base, &change);
        if sweep > 0 {
            share.iter_mut().for_each(|share| *share = share.min(LATER));
        }
        let damped = share.iter().any(|share| *share < 1.0);
        for at in 0..n {
            precision[at] += share[at] * (sites.0[at] - precision[at]);
            // The mean, not the shift, takes its share: the line search is one over means.
            let mean = share[at].mul_add(change[at], now.mean[at]);
            let total = 1.0 / base.variance[at] + precision[at];
            shift[at] = mean * total.max(base.floor[at]) - base.mean[at] / base.variance[at];
        }
        if damped {
            report.damped = std::mem::take(&mut report.accepted);
        }
    }
    base.times(&precision, &shift, 1.0, &mut report)
        .write(network);
    report
}

/// Sums of precisions and shifts of sites, one entry a weight.
type SiteSums = (Vec<f32>, Vec<f32>);

/// The product of the samples' sites, each against the cavity, and what they sent to the units.
fn project(
    network: &mut Network,
    batch: &[LabelledInput<'_>],
    cavity: &Flat,
) -> (SiteSums, Vec<SampleMessages>, Report) {
    let stride = network.input.stride();
    let upper_at = cavity.index.len() * stride;
    let n = cavity.mean.len();
    let (mut precision, mut shift) = (vec![0.0f32; n], vec![0.0f32; n]);
    let mut sent = Vec::new();
    let mut report = Report::default();
    cavity.write(network);
    for &sample in batch {
        report += sample.1.teach(network, sample.0, 1.0);
        sent.push(SampleMessages::of(network, sample.1));
        let places = |index: &[u32]| {
            let rows: Vec<usize> = index.iter().map(|j| *j as usize * stride).collect();
            let rows = rows.into_iter().flat_map(move |at| at..at + stride);
            rows.chain(upper_at..n)
        };
        let mut place = places(sample.0.index);
        network.visit(sample.0.index, &mut |m, s, _| {
            for (m, s) in m.iter_mut().zip(s) {
                // The runs cover exactly these places.
                let Some(at) = place.next() else { return };
                precision[at] += 1.0 / *s - 1.0 / cavity.variance[at];
                shift[at] += *m / *s - cavity.mean[at] / cavity.variance[at];
                (*m, *s) = (cavity.mean[at], cavity.variance[at]);
            }
        });
    }
    ((precision, shift), sent, report)
}

/// Line search of one unit: sums of g domega, Gamma+ domega^2 and dm^2/s.
#[derive(Clone, Copy, Default)]
struct Search {
    gain: f32,
    cost: f32,
}

impl Search {
    fn sample(&mut self, g: f32, gamma: f32, domega: f32) {
        self.gain += g * domega;
        self.cost += gamma.max(0.0) * domega * domega;
    }

    /// eta, the share of the step to take. A unit that does not move needs no damping.
    fn share(self) -> f32 {
        if self.cost == 0.0 {
            1.0
        } else {
            (self.gain / self.cost).max(0.0).min(1.0)
        }
    }
}

/// The share of its step that every weight takes: that of its unit.
fn damping(
    network: &Network,
    batch: &[LabelledInput<'_>],
    sent: &[SampleMessages],
    base: &Flat,
    change: &[f32],
) -> Vec<f32> {
    let stride = network.input.stride();
    let mut shares = vec![1.0; change.len()];
    let mut lanes = vec![Search::default(); stride];
    for ((x, _), sent) in batch.iter().zip(sent) {
        for (lane, search) in lanes.iter_mut().enumerate() {
            let terms = x.index.iter().zip(x.value);
            let domega = terms
                .map(|(&j, x)| x * change[j as usize * stride + lane])
                .sum();
            search.sample(sent.lanes.0[lane], sent.lanes.1[lane], domega);
        }
    }
    let rows = base.index.len();
    for at in 0..rows * stride {
        lanes[at % stride].cost += change[at] * change[at] / base.variance[at];
    }
    for at in 0..rows * stride {
        shares[at] = lanes[at % stride].share();
    }
    let mut at = rows * stride;
    for (l, layer) in network.upper.iter().enumerate() {
        let width = padded(network.spec.hidden[l]);
        let units = network.spec.hidden.get(l + 1).copied();
        let units = units.unwrap_or(network.outputs);
        let bias = at + units * width;
        for k in 0..units {
            let row = at + k * width..at + (k + 1) * width;
            let places = || row.clone().chain(layer.has_bias().then_some(bias + k));
            let mut search = Search::default();
            for sent in sent {
                let (g, gamma, a) = &sent.upper[l];
                let inputs = a.iter().chain([&1.0]);
                let domega = inputs.zip(places()).map(|(a, at)| a * change[at]).sum();
                search.sample(g[k], gamma[k], domega);
            }
            for at in places() {
                search.cost += change[at] * change[at] / base.variance[at];
            }
            for at in places() {
                shares[at] = search.share();
            }
        }
        at += layer.size();
    }
    shares
}
