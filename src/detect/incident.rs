//! The incident state machine: opens at the bar, closes at half of it, gives in after the hold.

use serde::{Deserialize, Serialize};

/// When incidents open, close and give in.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentParams {
    /// Closes when the score has fallen to this share of the bar.
    pub close_share: f64,
    /// After this many rows the new normal is accepted.
    pub hold_rows: u32,
    /// No new incident within this many rows of a close: what comes back is the same one.
    pub refractory_rows: u32,
}

impl Default for IncidentParams {
    fn default() -> IncidentParams {
        IncidentParams {
            close_share: 0.5,
            hold_rows: 500,
            refractory_rows: 100,
        }
    }
}

/// What one row did to the incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: quiet stays quiet, or an incident goes on.
    Same,
    /// A new incident opened.
    Opened,
    /// The last incident flared up again within the refractory time.
    Reopened,
    /// The incident ended.
    Closed,
    /// The hold limit was reached: the new normal is accepted, the incident ended.
    Accepted,
}

/// The state: quiet, or open since some rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incidents {
    open: bool,
    /// Rows since it opened.
    age: u32,
    /// Rows since the last one closed.
    quiet: u32,
}

impl Default for Incidents {
    fn default() -> Incidents {
        Incidents {
            open: false,
            age: 0,
            quiet: u32::MAX,
        }
    }
}

impl Incidents {
    /// Takes one row's score over the bar (1 is the bar).
    pub fn step(&mut self, score: f64, params: &IncidentParams) -> Step {
        if self.open {
            self.age += 1;
            let outcome = if score <= params.close_share {
                Step::Closed
            } else if self.age > params.hold_rows {
                Step::Accepted
            } else {
                return Step::Same;
            };
            self.open = false;
            self.quiet = 0;
            return outcome;
        }
        self.quiet = self.quiet.saturating_add(1);
        if score <= 1.0 {
            return Step::Same;
        }
        self.open = true;
        self.age = 0;
        if self.quiet > params.refractory_rows {
            Step::Opened
        } else {
            Step::Reopened
        }
    }

    /// Ends an open incident by order: what comes next is a new one.
    pub fn end(&mut self) {
        self.open = false;
        self.quiet = u32::MAX;
    }

    /// An incident is open.
    pub fn is_open(&self) -> bool {
        self.open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(scores: &[(f64, usize)]) -> Vec<(usize, Step)> {
        let mut incidents = Incidents::default();
        let params = IncidentParams::default();
        scores
            .iter()
            .flat_map(|&(score, n)| std::iter::repeat_n(score, n))
            .enumerate()
            .map(|(row, score)| (row, incidents.step(score, &params)))
            .filter(|(_, step)| *step != Step::Same)
            .collect()
    }

    #[test]
    fn it_opens_past_the_bar_and_closes_at_half() {
        assert_eq!(
            run(&[(1.0, 5), (1.1, 1), (0.6, 10), (0.5, 1), (0.2, 5)]),
            [(5, Step::Opened), (16, Step::Closed)]
        );
    }

    #[test]
    fn what_comes_back_soon_is_the_same_incident() {
        let steps = run(&[(2.0, 3), (0.0, 50), (2.0, 3), (0.0, 200), (2.0, 1)]);
        let kinds: Vec<Step> = steps.iter().map(|s| s.1).collect();
        assert_eq!(
            kinds,
            [
                Step::Opened,
                Step::Closed,
                Step::Reopened,
                Step::Closed,
                Step::Opened
            ]
        );
    }

    #[test]
    fn a_level_that_stays_is_accepted() {
        assert_eq!(
            run(&[(1.3, 502)]),
            [(0, Step::Opened), (501, Step::Accepted)]
        );
    }
}
