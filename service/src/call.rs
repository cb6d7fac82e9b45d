//! Typed calls to other services.

use std::time::Duration;

use async_nats::{Client, HeaderMap, client::RequestErrorKind, service::NATS_SERVICE_ERROR_CODE};
use contract::{Code, Refusal, Request, headers};

use crate::{Trace, absent, fault};

/// How long a call may take, unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Calls services over NATS; cheap to clone.
#[derive(Debug, Clone)]
pub struct Caller {
    client: Client,
    timeout: Duration,
}

impl Caller {
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, timeout: TIMEOUT }
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
        self.call_at(R::SUBJECT.to_owned(), request).await
    }

    /// Calls this very instance; the same, and `unavailable` at once where it is no longer there.
    pub async fn call_instance<R: Request>(&self, instance: &str, request: &R) -> Result<R::Reply, Refusal> {
        self.call_at(format!("{}.{instance}", R::SUBJECT), request).await
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

    async fn call_at<R: Request>(&self, subject: String, request: &R) -> Result<R::Reply, Refusal> {
        let body = serde_json::to_vec(request).map_err(|error| fault(R::SUBJECT, &error))?;
        let mut headers = HeaderMap::new();
        headers.insert(headers::TRACEPARENT, Trace::current().child().to_string());
        let request = async_nats::Request::new().payload(body.into()).headers(headers).timeout(Some(self.timeout));
        let reply = self.client.send_request(subject, request).await.map_err(|error| match error.kind() {
            RequestErrorKind::MaxPayloadExceeded => Refusal::new(Code::TooLarge, "The request is too large."),
            RequestErrorKind::InvalidSubject => fault(R::SUBJECT, &error),
            RequestErrorKind::NoResponders | RequestErrorKind::TimedOut | RequestErrorKind::Other => {
                absent(R::SUBJECT, &error)
            }
        })?;
        match reply.headers.as_ref().filter(|headers| headers.get(NATS_SERVICE_ERROR_CODE).is_some()) {
            Some(headers) => Err(headers
                .get(headers::REFUSAL)
                .and_then(|json| serde_json::from_str(json.as_str()).ok())
                .unwrap_or_else(Refusal::internal)),
            None => serde_json::from_slice(&reply.payload).map_err(|error| fault(R::SUBJECT, &error)),
        }
    }
}
