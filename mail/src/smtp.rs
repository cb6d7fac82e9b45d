//! SMTP (RFC 5321) over lettre's connections, and a pool of them that survives being given up in mid-letter.
//!
//! lettre's own pool takes a connection back whose use was cancelled, with an answer still to come on it, and then reads
//! that answer as the next letter's. Here a connection returns to the pool only after a complete exchange. Speaking the
//! commands ourselves also tells whose fault a refusal is: ours before `RCPT`, the letter's from there on.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use lettre::transport::smtp::{
    Error,
    authentication::{Credentials, Mechanism},
    client::{AsyncSmtpConnection, Certificate, TlsParameters},
    commands::{Data, Mail, Rcpt},
    extension::{ClientId, Extension, MailParameter},
};
use service::chain;
use tokio::net::TcpStream;

use crate::{SmtpConfig, Tls, letter::Rendered, transport::SendError};

/// A connection that was not used for longer is not trusted: mail servers hang up after some minutes.
const IDLE: Duration = Duration::from_mins(1);
/// "Authentication required" and its kin (RFC 4954, section 6): permanent by number, but not the letter's fault.
const OUR_FAULT: [u16; 4] = [530, 534, 535, 538];

/// A mail server.
pub(crate) struct Smtp {
    host: String,
    port: u16,
    tls: Tls,
    parameters: TlsParameters,
    credentials: Option<Credentials>,
    hello: ClientId,
    timeout: Duration,
    most_idle: usize,
    idle: Mutex<Vec<(AsyncSmtpConnection, Instant)>>,
}

impl std::fmt::Debug for Smtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Smtp").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

impl Smtp {
    /// Does not connect yet; the error is a sentence for the operator.
    pub(crate) fn new(config: &SmtpConfig, timeout: Duration, most_idle: usize) -> Result<Self, String> {
        let mut parameters = TlsParameters::builder(config.host.clone());
        if let Some(ca) = &config.ca {
            let wrong = |error: &dyn std::fmt::Display| format!("NATTER_MAIL__SMTP__CA: {}: {error}", ca.display());
            let pem = std::fs::read(ca).map_err(|error| wrong(&error))?;
            parameters = parameters.add_root_certificate(Certificate::from_pem(&pem).map_err(|error| wrong(&error))?);
        }
        let parameters = parameters.build().map_err(|error| format!("cannot set TLS up: {error}"))?;
        let credentials =
            config.login.as_ref().map(|login| Credentials::new(login.username.clone(), login.password.clone()));
        Ok(Self {
            host: config.host.clone(),
            port: config.port,
            tls: config.tls,
            parameters,
            credentials,
            hello: ClientId::default(),
            timeout,
            most_idle,
            idle: Mutex::default(),
        })
    }

    /// Hands one letter over; when this returns `Ok`, the mail server has taken responsibility for it.
    pub(crate) async fn send(&self, letter: &Rendered) -> Result<(), SendError> {
        let late =
            |_| SendError::Later(format!("no answer from {}:{} within {:?}", self.host, self.port, self.timeout));
        tokio::time::timeout(self.timeout, self.hand_over(letter)).await.unwrap_or_else(|elapsed| Err(late(elapsed)))
    }

    async fn hand_over(&self, letter: &Rendered) -> Result<(), SendError> {
        let mut connection = self.connection().await?;
        let mut parameters = Vec::new();
        if !AsRef::<str>::as_ref(&letter.to).is_ascii() {
            if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
                return Err(SendError::Refused("the mail server takes ASCII addresses only (no SMTPUTF8)".to_owned()));
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        let from = Mail::new(Some(letter.from.clone()), parameters);
        connection.command(from).await.map_err(|error| self.ours(&error))?;
        connection.command(Rcpt::new(letter.to.clone(), Vec::new())).await.map_err(|error| self.theirs(&error))?;
        connection.command(Data).await.map_err(|error| self.theirs(&error))?;
        connection.message(&letter.message).await.map_err(|error| self.theirs(&error))?;
        self.park(connection);
        Ok(())
    }

    async fn connection(&self) -> Result<AsyncSmtpConnection, SendError> {
        while let Some(mut connection) = self.unpark() {
            if connection.test_connected().await {
                return Ok(connection);
            }
        }
        let mut connection = if self.tls == Tls::Tls {
            let (address, parameters) = ((self.host.as_str(), self.port), Some(self.parameters.clone()));
            AsyncSmtpConnection::connect_tokio1(address, Some(self.timeout), &self.hello, parameters, None).await
        } else {
            AsyncSmtpConnection::connect_with_transport(Box::new(self.tcp().await?), &self.hello).await
        }
        .map_err(|error| self.ours(&error))?;
        if self.tls == Tls::StartTls {
            let started = connection.starttls(self.parameters.clone(), &self.hello).await;
            started.map_err(|error| self.ours(&error))?;
        }
        if let Some(credentials) = &self.credentials {
            let known = connection.auth(&[Mechanism::Plain, Mechanism::Login], credentials).await;
            known.map_err(|error| self.ours(&error))?;
        }
        Ok(connection)
    }

    /// The end of a letter is a write of its own: it should not wait until the other side has acknowledged the rest, which
    /// takes it 40 ms.
    async fn tcp(&self) -> Result<TcpStream, SendError> {
        let down = |error: std::io::Error| SendError::Unusable(format!("{}:{}: {error}", self.host, self.port));
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(down)?;
        stream.set_nodelay(true).map_err(down)?;
        Ok(stream)
    }

    fn unpark(&self) -> Option<AsyncSmtpConnection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(_, since)| since.elapsed() < IDLE);
        idle.pop().map(|(connection, _)| connection)
    }

    fn park(&self, connection: AsyncSmtpConnection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.most_idle {
            idle.push((connection, Instant::now()));
        }
    }

    /// A failure before the letter itself was looked at.
    fn ours(&self, error: &Error) -> SendError {
        let text = format!("{}:{}: {}", self.host, self.port, chain(error));
        if error.is_transient() { SendError::Later(text) } else { SendError::Unusable(text) }
    }

    /// A failure after the mail server has seen whom the letter is to.
    fn theirs(&self, error: &Error) -> SendError {
        let text = format!("{}:{}: {}", self.host, self.port, chain(error));
        match error.status().map(u16::from) {
            Some(code) if OUR_FAULT.contains(&code) => SendError::Unusable(text),
            Some(_) if error.is_permanent() => SendError::Refused(text),
            _ => SendError::Later(text),
        }
    }
}
