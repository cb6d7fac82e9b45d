//! Keeps the history of a run while it happens.

use std::{
    sync::{Mutex, MutexGuard},
    time::Instant,
};

use serde_json::Value;

use crate::history::{At, Heard, History, Op, Outcome, Said, What, print};

/// What has happened since it was made.
pub struct Recorder {
    started: Instant,
    history: Mutex<History>,
    /// Whether each step is told while it happens.
    verbose: bool,
}

impl Recorder {
    pub fn new(verbose: bool) -> Self {
        Self { started: Instant::now(), history: Mutex::default(), verbose }
    }

    pub fn now(&self) -> At {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap()
    }

    /// Tells what is of interest to whoever looks on.
    pub fn tell(&self, line: &str) {
        eprintln!("{:8.3} {line}", self.started.elapsed().as_secs_f64());
    }

    /// Tells a detail.
    pub fn detail(&self, line: &str) {
        if self.verbose {
            self.tell(line);
        }
    }

    /// Something was done to the system.
    pub fn fault(&self, what: String) {
        self.tell(&what);
        let at = self.now();
        self.history().faults.push((at, what));
    }

    /// Somebody asked for something, when `invoked` was now, and it ended now.
    pub fn op(&self, invoked: At, device: &str, user: &str, chat: &str, what: What, outcome: Outcome) {
        let (device, user, chat) = (device.to_owned(), user.to_owned(), chat.to_owned());
        let op = Op { invoked, answered: self.now(), device, user, chat, what, outcome };
        self.history().ops.push(op);
    }

    /// A device's socket said something.
    pub fn hear(&self, device: &str, event: &str, args: &[Value]) {
        if let Some(said) = said(event, args) {
            let heard = Heard { at: self.now(), device: device.to_owned(), said };
            self.history().heard.push(heard);
        }
    }
}

/// What an event of the socket promises; `None` where it promises nothing.
fn said(event: &str, args: &[Value]) -> Option<Said> {
    let data = args.first().unwrap_or(&Value::Null);
    let text = |name: &str| data[name].as_str().map(str::to_owned);
    match (event, args) {
        ("disconnect", _) => Some(Said::Disconnected),
        ("chat:joined", _) => Some(Said::Joined { chat: text("id")?, cursor: data["cursor"].as_u64()? }),
        ("chat:left", _) => Some(Said::Left { chat: text("chatId")? }),
        ("message:read" | "message:delivered", _) => Some(Said::Receipt {
            chat: text("chatId")?,
            user: text("userId")?,
            seq: data["seq"].as_u64()?,
            seen: event == "message:read",
        }),
        (_, [_, at]) => Some(Said::Logged {
            chat: text("chatId")?,
            cursor: at["cursor"].as_u64()?,
            prev: at["prev"].as_u64()?,
            event: event.to_owned(),
            print: print(data),
        }),
        _ => None,
    }
}
