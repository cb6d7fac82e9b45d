//! What follows from a chat's events for those who were not looking: pure.

use std::collections::{BTreeSet, HashMap, HashSet};

use contract::{
    ChatId, NotificationId, Time, UserId,
    chat::{Audience, Listener},
    event::{Event, Message, MessageKind, Seq},
    notification::{NotificationType, PREVIEW},
};

use super::{counted::Counted, store::Stored};

/// A chat's notifications while its events are worked on.
pub struct Plan<'a> {
    chat: ChatId,
    audience: &'a Audience,
    /// The latest of each user.
    latest: HashMap<UserId, Stored>,
    /// Of `latest`, by what is to be written.
    new: HashSet<UserId>,
    changed: HashSet<UserId>,
    /// Whose devices hear of something that they had not seen coming.
    told: HashSet<UserId>,
    /// Who has something that no letter is on its way about.
    unmailed: HashSet<UserId>,
    /// What does not coalesce, or is followed by another one already.
    others: Vec<Stored>,
}

/// What is to be written and said.
#[derive(Debug, Default)]
pub struct Outcome {
    pub new: Vec<Stored>,
    /// Only while they are unread.
    pub changed: Vec<Stored>,
    /// Users, of those above, who are told of something new: they may be pushed and mailed to.
    pub told: HashSet<UserId>,
    /// Users of whose letter nobody has taken care yet.
    pub unmailed: HashSet<UserId>,
}

impl<'a> Plan<'a> {
    pub fn new(chat: ChatId, audience: &'a Audience, latest: HashMap<UserId, Stored>) -> Self {
        let none = HashSet::new;
        let (new, changed, told, unmailed) = (none(), none(), none(), none());
        Self { chat, audience, latest, new, changed, told, unmailed, others: Vec::new() }
    }

    /// Takes events in, in the order of the log. `again`: they may have been worked on before, by one who died before
    /// they could tell anybody.
    pub fn take(&mut self, event: &Event, at: Time, again: bool) {
        match event {
            Event::MessageNew(message) => self.message(message, again),
            Event::ChatMembers(message) => {
                let added = message.change.iter().flat_map(|change| &change.added);
                for member in added.filter(|member| member.user_id != message.sender_id) {
                    self.added(member.user_id, message.sender_id, message.seq, message.sent_at);
                }
            }
            Event::ChatCreated(created) if created.name.is_some() => {
                for member in created.members.iter().filter(|member| member.user_id != created.by) {
                    self.added(member.user_id, created.by, 0, created.created_at);
                }
            }
            Event::MessageEdited(edited) => {
                let preview = preview(&edited.text);
                self.rewrite(edited.seq, |one| one.preview.clone_from(&preview));
            }
            Event::MessageDeleted(deleted) => self.forget(deleted.seq, at),
            _ => {}
        }
    }

    pub fn outcome(self) -> Outcome {
        let Self { latest, new, changed, told, unmailed, mut others, .. } = self;
        let (mut added, mut rewritten) = (Vec::new(), Vec::new());
        for (user, one) in latest {
            if new.contains(&user) {
                added.push(one);
            } else if changed.contains(&user) {
                rewritten.push(one);
            }
        }
        added.append(&mut others);
        Outcome { new: added, changed: rewritten, told, unmailed }
    }

    fn message(&mut self, message: &Message, again: bool) {
        if message.kind == MessageKind::System {
            return;
        }
        let preview = preview(&message.text);
        let answered = message.reply_to.and_then(|seq| self.audience.senders.get(&seq));
        for listener in self.audience.members.iter().filter(|listener| listener.user_id != message.sender_id) {
            let user = listener.user_id;
            let kind = if message.mentions.contains(&user) {
                NotificationType::Mention
            } else if answered == Some(&user) {
                NotificationType::Reply
            } else {
                NotificationType::Message
            };
            if wants(listener, kind, message.seq) {
                self.tell(user, kind, message, &preview, again);
            }
        }
    }

    fn tell(&mut self, user: UserId, kind: NotificationType, message: &Message, preview: &str, again: bool) {
        let at = message.sent_at;
        match self.latest.get_mut(&user) {
            Some(one) if one.read_at.is_some() && one.seq >= Some(message.seq) => return,
            Some(one) if one.read_at.is_none() => {
                if again && one.seq == Some(message.seq) && one.counted.contains(message.seq) {
                    self.changed.insert(user);
                    self.unmailed.insert(user);
                } else if one.counted.insert(message.seq) {
                    one.count += 1;
                    one.kind = one.kind.max(kind);
                    if one.seq < Some(message.seq) {
                        one.seq = Some(message.seq);
                        one.from = Some(message.sender_id);
                        preview.clone_into(&mut one.preview);
                        one.at = message.sent_at.as_millis();
                    }
                    if std::mem::take(&mut one.mailed) {
                        self.unmailed.insert(user);
                    }
                    if !self.new.contains(&user) {
                        self.changed.insert(user);
                    }
                } else {
                    return;
                }
            }
            _ => {
                let fresh = Stored {
                    id: NotificationId::of(user, &format!("{}.{}", self.chat, message.seq)),
                    user_id: user,
                    kind,
                    chat_id: Some(self.chat),
                    chat_name: self.audience.name.as_ref().map(|name| (**name).to_owned()),
                    seq: Some(message.seq),
                    from: Some(message.sender_id),
                    preview: preview.to_owned(),
                    count: 1,
                    created_at: at,
                    counted: Counted::one(message.seq),
                    at: at.as_millis(),
                    read_at: None,
                    mailed: false,
                    version: 0,
                };
                let before = self.latest.insert(user, fresh);
                // Made and read within one batch.
                self.others.extend(before.filter(|_| self.new.remove(&user)));
                self.changed.remove(&user);
                self.new.insert(user);
                self.unmailed.insert(user);
            }
        }
        self.told.insert(user);
    }

    fn added(&mut self, user: UserId, by: UserId, seq: Seq, at: Time) {
        // Who has left again is not told.
        if !self.audience.members.iter().any(|listener| listener.user_id == user) {
            return;
        }
        self.others.push(Stored {
            id: NotificationId::of(user, &format!("added.{}.{seq}", self.chat)),
            user_id: user,
            kind: NotificationType::Added,
            chat_id: Some(self.chat),
            chat_name: self.audience.name.as_ref().map(|name| (**name).to_owned()),
            seq: (seq > 0).then_some(seq),
            from: Some(by),
            preview: self.audience.name.as_ref().map_or_else(String::new, |name| (**name).to_owned()),
            count: 1,
            created_at: at,
            counted: Counted::default(),
            at: at.as_millis(),
            read_at: None,
            mailed: false,
            version: 0,
        });
        self.told.insert(user);
        self.unmailed.insert(user);
    }

    /// A message is no more: it is not counted, and nothing is shown of it.
    fn forget(&mut self, seq: Seq, at: Time) {
        for (user, one) in &mut self.latest {
            if one.read_at.is_some() || !one.counted.remove(seq) {
                continue;
            }
            one.count = one.count.saturating_sub(1);
            if one.seq == Some(seq) {
                one.preview.clear();
            }
            if one.count == 0 {
                one.read_at = Some(at);
            }
            if !self.new.contains(user) {
                self.changed.insert(*user);
            }
        }
    }

    /// Changes what is said of a message, where it is the latest.
    fn rewrite(&mut self, seq: Seq, change: impl Fn(&mut Stored)) {
        for (user, one) in &mut self.latest {
            if one.seq == Some(seq) && one.read_at.is_none() {
                change(one);
                if !self.new.contains(user) {
                    self.changed.insert(*user);
                }
            }
        }
    }
}

/// Whether a member is to be told. One who does not want to hear of a chat still hears what is said to them.
fn wants(listener: &Listener, kind: NotificationType, seq: Seq) -> bool {
    seq > listener.seen && (!listener.muted || kind != NotificationType::Message)
}

/// How a text begins.
pub fn preview(text: &str) -> String {
    let mut words = String::new();
    for word in text.split_whitespace() {
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(word);
        if words.chars().count() > PREVIEW {
            return words.chars().take(PREVIEW - 1).chain(['…']).collect();
        }
    }
    words
}

/// The messages whose senders a plan asks for.
#[must_use]
pub fn answered(events: &[&Event]) -> Vec<Seq> {
    let replies = events.iter().filter_map(|event| match event {
        Event::MessageNew(message) => message.reply_to,
        _ => None,
    });
    replies.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The first message that events are about, if they are about any.
#[must_use]
pub fn first_seq(events: &[&Event]) -> Option<Seq> {
    let seqs = events.iter().filter_map(|event| match event {
        Event::MessageNew(message) => Some(message.seq),
        _ => None,
    });
    seqs.min()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use contract::{
        event::{ChatType, MessageDeleted, MessageEdited},
        text::{ClientId, MessageText, Name},
    };

    use super::*;

    struct World {
        chat: ChatId,
        audience: Audience,
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
            };
            (Self { chat: ChatId::new(), audience, latest: HashMap::new() }, users)
        }

        fn listener(&mut self, user: UserId) -> &mut Listener {
            self.audience.members.iter_mut().find(|listener| listener.user_id == user).unwrap()
        }

        /// Works on a batch and remembers what was written.
        fn take(&mut self, events: &[Event], again: bool) -> Outcome {
            let mut plan = Plan::new(self.chat, &self.audience, self.latest.clone());
            for event in events {
                plan.take(event, Time::from_millis(99), again);
            }
            let outcome = plan.outcome();
            for one in outcome.new.iter().chain(&outcome.changed) {
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
        let first = world.take(&events[..2], false);
        assert_eq!((first.new.len(), first.changed.len()), (1, 0));
        let one = world.latest[&ben].clone();
        assert_eq!(
            (one.count, one.seq, one.preview.as_str(), one.created_at),
            (2, Some(2), "n 2", Time::from_millis(1))
        );
        assert_eq!(first.told, HashSet::from([ben]));

        // The one before died after it had written, before it had told: told again, counted once.
        let again = world.take(&events[..2], true);
        assert_eq!((again.new.len(), again.changed.len(), again.told.len()), (0, 1, 1));
        assert_eq!(world.latest[&ben], one);
        // One that merely comes twice says nothing.
        assert!(world.take(&events[..2], false).told.is_empty());

        world.latest.get_mut(&ben).unwrap().mailed = true;
        let more = world.take(&events[2..], false);
        assert_eq!((more.changed[0].count, more.changed[0].mailed, more.unmailed.len()), (3, false, 1));
        world.latest.get_mut(&ben).unwrap().read_at = Some(Time::from_millis(50));
        let fourth = Event::MessageNew(world.message(4, anna, "n 4"));
        let next = world.take(&[fourth], false);
        assert_eq!((next.new.len(), next.new[0].count), (1, 1));
        assert_ne!(next.new[0].id, one.id);
    }

    #[test]
    fn what_comes_late_is_counted_but_does_not_show() {
        let (mut world, [anna, ben]) = World::new();
        let events = [3, 1, 2, 1].map(|seq| Event::MessageNew(world.message(seq, anna, &format!("n {seq}"))));
        for event in &events {
            world.take(std::slice::from_ref(event), false);
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
        assert_eq!(world.take(&[Event::MessageNew(message.clone())], false).told, HashSet::from([dora]));
        // What is said to one in particular is heard all the same.
        message.seq = 2;
        message.mentions = vec![carl];
        message.reply_to = Some(1);
        world.audience.senders.insert(1, dora);
        let outcome = world.take(&[Event::MessageNew(message)], false);
        assert_eq!(outcome.told, HashSet::from([ben, carl, dora]));
        let kinds = [ben, carl, dora].map(|user| world.latest[&user].kind);
        assert_eq!(kinds, [NotificationType::Message, NotificationType::Mention, NotificationType::Reply]);
    }

    #[test]
    fn what_is_shown_follows_edits_and_deletions_of_the_latest() {
        let (mut world, [anna, ben]) = World::new();
        let message = Event::MessageNew(world.message(1, anna, "secret"));
        world.take(&[message], false);
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
        assert!(world.take(&[edited(7, "another")], false).changed.is_empty());
        let outcome = world.take(&[edited(1, "public")], false);
        assert_eq!((outcome.changed[0].preview.as_str(), outcome.told.len()), ("public", 0));
        let deleted = MessageDeleted { chat_id: world.chat, seq: 1, deleted_at: Time::from_millis(3), by: anna };
        world.take(&[Event::MessageDeleted(deleted)], false);
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
}
