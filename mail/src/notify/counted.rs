//! Which messages a notification has counted: events may come again, and late.

use std::ops::RangeInclusive;

use contract::event::Seq;
use rangemap::RangeInclusiveSet;
use serde::{Deserialize, Serialize};

/// Runs that are known; with more of them the oldest is taken for forgotten.
const RUNS: usize = 1_000;

/// Messages by their numbers, as runs of them, which they mostly are: a thousand unread messages are one pair of numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Counted(RangeInclusiveSet<Seq>);

impl Counted {
    pub fn one(seq: Seq) -> Self {
        Self([seq..=seq].into_iter().collect())
    }

    pub fn contains(&self, seq: Seq) -> bool {
        self.0.contains(&seq)
    }

    /// False where it has been counted, or is so far back that nobody knows any more.
    pub fn insert(&mut self, seq: Seq) -> bool {
        let forgotten = self.0.len() >= RUNS && self.0.first().is_some_and(|first| seq < *first.start());
        if forgotten || self.contains(seq) {
            return false;
        }
        self.0.insert(seq..=seq);
        if self.0.len() > RUNS
            && let Some(oldest) = self.0.first().cloned()
        {
            self.0.remove(oldest);
        }
        true
    }

    /// Inserts what another has counted; answers how many of them had not been counted here.
    pub fn insert_all(&mut self, other: &Self) -> u64 {
        other.0.iter().flat_map(RangeInclusive::clone).filter(|seq| self.insert(*seq)).count() as u64
    }

    /// Whether it had been counted.
    pub fn remove(&mut self, seq: Seq) -> bool {
        let counted = self.contains(seq);
        self.0.remove(seq..=seq);
        counted
    }

    /// Removes what is not beyond `seen`; answers how many those were.
    pub fn remove_to(&mut self, seen: Seq) -> u64 {
        let seen = 0..=seen;
        let removed = self.0.overlapping(&seen).map(|run| (*run.end()).min(*seen.end()) - run.start() + 1).sum();
        self.0.remove(seen);
        removed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    use super::*;

    proptest! {
        #[test]
        fn behaves_as_a_set_of_numbers(steps in prop::collection::vec((0..5_u8, 0..60_u64), 0..80)) {
            let (mut counted, mut set) = (Counted::default(), BTreeSet::new());
            for (kind, seq) in steps {
                match kind {
                    0 | 1 => prop_assert_eq!(counted.insert(seq), set.insert(seq)),
                    2 => prop_assert_eq!(counted.remove(seq), set.remove(&seq)),
                    3 => {
                        let (mut other, more) = (Counted::one(seq), BTreeSet::from([seq, seq + 1]));
                        other.insert(seq + 1);
                        prop_assert_eq!(counted.insert_all(&other), more.difference(&set).count() as u64);
                        set.extend(more);
                    }
                    _ => {
                        let later = set.split_off(&(seq + 1));
                        prop_assert_eq!(counted.remove_to(seq), set.len() as u64);
                        set = later;
                    }
                }
                prop_assert!((0..61).all(|seq| counted.contains(seq) == set.contains(&seq)));
            }
        }
    }

    #[test]
    fn a_run_is_two_numbers_in_the_database() {
        let mut counted = Counted::one(3);
        for seq in [1, 2, 5, 4, 9] {
            assert!(counted.insert(seq));
        }
        let stored = bson::serialize_to_bson(&counted).unwrap();
        assert_eq!(stored, bson::bson!([[1_i64, 5_i64], [9_i64, 9_i64]]));
        assert_eq!(bson::deserialize_from_bson::<Counted>(stored).unwrap(), counted);
    }

    #[test]
    fn the_oldest_runs_are_forgotten_and_not_counted_again() {
        let mut counted = Counted::default();
        let runs = RUNS as u64;
        for run in 1..=runs + 1 {
            assert!(counted.insert(2 * run));
        }
        assert!(!counted.contains(2));
        assert!(!counted.insert(2));
        assert!(counted.insert(2 * runs + 3));
    }
}
