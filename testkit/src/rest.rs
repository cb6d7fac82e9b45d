//! A REST client as a frontend's would be: a bearer token, JSON both ways.

use std::time::Duration;

use reqwest::{
    Client, Method, RequestBuilder,
    header::{HeaderMap, RETRY_AFTER},
};
use serde_json::Value;

/// What a test waits for an answer; the services' own timeouts are shorter.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A client of one base URL, with or without a token.
#[derive(Clone)]
pub struct Rest {
    base: String,
    token: Option<String>,
    http: Client,
}

/// What the server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Response headers.
    pub headers: HeaderMap,
    /// The body as JSON; `null` if empty, a string if it is no JSON.
    pub body: Value,
}

impl Rest {
    /// A client without a token; `base` is for instance `http://127.0.0.1:8080`.
    pub fn new(base: impl Into<String>) -> Self {
        Self { base: base.into(), token: None, http: Client::new() }
    }

    /// The same client with a bearer token.
    #[must_use]
    pub fn with_token(&self, token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), ..self.clone() }
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    /// POST with a JSON body.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body)).await
    }

    /// PUT with a JSON body.
    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PUT, path, Some(body)).await
    }

    /// PATCH with a JSON body.
    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PATCH, path, Some(body)).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None).await
    }

    /// Any method, with or without a JSON body.
    pub async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let request = self.request(method, path);
        answer(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    }

    /// Any method; `None` where nobody answers, for tests in which gateways die.
    pub async fn try_send(&self, method: &str, path: &str, body: Option<Value>) -> Option<Answer> {
        let request = self.request(method.parse().ok()?, path);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        try_answer(request).await.ok()
    }

    /// A request to be filled by the caller: other bodies, other headers. Send it with [`answer`].
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base)).timeout(TIMEOUT);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }
}

/// Sends a request and reads the whole answer.
///
/// # Panics
/// When there is none.
pub async fn answer(request: RequestBuilder) -> Answer {
    try_answer(request).await.unwrap_or_else(|error| panic!("no whole answer: {error:?}"))
}

async fn try_answer(request: RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = response.bytes().await?;
    let body = if bytes.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into())
    };
    Ok(Answer { status, headers, body })
}

impl Answer {
    /// The body of an answer that has this status.
    ///
    /// # Panics
    /// When it has another.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "the answer was {}", self.body);
        self.body
    }

    /// The `code` of a problem (RFC 9457).
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// When to ask again, as `Retry-After` says it.
    ///
    /// # Panics
    /// When it does not, in seconds.
    #[track_caller]
    #[expect(clippy::expect_used, reason = "a refusal that should say so and does not")]
    pub fn retry_after(&self) -> Duration {
        let seconds = self.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Duration::from_secs(seconds.expect("Retry-After in seconds"))
    }
}
