//! REST as a patient client speaks it: whoever is told to come later does.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use reqwest::{
    Client, RequestBuilder,
    header::{HeaderValue, RETRY_AFTER},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::sleep;

use crate::refused::Refused;

/// A request that is refused with `Retry-After` is tried for so long.
const PATIENCE: Duration = Duration::from_mins(2);

/// Posts until it is answered; the error is any refusal that is not for a time.
pub async fn post<T: DeserializeOwned>(http: &Client, url: &str, token: Option<&str>, body: &Value) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        let request = http.post(url).json(body);
        let request = if let Some(token) = token { request.bearer_auth(token) } else { request };
        match ask(request).await.with_context(|| format!("POST {url}"))? {
            Ok(answer) => {
                // A 202 has nothing to say.
                let answer = if answer.is_empty() { b"null" } else { answer.as_slice() };
                return serde_json::from_slice(answer).with_context(|| format!("the answer of {url}"));
            }
            Err(Refused { code, wait }) if wait.is_zero() || Instant::now() > end => bail!("{url} refuses: {code}"),
            Err(Refused { wait, .. }) => sleep(wait).await,
        }
    }
}

/// Asks once: the answer's body, or why there is none. The error is that there was no answer at all.
pub async fn ask(request: RequestBuilder) -> Result<Result<Vec<u8>, Refused>> {
    let response = request.send().await?;
    let (status, wait) = (response.status(), response.headers().get(RETRY_AFTER).cloned());
    let answer = response.bytes().await?;
    if status.is_success() {
        return Ok(Ok(answer.into()));
    }
    Ok(Err(Refused::over_http(status.as_u16(), wait.as_ref().map(HeaderValue::as_bytes), &answer)))
}
