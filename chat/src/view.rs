//! A chat as one of its members sees it.

use contract::{
    Refusal, UserId,
    chat::{Chat, MemberEntry, ReceiptCount},
};
use futures::{StreamExt, TryStreamExt, stream};
use service::absent;

use crate::{
    App, members,
    receipts::{self, Receipts},
    state::ChatState,
    typing, unread,
};

/// Chats whose unread messages are counted at a time.
const AT_ONCE: usize = 16;

/// A chat that is about to be shown.
struct Scene<'a> {
    state: &'a ChatState,
    entry: Option<&'a MemberEntry>,
    receipts: Receipts,
    /// Of a large group, where everybody's receipts were read.
    counts: Vec<ReceiptCount>,
    typing: Vec<UserId>,
}

impl Scene<'_> {
    fn chat(self, user: UserId, unread: u64) -> Chat {
        let Self { state, entry, receipts, counts, mut typing } = self;
        let named = receipts::is_named(state);
        let mut receipts = receipts::listed(&receipts);
        receipts.retain(|receipt| named || receipt.user_id == user);
        // Nobody is told that they type themselves.
        typing.retain(|typist| *typist != user);
        Chat {
            id: state.id,
            chat_type: state.chat_type,
            name: state.name.clone(),
            avatar_url: state.avatar_url.clone(),
            members: state.members.values().cloned().collect(),
            last_seq: state.last_seq,
            last_message: state.last_message.clone(),
            unread,
            receipts,
            receipt_counts: counts,
            typing,
            muted: entry.is_some_and(|entry| entry.muted),
            created_at: state.created_at,
            cursor: state.cursor,
        }
    }
}

/// A chat in which nothing has happened yet.
#[must_use]
pub fn of_new(state: &ChatState, user: UserId) -> Chat {
    let receipts = Receipts::new();
    let counts = receipts::counted(state, &receipts);
    Scene { state, entry: None, receipts, counts, typing: Vec::new() }.chat(user, 0)
}

/// What `user` sees of a chat, with everything there is to say.
pub async fn read(app: &App, state: &ChatState, user: UserId) -> Result<Chat, Refusal> {
    let nats = &app.reader.nats;
    let chats = [state];
    let (entry, mut receipts, mut typing) = tokio::try_join!(
        members::entry(nats, user, state.id),
        receipts::of_chats(nats, &chats),
        typing::of_chats(nats, &chats)
    )
    .map_err(|error| absent("the buckets MEMBERS, READS and TYPING", &error))?;
    let receipts = receipts.remove(&state.id).unwrap_or_default();
    let scene = Scene {
        state,
        entry: entry.as_ref(),
        counts: receipts::counted(state, &receipts),
        receipts,
        typing: typing.remove(&state.id).unwrap_or_default(),
    };
    count(app, user, scene).await
}

/// The same for many chats: of large groups only this user's receipts.
pub async fn read_all(
    app: &App,
    chats: &[(&ChatState, Option<&MemberEntry>)],
    user: UserId,
) -> Result<Vec<Chat>, Refusal> {
    let nats = &app.reader.nats;
    let states: Vec<&ChatState> = chats.iter().map(|(state, _)| *state).collect();
    let (named, large): (Vec<&ChatState>, Vec<&ChatState>) =
        states.iter().copied().partition(|state| receipts::is_named(state));
    let (mut receipts, own, mut typing) = tokio::try_join!(
        receipts::of_chats(nats, &named),
        receipts::of_member(nats, user, &large),
        typing::of_chats(nats, &states)
    )
    .map_err(|error| absent("the buckets READS and TYPING", &error))?;
    receipts.extend(own);
    let scenes: Vec<Scene<'_>> = chats
        .iter()
        .map(|(state, entry)| Scene {
            state,
            entry: *entry,
            receipts: receipts.remove(&state.id).unwrap_or_default(),
            counts: Vec::new(),
            typing: typing.remove(&state.id).unwrap_or_default(),
        })
        .collect();
    let counts: Vec<_> = scenes.into_iter().map(|scene| count(app, user, scene)).collect();
    stream::iter(counts).buffered(AT_ONCE).try_collect().await
}

async fn count(app: &App, user: UserId, scene: Scene<'_>) -> Result<Chat, Refusal> {
    let seen = scene.receipts.get(&user).map_or(0, |entry| entry.seen);
    let unread = unread::count(&app.reader, scene.state, user, seen).await?;
    Ok(scene.chat(user, unread))
}
