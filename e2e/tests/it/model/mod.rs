//! A random history over everything that may fail: people write, read, come and go while gateways, instances, NATS and
//! connections die. At quiet points every device, which has only heard events and caught up as `docs/frontend.md` says,
//! shows what a fresh fetch shows; and what was acknowledged is there, once.
//!
//! `NATTER_MODEL_SEED` replays the plan of a run, `NATTER_MODEL_ROUNDS` makes it longer.

mod act;
mod chat;
mod device;
pub mod picture;
mod plan;
mod random;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, mem,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use serde_json::{Value, json};
use testkit::{
    Session, System, SystemOptions,
    rest::Rest,
    socketio::{Client, Driver},
    until,
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use self::{
    act::World,
    device::Device,
    plan::{Beat, CHAT_INSTANCES, DEVICES, Fault, GATEWAYS, PEOPLE, Planner},
    random::Random,
};

/// Whether receipts, unread counts, typing and presence are served; until then they are neither used nor compared.
const LIVE: bool = true;

const ROUNDS: usize = 2;
const BEATS: usize = 100;
/// What a beat waits for answers.
const PATIENCE: Duration = Duration::from_millis(300);
/// From the quiet point until everybody shows the same. Typing ends by itself, and a dead gateway's people are known to
/// be gone, within this time.
const QUIET: Duration = Duration::from_secs(25);
/// What takes longer than this is told in the journal.
const SLOW: Duration = Duration::from_secs(2);
const NAMES: [&str; PEOPLE] = ["anna", "ben", "carl", "dora", "emil", "fritz"];

#[tokio::test]
async fn a_random_history_leaves_everybody_with_the_same_picture() {
    let seed = number("NATTER_MODEL_SEED").unwrap_or_else(Random::any_seed);
    let rounds = number("NATTER_MODEL_ROUNDS").map_or(ROUNDS, |rounds| usize::try_from(rounds).unwrap());
    // Shown when it fails.
    eprintln!(
        "replay: NATTER_MODEL_SEED={seed} NATTER_MODEL_ROUNDS={rounds} cargo test --workspace --test it -- model"
    );
    let mut run = Run::start(seed).await;
    run.play(Planner::beginning).await;
    for round in 1..=rounds {
        let started = Instant::now();
        run.play(|planner| planner.round(BEATS)).await;
        let played = started.elapsed();
        run.assert_quiet().await;
        eprintln!(
            "round {round}: played in {played:.1?}, quiet after {:.1?}: {}",
            started.elapsed(),
            run.world.counts()
        );
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().unwrap())
}

struct Run {
    system: System,
    world: Arc<World>,
    planner: Planner,
    /// The first person has one more device: the client that frontends are shown.
    example: Client,
}

impl Run {
    async fn start(seed: u64) -> Self {
        let options = SystemOptions { gateways: GATEWAYS, chats: CHAT_INSTANCES, ..SystemOptions::default() }
            // A long run is longer than a token lives.
            .with("NATTER_AUTH__ACCESS_TOKEN_SECONDS", "86400");
        let (system, driver) = (System::start(options).await, Driver::start().await);
        let people: Vec<Session> =
            join_all(NAMES.iter().map(async |name| system.sign_up(&format!("{name}@example.org")).await)).await;
        let everybody: BTreeSet<String> = people.iter().map(|session| session.user_id.clone()).collect();
        let mut devices = Vec::new();
        for (index, person) in DEVICES.iter().enumerate() {
            let name = format!("{}-{index}", NAMES[*person]);
            devices.push(Device::new(name, people[*person].clone(), driver.clone(), everybody.clone()));
        }
        let world = Arc::new(World::new(&system, GATEWAYS, devices));
        for (index, device) in world.devices.iter().enumerate() {
            device.come(&world.gateways[index % GATEWAYS]).await;
        }
        let example = driver.open_example(&world.gateways[1], &people[0].user_id, &people[0].access_token);
        if LIVE {
            example.wait("connect", |_| true, QUIET).await;
            example.call("watch", json!([everybody])).await;
        }
        let run = Self { system, world, planner: Planner::new(seed), example };
        run.assert_connected().await;
        run
    }

    /// Plays some beats to their end. A beat does not wait long for answers, so that others go on while somebody waits.
    async fn play(&mut self, plan: impl FnOnce(&mut Planner) -> Vec<Beat>) {
        let mut acts = JoinSet::new();
        for beat in plan(&mut self.planner) {
            for step in beat.steps {
                let world = self.world.clone();
                acts.spawn(async move { world.act(&step).await });
            }
            if let Some(fault) = beat.fault {
                self.world.say(&format!("      {fault:?}"));
                happen(&mut self.system, fault).await;
            }
            let all = async { while acts.join_next().await.is_some_and(|act| act.is_ok()) {} };
            let _ = timeout(PATIENCE, all).await;
            sleep(beat.pause).await;
        }
        acts.join_all().await;
    }

    /// Everybody is connected, has caught up and shows what a fresh fetch shows; what was acknowledged is there, once.
    async fn assert_quiet(&self) {
        self.assert_connected().await;
        let answered = until("everything is answered", QUIET, async || self.world.insist().await.then_some(())).await;
        answered.unwrap();
        let mut pictures = Vec::new();
        for device in &self.world.devices {
            let view = async || Some(picture::of(&device.view()));
            pictures.push(self.assert_same(&device.name, &device.session, view).await);
        }
        let session = &self.world.devices[0].session;
        self.assert_same("the example client", session, async || Some(self.example.view().await)).await;
        self.assert_sent(&pictures);
        let wrong = self.world.devices.iter().flat_map(|device| {
            let wrong = device.view().wrong.clone();
            wrong.into_iter().map(|wrong| format!("{}: {wrong}", device.name))
        });
        let wrong: Vec<String> = wrong.chain(self.world.wrong.lock().unwrap().clone()).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    async fn assert_connected(&self) {
        for device in &self.world.devices {
            let connected = until(&device.name, QUIET, async || device.connected().then_some(())).await;
            connected.expect("everybody is connected");
        }
    }

    /// Waits until a view is what a fetch says, which is returned.
    async fn assert_same(&self, name: &str, who: &Session, view: impl AsyncFn() -> Option<Value>) -> Value {
        let rest = Rest::new(&self.world.gateways[0]).with_token(&who.access_token);
        let (started, mut latest, mut before) = (Instant::now(), Vec::new(), Vec::new());
        let same = until(name, QUIET, async || {
            let watched: Vec<String> = view().await?["presence"].as_object()?.keys().cloned().collect();
            let mut fresh = picture::fresh(&rest, &who.user_id, &watched).await?;
            let whole = fresh.clone();
            let view = view().await?;
            picture::only_loaded(&mut fresh, &view);
            before = mem::replace(&mut latest, picture::differences(view, fresh));
            (latest.is_empty() && picture::nobody_types(&whole)).then_some(whole)
        })
        .await;
        if started.elapsed() > SLOW {
            self.world.say(&format!(
                "{name} was last to show, after {:.1?}:\n  {}",
                started.elapsed(),
                before.join("\n  ")
            ));
        }
        same.unwrap_or_else(|late| panic!("{late}: it does not show what a fetch says\n  {}", latest.join("\n  ")))
    }

    /// Acknowledged messages are there once, others at most once.
    fn assert_sent(&self, pictures: &[Value]) {
        let mut found: BTreeMap<(&str, &str, &str), Vec<u64>> = BTreeMap::new();
        let mut chats: BTreeMap<&str, &Value> = BTreeMap::new();
        for (id, chat) in pictures.iter().flat_map(|picture| picture["chats"].as_object().unwrap()) {
            chats.insert(id, chat);
        }
        for (id, chat) in &chats {
            for message in chat["messages"].as_object().unwrap().values().filter(|message| message["kind"] == "user") {
                let text = |name: &str| message[name].as_str().unwrap();
                let seqs = found.entry((*id, text("senderId"), text("clientId"))).or_default();
                seqs.push(message["seq"].as_u64().unwrap());
            }
        }
        // Of a chat that everybody has left, or that was deleted, nobody can tell.
        for sent in self.world.sent().iter().filter(|sent| chats.contains_key(sent.chat.as_str())) {
            let sender = self.world.devices[sent.device].session.user_id.as_str();
            let seqs = found.get(&(sent.chat.as_str(), sender, sent.client_id.as_str()));
            match (sent.seq, seqs.map_or(&[][..], Vec::as_slice)) {
                (Some(seq), found) => assert_eq!(found, [seq], "{sent:?} was acknowledged"),
                (None, found) => assert!(found.len() <= 1, "{sent:?} is there as {found:?}"),
            }
        }
    }
}

async fn happen(system: &mut System, fault: Fault) {
    match fault {
        Fault::Kill(name, index) => system.instance(name, index).kill().await,
        Fault::StartAgain(name, index) => system.start_again(name, index).await,
        Fault::RestartNats => {
            system.nats.kill().await;
            system.nats.start_again().await;
        }
    }
}
