//! The shortest part of a history that still shows a violation: what a person wants to read.

use std::time::{Duration, Instant};

use crate::{
    check::{Violation, check},
    history::History,
};

/// A history that is not the shortest by then is shown as it is.
const PATIENCE: Duration = Duration::from_secs(20);

/// Leaves out everything without which the checker still finds this very violation.
pub fn reduce(history: &History, violation: &Violation) -> History {
    let mut shortest = history.clone();
    if let Some(chat) = violation.chat() {
        only_chat(&mut shortest, chat);
        if !shows(&shortest, violation) {
            shortest = history.clone();
        }
    }
    if shortest.absent.is_some() {
        let without = History { absent: None, ..shortest.clone() };
        if shows(&without, violation) {
            shortest = without;
        }
    }
    let mut shrinking = Shrinking { shortest, violation, until: Instant::now() + PATIENCE };
    // In the order of how much they hold, so that the rest is quick.
    shrinking.shrink(|history| &mut history.shown);
    shrinking.shrink(|history| &mut history.heard);
    shrinking.shrink(|history| &mut history.archive);
    shrinking.shrink(|history| &mut history.log);
    shrinking.shrink(|history| &mut history.ops);
    shrinking.shrink(|history| &mut history.reads);
    shrinking.shrink(|history| &mut history.notified);
    shrinking.shrink(|history| &mut history.online);
    shrinking.shortest
}

fn only_chat(history: &mut History, chat: &str) {
    history.ops.retain(|op| op.chat == chat);
    history.log.retain(|entry| entry.chat == chat);
    history.archive.retain(|found| found.chat == chat);
    history.reads.retain(|read| read.chat == chat);
    history.notified.iter_mut().for_each(|notified| notified.counts.retain(|of, _| of == chat));
    history.absent.iter_mut().for_each(|absent| absent.pushed.retain(|of, _| of == chat));
    history.heard.retain(|heard| heard.chat().is_none_or(|of| of == chat));
    for shown in &mut history.shown {
        if let Some(chats) = shown.picture["chats"].as_object_mut() {
            chats.retain(|id, _| id == chat);
        }
    }
}

fn shows(history: &History, violation: &Violation) -> bool {
    check(history).contains(violation)
}

struct Shrinking<'a> {
    shortest: History,
    violation: &'a Violation,
    until: Instant,
}

impl Shrinking<'_> {
    /// Takes out ever smaller pieces (Zeller, Hildebrandt: Simplifying and Isolating Failure-Inducing Input, 2002).
    fn shrink<T: Clone>(&mut self, part: fn(&mut History) -> &mut Vec<T>) {
        let mut piece = part(&mut self.shortest).len();
        while piece > 0 && Instant::now() < self.until {
            let mut at = 0;
            while at < part(&mut self.shortest).len() && Instant::now() < self.until {
                let items = part(&mut self.shortest);
                let end = (at + piece).min(items.len());
                let removed: Vec<T> = items.drain(at..end).collect();
                if !shows(&self.shortest, self.violation) {
                    part(&mut self.shortest).splice(at..at, removed);
                    at = end;
                }
            }
            piece /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixture;

    #[test]
    fn what_has_nothing_to_do_with_it_is_left_out() {
        let mut history = fixture::healthy();
        history.archive.retain(|found| found.client_id != "b");
        let violations = check(&history);
        let lost = violations.iter().find(|violation| violation.kind() == "lost").unwrap();
        let shortest = reduce(&history, lost);
        assert_eq!(shortest.ops.len(), 1, "the send of `b`");
        assert_eq!((shortest.heard.len(), shortest.shown.len(), shortest.reads.len()), (0, 0, 0));
        assert!(check(&shortest).contains(lost));
    }
}
