//! Endpoints: what a service answers, as a NATS micro service (ADR-32). Bounded concurrency, a deadline, and always a
//! reply, also after a panic.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use async_nats::{
    HeaderMap,
    service::{self, ServiceExt, endpoint::Endpoint},
};
use bytes::Bytes;
use contract::{Code, Refusal, Request, headers};
use futures::{FutureExt, StreamExt, future::BoxFuture};
use tokio::{sync::Semaphore, time::Instant};

use crate::{Lifecycle, Nats, StartError, Trace, fault};

/// Calls one instance works on at a time; more are refused as `unavailable` at once rather than queued.
const CONCURRENCY: usize = 2_048;
/// A handler that takes longer is given up.
const DEADLINE: Duration = Duration::from_secs(10);

/// NATS that does not answer while the endpoints are opened is asked again after this.
const AGAIN: Duration = Duration::from_millis(200);

/// Answers a payload.
type Answer = Arc<dyn Fn(Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> + Send + Sync>;

/// The endpoints of a service: `.serve(handler)` for each, then [`open`](Self::open).
pub struct Endpoints<S> {
    name: &'static str,
    nats: Nats,
    lifecycle: Lifecycle,
    state: S,
    answers: Vec<(&'static str, Answer)>,
    /// Those of `answers` that this very instance can be asked for.
    here: Vec<&'static str>,
}

impl<S: Clone + Send + Sync + 'static> Endpoints<S> {
    pub(crate) fn new(name: &'static str, nats: Nats, lifecycle: Lifecycle, state: S) -> Self {
        Self { name, nats, lifecycle, state, answers: Vec::new(), here: Vec::new() }
    }

    /// Serves the calls of the handler's request type.
    #[must_use]
    pub fn serve<R, H, F>(mut self, handler: H) -> Self
    where
        R: Request,
        H: Fn(S, R) -> F + Send + Sync + 'static,
        F: Future<Output = Result<R::Reply, Refusal>> + Send + 'static,
    {
        let state = self.state.clone();
        let handler = Arc::new(handler);
        self.answers.push((
            R::SUBJECT,
            Arc::new(move |payload| {
                let (state, handler) = (state.clone(), handler.clone());
                Box::pin(async move {
                    let request = parse(&payload)?;
                    let reply = handler(state, request).await?;
                    serde_json::to_vec(&reply).map(Bytes::from).map_err(|error| fault(R::SUBJECT, &error))
                })
            }),
        ));
        self
    }

    /// The same, and calls that are meant for this very instance, at `<subject>.<instance>`: see [`Nats::instance`].
    #[must_use]
    pub fn serve_here<R, H, F>(mut self, handler: H) -> Self
    where
        R: Request,
        H: Fn(S, R) -> F + Send + Sync + 'static,
        F: Future<Output = Result<R::Reply, Refusal>> + Send + 'static,
    {
        self.here.push(R::SUBJECT);
        self.serve(handler)
    }

    /// Subscribes to all of them, in the service's queue group, until the soft stop.
    pub async fn open(self) -> Result<(), StartError> {
        let micro = self
            .nats
            .client()
            .service_builder()
            .queue_group(self.name)
            .description(format!("Natter's {} service", self.name))
            .start(self.name, env!("CARGO_PKG_VERSION"))
            .await
            .map_err(StartError::Micro)?;
        let permits = Arc::new(Semaphore::new(CONCURRENCY));
        for (subject, answer) in self.answers {
            let verb = subject.rsplit('.').next().unwrap_or(subject);
            if self.here.contains(&subject) {
                let instance = self.nats.instance();
                let builder = micro.endpoint_builder().name(format!("{verb}-here")).queue_group(instance);
                let endpoint = builder.add(format!("{subject}.{instance}")).await.map_err(StartError::Micro)?;
                let (answer, permits, tasks) = (answer.clone(), permits.clone(), self.lifecycle.clone());
                self.lifecycle.keep(subject, listen(subject, endpoint, answer, permits, tasks));
            }
            let endpoint = micro.endpoint_builder().name(verb).add(subject).await.map_err(StartError::Micro)?;
            let tasks = self.lifecycle.clone();
            self.lifecycle.keep(subject, listen(subject, endpoint, answer, permits.clone(), tasks));
        }
        // Only what the server has taken is open: a call right after this must find somebody.
        while let Err(error) = self.nats.settle().await {
            tracing::warn!(%error, "NATS does not answer yet; waiting for it");
            tokio::select! {
                () = self.lifecycle.soft().cancelled() => return Err(StartError::Stopped),
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
        let soft = self.lifecycle.soft().clone();
        self.lifecycle.keep("micro", async move {
            soft.cancelled().await;
            if let Err(error) = micro.stop().await {
                tracing::warn!(%error, "cannot take the micro service off");
            }
        });
        Ok(())
    }
}

async fn listen(
    subject: &'static str,
    mut requests: Endpoint,
    answer: Answer,
    permits: Arc<Semaphore>,
    lifecycle: Lifecycle,
) {
    while let Some(request) = requests.next().await {
        let Ok(permit) = permits.clone().try_acquire_owned() else {
            lifecycle
                .spawn(async move { reply(subject, &request, Err(Refusal::unavailable("Natter is busy."))).await });
            continue;
        };
        let came = Instant::now();
        let answer = answer(request.message.payload.clone());
        lifecycle.spawn(async move {
            let trace = Trace::of(request.message.headers.as_ref());
            trace
                .scope(async {
                    let outcome = tokio::time::timeout(DEADLINE, AssertUnwindSafe(answer).catch_unwind()).await;
                    let outcome = match outcome {
                        Ok(Ok(outcome)) => outcome,
                        Ok(Err(_panic)) => {
                            tracing::error!(subject, trace_id = trace.id(), "a handler panicked");
                            Err(Refusal::internal())
                        }
                        Err(_elapsed) => {
                            tracing::warn!(subject, trace_id = trace.id(), "a call took too long and was given up");
                            Err(Refusal::unavailable("This took too long; please try again."))
                        }
                    };
                    metrics::histogram!("natter_call_seconds", "subject" => subject).record(came.elapsed());
                    reply(subject, &request, outcome).await;
                })
                .await;
            drop(permit);
        });
    }
}

async fn reply(subject: &'static str, request: &service::Request, outcome: Result<Bytes, Refusal>) {
    let code = outcome.as_ref().err().map_or("ok", |refusal| refusal.code.as_str());
    metrics::counter!("natter_calls_total", "subject" => subject, "code" => code).increment(1);
    let sent = match outcome {
        Ok(body) => match request.respond(Ok(body)).await {
            Err(error) if error.kind() == async_nats::client::PublishErrorKind::MaxPayloadExceeded => {
                refuse(request, &fault(subject, &error)).await
            }
            sent => sent,
        },
        Err(refusal) => refuse(request, &refusal).await,
    };
    if let Err(error) = sent {
        tracing::warn!(subject, %error, "cannot reply");
    }
}

async fn refuse(request: &service::Request, refusal: &Refusal) -> Result<(), async_nats::PublishError> {
    let mut headers = HeaderMap::new();
    // A JSON text within a header must be one line; serde_json escapes line breaks.
    if let Ok(json) = serde_json::to_string(refusal) {
        headers.insert(headers::REFUSAL, json);
    }
    let error = service::error::Error {
        code: refusal.code.status().into(),
        status: format!("{}: {}", refusal.code, refusal.message.replace(['\r', '\n'], " ")),
    };
    request.respond_with_headers(Err(error), headers).await
}

/// Reads a request; what does not fit names its field.
fn parse<R: Request>(payload: &[u8]) -> Result<R, Refusal> {
    let json = &mut serde_json::Deserializer::from_slice(payload);
    serde_path_to_error::deserialize(json).map_err(|error| {
        // A value where the name of a variant belongs is a syntax error to serde_json, but it is JSON.
        if !error.inner().is_data() && serde_json::from_slice::<serde::de::IgnoredAny>(payload).is_err() {
            return Refusal::new(Code::Invalid, "The body is not JSON.");
        }
        Refusal::field(error.path().to_string().trim_start_matches('.'), error.inner().to_string())
    })
}
