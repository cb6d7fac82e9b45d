//! The chats an instance has at hand: loaded from snapshot and log, brought up to date by replay, changed by a fenced
//! append. Any instance may serve any chat; two that collide on one are told by the fence.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use contract::{
    ChatId, Refusal, Time, UserId,
    event::{Cursor, Event, Seq},
    storage::{CHATS_BUCKET, log_stream, log_subject},
};
use futures::future::join;
use moka::future::Cache;
use service::{Nats, absent, chain, fault};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};

use crate::{
    archive::Floor,
    decide::{Command, Decision, decide},
    log::{self, Appended, Entry, LogError},
    slot::Slot,
    state::ChatState,
};

/// A chat is written to its snapshot when this many events came since.
const SNAPSHOT_EVERY: u64 = 200;
/// What nobody decides on may be as old as this.
const LATELY: Duration = Duration::from_secs(1);
/// The leader answers within this, or is asked again; one that comes back from being cut off hears of it within a second.
const LEADER: Duration = Duration::from_millis(300);
const LEADERLESS: Duration = Duration::from_millis(1_500);
/// A command that loses every race is given up after this: another instance that has much to append is always a step
/// ahead of one that has to read first.
const PATIENCE: Duration = Duration::from_secs(5);

/// All chats, as far as this instance knows them; cheap to clone.
#[derive(Clone)]
pub struct Chats {
    nats: Nats,
    floor: Floor,
    log_events: u64,
    at_hand: Cache<ChatId, Arc<Mutex<Slot>>>,
}

/// What a command led to.
#[derive(Debug)]
pub enum Done {
    /// This was appended; the state is the one after it.
    Appended { event: Box<Event>, body: Bytes, state: Arc<ChatState> },
    /// Nothing had to be.
    Unchanged(Arc<ChatState>),
    /// It was sent before, here.
    Before(Cursor),
}

impl Chats {
    #[must_use]
    pub fn new(nats: Nats, floor: Floor, log_events: u32, at_hand: u64) -> Self {
        Self { nats, floor, log_events: log_events.into(), at_hand: Cache::new(at_hand) }
    }

    /// The chat as the log leaves it now; `None` if there is none. Who has learned of an event, from whichever instance, is
    /// never answered as it was before.
    pub async fn current(&self, chat: ChatId) -> Result<Option<Arc<ChatState>>, Refusal> {
        let slot = self.slot(chat).await;
        let mut slot = slot.lock().await;
        let (end, refreshed) = join(self.end(chat), self.refresh(chat, &mut slot)).await;
        refreshed?;
        if slot.state.as_ref().map_or(0, |state| state.cursor) < end {
            self.refresh_to(chat, &mut slot, end).await?;
        }
        Ok(slot.state.clone())
    }

    /// Where the chat's log ends, in a cluster: any copy of it is read, and only the leader knows. Where it cannot be asked
    /// for long, what can be read has to do.
    async fn end(&self, chat: ChatId) -> Cursor {
        if self.nats.replicas() < 2 {
            return 0;
        }
        let subject = log_subject(chat);
        let asking = async {
            loop {
                match timeout(LEADER, service::leaders_end(&self.nats, log_stream(chat), &subject)).await {
                    Ok(Ok(end)) => return end,
                    Ok(Err(error)) => tracing::debug!(%chat, error = chain(&error), "cannot ask where the log ends"),
                    Err(_) => {}
                }
                sleep(log::AGAIN).await;
            }
        };
        timeout(LEADERLESS, asking).await.unwrap_or(0)
    }

    /// The chat as the log left it after `cursor`, or later.
    pub async fn since(&self, chat: ChatId, cursor: Cursor) -> Result<Option<Arc<ChatState>>, Refusal> {
        let slot = self.slot(chat).await;
        let mut slot = slot.lock().await;
        if slot.state.as_ref().is_none_or(|state| state.cursor < cursor) {
            self.refresh(chat, &mut slot).await?;
        }
        Ok(slot.state.clone())
    }

    /// The chat as the log leaves it now, if `user` is a member; `not_found` otherwise.
    pub async fn current_for(&self, chat: ChatId, user: UserId) -> Result<Arc<ChatState>, Refusal> {
        let state = self.current(chat).await?;
        state.filter(|state| state.member(user).is_some()).ok_or_else(|| Refusal::not_found("chat"))
    }

    /// The same as [`since`](Self::since), if `user` is a member.
    pub async fn since_for(&self, chat: ChatId, user: UserId, cursor: Cursor) -> Result<Arc<ChatState>, Refusal> {
        let state = self.since(chat, cursor).await?;
        state.filter(|state| state.member(user).is_some()).ok_or_else(|| Refusal::not_found("chat"))
    }

    /// The chat as it was at most [`LATELY`] ago, if `user` was a member: for what is nothing but a courtesy.
    pub async fn lately_for(&self, chat: ChatId, user: UserId) -> Result<Arc<ChatState>, Refusal> {
        let slot = self.slot(chat).await;
        let mut slot = slot.lock().await;
        if slot.state.is_none() || slot.read_at.is_none_or(|read| read.elapsed() > LATELY) {
            self.refresh(chat, &mut slot).await?;
        }
        let state = slot.state.clone().filter(|state| state.member(user).is_some());
        state.ok_or_else(|| Refusal::not_found("chat"))
    }

    /// Decides on a command and appends what follows.
    ///
    /// A refusal is only given on a state that is up to date, and an append only succeeds on one.
    pub async fn execute(&self, chat: ChatId, actor: UserId, command: &Command) -> Result<Done, Refusal> {
        self.try_execute(chat, actor, command, None).await?.ok_or_else(busy)
    }

    /// The same for a command on the message `seq` as it was when the log stood at `cursor`: `None` if it may have changed
    /// since.
    pub async fn execute_on(
        &self,
        (seq, cursor): (Seq, Cursor),
        chat: ChatId,
        actor: UserId,
        command: &Command,
    ) -> Result<Option<Done>, Refusal> {
        self.try_execute(chat, actor, command, Some((seq, cursor))).await
    }

    async fn try_execute(
        &self,
        chat: ChatId,
        actor: UserId,
        command: &Command,
        on: Option<(Seq, Cursor)>,
    ) -> Result<Option<Done>, Refusal> {
        let slot = self.slot(chat).await;
        let mut slot = slot.lock().await;
        let mut fresh = false;
        if slot.state.is_none() {
            self.refresh(chat, &mut slot).await?;
            fresh = true;
        }
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if on.is_some_and(|(seq, cursor)| slot.may_have_changed(seq, cursor)) {
                return Ok(None);
            }
            let decision = match decide(chat, slot.state.as_deref(), actor, command, Time::now()) {
                Ok(Decision::Unchanged) | Err(_) if !fresh => {
                    self.refresh(chat, &mut slot).await?;
                    fresh = true;
                    continue;
                }
                decision => decision?,
            };
            let event = match decision {
                Decision::Append(event) => event,
                Decision::Sent(cursor) => return Ok(Some(Done::Before(cursor))),
                // A state that is not there never leaves things as they are.
                Decision::Unchanged => {
                    return Ok(Some(Done::Unchanged(slot.state.clone().ok_or_else(|| Refusal::not_found("chat"))?)));
                }
            };
            self.check_archived(chat, &mut slot).await?;
            let body = Bytes::from(event.encode().map_err(|error| fault("writing an event", &error))?);
            let entry = Entry { event: &event, body: body.clone() };
            match log::append(&self.nats, chat, slot.state.as_deref(), &entry).await {
                Ok(Appended::At(cursor)) => {
                    slot.read_at = Some(Instant::now());
                    slot.advance(&event, cursor);
                    self.snapshot(&mut slot);
                    let state = slot.state.clone().ok_or_else(Refusal::internal)?;
                    return Ok(Some(Done::Appended { event, body, state }));
                }
                Ok(Appended::Before(cursor)) => return Ok(Some(Done::Before(cursor))),
                Ok(Appended::LostRace) => {
                    metrics::counter!("natter_chat_lost_races_total").increment(1);
                    self.refresh(chat, &mut slot).await?;
                    fresh = true;
                }
                Err(error) => return Err(absent("the log", &error)),
            }
        }
        Err(busy())
    }

    async fn slot(&self, chat: ChatId) -> Arc<Mutex<Slot>> {
        self.at_hand.get_with(chat, async { Arc::default() }).await
    }

    /// Takes in what the log has beyond what is known.
    async fn refresh(&self, chat: ChatId, slot: &mut Slot) -> Result<(), Refusal> {
        self.refresh_to(chat, slot, 0).await
    }

    /// The same where the log is known to reach to `until`.
    async fn refresh_to(&self, chat: ChatId, slot: &mut Slot, until: Cursor) -> Result<(), Refusal> {
        if slot.state.is_none() {
            slot.begin(self.load_snapshot(chat).await?);
        }
        let from = slot.state.as_ref().map_or(0, |state| state.cursor) + 1;
        let read_at = Instant::now();
        let mut beginless = false;
        let replayed = log::replay(&self.nats, chat, from, until, |logged, event| {
            slot.advance(&event, logged.sequence);
            beginless |= slot.state.is_none();
        })
        .await;
        match replayed {
            Ok(()) if beginless => Err(refusal(&LogError::Beginless(chat))),
            replayed => {
                replayed.map_err(|error| refusal(&error))?;
                slot.read_at = Some(read_at);
                Ok(())
            }
        }
    }

    async fn load_snapshot(&self, chat: ChatId) -> Result<Option<ChatState>, Refusal> {
        let values = service::last_values(&self.nats, CHATS_BUCKET, &[chat.to_string()]).await;
        let values = values.map_err(|error| absent("the snapshots of chats", &error))?;
        let Some(value) = values.first() else { return Ok(None) };
        match serde_json::from_slice(&value.payload) {
            Ok(state) => Ok(Some(state)),
            Err(error) => {
                // From another version: the log tells it again.
                tracing::warn!(%chat, %error, "a snapshot is not readable and is passed over");
                Ok(None)
            }
        }
    }

    /// Writes the snapshot, beside the path of the message, when it is due.
    fn snapshot(&self, slot: &mut Slot) {
        let Some(state) = &slot.state else { return };
        if state.events < slot.snapshot + SNAPSHOT_EVERY {
            return;
        }
        slot.snapshot = state.events;
        let (nats, state) = (self.nats.clone(), state.clone());
        tokio::spawn(async move {
            let written = match serde_json::to_vec(state.as_ref()) {
                Ok(json) => nats.put(CHATS_BUCKET, &state.id.to_string(), json.into(), None).await,
                Err(error) => return tracing::error!(chat = %state.id, %error, "cannot write a snapshot"),
            };
            // The next one is due soon; until then the log has all of it.
            if let Err(error) = written {
                tracing::warn!(chat = %state.id, error = service::chain(&error), "cannot write a snapshot");
            }
        });
    }

    /// The log keeps the newest events of a chat: refuses an append that would push out one not archived yet.
    async fn check_archived(&self, chat: ChatId, slot: &mut Slot) -> Result<(), Refusal> {
        let events = slot.state.as_ref().map_or(0, |state| state.events);
        if events - slot.archived.min(events) < self.log_events {
            return Ok(());
        }
        let (first, _) =
            log::read(&self.nats, chat, self.floor.of(chat) + 1, 1).await.map_err(|error| refusal(&error))?;
        slot.archived = first.first().and_then(log::number).map_or(events, |number| number.saturating_sub(1));
        if events - slot.archived.min(events) < self.log_events {
            return Ok(());
        }
        tracing::warn!(%chat, "the archive is too far behind; appends to this chat are refused");
        Err(Refusal::unavailable("This chat cannot take more messages right now; please try again."))
    }
}

/// It lost every race.
#[must_use]
pub fn busy() -> Refusal {
    Refusal::unavailable("The chat is very busy; please try again.")
}

/// The log cannot be read: `unavailable` where NATS is away, `internal` where what it holds is not readable.
pub fn refusal(error: &LogError) -> Refusal {
    match error {
        LogError::Read(_) | LogError::Behind => absent("the log", error),
        LogError::Event(..) | LogError::Unknown(_) | LogError::Beginless(_) => fault("reading the log", error),
    }
}
