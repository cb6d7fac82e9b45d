//! The `[push]` section, checked at load: a key comes with a contact.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use super::vapid::VapidKey;
use crate::{RetryConfig, config::duration};

/// Web Push.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Keys")]
pub struct PushConfig {
    /// `None` where nothing is pushed.
    pub identity: Option<Identity>,
    pub timeout: Duration,
    pub connections: usize,
    pub retry: RetryConfig,
    /// For tests: endpoints may have any host and port.
    pub allow_private: bool,
    /// For tests: a file of certificates to trust beside the usual ones.
    pub ca: Option<PathBuf>,
}

/// Who we are to push services (RFC 8292).
#[derive(Debug, Clone)]
pub struct Identity {
    pub key: VapidKey,
    pub contact: String,
}

/// The section as it is written.
#[derive(Deserialize)]
struct Keys {
    vapid_key: Option<String>,
    contact: Option<String>,
    #[serde(deserialize_with = "duration")]
    timeout: Duration,
    connections: usize,
    retry: RetryConfig,
    allow_private: bool,
    ca: Option<PathBuf>,
}

impl TryFrom<Keys> for PushConfig {
    type Error = String;

    fn try_from(keys: Keys) -> Result<Self, String> {
        let Keys { vapid_key, contact, timeout, connections, retry, allow_private, ca } = keys;
        if timeout.is_zero() || connections == 0 || retry.first.is_zero() || retry.attempts == 0 {
            return Err("timeout, connections, retry.first and retry.attempts must be above zero".into());
        }
        // Empty is how compose writes what is not set.
        let identity = match (vapid_key.filter(|key| !key.is_empty()), contact.filter(|contact| !contact.is_empty())) {
            (None, _) => None,
            (Some(_), None) => {
                return Err(
                    "NATTER_PUSH__VAPID_KEY is set without NATTER_PUSH__CONTACT: whom a push service may tell \
                            of problems"
                        .into(),
                );
            }
            (Some(key), Some(contact)) => {
                let key = key.parse().map_err(|error| format!("NATTER_PUSH__VAPID_KEY is {error}"))?;
                if !contact.starts_with("mailto:") && !contact.starts_with("https://") {
                    return Err(format!(
                        "NATTER_PUSH__CONTACT must begin with mailto: or https:// (RFC 8292), is {contact:?}"
                    ));
                }
                Some(Identity { key, contact })
            }
        };
        Ok(Self { identity, timeout, connections, retry, allow_private, ca })
    }
}
