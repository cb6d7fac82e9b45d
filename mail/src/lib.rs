//! The mail service: takes letters off the `MAIL` work queue, renders them and sends them; what cannot be sent ends in
//! `MAIL_DEAD`.

mod config;
mod letter;
mod notify;
mod preview;
pub mod push;
mod queue;
mod retry;
mod smtp;
mod transport;

use std::{net::SocketAddr, sync::Arc};

use contract::storage::CHAT_STREAMS;
use service::{Service, StartError, StopError};

pub use config::{Config, DigestConfig, LinksConfig, Login, MailConfig, RetryConfig, SmtpConfig, Tls, TransportConfig};
pub use preview::preview;

use notify::{Notify, calls};
use queue::Queue;
use transport::Transport;

/// The running service.
pub struct Mail {
    service: Service,
}

impl Mail {
    /// Connects, makes the streams be there and begins to send.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let Config { common, mongo, mail, links, digest, push } = config;
        let transport = Transport::new(&mail).await.map_err(StartError::Invalid)?;
        let push = push::Parts::new(push).map_err(StartError::Invalid)?;
        let service = Service::start("mail", &common).await?;
        service.nats().follow_leaders(CHAT_STREAMS.into_iter().chain(["MAIL"]), service.lifecycle());
        let mongo = service.mongo(&mongo).await?;
        service.storage(queue::ensure_streams).await?;
        let queue = Arc::new(Queue::new(service.nats().clone(), transport, mail.from, mail.retry));
        for durable in queue::lanes(mail.timeout) {
            let queue = queue.clone();
            service.consume(durable, mail.connections, move |delivery| queue.clone().handle(delivery));
        }
        let push = push.start(&service, mongo.clone());
        let notify = Notify::start(&service, mongo, links, digest);
        push::serve(service.endpoints(notify), &push)
            .serve(calls::list)
            .serve(calls::set_read)
            .serve(calls::read_all)
            .serve(calls::settings)
            .serve(calls::update_settings)
            .serve(calls::unsubscribe)
            .serve(calls::announce)
            .open()
            .await?;
        service.started();
        Ok(Self { service })
    }

    /// Where the admin port is bound.
    #[must_use]
    pub fn admin_addr(&self) -> SocketAddr {
        self.service.admin_addr()
    }

    /// Serves until SIGTERM or SIGINT; letters that are being sent are finished.
    pub async fn run_until_stopped(self) -> Result<(), StopError> {
        self.service.run_until_stopped().await
    }
}
