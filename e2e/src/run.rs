//! One run: a system, people who use it while faults come and go, and at quiet points the check of what became of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use contract::storage::NOTIFY_CONSUMER;
use futures::future::join_all;
use serde_json::{Value, json};
use testkit::{
    Session,
    push::PushService,
    rest::Rest,
    services::Build,
    socketio::{Client, Driver},
    until,
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    check::{Violation, check, is_absent_told, is_notified},
    client::{device::Device, picture},
    fault::{Change, Fault},
    history::{self, Entry, History, Notified, Place, Shown},
    load::{
        absent::Absent,
        plan::{Beat, DEVICES, GATEWAYS, PEOPLE, Planner},
        world::World,
        writers::Writers,
    },
    observe,
    random::Random,
    recorder::Recorder,
    report::report,
    site::Site,
};

/// What a beat waits for answers.
const PATIENCE: Duration = Duration::from_millis(300);
/// From the quiet point until everybody shows the same. Typing ends by itself, and a dead gateway's people are known to
/// be gone, within this time.
const QUIET: Duration = Duration::from_secs(25);
/// Until MongoDB has what the log has: what a killed instance had in hand comes to another one after a minute.
const ARCHIVED: Duration = Duration::from_secs(90);
/// Until everybody is told of what they have not seen: what an instance of mail had in hand when it was killed comes to
/// another one after 15 seconds.
const NOTIFIED: Duration = Duration::from_mins(1);
/// Until who is away is told: what an instance had in hand of a push when it was killed comes to another one after 40 seconds.
const TOLD: Duration = Duration::from_mins(1);
/// What is wrong for longer than this after the quiet point is wrong.
const SETTLED: Duration = Duration::from_secs(6);
/// What takes longer than this is told in the journal.
const SLOW: Duration = Duration::from_secs(2);
const NAMES: [&str; PEOPLE] = ["anna", "ben", "carl", "dora", "emil", "fritz"];

/// How a run is.
#[derive(Debug, Clone)]
pub struct Options {
    /// Of the plan: who does what, and what goes wrong when.
    pub seed: u64,
    /// What may go wrong.
    pub faults: Vec<&'static Fault>,
    /// Of NATS: one, or a cluster of three.
    pub nodes: usize,
    /// Devices that write one message after the other.
    pub writers: usize,
    /// Whether each step is told.
    pub verbose: bool,
    /// Other programs than those of this workspace.
    pub built: Option<Build>,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 1, faults: Vec::new(), nodes: 1, writers: 4, verbose: false, built: None }
    }
}

/// A run under way.
pub struct Run {
    pub site: Site,
    pub world: Arc<World>,
    options: Options,
    planner: Planner,
    random: Random,
    /// The first person has one more device: the client that frontends are shown.
    example: Client,
    /// Comes and goes whenever something goes wrong or is right again, and is away at the quiet points.
    visitor: Arc<Device>,
    visits: usize,
    rounds: usize,
    /// Is in a chat and never there: what pushes and letters tell them is checked.
    absent: Option<Absent>,
}

impl Run {
    /// Starts the system and connects everybody.
    pub async fn start(options: Options) -> Self {
        let site = Site::start(&options).await;
        let (system, driver) = (&site.system, Driver::start().await);
        let recorder = Arc::new(Recorder::new(options.verbose));
        let people: Vec<Session> =
            join_all(NAMES.iter().map(async |name| system.sign_up(&format!("{name}@example.org")).await)).await;
        let visitor = system.sign_up("visitor@example.org").await;
        let absent = if let Some(pushes) = &site.pushes { Some(Absent::sign_up(system, pushes).await) } else { None };
        let everybody: BTreeSet<String> =
            people.iter().chain([&visitor]).map(|session| session.user_id.clone()).collect();
        let mut devices = Vec::new();
        for (index, person) in DEVICES.iter().enumerate() {
            let (name, session) = (format!("{}-{index}", NAMES[*person]), people[*person].clone());
            devices.push(Device::new(name, session, driver.clone(), everybody.clone(), recorder.clone()));
        }
        let visitor = Device::new("visitor".to_owned(), visitor, driver.clone(), BTreeSet::default(), recorder.clone());
        let world = Arc::new(World::new(&site, devices, recorder));
        for (index, device) in world.devices.iter().enumerate() {
            device.come(world.door(index, index % GATEWAYS)).await;
        }
        let example = driver.open_example(&world.gateways[1], &people[0].user_id, &people[0].access_token);
        example.wait("connect", |_| true, QUIET).await;
        example.call("watch", json!([everybody])).await;
        let planner = Planner::new(options.seed, options.faults.clone());
        let random = Random::new(options.seed ^ 0x5eed);
        let mut run = Self { site, world, options, planner, random, example, visitor, visits: 0, rounds: 0, absent };
        run.assert_connected().await;
        run.world.begin(run.absent.as_ref().map(|absent| &*absent.session.user_id)).await;
        let beginning = run.planner.beginning();
        run.play(beginning).await;
        run
    }

    /// A round of everything that people do, in a random sequence of faults, while writers write.
    pub async fn round(&mut self, beats: usize) {
        let writers = self.begin().await;
        let plan = self.planner.round(beats);
        self.play(plan).await;
        self.finish(writers).await;
    }

    /// One fault for `lasting`, alone, while writers write.
    pub async fn under(&mut self, fault: &'static Fault, which: usize, lasting: Duration) {
        let writers = self.begin().await;
        let change = Change { fault, which, begins: true };
        // The time itself is what is asked for: before, so that there is something to lose, and after.
        sleep(Duration::from_millis(500)).await;
        self.change(change).await;
        sleep(lasting).await;
        self.change(change.end()).await;
        sleep(Duration::from_millis(500)).await;
        self.finish(writers).await;
    }

    /// Nothing goes wrong for `lasting`, while writers write.
    pub async fn calm(&mut self, lasting: Duration) {
        let writers = self.begin().await;
        sleep(lasting).await;
        self.finish(writers).await;
    }

    async fn begin(&mut self) -> Writers {
        self.rounds += 1;
        self.visit().await;
        Writers::start(&self.world, &format!("r{}", self.rounds), self.options.writers, &mut self.random)
    }

    async fn finish(&self, writers: Writers) {
        let finished = timeout(QUIET * 2, writers.finish()).await;
        assert!(finished.is_ok(), "nothing is wrong any more, and sends are not answered within {:?}", QUIET * 2);
        self.visitor.go().await;
    }

    async fn visit(&mut self) {
        self.visits += 1;
        self.visitor.come(&self.world.gateways[self.visits % GATEWAYS]).await;
    }

    async fn change(&mut self, change: Change) {
        self.world.recorder.fault(format!("{change:?}"));
        change.happen(&mut self.site).await;
        self.world.recorder.detail(&format!("{change:?}: done"));
        if change.begins {
            self.visitor.go().await;
        } else {
            self.visit().await;
        }
    }

    /// Plays some beats to their end. A beat does not wait long for answers, so that others go on while somebody waits.
    async fn play(&mut self, beats: Vec<Beat>) {
        let mut acts = JoinSet::new();
        for beat in beats {
            for step in beat.steps {
                let world = self.world.clone();
                acts.spawn(async move { world.act(&step).await });
            }
            if let Some(change) = beat.fault {
                self.change(change).await;
            }
            let all = async { while acts.join_next().await.is_some_and(|act| act.is_ok()) {} };
            let _ = timeout(PATIENCE, all).await;
            sleep(beat.pause).await;
        }
        acts.join_all().await;
    }

    /// Waits until all is quiet, and checks everything from the beginning.
    ///
    /// # Panics
    /// When it does not become quiet: somebody stays unconnected, or is not answered.
    pub async fn check(&self) -> (History, Vec<Violation>) {
        self.assert_connected().await;
        let answered = until("everything is answered", QUIET, async || self.world.insist().await.then_some(())).await;
        answered.expect("all that insists is answered");
        self.wait_for_archive().await;
        self.wait_for_notifications().await;
        self.wait_for_absent().await;
        self.wait_for_departure().await;
        let since = Instant::now();
        loop {
            let history = self.observe().await;
            let violations = check(&history);
            // Clients still say what they got while we look; what is wrong stays wrong.
            if violations.is_empty() || since.elapsed() > SETTLED {
                return (history, violations);
            }
        }
    }

    /// The history with what there is now.
    async fn observe(&self) -> History {
        let devices = join_all(self.world.devices.iter().map(async |device| {
            let view = async || Some(picture::of(&device.view()));
            self.wait_for_same(&device.name, &device.session, view).await
        }));
        let session = &self.world.devices[0].session;
        let example = self.wait_for_same("example", session, async || Some(self.example.view().await));
        let (devices, example) = tokio::join!(devices, example);
        let shown = devices.into_iter().flatten().chain(example).collect();
        let inspector = self.site.system.nats.connect("inspector").await;
        let mut history = self.world.recorder.history().clone();
        let log = until("the log to be readable", QUIET, async || observe::log(&inspector).await.ok()).await;
        history.log = log.expect("a log");
        history.reads = observe::reads(&inspector).await.expect("the bucket READS");
        let notified = until("notifications", QUIET, async || self.notified().await).await;
        history.notified = notified.expect("notifications");
        history.absent = self.absent();
        history.archive = observe::archive(&self.site.system.mongo.connect().await).await.expect("the archive");
        history.online = self.world.online();
        history.online.push((self.visitor.session.user_id.clone(), false));
        let logs = (0..GATEWAYS).map(|index| self.site.system.gateway(index).log());
        history.unfilled = logs.flat_map(|log| observe::unfilled(&log)).collect();
        history.shown = shown;
        history
    }

    /// The same, for a test.
    ///
    /// # Panics
    /// When something is wrong, with the shortest history that shows it.
    pub async fn assert_right(&self) {
        let (history, violations) = self.check().await;
        assert!(violations.is_empty(), "{}", report(&history, &violations));
        let wrong = self.world.wrong.lock().unwrap().clone();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        self.world.recorder.tell(&format!("right so far: {} events; {}", history.log.len(), self.world.counts()));
    }

    async fn assert_connected(&self) {
        for device in &self.world.devices {
            let connected = until(&device.name, QUIET, async || device.connected().then_some(())).await;
            connected.expect("everybody is connected");
        }
    }

    /// Gives MongoDB the time it may take; what it lacks then is for the checker.
    async fn wait_for_archive(&self) {
        let (started, database) = (Instant::now(), self.site.system.mongo.connect().await);
        let inspector = self.site.system.nats.connect("inspector").await;
        let caught_up = until("the archive", ARCHIVED, async || {
            let log = observe::log(&inspector).await.ok()?;
            let messages = log.iter().filter_map(Entry::message);
            let places: BTreeSet<(String, u64)> = messages.map(|message| (message.chat, message.seq)).collect();
            (observe::count_archived(&database).await.ok()? >= places.len() as u64).then_some(())
        });
        if caught_up.await.is_err() || started.elapsed() > SLOW {
            self.world.recorder.tell(&format!("the archive took {:.1?}", started.elapsed()));
        }
    }

    /// Gives notifications the time they may take; what they lack then is for the checker.
    async fn wait_for_notifications(&self) {
        let started = Instant::now();
        let inspector = self.site.system.nats.connect("inspector").await;
        let all = until("notifications", NOTIFIED, async || {
            let (log, reads) = (observe::log(&inspector).await.ok()?, observe::reads(&inspector).await.ok()?);
            let history = History { log, reads, notified: self.notified().await?, ..History::default() };
            is_notified(&history).then_some(())
        });
        if all.await.is_err() || started.elapsed() > SLOW {
            let stands =
                observe::consumers(&inspector, NOTIFY_CONSUMER).await.unwrap_or_else(|error| error.to_string());
            self.world.recorder.tell(&format!("notifications took {:.1?}; {stands}", started.elapsed()));
        }
    }

    /// What has reached who is away.
    fn absent(&self) -> Option<history::Absent> {
        Some(self.absent.as_ref()?.observe(&self.site.system, self.site.pushes.as_ref()?))
    }

    /// Gives pushes and letters the time they may take; what they lack then is for the checker.
    async fn wait_for_absent(&self) {
        if self.absent.is_none() {
            return;
        }
        let started = Instant::now();
        let inspector = self.site.system.nats.connect("inspector").await;
        let told = until("who is away to be told", TOLD, async || {
            let (log, reads) = (observe::log(&inspector).await.ok()?, observe::reads(&inspector).await.ok()?);
            let history = History { log, reads, absent: self.absent(), ..History::default() };
            is_absent_told(&history).then_some(())
        });
        if told.await.is_err() || started.elapsed() > SLOW {
            let objections = self.site.pushes.as_ref().map(PushService::objections);
            self.world.recorder.tell(&format!("who is away was told after {:.1?}; {objections:?}", started.elapsed()));
        }
    }

    /// Everybody's unread notifications.
    async fn notified(&self) -> Option<Vec<Notified>> {
        let sessions = self.world.devices.iter().map(|device| &device.session);
        let sessions = sessions.chain(self.absent.as_ref().map(|absent| &absent.session));
        let people: BTreeMap<&String, &Session> = sessions.map(|session| (&session.user_id, session)).collect();
        let all = people.into_iter().map(async |(user, session)| {
            let rest = Rest::new(&self.world.gateways[0]).with_token(&session.access_token);
            Some(Notified { user: user.clone(), counts: picture::notified(&rest).await? })
        });
        join_all(all).await.into_iter().collect()
    }

    /// Gives the visitor, who has gone, the time it may take to be seen as gone.
    async fn wait_for_departure(&self) {
        let session = &self.world.devices[0].session;
        let rest = Rest::new(&self.world.gateways[0]).with_token(&session.access_token);
        let question = json!({ "userIds": [self.visitor.session.user_id] });
        let started = Instant::now();
        let gone = until("the visitor is seen as gone", QUIET, async || {
            let answer = rest.try_send("POST", "/api/presence", Some(question.clone())).await?;
            (answer.body[0]["online"] == false).then_some(())
        });
        if gone.await.is_err() || started.elapsed() > SLOW {
            self.world.recorder.tell(&format!("the visitor was there for {:.1?}", started.elapsed()));
        }
    }

    /// Waits until a view is what a fetch says; both, as they are then.
    async fn wait_for_same(&self, name: &str, who: &Session, view: impl AsyncFn() -> Option<Value>) -> [Shown; 2] {
        let rest = Rest::new(&self.world.gateways[0]).with_token(&who.access_token);
        let (started, mut latest, mut before) = (Instant::now(), [Value::Null, Value::Null], String::new());
        let same = until(name, QUIET, async || {
            let watched: Vec<String> = view().await?["presence"].as_object()?.keys().cloned().collect();
            let fresh = picture::fresh(&rest, &who.user_id, &watched).await?;
            let (shown, mut expected) = (view().await?, fresh.clone());
            picture::only_loaded(&mut expected, &shown);
            let differences = picture::differences(shown.clone(), expected);
            let nobody_types = picture::nobody_types(&fresh);
            latest = [shown, fresh];
            if let Some(difference) = differences.first() {
                before.clone_from(&difference.said);
            }
            (differences.is_empty() && nobody_types).then_some(())
        })
        .await;
        if started.elapsed() > SLOW {
            let how = if same.is_ok() { "took" } else { "does not show what a fetch says after" };
            self.world.recorder.tell(&format!("{name} {how} {:.1?}: {before}", started.elapsed()));
        }
        let shown = |by, picture| Shown { by, user: who.user_id.clone(), picture };
        let [view, fresh] = latest;
        [shown(Place::Device(name.to_owned()), view), shown(Place::Fetch(name.to_owned()), fresh)]
    }
}
