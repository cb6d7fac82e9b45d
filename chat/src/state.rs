//! A chat as its log tells it: the pure fold of its events.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use contract::{
    ChatId, Time, UserId,
    event::{ChatType, Cursor, Event, Member, MemberRole, Message, MessageKind, Seq},
    text::{AvatarUrl, ClientId, Name},
};
use serde::{Deserialize, Serialize};

use crate::fold;

/// Newest messages a chat remembers by `clientId` and place in the log.
const RECENT: usize = 256;
/// Deleted messages that a chat remembers, the newest: as many as the log has events of it, unless it is told to keep more.
const ERASED: usize = 10_000;

/// What a decision about a chat needs to know, and what its members see of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChatState {
    pub id: ChatId,
    pub chat_type: ChatType,
    pub name: Option<Name>,
    pub avatar_url: Option<AvatarUrl>,
    pub members: BTreeMap<UserId, Member>,
    /// The message that says so, for members who were not there from the beginning.
    #[serde(default)]
    joined: BTreeMap<UserId, Seq>,
    pub created_at: Time,
    pub deleted: bool,
    pub last_seq: Seq,
    pub last_message: Option<Message>,
    /// When the last message was sent: `sentAt` never goes back within a chat, whatever the clocks of instances say.
    pub last_at: Time,
    /// Where in the log this state stands: the fence of the next append.
    pub cursor: Cursor,
    /// Number of events up to here.
    pub events: u64,
    recent: VecDeque<Recent>,
    /// Messages that were deleted. The log goes on having what they said.
    #[serde(default)]
    erased: BTreeSet<Seq>,
}

/// A message among the newest of its chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recent {
    pub seq: Seq,
    /// Its place in the log.
    pub cursor: Cursor,
    pub sender_id: UserId,
    pub client_id: ClientId,
    kind: MessageKind,
    deleted: bool,
}

impl ChatState {
    /// The state after a chat's first event; `None` if that is not its creation.
    #[must_use]
    pub fn begin(event: &Event, cursor: Cursor) -> Option<Self> {
        let Event::ChatCreated(created) = event else { return None };
        Some(Self {
            id: created.chat_id,
            chat_type: created.chat_type,
            name: created.name.clone(),
            avatar_url: created.avatar_url.clone(),
            members: created.members.iter().map(|member| (member.user_id, member.clone())).collect(),
            joined: BTreeMap::new(),
            created_at: created.created_at,
            deleted: false,
            last_seq: 0,
            last_message: None,
            last_at: created.created_at,
            cursor,
            events: 1,
            recent: VecDeque::new(),
            erased: BTreeSet::new(),
        })
    }

    /// Takes in the event that follows in the log. One already taken in changes nothing.
    pub fn apply(&mut self, event: &Event, cursor: Cursor) {
        if cursor <= self.cursor {
            return;
        }
        self.cursor = cursor;
        self.events += 1;
        match event {
            // Only ever the first; a second cannot get past its fence.
            Event::ChatCreated(_) => {}
            Event::ChatUpdated(updated) => {
                self.name = updated.name.clone().or(self.name.take());
                self.avatar_url = updated.avatar_url.clone().or(self.avatar_url.take());
            }
            Event::ChatDeleted(_) => {
                self.deleted = true;
                self.members.clear();
                self.joined.clear();
            }
            Event::ChatMembers(message) => {
                self.change_members(message);
                self.push(message, cursor);
            }
            Event::MessageNew(message) => self.push(message, cursor),
            Event::MessageEdited(_) | Event::ReactionAdded(_) | Event::ReactionRemoved(_) => {
                self.touch_last_message(event);
            }
            Event::MessageDeleted(deleted) => {
                if let Some(recent) = self.recent.iter_mut().find(|recent| recent.seq == deleted.seq) {
                    recent.deleted = true;
                }
                self.erased.insert(deleted.seq);
                if self.erased.len() > ERASED {
                    self.erased.pop_first();
                }
                self.touch_last_message(event);
            }
        }
    }

    /// Whether this message was deleted, so that what the log has of it is nobody's business any more.
    #[must_use]
    pub fn is_erased(&self, seq: Seq) -> bool {
        self.erased.contains(&seq)
    }

    #[must_use]
    pub fn has_erased(&self) -> bool {
        !self.erased.is_empty()
    }

    /// This user's place in the chat.
    #[must_use]
    pub fn member(&self, user: UserId) -> Option<&Member> {
        self.members.get(&user)
    }

    /// The message this sender's device called so, if it is among the newest.
    #[must_use]
    pub fn recent_by_client_id(&self, sender: UserId, client_id: &ClientId) -> Option<&Recent> {
        let same = |recent: &&Recent| {
            recent.kind == MessageKind::User && recent.sender_id == sender && recent.client_id == *client_id
        };
        self.recent.iter().rev().find(same)
    }

    /// Where the log tells of this message and of all after it, if it is among the newest.
    #[must_use]
    pub fn recent_cursor(&self, seq: Seq) -> Option<Cursor> {
        let first = self.recent.front()?.seq;
        let recent = self.recent.get(usize::try_from(seq.checked_sub(first)?).ok()?)?;
        Some(recent.cursor)
    }

    /// What this member has not to answer for: messages up to here were written before they joined.
    #[must_use]
    pub fn joined_at(&self, user: UserId) -> Seq {
        self.joined.get(&user).copied().unwrap_or(0)
    }

    /// The newest messages, the newest first: number and sender.
    pub fn newest(&self) -> impl Iterator<Item = (Seq, UserId)> {
        self.recent.iter().rev().map(|recent| (recent.seq, recent.sender_id))
    }

    /// Messages after `after` that count as unread for this user, among the newest; and the number of the message before
    /// these, up to which somebody else has to count.
    #[must_use]
    pub fn unread_after(&self, user: UserId, after: Seq) -> (u64, Seq) {
        let unread = |recent: &&Recent| {
            recent.seq > after && recent.kind == MessageKind::User && recent.sender_id != user && !recent.deleted
        };
        let count = self.recent.iter().filter(unread).count() as u64;
        (count, self.recent.front().map_or(self.last_seq, |first| first.seq - 1))
    }

    /// Who takes over when this member leaves as the last owner: the longest-serving admin, else member.
    #[must_use]
    pub fn heir_of(&self, leaving: UserId) -> Option<&Member> {
        let owners = |member: &&Member| member.role == MemberRole::Owner;
        let is_last_owner = self.member(leaving).is_some_and(|member| owners(&member))
            && self.members.values().filter(owners).count() == 1;
        let longest = |member: &&Member| (std::cmp::Reverse(member.role), member.joined_at, member.user_id);
        is_last_owner.then(|| self.members.values().filter(|member| member.user_id != leaving).min_by_key(longest))?
    }

    fn change_members(&mut self, message: &Message) {
        let Some(change) = &message.change else { return };
        for user in &change.removed {
            self.members.remove(user);
            self.joined.remove(user);
        }
        for member in &change.added {
            self.joined.insert(member.user_id, message.seq);
        }
        for member in change.added.iter().chain(&change.roles) {
            self.members.insert(member.user_id, member.clone());
        }
    }

    fn push(&mut self, message: &Message, cursor: Cursor) {
        self.last_seq = message.seq;
        self.last_at = message.sent_at;
        self.last_message = Some(message.clone());
        self.recent.push_back(Recent {
            seq: message.seq,
            cursor,
            sender_id: message.sender_id,
            client_id: message.client_id.clone(),
            kind: message.kind,
            deleted: false,
        });
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
    }

    fn touch_last_message(&mut self, event: &Event) {
        if let Some(message) = &mut self.last_message {
            fold::change(message, event);
        }
    }
}
