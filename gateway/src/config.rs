//! The gateway's configuration; every key is explained in `config.default.toml`.

use std::net::SocketAddr;

use serde::Deserialize;
use service::config::{Common, ConfigError, LogConfig, RateConfig};

#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    #[serde(flatten)]
    pub common: Common,
    pub http: HttpConfig,
    pub socket: SocketConfig,
    pub limits: LimitsConfig,
}

#[derive(Debug, Clone, Deserialize)]
pub struct HttpConfig {
    pub listen: SocketAddr,
    pub allowed_origins: String,
    pub max_body: usize,
    pub trusted_proxies: usize,
    pub head_timeout: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub struct SocketConfig {
    pub max_payload: usize,
    pub buffer: usize,
    pub in_flight: usize,
    pub ping_interval: u64,
    pub ping_timeout: u64,
    pub connect_timeout: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub struct LimitsConfig {
    pub sign_in: RateConfig,
    pub connect: RateConfig,
    pub requests: RateConfig,
    pub work_bytes: usize,
    pub catching_up: usize,
    pub passwords: usize,
    pub sockets: usize,
    pub sockets_per_user: usize,
}

impl Config {
    pub fn load() -> Result<Self, ConfigError> {
        service::config::load("gateway", include_str!("../config.default.toml"))
    }

    #[must_use]
    pub fn log(&self) -> &LogConfig {
        &self.common.log
    }
}
