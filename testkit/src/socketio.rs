//! The official `socket.io-client`, driven from Rust: one node process carries many clients.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    process::{ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};

use crate::{process, tools, workspace};

/// What a client waits for the server before a test gives up.
const DEADLINE: Duration = Duration::from_secs(20);

/// One node process. Ends, with all its clients, when the driver and its clients are dropped.
#[derive(Clone)]
pub struct Driver {
    shared: Arc<Shared>,
}

struct Shared {
    /// Closed with this: the process ends with its stdin.
    stdin: Mutex<ChildStdin>,
    clients: Mutex<HashMap<u64, watch::Sender<Vec<Received>>>>,
    acks: Mutex<HashMap<u64, oneshot::Sender<Vec<Value>>>>,
    next: AtomicU64,
}

/// One connection to the server, which reconnects by itself as `socket.io-client` does.
pub struct Client {
    id: u64,
    driver: Driver,
    received: watch::Receiver<Vec<Received>>,
}

/// An event with all its arguments. `connect` `[socket id]`, `connect_error` `[message, data, again]` and `disconnect`
/// `[reason, again]` are among them; `again` says whether the client will connect again by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// Its name.
    pub event: String,
    /// Its arguments.
    pub args: Vec<Value>,
}

/// Why a connection was refused.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectError {
    /// `error.message`.
    pub message: String,
    /// `error.data`.
    pub data: Value,
}

/// A line from the driver.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Ack { ack: u64, args: Vec<Value> },
    Event { id: u64, event: String, args: Vec<Value> },
}

impl Driver {
    /// Starts node, installing it and `socket.io-client` first if need be.
    ///
    /// # Panics
    /// When that fails.
    pub async fn start() -> Self {
        let started = tokio::task::spawn_blocking(Self::spawn).await;
        started.map_err(anyhow::Error::from).flatten().unwrap_or_else(|error| panic!("Socket.IO driver: {error:#}"))
    }

    fn spawn() -> Result<Self> {
        let project = workspace().join("testkit/js");
        let node = tools::node()?;
        let modules = tools::node_modules(&node, &project)?;
        let mut command = Command::new(&node.program);
        command.arg(project.join("driver.mjs")).arg(modules.with_file_name("package.json"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = process::spawn_with_parent_death(command)?;
        let stdin = child.stdin.take().context("no stdin")?;
        let stdout = child.stdout.take().context("no stdout")?;
        let shared = Arc::new(Shared {
            stdin: Mutex::new(stdin),
            clients: Mutex::default(),
            acks: Mutex::default(),
            next: AtomicU64::new(0),
        });
        // Weak: the process ends when the last driver or client is gone, and this thread with it.
        let weak = Arc::downgrade(&shared);
        thread::Builder::new().name("socket.io".to_owned()).spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let Some(shared) = weak.upgrade() else { break };
                match serde_json::from_str(&line) {
                    Ok(line) => shared.receive(line),
                    Err(error) => eprintln!("Socket.IO driver says {line:?}: {error}"),
                }
            }
            let _ = child.wait();
        })?;
        Ok(Self { shared })
    }

    /// Connects over WebSocket with `auth: {token}`.
    pub async fn connect(&self, url: &str, token: &str) -> Result<Client, ConnectError> {
        self.connect_with(url, json!({ "token": token }), json!({ "transports": ["websocket"] })).await
    }

    /// Connects over HTTP long-polling with `auth: {token}`, and stays with it.
    pub async fn connect_polling(&self, url: &str, token: &str) -> Result<Client, ConnectError> {
        self.connect_with(url, json!({ "token": token }), json!({ "transports": ["polling"] })).await
    }

    /// Connects with any `auth` and options of `io(url, options)`. Unless told, it reconnects within half a second.
    ///
    /// # Panics
    /// When the server neither accepts nor refuses within 20 s.
    pub async fn connect_with(&self, url: &str, auth: Value, options: Value) -> Result<Client, ConnectError> {
        let client = self.open_with(url, &auth, options);
        let outcome =
            client.wait_any(|received| matches!(received.event.as_str(), "connect" | "connect_error"), DEADLINE);
        let outcome = outcome.await.unwrap_or_else(|| panic!("{url} neither connects nor refuses within {DEADLINE:?}"));
        match outcome.event.as_str() {
            "connect" => Ok(client),
            _ => Err(ConnectError {
                message: outcome.args[0].as_str().unwrap_or_default().to_owned(),
                data: outcome.args[1].clone(),
            }),
        }
    }

    /// As [`connect`](Self::connect), but does not wait: what becomes of it is among its events.
    pub fn open(&self, url: &str, token: &str) -> Client {
        self.open_with(url, &json!({ "token": token }), json!({ "transports": ["websocket"] }))
    }

    fn open_with(&self, url: &str, auth: &Value, options: Value) -> Client {
        let mut opts = json!({ "reconnectionDelay": 100, "reconnectionDelayMax": 500 });
        if let (Some(opts), Value::Object(options)) = (opts.as_object_mut(), options) {
            opts.extend(options);
        }
        let client = self.add_client();
        client.say(json!({ "op": "connect", "url": url, "auth": auth, "opts": opts }));
        client
    }

    /// The client that frontends are shown, `docs/examples/natter-client.mjs`, connecting to `url`. Its events are those
    /// of its socket; what it knows is its [`view`](Client::view).
    pub fn open_example(&self, url: &str, user_id: &str, token: &str) -> Client {
        let client = self.add_client();
        client.say(json!({ "op": "example", "url": url, "userId": user_id, "auth": { "token": token } }));
        client
    }

    fn add_client(&self) -> Client {
        let id = self.shared.next();
        let (sender, received) = watch::channel(Vec::new());
        lock(&self.shared.clients).insert(id, sender);
        Client { id, driver: self.clone(), received }
    }
}

impl Shared {
    fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn say(&self, line: &Value) {
        // If it fails, node has died, which it said on stderr; what awaits an answer runs into its deadline.
        let _ = writeln!(lock(&self.stdin), "{line}");
    }

    fn receive(&self, line: Line) {
        match line {
            Line::Ack { ack, args } => {
                if let Some(waiting) = lock(&self.acks).remove(&ack) {
                    let _ = waiting.send(args);
                }
            }
            Line::Event { id, event, args } => {
                if let Some(client) = lock(&self.clients).get(&id) {
                    client.send_modify(|all| all.push(Received { event, args }));
                }
            }
        }
    }
}

impl Client {
    /// Sends an event without asking for an acknowledgement.
    #[expect(clippy::needless_pass_by_value, reason = "reads better with `json!({..})` in place")]
    pub fn emit(&self, event: &str, payload: Value) {
        self.say(json!({ "op": "emit", "event": event, "args": [payload] }));
    }

    /// Sends an event and returns the first argument of its acknowledgement.
    ///
    /// # Panics
    /// When there is none within 20 s.
    pub async fn request(&self, event: &str, payload: Value) -> Value {
        let answer = self.try_request(event, payload, DEADLINE).await;
        answer.unwrap_or_else(|| panic!("`{event}` was not acknowledged within {DEADLINE:?}"))
    }

    /// Sends an event and returns the first argument of its acknowledgement; `None` without one within `deadline`.
    pub async fn try_request(&self, event: &str, payload: Value, deadline: Duration) -> Option<Value> {
        self.ask(json!({ "op": "emit", "event": event, "args": [payload] }), deadline).await
    }

    /// What an [example client](Driver::open_example) knows.
    ///
    /// # Panics
    /// When it does not say so within 20 s.
    pub async fn view(&self) -> Value {
        self.ask(json!({ "op": "view" }), DEADLINE)
            .await
            .unwrap_or_else(|| panic!("the example client does not answer"))
    }

    /// Calls a method of an [example client](Driver::open_example).
    ///
    /// # Panics
    /// When it does not return within 20 s.
    pub async fn call(&self, method: &str, args: Value) -> Value {
        let answer = self.ask(json!({ "op": "call", "method": method, "args": args }), DEADLINE).await;
        answer.unwrap_or_else(|| panic!("`{method}` did not return within {DEADLINE:?}"))
    }

    /// Has the driver do what it answers.
    async fn ask(&self, mut line: Value, deadline: Duration) -> Option<Value> {
        let ack = self.driver.shared.next();
        let (sender, answer) = oneshot::channel();
        lock(&self.driver.shared.acks).insert(ack, sender);
        line["ack"] = ack.into();
        self.say(line);
        let answer = timeout(deadline, answer).await;
        lock(&self.driver.shared.acks).remove(&ack);
        Some(answer.ok()?.ok()?.into_iter().next().unwrap_or(Value::Null))
    }

    /// Waits for an event of this name whose arguments are `wanted`; one that has come before counts.
    ///
    /// # Panics
    /// When none comes within `deadline`; the message lists what came instead.
    pub async fn wait(&self, event: &str, mut wanted: impl FnMut(&[Value]) -> bool, deadline: Duration) -> Vec<Value> {
        let found = self.wait_any(|received| received.event == event && wanted(&received.args), deadline).await;
        match found {
            Some(received) => received.args,
            None => panic!("no such `{event}` within {deadline:?}; received: {:#?}", self.events()),
        }
    }

    /// As [`wait`](Self::wait), but only for what comes after the first `skip` events, see [`count`](Self::count).
    ///
    /// # Panics
    /// When none comes within `deadline`.
    pub async fn wait_after(&self, skip: usize, event: &str, deadline: Duration) -> Vec<Value> {
        let mut received = self.received.clone();
        let came = timeout(deadline, received.wait_for(|all| all.iter().skip(skip).any(|one| one.event == event)));
        let came = came.await.is_ok();
        assert!(came, "no further `{event}` within {deadline:?}; received: {:#?}", self.events());
        self.events().into_iter().skip(skip).find(|one| one.event == event).map(|one| one.args).unwrap_or_default()
    }

    /// All that was received so far, in order.
    pub fn events(&self) -> Vec<Received> {
        self.received.borrow().clone()
    }

    /// The arguments of all events of this name so far, in order.
    pub fn events_named(&self, event: &str) -> Vec<Vec<Value>> {
        self.received.borrow().iter().filter(|one| one.event == event).map(|one| one.args.clone()).collect()
    }

    /// What was received after the first `skip` events, once there is something.
    pub async fn after(&self, skip: usize) -> Vec<Received> {
        let mut received = self.received.clone();
        // It is closed only with the driver, which this client holds.
        let all = received.wait_for(|all| all.len() > skip).await;
        all.map(|all| all[skip..].to_vec()).unwrap_or_default()
    }

    /// How many events were received so far.
    pub fn count(&self) -> usize {
        self.received.borrow().len()
    }

    /// The token for the next reconnect.
    pub fn set_token(&self, token: &str) {
        self.say(json!({ "op": "auth", "auth": { "token": token } }));
    }

    /// Leaves for good.
    pub fn disconnect(&self) {
        self.say(json!({ "op": "disconnect" }));
    }

    /// Cuts the transport as a lost network does; the client reconnects by itself.
    pub fn drop_transport(&self) {
        self.say(json!({ "op": "drop" }));
    }

    /// Connects again after a [`disconnect`](Self::disconnect) by either side.
    pub fn reconnect(&self) {
        self.say(json!({ "op": "reconnect" }));
    }

    async fn wait_any(&self, mut wanted: impl FnMut(&Received) -> bool, deadline: Duration) -> Option<Received> {
        let mut received = self.received.clone();
        let mut found = None;
        let search = received.wait_for(|all| {
            found = all.iter().find(|one| wanted(one)).cloned();
            found.is_some()
        });
        let _ = timeout(deadline, search).await;
        found
    }

    fn say(&self, mut line: Value) {
        line["id"] = self.id.into();
        self.driver.shared.say(&line);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.disconnect();
        lock(&self.driver.shared.clients).remove(&self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
