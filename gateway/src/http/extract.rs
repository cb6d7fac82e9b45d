//! What handlers take from a request. Each failure is a [`Problem`] that names what is wrong.

use std::{
    any::Any,
    fmt::Display,
    num::ParseIntError,
    str::{FromStr, ParseBoolError},
    time::Duration,
};

use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::Bytes;
use contract::{
    Actor, Code, Refusal,
    chat::{DEFAULT_PAGE, MAX_PAGE},
    user::Client,
};
use futures::StreamExt;
use http::{header, request::Parts};
use serde::de::DeserializeOwned;

use super::{gate::address, problem::Problem};
use crate::{app::App, limits::Work, parse::parse};

/// A body must arrive within this.
const BODY_DEADLINE: Duration = Duration::from_secs(15);
/// Bytes of a body that are read at most, although they are too many.
const READ_ON: usize = 16 * 1024 * 1024;
/// Characters of a `User-Agent` that are kept.
const USER_AGENT: usize = 300;

/// Who asks, from `Authorization: Bearer <accessToken>` (RFC 6750).
impl FromRequestParts<App> for Actor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let token = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer);
        let verified = match token {
            Some(token) => app.identity.verify(token).await,
            None => Err(Refusal::unauthenticated("An access token is needed.")),
        };
        match verified {
            Ok(verified) => {
                app.limits.request(verified.actor.user_id)?;
                Ok(verified.actor)
            }
            // Guessing tokens is as limited as guessing passwords.
            Err(refusal) if refusal.code == Code::Unauthenticated => {
                app.limits.sign_in(address(&parts.headers, &parts.extensions, app.http.trusted_proxies))?;
                Err(refusal.into())
            }
            Err(refusal) => Err(refusal.into()),
        }
    }
}

/// The scheme's name is case-insensitive (RFC 9110, section 11.1).
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Where the request comes from.
impl FromRequestParts<App> for Client {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Self::Rejection> {
        let address = address(&parts.headers, &parts.extensions, app.http.trusted_proxies);
        let agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        Ok(Self {
            ip: address.map(|address| address.to_string()),
            user_agent: agent.map(|agent| agent.chars().take(USER_AGENT).collect()),
        })
    }
}

/// A JSON body, whatever `Content-Type` says.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let Body(body) = Body::from_request(request, app).await?;
        Ok(Self(parse(&body)?))
    }
}

/// The bytes of a body.
pub struct Body(pub Bytes);

impl FromRequest<App> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let limit = app.http.max_body;
        let too_large = || Refusal::new(Code::TooLarge, format!("The body must be at most {limit} bytes."));
        let announced =
            request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if announced.is_some_and(|length: usize| length > READ_ON.max(limit)) {
            return Err(too_large().into());
        }
        let work = request.extensions().get::<Work>().cloned();
        match tokio::time::timeout(BODY_DEADLINE, read(request.into_body(), limit, work.as_ref())).await {
            Ok(Ok(Some(body))) => Ok(Self(body)),
            Ok(Ok(None)) => Err(too_large().into()),
            Ok(Err(busy)) => Err(busy.into()),
            Err(_) => Err(Refusal::new(Code::Invalid, "The body did not arrive in time.").into()),
        }
    }
}

/// The whole body, if it is at most `limit` bytes. Of one that is larger the rest is read and thrown away, within reason:
/// a client that is still sending would see a reset connection instead of the answer.
async fn read(body: axum::body::Body, limit: usize, work: Option<&Work>) -> Result<Option<Bytes>, Refusal> {
    let mut chunks = body.into_data_stream();
    let (mut kept, mut size) = (Vec::new(), 0);
    while let Some(chunk) = chunks.next().await {
        // A body that breaks off ends here; what there is of it will not be whole JSON.
        let Ok(chunk) = chunk else { break };
        size += chunk.len();
        if size <= limit {
            work.map_or(Ok(()), |work| work.grow(chunk.len()))?;
            kept.extend_from_slice(&chunk);
        } else if size > READ_ON {
            break;
        }
    }
    Ok((size <= limit).then(|| kept.into()))
}

/// Parameters of the path. What is no id names nothing: `not_found`.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        match axum::extract::Path::from_request_parts(parts, app).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(_) => Err(Problem::no_route()),
        }
    }
}

/// Parameters after the `?`; of a repeated one the first counts, unknown ones are ignored.
pub struct Query(Vec<(String, String)>);

impl FromRequestParts<App> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        match axum::extract::Query::from_request_parts(parts, app).await {
            Ok(axum::extract::Query(pairs)) => Ok(Self(pairs)),
            Err(_) => Err(Refusal::new(Code::Invalid, "The query string cannot be read.").into()),
        }
    }
}

impl Query {
    /// A parameter that must be there.
    pub fn required<T: FromStr<Err: Display + 'static>>(&self, name: &str) -> Result<T, Problem> {
        self.optional(name)?.ok_or_else(|| Refusal::field(name, "is needed").into())
    }

    /// A parameter that may be missing or empty.
    pub fn optional<T: FromStr<Err: Display + 'static>>(&self, name: &str) -> Result<Option<T>, Problem> {
        let value = self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let parsed = value.filter(|value| !value.is_empty()).map(str::parse::<T>).transpose();
        parsed.map_err(|error| Refusal::field(name, in_words(&error)).into())
    }

    /// `limit`, the size of a page.
    pub fn limit(&self) -> Result<u32, Problem> {
        match self.optional("limit") {
            Ok(None) => Ok(DEFAULT_PAGE),
            Ok(Some(limit @ 1..=MAX_PAGE)) => Ok(limit),
            _ => Err(Refusal::field("limit", format!("must be 1 to {MAX_PAGE}")).into()),
        }
    }
}

/// What is wrong with a value, for who wrote it: the standard library's errors are about its own parsing.
fn in_words(error: &(impl Display + 'static)) -> String {
    let any: &dyn Any = error;
    if any.is::<ParseIntError>() {
        "must be a whole number, 0 or more".to_owned()
    } else if any.is::<ParseBoolError>() {
        "must be true or false".to_owned()
    } else {
        error.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(pairs: &[(&str, &str)]) -> Query {
        Query(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn a_page_has_1_to_200_items_and_50_unless_told() {
        assert_eq!(query(&[]).limit().unwrap(), 50);
        assert_eq!(query(&[("limit", "200")]).limit().unwrap(), 200);
        for limit in ["0", "201", "-1", "x", "1e2", "99999999999999999999"] {
            let problem = query(&[("limit", limit)]).limit().unwrap_err();
            assert!(format!("{problem:?}").contains("field: \"limit\""), "{limit}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_words() {
        let problem = query(&[("before", "x"), ("unread", "1")]);
        for (said, words) in [
            (problem.optional::<u64>("before").map(drop), "must be a whole number, 0 or more"),
            (problem.optional::<bool>("unread").map(drop), "must be true or false"),
        ] {
            assert!(format!("{:?}", said.unwrap_err()).contains(words));
        }
    }

    #[test]
    fn bearer_is_case_insensitive_and_nothing_else_will_do() {
        assert_eq!(bearer("bearer  t"), Some("t"));
        assert_eq!(bearer("Basic t"), None);
        assert_eq!(bearer("Bearer"), None);
    }
}
