use std::collections::{BTreeMap, BTreeSet, HashMap};

use contract::{
    event::{ChatType, MessageDeleted, MessageEdited},
    text::{ClientId, MessageText, Name},
};

use super::*;

struct World {
    chat: ChatId,
    audience: Audience,
    /// Of each user.
    latest: HashMap<UserId, Stored>,
}

impl World {
    fn new<const N: usize>() -> (Self, [UserId; N]) {
        let users = std::array::from_fn(|_| UserId::new());
        let listener = |user_id: &UserId| Listener { user_id: *user_id, muted: false, seen: 0 };
        let audience = Audience {
            name: Some(Name::new("Walkers").unwrap()),
            chat_type: ChatType::Group,
            members: users.iter().map(listener).collect(),
            senders: BTreeMap::new(),
            erased: BTreeSet::new(),
        };
        (Self { chat: ChatId::new(), audience, latest: HashMap::new() }, users)
    }

    fn listener(&mut self, user: UserId) -> &mut Listener {
        self.audience.members.iter_mut().find(|listener| listener.user_id == user).unwrap()
    }

    /// Works on a batch and remembers what was written.
    fn take(&mut self, events: &[Event]) -> Outcome {
        let mut known = Known::default();
        for one in self.latest.values() {
            known.add(one.clone());
        }
        let over = take_seen(&mut known, &self.audience);
        for one in &over {
            self.latest.get_mut(&one.user_id).unwrap().read_at = Some(Time::from_millis(98));
        }
        let mut plan = Plan::new(self.chat, &self.audience, known);
        for event in events {
            plan.take(event, Time::from_millis(99));
        }
        let outcome = plan.outcome();
        for one in outcome.changed.iter().chain(&outcome.new) {
            if one.kind != NotificationType::Added {
                self.latest.insert(one.user_id, one.clone());
            }
        }
        outcome
    }

    fn message(&self, seq: Seq, sender: UserId, text: &str) -> Message {
        Message {
            chat_id: self.chat,
            seq,
            kind: MessageKind::User,
            sender_id: sender,
            client_id: ClientId::new(seq.to_string()).unwrap(),
            text: MessageText::new(text).unwrap(),
            reply_to: None,
            attachments: Vec::new(),
            mentions: Vec::new(),
            reactions: BTreeMap::new(),
            sent_at: Time::from_millis(i64::try_from(seq).unwrap()),
            edited_at: None,
            deleted_at: None,
            change: None,
        }
    }
}

#[test]
fn messages_coalesce_until_they_are_read_and_a_batch_taken_twice_counts_once() {
    let (mut world, [anna, ben]) = World::new();
    let events = [1, 2, 3].map(|seq| Event::MessageNew(world.message(seq, anna, &format!("n {seq}"))));
    let first = world.take(&events[..2]);
    assert_eq!((first.new.len(), first.changed.len()), (1, 0));
    let one = world.latest[&ben].clone();
    assert_eq!((one.count, one.seq, one.preview.as_str(), one.created_at), (2, Some(2), "n 2", Time::from_millis(1)));
    assert_eq!(first.told, HashSet::from([ben]));

    // The one before died after it had written, before it had told: told again, counted once.
    let again = world.take(&events[..2]);
    assert_eq!((again.new.len(), again.changed.len(), again.told.len()), (0, 1, 1));
    assert_eq!(world.latest[&ben], one);
    // What is not the last word says nothing.
    assert!(world.take(&events[..1]).told.is_empty());

    world.latest.get_mut(&ben).unwrap().mailed = true;
    let more = world.take(&events[2..]);
    assert_eq!((more.changed[0].count, more.changed[0].mailed, more.unmailed.len()), (3, false, 1));
    world.latest.get_mut(&ben).unwrap().read_at = Some(Time::from_millis(50));
    let fourth = Event::MessageNew(world.message(4, anna, "n 4"));
    let next = world.take(&[fourth]);
    assert_eq!((next.new.len(), next.new[0].count), (1, 1));
    assert_ne!(next.new[0].id, one.id);
}

#[test]
fn nothing_is_added_to_what_has_been_seen() {
    let (mut world, [anna, ben]) = World::new();
    let events = [1, 2].map(|seq| Event::MessageNew(world.message(seq, anna, &format!("n {seq}"))));
    world.take(&events[..1]);
    // Seen, and not read yet.
    world.listener(ben).seen = 1;
    let before = world.latest[&ben].clone();
    let outcome = world.take(&events[1..]);
    assert_eq!((outcome.new.len(), outcome.changed.len(), outcome.new[0].count), (1, 0, 1));

    let mut known = Known::default();
    known.add(before.clone());
    assert_eq!(take_seen(&mut known, &world.audience), std::slice::from_ref(&before));
    assert!(known.unread.is_empty());
    // What they have said themselves is unread stays so.
    known.add(Stored { open: false, ..before });
    assert!(take_seen(&mut known, &world.audience).is_empty());
    assert!(known.unread.is_empty());
}

#[test]
fn what_is_new_is_added_to_the_open_one_also_beside_others() {
    let (mut world, [anna, ben]) = World::new();
    let messages = [1, 2, 3].map(|seq| Event::MessageNew(world.message(seq, anna, "hello")));
    world.take(&messages[..1]);
    let open = world.latest[&ben].clone();
    let mut known = Known::default();
    // Unread again by hand, and one that was read by hand.
    known.add(Stored { id: NotificationId::new(), seq: Some(9), open: false, ..open.clone() });
    known.add(open.clone());
    known.add(Stored { id: NotificationId::new(), seq: Some(9), open: false, ..open.clone() });
    // That one has not counted the third: who counted it beside it has not told anybody yet.
    let (counted, read_at) = (Counted::one(2), Some(Time::from_millis(5)));
    known.add(Stored { id: NotificationId::new(), seq: Some(4), counted, read_at, open: false, ..open.clone() });
    let mut plan = Plan::new(world.chat, &world.audience, known);
    for message in &messages {
        plan.take(message, Time::from_millis(99));
    }
    let outcome = plan.outcome();
    assert!(outcome.new.is_empty());
    assert_eq!((outcome.changed[0].id, outcome.changed[0].count, outcome.changed[0].seq), (open.id, 2, Some(3)));
}

#[test]
fn a_message_that_was_deleted_is_not_told_of_though_its_event_comes_later() {
    let (mut world, [anna, ben]) = World::new();
    let messages = [1, 2].map(|seq| Event::MessageNew(world.message(seq, anna, &format!("n {seq}"))));
    let deleted = |seq| {
        Event::MessageDeleted(MessageDeleted {
            chat_id: ChatId::new(),
            seq,
            deleted_at: Time::from_millis(3),
            by: anna,
        })
    };
    world.take(&messages[..1]);
    world.audience.erased.insert(2);
    world.take(&[deleted(2)]);
    assert!(world.take(&messages[1..]).told.is_empty());
    assert_eq!((world.latest[&ben].count, world.latest[&ben].seq), (1, Some(1)));

    // All of it, and another one in the same batch: the one before is read, and makes room.
    let another = Event::MessageNew(world.message(3, anna, "n 3"));
    let before = world.latest[&ben].id;
    let outcome = world.take(&[deleted(1), another]);
    assert_eq!((outcome.changed[0].id, outcome.changed[0].open, outcome.new[0].count), (before, false, 1));
    assert!(outcome.changed[0].read_at.is_some());
    assert!(outcome.new[0].open);
}

#[test]
fn what_comes_late_is_counted_but_does_not_show() {
    let (mut world, [anna, ben]) = World::new();
    let events = [3, 1, 2, 1].map(|seq| Event::MessageNew(world.message(seq, anna, &format!("n {seq}"))));
    for event in &events {
        world.take(std::slice::from_ref(event));
    }
    let one = &world.latest[&ben];
    assert_eq!((one.count, one.seq, one.preview.as_str()), (3, Some(3), "n 3"));
    assert!((1..=3).all(|seq| one.counted.contains(seq)));
}

#[test]
fn nobody_hears_of_what_is_their_own_seen_or_muted() {
    let (mut world, [anna, ben, carl, dora]) = World::new();
    world.listener(ben).seen = 1;
    world.listener(carl).muted = true;
    let mut message = world.message(1, anna, "hello");
    assert_eq!(world.take(&[Event::MessageNew(message.clone())]).told, HashSet::from([dora]));
    // What is said to one in particular is heard all the same.
    message.seq = 2;
    message.mentions = vec![carl];
    message.reply_to = Some(1);
    world.audience.senders.insert(1, dora);
    let outcome = world.take(&[Event::MessageNew(message)]);
    assert_eq!(outcome.told, HashSet::from([ben, carl, dora]));
    let kinds = [ben, carl, dora].map(|user| world.latest[&user].kind);
    assert_eq!(kinds, [NotificationType::Message, NotificationType::Mention, NotificationType::Reply]);
}

#[test]
fn what_is_shown_follows_edits_and_deletions_of_the_latest() {
    let (mut world, [anna, ben]) = World::new();
    let message = Event::MessageNew(world.message(1, anna, "secret"));
    world.take(&[message]);
    let edited = |seq, text| {
        Event::MessageEdited(MessageEdited {
            chat_id: ChatId::new(),
            seq,
            text: MessageText::new(text).unwrap(),
            mentions: Vec::new(),
            edited_at: Time::from_millis(2),
            by: anna,
        })
    };
    assert!(world.take(&[edited(7, "another")]).changed.is_empty());
    let outcome = world.take(&[edited(1, "public")]);
    assert_eq!((outcome.changed[0].preview.as_str(), outcome.told.len()), ("public", 0));
    let deleted = MessageDeleted { chat_id: world.chat, seq: 1, deleted_at: Time::from_millis(3), by: anna };
    world.take(&[Event::MessageDeleted(deleted)]);
    // Nothing is left to tell.
    assert_eq!((world.latest[&ben].preview.as_str(), world.latest[&ben].count), ("", 0));
    assert!(world.latest[&ben].read_at.is_some());
}

#[test]
fn a_preview_is_one_short_line() {
    assert_eq!(preview(" a\n\n b\tc "), "a b c");
    let long = preview(&"ä".repeat(500));
    assert_eq!((long.chars().count(), long.chars().last()), (PREVIEW, Some('…')));
}
