//! Typed calls to other services.

use std::{sync::Arc, time::Duration};

use async_nats::{Client, HeaderMap, client::RequestErrorKind, service::NATS_SERVICE_ERROR_CODE};
use contract::{Code, Refusal, Request, headers};

use crate::{Trace, absent, fault};

/// How long a call may take, unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why a call failed.
enum Failed {
    /// The server knows of nobody who serves the subject: it has gone to no one.
    Nobody(Refusal),
    /// Somebody refused, or it is not known how far it got.
    Other(Refusal),
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self::Other(refusal)
    }
}

impl From<Failed> for Refusal {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Nobody(refusal) | Failed::Other(refusal) => refusal,
        }
    }
}

/// Calls services over NATS; cheap to clone.
#[derive(Debug, Clone)]
pub struct Caller {
    client: Arc<Client>,
    timeout: Duration,
}

impl Caller {
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client: Arc::new(client), timeout: TIMEOUT }
    }

    /// The same with another time-out.
    #[must_use]
    pub fn within(&self, timeout: Duration) -> Self {
        Self { timeout, ..self.clone() }
    }

    /// Calls; always answers within the time-out.
    ///
    /// `unavailable` where nobody serves the subject (at once), where no answer came in time, or NATS is away;
    /// otherwise what the service refused with.
    pub async fn call<R: Request>(&self, request: &R) -> Result<R::Reply, Refusal> {
        self.call_at(R::SUBJECT.to_owned(), request).await.map_err(Refusal::from)
    }

    /// Calls this very instance; the same, and `unavailable` at once where it is no longer there.
    pub async fn call_instance<R: Request>(&self, instance: &str, request: &R) -> Result<R::Reply, Refusal> {
        self.call_at(here::<R>(instance), request).await.map_err(Refusal::from)
    }

    /// The same, and where that is of no avail within `patience`, any instance: for what may be done twice.
    pub async fn call_instance_or_any<R: Request>(
        &self,
        instance: &str,
        patience: Duration,
        request: &R,
    ) -> Result<R::Reply, Refusal> {
        match self.within(patience).call_instance(instance, request).await {
            Err(refusal) if refusal.code == Code::Unavailable => self.call(request).await,
            outcome => outcome,
        }
    }

    /// Calls this instance, and any only where it is no longer there, so that nothing is done twice.
    pub async fn call_instance_or_any_once<R: Request>(
        &self,
        instance: &str,
        request: &R,
    ) -> Result<R::Reply, Refusal> {
        match self.call_at(here::<R>(instance), request).await {
            Err(Failed::Nobody(_)) => self.call(request).await,
            outcome => outcome.map_err(Refusal::from),
        }
    }

    async fn call_at<R: Request>(&self, subject: String, request: &R) -> Result<R::Reply, Failed> {
        let body = serde_json::to_vec(request).map_err(|error| fault(R::SUBJECT, &error))?;
        let mut headers = HeaderMap::new();
        headers.insert(headers::TRACEPARENT, Trace::current().child().to_string());
        let request = async_nats::Request::new().payload(body.into()).headers(headers).timeout(Some(self.timeout));
        let reply = self.client.send_request(subject, request).await.map_err(|error| match error.kind() {
            RequestErrorKind::MaxPayloadExceeded => Refusal::new(Code::TooLarge, "The request is too large.").into(),
            RequestErrorKind::InvalidSubject => fault(R::SUBJECT, &error).into(),
            RequestErrorKind::NoResponders => Failed::Nobody(absent(R::SUBJECT, &error)),
            RequestErrorKind::TimedOut | RequestErrorKind::Other => absent(R::SUBJECT, &error).into(),
        })?;
        match reply.headers.as_ref().filter(|headers| headers.get(NATS_SERVICE_ERROR_CODE).is_some()) {
            Some(headers) => Err(headers
                .get(headers::REFUSAL)
                .and_then(|json| serde_json::from_str(json.as_str()).ok())
                .unwrap_or_else(Refusal::internal)
                .into()),
            None => serde_json::from_slice(&reply.payload).map_err(|error| fault(R::SUBJECT, &error).into()),
        }
    }
}

/// The subject at which an instance serves this: see [`Nats::instance`](crate::Nats::instance).
fn here<R: Request>(instance: &str) -> String {
    format!("{}.{instance}", R::SUBJECT)
}
