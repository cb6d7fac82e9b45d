//! The system of a run with all that is put around it so that it can fail: networks, a small disk, a clock.

use testkit::{System, SystemOptions, free_port, proxy::Proxy, push::PushService};

use crate::{
    clock::Clock,
    fault::Fault,
    load::plan::{GATEWAYS, INSTANCES},
    run::Options,
};

/// Room of a store that can be filled, bytes: enough for a run besides.
pub const ROOM: u64 = 64 * 1024 * 1024;

pub struct Site {
    pub system: System,
    /// One proxy in front of each gateway, where some of the devices connect.
    pub doors: Vec<Proxy>,
    /// With a fault that needs it.
    pub clock: Option<Clock>,
    /// Where who is away has their pushes from, unless clocks may be wrong.
    pub pushes: Option<PushService>,
}

impl Site {
    /// Starts a system in which the faults of these options can happen.
    pub async fn start(options: &Options) -> Self {
        let Options { faults, nodes, built, .. } = options;
        let needs = |need: fn(&Fault) -> bool| faults.iter().any(|fault| need(fault));
        let clock = needs(Fault::needs_clock).then(|| Clock::new().expect("a clock"));
        let mut options = SystemOptions {
            gateways: GATEWAYS,
            users: INSTANCES,
            chats: INSTANCES,
            mails: INSTANCES,
            own_mongo: true,
            network_to_mongo: needs(Fault::needs_network_to_mongo),
            network_to_nats: needs(Fault::needs_network_to_nats),
            room: needs(Fault::needs_small_store).then_some(ROOM),
            nodes: *nodes,
            built: built.clone(),
            ..SystemOptions::default()
        }
        // A long run is longer than a token lives.
        .with("NATTER_AUTH__ACCESS_TOKEN_SECONDS", "86400");
        // A letter comes when its hour has come, and a push is signed with the time: clocks that are wrong leave no truth to
        // hold them against.
        let pushes = if clock.is_none() { Some(PushService::start().await) } else { None };
        if let Some(pushes) = &pushes {
            // The letter about what is unread comes within a run.
            options = options.with("NATTER_DIGEST__AFTER", "3s");
            options.env.extend(pushes.env());
        }
        options.env.extend(clock.iter().flat_map(Clock::env));
        let system = System::start(options).await;
        let mut doors = Vec::new();
        for index in 0..GATEWAYS {
            let url = system.gateway(index).url();
            let port = url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a gateway's URL has a port");
            doors.push(Proxy::start(free_port::address(port)).await.expect("a proxy"));
        }
        Self { system, doors, clock, pushes }
    }
}
