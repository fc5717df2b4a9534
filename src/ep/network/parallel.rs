//! All samples of a mini-batch against the belief before it, damped unit by unit.
//!
//! The whole step of a unit is the sum of what each sample would do by itself. Of it the unit takes
//! the share clip(sum of g domega / (sum of Gamma+ domega^2 + sum of dm^2/s), 0, 1): one line search.

use super::Network;
use super::batch::{Flat, Lesson, Sample};
use crate::ep::kernel::padded;
use crate::ep::report::Report;

/// What a sample sent to the units: g and Gamma of the input lanes, then of each upper layer, and
/// the spike probabilities below each.
struct Sent {
    lanes: (Vec<f32>, Vec<f32>),
    upper: Vec<(Vec<f32>, Vec<f32>, Vec<f32>)>,
}

impl Sent {
    fn of(network: &Network, lesson: Lesson<'_>) -> Sent {
        let s = &network.scratch;
        let mut upper = Vec::new();
        for (i, units) in s.units.iter().enumerate() {
            let (g, gamma) = match s.units.get(i + 1) {
                Some(next) => (next.g.clone(), next.gamma.clone()),
                None => output_messages(network, lesson),
            };
            upper.push((g, gamma, units.a.clone()));
        }
        Sent {
            lanes: (s.g.clone(), s.gamma.clone()),
            upper,
        }
    }
}

fn output_messages(network: &Network, lesson: Lesson<'_>) -> (Vec<f32>, Vec<f32>) {
    let s = &network.scratch;
    let Lesson::Values(target, noise) = lesson else {
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

/// Learns a batch against the belief before it, damped.
pub(super) fn parallel(network: &mut Network, batch: &[Sample<'_>]) -> Report {
    let base = Flat::of(network);
    let stride = network.input.stride();
    let upper_at = base.index.len() * stride;
    let n = base.mean.len();
    let (mut precision, mut shift) = (vec![0.0f32; n], vec![0.0f32; n]);
    let mut sent = Vec::new();
    let mut report = Report::default();
    for &sample in batch {
        let learned = sample.1.teach(network, sample.0, 1.0);
        sent.push(Sent::of(network, sample.1));
        report += learned;
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
                precision[at] += 1.0 / *s - 1.0 / base.variance[at];
                shift[at] += *m / *s - base.mean[at] / base.variance[at];
                (*m, *s) = (base.mean[at], base.variance[at]);
            }
        });
    }
    // The whole step.
    let mut change = vec![0.0f32; n];
    for at in 0..n {
        let p0 = 1.0 / base.variance[at];
        let p = (p0 + precision[at]).max(base.floor[at]);
        precision[at] = p - p0;
        change[at] = (base.mean[at] * p0 + shift[at]) / p - base.mean[at];
    }
    let share = damping(network, batch, &sent, (&base, &change));
    let damped = share.iter().any(|share| *share < 1.0);
    let mut at = 0;
    network.visit(&base.index, &mut |m, s, _| {
        for (m, s) in m.iter_mut().zip(s) {
            *m = share[at].mul_add(change[at], base.mean[at]);
            *s = 1.0 / share[at].mul_add(precision[at], 1.0 / base.variance[at]);
            at += 1;
        }
    });
    if damped {
        report.damped = std::mem::take(&mut report.accepted);
    }
    report
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
    batch: &[Sample<'_>],
    sent: &[Sent],
    (base, change): (&Flat, &[f32]),
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
