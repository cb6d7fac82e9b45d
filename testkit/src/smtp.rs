//! A mail server of a test: takes letters and keeps them, with TLS and a login if wanted, and fails on demand.

mod conversation;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

use conversation::talk;

use crate::{eventually, scratch};

/// How connections are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// Not at all.
    None,
    /// `STARTTLS` is offered; nothing is taken without it.
    StartTls,
    /// From the first byte.
    Implicit,
}

/// Where in a conversation something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Before the greeting.
    Connect,
    /// At the client's credentials.
    Auth,
    /// At `MAIL FROM`.
    Mail,
    /// At `RCPT TO`.
    Rcpt,
    /// At `DATA`.
    Data,
    /// After the whole letter, before it is taken.
    Letter,
}

/// What goes wrong.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This answer instead of the usual one, such as `451 4.7.1 later`.
    Answer(&'static str),
    /// No answer until [`Sink::heal`].
    Hang,
    /// The connection is closed.
    Close,
}

/// A letter that was taken, as it was on the wire and as a mail client reads it.
#[derive(Debug, Clone)]
pub struct Mail {
    /// From `MAIL FROM`.
    pub from: String,
    /// From `RCPT TO`.
    pub to: Vec<String>,
    raw: Vec<u8>,
}

impl Mail {
    /// Reads a message (RFC 5322) that did not come over SMTP.
    pub fn parse(raw: impl Into<Vec<u8>>) -> Self {
        Self { from: String::new(), to: Vec::new(), raw: raw.into() }
    }

    /// A header, decoded; empty where it is missing.
    pub fn header(&self, name: &str) -> String {
        let message = self.message();
        let value = message.header(name).and_then(|value| value.as_text().map(str::to_owned));
        let raw = || message.header_raw(name).map(|raw| raw.trim().to_owned());
        // What mail-parser takes apart (addresses, ids, dates) is given as written.
        value.filter(|_| name.eq_ignore_ascii_case("Subject")).or_else(raw).unwrap_or_default()
    }

    /// The subject, decoded.
    pub fn subject(&self) -> String {
        self.header("Subject")
    }

    /// The plain text part, decoded.
    pub fn text(&self) -> String {
        self.part("text/plain")
    }

    /// The HTML part, decoded.
    pub fn html(&self) -> String {
        self.part("text/html")
    }

    /// As it was on the wire.
    pub fn raw(&self) -> String {
        String::from_utf8_lossy(&self.raw).into_owned()
    }

    fn part(&self, content_type: &str) -> String {
        use mail_parser::MimeHeaders;
        let message = self.message();
        let is = |part: &&mail_parser::MessagePart| {
            let found = part.content_type().map(|found| (found.ctype(), found.subtype().unwrap_or("")));
            found.is_some_and(|(kind, subtype)| format!("{kind}/{subtype}").eq_ignore_ascii_case(content_type))
        };
        let text = message.parts.iter().find(is).and_then(|part| part.text_contents().map(str::to_owned));
        text.unwrap_or_default().replace("\r\n", "\n")
    }

    #[expect(clippy::expect_used, reason = "a letter that is no message fails the test")]
    fn message(&self) -> mail_parser::Message<'_> {
        mail_parser::MessageParser::default().parse(&self.raw).expect("a message")
    }
}

/// How a [`Sink`] behaves.
#[derive(Debug, Clone)]
pub struct Options {
    pub tls: Tls,
    /// Name and password without which nothing is taken; `AUTH PLAIN` and `AUTH LOGIN`.
    pub login: Option<(String, String)>,
}

impl Default for Options {
    /// Neither TLS nor a login.
    fn default() -> Self {
        Self { tls: Tls::None, login: None }
    }
}

/// A running mail server on loopback; its certificate is for `localhost`. Stopped on drop.
pub struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: Option<JoinHandle<()>>,
    folder: scratch::Folder,
}

struct Shared {
    options: Options,
    acceptor: TlsAcceptor,
    state: Mutex<State>,
    /// Counted up by `heal`.
    healed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    letters: Vec<Mail>,
    faults: Vec<(Stage, Fault, usize)>,
    reached: Vec<Stage>,
    connections: usize,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::expect_used, reason = "a test that cannot have its server is over")]
impl Sink {
    /// A mail server that takes every letter.
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    /// A mail server as described.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn with(options: Options) -> Self {
        let folder = scratch::Folder::new("smtp").expect("a scratch folder");
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        std::fs::write(folder.path().join("ca.pem"), certified.cert.pem()).expect("a file");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .expect("a TLS configuration");
        let shared = Shared {
            options,
            acceptor: TlsAcceptor::from(Arc::new(config)),
            state: Mutex::default(),
            healed: watch::Sender::new(0),
        };
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut sink = Self { address: any_port, shared: Arc::new(shared), server: None, folder };
        sink.start_again().await;
        sink
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// A file with its certificate (PEM).
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// All connections are cut and new ones refused.
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            let _ = server.await;
        }
    }

    /// Starts it after [`stop`](Self::stop), on the same port, with the letters it had.
    ///
    /// # Panics
    /// When the port is taken.
    pub async fn start_again(&mut self) {
        self.stop().await;
        let listener = TcpListener::bind(self.address).await.expect("a port");
        self.address = listener.local_addr().expect("an address");
        self.server = Some(tokio::spawn(serve(listener, self.shared.clone())));
    }

    /// The next `times` conversations that reach `stage` meet `fault` there.
    pub fn fail(&self, stage: Stage, fault: Fault, times: usize) {
        self.shared.state().faults.push((stage, fault, times));
    }

    /// Forgets all faults; what hangs goes on.
    pub fn heal(&self) {
        self.shared.state().faults.clear();
        self.shared.healed.send_modify(|count| *count += 1);
    }

    /// How many conversations have reached `stage`.
    pub fn reached(&self, stage: Stage) -> usize {
        self.shared.state().reached.iter().filter(|reached| **reached == stage).count()
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.shared.state().connections
    }

    /// The letters taken so far, oldest first.
    pub fn letters(&self) -> Vec<Mail> {
        self.shared.state().letters.clone()
    }

    /// Waits until `count` letters were taken.
    ///
    /// # Panics
    /// When they do not come within 30 s.
    pub async fn wait_for(&self, count: usize) -> Vec<Mail> {
        eventually(&format!("{count} letters"), Duration::from_secs(30), async || {
            let enough = self.shared.state().letters.len() >= count;
            enough.then(|| self.letters())
        })
        .await
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Aborted together with this task.
    let mut conversations = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        shared.state().connections += 1;
        let shared = shared.clone();
        conversations.spawn(async move {
            // A client may go at any moment.
            let _ = talk(stream, shared).await;
        });
        while conversations.try_join_next().is_some() {}
    }
}
