//! A device of somebody's: a socket that is lost and comes back, and the recipe of `docs/frontend.md` to keep its view.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use serde_json::{Value, json};
use testkit::{
    Session,
    rest::Rest,
    socketio::{Client, Driver, Received},
};
use tokio::{sync::watch, task::JoinHandle, time::sleep};

use super::{
    picture,
    view::{Answer, Need, Question, View},
};
use crate::recorder::Recorder;

/// For an acknowledgement; the gateway's own deadlines are shorter.
const ACK: Duration = Duration::from_secs(8);
/// Before what failed is tried again.
const AGAIN: Duration = Duration::from_millis(200);

type Turn = tokio::sync::Mutex<()>;

pub struct Device {
    pub name: String,
    pub session: Session,
    driver: Driver,
    recorder: Arc<Recorder>,
    /// What somebody does at a device they do one after the other.
    pub turn: Turn,
    view: Mutex<View>,
    link: Mutex<Option<Link>>,
    /// The connection it has, counted; `None` without one.
    connection: watch::Sender<Option<u64>>,
}

struct Link {
    client: Arc<Client>,
    rest: Rest,
    following: JoinHandle<()>,
}

/// How something that was asked of the server ended.
#[derive(Debug)]
pub enum Outcome {
    Done(Value),
    /// With this code.
    Refused(String),
    /// It may have happened or not.
    Unknown,
    /// It was not asked.
    Skipped,
}

impl Device {
    /// A device that is not connected yet. It follows the presence of `watched`.
    pub fn new(
        name: String,
        session: Session,
        driver: Driver,
        watched: BTreeSet<String>,
        recorder: Arc<Recorder>,
    ) -> Arc<Self> {
        let view = Mutex::new(View::new(&session.user_id, watched));
        let (turn, link, connection) = (Turn::default(), Mutex::default(), watch::Sender::new(None));
        Arc::new(Self { name, session, driver, recorder, turn, view, link, connection })
    }

    pub fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap()
    }

    pub fn connected(&self) -> bool {
        self.connection.borrow().is_some()
    }

    /// Connects to a gateway with a new client, knowing what it knew.
    pub async fn come(self: &Arc<Self>, url: &str) {
        self.go().await;
        let client = Arc::new(self.driver.open(url, &self.session.access_token));
        let rest = Rest::new(url).with_token(&self.session.access_token);
        let following = tokio::spawn(follow(self.clone(), client.clone(), rest.clone()));
        *self.link.lock().unwrap() = Some(Link { client, rest, following });
    }

    /// Disconnects.
    pub async fn go(&self) {
        let link = self.link.lock().unwrap().take();
        if let Some(link) = link {
            link.following.abort();
            let _ = link.following.await;
        }
        self.recorder.hear(&self.name, "disconnect", &[]);
        self.view().disconnect();
        self.connection.send_replace(None);
    }

    /// Loses the network for a moment.
    pub fn drop_transport(&self) {
        if let Some(client) = self.client() {
            client.drop_transport();
        }
    }

    fn client(&self) -> Option<Arc<Client>> {
        self.link.lock().unwrap().as_ref().map(|link| link.client.clone())
    }

    /// Sends an event without waiting; the client keeps it until it is connected.
    pub fn emit(&self, event: &str, payload: Value) {
        if let Some(client) = self.client() {
            client.emit(event, payload);
        }
    }

    /// Sends an event if it is connected.
    pub async fn ask(&self, event: &str, payload: Value) -> Outcome {
        let mut connection = self.connection.subscribe();
        let now = *connection.borrow_and_update();
        let (Some(client), Some(_)) = (self.client(), now) else { return Outcome::Skipped };
        let ack = tokio::select! {
            ack = client.try_request(event, payload, ACK) => ack,
            // The answer would come on this connection or never.
            _ = connection.wait_for(|connection| *connection != now) => None,
        };
        match ack {
            None => Outcome::Unknown,
            Some(ack) if ack["ok"] == true => Outcome::Done(ack),
            Some(ack) => Outcome::Refused(ack["error"]["code"].as_str().unwrap_or_default().to_owned()),
        }
    }

    /// Asks over REST, of the gateway it is connected to.
    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Outcome {
        let rest = self.link.lock().unwrap().as_ref().map(|link| link.rest.clone());
        let Some(rest) = rest else { return Outcome::Skipped };
        match rest.try_send(method, path, body).await {
            None => Outcome::Unknown,
            Some(answer) if answer.status < 300 => Outcome::Done(answer.body),
            Some(answer) => Outcome::Refused(answer.code().to_owned()),
        }
    }

    /// Follows somebody's presence, or no longer.
    pub async fn watch(&self, event: &str, user: &str) -> Outcome {
        if event == "presence:unsubscribe" {
            self.view().watched.remove(user);
            return self.ask(event, json!({ "userIds": [user] })).await;
        }
        let Some(question) = self.view().watch(user) else { return Outcome::Skipped };
        let outcome = self.ask(event, json!({ "userIds": [user] })).await;
        if let Outcome::Done(ack) = &outcome {
            self.view().learn(&question, Answer::Watched(ack["presence"].clone()));
        }
        outcome
    }
}

type Asking = FuturesUnordered<BoxFuture<'static, (Question, Answer)>>;

/// Tells the view what the socket says, and asks what the view needs.
async fn follow(device: Arc<Device>, client: Arc<Client>, rest: Rest) {
    let mut asking = Asking::new();
    let (mut read, mut connections) = (0, 0);
    loop {
        let questions: Vec<Question> = tokio::select! {
            biased;
            received = client.after(read) => {
                read += received.len();
                received.iter().flat_map(|one| hear(&device, &client, one, &mut connections)).collect()
            }
            Some((question, answer)) = asking.next(), if !asking.is_empty() => device.view().learn(&question, answer),
        };
        for question in questions {
            asking.push(answer(client.clone(), rest.clone(), question).boxed());
        }
    }
}

fn hear(device: &Device, client: &Arc<Client>, received: &Received, connections: &mut u64) -> Vec<Question> {
    let Received { event, args } = received;
    device.recorder.hear(&device.name, event, args);
    let questions = device.view().hear(event, args);
    match event.as_str() {
        "connect" => {
            *connections += 1;
            device.connection.send_replace(Some(*connections));
        }
        "disconnect" => {
            device.connection.send_replace(None);
        }
        _ => {}
    }
    // Where the server itself refused or disconnected us, the client leaves it to us to come again.
    if matches!(event.as_str(), "connect_error" | "disconnect") && args.last() == Some(&Value::Bool(false)) {
        let client = client.clone();
        tokio::spawn(async move {
            sleep(AGAIN).await;
            client.reconnect();
        });
    }
    questions
}

/// Asks the server.
async fn answer(client: Arc<Client>, rest: Rest, question: Question) -> (Question, Answer) {
    let answer = match &question.need {
        Need::Sync(cursors) => sync(&client, cursors).await,
        Need::List => picture::chats(&rest).await.map(Answer::Listed),
        Need::Load(chat) => picture::load(&rest, chat).await.map(Answer::Loaded),
        Need::Refresh(chat) => picture::chat(&rest, chat).await.map(Answer::Refreshed),
        Need::Watch(users) => {
            let ack = client.try_request("presence:subscribe", json!({ "userIds": users }), ACK).await;
            ack.filter(|ack| ack["ok"] == true).map(|ack| Answer::Watched(ack["presence"].clone()))
        }
    };
    if answer.is_none() {
        sleep(AGAIN).await;
    }
    (question, answer.unwrap_or(Answer::Failed))
}

async fn sync(client: &Client, cursors: &BTreeMap<String, u64>) -> Option<Answer> {
    let ack = client.try_request("sync", json!({ "chats": cursors }), ACK).await?;
    (ack["ok"] == true).then(|| Answer::Synced(ack["chats"].clone()))
}
