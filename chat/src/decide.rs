//! What may happen in a chat: the pure rules. A decision holds for the state it was made on; the fence of the append
//! makes sure that the log still stands there.

use std::collections::{BTreeMap, BTreeSet};

use contract::{
    ChatId, Code, Refusal, Time, UserId,
    chat::{MAX_MEMBERS, NewMessage},
    event::{
        ChatType, Created, Cursor, Deleted, Event, Member, MemberRole, MembersChange, Message, MessageDeleted,
        MessageEdited, MessageKind, Reaction, Seq, Updated,
    },
    text::{AvatarUrl, ClientId, Emoji, MessageText, Name},
};

use crate::state::ChatState;

/// Different emojis of one message.
const MAX_EMOJIS: usize = 50;

/// What somebody wants.
#[derive(Debug, Clone)]
pub enum Command {
    OpenDirect {
        other: UserId,
    },
    CreateGroup {
        name: Name,
        member_ids: Vec<UserId>,
    },
    Update {
        name: Option<Name>,
        avatar_url: Option<AvatarUrl>,
    },
    Delete,
    AddMembers {
        user_ids: Vec<UserId>,
    },
    /// Removing oneself is leaving.
    RemoveMember {
        user_id: UserId,
    },
    SetRole {
        user_id: UserId,
        role: MemberRole,
    },
    Send(NewMessage),
    /// The message is as the log leaves it at the state's cursor.
    Edit {
        message: Box<Message>,
        text: MessageText,
        mentions: Vec<UserId>,
    },
    DeleteMessage {
        message: Box<Message>,
    },
    React {
        message: Box<Message>,
        emoji: Emoji,
        add: bool,
    },
}

/// What follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// This is to be appended, right after the state's cursor.
    Append(Box<Event>),
    /// It is so already; nothing is to be appended.
    Unchanged,
    /// It was sent before: the original is here in the log.
    Sent(Cursor),
}

/// Decides on `command` of `actor` in the chat `id`, whose log leaves `state` (`None`: nothing there yet).
///
/// To one who is no member a chat is `not_found`, like one that does not exist.
pub fn decide(
    id: ChatId,
    state: Option<&ChatState>,
    actor: UserId,
    command: &Command,
    now: Time,
) -> Result<Decision, Refusal> {
    match (state, command) {
        (None, Command::OpenDirect { other }) => open_direct(id, actor, *other, now),
        (None, Command::CreateGroup { name, member_ids }) => create_group(id, actor, name, member_ids, now),
        (Some(_), Command::OpenDirect { .. } | Command::CreateGroup { .. }) => Ok(Decision::Unchanged),
        (None, _) => Err(Refusal::not_found("chat")),
        (Some(state), command) => {
            let member = state.member(actor).ok_or_else(|| Refusal::not_found("chat"))?;
            Scene { state, me: member, now }.decide(command)
        }
    }
}

fn open_direct(id: ChatId, actor: UserId, other: UserId, now: Time) -> Result<Decision, Refusal> {
    if actor == other {
        return Err(Refusal::field("userId", "must be somebody else"));
    }
    let members = [actor, other].map(|user_id| Member { user_id, role: MemberRole::Member, joined_at: now });
    Ok(append(Event::ChatCreated(Created {
        chat_id: id,
        chat_type: ChatType::Direct,
        name: None,
        avatar_url: None,
        members: members.into(),
        by: actor,
        created_at: now,
    })))
}

fn create_group(id: ChatId, actor: UserId, name: &Name, member_ids: &[UserId], now: Time) -> Result<Decision, Refusal> {
    let others: BTreeSet<UserId> = member_ids.iter().copied().filter(|user| *user != actor).collect();
    if others.len() + 1 > MAX_MEMBERS {
        return Err(too_many("memberIds"));
    }
    let owner = Member { user_id: actor, role: MemberRole::Owner, joined_at: now };
    let others = others.into_iter().map(|user_id| Member { user_id, role: MemberRole::Member, joined_at: now });
    Ok(append(Event::ChatCreated(Created {
        chat_id: id,
        chat_type: ChatType::Group,
        name: Some(name.clone()),
        avatar_url: None,
        members: std::iter::once(owner).chain(others).collect(),
        by: actor,
        created_at: now,
    })))
}

fn append(event: Event) -> Decision {
    Decision::Append(Box::new(event))
}

fn too_many(field: &str) -> Refusal {
    Refusal::field(field, format!("a group has at most {MAX_MEMBERS} members"))
}

/// A member about to do something.
struct Scene<'a> {
    state: &'a ChatState,
    me: &'a Member,
    now: Time,
}

impl Scene<'_> {
    fn decide(&self, command: &Command) -> Result<Decision, Refusal> {
        match command {
            Command::OpenDirect { .. } | Command::CreateGroup { .. } => Ok(Decision::Unchanged),
            Command::Update { name, avatar_url } => self.update(name.as_ref(), avatar_url.as_ref()),
            Command::Delete => self.delete(),
            Command::AddMembers { user_ids } => self.add(user_ids),
            Command::RemoveMember { user_id } => self.remove(*user_id),
            Command::SetRole { user_id, role } => self.set_role(*user_id, *role),
            Command::Send(message) => self.send(message),
            Command::Edit { message, text, mentions } => self.edit(message, text, mentions),
            Command::DeleteMessage { message } => self.delete_message(message),
            Command::React { message, emoji, add } => self.react(message, emoji, *add),
        }
    }

    fn update(&self, name: Option<&Name>, avatar_url: Option<&AvatarUrl>) -> Result<Decision, Refusal> {
        self.group_role(MemberRole::Admin)?;
        let name = name.filter(|name| self.state.name.as_ref() != Some(*name)).cloned();
        let avatar_url = avatar_url.filter(|url| self.state.avatar_url.as_ref() != Some(*url)).cloned();
        if name.is_none() && avatar_url.is_none() {
            return Ok(Decision::Unchanged);
        }
        let (chat_id, by, at) = (self.state.id, self.me.user_id, self.now);
        Ok(append(Event::ChatUpdated(Updated { chat_id, name, avatar_url, by, at })))
    }

    fn delete(&self) -> Result<Decision, Refusal> {
        self.group_role(MemberRole::Owner)?;
        Ok(append(Event::ChatDeleted(Deleted { chat_id: self.state.id, by: self.me.user_id, at: self.now })))
    }

    fn add(&self, user_ids: &[UserId]) -> Result<Decision, Refusal> {
        self.group_role(MemberRole::Admin)?;
        let new: BTreeSet<UserId> =
            user_ids.iter().copied().filter(|user| self.state.member(*user).is_none()).collect();
        if new.is_empty() {
            return Ok(Decision::Unchanged);
        }
        if self.state.members.len() + new.len() > MAX_MEMBERS {
            return Err(too_many("userIds"));
        }
        let member = |user_id| Member { user_id, role: MemberRole::Member, joined_at: self.now };
        Ok(self.change(MembersChange { added: new.into_iter().map(member).collect(), ..MembersChange::default() }))
    }

    fn remove(&self, user: UserId) -> Result<Decision, Refusal> {
        self.in_group()?;
        let leaving = user == self.me.user_id;
        if !leaving {
            self.group_role(MemberRole::Admin)?;
            let them = self.state.member(user).ok_or_else(|| Refusal::not_found("member"))?;
            if them.role >= self.me.role && self.me.role != MemberRole::Owner {
                return Err(Refusal::forbidden("Only an owner may remove an admin or an owner."));
            }
        }
        let heir = self.state.heir_of(user).map(|heir| Member { role: MemberRole::Owner, ..heir.clone() });
        Ok(self.change(MembersChange {
            removed: vec![user],
            roles: heir.into_iter().collect(),
            ..MembersChange::default()
        }))
    }

    fn set_role(&self, user: UserId, role: MemberRole) -> Result<Decision, Refusal> {
        self.group_role(MemberRole::Owner)?;
        let them = self.state.member(user).ok_or_else(|| Refusal::not_found("member"))?;
        if them.role == role {
            return Ok(Decision::Unchanged);
        }
        let owners = self.state.members.values().filter(|member| member.role == MemberRole::Owner).count();
        if them.role == MemberRole::Owner && owners == 1 {
            return Err(Refusal::new(Code::Conflict, "A group needs an owner; make somebody else one first."));
        }
        let changed = Member { role, ..them.clone() };
        Ok(self.change(MembersChange { roles: vec![changed], ..MembersChange::default() }))
    }

    fn send(&self, new: &NewMessage) -> Result<Decision, Refusal> {
        if let Some(original) = self.state.recent_by_client_id(self.me.user_id, &new.client_id) {
            return Ok(Decision::Sent(original.cursor));
        }
        if !new.attachments.is_empty() {
            return Err(Refusal::field("attachments", "there is no such file"));
        }
        if new.text.trim().is_empty() {
            return Err(Refusal::field("text", "must not be empty"));
        }
        if new.reply_to.is_some_and(|seq| seq == 0 || seq > self.state.last_seq) {
            return Err(Refusal::field("replyTo", "there is no such message"));
        }
        Ok(append(Event::MessageNew(Message {
            client_id: new.client_id.clone(),
            text: new.text.clone(),
            reply_to: new.reply_to,
            mentions: self.members_among(&new.mentions),
            ..self.message(MessageKind::User)
        })))
    }

    fn edit(&self, message: &Message, text: &MessageText, mentions: &[UserId]) -> Result<Decision, Refusal> {
        if message.kind == MessageKind::System {
            return Err(Refusal::forbidden("A system message cannot be edited."));
        }
        if message.sender_id != self.me.user_id {
            return Err(Refusal::forbidden("Only its sender may edit a message."));
        }
        if message.deleted_at.is_some() {
            return Err(Refusal::new(Code::Conflict, "The message has been deleted."));
        }
        if text.trim().is_empty() && message.attachments.is_empty() {
            return Err(Refusal::field("text", "must not be empty"));
        }
        let mentions = self.members_among(mentions);
        if message.text == *text && message.mentions == mentions {
            return Ok(Decision::Unchanged);
        }
        Ok(append(Event::MessageEdited(MessageEdited {
            chat_id: self.state.id,
            seq: message.seq,
            text: text.clone(),
            mentions,
            edited_at: self.now,
            by: self.me.user_id,
        })))
    }

    fn delete_message(&self, message: &Message) -> Result<Decision, Refusal> {
        let admin = self.state.chat_type == ChatType::Group && self.me.role >= MemberRole::Admin;
        if message.kind == MessageKind::System {
            return Err(Refusal::forbidden("A system message cannot be deleted."));
        }
        if message.sender_id != self.me.user_id && !admin {
            return Err(Refusal::forbidden("Only its sender or a group admin may delete a message."));
        }
        if message.deleted_at.is_some() {
            return Ok(Decision::Unchanged);
        }
        Ok(append(Event::MessageDeleted(MessageDeleted {
            chat_id: self.state.id,
            seq: message.seq,
            deleted_at: self.now,
            by: self.me.user_id,
        })))
    }

    fn react(&self, message: &Message, emoji: &Emoji, add: bool) -> Result<Decision, Refusal> {
        if message.kind == MessageKind::System {
            return Err(Refusal::forbidden("A system message takes no reactions."));
        }
        if message.deleted_at.is_some() {
            return Err(Refusal::new(Code::Conflict, "The message has been deleted."));
        }
        let user_id = self.me.user_id;
        let there = message.reactions.get(emoji).is_some_and(|users| users.contains(&user_id));
        if there == add {
            return Ok(Decision::Unchanged);
        }
        if add && !message.reactions.contains_key(emoji) && message.reactions.len() >= MAX_EMOJIS {
            return Err(Refusal::new(Code::Conflict, "The message has too many different reactions."));
        }
        let reaction = Reaction { chat_id: self.state.id, seq: message.seq, emoji: emoji.clone(), user_id };
        Ok(append(if add { Event::ReactionAdded(reaction) } else { Event::ReactionRemoved(reaction) }))
    }

    fn change(&self, change: MembersChange) -> Decision {
        append(Event::ChatMembers(Message { change: Some(change), ..self.message(MessageKind::System) }))
    }

    /// The next message of this chat, still without its content.
    fn message(&self, kind: MessageKind) -> Message {
        let seq: Seq = self.state.last_seq + 1;
        Message {
            chat_id: self.state.id,
            seq,
            kind,
            sender_id: self.me.user_id,
            client_id: ClientId::of_system(seq),
            text: MessageText::empty(),
            reply_to: None,
            attachments: Vec::new(),
            mentions: Vec::new(),
            reactions: BTreeMap::new(),
            sent_at: self.now.max(self.state.last_at),
            edited_at: None,
            deleted_at: None,
            change: None,
        }
    }

    /// Mentions of those who are here, each once: somebody may have left while the message was written.
    fn members_among(&self, users: &[UserId]) -> Vec<UserId> {
        let mut seen = BTreeSet::new();
        users.iter().copied().filter(|user| self.state.member(*user).is_some() && seen.insert(*user)).collect()
    }

    fn in_group(&self) -> Result<(), Refusal> {
        match self.state.chat_type {
            ChatType::Group => Ok(()),
            ChatType::Direct => Err(Refusal::forbidden("A direct chat stays as it is.")),
        }
    }

    fn group_role(&self, least: MemberRole) -> Result<(), Refusal> {
        self.in_group()?;
        if self.me.role >= least {
            return Ok(());
        }
        Err(Refusal::forbidden(match least {
            MemberRole::Owner => "Only an owner of the group may do this.",
            MemberRole::Admin | MemberRole::Member => "Only an admin of the group may do this.",
        }))
    }
}
