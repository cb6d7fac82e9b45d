//! What follows from a chat's events for those who were not looking: pure.

use std::collections::{BTreeSet, HashSet};

use contract::{
    ChatId, NotificationId, Time, UserId,
    chat::{Audience, Listener},
    event::{Event, Message, MessageKind, Seq},
    notification::{NotificationType, PREVIEW},
};

use super::{
    counted::Counted,
    store::{Known, Stored},
};

/// A chat's notifications while its events are worked on.
pub struct Plan<'a> {
    chat: ChatId,
    audience: &'a Audience,
    known: Known,
    /// Of those that are known as unread, by what is to be written.
    new: HashSet<UserId>,
    changed: HashSet<UserId>,
    /// Whose devices hear of something that they had not seen coming.
    told: HashSet<UserId>,
    /// Who has something that no letter is on its way about.
    unmailed: HashSet<UserId>,
    /// What does not coalesce.
    others: Vec<Stored>,
    /// What is read now, and followed by another one already.
    over: Vec<Stored>,
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
    pub fn new(chat: ChatId, audience: &'a Audience, known: Known) -> Self {
        let none = HashSet::new;
        let (new, changed, told, unmailed) = (none(), none(), none(), none());
        Self { chat, audience, known, new, changed, told, unmailed, others: Vec::new(), over: Vec::new() }
    }

    /// Takes events in, in the order of the log.
    pub fn take(&mut self, event: &Event, at: Time) {
        match event {
            Event::MessageNew(message) => self.message(message),
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
        let Self { known, new, changed, told, unmailed, others, over, .. } = self;
        let (mut added, mut rewritten) = (others, over);
        for (user, one) in known.unread {
            if new.contains(&user) {
                added.push(one);
            } else if changed.contains(&user) {
                rewritten.push(one);
            }
        }
        Outcome { new: added, changed: rewritten, told, unmailed }
    }

    fn message(&mut self, message: &Message) {
        // The event of a deletion may have come before this one, which comes again.
        if message.kind == MessageKind::System || self.audience.erased.contains(&message.seq) {
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
                self.tell(listener, kind, message, &preview);
            }
        }
    }

    fn tell(&mut self, to: &Listener, kind: NotificationType, message: &Message, preview: &str) {
        let (user, at) = (to.user_id, message.sent_at);
        if self.known.read.get(&user).is_some_and(|read| read.contains(message.seq)) {
            return;
        }
        match self.known.unread.get_mut(&user) {
            Some(one) if one.read_at.is_none() => {
                if one.seq == Some(message.seq) && one.counted.contains(message.seq) {
                    // It has been worked on before, maybe by one who died before they could tell anybody. Whether it was
                    // delivered before, NATS does not know any more where it died itself.
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
                    open: true,
                    mailed: false,
                    version: 0,
                };
                // All that the one before was about may just have been deleted.
                let before = self.known.unread.insert(user, fresh);
                self.over.extend(before.filter(|_| self.changed.remove(&user)));
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
            open: false,
            mailed: false,
            version: 0,
        });
        self.told.insert(user);
        self.unmailed.insert(user);
    }

    /// A message is no more: it is not counted, and nothing is shown of it.
    fn forget(&mut self, seq: Seq, at: Time) {
        for (user, one) in &mut self.known.unread {
            if one.read_at.is_some() || !one.counted.remove(seq) {
                continue;
            }
            one.count = one.count.saturating_sub(1);
            if one.seq == Some(seq) {
                one.preview.clear();
            }
            if one.count == 0 {
                one.read_at = Some(at);
                one.open = false;
            }
            if !self.new.contains(user) {
                self.changed.insert(*user);
            }
        }
    }

    /// Changes what is said of a message, where it is the latest.
    fn rewrite(&mut self, seq: Seq, change: impl Fn(&mut Stored)) {
        for (user, one) in &mut self.known.unread {
            if one.seq == Some(seq) && one.read_at.is_none() {
                change(one);
                if !self.new.contains(user) {
                    self.changed.insert(*user);
                }
            }
        }
    }
}

/// Takes out what its reader has seen: nothing is added to it. Answers what has not been read yet for all that; what they
/// have said themselves is unread stays so.
pub fn take_seen(known: &mut Known, audience: &Audience) -> Vec<Stored> {
    let mut over = Vec::new();
    for listener in &audience.members {
        if known.unread.get(&listener.user_id).is_some_and(|one| one.seq <= Some(listener.seen)) {
            over.extend(known.unread.remove(&listener.user_id).filter(|one| one.open));
        }
    }
    over
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

/// The messages that these events are of.
#[must_use]
pub fn messages(events: &[&Event]) -> Vec<Seq> {
    let seqs = events.iter().filter_map(|event| match event {
        Event::MessageNew(message) => Some(message.seq),
        _ => None,
    });
    seqs.collect()
}

#[cfg(test)]
mod tests;
