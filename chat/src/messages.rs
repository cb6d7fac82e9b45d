//! Messages: send, edit, delete, react.

use bytes::Bytes;
use contract::{
    ChatId, Refusal, UserId,
    chat::{AddReaction, DeleteMessage, EditMessage, RemoveReaction, SendMessage, SentMessage},
    event::{Cursor, Message, Seq},
};

use crate::{
    App,
    catchup::raw,
    chats::{self, refusal},
    decide::Command,
    fold, log,
};

/// Lost races before a change of a message is given up.
const ATTEMPTS: usize = 16;

/// `call.chat.send`: a repeated `clientId` is answered with the original.
pub async fn send(app: App, send: SendMessage) -> Result<SentMessage, Refusal> {
    let chat = send.message.chat_id;
    match app.chats.execute(chat, send.actor.user_id, &Command::Send(send.message)).await? {
        chats::Done::Appended { body, .. } => Ok(SentMessage { created: true, message: raw(&body)? }),
        chats::Done::Before(cursor) => {
            Ok(SentMessage { created: false, message: raw(&stored(&app, chat, cursor).await?)? })
        }
        chats::Done::Unchanged(_) => Err(Refusal::internal()),
    }
}

async fn stored(app: &App, chat: ChatId, cursor: Cursor) -> Result<Bytes, Refusal> {
    let (found, _) = log::read(&app.reader.nats, chat, cursor, 1).await.map_err(|error| refusal(&error))?;
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

/// Decides on a message as it is now and answers it as it is afterwards. The message is read outside of the chat's
/// lock, so it counts only if the log has not moved since.
async fn change(
    app: &App,
    chat: ChatId,
    user: UserId,
    seq: Seq,
    command: impl Fn(Box<Message>) -> Command,
) -> Result<Message, Refusal> {
    for _ in 0..ATTEMPTS {
        let state = app.chats.current_for(chat, user).await?;
        let mut message = app.reader.one(&state, seq).await?;
        let command = command(Box::new(message.clone()));
        match app.chats.execute_at(state.cursor, chat, user, &command).await? {
            Some(chats::Done::Appended { event, .. }) => {
                fold::change(&mut message, &event);
                return Ok(message);
            }
            Some(chats::Done::Unchanged(_)) => return Ok(message),
            Some(chats::Done::Before(_)) => return Err(Refusal::internal()),
            None => {}
        }
    }
    Err(Refusal::unavailable("The chat is very busy; please try again."))
}
