//! A NATS server of our own that is configured as the measured one: `nats.conf`, when it syncs, the stream of chats.

use anyhow::{Context, Result};
use async_nats::{
    Client, ConnectOptions,
    jetstream::{self, stream},
};
use contract::storage::CHAT_STREAMS;
use serde_json::Value;
use tempfile::TempDir;
use testkit::{
    nats::{Options, Passwords, Server},
    process::Output,
    until,
};

use super::READY;
use crate::{processes::Process, target::System};

/// A running server. It ends on drop.
pub struct Nats {
    server: Server,
    passwords: Passwords,
    /// What the streams of chats are in the measured system.
    streams: Vec<stream::Config>,
    _folder: TempDir,
}

impl Nats {
    /// Starts it, with its store on the same disk as the system's.
    pub async fn like(system: &System) -> Result<Self> {
        let varz = system.ask_nats("varz").await?;
        let sync = &varz["jetstream"]["config"];
        let sync = match (sync["sync_always"].as_bool(), sync["sync_interval"].as_u64()) {
            (Some(true), _) => "always".to_owned(),
            (_, nanoseconds) => format!("{}ns", nanoseconds.context("the server does not say when it syncs")?),
        };
        let folder = system.scratch()?;
        let options = Options {
            name: "limit".to_owned(),
            store: folder.path().join("store"),
            run_folder: folder.path().to_owned(),
            port: None,
            monitor_port: None,
            sync,
            passwords: Passwords::random(),
            cluster: None,
        };
        let server = Server::start(&options, Output::File(folder.path().join("log"))).await?;
        let streams = streams_of_chats(&system.ask_nats("jsz?streams=true&config=true").await?)?;
        Ok(Self { server, passwords: options.passwords, streams, _folder: folder })
    }

    /// A connection with the rights of a service.
    pub async fn connect(&self, service: &str) -> Result<Client> {
        connect(self.server.port, service, self.password_of(service)).await
    }

    /// Makes the streams of chats be there.
    pub async fn with_streams(self) -> Result<Self> {
        let jetstream = jetstream::new(self.connect("chat").await?);
        // JetStream comes a moment after the server.
        for stream in &self.streams {
            until("the stream to be created", READY, async || jetstream.create_stream(stream).await.ok()).await?;
        }
        Ok(self)
    }

    pub fn port(&self) -> u16 {
        self.server.port
    }

    pub fn password_of(&self, service: &str) -> &str {
        self.passwords.of(service)
    }

    pub fn process(&self) -> Process {
        Process { name: "nats".to_owned(), pid: self.server.process.pid() }
    }
}

/// A connection to a server on this machine, with the rights of a service.
pub async fn connect(port: u16, service: &str, password: &str) -> Result<Client> {
    let options = ConnectOptions::with_user_and_password(service.to_owned(), password.to_owned());
    let options = options.custom_inbox_prefix(format!("_INBOX_{service}"));
    Ok(options.connect(format!("nats://127.0.0.1:{port}")).await?)
}

fn streams_of_chats(jsz: &Value) -> Result<Vec<stream::Config>> {
    CHAT_STREAMS.iter().map(|name| stream_of_chats(jsz, name)).collect()
}

fn stream_of_chats(jsz: &Value, name: &str) -> Result<stream::Config> {
    let accounts = jsz["account_details"].as_array().into_iter().flatten();
    let mut streams = accounts.flat_map(|account| account["stream_detail"].as_array().into_iter().flatten());
    let stream = streams.find(|stream| stream["name"] == name).with_context(|| format!("there is no stream {name}"))?;
    let mut config: stream::Config = serde_json::from_value(stream["config"].clone())?;
    // What the server has noted about itself.
    config.metadata.clear();
    config.num_replicas = 1;
    Ok(config)
}
