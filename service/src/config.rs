//! Configuration: one defaults file per service that explains every key, overridden by `NATTER_<SECTION>__<KEY>`
//! environment variables. Checked at load; a missing secret is an error that names its key.

use std::{net::SocketAddr, time::Duration};

use figment::{
    Figment,
    providers::{Env, Format, Toml},
};
use serde::{Deserialize, de::DeserializeOwned};

/// Sections that every service has.
#[derive(Debug, Clone, Deserialize)]
pub struct Common {
    pub nats: NatsConfig,
    pub admin: AdminConfig,
    pub log: LogConfig,
}

#[derive(Clone, Deserialize)]
pub struct NatsConfig {
    /// Servers, separated by commas.
    pub url: String,
    pub user: String,
    pub password: String,
    /// Copies of each stream and bucket: 1 on a single node, 3 in a cluster.
    pub replicas: usize,
}

impl std::fmt::Debug for NatsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsConfig").field("url", &self.url).field("user", &self.user).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Deserialize)]
pub struct AdminConfig {
    /// Where `/healthz`, `/readyz` and `/metrics` are served. Not for the public.
    pub listen: SocketAddr,
}

#[derive(Debug, Clone, Deserialize)]
pub struct LogConfig {
    pub format: LogFormat,
    /// As in `RUST_LOG`: `info,chat=debug`.
    pub level: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line for a person.
    Text,
    /// A line for a machine.
    Json,
}

/// How much may be asked: so much at once, and so much more per second.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct RateConfig {
    /// 0: there is no limit.
    pub per_second: f64,
    pub burst: u32,
}

impl RateConfig {
    /// From one token to the next; `None` where there is no limit.
    #[must_use]
    pub fn period(self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.per_second.recip()).ok().filter(|period| !period.is_zero())
    }
}

#[derive(Clone, Deserialize)]
pub struct MongoConfig {
    /// Connection string; may hold a password.
    pub uri: String,
    pub database: String,
}

impl std::fmt::Debug for MongoConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MongoConfig").field("database", &self.database).finish_non_exhaustive()
    }
}

/// Defaults of [`Common`]; a service's own defaults come on top.
const COMMON: &str = include_str!("../config.default.toml");

/// The configuration of the service `name`: its `defaults` file, then `NATTER_` variables.
///
/// `NATTER_NATS__PASSWORD` sets `password` in `[nats]`. The error names the key and what is wrong with it.
pub fn load<C: DeserializeOwned>(name: &str, defaults: &str) -> Result<C, ConfigError> {
    let figment = Figment::from(Toml::string(COMMON))
        .merge(("nats.user", name))
        .merge(Toml::string(defaults))
        .merge(Env::prefixed("NATTER_").split("__"));
    // First by itself: within a service's configuration it is flattened, and serde forgets where an error was.
    figment.extract::<Common>()?;
    Ok(figment.extract()?)
}

/// A configuration that cannot be used, in a sentence that names the variable to set.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl From<figment::Error> for ConfigError {
    fn from(error: figment::Error) -> Self {
        let lines: Vec<String> = error
            .into_iter()
            .map(|error| match &error.kind {
                figment::error::Kind::MissingField(field) => {
                    let mut path = error.path.clone();
                    path.push(field.to_string());
                    format!("{} is not set (key `{}`)", variable(&path), path.join("."))
                }
                // What was found instead is not shown: it may be a secret.
                figment::error::Kind::InvalidType(_, expected) => format!(
                    "{} must be {expected}; a text that looks like a number goes into double quotes (key `{}`)",
                    variable(&error.path),
                    error.path.join(".")
                ),
                kind if !error.path.is_empty() => {
                    format!("{}: {kind} (key `{}`)", variable(&error.path), error.path.join("."))
                }
                kind => kind.to_string(),
            })
            .collect();
        Self(lines.join("; "))
    }
}

fn variable(path: &[String]) -> String {
    format!("NATTER_{}", path.join("__").to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Config {
        #[serde(flatten)]
        common: Common,
    }

    #[test]
    fn a_missing_secret_is_an_error_that_names_its_key() {
        let error = load::<Config>("chat", "").unwrap_err().to_string();
        assert!(error.contains("NATTER_NATS__PASSWORD"), "{error}");
    }

    #[test]
    fn a_secret_of_the_wrong_type_does_not_show() {
        let error = load::<Config>("chat", "[nats]\npassword = 123456").unwrap_err().to_string();
        assert!(error.contains("NATTER_NATS__PASSWORD") && !error.contains("123456"), "{error}");
    }

    #[test]
    fn a_service_is_its_own_nats_user() {
        let config: Config = load("chat", "[nats]\npassword = \"p\"").unwrap();
        assert_eq!(config.common.nats.user, "chat");
    }
}
