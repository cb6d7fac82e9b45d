//! Messages as their later events leave them: edited, deleted, reacted to.

use std::collections::BTreeMap;

use contract::{
    event::{Event, Message, Seq},
    text::MessageText,
};

/// Messages by number, folded from events that come in the order of the log.
pub type Messages = BTreeMap<Seq, Message>;

/// Takes in one event. A message that is already there is not added again, so the tail of a log may be folded over
/// messages that know part of it.
pub fn take(messages: &mut Messages, event: Event) {
    match event {
        Event::MessageNew(message) | Event::ChatMembers(message) => {
            messages.entry(message.seq).or_insert(message);
        }
        Event::MessageEdited(_) | Event::MessageDeleted(_) | Event::ReactionAdded(_) | Event::ReactionRemoved(_) => {
            if let Some(message) = target(&event).and_then(|seq| messages.get_mut(&seq)) {
                change(message, &event);
            }
        }
        Event::ChatCreated(_) | Event::ChatUpdated(_) | Event::ChatDeleted(_) => {}
    }
}

/// The message an event changes.
#[must_use]
pub fn target(event: &Event) -> Option<Seq> {
    match event {
        Event::MessageEdited(edited) => Some(edited.seq),
        Event::MessageDeleted(deleted) => Some(deleted.seq),
        Event::ReactionAdded(reaction) | Event::ReactionRemoved(reaction) => Some(reaction.seq),
        _ => None,
    }
}

/// Changes the message as the event says, if it is about this one.
pub fn change(message: &mut Message, event: &Event) {
    if target(event) != Some(message.seq) {
        return;
    }
    match event {
        Event::MessageEdited(edited) => {
            message.text = edited.text.clone();
            message.mentions.clone_from(&edited.mentions);
            message.edited_at = Some(edited.edited_at);
        }
        Event::MessageDeleted(deleted) => {
            message.deleted_at = Some(deleted.deleted_at);
            message.text = MessageText::empty();
            message.attachments.clear();
            message.mentions.clear();
            message.reactions.clear();
        }
        Event::ReactionAdded(reaction) => {
            let users = message.reactions.entry(reaction.emoji.clone()).or_default();
            if !users.contains(&reaction.user_id) {
                users.push(reaction.user_id);
            }
        }
        Event::ReactionRemoved(reaction) => {
            if let Some(users) = message.reactions.get_mut(&reaction.emoji) {
                users.retain(|user| *user != reaction.user_id);
                if users.is_empty() {
                    message.reactions.remove(&reaction.emoji);
                }
            }
        }
        _ => {}
    }
}
