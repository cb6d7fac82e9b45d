//! People acting: a step of the plan becomes an event or a request, and what came of it is remembered.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use super::plan::{DEVICES, Op, PEOPLE, Step, StepId};
use crate::{
    client::device::{Device, Outcome},
    history::{self, Change, What},
    recorder::Recorder,
    site::Site,
};

/// Everybody, and what they have done.
pub struct World {
    pub devices: Vec<Arc<Device>>,
    pub recorder: Arc<Recorder>,
    /// Where each gateway is.
    pub gateways: Vec<String>,
    /// The same behind the proxies in front of them.
    doors: Vec<String>,
    /// Chats that everybody, or the first two, are in from the beginning to the end.
    common: Mutex<Vec<String>>,
    /// Who has chosen a status, so that who sees them how depends on more than whether they are there.
    with_status: Mutex<BTreeSet<String>>,
    /// Chats by the step that made them.
    chats: Mutex<BTreeMap<StepId, String>>,
    sent: Mutex<BTreeMap<StepId, Sent>>,
    /// Answers that no plan should get.
    pub wrong: Mutex<Vec<String>>,
    counts: Mutex<BTreeMap<String, usize>>,
}

/// A message that somebody sent, or tried to.
#[derive(Debug, Clone)]
pub struct Sent {
    pub device: usize,
    pub chat: String,
    pub client_id: String,
    pub rest: bool,
    /// Its number, if it was acknowledged.
    pub seq: Option<u64>,
    /// To be sent again until there is an answer.
    pub insist: bool,
}

impl World {
    pub fn new(site: &Site, devices: Vec<Arc<Device>>, recorder: Arc<Recorder>) -> Self {
        Self {
            devices,
            recorder,
            gateways: (0..site.doors.len()).map(|index| site.system.gateway(index).url()).collect(),
            doors: site.doors.iter().map(|door| format!("http://{}", door.address())).collect(),
            common: Mutex::default(),
            with_status: Mutex::default(),
            chats: Mutex::default(),
            sent: Mutex::default(),
            wrong: Mutex::default(),
            counts: Mutex::default(),
        }
    }

    /// Where a device finds a gateway: every third one through a network that may fail.
    pub fn door(&self, device: usize, gateway: usize) -> &str {
        let doors = if device % 3 == 2 { &self.doors } else { &self.gateways };
        &doors[gateway]
    }

    /// Makes the chats for writers: one of everybody, with one who is away, and one of the first two.
    pub async fn begin(&self, absent: Option<&str>) {
        let people = (1..PEOPLE).map(|person| self.user(person));
        let members: Vec<String> = people.chain(absent.map(str::to_owned)).collect();
        let bodies = [
            json!({ "type": "group", "name": "everybody", "memberIds": members }),
            json!({ "type": "direct", "userId": self.user(1) }),
        ];
        for body in bodies {
            let Outcome::Done(chat) = self.devices[0].call("POST", "/api/chats", Some(body)).await else {
                panic!("a chat cannot be made though nothing is wrong yet");
            };
            self.common.lock().unwrap().push(text(&chat["id"]));
        }
    }

    /// One of the chats that are there for the whole run and that the first two people are in.
    pub fn common_chat(&self, index: usize) -> Option<String> {
        self.common.lock().unwrap().get(index).cloned()
    }

    /// Who must be seen as online now, given that every device is connected.
    pub fn online(&self) -> Vec<(String, bool)> {
        let with_status = self.with_status.lock().unwrap();
        (0..PEOPLE)
            .map(|person| self.user(person))
            .filter(|user| !with_status.contains(user))
            .map(|user| (user, true))
            .collect()
    }

    /// Sends a message and records it.
    pub async fn send(&self, device: usize, chat: &str, client_id: &str, rest: bool) -> history::Outcome {
        let body = json!({ "chatId": chat, "clientId": client_id, "text": format!("text of {client_id}") });
        let device = &self.devices[device];
        let invoked = self.recorder.now();
        let outcome = if rest {
            device.call("POST", "/api/messages", Some(body)).await
        } else {
            device.ask("message:send", body).await
        };
        let recorded = sent_outcome(&outcome);
        self.count(&outcome);
        if !matches!(outcome, Outcome::Skipped) {
            let what = What::Send { client_id: client_id.to_owned() };
            self.recorder.op(invoked, &device.name, &device.session.user_id, chat, what, recorded.clone());
        }
        recorded
    }

    /// Says that the chat was got, or seen, up to `seq`, and records it.
    pub async fn mark(&self, device: usize, chat: &str, seq: u64, seen: bool) {
        let device = &self.devices[device];
        let invoked = self.recorder.now();
        let event = if seen { "message:read" } else { "message:delivered" };
        let outcome = device.ask(event, json!({ "chatId": chat, "seq": seq })).await;
        self.record(invoked, device, chat, seq, What::Mark { seq, seen }, &outcome);
    }

    /// Something that was asked about the message `seq`.
    fn record(&self, invoked: u64, device: &Device, chat: &str, seq: u64, what: What, outcome: &Outcome) {
        let outcome = match outcome {
            Outcome::Skipped => return,
            Outcome::Done(_) => history::Outcome::Acked(seq),
            Outcome::Refused(code) => history::Outcome::Refused(code.clone()),
            Outcome::Unknown => history::Outcome::Unknown,
        };
        self.recorder.op(invoked, &device.name, &device.session.user_id, chat, what, outcome);
    }

    /// How often what ended how.
    pub fn counts(&self) -> String {
        let counts = self.counts.lock().unwrap();
        counts.iter().map(|(what, count)| format!("{what} {count}")).collect::<Vec<_>>().join(", ")
    }

    fn count(&self, outcome: &Outcome) {
        *self.counts.lock().unwrap().entry(word(outcome).to_owned()).or_default() += 1;
    }

    pub async fn act(&self, step: &Step) {
        let _turn = self.devices[step.device].turn.lock().await;
        let outcome = self.carry_out(step).await;
        let device = &self.devices[step.device].name;
        self.recorder.detail(&format!("{:>5} {device} {:?}: {}", step.id, step.op, word(&outcome)));
        if !matches!(step.op, Op::Send { .. }) {
            self.count(&outcome);
        }
        // Everything else follows from somebody being elsewhere, having fewer rights, or something being dead.
        if let Outcome::Refused(code) = &outcome
            && !["not_found", "forbidden", "conflict", "unavailable"].contains(&code.as_str())
        {
            self.wrong.lock().unwrap().push(format!("step {} was refused as `{code}`", step.id));
        }
        self.remember(step, &outcome);
    }

    fn remember(&self, step: &Step, outcome: &Outcome) {
        if let (Op::OpenDirect { .. } | Op::CreateGroup { .. }, Outcome::Done(chat)) = (&step.op, outcome) {
            self.chats.lock().unwrap().insert(step.id, chat["id"].as_str().unwrap().to_owned());
        }
        if let Op::Send { chat, insist, rest } = &step.op
            && let Some(chat) = self.chat(*chat)
        {
            let seq = seq_of(outcome);
            // Other refusals are answers.
            let insist =
                *insist && seq.is_none() && !matches!(outcome, Outcome::Refused(code) if code != "unavailable");
            let sent = Sent { device: step.device, chat, client_id: client_id(step.id), rest: *rest, seq, insist };
            self.sent.lock().unwrap().insert(step.id, sent);
        }
    }

    /// Sends again, once each, what was not answered and has to be; true when nothing is left.
    pub async fn insist(&self) -> bool {
        let unanswered: Vec<(StepId, Sent)> = {
            let sent = self.sent.lock().unwrap();
            sent.iter().filter(|(_, sent)| sent.insist).map(|(id, sent)| (*id, sent.clone())).collect()
        };
        let mut left = false;
        for (id, sent) in unanswered {
            let outcome = self.send(sent.device, &sent.chat, &sent.client_id, sent.rest).await;
            let mut all = self.sent.lock().unwrap();
            let sent = all.get_mut(&id).unwrap();
            sent.insist = match outcome {
                history::Outcome::Acked(seq) => {
                    sent.seq = Some(seq);
                    false
                }
                history::Outcome::Refused(code) => code == "unavailable",
                history::Outcome::Unknown => true,
            };
            left |= sent.insist;
        }
        !left
    }

    fn chat(&self, id: StepId) -> Option<String> {
        self.chats.lock().unwrap().get(&id).cloned()
    }

    /// The chat and number of a message, once it has one.
    fn message(&self, id: StepId) -> Option<(String, u64)> {
        let sent = self.sent.lock().unwrap();
        let sent = sent.get(&id)?;
        Some((sent.chat.clone(), sent.seq?))
    }

    fn user(&self, person: usize) -> String {
        let device = DEVICES.iter().position(|owner| *owner == person).unwrap();
        self.devices[device].session.user_id.clone()
    }

    async fn carry_out(&self, step: &Step) -> Outcome {
        let device = &self.devices[step.device];
        match &step.op {
            Op::Drop => device.drop_transport(),
            Op::GoAway => device.go().await,
            Op::ComeBack { gateway } => device.come(self.door(step.device, *gateway)).await,
            Op::SetStatus(status) => {
                self.with_status.lock().unwrap().insert(device.session.user_id.clone());
                return device.ask("presence:set", json!({ "status": status })).await;
            }
            Op::Watch { who, event } => return device.watch(event, &self.user(*who)).await,
            Op::OpenDirect { .. } | Op::CreateGroup { .. } => return self.make_chat(device, step).await,
            Op::Edit { message }
            | Op::DeleteMessage { message }
            | Op::React { message, .. }
            | Op::Mark { message, .. } => {
                return self.change(device, step, *message).await;
            }
            Op::Add { chat, .. }
            | Op::Remove { chat, .. }
            | Op::Promote { chat, .. }
            | Op::Leave { chat }
            | Op::DeleteGroup { chat }
            | Op::Rename { chat } => return self.change_chat(device, step, *chat).await,
            Op::Send { chat, rest, .. } => {
                let Some(chat) = self.chat(*chat) else { return Outcome::Skipped };
                if !rest && !device.connected() {
                    // As applications do: it goes out when the connection is there.
                    let client_id = client_id(step.id);
                    let invoked = self.recorder.now();
                    device.emit("message:send", message(&chat, step.id));
                    let (what, outcome) = (What::Send { client_id }, history::Outcome::Unknown);
                    self.recorder.op(invoked, &device.name, &device.session.user_id, &chat, what, outcome);
                    return Outcome::Unknown;
                }
                return match self.send(step.device, &chat, &client_id(step.id), *rest).await {
                    history::Outcome::Acked(seq) => Outcome::Done(json!({ "seq": seq })),
                    history::Outcome::Refused(code) => Outcome::Refused(code),
                    history::Outcome::Unknown => Outcome::Unknown,
                };
            }
            Op::Type { chat, event } => {
                let Some(chat) = self.chat(*chat) else { return Outcome::Skipped };
                return device.ask(event, json!({ "chatId": chat })).await;
            }
        }
        Outcome::Done(Value::Null)
    }

    async fn make_chat(&self, device: &Device, step: &Step) -> Outcome {
        let chat = match &step.op {
            Op::OpenDirect { with } => json!({ "type": "direct", "userId": self.user(*with) }),
            Op::CreateGroup { with } => {
                let members: Vec<String> = with.iter().map(|person| self.user(*person)).collect();
                json!({ "type": "group", "name": format!("group {}", step.id), "memberIds": members })
            }
            other => unreachable!("{other:?} makes no chat"),
        };
        device.call("POST", "/api/chats", Some(chat)).await
    }

    async fn change_chat(&self, device: &Device, step: &Step, chat: StepId) -> Outcome {
        let Some(chat) = self.chat(chat) else { return Outcome::Skipped };
        let path = format!("/api/chats/{chat}");
        match &step.op {
            Op::Add { who, .. } => {
                let members = json!({ "userIds": [self.user(*who)] });
                device.call("POST", &format!("{path}/members"), Some(members)).await
            }
            Op::Remove { who, .. } => device.call("DELETE", &format!("{path}/members/{}", self.user(*who)), None).await,
            Op::Promote { who, .. } => {
                let path = format!("{path}/members/{}", self.user(*who));
                device.call("PATCH", &path, Some(json!({ "role": "admin" }))).await
            }
            Op::Leave { .. } => device.call("POST", &format!("{path}/leave"), None).await,
            Op::DeleteGroup { .. } => device.call("DELETE", &path, None).await,
            Op::Rename { .. } => {
                device.call("PATCH", &path, Some(json!({ "name": format!("renamed {}", step.id) }))).await
            }
            other => unreachable!("{other:?} changes no chat"),
        }
    }

    /// What is done to a message: every fourth time over REST.
    async fn change(&self, device: &Device, step: &Step, message: StepId) -> Outcome {
        let Some((chat, seq)) = self.message(message) else { return Outcome::Skipped };
        let (rest, path) = (step.id.is_multiple_of(4), format!("/api/messages/{chat}/{seq}"));
        let invoked = self.recorder.now();
        let mut payload = json!({ "chatId": chat, "seq": seq });
        let (event, method, path) = match &step.op {
            Op::Edit { .. } => {
                payload["text"] = format!("edited {}", step.id).into();
                ("message:edit", "PATCH", path)
            }
            Op::DeleteMessage { .. } => ("message:delete", "DELETE", path),
            Op::React { emoji, add, .. } => {
                payload["emoji"] = (*emoji).into();
                let (event, method) = if *add { ("reaction:add", "PUT") } else { ("reaction:remove", "DELETE") };
                (event, method, format!("{path}/reactions/{emoji}"))
            }
            Op::Mark { event: "message:read", .. } => ("message:read", "POST", format!("/api/messages/{chat}/read")),
            Op::Mark { event, .. } => {
                let outcome = device.ask(event, payload).await;
                self.record(invoked, device, &chat, seq, What::Mark { seq, seen: false }, &outcome);
                return outcome;
            }
            other => unreachable!("{other:?} changes no message"),
        };
        let outcome = if rest {
            device.call(method, &path, Some(payload.clone())).await
        } else {
            device.ask(event, payload.clone()).await
        };
        let change = match &step.op {
            Op::Mark { .. } => {
                self.record(invoked, device, &chat, seq, What::Mark { seq, seen: true }, &outcome);
                return outcome;
            }
            Op::Edit { .. } => Change::Edit { text: text(&payload["text"]) },
            Op::DeleteMessage { .. } => Change::Delete,
            Op::React { emoji, add: true, .. } => Change::React { emoji: (*emoji).to_owned() },
            _ => return outcome,
        };
        self.record(invoked, device, &chat, seq, What::Change { seq, change }, &outcome);
        outcome
    }
}

fn client_id(step: StepId) -> String {
    format!("step-{step}")
}

fn message(chat: &str, step: StepId) -> Value {
    json!({ "chatId": chat, "clientId": client_id(step), "text": format!("text of {}", client_id(step)) })
}

fn word(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Done(_) => "done",
        Outcome::Refused(code) => code,
        Outcome::Unknown => "unknown",
        Outcome::Skipped => "skipped",
    }
}

fn sent_outcome(outcome: &Outcome) -> history::Outcome {
    match (seq_of(outcome), outcome) {
        (Some(seq), _) => history::Outcome::Acked(seq),
        (None, Outcome::Refused(code)) => history::Outcome::Refused(code.clone()),
        _ => history::Outcome::Unknown,
    }
}

/// The number of an acknowledged message, from an ack or from the message itself.
fn seq_of(outcome: &Outcome) -> Option<u64> {
    let Outcome::Done(answer) = outcome else { return None };
    answer["message"]["seq"].as_u64().or(answer["seq"].as_u64())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
