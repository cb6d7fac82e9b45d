//! What `cargo dev` runs: started in order, watched, stopped in the reverse order.

use std::{collections::BTreeMap, env, time::Duration};

use anyhow::{Error, Result, anyhow};
use futures::future::{join_all, select_all, try_join_all};
use testkit::{
    free_port, mongo, nats,
    process::Process,
    services::{Build, Service},
};

use crate::{
    console::Console,
    data::Data,
    running::{Noted, Running},
};

/// From the start of the services until all are ready. They compile nothing, but a store may have to be recovered.
const READY_DEADLINE: Duration = Duration::from_secs(90);
/// A service drains within 10 s (SIGTERM), see the gateway.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// The running processes.
pub(crate) struct System {
    console: Console,
    services: Vec<Service>,
    mongo: Option<mongo::Server>,
    nats: Option<nats::Server>,
}

type Environment = Vec<(String, String)>;

impl System {
    /// Nothing runs yet.
    pub(crate) fn new(console: Console) -> Self {
        Self { console, services: Vec::new(), mongo: None, nats: None }
    }

    /// Starts all of it, waits until it is ready and says what to open.
    pub(crate) async fn start(&mut self, build: &Build, data: &Data, gateways: &[u16], chats: u16) -> Result<()> {
        self.console.say("starting nats-server and MongoDB, building the services (minutes the first time)");
        // One after the other: each can use all cores when it has something to build.
        let nats = self.start_nats(data).await?;
        let mongo = self.start_mongo(data).await?;
        build.run().await?;

        let shared: Environment = env::vars().filter(|(name, _)| name.starts_with("NATTER_")).chain(mongo).collect();
        for name in ["user", "chat", "mail"] {
            let count = if name == "chat" { chats } else { 1 };
            for index in 1..=count {
                let label = if count == 1 { name.to_owned() } else { format!("{name}-{index}") };
                let own = own_environment(name, data)?;
                self.start_service(build, name, &label, [&shared, &nats_environment(&nats, name), &own])?;
            }
        }
        // Gateways need the others: started together, they would complain first.
        self.wait_until_ready().await?;
        for port in gateways {
            let label = if gateways.len() == 1 { "gateway".to_owned() } else { format!("gw-{port}") };
            let own = vec![("NATTER_HTTP__LISTEN".to_owned(), free_port::address(*port).to_string())];
            self.start_service(build, "gateway", &label, [&shared, &nats_environment(&nats, "gateway"), &own])?;
        }
        let environment = shared.into_iter().chain(nats_environment(&nats, "chat")).collect();
        data.note_running(&self.running(data, gateways, environment))?;
        self.wait_until_ready().await?;
        self.announce(data, gateways, &nats.options.passwords);
        Ok(())
    }

    fn running(&self, data: &Data, gateways: &[u16], environment: BTreeMap<String, String>) -> Running {
        let url = |port: u16| format!("http://{}", free_port::address(port));
        let noted = |process: &Process| Noted { name: process.name().to_owned(), pid: process.pid() };
        Running {
            environment,
            gateways: gateways.iter().copied().map(url).collect(),
            nats_monitoring: self.nats.as_ref().map(|server| url(server.monitor_port)).unwrap_or_default(),
            mail: data.path("mail"),
            processes: self.processes().map(noted).collect(),
        }
    }

    async fn wait_until_ready(&self) -> Result<()> {
        try_join_all(self.services.iter().map(|service| service.wait_until_ready(READY_DEADLINE))).await?;
        Ok(())
    }

    async fn start_nats(&mut self, data: &Data) -> Result<Nats> {
        let options = nats::Options {
            name: "nats".to_owned(),
            store: data.path("nats/store"),
            run_folder: data.path("nats/run"),
            port: Some(free_port::prefer(4222)?),
            monitor_port: Some(free_port::prefer(8222)?),
            sync: env::var("NATTER_NATS_SYNC").unwrap_or_else(|_| "always".to_owned()),
            passwords: data.passwords()?,
            cluster: None,
        };
        let server = nats::Server::start(&options, self.console.output("nats")).await;
        let server = server.map_err(|error| self.with_last_lines("nats", error))?;
        let url = format!("nats://127.0.0.1:{}", server.port);
        self.nats = Some(server);
        Ok(Nats { options, url })
    }

    /// Starts a MongoDB unless there is one already; answers what services need to know of it.
    async fn start_mongo(&mut self, data: &Data) -> Result<Environment> {
        if env::var_os(mongo::URI_VARIABLE).is_some() {
            return Ok(Vec::new());
        }
        let options = mongo::Options { data: data.path("mongo"), port: free_port::prefer(27017)? };
        let server = mongo::Server::start(&options, self.console.output("mongo")).await;
        let server = server.map_err(|error| self.with_last_lines("mongo", error))?;
        let environment = vec![(mongo::URI_VARIABLE.to_owned(), server.uri.clone())];
        self.mongo = Some(server);
        Ok(environment)
    }

    fn start_service(&mut self, build: &Build, name: &str, label: &str, environment: [&Environment; 3]) -> Result<()> {
        let environment: Environment = environment.into_iter().flatten().cloned().collect();
        let output = self.console.output(label);
        self.services.push(Service::start(&build.program(name), label, &environment, output)?);
        Ok(())
    }

    fn announce(&self, data: &Data, gateways: &[u16], passwords: &nats::Passwords) {
        let say = |what: &str, value: &str| self.console.say(&format!("  {what:<9} {value}"));
        self.console.say("");
        self.console.say("Natter is ready. Ctrl-C stops it.");
        for port in gateways {
            say("gateway", &format!("http://127.0.0.1:{port}"));
        }
        if let Some(server) = &self.nats {
            let credentials = format!("nats://inspector:{}@127.0.0.1:{}", passwords.of("inspector"), server.port);
            say("nats", &format!("export NATS_URL={credentials}"));
            say("", "nats micro ls; nats sub 'room.>'");
            say("", &format!("http://127.0.0.1:{} (monitoring)", server.monitor_port));
        }
        if let Some(server) = &self.mongo {
            say("mongo", &server.uri);
        }
        if env::var_os("NATTER_MAIL__SMTP__HOST").is_none() {
            say("mail", &format!("{} (codes are shown here, too)", data.path("mail").display()));
        }
        for service in &self.services {
            say(service.process.name(), &format!("http://{}/metrics", service.admin));
        }
        self.console.say("");
    }

    /// Waits until something ends that should not; the error carries its last lines.
    pub(crate) async fn failure(&self) -> Error {
        let processes: Vec<_> = self.processes().collect();
        let (status, index, _) = select_all(processes.iter().map(|process| Box::pin(process.wait()))).await;
        let name = processes[index].name();
        self.with_last_lines(name, anyhow!("{name} has ended by itself ({status})"))
    }

    /// SIGTERM to the services, then to the servers; who does not listen is killed.
    pub(crate) async fn stop(&self) {
        // Gateways first: what they hand back needs somebody who takes it.
        let (gateways, others): (Vec<_>, Vec<_>) =
            self.services.iter().partition(|service| service.process.name().starts_with("gw-"));
        for services in [gateways, others] {
            join_all(services.iter().map(|service| service.process.stop(STOP_GRACE))).await;
        }
        let servers = self.servers().map(|process| process.stop(STOP_GRACE));
        join_all(servers).await;
    }

    fn servers(&self) -> impl Iterator<Item = &Process> {
        self.mongo.iter().map(|server| &server.process).chain(self.nats.iter().map(|server| &server.process))
    }

    fn processes(&self) -> impl Iterator<Item = &Process> {
        self.services.iter().map(|service| &service.process).chain(self.servers())
    }

    fn with_last_lines(&self, name: &str, error: Error) -> Error {
        let lines = self.console.last_lines(name);
        if lines.is_empty() {
            return error;
        }
        anyhow!("{error:#}. Its last lines:\n  {}", lines.join("\n  "))
    }
}

/// The NATS that was started.
struct Nats {
    options: nats::Options,
    url: String,
}

fn nats_environment(nats: &Nats, service: &str) -> Environment {
    vec![
        ("NATTER_NATS__URL".to_owned(), nats.url.clone()),
        ("NATTER_NATS__PASSWORD".to_owned(), nats.options.passwords.of(service).to_owned()),
    ]
}

/// What one service alone is told.
fn own_environment(service: &str, data: &Data) -> Result<Environment> {
    use testkit::secrets::{pepper, signing_key, vapid_key};
    Ok(match service {
        "user" => vec![
            ("NATTER_AUTH__SIGNING_KEY".to_owned(), data.secret("signing-key.pem", signing_key)?),
            ("NATTER_AUTH__PEPPER".to_owned(), data.secret("pepper", pepper)?),
        ],
        "mail" => vec![
            ("NATTER_MAIL__FILES".to_owned(), data.path("mail").display().to_string()),
            ("NATTER_MAIL__FROM".to_owned(), from_address()),
            ("NATTER_LINKS__KEY".to_owned(), data.secret("links", pepper)?),
            ("NATTER_PUSH__VAPID_KEY".to_owned(), data.secret("vapid-key", vapid_key)?),
            ("NATTER_PUSH__CONTACT".to_owned(), push_contact()),
        ],
        _ => Vec::new(),
    })
}

/// What the environment says, or a made-up one that cannot belong to anybody (RFC 2606).
fn from_address() -> String {
    env::var("NATTER_MAIL__FROM").unwrap_or_else(|_| "Natter <natter@example.org>".to_owned())
}

/// What the environment says, or a made-up one; Apple's push service is the one that refuses it.
fn push_contact() -> String {
    env::var("NATTER_PUSH__CONTACT").unwrap_or_else(|_| "mailto:natter@example.org".to_owned())
}
