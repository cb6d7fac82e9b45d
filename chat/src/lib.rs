//! The `chat` service: the log of every conversation, its members, history, catch-up and archive. The core is pure:
//! [`decide`] says what may happen, [`state`] what has happened; everything else carries bytes between them, NATS and
//! MongoDB.

mod archive;
mod audience;
mod catchup;
mod chats;
pub mod config;
mod conversations;
pub mod decide;
mod fold;
mod history;
mod log;
mod members;
mod membership;
mod messages;
pub mod project;
#[cfg(test)]
mod properties;
mod rebuild;
mod receipts;
mod slot;
pub mod state;
mod storage;
mod store;
mod typing;
mod unread;
mod view;

use std::net::SocketAddr;

use contract::{UserId, event::Event, storage::CHAT_STREAMS};
use service::{Caller, Service, StartError, StopError, chain};

use crate::{archive::Floor, chats::Chats, history::Reader, messages::AtHand, state::ChatState};
pub use crate::{config::Config, rebuild::rebuild};

/// What every handler works with; cheap to clone.
#[derive(Clone)]
pub struct App {
    chats: Chats,
    reader: Reader,
    at_hand: AtHand,
    caller: Caller,
}

impl App {
    /// Tells the bucket `MEMBERS` of an event's membership changes. What fails here the archive does again.
    async fn spread(&self, state: &ChatState, event: &Event, left: &[UserId]) {
        let changes = members::changes(event, left);
        if let Err(error) = members::record(&self.reader.nats, state.id, state.cursor, &changes).await {
            tracing::warn!(chat = %state.id, error = chain(&error), "cannot write who is in a chat; the archive will");
        }
        if let Event::ChatMembers(_) = event {
            // Who has left has stopped typing; if this fails, their key expires.
            let _ = typing::stop(&self.reader.nats, state.id, left).await;
        }
    }
}

/// A running `chat` service.
pub struct Chat {
    service: Service,
}

impl Chat {
    /// Starts everything; returns when calls are answered.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let service = Service::start("chat", &config.common).await?;
        service.nats().follow_leaders(CHAT_STREAMS.into_iter().chain(["KV_CHATS"]), service.lifecycle());
        let mongo = service.mongo(&config.mongo).await?;
        let log_events = config.chat.log_events;
        service.storage(move |nats| async move { storage::ensure(&nats, log_events).await }).await?;

        let floor = Floor::default();
        let nats = service.nats().clone();
        service.lifecycle().keep("floor", floor.clone().follow(nats.clone(), service.lifecycle().clone()));
        mongo.ensure(service.lifecycle(), async |database| store::ensure_indexes(&database).await);
        archive::run(&service, mongo.clone());

        let chats = Chats::new(nats.clone(), floor.clone(), log_events, config.chat.chats_at_hand);
        let app =
            App { chats, reader: Reader { nats, mongo, floor }, at_hand: AtHand::default(), caller: service.caller() };
        service
            .endpoints(app)
            .serve(conversations::create)
            .serve(conversations::get)
            .serve(conversations::list)
            .serve(conversations::update)
            .serve(conversations::delete)
            .serve(conversations::rooms)
            .serve(membership::add)
            .serve(membership::remove)
            .serve(membership::set_role)
            .serve_here(messages::send)
            .serve_here(messages::edit)
            .serve_here(messages::delete)
            .serve_here(messages::add_reaction)
            .serve_here(messages::remove_reaction)
            .serve_here(audience::audiences)
            .serve(receipts::mark)
            .serve(typing::set)
            .serve(typing::room_state)
            .serve(history::history)
            .serve(catchup::events)
            .serve(catchup::read_log)
            .serve(catchup::sync)
            .open()
            .await?;
        service.started();
        Ok(Self { service })
    }

    #[must_use]
    pub fn admin_addr(&self) -> SocketAddr {
        self.service.admin_addr()
    }

    /// Ends the service, as a signal would.
    pub fn stop(&self) {
        self.service.lifecycle().stop();
    }

    /// Serves until a signal or [`stop`](Self::stop).
    pub async fn run_until_stopped(self) -> Result<(), StopError> {
        self.service.run_until_stopped().await
    }
}
