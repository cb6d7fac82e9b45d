//! Everybody and their chats, and what one of them does.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::Client;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Options;
use crate::{
    client,
    follow::{Faults, Follower},
    latency::{Latencies, Times, Window},
    people::{self, Chat, Person},
    refused::{Refusals, Refused},
    rest,
    target::System,
};

/// What people do, and how often in a hundred times.
const ACTIONS: [(Action, u32); 10] = [
    (Action::Write, 20),
    (Action::WriteGroup, 5),
    (Action::Edit, 3),
    (Action::React, 7),
    (Action::Read, 20),
    (Action::Type, 20),
    (Action::Watch, 5),
    (Action::History, 8),
    (Action::List, 8),
    (Action::Reconnect, 4),
];
/// How far back in a group people react.
const LATEST: usize = 10;
/// Connections made at a time before anything is measured.
const AT_A_TIME: usize = 16;
/// How one kind of action went.
#[derive(Serialize)]
pub struct Row {
    pub action: Action,
    pub took: Latencies,
    pub refused: Refusals,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// A message to a direct chat, until it is acknowledged; to a group.
    Write,
    WriteGroup,
    /// Of what one wrote last to the group.
    Edit,
    /// To one of the newest messages of the group, or a reaction taken back.
    React,
    /// `message:read` of the last message known.
    Read,
    /// `typing:start`
    Type,
    /// `presence:subscribe` to everybody in a chat, at most 20.
    Watch,
    /// The newest page of a chat.
    History,
    /// One's chats.
    List,
    /// The connection is cut and made again, until all that was missed is known.
    Reconnect,
}

/// Somebody with a device and chats, of which the last is a group.
struct Somebody {
    person: Person,
    follower: Follower,
    chats: Vec<Arc<Chat>>,
    /// Number of what they wrote last to the group; 0 before.
    wrote: AtomicU64,
    /// Between a cut and having caught up; somebody else acts meanwhile.
    away: AtomicBool,
}

pub struct Town {
    system: System,
    people: Vec<Somebody>,
    /// Ids of all, for presence.
    ids: Vec<String>,
    http: Client,
    number: AtomicU64,
    seen: Mutex<HashMap<Action, (Times, Refusals)>>,
}

impl Town {
    pub async fn build(system: &System, options: &Options) -> Result<Self> {
        let people = people::sign_up(system, options.people.into()).await?;
        let mut chats = people::open_chats(system, &people, people.len() / 2).await?;
        let size = usize::from(options.group);
        for first in (0..people.len()).step_by(size) {
            let members: Vec<_> = (first..(first + size).min(people.len())).collect();
            // One who is left over is in none.
            if members.len() > 1 {
                chats.push(people::open_group(system, &people, members).await?);
            }
        }
        let mut of = vec![Vec::new(); people.len()];
        for chat in chats.into_iter().map(Arc::new) {
            chat.members.iter().for_each(|member| of[*member].push(Arc::clone(&chat)));
        }
        let ids = people.iter().map(|person| person.id.clone()).collect();
        let somebody = |(person, chats): (Person, Vec<Arc<Chat>>)| Somebody {
            follower: Follower::new(person.seat(system), chats.iter().map(|chat| (chat.id.as_str(), chat.cursor))),
            person,
            chats,
            wrote: AtomicU64::new(0),
            away: AtomicBool::new(false),
        };
        let people: Vec<_> = people.into_iter().zip(of).map(somebody).collect();
        let connect = async |somebody: &Somebody| somebody.come_back(|_| ()).await;
        stream::iter(&people).map(connect).buffer_unordered(AT_A_TIME).try_collect::<()>().await?;
        let (system, http, number, seen) = (system.clone(), Client::new(), AtomicU64::new(0), Mutex::default());
        Ok(Self { system, people, ids, http, number, seen })
    }

    /// Lets somebody do something.
    pub async fn act(self: Arc<Self>, intended: Instant, window: Window) -> Result<()> {
        let action = Action::any();
        let Some(somebody) = self.anybody() else { return Ok(()) };
        let mut refusals = Refusals::default();
        match self.carry_out(action, somebody, &mut refusals).await? {
            Ok(()) if window.contains(intended) => {
                let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.entry(action).or_default().0.record(intended.elapsed());
            }
            Ok(()) => {}
            Err(Refused { code, .. }) => refusals.count(&code),
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.entry(action).or_default().1.add(&refusals);
        Ok(())
    }

    /// Somebody who is there, unless it is hard to find one.
    fn anybody(&self) -> Option<&Somebody> {
        (0..100)
            .map(|_| &self.people[rand::random_range(0..self.people.len())])
            .find(|somebody| !somebody.away.load(Ordering::Relaxed))
    }

    async fn carry_out(
        &self,
        action: Action,
        somebody: &Somebody,
        refusals: &mut Refusals,
    ) -> Result<Result<(), Refused>> {
        let Somebody { person, follower, chats, wrote, .. } = somebody;
        let direct = &chats[rand::random_range(0..chats.len().max(2) - 1)];
        let group = chats.last().unwrap_or(direct);
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let gateway = &self.system.gateways[person.gateway];
        let message = |chat: &Chat| json!({ "chatId": chat.id, "clientId": number.to_string(), "text": "Hello" });
        let answer = match action {
            Action::Write => follower.ask("message:send", &message(direct)).await?,
            Action::WriteGroup => {
                let answer = follower.ask("message:send", &message(group)).await?;
                if let Ok(ack) = &answer {
                    wrote.store(seq_of(ack)?, Ordering::Relaxed);
                }
                answer
            }
            Action::Edit => {
                let seq = wrote.load(Ordering::Relaxed);
                // They have written nothing yet.
                if seq == 0 {
                    return Ok(Ok(()));
                }
                let text = format!("Hello, corrected {number}");
                follower.ask("message:edit", &json!({ "chatId": group.id, "seq": seq, "text": text })).await?
            }
            Action::React => {
                let Some(last) = newest(follower, group) else { return Ok(Ok(())) };
                let seq = last.saturating_sub(rand::random_range(0..LATEST as u64)).max(1);
                let event = if number.is_multiple_of(2) { "reaction:add" } else { "reaction:remove" };
                follower.ask(event, &json!({ "chatId": group.id, "seq": seq, "emoji": "👍" })).await?
            }
            Action::Read => {
                // There is nothing to be read yet.
                let Some(seq) = newest(follower, group) else { return Ok(Ok(())) };
                follower.ask("message:read", &json!({ "chatId": group.id, "seq": seq })).await?
            }
            Action::Type => follower.ask("typing:start", &json!({ "chatId": direct.id })).await?,
            Action::Watch => {
                let ids: Vec<_> = group.members.iter().take(20).map(|member| &self.ids[*member]).collect();
                follower.ask("presence:subscribe", &json!({ "userIds": ids })).await?
            }
            Action::History => {
                let url = format!("{gateway}/api/messages/{}?limit=50", group.id);
                rest::ask(self.http.get(url).bearer_auth(&person.token)).await?.map(|_| String::new())
            }
            Action::List => {
                let request = self.http.get(format!("{gateway}/api/chats"));
                rest::ask(request.bearer_auth(&person.token)).await?.map(|_| String::new())
            }
            Action::Reconnect => {
                if somebody.away.swap(true, Ordering::Relaxed) {
                    return Ok(Ok(()));
                }
                follower.cut();
                somebody.come_back(|code| refusals.count(code)).await?;
                somebody.away.store(false, Ordering::Relaxed);
                Ok(String::new())
            }
        };
        Ok(answer.map(|_| ()))
    }

    pub fn rows(&self) -> Vec<Row> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let row = |(action, _): &(Action, u32)| {
            let (times, refused) = seen.get(action).cloned().unwrap_or_default();
            Row { action: *action, took: times.latencies(), refused }
        };
        ACTIONS.iter().map(row).collect()
    }

    /// What people know of their chats must be the same, and all of it.
    pub async fn faults(&self) -> Result<Faults> {
        let fetch = async |somebody: &Somebody| somebody.follower.catch_up(|_| ()).await;
        stream::iter(&self.people).map(fetch).buffer_unordered(AT_A_TIME).try_collect::<()>().await?;
        let known = |somebody: &Somebody, chat: &Chat| somebody.follower.inbox(|inbox| inbox.seqs(&chat.id).to_vec());
        let mut faults = Faults::default();
        for somebody in &self.people {
            for chat in &somebody.chats {
                let all = chat.members.iter().flat_map(|member| known(&self.people[*member], chat));
                faults.count(&known(somebody, chat), chat.last_seq, all.max().unwrap_or(chat.last_seq));
            }
            faults.gaps += somebody.follower.inbox(|inbox| inbox.gaps);
        }
        Ok(faults)
    }
}

/// The number that an acknowledged message got.
fn seq_of(ack: &str) -> Result<u64> {
    #[derive(Deserialize)]
    struct Sent {
        message: Numbered,
    }
    #[derive(Deserialize)]
    struct Numbered {
        seq: u64,
    }
    client::first(ack).map(|Sent { message }| message.seq)
}

/// The newest message that a device knows of a chat.
fn newest(follower: &Follower, chat: &Chat) -> Option<u64> {
    follower.inbox(|inbox| inbox.seqs(&chat.id).iter().copied().max())
}

impl Somebody {
    async fn come_back(&self, mut refused: impl FnMut(&str)) -> Result<()> {
        self.follower.connect(&mut refused).await?;
        self.follower.catch_up(refused).await
    }
}

impl Action {
    fn any() -> Self {
        let mut chosen = rand::random_range(0..ACTIONS.iter().map(|(_, weight)| weight).sum());
        for (action, weight) in ACTIONS {
            if chosen < weight {
                return action;
            }
            chosen -= weight;
        }
        Self::Read
    }
}
