//! Membership of groups: add, remove, leave, roles.

use contract::{
    Done, Refusal,
    chat::{AddMembers, Chat, RemoveMember, SetRole},
};

use crate::{App, chats, conversations::require_known, decide::Command, view};

/// `call.chat.add_members`: those who are members already stay as they are.
pub async fn add(app: App, add: AddMembers) -> Result<Chat, Refusal> {
    let user = add.actor.user_id;
    // Not before it is known that this is a chat of theirs: who is who is nobody else's business.
    app.chats.current_for(add.chat_id, user).await?;
    require_known(&app, "userIds", &add.user_ids).await?;
    let command = Command::AddMembers { user_ids: add.user_ids };
    let done = app.chats.execute(add.chat_id, user, &command).await?;
    chat_after(&app, done, user).await
}

/// `call.chat.remove_member`
pub async fn remove(app: App, remove: RemoveMember) -> Result<Done, Refusal> {
    let command = Command::RemoveMember { user_id: remove.user_id };
    let done = app.chats.execute(remove.chat_id, remove.actor.user_id, &command).await?;
    if let chats::Done::Appended { event, state, .. } = done {
        app.spread(&state, &event, &[remove.user_id]).await;
    }
    Ok(Done {})
}

/// `call.chat.set_role`
pub async fn set_role(app: App, set: SetRole) -> Result<Chat, Refusal> {
    let command = Command::SetRole { user_id: set.user_id, role: set.role };
    let done = app.chats.execute(set.chat_id, set.actor.user_id, &command).await?;
    chat_after(&app, done, set.actor.user_id).await
}

async fn chat_after(app: &App, done: chats::Done, user: contract::UserId) -> Result<Chat, Refusal> {
    match done {
        chats::Done::Appended { event, state, .. } => {
            app.spread(&state, &event, &[]).await;
            view::read(app, &state, user).await
        }
        chats::Done::Unchanged(state) => view::read(app, &state, user).await,
        chats::Done::Before(_) => Err(Refusal::internal()),
    }
}
