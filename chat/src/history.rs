//! History: messages by number, from the log where it still tells of them, else from MongoDB with the tail that is not
//! archived yet folded over it. What was acknowledged a moment ago is in it.

use contract::{
    Code, Refusal,
    chat::{GetHistory, History, MAX_PAGE},
    event::{Cursor, Message, Seq},
};
use service::{Logged, Nats, mongo, mongo::Mongo};

use crate::{
    App,
    archive::Floor,
    chats::refusal,
    fold::{self, Messages},
    log,
    state::ChatState,
    store,
};

/// A page is at most this large, whatever its limit, so that it fits into one NATS message.
const PAGE_BYTES: usize = 700 * 1024;

/// Where messages are read from; cheap to clone.
#[derive(Clone)]
pub struct Reader {
    pub nats: Nats,
    pub mongo: Mongo,
    pub floor: Floor,
}

impl Reader {
    /// Messages `first..=last` as the log leaves them now; numbers count without gaps, so none is missing.
    pub async fn range(&self, state: &ChatState, first: Seq, last: Seq) -> Result<Messages, Refusal> {
        if first > last {
            return Ok(Messages::new());
        }
        let within = |messages: Messages| -> Messages {
            messages.into_iter().filter(|(seq, _)| (first..=last).contains(seq)).collect()
        };
        let all = usize::try_from(last - first + 1).unwrap_or(usize::MAX);
        if let Some(cursor) = state.recent_cursor(first) {
            let messages = within(self.fold_from(state, cursor, Messages::new()).await?);
            // Fewer where so much came after them that the log has dropped them.
            if messages.len() == all {
                return Ok(messages);
            }
        }
        let messages = within(self.with_archive(state, first, last).await?);
        if messages.len() == all {
            return Ok(messages);
        }
        tracing::warn!(chat = %state.id, first, last, found = messages.len(), "messages are missing from the archive");
        Err(Refusal::unavailable("Part of this history is unavailable right now; please try again."))
    }

    /// One message as the log leaves it now.
    pub async fn one(&self, state: &ChatState, seq: Seq) -> Result<Message, Refusal> {
        if seq == 0 || seq > state.last_seq {
            return Err(Refusal::not_found("message"));
        }
        let message = self.range(state, seq, seq).await?.remove(&seq);
        message.ok_or_else(|| Refusal::not_found("message"))
    }

    async fn with_archive(&self, state: &ChatState, first: Seq, last: Seq) -> Result<Messages, Refusal> {
        // Before MongoDB is asked: what it then holds is at least everything up to here.
        let floor = self.floor.of(state.id);
        let archived = match self.mongo.database() {
            Ok(database) => store::messages(database, state.id, first, last)
                .await
                .map_err(|error| mongo::refusal("reading messages", &error)),
            Err(refusal) => Err(refusal),
        };
        match archived {
            Ok(messages) => self.fold_from(state, floor + 1, messages).await,
            // The log may still tell of all of it.
            Err(refused) => {
                let messages = self.fold_from(state, 1, Messages::new()).await?;
                if messages.first_key_value().is_some_and(|(seq, _)| *seq <= first) {
                    Ok(messages)
                } else {
                    Err(refused)
                }
            }
        }
    }

    async fn fold_from(&self, state: &ChatState, from: Cursor, mut messages: Messages) -> Result<Messages, Refusal> {
        let take = |_: &Logged, event| fold::take(&mut messages, event);
        let folded = log::replay(&self.nats, state.id, from, state.cursor, take).await;
        folded.map_err(|error| refusal(&error))?;
        Ok(messages)
    }
}

/// `call.chat.history`
pub async fn history(app: App, get: GetHistory) -> Result<History, Refusal> {
    if get.limit == 0 || get.limit > MAX_PAGE {
        return Err(Refusal::field("limit", format!("must be 1 to {MAX_PAGE}")));
    }
    let state = app.chats.current_for(get.chat_id, get.actor.user_id).await?;
    let (low, high) = bounds(&get, state.last_seq);
    if low > high {
        return Ok(History { messages: Vec::new(), has_more: false });
    }
    let limit = Seq::from(get.limit);
    let oldest_first = get.after.is_some() && get.before.is_none();
    let (first, last) = if oldest_first {
        (low, high.min(low.saturating_add(limit - 1)))
    } else {
        (low.max(high.saturating_sub(limit - 1)), high)
    };
    let messages = app.reader.range(&state, first, last).await?.into_values();
    let messages = if oldest_first { fitting(messages) } else { reversed(fitting(messages.rev())) };
    let (Some(oldest), Some(newest)) = (messages.first(), messages.last()) else {
        return Err(Refusal::new(Code::Internal, "A message does not fit into a page."));
    };
    let has_more = if oldest_first { newest.seq < high } else { oldest.seq > low };
    Ok(History { messages, has_more })
}

/// Lowest and highest number asked for, both included.
fn bounds(get: &GetHistory, last_seq: Seq) -> (Seq, Seq) {
    let low = get.after.unwrap_or(0).saturating_add(1);
    let high = get.before.map_or(last_seq, |before| before.saturating_sub(1).min(last_seq));
    (low, high)
}

/// As many as fit into a page, at least one.
fn fitting(messages: impl Iterator<Item = Message>) -> Vec<Message> {
    let mut bytes = 0;
    let mut page = Vec::new();
    for message in messages {
        bytes += serde_json::to_vec(&message).map_or(0, |json| json.len());
        if bytes > PAGE_BYTES && !page.is_empty() {
            break;
        }
        page.push(message);
    }
    page
}

fn reversed(mut messages: Vec<Message>) -> Vec<Message> {
    messages.reverse();
    messages
}
