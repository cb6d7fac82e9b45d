//! Presence: what one wants to be seen as, and whom one watches.

use contract::{Actor, Refusal, UserId, presence::Availability};
use serde::Deserialize;
use socketioxide::socket::Sid;

use super::{ack::Ack, connection::Connection};
use crate::app::App;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct People {
    user_ids: Vec<UserId>,
}

pub(super) async fn watch(app: &App, sid: Sid, actor: Actor, people: People) -> Result<Ack, Refusal> {
    app.limits.items(actor.user_id, people.user_ids.len())?;
    Ok(Ack::Presence(app.watchers.watch(sid, actor, people.user_ids).await?))
}

pub(super) fn unwatch(app: &App, sid: Sid, people: &People) -> Ack {
    app.watchers.unwatch(sid, &people.user_ids);
    Ack::Presence(Vec::new())
}

#[derive(Deserialize)]
pub(super) struct SeenAs {
    status: Availability,
}

pub(super) fn set(connection: &Connection, SeenAs { status }: &SeenAs) -> Ack {
    connection.device.set(*status);
    Ack::Done
}
