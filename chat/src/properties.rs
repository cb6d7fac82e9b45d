//! Properties of the pure core, over random histories of a group and a direct chat.

use std::collections::{BTreeMap, BTreeSet};

use bson::{Bson, Document};
use contract::{
    ChatId, Refusal, Time, UserId,
    chat::NewMessage,
    event::{Cursor, Event, MemberRole, MessageKind},
    text::{ClientId, Emoji, MessageText, Name},
};
use proptest::{prelude::*, sample::Index};

use crate::{
    decide::{Command, Decision, decide},
    fold::{self, Messages},
    project::{Insert, Upsert, Writes},
    state::ChatState,
    store,
};

/// One step somebody takes; people and messages are chosen by index among those there are.
#[derive(Debug, Clone)]
enum Step {
    Send { client: u8, mention: Index },
    Edit { message: Index, text: String },
    DeleteMessage { message: Index },
    React { message: Index, emoji: u8, add: bool },
    Add { user: Index },
    Remove { user: Index },
    Role { user: Index, role: u8 },
    Rename { name: u8 },
    DeleteChat,
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    prop_oneof![
        8 => (any::<u8>(), index()).prop_map(|(client, mention)| Step::Send { client: client % 32, mention }),
        3 => (index(), "[a-z]{1,3}").prop_map(|(message, text)| Step::Edit { message, text }),
        2 => index().prop_map(|message| Step::DeleteMessage { message }),
        4 => (index(), 0u8..3, any::<bool>()).prop_map(|(message, emoji, add)| Step::React { message, emoji, add }),
        3 => index().prop_map(|user| Step::Add { user }),
        3 => index().prop_map(|user| Step::Remove { user }),
        2 => (index(), 0u8..3).prop_map(|(user, role)| Step::Role { user, role }),
        1 => (0u8..3).prop_map(|name| Step::Rename { name }),
        1 => Just(Step::DeleteChat),
    ]
}

/// A chat with everything that happened in it.
struct World {
    id: ChatId,
    people: Vec<UserId>,
    state: Option<ChatState>,
    log: Vec<(Cursor, Event)>,
    messages: Messages,
    clock: i64,
}

impl World {
    fn new() -> Self {
        let people: Vec<UserId> = (0..5).map(|_| UserId::new()).collect();
        let mut world =
            Self { id: ChatId::new(), people, state: None, log: Vec::new(), messages: Messages::new(), clock: 1_000 };
        let member_ids = world.people[1..3].to_vec();
        world.act(world.people[0], &Command::CreateGroup { name: Name::new("Group").unwrap(), member_ids }).unwrap();
        world
    }

    fn act(&mut self, actor: UserId, command: &Command) -> Result<Decision, Refusal> {
        // A clock that also jumps back.
        self.clock += if self.clock % 3 == 0 { -700 } else { 1_000 };
        let decision = decide(self.id, self.state.as_ref(), actor, command, Time::from_millis(self.clock))?;
        if let Decision::Append(event) = &decision {
            let cursor = self.log.last().map_or(3, |(cursor, _)| cursor + 1 + cursor % 4);
            match &mut self.state {
                Some(state) => state.apply(event, cursor),
                None => self.state = ChatState::begin(event, cursor),
            }
            fold::take(&mut self.messages, (**event).clone());
            self.log.push((cursor, (**event).clone()));
        }
        Ok(decision)
    }

    fn take(&mut self, actor: Index, step: &Step) -> Option<(UserId, Result<Decision, Refusal>)> {
        let actor = *actor.get(&self.people);
        let text = |text: &str| MessageText::new(text).unwrap();
        let message = |index: &Index, messages: &Messages| -> Option<Box<contract::event::Message>> {
            let all: Vec<_> = messages.values().cloned().collect();
            (!all.is_empty()).then(|| Box::new(index.get(&all).clone()))
        };
        let command = match step {
            Step::Send { client, mention } => Command::Send(NewMessage {
                chat_id: self.id,
                client_id: ClientId::new(format!("c{client}")).unwrap(),
                text: text("hello"),
                reply_to: None,
                attachments: Vec::new(),
                mentions: vec![*mention.get(&self.people)],
            }),
            Step::Edit { message: index, text: new } => {
                Command::Edit { message: message(index, &self.messages)?, text: text(new), mentions: Vec::new() }
            }
            Step::DeleteMessage { message: index } => {
                Command::DeleteMessage { message: message(index, &self.messages)? }
            }
            Step::React { message: index, emoji, add } => Command::React {
                message: message(index, &self.messages)?,
                emoji: Emoji::new(["👍", "🎉", "❤️"][usize::from(*emoji)]).unwrap(),
                add: *add,
            },
            Step::Add { user } => Command::AddMembers { user_ids: vec![*user.get(&self.people)] },
            Step::Remove { user } => Command::RemoveMember { user_id: *user.get(&self.people) },
            Step::Role { user, role } => {
                let role = [MemberRole::Member, MemberRole::Admin, MemberRole::Owner][usize::from(*role)];
                Command::SetRole { user_id: *user.get(&self.people), role }
            }
            Step::Rename { name } => {
                Command::Update { name: Some(Name::new(format!("n{name}")).unwrap()), avatar_url: None }
            }
            Step::DeleteChat => Command::Delete,
        };
        Some((actor, self.act(actor, &command)))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_history_keeps_the_promises(steps in prop::collection::vec((any::<Index>(), step()), 1..80)) {
        let mut world = World::new();
        for (actor, step) in &steps {
            let before = world.state.clone().unwrap();
            let Some((actor, outcome)) = world.take(*actor, step) else { continue };
            let state = world.state.clone().unwrap();
            match outcome {
                Ok(Decision::Append(event)) => {
                    prop_assert!(before.member(actor).is_some(), "only members change a chat");
                    if let Event::MessageNew(message) = &*event {
                        prop_assert!(message.sent_at >= before.last_at, "time never goes back in a chat");
                        prop_assert!(before.recent_by_client_id(actor, &message.client_id).is_none());
                        prop_assert!(state.recent_by_client_id(actor, &message.client_id).is_some());
                    }
                }
                Ok(Decision::Unchanged | Decision::Sent(_)) | Err(_) => prop_assert_eq!(&before, &state),
            }
            let owners = state.members.values().filter(|member| member.role == MemberRole::Owner).count();
            prop_assert!(state.members.is_empty() || owners > 0, "a group with members has an owner");
        }

        let state = world.state.clone().unwrap();
        let seqs: Vec<u64> = world.messages.keys().copied().collect();
        prop_assert_eq!(&seqs, &(1..=state.last_seq).collect::<Vec<_>>(), "numbers without gaps");
        prop_assert_eq!(state.events, world.log.len() as u64);
        let users: BTreeSet<(UserId, ClientId)> = world.messages.values()
            .filter(|message| message.kind == MessageKind::User)
            .map(|message| (message.sender_id, message.client_id.clone()))
            .collect();
        let sent = world.messages.values().filter(|message| message.kind == MessageKind::User).count();
        prop_assert_eq!(users.len(), sent, "no message twice");

        // Any instance that replays, from the beginning or from a snapshot half-way, sees the same.
        let mut replayed: Option<ChatState> = None;
        for (at, (cursor, event)) in world.log.iter().enumerate() {
            match &mut replayed {
                Some(state) => state.apply(event, *cursor),
                None => replayed = ChatState::begin(event, *cursor),
            }
            if at == world.log.len() / 2 {
                let snapshot = serde_json::to_string(replayed.as_ref().unwrap()).unwrap();
                replayed = Some(serde_json::from_str(&snapshot).unwrap());
            }
            // An event that comes again changes nothing.
            let again = replayed.clone();
            replayed.as_mut().unwrap().apply(event, *cursor);
            prop_assert_eq!(&replayed, &again);
        }
        prop_assert_eq!(replayed, Some(state));
    }

    #[test]
    fn the_archive_is_the_same_whatever_the_order(
        steps in prop::collection::vec((any::<Index>(), step()), 1..60),
        shuffle in prop::collection::vec(any::<Index>(), 0..200),
    ) {
        let mut world = World::new();
        for (actor, step) in &steps {
            world.take(*actor, step);
        }
        let id = world.id;
        // Each event in a batch of its own; in some other order, many of them twice.
        let batches: Vec<Writes> = world.log.iter().map(|(cursor, event)| {
            let mut writes = Writes::default();
            let left = match event {
                Event::ChatMembers(message) => message.change.clone().unwrap().removed,
                _ => Vec::new(),
            };
            writes.add(id, *cursor, event, &left).unwrap();
            writes
        }).collect();
        let in_order = collections(batches.iter());
        let mut order: Vec<usize> = (0..batches.len()).collect();
        for index in &shuffle {
            let at = index.index(batches.len());
            order.push(at);
            order.swap(at, 0);
        }
        prop_assert_eq!(&collections(order.iter().map(|at| &batches[*at])), &in_order);

        let archived: Messages = in_order.0.values()
            .filter_map(|document| store::message_of(document.clone()).unwrap())
            .map(|message| (message.seq, message))
            .collect();
        prop_assert_eq!(archived, world.messages);
    }
}

type Collection = BTreeMap<String, Document>;

/// What MongoDB would hold: messages, members, chats.
fn collections<'a>(batches: impl Iterator<Item = &'a Writes>) -> (Collection, Collection, Collection) {
    let (mut messages, mut members, mut chats) = Default::default();
    for writes in batches {
        // An insert is an upsert where the document is there, and the same where it is not.
        let sent: Vec<Upsert> = writes.sent.iter().map(Insert::upsert).collect();
        upsert(&mut messages, &sent);
        upsert(&mut messages, &writes.changes);
        upsert(&mut members, &writes.members);
        upsert(&mut chats, &writes.chats());
    }
    (messages, members, chats)
}

/// `$set`, `$max` and `$setOnInsert` as MongoDB defines them, for what `project` writes.
fn upsert(collection: &mut Collection, upserts: &[Upsert]) {
    for Upsert { id, update } in upserts {
        let new = !collection.contains_key(id);
        let document = collection.entry(id.clone()).or_default();
        for (operator, fields) in update {
            for (path, value) in fields.as_document().unwrap() {
                let (parents, name) = path.rsplit_once('.').unwrap_or(("", path));
                let mut target = &mut *document;
                for parent in parents.split('.').filter(|parent| !parent.is_empty()) {
                    target = target.entry(parent).or_insert(Bson::Document(Document::new())).as_document_mut().unwrap();
                }
                let higher = match (target.get(name), value) {
                    (None, _) => true,
                    (Some(Bson::Document(old)), Bson::Document(new)) => new.get_i64("c").ok() > old.get_i64("c").ok(),
                    (Some(old), new) => new.as_i64() > old.as_i64(),
                };
                match operator.as_str() {
                    "$set" => drop(target.insert(name, value.clone())),
                    "$max" if higher => drop(target.insert(name, value.clone())),
                    "$setOnInsert" if new => drop(target.insert(name, value.clone())),
                    "$max" | "$setOnInsert" => {}
                    other => panic!("{other} is not used"),
                }
            }
        }
        // The order of fields has no meaning.
        let mut sorted: Vec<_> = std::mem::take(document).into_iter().collect();
        sorted.sort_by(|one, other| one.0.cmp(&other.0));
        *document = sorted.into_iter().collect();
    }
}
