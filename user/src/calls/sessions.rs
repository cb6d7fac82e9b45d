//! Staying signed in, and ending that.

use contract::{
    Done, Refusal,
    user::{GetJwks, Jwks, ListSessions, Logout, Refresh, RevokeSession, Session, Sessions, Tokens},
};

use crate::Shared;

/// Trades a refresh token for the next one and a new access token.
pub(crate) async fn refresh(state: Shared, request: Refresh) -> Result<Tokens, Refusal> {
    state.sessions.refresh(request.body.refresh_token.expose(), &request.client).await
}

/// Ends the session that asks. It may have ended already: then this changes nothing.
pub(crate) async fn logout(state: Shared, request: Logout) -> Result<Done, Refusal> {
    state.sessions.revoke(request.actor.session_id).await.map(|()| Done {})
}

pub(crate) async fn list(state: Shared, request: ListSessions) -> Result<Sessions, Refusal> {
    let sessions = state.sessions.of(request.actor.user_id).await?.into_iter().map(|session| Session {
        current: session.id == request.actor.session_id,
        id: session.id,
        device: session.device,
        ip: session.ip,
        created_at: session.created_at,
        last_used_at: session.last_used_at,
    });
    Ok(Sessions { sessions: sessions.collect() })
}

/// Ends one of one's own sessions. Another's is as one that does not exist.
pub(crate) async fn revoke(state: Shared, request: RevokeSession) -> Result<Done, Refusal> {
    state.sessions.revoke_own(request.actor.user_id, request.session_id).await.map(|()| Done {})
}

pub(crate) async fn jwks(state: Shared, _request: GetJwks) -> Result<Jwks, Refusal> {
    Ok(state.sessions.jwks().clone())
}
