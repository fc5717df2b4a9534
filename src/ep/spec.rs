//! Specification of a network, validated.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::family::Family;

/// How a hidden unit turns its input u into a spike.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum SpikeFunction {
    /// Spikes when u >= 0.
    Deterministic,
    /// Spikes with probability Phi(u / sqrt(noise)).
    Probit {
        /// Variance of the noise in front of the threshold, above 0.
        noise: f32,
    },
    /// Spikes with probability 1 / (1 + e^-u).
    Sigmoid,
}

/// Meaning of the outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutputKind {
    /// Each output is a real target with Gaussian noise.
    Regression,
    /// One output a class, one against the rest, through a probit.
    Classification,
    /// One output a class, against one another, through a softmax.
    Softmax,
}

/// The prior of one group of weights: each weight N(m0, variance), m0 itself drawn from the seed
/// with sd `mean_scale` times the prior's sd (a zero-mean prior is a saddle for hidden weights).
///
/// Of weights on a grid [-c, c] `variance` is c^2, and `mean_scale` the sd of the sites h.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prior {
    /// Variance of each weight, above 0.
    pub variance: f32,
    /// sd of the random prior means in units of the prior's sd, 0 and more.
    pub mean_scale: f32,
}

/// Priors of all groups of weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Priors {
    /// One for each hidden layer, then one for the output layer.
    pub layers: Vec<Prior>,
    /// Direct synapses from input to output.
    pub direct: Prior,
}

impl Priors {
    /// Priors for tables: variance 3 over the fan-in (1 in hidden layers above the first, 9 for
    /// regression outputs, 300 for classification outputs), means with half the prior's sd (twice
    /// in hidden layers above the first; 0 for regression outputs: hidden units already differ, and
    /// what was never learned adds nothing where no data is); direct synapses 1 over the number of
    /// inputs, mean 0.
    pub fn table(inputs: usize, hidden: &[usize], kind: OutputKind) -> Priors {
        let output = match kind {
            OutputKind::Regression => (9.0, 0.0),
            OutputKind::Classification | OutputKind::Softmax => (300.0, 0.5),
        };
        let mut fan_in = inputs;
        let mut layers = Vec::new();
        for (i, width) in hidden.iter().map(Some).chain([None]).enumerate() {
            let (gain, mean_scale) = match (width, i) {
                (None, _) => output,
                (Some(_), 0) => (3.0, 0.5),
                // Spikes below that are unsure would drown what differs between samples: weights
                // start as random features, surer than they are large.
                (Some(_), _) => (1.0, 2.0),
            };
            // From the second layer on the layer's own bias counts as an input.
            let fan = fan_in + usize::from(i > 0);
            layers.push(Prior {
                variance: gain / fan.max(1) as f32,
                mean_scale,
            });
            fan_in = width.copied().unwrap_or(0);
        }
        Priors {
            layers,
            direct: Prior {
                variance: 1.0 / inputs.max(1) as f32,
                mean_scale: 0.0,
            },
        }
    }

    /// Priors for streams of sensors: with n the nominal number of inputs, input layer variance
    /// 3/n around random means, output layer variance 1/H around 0.3 N(0, 1/H), direct synapses
    /// variance 1/n around 0.
    pub fn stream(n: f32, hidden: &[usize]) -> Priors {
        let mut priors = Priors::table(1, hidden, OutputKind::Regression);
        let width = hidden.last().copied().unwrap_or(1);
        if let Some(first) = priors.layers.first_mut() {
            first.variance = 3.0 / n;
            first.mean_scale = 1.0;
        }
        if let Some(last) = priors.layers.last_mut() {
            last.variance = 1.0 / width.max(1) as f32;
            last.mean_scale = 0.3;
        }
        priors.direct.variance = 1.0 / n;
        priors
    }

    /// The usual grid scales where a family is not Gaussian: c^2 = 1/fan-in for hidden weights,
    /// `output`/fan-in for the output's, initial sites of sd 0.5.
    fn with_grids(
        mut self,
        inputs: usize,
        hidden: &[usize],
        families: &[Family],
        output: f32,
    ) -> Priors {
        let fan_in = std::iter::once(inputs).chain(hidden.iter().map(|width| width + 1));
        for (i, (prior, fan_in)) in self.layers.iter_mut().zip(fan_in).enumerate() {
            if families.get(i).is_none_or(|f| *f == Family::Gaussian) {
                continue;
            }
            let gain = if i == hidden.len() { output } else { 1.0 };
            prior.variance = gain / fan_in.max(1) as f32;
            prior.mean_scale = 0.5;
        }
        self
    }
}

/// One fault of a [`NetworkDraft`].
#[derive(Clone, Debug, PartialEq)]
pub enum SpecError {
    /// No hidden layer and no direct synapses: nothing joins input and output.
    NoPath,
    /// A hidden layer without units.
    EmptyLayer(usize),
    /// The number of priors is not that of the layers.
    PriorCount {
        /// Priors given.
        got: usize,
        /// Layers, the output included.
        layers: usize,
    },
    /// The number of families is not that of the layers.
    FamilyCount {
        /// Families given.
        got: usize,
        /// Layers, the output included.
        layers: usize,
    },
    /// A number outside its range.
    Range {
        /// Which number.
        what: &'static str,
        /// Its legal range, in words.
        range: &'static str,
        /// The value that was given.
        got: f64,
    },
}

/// All faults of a [`NetworkDraft`].
#[derive(Clone, Debug, PartialEq)]
pub struct SpecErrors(pub Vec<SpecError>);

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LAYERS: &str = "layers (hidden layers and output)";
        match self {
            SpecError::NoPath => {
                f.write_str("a network without hidden layers needs direct synapses")
            }
            SpecError::EmptyLayer(layer) => write!(f, "hidden layer {layer} has no units"),
            SpecError::PriorCount { got, layers } => {
                write!(f, "{got} priors for {layers} {LAYERS}")
            }
            SpecError::FamilyCount { got, layers } => {
                write!(f, "{got} weight families for {layers} {LAYERS}")
            }
            SpecError::Range { what, range, got } => write!(f, "{what} must be {range}, got {got}"),
        }
    }
}

impl fmt::Display for SpecErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(SpecError::to_string).collect();
        f.write_str(&all.join("; "))
    }
}

impl std::error::Error for SpecError {}
impl std::error::Error for SpecErrors {}

/// A validated description of a network; made by [`NetworkDraft::build`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkSpec(NetworkDraft);

impl std::ops::Deref for NetworkSpec {
    type Target = NetworkDraft;

    fn deref(&self) -> &NetworkDraft {
        &self.0
    }
}

/// A description of a network, not yet validated.
///
/// The bias of the first layer and of direct synapses is an input like any other: the caller keeps
/// one input index for it and always activates it with value 1. Deeper layers have a bias of their
/// own (the output layer only where there are no direct synapses, whose bias serves it).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkDraft {
    /// Number of inputs, the caller's bias included.
    pub inputs: usize,
    /// Widths of the hidden layers; may be empty if `direct`.
    pub hidden: Vec<usize>,
    /// Number of outputs (0 and more: [`crate::ep::Network::grow`] may add some).
    pub outputs: usize,
    /// Direct Gaussian synapses from every input to every output.
    pub direct: bool,
    /// The hidden units' spikes.
    pub spikes: SpikeFunction,
    /// Meaning of the outputs.
    pub output: OutputKind,
    /// Memory N of stochastic EP in samples, above 1; `None` keeps everything.
    pub memory: Option<f64>,
    /// Weight families: one for each hidden layer, then one for the output layer. Direct synapses
    /// are Gaussian.
    pub families: Vec<Family>,
    /// Priors of the weights.
    pub priors: Priors,
    /// Likelihood power for Gaussian weights, above 0; 1 is Bayes' rule.
    pub power: f32,
    /// Likelihood power for weights on a grid, above 0.
    pub grid_power: f32,
    /// Seed of the prior means.
    pub seed: u64,
}

impl NetworkDraft {
    /// A regression network with priors for tables and no forgetting.
    pub fn regression(inputs: usize, hidden: &[usize], outputs: usize) -> NetworkDraft {
        NetworkDraft {
            inputs,
            hidden: hidden.to_vec(),
            outputs,
            direct: hidden.is_empty(),
            spikes: SpikeFunction::Deterministic,
            output: OutputKind::Regression,
            memory: None,
            families: vec![Family::Gaussian; hidden.len() + 1],
            priors: Priors::table(inputs, hidden, OutputKind::Regression),
            power: 1.0,
            grid_power: 1.0,
            seed: 0,
        }
    }

    /// A classification network, one output a class: priors for tables, likelihood power 3 (2 of weights
    /// on a grid), no forgetting.
    pub fn classification(inputs: usize, hidden: &[usize], classes: usize) -> NetworkDraft {
        NetworkDraft {
            output: OutputKind::Classification,
            priors: Priors::table(inputs, hidden, OutputKind::Classification),
            power: 3.0,
            grid_power: 2.0,
            ..NetworkDraft::regression(inputs, hidden, classes)
        }
    }

    /// Sets the families of all layers. Weights on a grid [-c, c] get the usual scales, with n the
    /// fan-in: c = 1/sqrt(n) in hidden layers, 10/sqrt(n) at the output, 17.3/sqrt(n) at a softmax,
    /// whose slope is that much smaller than a probit's.
    pub fn with_families(mut self, families: &[Family]) -> NetworkDraft {
        let output = match self.output {
            OutputKind::Softmax => 300.0,
            OutputKind::Regression | OutputKind::Classification => 100.0,
        };
        self.priors = self
            .priors
            .with_grids(self.inputs, &self.hidden, families, output);
        self.families = families.to_vec();
        self
    }

    /// A network for streams of sensors: direct synapses, priors for `nominal_inputs` inputs (see
    /// [`Priors::stream`]) and a memory of 10,000 samples.
    pub fn stream(
        inputs: usize,
        hidden: &[usize],
        outputs: usize,
        nominal_inputs: f32,
    ) -> NetworkDraft {
        NetworkDraft {
            direct: true,
            memory: Some(10_000.0),
            priors: Priors::stream(nominal_inputs, hidden),
            ..NetworkDraft::regression(inputs, hidden, outputs)
        }
    }

    /// Likelihood power of a family.
    pub(super) fn power_of(&self, family: Family) -> f32 {
        if family == Family::Gaussian {
            self.power
        } else {
            self.grid_power
        }
    }

    /// Validates.
    ///
    /// # Errors
    /// All faults at once.
    pub fn build(self) -> Result<NetworkSpec, SpecErrors> {
        let mut errors = Vec::new();
        if self.hidden.is_empty() && !self.direct {
            errors.push(SpecError::NoPath);
        }
        errors.extend(
            (0..self.hidden.len())
                .filter(|&i| self.hidden[i] == 0)
                .map(SpecError::EmptyLayer),
        );
        let layers = self.hidden.len() + 1;
        if self.priors.layers.len() != layers {
            let got = self.priors.layers.len();
            errors.push(SpecError::PriorCount { got, layers });
        }
        if self.families.len() != layers {
            let got = self.families.len();
            errors.push(SpecError::FamilyCount { got, layers });
        }
        for family in &self.families {
            if let Family::Levels(count @ ..3) = family {
                errors.push(SpecError::Range {
                    what: "number of weight levels",
                    range: "3 or more",
                    got: f64::from(*count),
                });
            }
        }
        for prior in self.priors.layers.iter().chain([&self.priors.direct]) {
            positive("prior variance", prior.variance.into(), &mut errors);
            if !(prior.mean_scale >= 0.0 && prior.mean_scale.is_finite()) {
                errors.push(SpecError::Range {
                    what: "scale of prior means",
                    range: "0 or more",
                    got: prior.mean_scale.into(),
                });
            }
        }
        if let SpikeFunction::Probit { noise } = self.spikes {
            positive("spike noise", noise.into(), &mut errors);
        }
        if let Some(memory) = self.memory
            && !(memory > 1.0 && memory.is_finite())
        {
            errors.push(SpecError::Range {
                what: "memory",
                range: "above 1 sample",
                got: memory,
            });
        }
        positive("likelihood power", self.power.into(), &mut errors);
        positive("grid likelihood power", self.grid_power.into(), &mut errors);
        if errors.is_empty() {
            Ok(NetworkSpec(self))
        } else {
            Err(SpecErrors(errors))
        }
    }
}

fn positive(what: &'static str, got: f64, errors: &mut Vec<SpecError>) {
    if !(got > 0.0 && got.is_finite()) {
        errors.push(SpecError::Range {
            what,
            range: "above 0",
            got,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_draft_reports_every_fault_at_once() {
        let mut draft = NetworkDraft::regression(3, &[0], 1);
        draft.memory = Some(f64::NAN);
        draft.power = 0.0;
        draft.priors.direct.variance = -1.0;
        let errors = draft.build().unwrap_err();
        assert_eq!(errors.0.len(), 4, "{errors}");
    }

    #[test]
    fn table_priors_scale_with_the_fan_in() {
        let priors = Priors::table(785, &[200], OutputKind::Classification);
        assert_eq!(priors.layers[0].variance, 3.0 / 785.0);
        assert_eq!(priors.layers[1].variance, 300.0 / 201.0);
    }
}
