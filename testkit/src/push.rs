//! A push service of a test (RFC 8030): makes subscriptions as a browser does, checks who pushes (RFC 8292), decrypts
//! what is pushed (RFC 8291), and fails on demand.

mod check;
mod http;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use p256::{SecretKey, elliptic_curve::sec1::ToEncodedPoint};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
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

/// What a push service answers instead of taking a message.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This status and these headers.
    Answer(u16, Vec<(&'static str, String)>),
    /// Nothing, for as long as the connection lasts.
    Hang,
    /// The connection is closed.
    Close,
}

impl Fault {
    /// A status without further headers.
    pub fn status(status: u16) -> Self {
        Self::Answer(status, Vec::new())
    }

    /// A status that says when to come again.
    pub fn retry_after(status: u16, seconds: u64) -> Self {
        Self::Answer(status, vec![("Retry-After", seconds.to_string())])
    }
}

/// A message as its browser reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Path of the subscription's endpoint.
    pub to: String,
    pub payload: String,
    pub ttl: u32,
    pub topic: Option<String>,
    pub urgency: Option<String>,
    /// Whom to tell of problems: the token's `sub`.
    pub contact: String,
    /// The key that signed for it, in base64url.
    pub signer: String,
}

/// A browser's subscription, with the keys to read what is pushed.
#[derive(Clone)]
pub struct Browser {
    path: String,
    endpoint: String,
    secret: SecretKey,
    auth: [u8; 16],
}

impl Browser {
    /// What `PushSubscription.toJSON()` gives.
    pub fn subscription(&self) -> Value {
        let point = self.secret.public_key().to_encoded_point(false);
        json!({
            "endpoint": self.endpoint,
            "expirationTime": null,
            "keys": {
                "p256dh": BASE64_URL_SAFE_NO_PAD.encode(point),
                "auth": BASE64_URL_SAFE_NO_PAD.encode(self.auth),
            },
        })
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

/// A running push service on loopback; its certificate is for `localhost`. Stopped on drop.
pub struct PushService {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
    folder: scratch::Folder,
}

struct Shared {
    origin: String,
    acceptor: TlsAcceptor,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    browsers: Vec<Browser>,
    messages: Vec<Message>,
    /// Why messages were not accepted although no fault was due.
    objections: Vec<String>,
    faults: Vec<(String, Fault, usize)>,
    /// Paths, as they were asked for.
    requests: Vec<String>,
    connections: usize,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::expect_used, reason = "a test that cannot have its server is over")]
impl PushService {
    /// A push service that takes every message that is as it must be.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn start() -> Self {
        let folder = scratch::Folder::new("push").expect("a scratch folder");
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
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            origin: format!("https://localhost:{}", address.port()),
            acceptor: TlsAcceptor::from(Arc::new(config)),
            state: Mutex::default(),
        });
        Self { address, server: tokio::spawn(serve(listener, shared.clone())), shared, folder }
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// A file with its certificate (PEM).
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// What a mail service is told so that it may push here.
    pub fn env(&self) -> Vec<(String, String)> {
        vec![
            ("NATTER_PUSH__CA".to_owned(), self.ca().display().to_string()),
            ("NATTER_PUSH__ALLOW_PRIVATE".to_owned(), "true".to_owned()),
        ]
    }

    /// A new subscription.
    ///
    /// # Panics
    /// When the random number is no key, once in 2^32.
    pub fn browser(&self) -> Browser {
        let path = format!("/push/{:032x}", rand::random::<u128>());
        let endpoint = format!("{}{path}", self.shared.origin);
        let secret = SecretKey::from_slice(&rand::random::<[u8; 32]>()).expect("a key");
        let browser = Browser { path, endpoint, secret, auth: rand::random() };
        self.shared.state().browsers.push(browser.clone());
        browser
    }

    /// The next `times` messages to this browser meet `fault`.
    pub fn fail(&self, browser: &Browser, fault: Fault, times: usize) {
        self.shared.state().faults.push((browser.path.clone(), fault, times));
    }

    /// All that was taken for this browser, oldest first.
    pub fn messages(&self, browser: &Browser) -> Vec<Message> {
        self.shared.state().messages.iter().filter(|message| message.to == browser.path).cloned().collect()
    }

    /// What this browser gets if it has been away all the time: the last message of each topic (RFC 8030, section 5.4).
    pub fn waiting(&self, browser: &Browser) -> Vec<Message> {
        let mut waiting: Vec<Message> = Vec::new();
        for message in self.messages(browser) {
            waiting.retain(|earlier| message.topic.is_none() || earlier.topic != message.topic);
            waiting.push(message);
        }
        waiting
    }

    /// Waits until `count` messages were taken for this browser.
    ///
    /// # Panics
    /// When they do not come within 30 s; says what was not accepted and why.
    pub async fn wait_for(&self, browser: &Browser, count: usize) -> Vec<Message> {
        let mut objections = Vec::new();
        let there = eventually(&format!("{count} pushes"), Duration::from_secs(30), async || {
            objections = self.objections();
            let messages = self.messages(browser);
            (messages.len() >= count || !objections.is_empty()).then_some(messages)
        })
        .await;
        assert!(objections.is_empty(), "{objections:?}");
        there
    }

    /// Why messages were not accepted although no fault was due.
    pub fn objections(&self) -> Vec<String> {
        self.shared.state().objections.clone()
    }

    /// How often somebody has tried to push to this browser.
    pub fn tries(&self, browser: &Browser) -> usize {
        self.requests().iter().filter(|path| **path == browser.path).count()
    }

    /// The paths that were asked for, oldest first.
    pub fn requests(&self) -> Vec<String> {
        self.shared.state().requests.clone()
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.shared.state().connections
    }
}

impl Drop for PushService {
    fn drop(&mut self) {
        self.server.abort();
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

async fn talk(stream: TcpStream, shared: Arc<Shared>) -> std::io::Result<()> {
    let mut connection = http::Connection::new(shared.acceptor.accept(stream).await?);
    while let Some(request) = connection.request().await? {
        let fault = {
            let mut state = shared.state();
            state.requests.push(request.path.clone());
            let due = state.faults.iter_mut().find(|(path, _, times)| *path == request.path && *times > 0);
            due.map(|(_, fault, times)| {
                *times -= 1;
                fault.clone()
            })
        };
        match fault {
            Some(Fault::Answer(status, headers)) => connection.answer(status, &headers).await?,
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Close) => return Ok(()),
            None => {
                let (status, headers) = take(&shared, &request);
                connection.answer(status, &headers).await?;
            }
        }
    }
    Ok(())
}

/// Takes a message, or says what is wrong with it.
fn take(shared: &Shared, request: &http::Request) -> (u16, Vec<(&'static str, String)>) {
    let mut state = shared.state();
    let Some(browser) = state.browsers.iter().find(|browser| browser.path == request.path).cloned() else {
        return (404, Vec::new());
    };
    match check::message(request, &browser, &shared.origin) {
        Ok(message) => {
            state.messages.push(message);
            let location = format!("{}/message/{}", shared.origin, state.messages.len());
            (201, vec![("Location", location)])
        }
        Err((status, objection)) => {
            state.objections.push(objection);
            (status, Vec::new())
        }
    }
}
