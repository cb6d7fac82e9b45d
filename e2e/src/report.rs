//! Violations for a person: each kind once, with the shortest history that shows it.

use std::{collections::BTreeMap, fmt::Write};

use crate::{
    check::Violation,
    history::{Absent, History, Notified, Op, Outcome, Said, Shown, What},
    reduce::reduce,
};

/// Violations of one kind that are named; of the first, the shortest history is shown.
const NAMED: usize = 5;

/// What is wrong, and how it can be seen.
pub fn report(history: &History, violations: &[Violation]) -> String {
    let mut kinds: BTreeMap<&str, Vec<&Violation>> = BTreeMap::new();
    for violation in violations {
        kinds.entry(violation.kind()).or_default().push(violation);
    }
    let mut text = String::new();
    for (kind, all) in kinds {
        let _ = writeln!(text, "{} of the kind `{kind}`:", all.len());
        for violation in all.iter().take(NAMED) {
            let _ = writeln!(text, "  {violation}");
        }
        let _ = writeln!(text, "the shortest history that shows the first of them:");
        text.push_str(&shown(&reduce(history, all[0])));
    }
    text
}

/// A history by time, one line for each thing; what has no time comes last.
pub fn shown(history: &History) -> String {
    let mut timed: Vec<(u64, String)> = history.faults.iter().map(|(at, what)| (*at, format!("-- {what}"))).collect();
    timed.extend(history.ops.iter().map(|op| (op.invoked, asked(op))));
    timed.extend(history.heard.iter().map(|heard| (heard.at, format!("{} heard {}", heard.device, said(&heard.said)))));
    timed.sort();
    let mut text = String::new();
    for (at, line) in timed {
        let _ = writeln!(text, "  {:>9.3}  {line}", seconds(at));
    }
    for entry in &history.log {
        let (seq, client_id) = (&entry.data["seq"], &entry.data["clientId"]);
        let _ = writeln!(text, "  log      {} {}: seq {seq} {client_id}", entry.cursor, entry.event);
    }
    for found in &history.archive {
        let _ = writeln!(text, "  MongoDB  {} `{}`", found.seq, found.client_id);
    }
    for read in &history.reads {
        let _ = writeln!(text, "  READS    {} delivered {} seen {}", read.user, read.delivered, read.seen);
    }
    for Notified { user, counts } in &history.notified {
        let _ = writeln!(text, "  notified {user}: {counts:?}");
    }
    if let Some(Absent { user, pushed, letters }) = &history.absent {
        let _ = writeln!(text, "  away     {user}: pushes that wait are about {pushed:?}; letters {letters:?}");
    }
    for Shown { by, user, picture } in &history.shown {
        let chats = picture["chats"].as_object().into_iter().flatten();
        let numbers: Vec<String> = chats
            .map(|(id, chat)| {
                format!("{id}: {} messages", chat["messages"].as_object().map_or(0, serde_json::Map::len))
            })
            .collect();
        let _ = writeln!(text, "  {by}, of {user}: {}", numbers.join(", "));
    }
    text
}

fn asked(op: &Op) -> String {
    let what = match &op.what {
        What::Send { client_id } => format!("sends `{client_id}`"),
        What::Mark { seq, seen: true } => format!("has seen {seq}"),
        What::Mark { seq, seen: false } => format!("has got {seq}"),
        What::Change { seq, change } => format!("asks for {change} of {seq}"),
    };
    let how = match &op.outcome {
        Outcome::Acked(seq) => format!("acknowledged as {seq}"),
        Outcome::Refused(code) => format!("refused as `{code}`"),
        Outcome::Unknown => "no answer".to_owned(),
    };
    format!("{} {what} in {}: {how} at {:.3}", op.device, op.chat, seconds(op.answered))
}

fn said(said: &Said) -> String {
    match said {
        Said::Disconnected => "that its connection is gone".to_owned(),
        Said::Joined { chat, cursor } => format!("that it joined {chat} at {cursor}"),
        Said::Left { chat } => format!("that it left {chat}"),
        Said::Logged { cursor, prev, event, .. } => format!("{cursor} after {prev}, {event}"),
        Said::Receipt { user, seq, seen, .. } => {
            format!("that {user} has {} {seq}", if *seen { "seen" } else { "got" })
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a run is shorter than 2^53 microseconds")]
fn seconds(at: u64) -> f64 {
    at as f64 / 1e6
}
