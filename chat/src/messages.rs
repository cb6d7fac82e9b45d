//! Messages: send, edit, delete, react.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use contract::{
    ChatId, Refusal, UserId,
    chat::{AddReaction, DeleteMessage, EditMessage, RemoveReaction, SendMessage, SentMessage},
    event::{Cursor, Message, Seq},
};

use moka::future::Cache;
use service::fault;
use tokio::{sync::Mutex, time::Instant};

use crate::{
    App,
    catchup::raw,
    chats::{self, busy, refusal},
    decide::Command,
    fold, log,
};

/// Messages that were changed lately: how many are kept at hand, and for how long after the last change.
const AT_HAND: u64 = 1_024;
const LATELY: Duration = Duration::from_secs(10);
/// Another instance that changes the same message again and again is tried against for this long.
const PATIENCE: Duration = Duration::from_secs(5);

/// The messages that are being changed: a message that many react to at once is read once. Cheap to clone.
#[derive(Clone)]
pub struct AtHand(Cache<(ChatId, Seq), Arc<Mutex<Option<Version>>>>);

/// A message, and where the log stood when it was so.
struct Version {
    message: Message,
    cursor: Cursor,
}

impl Default for AtHand {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(AT_HAND).time_to_idle(LATELY).build())
    }
}

/// `call.chat.send`: a repeated `clientId` is answered with the original, or with what its deletion left of it.
pub async fn send(app: App, send: SendMessage) -> Result<SentMessage, Refusal> {
    let chat = send.message.chat_id;
    let user = send.actor.user_id;
    match app.chats.execute(chat, user, &Command::Send(send.message)).await? {
        chats::Done::Appended { body, .. } => Ok(SentMessage { created: true, message: raw(&body)? }),
        chats::Done::Before(cursor) => {
            let message = stored(&app, chat, cursor).await?;
            let state = app.chats.since_for(chat, user, cursor).await?;
            let erased = seq_of(&message).filter(|seq| state.is_erased(*seq));
            let message = match erased {
                // What it said is nobody's business any more.
                Some(seq) => encoded(&app.reader.one(&state, seq).await?)?,
                None => message,
            };
            Ok(SentMessage { created: false, message: raw(&message)? })
        }
        chats::Done::Unchanged(_) => Err(Refusal::internal()),
    }
}

fn seq_of(message: &[u8]) -> Option<Seq> {
    Some(serde_json::from_slice::<Message>(message).ok()?.seq)
}

fn encoded(message: &Message) -> Result<Bytes, Refusal> {
    Ok(serde_json::to_vec(message).map_err(|error| fault("writing a message", &error))?.into())
}

async fn stored(app: &App, chat: ChatId, cursor: Cursor) -> Result<Bytes, Refusal> {
    let found = log::read_to(&app.reader.nats, chat, cursor, 1, cursor).await;
    let (found, _) = found.map_err(|error| refusal(&error))?;
    let original = found.into_iter().find(|logged| logged.sequence == cursor);
    original.map(|logged| logged.payload).ok_or_else(|| Refusal::unavailable("The message is no longer in the log."))
}

/// `call.chat.edit`
pub async fn edit(app: App, edit: EditMessage) -> Result<Message, Refusal> {
    change(&app, edit.chat_id, edit.actor.user_id, edit.seq, |message| Command::Edit {
        message,
        text: edit.text.clone(),
        mentions: edit.mentions.clone(),
    })
    .await
}

/// `call.chat.delete_message`
pub async fn delete(app: App, delete: DeleteMessage) -> Result<Message, Refusal> {
    let command = |message| Command::DeleteMessage { message };
    change(&app, delete.chat_id, delete.actor.user_id, delete.seq, command).await
}

/// `call.chat.add_reaction`
pub async fn add_reaction(app: App, react: AddReaction) -> Result<Message, Refusal> {
    let command = |message| Command::React { message, emoji: react.emoji.clone(), add: true };
    change(&app, react.chat_id, react.actor.user_id, react.seq, command).await
}

/// `call.chat.remove_reaction`
pub async fn remove_reaction(app: App, react: RemoveReaction) -> Result<Message, Refusal> {
    let command = |message| Command::React { message, emoji: react.emoji.clone(), add: false };
    change(&app, react.chat_id, react.actor.user_id, react.seq, command).await
}

/// Decides on a message as it is now and answers it as it is afterwards. It is read outside of the chat's lock, so that
/// messages are sent meanwhile however long that takes; those who change the same one go one after the other.
async fn change(
    app: &App,
    chat: ChatId,
    user: UserId,
    seq: Seq,
    command: impl Fn(Box<Message>) -> Command,
) -> Result<Message, Refusal> {
    let hand = app.at_hand.0.get_with((chat, seq), async { Arc::default() }).await;
    let mut hand = hand.lock().await;
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let version = match hand.take() {
            Some(version) => version,
            None => read(app, chat, user, seq).await?,
        };
        let version = hand.insert(version);
        let command = command(Box::new(version.message.clone()));
        match app.chats.execute_on((seq, version.cursor), chat, user, &command).await? {
            Some(chats::Done::Appended { event, state, .. }) => {
                fold::change(&mut version.message, &event);
                version.cursor = state.cursor;
                return Ok(version.message.clone());
            }
            Some(chats::Done::Unchanged(_)) => return Ok(version.message.clone()),
            Some(chats::Done::Before(_)) => return Err(Refusal::internal()),
            // Another instance has changed it.
            None => *hand = None,
        }
    }
    Err(busy())
}

async fn read(app: &App, chat: ChatId, user: UserId, seq: Seq) -> Result<Version, Refusal> {
    let state = app.chats.current_for(chat, user).await?;
    Ok(Version { message: app.reader.one(&state, seq).await?, cursor: state.cursor })
}
