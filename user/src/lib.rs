//! Accounts: who somebody is, how they prove it, on which devices they are signed in, what others see of them.

mod calls;
mod config;
mod device;
mod keys;
mod kv;
mod letter;
mod notice;
mod otp;
mod password;
mod presence;
mod session;
mod store;
mod token;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use contract::{
    storage::{LAST_SEEN_BUCKET, OTP_BUCKET, REVOKED_BUCKET},
    text::Email,
};
use service::{Bucket, Nats, Rates, Service, StartError, StopError};

use calls::{account, profile, sessions};
use keys::HmacKey;
use otp::Codes;
use password::Passwords;
use session::Sessions;
use store::Store;

pub use config::{AuthConfig, Config};

/// The server's note that a key has expired stays this long.
const MARKERS: Duration = Duration::from_mins(1);

/// The user service, running.
pub struct User {
    service: Service,
}

/// What the handlers share.
struct State {
    nats: Nats,
    store: Store,
    passwords: Passwords,
    /// Of each account.
    logins: Rates<Email>,
    codes: Codes,
    sessions: Sessions,
    /// Makes the salt of a registration's password.
    salts: HmacKey,
}

type Shared = Arc<State>;

impl User {
    /// Returns once NATS is there and calls are answered; MongoDB may come later.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let passwords = Passwords::new(&config.auth)?;
        let service = Service::start("user", &config.common).await?;
        service.nats().follow_leaders(["KV_OTP", "KV_PRESENCE"], service.lifecycle());
        service.storage(buckets).await?;
        let store = Store::open(&service, service.mongo(&config.mongo).await?);
        presence::start(&service);
        let logins = Rates::new("logins", config.auth.logins);
        logins.keep(service.lifecycle());
        let state = Arc::new(State {
            nats: service.nats().clone(),
            passwords,
            logins,
            codes: Codes::new(service.nats().clone(), &config.auth),
            sessions: Sessions::new(store.clone(), service.nats().clone(), &config.auth)?,
            salts: config.auth.pepper.derive("salts of registrations"),
            store,
        });

        service
            .endpoints(state)
            .serve(account::register)
            .serve(account::request_otp)
            .serve(account::verify)
            .serve(account::login)
            .serve(account::forgot_password)
            .serve(account::reset_password)
            .serve(account::me)
            .serve(sessions::refresh)
            .serve(sessions::logout)
            .serve(sessions::list)
            .serve(sessions::revoke)
            .serve(sessions::jwks)
            .serve(profile::get)
            .serve(profile::search)
            .serve(profile::update)
            .serve(profile::set_status)
            .serve(profile::known)
            .serve(profile::contacts)
            .serve(profile::list_contacts)
            .serve(calls::presence::get)
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

    /// Begins the stop, as SIGTERM does.
    pub fn stop(&self) {
        self.service.lifecycle().stop();
    }

    /// Serves until SIGTERM, SIGINT or [`stop`](Self::stop).
    pub async fn run_until_stopped(self) -> Result<(), StopError> {
        self.service.run_until_stopped().await
    }
}

async fn buckets(nats: Nats) -> Result<(), async_nats::Error> {
    let otp = Bucket::durable(OTP_BUCKET, "One-time codes, by purpose and address (hashed)").with_ttl(MARKERS);
    let revoked =
        Bucket::durable(REVOKED_BUCKET, "Sessions revoked while access tokens of them may live").with_ttl(MARKERS);
    let last_seen = Bucket::durable(LAST_SEEN_BUCKET, "When people were last seen to come or go");
    otp.ensure(&nats).await?;
    revoked.ensure(&nats).await?;
    last_seen.ensure(&nats).await?;
    Bucket::presence().ensure(&nats).await?;
    Ok(())
}
