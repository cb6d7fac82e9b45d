//! One instance of a service of a system: where it is reached, what it says, how it is killed, stopped and paused.

use std::{path::PathBuf, time::Duration};

use crate::{proxy::Proxy, services::Service};

/// One instance of a service.
pub struct Instance {
    pub(super) name: &'static str,
    pub(super) label: String,
    pub(super) env: Vec<(String, String)>,
    /// Where a gateway serves; `None` for others.
    pub(super) http: Option<u16>,
    pub(super) log: PathBuf,
    /// With [`SystemOptions::network_to_nats`](super::SystemOptions::network_to_nats).
    pub(super) to_nats: Option<Proxy>,
    pub(super) service: Service,
}

impl Instance {
    /// Where a gateway serves REST and Socket.IO.
    ///
    /// # Panics
    /// When this is no gateway.
    #[expect(clippy::expect_used, reason = "a test's mistake")]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http.expect("a gateway"))
    }

    /// Where `/healthz`, `/readyz` and `/metrics` are.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.service.admin)
    }

    /// What is between it and NATS.
    ///
    /// # Panics
    /// Without [`SystemOptions::network_to_nats`](super::SystemOptions::network_to_nats).
    #[expect(clippy::expect_used, reason = "a test's mistake")]
    pub fn to_nats(&self) -> &Proxy {
        self.to_nats.as_ref().expect("a network to NATS")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.service.process.output()
    }

    /// SIGKILL, and waits for its end.
    pub async fn kill(&self) {
        self.service.process.kill();
        self.service.process.wait().await;
    }

    /// SIGTERM, and waits at most `grace` for its end, which is killed then. Returns whether its exit code was 0.
    pub async fn stop(&self, grace: Duration) -> bool {
        self.service.process.stop(grace).await.success()
    }

    /// SIGSTOP: it hangs with all its connections open.
    pub fn pause(&self) {
        self.service.process.pause();
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&self) {
        self.service.process.resume();
    }
}
