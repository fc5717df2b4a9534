//! Counts incidents beyond the wanted ones, which stretch the bars of the channels' evidence.

use serde::{Deserialize, Serialize};

use super::{lasting_level, usual_level};

/// Memory, in wanted times between alarms.
const MEMORY: f64 = 4.0;
/// A quiet stream saves up no more than one incident.
const SAVED: f64 = 1.0;
/// Debt that stretches nothing: one incident in the wanted time is what was asked for.
const FREE: f64 = 0.5;
/// Debt of an incident that another test raised: one alone stretches nothing.
const ELSEWHERE: f64 = FREE;
/// Bars grow by this share for each incident too many.
const STRETCH: f64 = 1.2;
/// An incident again within this share of the wanted time, and of the rows lived, is a repeat.
const EPISODE_SHARE: f64 = 0.3;
const EPISODE_OF_LIFE: f64 = 0.25;
const REPEAT: f64 = 0.1;
/// Weight of a peak that was told as an incident: it says little about what is quiet. It grows to that
/// of any other from one incident more than wanted on, to three more: what is told again and again is no
/// news.
const TOLD: f64 = 0.1;
const TOLD_FREE: f64 = 1.0;
const TOLD_SPAN: f64 = 2.0;
/// Wanted times between alarms of each test, as multiples of that of the stream.
const SHARES: [f64; 4] = [1.0, 1.0, lasting_level::SHARE, usual_level::SHARE];

/// A test that raises incidents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AlarmSource {
    /// Evidence of surprising residuals.
    Evidence,
    /// The joint level.
    JointLevel,
    /// A level that is off from what the others let expect.
    Lasting,
    /// A level that is not usual.
    Usual,
}

impl AlarmSource {
    /// All of them.
    pub const ALL: [AlarmSource; 4] = [
        AlarmSource::Evidence,
        AlarmSource::JointLevel,
        AlarmSource::Lasting,
        AlarmSource::Usual,
    ];

    /// Each channel has a test of its own. The joint level is one of all channels, and of levels given the
    /// others only one channel's is told, since one that is off makes others look off.
    pub fn is_of_channel(self) -> bool {
        matches!(self, AlarmSource::Evidence | AlarmSource::Usual)
    }

    /// Incidents that other tests raised count for this one as well: after a deviation was told, its level is
    /// no news for long. The joint level of several channels is left out, since it tells apart faults of one
    /// week; that of a single one is the level of this channel.
    fn shares(self, n_channels: usize) -> bool {
        match self {
            AlarmSource::Evidence => false,
            AlarmSource::JointLevel => n_channels == 1,
            AlarmSource::Lasting | AlarmSource::Usual => true,
        }
    }

    /// Debt of an incident again within an episode. A fault that returns is told by evidence and by the joint
    /// level; one that the other two tests tell again shows that their bar is too low.
    fn repeat(self) -> f64 {
        match self {
            AlarmSource::Evidence | AlarmSource::JointLevel => REPEAT,
            AlarmSource::Lasting | AlarmSource::Usual => 1.0,
        }
    }
}

/// Debt that an incident made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlarmCharge {
    /// The test that opened it.
    pub source: AlarmSource,
    /// The channel that is charged; `None` for the stream.
    pub channel: Option<u16>,
    /// Incidents that it counts for.
    pub incidents: f64,
}

/// Debts of each test, of a stream or of one of its channels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AlarmDebts([AlarmDebt; 4]);

impl AlarmDebts {
    /// Adds `n` rows in which one incident in `between` rows was wanted of the stream or channel.
    pub fn rows(&mut self, n: f64, between: f64) {
        for (debt, share) in self.0.iter_mut().zip(SHARES) {
            debt.rows(n, share * between);
        }
    }

    /// A test opened an incident at `row`. Returns what it counts for.
    pub fn opened(&mut self, source: AlarmSource, row: u64, between: f64) -> f64 {
        self.0[source as usize].opened(row, between, source.repeat())
    }

    /// An incident that the tests `told` raised in a stream of `n_channels` counts by a share for the tests of a
    /// channel's level that did not: whoever wants one alarm in a week does not want it from each test.
    /// Returns the further charges.
    pub fn share(
        &mut self,
        told: &[AlarmSource],
        channel: Option<u16>,
        incidents: f64,
        n_channels: usize,
    ) -> Vec<AlarmCharge> {
        let incidents = ELSEWHERE * incidents;
        let mut charges = Vec::new();
        for source in AlarmSource::ALL {
            let is_here = channel.is_none() || source.is_of_channel();
            if is_here && source.shares(n_channels) && !told.contains(&source) {
                self.add(source, incidents);
                charges.push(AlarmCharge {
                    source,
                    channel,
                    incidents,
                });
            }
        }
        charges
    }

    /// Adds so many incidents to the debt of a test.
    pub fn add(&mut self, source: AlarmSource, incidents: f64) {
        self.0[source as usize].add(incidents);
    }

    /// Debt of a test.
    pub fn of(&self, source: AlarmSource) -> &AlarmDebt {
        &self.0[source as usize]
    }

    /// Rows since the last incident opened.
    pub fn rows_since(&self, row: u64) -> Option<u64> {
        self.0.iter().filter_map(|debt| debt.rows_since(row)).min()
    }

    /// Debt of a test in a channel that has these debts, in a stream of `n_channels` that has the debts
    /// `all`: its own, and of those of the others the part of the mean channel; that of the stream where the
    /// test is the stream's.
    pub fn in_channel(
        &self,
        source: AlarmSource,
        all: &AlarmDebts,
        n_channels: usize,
    ) -> AlarmDebt {
        let (own, all) = (&self.0[source as usize], &all.0[source as usize]);
        let part = if source.is_of_channel() {
            1.0 / n_channels.max(1) as f64
        } else {
            1.0
        };
        AlarmDebt {
            incidents: (1.0 - part) * own.incidents + part * all.incidents,
            last_row: own.last_row,
        }
    }
}

/// Incidents that a test opened, less those wanted, fading.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AlarmDebt {
    incidents: f64,
    /// Row at which the last incident opened.
    last_row: Option<u64>,
}

impl AlarmDebt {
    /// Adds `n` rows in which one incident in `between` rows was wanted.
    pub fn rows(&mut self, n: f64, between: f64) {
        let keep = (-n / (MEMORY * between)).exp();
        self.incidents = (keep * self.incidents - n / between).max(-SAVED);
    }

    /// An incident opened at `row`, which counts for `repeat` where it is one of an episode. Returns what it
    /// counts for.
    fn opened(&mut self, row: u64, between: f64, repeat: f64) -> f64 {
        let span = (EPISODE_SHARE * between).min(EPISODE_OF_LIFE * row as f64);
        let since = self.last_row.map(|last| row.saturating_sub(last) as f64);
        let counts = if since.is_some_and(|rows| rows < span) {
            repeat
        } else {
            1.0
        };
        self.add(counts);
        self.last_row = Some(row);
        counts
    }

    /// Adds so many incidents; an operator who confirms one takes it out.
    fn add(&mut self, incidents: f64) {
        self.incidents = (self.incidents + incidents).max(-SAVED);
    }

    /// Weight of what was told in the record of what is quiet: little, until there were more incidents
    /// than wanted.
    pub fn told_weight(&self) -> f64 {
        TOLD + (1.0 - TOLD) * self.excess()
    }

    /// Whether there were more incidents than wanted: 0 up to one more, 1 from three more on.
    pub fn excess(&self) -> f64 {
        ((self.incidents - TOLD_FREE) / TOLD_SPAN).clamp(0.0, 1.0)
    }

    /// Rows since the last incident opened.
    pub fn rows_since(&self, row: u64) -> Option<u64> {
        self.last_row.map(|last| row.saturating_sub(last))
    }

    /// Factor of the bars, 1 and more.
    pub fn stretch(&self) -> f64 {
        1.0 + STRETCH * (self.incidents - FREE).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incident_counts_by_a_share_for_the_other_tests_of_a_level() {
        let mut debts = AlarmDebts::default();
        let charge = |source, channel| AlarmCharge {
            source,
            channel,
            incidents: 0.25,
        };
        let of = |debts: &AlarmDebts| AlarmSource::ALL.map(|source| debts.of(source).incidents);
        let usual = [AlarmSource::Evidence, AlarmSource::Usual];
        let charges = debts.share(&usual, None, 0.5, 2);
        assert_eq!(charges, [charge(AlarmSource::Lasting, None)]);
        assert_eq!(of(&debts), [0.0, 0.0, 0.25, 0.0]);
        // A channel has no debts of what is the stream's.
        let mut channel = AlarmDebts::default();
        let charges = channel.share(&[AlarmSource::Evidence], Some(3), 0.5, 4);
        assert_eq!(charges, [charge(AlarmSource::Usual, Some(3))]);
        assert_eq!(of(&channel), [0.0, 0.0, 0.0, 0.25]);
        // The joint level of a single channel is the level of this channel.
        let mut alone = AlarmDebts::default();
        alone.share(&[AlarmSource::Evidence], None, 0.5, 1);
        assert_eq!(of(&alone), [0.0, 0.25, 0.25, 0.25]);
    }

    #[test]
    fn what_is_told_counts_little_until_it_is_told_too_often() {
        let mut debt = AlarmDebt::default();
        debt.opened(20_000, 10_000.0, REPEAT);
        assert_eq!(debt.told_weight(), TOLD);
        for n in 3..6 {
            debt.opened(n * 10_000, 10_000.0, REPEAT);
        }
        assert_eq!(debt.told_weight(), 1.0);
    }

    #[test]
    fn levels_that_are_told_again_count_in_full() {
        for (source, again) in [
            (AlarmSource::Evidence, REPEAT),
            (AlarmSource::JointLevel, REPEAT),
            (AlarmSource::Lasting, 1.0),
            (AlarmSource::Usual, 1.0),
        ] {
            let mut debts = AlarmDebts::default();
            assert_eq!(debts.opened(source, 20_000, 10_000.0), 1.0);
            assert_eq!(debts.opened(source, 21_000, 10_000.0), again, "{source:?}");
        }
    }

    #[test]
    fn a_channel_pays_for_its_own_alarms_and_a_little_for_those_of_the_others() {
        let (mut all, mut one, other) = Default::default();
        let counts = |debts: &mut AlarmDebts, source| {
            (1..5)
                .map(|n| debts.opened(source, n * 100_000, 1e9))
                .sum::<f64>()
        };
        let told = counts(&mut all, AlarmSource::Evidence);
        counts(&mut one, AlarmSource::Evidence);
        let debt = |own: &AlarmDebts, source, n| own.in_channel(source, &all, n).incidents;
        assert_eq!(debt(&one, AlarmSource::Evidence, 8), told);
        assert_eq!(debt(&other, AlarmSource::Evidence, 8), told / 8.0);
        assert_eq!(
            debt(&other, AlarmSource::Evidence, 1),
            told,
            "alone it is the stream"
        );
        counts(&mut all, AlarmSource::Lasting);
        let debt = other.in_channel(AlarmSource::Lasting, &all, 8).incidents;
        assert_eq!(debt, told, "a test of the stream");
    }

    #[test]
    fn the_wanted_incidents_stretch_little_and_too_many_much() {
        let mut debt = AlarmDebt::default();
        debt.opened(20_000, 10_000.0, REPEAT);
        let one = debt.stretch();
        debt.opened(21_000, 10_000.0, REPEAT);
        assert!(debt.stretch() < one + 0.2, "a repeat");
        debt.opened(30_000, 10_000.0, REPEAT);
        debt.opened(39_000, 10_000.0, REPEAT);
        assert!(debt.stretch() > one + 2.0);
        debt.rows(60_000.0, 10_000.0);
        assert_eq!(debt.stretch(), 1.0);
    }
}
