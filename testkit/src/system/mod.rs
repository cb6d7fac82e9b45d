//! The whole of Natter for one test: NATS, MongoDB and the services as processes, mail into files.

mod instance;
mod letters;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

pub use instance::Instance;

use crate::{
    Mongo, Nats, eventually, free_port, mongo,
    nats::Network,
    process::Output,
    proxy::Proxy,
    rest::Rest,
    scratch, secrets,
    services::{Build, Service},
};

/// All services together; a debug build on a busy machine takes seconds.
const READY_DEADLINE: Duration = Duration::from_mins(1);
/// From the request for a code to the letter in the folder.
const LETTER_DEADLINE: Duration = Duration::from_secs(20);

/// What to start.
#[derive(Debug, Clone)]
pub struct SystemOptions {
    /// Instances of each service.
    pub gateways: usize,
    pub chats: usize,
    pub users: usize,
    pub mails: usize,
    /// A MongoDB of its own, which the test can stop; otherwise a database on the one that tests share.
    pub own_mongo: bool,
    /// A proxy between the services and that MongoDB.
    pub network_to_mongo: bool,
    /// A proxy between each instance and NATS, which has to be a single node: in a cluster clients learn of all its nodes.
    pub network_to_nats: bool,
    /// Nodes of NATS: more than one are a cluster that keeps as many copies of everything.
    pub nodes: usize,
    /// Bytes that the streams on disk may have together, of a single node; as many as there are if not given.
    pub room: Option<u64>,
    /// Further configuration for all services, such as shorter periods.
    pub env: Vec<(String, String)>,
    /// Programs that have been built already; otherwise the services are built first.
    pub built: Option<Build>,
}

impl Default for SystemOptions {
    fn default() -> Self {
        Self {
            gateways: 1,
            chats: 1,
            users: 1,
            mails: 1,
            own_mongo: false,
            network_to_mongo: false,
            network_to_nats: false,
            nodes: 1,
            room: None,
            env: Vec::new(),
            built: None,
        }
    }
}

impl SystemOptions {
    /// One more variable for all services.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A running system. All of it ends on drop.
pub struct System {
    services: Vec<Instance>,
    /// NATS, to stop it and to look into it; the first node of a cluster.
    pub nats: Nats,
    /// The further nodes of a cluster.
    pub others: Vec<Nats>,
    /// Between the nodes of a cluster.
    pub network: Option<Network>,
    /// Between the services and MongoDB, with [`SystemOptions::network_to_mongo`].
    pub to_mongo: Option<Proxy>,
    /// MongoDB, to stop it (with [`SystemOptions::own_mongo`]) and to look into it.
    pub mongo: Mongo,
    build: Build,
    folder: scratch::Folder,
}

/// A person who has signed in.
#[derive(Debug, Clone)]
pub struct Session {
    pub email: String,
    pub user_id: String,
    pub access_token: String,
    pub refresh_token: String,
    /// The User that the server answered.
    pub user: Value,
}

#[expect(clippy::expect_used, reason = "a test that cannot have its system is over")]
impl System {
    /// Starts all of it and waits until every service is ready.
    ///
    /// # Panics
    /// When something does not start; the message carries its log.
    pub async fn start(options: SystemOptions) -> Self {
        Self::try_start(&options).await.unwrap_or_else(|error| panic!("{error:#}"))
    }

    async fn try_start(options: &SystemOptions) -> Result<Self> {
        let build = match &options.built {
            Some(built) => built.clone(),
            None => build().await?,
        };
        let mongo = async { if options.own_mongo { Mongo::start().await } else { Mongo::shared().await } };
        let (nats, mongo) = tokio::join!(nats(options), mongo);
        let (nats, others, network) = nats?;
        let to_mongo = if options.network_to_mongo { proxy_to(&mongo).await? } else { None };
        let folder = scratch::Folder::new("system")?;
        std::fs::create_dir(folder.path().join("mail"))?;
        let services = Vec::new();
        let mut system = Self { services, nats, others, network, to_mongo, mongo, build, folder };
        let secrets = [
            ("NATTER_AUTH__SIGNING_KEY".to_owned(), secrets::signing_key()),
            ("NATTER_AUTH__PEPPER".to_owned(), secrets::pepper()),
            ("NATTER_PUSH__VAPID_KEY".to_owned(), secrets::vapid_key()),
        ];
        let counts =
            [("user", options.users), ("chat", options.chats), ("mail", options.mails), ("gateway", options.gateways)];
        for (name, count) in counts {
            for index in 0..count {
                system.add(name, index, options, &secrets).await?;
            }
        }
        for instance in &system.services {
            instance.service.wait_until_ready(READY_DEADLINE).await?;
        }
        Ok(system)
    }

    async fn add(
        &mut self,
        name: &'static str,
        index: usize,
        options: &SystemOptions,
        secrets: &[(String, String)],
    ) -> Result<()> {
        let label = format!("{name}-{index}");
        let mut env = self.nats.env(name);
        if !self.others.is_empty() {
            let urls: Vec<String> = self.nodes().map(Nats::url).collect();
            env.push(("NATTER_NATS__URL".to_owned(), urls.join(",")));
            env.push(("NATTER_NATS__REPLICAS".to_owned(), urls.len().to_string()));
        }
        let to_nats = if options.network_to_nats { Some(Proxy::start(self.nats.address()).await?) } else { None };
        if let Some(proxy) = &to_nats {
            env.push(("NATTER_NATS__URL".to_owned(), format!("nats://{}", proxy.address())));
        }
        if name != "gateway" {
            env.extend(self.mongo.env());
            if let Some(proxy) = &self.to_mongo {
                let uri = format!("mongodb://{}/?directConnection=true", proxy.address());
                env.push((mongo::URI_VARIABLE.to_owned(), uri));
            }
        }
        if name == "user" || name == "mail" {
            env.extend_from_slice(secrets);
        }
        let mut http = None;
        match name {
            "mail" => env.extend([
                ("NATTER_MAIL__FILES".to_owned(), self.mail_dir().display().to_string()),
                ("NATTER_MAIL__FROM".to_owned(), "Natter <natter@example.org>".to_owned()),
                ("NATTER_LINKS__KEY".to_owned(), secrets::pepper()),
                ("NATTER_PUSH__CONTACT".to_owned(), "mailto:natter@example.org".to_owned()),
            ]),
            "gateway" => {
                let port = free_port::any()?;
                env.push(("NATTER_HTTP__LISTEN".to_owned(), free_port::address(port).to_string()));
                http = Some(port);
            }
            _ => {}
        }
        env.extend(options.env.iter().cloned());
        let log = self.folder.path().join(format!("{label}.log"));
        let service = Service::start(&self.build.program(name), &label, &env, Output::File(log.clone()))?;
        self.services.push(Instance { name, label, env, http, log, to_nats, service });
        Ok(())
    }

    /// All nodes of NATS.
    pub fn nodes(&self) -> impl Iterator<Item = &Nats> {
        std::iter::once(&self.nats).chain(&self.others)
    }

    /// A node of NATS, to stop it and to start it again.
    ///
    /// # Panics
    /// When there is none.
    pub fn node_mut(&mut self, index: usize) -> &mut Nats {
        if index == 0 { &mut self.nats } else { self.others.get_mut(index - 1).expect("such a node") }
    }

    /// A gateway.
    pub fn gateway(&self, index: usize) -> &Instance {
        self.instance("gateway", index)
    }

    /// How many instances of a service there are, running or not.
    pub fn count(&self, name: &str) -> usize {
        self.services.iter().filter(|instance| instance.name == name).count()
    }

    /// An instance of a service.
    ///
    /// # Panics
    /// When there is none.
    pub fn instance(&self, name: &str, index: usize) -> &Instance {
        self.services.iter().filter(|instance| instance.name == name).nth(index).expect("such an instance")
    }

    /// An instance of a service, to kill it and to start it again.
    ///
    /// # Panics
    /// When there is none.
    pub fn instance_mut(&mut self, name: &str, index: usize) -> &mut Instance {
        self.services.iter_mut().filter(|instance| instance.name == name).nth(index).expect("such an instance")
    }

    /// Starts an instance again that was killed or stopped, with the configuration and ports it had, and waits until it
    /// is ready.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_again(&mut self, name: &str, index: usize) {
        let program = self.build.program(name);
        let instance = self.instance_mut(name, index);
        instance.service.process.kill();
        instance.service.process.wait().await;
        let output = Output::File(instance.log.clone());
        instance.service = Service::start(&program, &instance.label, &instance.env, output).expect("a running service");
        instance.service.wait_until_ready(READY_DEADLINE).await.expect("a ready service");
    }

    /// The folder that letters are written into.
    pub fn mail_dir(&self) -> PathBuf {
        self.folder.path().join("mail")
    }

    /// A REST client of the first gateway.
    pub fn rest(&self) -> Rest {
        Rest::new(self.gateway(0).url())
    }

    /// The letters to an address so far, the latest last.
    pub fn letters(&self, email: &str) -> Vec<String> {
        letters::to(email, &self.mail_dir())
    }

    /// Asks for a one-time code and reads it from the letter.
    ///
    /// # Panics
    /// When there is none.
    pub async fn code(&self, email: &str) -> String {
        let before = self.letters(email).len();
        self.rest().post("/api/auth/otp", json!({ "email": email })).await.expect(202);
        self.code_after(email, before).await
    }

    /// The latest code among the letters to an address after the first `before` of them.
    pub async fn code_after(&self, email: &str, before: usize) -> String {
        eventually(&format!("a code for {email}"), LETTER_DEADLINE, async || {
            self.letters(email).iter().skip(before).rev().find_map(|letter| letters::code_in(letter))
        })
        .await
    }

    /// Signs up, or in, with a one-time code through the first gateway.
    ///
    /// # Panics
    /// When that fails.
    pub async fn sign_up(&self, email: &str) -> Session {
        let code = self.code(email).await;
        let tokens = self.rest().post("/api/auth/verify", json!({ "email": email, "code": code })).await.expect(200);
        let text = |value: &Value| value.as_str().expect("a string").to_owned();
        Session {
            email: email.to_owned(),
            user_id: text(&tokens["user"]["id"]),
            access_token: text(&tokens["accessToken"]),
            refresh_token: text(&tokens["refreshToken"]),
            user: tokens["user"].clone(),
        }
    }
}

type Nodes = (Nats, Vec<Nats>, Option<Network>);

async fn nats(options: &SystemOptions) -> Result<Nodes> {
    if options.nodes > 1 {
        let (mut nodes, network) = Nats::cluster_with_network(options.nodes).await;
        return Ok((nodes.remove(0), nodes, Some(network)));
    }
    let nats = match options.room {
        Some(bytes) => Nats::start_with_room(bytes).await,
        None => Nats::start().await,
    };
    Ok((nats, Vec::new(), None))
}

/// `None` for a MongoDB that is not ours, which may be anywhere.
async fn proxy_to(mongo: &Mongo) -> Result<Option<Proxy>> {
    let Some(address) = mongo.address() else { return Ok(None) };
    Ok(Some(Proxy::start(address).await?))
}

/// Builds the services once per test process.
async fn build() -> Result<Build> {
    static BUILD: OnceCell<Build> = OnceCell::const_new();
    let build = BUILD.get_or_try_init(async || {
        let build = Build::of_this_program()?;
        build.run().await.context("services for the test")?;
        anyhow::Ok(build)
    });
    build.await.cloned()
}
