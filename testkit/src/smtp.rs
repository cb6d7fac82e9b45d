//! A mail server of a test: takes letters and keeps them, with TLS and a login if wanted, and fails on demand.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufStream},
    net::{TcpListener, TcpStream},
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

/// A connection, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// The conversation is over.
struct Over;

impl From<std::io::Error> for Over {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

async fn talk(stream: TcpStream, shared: Arc<Shared>) -> Result<(), Over> {
    let secure = shared.options.tls == Tls::Implicit;
    let stream: Box<dyn Stream> =
        if secure { Box::new(shared.acceptor.accept(stream).await?) } else { Box::new(stream) };
    let stream = BufStream::new(stream);
    let mut talk = Conversation { stream, shared, secure, known: false, from: String::new(), to: Vec::new() };
    talk.answer(Stage::Connect, "220 sink ESMTP").await?;
    loop {
        talk.next().await?;
    }
}

struct Conversation {
    stream: BufStream<Box<dyn Stream>>,
    shared: Arc<Shared>,
    secure: bool,
    known: bool,
    from: String,
    to: Vec<String>,
}

impl Conversation {
    async fn next(&mut self) -> Result<(), Over> {
        let line = self.line().await?;
        let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" | "HELO" => {
                let hello = self.hello();
                self.say(&hello).await
            }
            "NOOP" | "RSET" => self.say("250 ok").await,
            "QUIT" => {
                self.say("221 bye").await?;
                Err(Over)
            }
            "STARTTLS" if self.shared.options.tls == Tls::StartTls && !self.secure => self.encrypt().await,
            "AUTH" => self.auth(rest).await,
            _ if self.shared.options.tls != Tls::None && !self.secure => self.say("530 5.7.0 STARTTLS first").await,
            _ if self.shared.options.login.is_some() && !self.known => self.say("530 5.7.0 AUTH first").await,
            "MAIL" => {
                self.from = address(rest);
                self.to.clear();
                self.answer(Stage::Mail, "250 ok").await.map(|_| ())
            }
            "RCPT" => {
                if self.answer(Stage::Rcpt, "250 ok").await? {
                    self.to.push(address(rest));
                }
                Ok(())
            }
            "DATA" => {
                if self.answer(Stage::Data, "354 go on").await? {
                    self.data().await?;
                }
                Ok(())
            }
            _ => self.say("500 5.5.1 what?").await,
        }
    }

    fn hello(&self) -> String {
        let mut lines = vec!["sink".to_owned(), "8BITMIME".to_owned()];
        if self.shared.options.tls == Tls::StartTls && !self.secure {
            lines.push("STARTTLS".to_owned());
        } else if self.shared.options.login.is_some() {
            lines.push("AUTH PLAIN LOGIN".to_owned());
        }
        let last = lines.len() - 1;
        let line = |(index, line): (usize, &String)| format!("250{}{line}", if index == last { ' ' } else { '-' });
        lines.iter().enumerate().map(line).collect::<Vec<_>>().join("\r\n")
    }

    async fn encrypt(&mut self) -> Result<(), Over> {
        self.say("220 go on").await?;
        let (nothing, _) = tokio::io::duplex(1);
        let plain = std::mem::replace(&mut self.stream, BufStream::new(Box::new(nothing)));
        self.stream = BufStream::new(Box::new(self.shared.acceptor.accept(plain.into_inner()).await?));
        self.secure = true;
        Ok(())
    }

    async fn auth(&mut self, rest: &str) -> Result<(), Over> {
        let decode =
            |text: &str| String::from_utf8(BASE64_STANDARD.decode(text.trim()).unwrap_or_default()).unwrap_or_default();
        let (mechanism, initial) = rest.split_once(' ').unwrap_or((rest, ""));
        let given = if mechanism.eq_ignore_ascii_case("PLAIN") {
            let initial = if initial.is_empty() { self.ask("").await? } else { initial.to_owned() };
            let plain = decode(&initial);
            let mut parts = plain.splitn(3, '\0').skip(1).map(str::to_owned);
            (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
        } else {
            let name = if initial.is_empty() { self.ask("Username:").await? } else { initial.to_owned() };
            let password = self.ask("Password:").await?;
            (decode(&name), decode(&password))
        };
        if self.shared.options.login.as_ref().is_some_and(|login| *login == given) {
            self.known = self.answer(Stage::Auth, "235 2.7.0 welcome").await?;
            Ok(())
        } else {
            self.answer(Stage::Auth, "535 5.7.8 wrong name or password").await.map(|_| ())
        }
    }

    async fn ask(&mut self, question: &str) -> Result<String, Over> {
        self.say(&format!("334 {}", BASE64_STANDARD.encode(question))).await?;
        self.line().await
    }

    async fn data(&mut self) -> Result<(), Over> {
        let mut raw = Vec::new();
        loop {
            let start = raw.len();
            if self.stream.read_until(b'\n', &mut raw).await? == 0 {
                return Err(Over);
            }
            if &raw[start..] == b".\r\n" {
                raw.truncate(start);
                break;
            }
            // Dot stuffing, RFC 5321, section 4.5.2.
            if raw[start..].starts_with(b"..") {
                raw.remove(start);
            }
        }
        let mail = Mail { from: self.from.clone(), to: std::mem::take(&mut self.to), raw };
        // It is kept before the client hears so, as a real server does: a client that is gone by then sends it again.
        if let Some(answer) = self.fault(Stage::Letter).await? {
            return self.say(answer).await;
        }
        self.shared.state().letters.push(mail);
        self.say("250 2.0.0 taken").await
    }

    /// Says `usual` unless a fault is due here; whether it did.
    async fn answer(&mut self, stage: Stage, usual: &str) -> Result<bool, Over> {
        let fault = self.fault(stage).await?;
        self.say(fault.unwrap_or(usual)).await?;
        Ok(fault.is_none())
    }

    /// The answer of a fault that is due here.
    async fn fault(&mut self, stage: Stage) -> Result<Option<&'static str>, Over> {
        // Before the look at the faults, so that a `heal` in between is not missed.
        let mut healed = self.shared.healed.subscribe();
        let fault = {
            let mut shared = self.shared.state();
            shared.reached.push(stage);
            let due = shared.faults.iter_mut().find(|(at, _, times)| *at == stage && *times > 0);
            due.map(|(_, fault, times)| {
                *times -= 1;
                fault.clone()
            })
        };
        match fault {
            None => Ok(None),
            Some(Fault::Answer(answer)) => Ok(Some(answer)),
            Some(Fault::Close) => Err(Over),
            Some(Fault::Hang) => {
                let _ = healed.changed().await;
                Ok(None)
            }
        }
    }

    async fn line(&mut self) -> Result<String, Over> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(Over);
        }
        Ok(line.trim_end().to_owned())
    }

    async fn say(&mut self, answer: &str) -> Result<(), Over> {
        self.stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
        self.stream.flush().await?;
        Ok(())
    }
}

/// `FROM:<anna@example.org> BODY=8BITMIME` -> `anna@example.org`
fn address(argument: &str) -> String {
    argument.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(address, _)| address).to_owned()
}
