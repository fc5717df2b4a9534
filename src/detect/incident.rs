//! The incident state machine: opens at the bar, closes at half of it, gives in after the hold.

use serde::{Deserialize, Serialize};

/// When incidents open, close and give in.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentParams {
    /// A channel has left when its score has fallen to this share of the bar.
    pub close_share: f64,
    /// After this many rows the new normal is accepted.
    pub hold_rows: u32,
    /// After so many seconds likewise, but not before 100 rows.
    pub hold_s: f64,
    /// No new incident within this many rows of a close: what comes back is the same one.
    pub refractory_rows: u32,
}

impl Default for IncidentParams {
    fn default() -> IncidentParams {
        IncidentParams {
            close_share: 0.5,
            hold_rows: 500,
            hold_s: 172_800.0,
            refractory_rows: 100,
        }
    }
}

/// A channel whose score passes the bar so soon after the opening that, from zero, it gathered
/// this much a row carries the incident, nats: e of p = .1, each row as rare as one in ten.
const GATHERS: f64 = 0.25;
/// Later only a channel that goes from the closing share to the bar by this much a row does, nats:
/// e of p = .02, a fault of its own. A slower rise is aftermath.
const RISES: f64 = 1.0;

/// Changes of the incident by one row.
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

/// One channel's part in an incident.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Member {
    carries: bool,
    /// Rows since its score left the closing share.
    raised: u32,
}

/// The state: quiet, or open since some rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incidents {
    open: bool,
    members: Vec<Member>,
    /// Rows since it opened.
    age: u32,
    /// Rows since the last one closed.
    quiet: u32,
}

impl Default for Incidents {
    fn default() -> Incidents {
        Incidents {
            open: false,
            members: Vec::new(),
            age: 0,
            quiet: u32::MAX,
        }
    }
}

impl Incidents {
    /// Takes each channel's score over the bar (1 is the bar) of `bar` nats. An incident ends when
    /// every channel that carries it has fallen to the closing share.
    pub fn step(
        &mut self,
        scores: impl Iterator<Item = f64>,
        bar: f64,
        params: &IncidentParams,
    ) -> Step {
        let gathers = !self.open || f64::from(self.age) < bar / GATHERS;
        let rises = (bar * (1.0 - params.close_share) / RISES).ceil();
        let mut carried = false;
        for (c, score) in scores.enumerate() {
            if c == self.members.len() {
                self.members.push(Member::default());
            }
            let member = &mut self.members[c];
            if score <= params.close_share {
                *member = Member::default();
                continue;
            }
            member.raised = member.raised.saturating_add(1);
            if score > 1.0 && (gathers || f64::from(member.raised) <= rises) {
                member.carries = true;
            }
            carried |= member.carries;
        }
        if self.open {
            self.age += 1;
            let outcome = if !carried {
                Step::Closed
            } else if self.age > params.hold_rows {
                Step::Accepted
            } else {
                return Step::Same;
            };
            self.leave();
            self.quiet = 0;
            return outcome;
        }
        self.quiet = self.quiet.saturating_add(1);
        if !carried {
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
        self.leave();
        self.quiet = u32::MAX;
    }

    /// A channel has joined: at least `rows` of the hold of `hold_rows` remain.
    pub fn renew(&mut self, rows: u32, hold_rows: u32) {
        self.age = self.age.min(hold_rows.saturating_sub(rows));
    }

    /// Rows since the present incident opened.
    pub fn age(&self) -> u32 {
        self.age
    }

    fn leave(&mut self) {
        self.open = false;
        self.members.fill(Member::default());
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
            .map(|(row, score)| (row, incidents.step([score].into_iter(), 16.0, &params)))
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

    #[test]
    fn it_ends_with_the_channels_that_carry_it() {
        // With a bar of 16 nats it gathers for 64 rows. Then a slow rise of the other channel is
        // aftermath, one from half the bar within 8 rows a fault of its own.
        for (rise, end) in [(8, Step::Closed), (7, Step::Same)] {
            let mut incidents = Incidents::default();
            let params = IncidentParams::default();
            let mut step = |a: f64, b: f64| incidents.step([a, b].into_iter(), 16.0, &params);
            assert_eq!(step(1.2, 0.0), Step::Opened);
            for _ in 0..64 {
                assert_eq!(step(1.2, 0.4), Step::Same);
            }
            for _ in 0..rise {
                assert_eq!(step(1.2, 0.9), Step::Same);
            }
            assert_eq!(step(1.2, 1.3), Step::Same);
            assert_eq!(step(0.4, 1.3), end);
        }
    }
}
