//! Going on with another token.

use contract::Refusal;
use serde::Deserialize;
use socketioxide::extract::SocketRef;

use super::{ack::Ack, connection::Connection};
use crate::app::App;

#[derive(Deserialize)]
pub(super) struct Token {
    token: String,
}

pub(super) async fn refresh_token(
    app: &App,
    socket: &SocketRef,
    connection: &Connection,
    Token { token }: Token,
) -> Result<Ack, Refusal> {
    let verified = app.identity.verify(&token).await?;
    if verified.actor.user_id != connection.actor().user_id {
        return Err(Refusal::forbidden("This is another user's token."));
    }
    connection.renew(verified);
    app.rooms.change_session(socket.id, verified.actor.session_id);
    Ok(Ack::Done)
}
