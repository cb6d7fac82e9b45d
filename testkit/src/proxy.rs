//! A network that fails, without privileges: a TCP proxy on loopback whose traffic can be delayed, held or cut.

use std::{net::SocketAddr, sync::OnceLock, time::Duration};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp},
    runtime::{Builder, Runtime},
    sync::watch,
    task::JoinHandle,
    time::sleep,
};

const CHUNK: usize = 64 * 1024;

/// What becomes of bytes on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    Flows,
    /// Each piece of up to 64 KiB waits this long, in both directions.
    Delayed(Duration),
    /// Nothing passes and nobody is told: connections stay, and what was held passes afterwards, as TCP sends it again.
    Held,
    /// Connections are closed, and new ones at once.
    Cut,
}

/// A proxy; it ends with its connections on drop.
pub struct Proxy {
    address: SocketAddr,
    traffic: watch::Sender<Traffic>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a port of its own and passes everything on to `target`.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        let traffic = watch::Sender::new(Traffic::Flows);
        let passing = traffic.subscribe();
        let started = runtime()?.spawn(async move {
            let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
            anyhow::Ok((listener.local_addr()?, tokio::spawn(accept(listener, target, passing))))
        });
        let (address, accepting) = started.await??;
        Ok(Self { address, traffic, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, for connections that are there too.
    pub fn set(&self, traffic: Traffic) {
        self.traffic.send_replace(traffic);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.set(Traffic::Cut);
        self.accepting.abort();
    }
}

/// A thread of its own: a network does not wait for a test that computes.
fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    let start = || Builder::new_multi_thread().worker_threads(1).thread_name("proxies").enable_all().build().ok();
    RUNTIME.get_or_init(start).as_ref().context("no thread for proxies")
}

async fn accept(listener: TcpListener, target: SocketAddr, traffic: watch::Receiver<Traffic>) {
    while let Ok((near, _)) = listener.accept().await {
        tokio::spawn(connect(near, target, traffic.clone()));
    }
}

async fn connect(near: TcpStream, target: SocketAddr, mut traffic: watch::Receiver<Traffic>) {
    if !passes(&mut traffic).await {
        return;
    }
    let Ok(far) = TcpStream::connect(target).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    // Where one direction ends, so does the other.
    tokio::select! {
        () = pass(near_read, far_write, traffic.clone()) => {}
        () = pass(far_read, near_write, traffic) => {}
    }
}

async fn pass(mut from: tcp::OwnedReadHalf, mut to: tcp::OwnedWriteHalf, mut traffic: watch::Receiver<Traffic>) {
    let mut chunk = vec![0; CHUNK];
    while passes(&mut traffic).await {
        let read = tokio::select! {
            read = from.read(&mut chunk) => read.unwrap_or(0),
            _ = traffic.changed() => continue,
        };
        if read == 0 || !passes(&mut traffic).await || to.write_all(&chunk[..read]).await.is_err() {
            return;
        }
    }
}

/// Waits until bytes may pass; false if they never will.
async fn passes(traffic: &mut watch::Receiver<Traffic>) -> bool {
    loop {
        let now = *traffic.borrow_and_update();
        match now {
            Traffic::Flows => return true,
            Traffic::Cut => return false,
            Traffic::Delayed(by) => {
                sleep(by).await;
                return true;
            }
            Traffic::Held => {
                if traffic.changed().await.is_err() {
                    return false;
                }
            }
        }
    }
}
