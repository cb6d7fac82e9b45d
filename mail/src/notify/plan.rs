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
                self.tell(listener, kind, message, &preview, again);
            }
        }
    }

    fn tell(&mut self, to: &Listener, kind: NotificationType, message: &Message, preview: &str, again: bool) {
        let (user, at) = (to.user_id, message.sent_at);
        match self.latest.get_mut(&user) {
            Some(one) if one.read_at.is_some() && one.seq >= Some(message.seq) => return,
            // What they have seen is over, though it may not have been read yet.
            Some(one) if one.read_at.is_none() && one.seq > Some(to.seen) => {
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
mod tests;
