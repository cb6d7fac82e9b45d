//! The `[mail]` section, checked at load: exactly one way to send letters.

use std::{fmt, path::PathBuf, time::Duration};

use lettre::message::Mailbox;
use serde::{Deserialize, Deserializer, de};
use service::config::{Common, ConfigError, MongoConfig};

use crate::push::PushConfig;

#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    #[serde(flatten)]
    pub common: Common,
    pub mongo: MongoConfig,
    pub mail: MailConfig,
    pub links: LinksConfig,
    pub digest: DigestConfig,
    pub push: PushConfig,
}

/// Letters about what stays unread.
#[derive(Debug, Clone, Deserialize)]
pub struct DigestConfig {
    /// From the first unread notification to the letter.
    #[serde(deserialize_with = "duration")]
    pub after: Duration,
}

/// Links in letters.
#[derive(Clone, Deserialize)]
#[serde(try_from = "LinkKeys")]
pub struct LinksConfig {
    /// Where people reach the gateway, without a slash at the end.
    pub public_url: String,
    /// Signs links that work without a sign-in.
    pub key: String,
}

impl fmt::Debug for LinksConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinksConfig").field("public_url", &self.public_url).finish_non_exhaustive()
    }
}

impl Config {
    /// The defaults, then `NATTER_` variables.
    pub fn load() -> Result<Self, ConfigError> {
        service::config::load("mail", include_str!("../config.default.toml"))
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Keys")]
pub struct MailConfig {
    pub from: Mailbox,
    pub transport: TransportConfig,
    pub retry: RetryConfig,
    /// An attempt that takes longer is given up.
    pub timeout: Duration,
    /// Letters sent at a time by one instance, of each lane.
    pub connections: usize,
}

/// How letters leave.
#[derive(Debug, Clone)]
pub enum TransportConfig {
    Smtp(SmtpConfig),
    /// Into this folder.
    Files(PathBuf),
}

#[derive(Debug, Clone)]
pub struct SmtpConfig {
    pub host: String,
    pub port: u16,
    pub tls: Tls,
    pub login: Option<Login>,
    /// A file of certificates to trust beside the usual ones.
    pub ca: Option<PathBuf>,
}

#[derive(Clone)]
pub struct Login {
    pub username: String,
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("username", &self.username).finish_non_exhaustive()
    }
}

/// How the connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    None,
    /// By `STARTTLS` (RFC 3207), which must be offered.
    StartTls,
    /// From the first byte (RFC 8314).
    Tls,
}

/// When a letter that failed for now is tried again.
#[derive(Debug, Clone, Deserialize)]
pub struct RetryConfig {
    /// After the first attempt; doubled after each further one.
    #[serde(deserialize_with = "duration")]
    pub first: Duration,
    /// At most.
    #[serde(deserialize_with = "duration")]
    pub longest: Duration,
    /// Altogether.
    pub attempts: u64,
}

/// Characters of a key that is worth something.
const LINK_KEY: usize = 32;

#[derive(Deserialize)]
struct LinkKeys {
    public_url: String,
    key: Option<String>,
}

impl TryFrom<LinkKeys> for LinksConfig {
    type Error = String;

    fn try_from(LinkKeys { public_url, key }: LinkKeys) -> Result<Self, String> {
        let key = key.filter(|key| key.len() >= LINK_KEY).ok_or_else(|| {
            format!("NATTER_LINKS__KEY is not set, or has less than {LINK_KEY} characters: it signs links in letters")
        })?;
        if !public_url.starts_with("http://") && !public_url.starts_with("https://") {
            return Err(format!("NATTER_LINKS__PUBLIC_URL must begin with http:// or https://, is {public_url:?}"));
        }
        Ok(Self { public_url: public_url.trim_end_matches('/').to_owned(), key })
    }
}

/// The section as it is written.
#[derive(Deserialize)]
struct Keys {
    from: Option<String>,
    files: Option<PathBuf>,
    smtp: SmtpKeys,
    retry: RetryConfig,
}

#[derive(Deserialize)]
struct SmtpKeys {
    host: Option<String>,
    port: Option<u16>,
    tls: Tls,
    username: Option<String>,
    password: Option<String>,
    ca: Option<PathBuf>,
    #[serde(deserialize_with = "duration")]
    timeout: Duration,
    connections: usize,
}

impl TryFrom<Keys> for MailConfig {
    type Error = String;

    fn try_from(keys: Keys) -> Result<Self, String> {
        let (timeout, connections) = (keys.smtp.timeout, keys.smtp.connections);
        let retry = keys.retry;
        if timeout.is_zero() || connections == 0 || retry.first.is_zero() || retry.attempts == 0 {
            return Err("smtp.timeout, smtp.connections, retry.first and retry.attempts must be above zero".into());
        }
        let transport = match (keys.smtp.host.is_some(), keys.files) {
            (true, _) => TransportConfig::Smtp(keys.smtp.checked()?),
            (false, Some(folder)) => TransportConfig::Files(folder),
            (false, None) => {
                return Err("nothing to send letters with: set NATTER_MAIL__SMTP__HOST, or NATTER_MAIL__FILES to \
                            a folder that they are written into"
                    .into());
            }
        };
        let from = match (keys.from, &transport) {
            (Some(from), _) => from,
            (None, TransportConfig::Files(_)) => "Natter <natter@localhost>".to_owned(),
            (None, TransportConfig::Smtp(_)) => {
                return Err("NATTER_MAIL__FROM is not set: who the letters are from".into());
            }
        };
        let from = from
            .parse()
            .map_err(|error| format!("NATTER_MAIL__FROM must be an e-mail address, is {from:?}: {error}"))?;
        Ok(Self { from, transport, retry, timeout, connections })
    }
}

impl SmtpKeys {
    fn checked(self) -> Result<SmtpConfig, String> {
        let host = self.host.unwrap_or_default();
        if host.is_empty() {
            return Err("NATTER_MAIL__SMTP__HOST is empty".into());
        }
        let login = match (self.username, self.password) {
            (Some(username), Some(password)) => Some(Login { username, password }),
            (None, None) => None,
            (Some(_), None) => return Err("NATTER_MAIL__SMTP__USERNAME is set without ..._PASSWORD".into()),
            (None, Some(_)) => return Err("NATTER_MAIL__SMTP__PASSWORD is set without ..._USERNAME".into()),
        };
        if login.is_some() && self.tls == Tls::None {
            return Err("NATTER_MAIL__SMTP__PASSWORD would go over a connection that is not encrypted: \
                        set NATTER_MAIL__SMTP__TLS to starttls or tls"
                .into());
        }
        let port = self.port.unwrap_or(match self.tls {
            Tls::None => 25,
            Tls::StartTls => 587,
            Tls::Tls => 465,
        });
        Ok(SmtpConfig { host, port, tls: self.tls, login, ca: self.ca })
    }
}

/// `15s`, `10m`, `1h 30m`.
pub(crate) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    struct Visitor;

    impl de::Visitor<'_> for Visitor {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration with its unit, such as 500ms, 15s or 10m")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            let duration: jiff::SignedDuration =
                text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))?;
            Duration::try_from(duration).map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }

    deserializer.deserialize_any(Visitor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        let seconds = Duration::from_secs;
        Keys {
            from: Some("Natter <natter@example.org>".to_owned()),
            files: None,
            smtp: SmtpKeys {
                host: None,
                port: None,
                tls: Tls::StartTls,
                username: None,
                password: None,
                ca: None,
                timeout: seconds(15),
                connections: 8,
            },
            retry: RetryConfig { first: seconds(2), longest: seconds(600), attempts: 150 },
        }
    }

    fn refusal(keys: Keys) -> String {
        MailConfig::try_from(keys).unwrap_err()
    }

    #[test]
    fn without_a_transport_the_error_names_both_keys() {
        let error = refusal(keys());
        assert!(error.contains("NATTER_MAIL__SMTP__HOST") && error.contains("NATTER_MAIL__FILES"), "{error}");
    }

    #[test]
    fn smtp_wins_over_files_and_needs_a_sender() {
        let mut both = keys();
        both.files = Some("/tmp/mail".into());
        both.smtp.host = Some("smtp.example.org".to_owned());
        let TransportConfig::Smtp(smtp) = MailConfig::try_from(both).unwrap().transport else { panic!("files") };
        assert_eq!(smtp.port, 587);

        let mut nobody = keys();
        nobody.from = None;
        nobody.smtp.host = Some("smtp.example.org".to_owned());
        assert!(refusal(nobody).contains("NATTER_MAIL__FROM"));
    }

    #[test]
    fn a_password_needs_a_name_and_an_encrypted_connection() {
        let with = |username: Option<&str>, tls| {
            let mut keys = keys();
            keys.smtp.host = Some("smtp.example.org".to_owned());
            keys.smtp.username = username.map(str::to_owned);
            keys.smtp.password = Some("secret".to_owned());
            keys.smtp.tls = tls;
            keys
        };
        assert!(refusal(with(None, Tls::Tls)).contains("USERNAME"));
        assert!(refusal(with(Some("natter"), Tls::None)).contains("not encrypted"));
        let config = MailConfig::try_from(with(Some("natter"), Tls::Tls)).unwrap();
        assert!(!format!("{config:?}").contains("secret"));
    }
}
