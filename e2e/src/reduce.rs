//! The shortest part of a history that still shows a violation: what a person wants to read.

use crate::{
    check::{Violation, check},
    history::History,
};

/// Leaves out everything without which the checker still finds this very violation.
pub fn reduce(history: &History, violation: &Violation) -> History {
    let mut shortest = history.clone();
    if let Some(chat) = violation.chat() {
        only_chat(&mut shortest, chat);
        if !shows(&shortest, violation) {
            shortest = history.clone();
        }
    }
    // In the order of how much they hold, so that the rest is quick.
    shrink(&mut shortest, |history| &mut history.heard, violation);
    shrink(&mut shortest, |history| &mut history.shown, violation);
    shrink(&mut shortest, |history| &mut history.archive, violation);
    shrink(&mut shortest, |history| &mut history.log, violation);
    shrink(&mut shortest, |history| &mut history.ops, violation);
    shrink(&mut shortest, |history| &mut history.reads, violation);
    shrink(&mut shortest, |history| &mut history.online, violation);
    shortest
}

fn only_chat(history: &mut History, chat: &str) {
    history.ops.retain(|op| op.chat == chat);
    history.log.retain(|entry| entry.chat == chat);
    history.archive.retain(|found| found.chat == chat);
    history.reads.retain(|read| read.chat == chat);
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

/// Takes out ever smaller pieces (Zeller, Hildebrandt: Simplifying and Isolating Failure-Inducing Input, 2002).
fn shrink<T: Clone>(history: &mut History, part: fn(&mut History) -> &mut Vec<T>, violation: &Violation) {
    let mut piece = part(history).len();
    while piece > 0 {
        let mut at = 0;
        while at < part(history).len() {
            let end = (at + piece).min(part(history).len());
            let removed: Vec<T> = part(history).drain(at..end).collect();
            if !shows(history, violation) {
                part(history).splice(at..at, removed);
                at = end;
            }
        }
        piece /= 2;
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
