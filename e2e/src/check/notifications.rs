//! Who has not seen what others wrote has one unread notification of the chat, which counts these messages.

use std::collections::BTreeSet;

use super::{Truth, Violation};
use crate::history::{History, Notified};

/// Nothing unread is without a notification, and no notification without something unread.
pub fn tell_what_is_unread(history: &History, truth: &Truth) -> Vec<Violation> {
    history.notified.iter().flat_map(|notified| of_user(notified, truth)).collect()
}

fn of_user<'a>(notified: &'a Notified, truth: &'a Truth) -> impl Iterator<Item = Violation> + 'a {
    let Notified { user, counts } = notified;
    let chats: BTreeSet<&String> = truth.of_user(user).map(|(id, _)| id).chain(counts.keys()).collect();
    chats.into_iter().filter_map(move |chat| {
        let of_user = truth.chats.get(chat).filter(|chat| chat.members.contains_key(user));
        let unread = of_user.map_or(0, |chat| chat.unread(user) as u64);
        let expected = if unread > 0 { vec![unread] } else { Vec::new() };
        let counts = counts.get(chat).cloned().unwrap_or_default();
        let wrong =
            || Violation::Notifications { chat: chat.clone(), user: user.clone(), unread, counts: counts.clone() };
        (counts != expected).then(wrong)
    })
}
