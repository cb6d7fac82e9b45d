//! Calls of the gateway to the services behind it.

use std::time::Duration;

use contract::{Code, Refusal, Request};
use service::Caller;
use tokio::time::Instant;

/// An instance that was killed in the middle of a call does not answer: after this the call goes to another one.
const FIRST_TRY: Duration = Duration::from_secs(2);
const SECOND_TRY: Duration = Duration::from_secs(3);

/// Calls services; cheap to clone.
#[derive(Debug, Clone)]
pub struct Calls {
    caller: Caller,
}

impl Calls {
    #[must_use]
    pub fn new(caller: Caller) -> Self {
        Self { caller }
    }

    /// Calls once.
    pub async fn call<R: Request>(&self, request: &R) -> Result<R::Reply, Refusal> {
        self.caller.call(request).await
    }

    /// The same, of this instance, and of any where that is gone.
    pub async fn call_at<R: Request>(&self, instance: Option<&str>, request: &R) -> Result<R::Reply, Refusal> {
        match instance {
            Some(instance) => self.caller.call_instance_or_any_once(instance, request).await,
            None => self.call(request).await,
        }
    }

    /// The same for what may be done twice, at first of this instance, which is likely to be the quickest. One that is gone,
    /// or hangs, is no reason not to ask another.
    pub async fn idempotent_at<R: Request>(&self, instance: Option<&str>, request: &R) -> Result<R::Reply, Refusal> {
        let Some(instance) = instance else { return self.idempotent(request).await };
        self.caller.within(SECOND_TRY).call_instance_or_any(instance, FIRST_TRY, request).await
    }

    /// Calls what may be done twice: reads, and what carries a key that makes it idempotent. Where no answer comes, it
    /// is asked again.
    pub async fn idempotent<R: Request>(&self, request: &R) -> Result<R::Reply, Refusal> {
        let started = Instant::now();
        match self.caller.within(FIRST_TRY).call(request).await {
            // Refused in less time than that: somebody answered, or nobody is there to.
            Err(refusal) if refusal.code == Code::Unavailable && started.elapsed() >= FIRST_TRY => {
                self.caller.within(SECOND_TRY).call(request).await
            }
            outcome => outcome,
        }
    }
}
