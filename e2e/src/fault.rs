//! All that may go wrong with the system, by name: how it begins and how it ends.

use std::{fmt, time::Duration};

use testkit::System;

/// Something that goes wrong for a while.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    pub name: &'static str,
    /// What is done, and how it ends.
    pub what: &'static str,
    pub kind: Kind,
    /// The longest it lasts in a random sequence, in beats of 0.1 to 0.5 s.
    pub beats: usize,
}

/// How a fault is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// SIGKILL of one instance of this service; it is started again.
    Kill(&'static str),
    /// SIGTERM of one instance; it is started again.
    Restart(&'static str),
    /// SIGSTOP of one instance, then SIGCONT: it answers what it was asked, late.
    Pause(&'static str),
    NatsKill,
    NatsPause,
    MongoKill,
    MongoStop,
    MongoPause,
}

/// What needs two seconds to be noticed lasts longer than that at times: the gateway asks another instance then.
const LONG: usize = 16;
const SHORT: usize = 6;

static TABLE: &[Fault] = &[
    fault("gateway-kill", "kill -9 of a gateway", Kind::Kill("gateway"), SHORT),
    fault("chat-kill", "kill -9 of an instance of chat", Kind::Kill("chat"), SHORT),
    fault("user-kill", "kill -9 of user", Kind::Kill("user"), SHORT),
    fault("mail-kill", "kill -9 of mail", Kind::Kill("mail"), SHORT),
    fault("gateway-restart", "SIGTERM to a gateway, then a start", Kind::Restart("gateway"), 1),
    fault("chat-restart", "SIGTERM to an instance of chat, then a start", Kind::Restart("chat"), 1),
    fault("gateway-pause", "SIGSTOP of a gateway, then SIGCONT", Kind::Pause("gateway"), LONG),
    fault("chat-pause", "SIGSTOP of an instance of chat, which answers late", Kind::Pause("chat"), LONG),
    fault("user-pause", "SIGSTOP of user, then SIGCONT", Kind::Pause("user"), LONG),
    fault("mail-pause", "SIGSTOP of mail, then SIGCONT", Kind::Pause("mail"), LONG),
    fault("nats-kill", "kill -9 of nats-server", Kind::NatsKill, 2),
    fault("nats-pause", "SIGSTOP of nats-server, then SIGCONT", Kind::NatsPause, LONG),
    fault("mongo-kill", "kill -9 of MongoDB", Kind::MongoKill, LONG),
    fault("mongo-stop", "SIGTERM to MongoDB, then a start", Kind::MongoStop, LONG),
    fault("mongo-pause", "SIGSTOP of MongoDB, then SIGCONT", Kind::MongoPause, LONG),
];

const fn fault(name: &'static str, what: &'static str, kind: Kind, beats: usize) -> Fault {
    Fault { name, what, kind, beats }
}

/// Every fault.
pub fn all() -> &'static [Fault] {
    TABLE
}

/// The fault of this name.
pub fn named(name: &str) -> Option<&'static Fault> {
    TABLE.iter().find(|fault| fault.name == name)
}

/// The faults of these names.
///
/// # Panics
/// When there is none of a name.
pub fn all_named(names: &[&str]) -> Vec<&'static Fault> {
    names.iter().map(|name| named(name).unwrap_or_else(|| panic!("there is no fault `{name}`"))).collect()
}

/// A fault begins, or ends.
#[derive(Clone, Copy)]
pub struct Change {
    pub fault: &'static Fault,
    /// Chooses among what it may happen to.
    pub which: usize,
    pub begins: bool,
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.fault.name, self.which, if self.begins { "begins" } else { "ends" })
    }
}

impl Change {
    #[must_use]
    pub fn end(self) -> Self {
        Self { begins: false, ..self }
    }

    /// Lets it happen; returns when it has. What was killed is ready again when the end returns.
    pub async fn happen(self, system: &mut System) {
        match self.fault.kind {
            Kind::Kill(name) | Kind::Restart(name) | Kind::Pause(name) => self.to_service(name, system).await,
            Kind::NatsKill if self.begins => system.nats.kill().await,
            Kind::NatsKill => system.nats.start_again().await,
            Kind::NatsPause if self.begins => system.nats.pause(),
            Kind::NatsPause => system.nats.resume(),
            Kind::MongoKill if self.begins => system.mongo.kill().await,
            Kind::MongoStop if self.begins => system.mongo.stop().await,
            Kind::MongoKill | Kind::MongoStop => system.mongo.start_again().await,
            Kind::MongoPause if self.begins => system.mongo.pause(),
            Kind::MongoPause => system.mongo.resume(),
        }
    }

    async fn to_service(self, name: &str, system: &mut System) {
        let index = self.which % system.count(name);
        let instance = system.instance(name, index);
        match (self.fault.kind, self.begins) {
            (Kind::Pause(_), true) => instance.pause(),
            (Kind::Pause(_), false) => instance.resume(),
            (Kind::Kill(_), true) => instance.kill().await,
            (_, true) => {
                instance.stop(Duration::from_secs(15)).await;
            }
            (_, false) => system.start_again(name, index).await,
        }
    }
}
