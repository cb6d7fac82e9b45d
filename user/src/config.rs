//! Configuration of the user service; `config.default.toml` explains every key.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};
use service::config::{Common, ConfigError, MongoConfig, RateConfig};

use crate::keys::{Pepper, SigningKey, VerifyingKey};

const DEFAULTS: &str = include_str!("../config.default.toml");

#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    #[serde(flatten)]
    pub common: Common,
    pub mongo: MongoConfig,
    pub auth: AuthConfig,
}

/// How people prove who they are.
#[derive(Debug, Clone, Deserialize)]
pub struct AuthConfig {
    /// Signs access tokens.
    pub signing_key: SigningKey,
    /// Verify access tokens that were signed before the key was changed.
    #[serde(default, deserialize_with = "separated_by_commas")]
    pub previous_keys: Vec<VerifyingKey>,
    pub pepper: Pepper,
    pub access_token_seconds: u32,
    pub session_days: u32,
    pub otp_seconds: u32,
    pub otp_tries: u32,
    pub otp_resend_seconds: u32,
    pub hash_memory_kib: u32,
    pub hash_passes: u32,
    pub hash_lanes: u32,
    /// 0 is half of the cores.
    pub hash_concurrency: usize,
    pub hash_queue: usize,
    /// Of one account.
    pub logins: RateConfig,
}

impl AuthConfig {
    #[must_use]
    pub fn access_token_lifetime(&self) -> Duration {
        seconds(self.access_token_seconds)
    }

    #[must_use]
    pub fn session_lifetime(&self) -> Duration {
        seconds(self.session_days) * 24 * 60 * 60
    }

    #[must_use]
    pub fn otp_lifetime(&self) -> Duration {
        seconds(self.otp_seconds)
    }

    #[must_use]
    pub fn otp_resend(&self) -> Duration {
        seconds(self.otp_resend_seconds)
    }
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

impl Config {
    /// The defaults and the environment; an error names the key.
    pub fn load() -> Result<Self, ConfigError> {
        service::config::load("user", DEFAULTS)
    }
}

fn separated_by_commas<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<VerifyingKey>, D::Error> {
    let keys = String::deserialize(deserializer)?;
    keys.split(',')
        .map(str::trim)
        .filter(|key| !key.is_empty())
        .map(|key| key.parse().map_err(de::Error::custom))
        .collect()
}
