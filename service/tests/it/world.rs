//! A service that plays `chat` for a test, and its configuration.

use std::time::Duration;

use serde::Deserialize;
use service::{Service, config::Common};
use testkit::Nats;

pub const SOON: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
struct Config {
    #[serde(flatten)]
    common: Common,
}

pub fn config(nats: &Nats, user: &str) -> Common {
    let defaults = format!("[nats]\nurl = {:?}\npassword = {:?}\n", nats.url(), nats.password(user));
    service::config::load::<Config>(user, &defaults).unwrap().common
}

pub async fn service(nats: &Nats, user: &'static str) -> Service {
    Service::start(user, &config(nats, user)).await.unwrap()
}
