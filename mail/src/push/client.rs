//! Hands messages to push services (RFC 8030, section 5), and says what their answers mean.
//!
//! HTTP/1.1, without redirects and proxies: nobody but the endpoint that was checked is ever asked.

use std::{error::Error, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use contract::push::PushJob;
use http::{
    HeaderMap, Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client as Http, connect::HttpConnector},
    rt::TokioExecutor,
};
use jiff::Timestamp;
use service::chain;
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::{
    PushConfig,
    encrypt::encrypt,
    public::{NotPublic, Resolver},
    subscription::Target,
    vapid::Vapid,
};

/// Of an answer, this much is read. Who sends more loses the connection.
const ANSWER: usize = 4_096;
/// Of a refusal, this much is shown to the operator.
const SHOWN: usize = 200;
/// A connection that was not used for longer is closed.
const IDLE: Duration = Duration::from_mins(1);

pub(crate) struct Client {
    http: Http<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    vapid: Vapid,
    timeout: Duration,
}

/// What became of one message to one subscription.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The push service has it.
    Taken,
    /// There is no such subscription any more.
    Gone,
    /// It will never be taken, and why.
    Refused(String),
    /// As above: it is too long for this push service.
    TooLarge,
    /// We do not go there: its name leads into a network that is not public.
    Blocked(String),
    /// Not now, and how long to wait at least.
    Later(String, Option<Duration>),
}

impl Client {
    /// The error is a sentence for the operator.
    pub(crate) fn new(config: &PushConfig, vapid: Vapid) -> Result<Self, String> {
        let mut http = HttpConnector::new_with_resolver(Resolver { allow_private: config.allow_private });
        http.enforce_http(false);
        http.set_nodelay(true);
        let tls = tls(config.ca.as_deref())?;
        let https = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1()
            .wrap_connector(http);
        let http = Http::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(hyper_util::rt::TokioTimer::new())
            .pool_max_idle_per_host(config.connections)
            .build(https);
        Ok(Self { http, vapid, timeout: config.timeout })
    }

    pub(crate) fn public_key(&self) -> &str {
        self.vapid.public()
    }

    /// Pushes one message to one subscription.
    pub(crate) async fn push(&self, target: &Target, job: &PushJob) -> Answer {
        let request = match self.request(target, job) {
            Ok(request) => request,
            Err(error) => return Answer::Refused(chain(error.as_ref())),
        };
        tokio::time::timeout(self.timeout, self.exchange(request))
            .await
            .unwrap_or_else(|_| Answer::Later(format!("no answer within {:?}", self.timeout), None))
    }

    fn request(&self, target: &Target, job: &PushJob) -> Result<Request<Full<Bytes>>, Box<dyn Error + Send + Sync>> {
        let body = encrypt(job.payload.get().as_bytes(), &target.keys)?;
        let mut request = Request::post(target.endpoint.uri.clone())
            .header(AUTHORIZATION, self.vapid.authorization(&target.endpoint.origin)?)
            .header(CONTENT_ENCODING, "aes128gcm")
            .header(CONTENT_TYPE, "application/octet-stream")
            .header("TTL", job.ttl_seconds)
            .header("Urgency", job.urgency.as_str());
        if let Some(topic) = &job.topic {
            request = request.header("Topic", topic.as_str());
        }
        Ok(request.body(Full::from(body))?)
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Answer {
        let response = match self.http.request(request).await {
            Ok(response) => response,
            Err(error) => return unreached(&error),
        };
        let (status, headers) = (response.status(), response.headers().clone());
        // Read also where nothing is to be learnt: only then can the connection be used again.
        let body = Limited::new(response.into_body(), ANSWER).collect().await;
        let says = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).chars().take(SHOWN).collect::<String>());
        meaning(status, &headers, &says.unwrap_or_default())
    }
}

fn tls(ca: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    if let Some(ca) = ca {
        let wrong = |error: &dyn std::fmt::Display| format!("NATTER_PUSH__CA: {}: {error}", ca.display());
        for certificate in CertificateDer::pem_file_iter(ca).map_err(|error| wrong(&error))? {
            let certificate = certificate.map_err(|error| wrong(&error))?;
            roots.add(certificate).map_err(|error| wrong(&error))?;
        }
    }
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| format!("cannot set TLS up: {error}"))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn unreached(error: &(dyn Error + 'static)) -> Answer {
    let mut cause = Some(error);
    while let Some(error) = cause {
        // Where an `io::Error` wraps another, its `source` skips to that one's source.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(why) = inner.and_then(|inner| inner.downcast_ref::<NotPublic>()) {
            return Answer::Blocked(why.to_string());
        }
        cause = error.source();
    }
    Answer::Later(chain(error), None)
}

fn meaning(status: StatusCode, headers: &HeaderMap, says: &str) -> Answer {
    match status.as_u16() {
        200..=299 => Answer::Taken,
        404 | 410 => Answer::Gone,
        413 => Answer::TooLarge,
        408 | 429 | 500..=599 => Answer::Later(format!("{status} {says:?}"), retry_after(headers)),
        _ => Answer::Refused(format!("{status} {says:?}")),
    }
}

/// Seconds or a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    date.duration_since(Timestamp::now()).try_into().ok()
}

#[cfg(test)]
mod tests {
    use base64::Engine;

    use super::{
        super::{public::Endpoint, random_key, subscription::Keys},
        *,
    };

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let header = |text: &str| HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
        assert_eq!(retry_after(&header("120")), Some(Duration::from_mins(2)));
        let ahead = retry_after(&header("Fri, 31 Dec 2100 23:59:59 GMT")).unwrap();
        assert!(ahead > Duration::from_hours(24 * 365));
        for text in ["Fri, 31 Dec 1999 23:59:59 GMT", "soon", "-1", "1.5", ""] {
            assert_eq!(retry_after(&header(text)), None, "{text}");
        }
    }

    /// The last guard, on what is connected to: with an endpoint that the first one has let pass.
    #[tokio::test]
    async fn a_name_that_leads_to_ourselves_is_not_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("https://localhost:{}/a", listener.local_addr().unwrap().port());
        let endpoint = Endpoint::parse(&endpoint, true).unwrap();
        let target = Target { endpoint, keys: Keys { public: random_key().public_key(), auth: [0; 16] } };
        let job = PushJob {
            about: None,
            user_id: contract::UserId::new(),
            topic: None,
            ttl_seconds: 1,
            urgency: contract::push::Urgency::Normal,
            payload: serde_json::value::to_raw_value("x").unwrap(),
            expires_at: contract::Time::now(),
            only: None,
        };
        let answer = async |allow_private| {
            let timeout = Duration::from_millis(500);
            let retry = crate::RetryConfig { first: timeout, longest: timeout, attempts: 1 };
            let config = PushConfig { identity: None, timeout, connections: 1, retry, allow_private, ca: None };
            let key = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode([1; 32]).parse().unwrap();
            Client::new(&config, Vapid::new(&key, String::new()).unwrap()).unwrap().push(&target, &job).await
        };
        assert!(matches!(answer(false).await, Answer::Blocked(why) if why.contains("not public")));
        let nobody = tokio::time::timeout(Duration::from_millis(200), listener.accept()).await;
        assert!(nobody.is_err(), "somebody connected");
        // It is this guard that makes the difference.
        assert!(matches!(answer(true).await, Answer::Later(..)));
        listener.accept().await.unwrap();
    }

    #[test]
    fn every_status_has_a_meaning() {
        let meaning = |status: u16| meaning(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), "");
        for (statuses, wanted) in [
            (&[200, 201, 202, 204][..], "Taken"),
            (&[404, 410], "Gone"),
            (&[413], "TooLarge"),
            (&[301, 302, 307, 308, 400, 401, 403, 405], "Refused"),
            (&[408, 429, 500, 502, 503, 504], "Later"),
        ] {
            for status in statuses {
                let answer = format!("{:?}", meaning(*status));
                assert!(answer.starts_with(wanted), "{status}: {answer}");
            }
        }
    }
}
