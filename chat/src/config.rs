//! Configuration of the `chat` service; every key is explained in `config.default.toml`.

use serde::Deserialize;
use service::config::{Common, ConfigError, LogConfig, MongoConfig};

#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    #[serde(flatten)]
    pub common: Common,
    pub mongo: MongoConfig,
    pub chat: ChatConfig,
}

#[derive(Debug, Clone, Deserialize)]
pub struct ChatConfig {
    /// Newest events of each chat that the log keeps; older ones are in MongoDB.
    pub log_events: u32,
    /// Chats an instance has at hand.
    pub chats_at_hand: u64,
}

impl Config {
    /// Defaults, then `NATTER_` variables.
    pub fn load() -> Result<Self, ConfigError> {
        service::config::load("chat", include_str!("../config.default.toml"))
    }

    #[must_use]
    pub fn log(&self) -> &LogConfig {
        &self.common.log
    }
}
