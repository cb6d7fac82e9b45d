//! Refusals as HTTP: `application/problem+json` (RFC 9457), in this one place.

use std::any::Any;

use axum::response::{IntoResponse, Response};
use contract::{Code, FieldError, Refusal};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::parse::Unfit;

/// A refusal on its way out over HTTP.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    refusal: Refusal,
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    code: Code,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    errors: &'a [FieldError],
}

impl Problem {
    /// There is no such route.
    pub fn no_route() -> Self {
        Refusal::new(Code::NotFound, "There is nothing at this address.").into()
    }

    /// The route has other methods.
    pub fn no_method() -> Self {
        let refusal = Refusal::new(Code::Invalid, "This address does not have this method.");
        Self { status: StatusCode::METHOD_NOT_ALLOWED, refusal }
    }

    /// What a handler that panicked answers with.
    pub fn of_panic(panic: &(dyn Any + Send)) -> Response {
        let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        tracing::error!(panic = text.unwrap_or("of unknown kind"), "a request's handler panicked");
        Self::from(Refusal::internal()).into_response()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, refusal }
    }
}

impl From<Unfit> for Problem {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Malformed(refusal) => Self { status: StatusCode::BAD_REQUEST, refusal },
            Unfit::Invalid(refusal) => refusal.into(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = Document {
            // No page describes a problem beyond its status: RFC 9457, section 4.2.1.
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            code: self.refusal.code,
            detail: &self.refusal.message,
            errors: &self.refusal.errors,
        };
        let mut response = (self.status, axum::Json(document)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = retry_after(&self.refusal) {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// Seconds; always there where trying again is what to do.
fn retry_after(refusal: &Refusal) -> Option<u64> {
    let again = matches!(refusal.code, Code::RateLimited | Code::Unavailable);
    refusal.retry_after.or(again.then_some(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn document(problem: Problem) -> (StatusCode, header::HeaderMap, serde_json::Value) {
        let response = problem.into_response();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, headers, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_refusal_becomes_problem_json() {
        let (status, headers, document) = document(Refusal::field("name", "must not be empty").into()).await;
        assert_eq!(status, 422);
        assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(
            document,
            serde_json::json!({
                "type": "about:blank", "title": "Unprocessable Entity", "status": 422, "code": "invalid",
                "detail": "name: must not be empty", "errors": [{ "field": "name", "message": "must not be empty" }],
            })
        );
    }

    #[tokio::test]
    async fn headers_say_what_to_do() {
        let wait = std::time::Duration::from_millis(1_500);
        assert_eq!(document(Refusal::rate_limited(wait).into()).await.1[header::RETRY_AFTER], "2");
        assert_eq!(document(Refusal::unavailable("x").into()).await.1[header::RETRY_AFTER], "1");
        assert_eq!(document(Refusal::unauthenticated("x").into()).await.1[header::WWW_AUTHENTICATE], "Bearer");
        assert!(document(Refusal::internal().into()).await.1.get(header::RETRY_AFTER).is_none());
    }

    #[tokio::test]
    async fn what_is_no_json_is_a_400() {
        let unfit = crate::parse::parse::<u8>(b"{").unwrap_err();
        assert_eq!(document(unfit.into()).await.0, 400);
    }
}
