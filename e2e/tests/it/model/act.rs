//! People acting: a step of the plan becomes an event or a request, and what came of it is remembered.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Instant,
};

use serde_json::{Value, json};
use testkit::System;

use super::{
    device::{Device, Outcome},
    plan::{DEVICES, Op, Step, StepId},
};

/// Everybody, and what they have done.
pub struct World {
    pub devices: Vec<Arc<Device>>,
    started: Instant,
    /// Where each gateway is.
    pub gateways: Vec<String>,
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
    /// Its number, if it was acknowledged.
    pub seq: Option<u64>,
    /// To be sent again until there is an answer.
    pub insist: bool,
}

impl World {
    pub fn new(system: &System, gateways: usize, devices: Vec<Arc<Device>>) -> Self {
        Self {
            devices,
            started: Instant::now(),
            gateways: (0..gateways).map(|index| system.gateway(index).url()).collect(),
            chats: Mutex::default(),
            sent: Mutex::default(),
            wrong: Mutex::default(),
            counts: Mutex::default(),
        }
    }

    /// A line of the journal, which is shown when the test fails.
    pub fn say(&self, line: &str) {
        eprintln!("{:8.3} {line}", self.started.elapsed().as_secs_f64());
    }

    pub fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().values().cloned().collect()
    }

    /// How often what ended how.
    pub fn counts(&self) -> String {
        let counts = self.counts.lock().unwrap();
        counts.iter().map(|(what, count)| format!("{what} {count}")).collect::<Vec<_>>().join(", ")
    }

    pub async fn act(&self, step: &Step) {
        let _turn = self.devices[step.device].turn.lock().await;
        let outcome = self.carry_out(step).await;
        let how = match &outcome {
            Outcome::Done(_) => "done",
            Outcome::Refused(code) => code,
            Outcome::Unknown => "unknown",
            Outcome::Skipped => "skipped",
        };
        self.say(&format!("{:>5} {} {:?}: {how}", step.id, self.devices[step.device].name, step.op));
        *self.counts.lock().unwrap().entry(how.to_owned()).or_default() += 1;
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
        if let Op::Send { chat, insist, .. } = &step.op
            && let Some(chat) = self.chat(*chat)
        {
            let seq = seq_of(outcome);
            // Other refusals are answers.
            let insist =
                *insist && seq.is_none() && !matches!(outcome, Outcome::Refused(code) if code != "unavailable");
            let sent = Sent { device: step.device, chat, client_id: client_id(step.id), seq, insist };
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
            let outcome = self.devices[sent.device].ask("message:send", message(&sent.chat, id)).await;
            let mut all = self.sent.lock().unwrap();
            let sent = all.get_mut(&id).unwrap();
            sent.seq = seq_of(&outcome);
            sent.insist = sent.seq.is_none() && !matches!(&outcome, Outcome::Refused(code) if code != "unavailable");
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
            Op::ComeBack { gateway } => device.come(&self.gateways[*gateway]).await,
            Op::SetStatus(status) => return device.ask("presence:set", json!({ "status": status })).await,
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
                let message = message(&chat, step.id);
                if *rest {
                    return device.call("POST", "/api/messages", Some(message)).await;
                }
                if !device.connected() {
                    // As applications do: it goes out when the connection is there.
                    device.emit("message:send", message);
                    return Outcome::Unknown;
                }
                return device.ask("message:send", message).await;
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
            Op::Mark { event, .. } => return device.ask(event, payload).await,
            other => unreachable!("{other:?} changes no message"),
        };
        if rest { device.call(method, &path, Some(payload)).await } else { device.ask(event, payload).await }
    }
}

fn client_id(step: StepId) -> String {
    format!("step-{step}")
}

fn message(chat: &str, step: StepId) -> Value {
    json!({ "chatId": chat, "clientId": client_id(step), "text": format!("text {step}") })
}

/// The number of an acknowledged message, from an ack or from the message itself.
fn seq_of(outcome: &Outcome) -> Option<u64> {
    let Outcome::Done(answer) = outcome else { return None };
    answer["message"]["seq"].as_u64().or(answer["seq"].as_u64())
}
