//! All that may go wrong with the system, by name: how it begins and how it ends.

use std::{fmt, time::Duration};

use testkit::{Nats, System, proxy::Traffic};

use crate::site::Site;

mod store;

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
    /// What becomes of the traffic between one instance and NATS.
    Apart(&'static str, Traffic),
    NatsKill,
    NatsRestart,
    NatsPause,
    MongoKill,
    MongoStop,
    MongoPause,
    /// What goes to MongoDB and comes back takes longer by this.
    MongoSlow(Duration),
    /// The store of NATS takes nothing more.
    StoreFull,
    /// Of the way of some devices to their gateways.
    Doors(Traffic),
    /// The services' time of day jumps, back or ahead.
    Clock,
    /// SIGKILL of one node of the cluster.
    NodeKill,
    NodePause,
    /// What becomes of the traffic between one node and the others.
    NodeApart(Traffic),
    /// Each node is stopped and started, and the next when this one serves.
    NodesRolling,
    /// The same, but none waits for another.
    NodesRestart,
    /// SIGKILL of all nodes.
    NodesKill,
}

/// What needs two seconds to be noticed lasts longer than that at times: the gateway asks another instance then.
const LONG: usize = 16;
const SHORT: usize = 6;
/// Another node leads some seconds after one is gone.
const LONGER: usize = 40;
/// One way.
const SLOW: Duration = Duration::from_millis(200);
/// Seconds by which clocks are wrong.
const JUMPS: [i64; 4] = [60, -60, 3600, -3600];

static TABLE: &[Fault] = &[
    fault("gateway-kill", "kill -9 of a gateway", Kind::Kill("gateway"), SHORT),
    fault("chat-kill", "kill -9 of an instance of chat", Kind::Kill("chat"), SHORT),
    fault("user-kill", "kill -9 of user", Kind::Kill("user"), SHORT),
    fault("mail-kill", "kill -9 of mail", Kind::Kill("mail"), SHORT),
    fault("gateway-restart", "SIGTERM to a gateway, then a start", Kind::Restart("gateway"), 1),
    fault("chat-restart", "SIGTERM to an instance of chat, then a start", Kind::Restart("chat"), 1),
    fault("user-restart", "SIGTERM to user, then a start", Kind::Restart("user"), 1),
    fault("mail-restart", "SIGTERM to mail, then a start", Kind::Restart("mail"), 1),
    fault("gateway-pause", "SIGSTOP of a gateway, then SIGCONT", Kind::Pause("gateway"), LONG),
    fault("chat-pause", "SIGSTOP of an instance of chat, which answers late", Kind::Pause("chat"), LONG),
    fault("user-pause", "SIGSTOP of user, then SIGCONT", Kind::Pause("user"), LONG),
    fault("mail-pause", "SIGSTOP of mail, then SIGCONT", Kind::Pause("mail"), LONG),
    fault("gateway-cut", "the connection of a gateway to NATS breaks", Kind::Apart("gateway", Traffic::Cut), LONG),
    fault("gateway-deaf", "a gateway hears nothing of NATS", Kind::Apart("gateway", Traffic::Held), LONGER),
    fault("chat-cut", "the connection of an instance of chat breaks", Kind::Apart("chat", Traffic::Cut), LONG),
    fault("chat-deaf", "an instance of chat hears nothing of NATS", Kind::Apart("chat", Traffic::Held), LONGER),
    fault("user-cut", "the connection of user to NATS breaks", Kind::Apart("user", Traffic::Cut), LONG),
    fault("mail-cut", "the connection of mail to NATS breaks", Kind::Apart("mail", Traffic::Cut), LONG),
    fault("nats-kill", "kill -9 of nats-server", Kind::NatsKill, 2),
    fault("nats-restart", "SIGTERM to nats-server, then a start", Kind::NatsRestart, 2),
    fault("nats-pause", "SIGSTOP of nats-server, then SIGCONT", Kind::NatsPause, LONG),
    fault("mongo-kill", "kill -9 of MongoDB", Kind::MongoKill, LONG),
    fault("mongo-stop", "SIGTERM to MongoDB, then a start", Kind::MongoStop, LONG),
    fault("mongo-slow", "each answer of MongoDB takes 0.4 s longer", Kind::MongoSlow(SLOW), LONG),
    fault("store-full", "JetStream's store is full, then there is room again", Kind::StoreFull, LONG),
    fault("sockets-dead", "some devices' connections hang without a word", Kind::Doors(Traffic::Held), LONG),
    fault("sockets-cut", "some devices cannot reach their gateway", Kind::Doors(Traffic::Cut), SHORT),
    fault("clock", "the services' clocks jump by a minute, an hour, ahead or back", Kind::Clock, SHORT),
    fault("node-kill", "kill -9 of one of three nodes of NATS", Kind::NodeKill, LONG),
    fault("node-pause", "SIGSTOP of one of three nodes of NATS", Kind::NodePause, LONGER),
    fault(
        "node-partition",
        "one of three nodes of NATS hears nothing of the others",
        Kind::NodeApart(Traffic::Held),
        LONGER,
    ),
    fault(
        "node-cut",
        "the connections of one of three nodes to the others break",
        Kind::NodeApart(Traffic::Cut),
        LONGER,
    ),
    fault("nodes-rolling", "each node of NATS is restarted, one after the other", Kind::NodesRolling, 1),
    fault("nodes-restart", "all nodes of NATS are restarted, and none waits for another", Kind::NodesRestart, 1),
    fault("nodes-kill", "kill -9 of all nodes of NATS", Kind::NodesKill, 2),
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

impl Fault {
    /// Whether it can happen to this many nodes of NATS.
    pub fn fits(&self, nodes: usize) -> bool {
        match self.kind {
            Kind::NodeKill
            | Kind::NodePause
            | Kind::NodeApart(_)
            | Kind::NodesRolling
            | Kind::NodesRestart
            | Kind::NodesKill => nodes > 1,
            Kind::NatsKill | Kind::NatsRestart | Kind::NatsPause | Kind::StoreFull | Kind::Apart(..) => nodes == 1,
            _ => true,
        }
    }

    /// Whether both may be there at a time: they are about different parts, and what has to be started again finds what it
    /// needs to be ready.
    pub fn goes_with(&self, other: &Self) -> bool {
        let finds_all =
            |one: &Self, other: &Self| !one.starts_a_service() || !["nats", "mongo", "user"].contains(&other.part());
        self.part() != other.part() && finds_all(self, other) && finds_all(other, self)
    }

    fn part(&self) -> &'static str {
        match self.kind {
            Kind::Kill(service) | Kind::Restart(service) | Kind::Pause(service) | Kind::Apart(service, _) => service,
            Kind::MongoKill | Kind::MongoStop | Kind::MongoPause | Kind::MongoSlow(_) => "mongo",
            Kind::Doors(_) => "doors",
            Kind::Clock => "clock",
            Kind::NatsKill
            | Kind::NatsRestart
            | Kind::NatsPause
            | Kind::StoreFull
            | Kind::NodeKill
            | Kind::NodePause
            | Kind::NodeApart(_)
            | Kind::NodesRolling
            | Kind::NodesRestart
            | Kind::NodesKill => "nats",
        }
    }

    fn starts_a_service(&self) -> bool {
        matches!(self.kind, Kind::Kill(_) | Kind::Restart(_))
    }

    pub fn needs_clock(&self) -> bool {
        self.kind == Kind::Clock
    }

    pub fn needs_network_to_nats(&self) -> bool {
        matches!(self.kind, Kind::Apart(..))
    }

    pub fn needs_network_to_mongo(&self) -> bool {
        matches!(self.kind, Kind::MongoSlow(_))
    }

    pub fn needs_small_store(&self) -> bool {
        self.kind == Kind::StoreFull
    }
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
    pub async fn happen(self, site: &mut Site) {
        let system = &mut site.system;
        match self.fault.kind {
            Kind::Kill(name) | Kind::Restart(name) | Kind::Pause(name) => self.to_service(name, system).await,
            Kind::Apart(name, traffic) => {
                let instance = system.instance(name, self.which % system.count(name));
                instance.to_nats().set(if self.begins { traffic } else { Traffic::Flows });
            }
            Kind::NatsKill if self.begins => system.nats.kill().await,
            Kind::NatsRestart if self.begins => system.nats.stop().await,
            Kind::NatsKill | Kind::NatsRestart => system.nats.start_again().await,
            Kind::NatsPause if self.begins => system.nats.pause(),
            Kind::NatsPause => system.nats.resume(),
            Kind::MongoKill if self.begins => system.mongo.kill().await,
            Kind::MongoStop if self.begins => system.mongo.stop().await,
            Kind::MongoKill | Kind::MongoStop => system.mongo.start_again().await,
            Kind::MongoPause if self.begins => system.mongo.pause(),
            Kind::MongoPause => system.mongo.resume(),
            Kind::MongoSlow(by) => {
                let network = system.to_mongo.as_ref().expect("a network to MongoDB");
                network.set(if self.begins { Traffic::Delayed(by) } else { Traffic::Flows });
            }
            Kind::StoreFull if self.begins => store::fill(&system.nats).await,
            Kind::StoreFull => store::make_room(&system.nats).await,
            Kind::Doors(traffic) => {
                let traffic = if self.begins { traffic } else { Traffic::Flows };
                site.doors.iter().for_each(|door| door.set(traffic));
            }
            Kind::Clock => {
                let shift = if self.begins { JUMPS[self.which % JUMPS.len()] } else { 0 };
                site.clock.as_ref().expect("a clock").shift(shift).expect("a clock that can be set");
            }
            Kind::NodeKill
            | Kind::NodePause
            | Kind::NodeApart(_)
            | Kind::NodesRolling
            | Kind::NodesRestart
            | Kind::NodesKill => {
                self.to_nodes(system).await;
            }
        }
    }

    async fn to_nodes(self, system: &mut System) {
        let count = system.nodes().count();
        let one = self.which % count;
        match (self.fault.kind, self.begins) {
            (Kind::NodeKill, true) => system.node_mut(one).kill().await,
            (Kind::NodeKill, false) => system.node_mut(one).start_again().await,
            (Kind::NodePause, true) => system.node_mut(one).pause(),
            (Kind::NodePause, false) => system.node_mut(one).resume(),
            (Kind::NodeApart(traffic), begins) => {
                let traffic = if begins { traffic } else { Traffic::Flows };
                system.network.as_ref().expect("a network between nodes").set(one, traffic);
            }
            (Kind::NodesRolling, true) => {
                for index in 0..count {
                    system.node_mut(index).stop().await;
                    system.node_mut(index).start_again().await;
                    system.node_mut(index).wait_until_healthy().await;
                }
            }
            (Kind::NodesRolling | Kind::NodesRestart, false) => {}
            (Kind::NodesKill, true) => {
                for index in 0..count {
                    system.node_mut(index).kill().await;
                }
            }
            (_, _) => {
                for index in 0..count {
                    system.node_mut(index).start_again().await;
                }
            }
        }
        if !self.begins {
            for node in system.nodes() {
                Nats::wait_until_healthy(node).await;
            }
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
                assert!(instance.stop(Duration::from_secs(15)).await, "{name} does not stop in order");
            }
            (_, false) => system.start_again(name, index).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_go_together_if_each_can_end() {
        let together = |one, other| named(one).unwrap().goes_with(named(other).unwrap());
        for (one, other) in [("chat-pause", "mongo-kill"), ("gateway-kill", "chat-kill"), ("node-kill", "clock")] {
            assert!(together(one, other) && together(other, one), "{one} {other}");
        }
        for (one, other) in
            [("chat-pause", "chat-kill"), ("gateway-kill", "user-pause"), ("chat-restart", "nats-pause")]
        {
            assert!(!together(one, other) && !together(other, one), "{one} {other}");
        }
    }
}
