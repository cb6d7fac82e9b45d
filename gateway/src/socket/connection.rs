//! What is kept with a connected socket.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use contract::{Actor, Refusal, Time};
use socketioxide::socket::Sid;
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::Instant,
};

use super::line::Line;
use crate::{
    app::App,
    identity::Verified,
    limits::{Limits, Seat, Work},
    presence::{Device, Watchers},
    rooms::Place,
};

/// Who is at the other end; kept in the socket's extensions and dropped with them.
pub struct Connection {
    actor: Mutex<Actor>,
    expires: watch::Sender<Instant>,
    pub line: Line,
    pub device: Device,
    watchers: Watchers,
    sid: Sid,
    _place: Place,
    _seat: Seat,
}

/// What an event holds while it is worked on.
pub struct Admitted {
    _permit: OwnedSemaphorePermit,
    _work: Work,
}

impl Connection {
    pub fn new(verified: Verified, app: &App, sid: Sid, device: Device, place: Place, seat: Seat) -> Arc<Self> {
        Arc::new(Self {
            actor: Mutex::new(verified.actor),
            expires: watch::Sender::new(instant(verified.expires_at)),
            line: Line::new(app.socket.in_flight),
            device,
            watchers: app.watchers.clone(),
            sid,
            _place: place,
            _seat: seat,
        })
    }

    /// May an event of so many bytes be worked on?
    ///
    /// `rate_limited` where this client or this user asks too much, `unavailable` where everybody together does.
    pub fn admit(&self, limits: &Limits, bytes: usize) -> Result<Admitted, Refusal> {
        limits.request(self.actor().user_id)?;
        let permit = self.line.permit().ok_or_else(|| Refusal::rate_limited(Duration::from_secs(1)))?;
        Ok(Admitted { _permit: permit, _work: limits.work(bytes)? })
    }

    pub fn actor(&self) -> Actor {
        *self.actor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on with another token of the same user.
    pub fn renew(&self, verified: Verified) {
        *self.actor.lock().unwrap_or_else(PoisonError::into_inner) = verified.actor;
        self.expires.send_replace(instant(verified.expires_at));
    }

    /// When the token expires; closed when the socket is gone.
    pub fn expires(&self) -> watch::Receiver<Instant> {
        self.expires.subscribe()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.watchers.forget(self.sid);
    }
}

fn instant(time: Time) -> Instant {
    // Far beyond any token's life, so that the addition cannot overflow.
    Instant::now() + time.since(Time::now()).min(Duration::from_hours(24 * 365))
}
