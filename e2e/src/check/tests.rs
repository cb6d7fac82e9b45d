//! Each promise, broken once.

use serde_json::json;

use super::{
    check,
    fixture::{CHAT, finish, found, healthy, message, send},
};
use crate::history::{Absent, Change, Entry, History, Op, Outcome, Place, Said, What};

fn kinds(history: &History) -> Vec<&'static str> {
    let mut kinds: Vec<_> = check(history).iter().map(super::Violation::kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// The first picture of this place.
fn shown<'a>(history: &'a mut History, place: &Place) -> &'a mut serde_json::Value {
    &mut history.shown.iter_mut().find(|shown| shown.by == *place).unwrap().picture["chats"][CHAT]
}

fn device(name: &str) -> Place {
    Place::Device(name.to_owned())
}

#[test]
fn nothing_is_wrong_with_what_is_right() {
    assert_eq!(check(&healthy()), []);
    assert_eq!(check(&History::default()), []);
}

#[test]
fn an_acknowledged_message_is_nowhere_lost() {
    let mut history = healthy();
    history.log.remove(3);
    finish(&mut history);
    assert_eq!(kinds(&history), ["lost"], "the last one, everywhere");

    let mut history = healthy();
    history.archive.pop();
    assert_eq!(kinds(&history), ["lost"], "in MongoDB");

    let mut history = healthy();
    let messages = shown(&mut history, &device("ben-0"))["messages"].as_object_mut().unwrap();
    messages.remove("3");
    assert_eq!(kinds(&history), ["lost", "messages"], "at a device");

    let mut history = healthy();
    history.log.clear();
    history.archive.clear();
    assert!(kinds(&history).contains(&"lost"), "with its whole chat");
}

#[test]
fn an_unanswered_message_is_there_at_most_once() {
    let mut history = healthy();
    history.ops.push(send("ben", "d", 500, 600, Outcome::Unknown));
    assert_eq!(check(&history), [], "it need not be there");
    history.log.push(message("ben", "d", 4));
    finish(&mut history);
    assert_eq!(check(&history), [], "it may be");
    history.log.push(message("ben", "d", 5));
    finish(&mut history);
    assert_eq!(kinds(&history), ["doubled"]);
}

#[test]
fn an_acknowledged_message_has_one_number() {
    let mut history = healthy();
    history.ops.push(send("ben", "c", 500, 600, Outcome::Acked(4)));
    assert_eq!(kinds(&history), ["renumbered"], "a repeated send was told another one");

    let mut history = healthy();
    history.log.push(message("ben", "c", 4));
    finish(&mut history);
    assert_eq!(kinds(&history), ["doubled"]);
}

#[test]
fn a_message_is_from_somebody() {
    let mut history = healthy();
    history.log.push(message("ben", "z", 4));
    finish(&mut history);
    assert_eq!(kinds(&history), ["from-nobody"]);
}

#[test]
fn numbers_have_no_gap_and_no_double() {
    let mut history = healthy();
    history.ops.push(send("ben", "d", 500, 600, Outcome::Acked(5)));
    history.log.push(message("ben", "d", 5));
    finish(&mut history);
    assert_eq!(kinds(&history), ["gap"]);

    let mut history = healthy();
    history.ops.push(send("ben", "d", 500, 600, Outcome::Acked(3)));
    let mut same = message("ben", "d", 3);
    same.cursor = 14;
    history.log.push(same);
    let violations = check(&history);
    assert!(violations.iter().any(|one| one.kind() == "two-at-one-number"), "{violations:?}");
}

#[test]
fn the_order_is_the_same_for_all() {
    let mut history = healthy();
    history.archive = vec![found("anna", "a", 2), found("anna", "b", 1), found("ben", "c", 3)];
    assert_eq!(kinds(&history), ["renumbered", "two-at-one-number"]);

    // Two views that differ about messages of which nobody was told the number.
    let mut history = healthy();
    history.ops.iter_mut().filter(|op| op.acked_send()).for_each(|op| op.outcome = Outcome::Unknown);
    let messages = &mut shown(&mut history, &device("anna-0"))["messages"];
    let (one, other) = (messages["1"].clone(), messages["2"].clone());
    (messages["1"], messages["2"]) = (other, one);
    (messages["1"]["seq"], messages["2"]["seq"]) = (json!(1), json!(2));
    assert_eq!(kinds(&history), ["messages", "two-at-one-number"]);
}

#[test]
fn what_was_acknowledged_before_stands_before() {
    let mut history = healthy();
    // `c` was acknowledged as 3 at 350; `b`, which is 2, was asked for after that.
    history.ops[1].invoked = 400;
    history.ops[1].answered = 450;
    assert_eq!(kinds(&history), ["out-of-real-time"]);
    // At the same time, either order is right.
    history.ops[1].invoked = 340;
    assert_eq!(check(&history), []);
}

#[test]
fn times_follow_the_numbers() {
    let mut history = healthy();
    history.log[3].data["sentAt"] = json!("t1");
    finish(&mut history);
    assert_eq!(kinds(&history), ["time-backward"]);
}

#[test]
fn a_connection_hears_each_event_once_and_without_a_gap() {
    let mut history = healthy();
    let again = history.heard[4].clone();
    history.heard.insert(5, again);
    assert_eq!(kinds(&history), ["heard-twice"]);

    let mut history = healthy();
    history.heard.remove(3);
    assert_eq!(kinds(&history), ["heard-gap"]);

    // Unless it was said that it could not be filled.
    history.unfilled.push(CHAT.to_owned());
    assert_eq!(check(&history), []);
    history.unfilled.clear();

    // A new connection begins where it begins.
    let disconnected = history.heard[0].clone();
    history.heard.insert(3, disconnected);
    assert_eq!(check(&history), []);

    let mut history = healthy();
    let Said::Logged { print, .. } = &mut history.heard[3].said else { panic!("an event") };
    *print += 1;
    assert_eq!(kinds(&history), ["heard-other"]);
}

#[test]
fn receipts_go_forward_and_marks_hold() {
    let mut history = healthy();
    let at = history.heard.iter().position(|heard| matches!(heard.said, Said::Receipt { .. })).unwrap();
    let mut back = history.heard[at].clone();
    let Said::Receipt { seq, .. } = &mut back.said else { panic!("a receipt") };
    *seq = 1;
    history.heard.insert(at + 1, back);
    assert_eq!(kinds(&history), ["receipt-backward"]);

    let mut history = healthy();
    history.reads[0].seen = 1;
    history.reads[0].entry["seen"] = json!(1);
    finish(&mut history);
    assert_eq!(kinds(&history), ["mark-forgotten"]);
}

#[test]
fn what_is_shown_is_the_truth() {
    for (field, wrong, kind) in [
        ("unread", json!(7), "unread"),
        ("receipts", json!({}), "receipts"),
        ("members", json!({}), "members"),
        ("name", json!("other"), "other"),
    ] {
        for place in [Place::Fetch("ben-0".to_owned()), device("ben-0")] {
            let mut history = healthy();
            shown(&mut history, &place)[field] = wrong.clone();
            assert_eq!(kinds(&history), [kind], "{place}");
        }
    }
    let mut history = healthy();
    shown(&mut history, &device("anna-0"))["messages"]["1"]["text"] = json!("other");
    assert_eq!(kinds(&history), ["messages"]);

    let mut history = healthy();
    history.shown[0].picture["chats"]["another"] = history.shown[0].picture["chats"][CHAT].clone();
    assert_eq!(kinds(&history), ["chats"], "a chat that one is not in");
}

#[test]
fn presence_is_the_truth() {
    let mut history = healthy();
    for shown in &mut history.shown {
        shown.picture["presence"]["ben"]["online"] = json!(false);
    }
    assert_eq!(kinds(&history), ["presence"]);
}

/// Anna deletes `a`, and the log says so.
fn deleted() -> History {
    let mut history = healthy();
    let (what, data) = (What::Change { seq: 1, change: Change::Delete }, json!({ "chatId": CHAT, "seq": 1 }));
    history.ops.push(Op { what, ..send("anna", "", 600, 650, Outcome::Acked(1)) });
    history.log.push(Entry { chat: CHAT.to_owned(), cursor: 14, event: "message:deleted".to_owned(), data });
    finish(&mut history);
    history
}

#[test]
fn an_acknowledged_change_is_in_the_log() {
    assert_eq!(check(&deleted()), []);
    for change in [Change::Delete, Change::Edit { text: "other".to_owned() }, Change::React { emoji: "🌱".to_owned() }]
    {
        let mut history = healthy();
        let what = What::Change { seq: 1, change };
        history.ops.push(Op { what: what.clone(), ..send("anna", "", 600, 650, Outcome::Unknown) });
        assert_eq!(check(&history), [], "{what:?} need not be");
        history.ops.push(Op { what: what.clone(), ..send("anna", "", 600, 650, Outcome::Acked(1)) });
        assert_eq!(kinds(&history), ["change-lost"], "{what:?}");
    }
}

#[test]
fn what_was_deleted_is_not_changed_any_more() {
    for event in ["message:deleted", "reaction:removed"] {
        let mut history = deleted();
        let data = json!({ "chatId": CHAT, "seq": 1, "emoji": "🌱", "userId": "ben" });
        history.log.push(Entry { chat: CHAT.to_owned(), cursor: 15, event: event.to_owned(), data });
        finish(&mut history);
        assert_eq!(kinds(&history), ["changed-after-deleted"], "{event}");
    }
}

#[test]
fn each_has_one_notification_of_what_they_have_not_seen() {
    let of = |history: &mut History, user: &str, counts: &[u64]| {
        let notified = history.notified.iter_mut().find(|notified| notified.user == user).unwrap();
        notified.counts = [(CHAT.to_owned(), counts.to_vec())].into();
    };
    for (user, counts) in [("anna", &[][..]), ("anna", &[2]), ("anna", &[1, 1]), ("ben", &[1])] {
        let mut history = healthy();
        of(&mut history, user, counts);
        assert_eq!(kinds(&history), ["notifications"], "{user} {counts:?}");
    }
    let mut history = healthy();
    history.notified[1].counts = [("another".to_owned(), vec![1])].into();
    assert_eq!(kinds(&history), ["notifications"], "of a chat they are not in");
}

#[test]
fn who_is_away_is_pushed_the_latest_and_gets_one_letter() {
    let away = |pushed: Option<u64>, letters: &[&str]| {
        let mut history = healthy();
        let pushed = pushed.into_iter().map(|seq| (CHAT.to_owned(), seq)).collect();
        let letters = letters.iter().map(|letter| (*letter).to_owned()).collect();
        // Of what Anna has not seen, Ben wrote the last, the third.
        history.absent = Some(Absent { user: "anna".to_owned(), pushed, letters });
        kinds(&history)
    };
    assert_eq!(away(Some(3), &["one"]), [""; 0]);
    assert_eq!(away(Some(2), &["one"]), ["pushed"]);
    assert_eq!(away(None, &["one"]), ["pushed"]);
    assert_eq!(away(Some(3), &[]), ["letters"]);
    assert_eq!(away(Some(3), &["one", "two"]), ["letters"]);
}
