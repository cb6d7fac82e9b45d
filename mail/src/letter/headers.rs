//! Headers that lettre does not know.

use lettre::message::header::{Header, HeaderName, HeaderValue};

type ParseError = Box<dyn std::error::Error + Send + Sync>;

/// `Auto-Submitted: auto-generated` (RFC 3834): no answers from out-of-office programs.
#[derive(Clone, Copy)]
pub(super) struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, ParseError> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// `List-Unsubscribe: <url>` (RFC 2369): mail clients show a button.
#[derive(Clone)]
pub(super) struct ListUnsubscribe(String);

/// It cannot stand in a header.
#[derive(Debug, thiserror::Error)]
#[error("not an http(s) URL of ASCII characters")]
pub(crate) struct NoUrl;

impl ListUnsubscribe {
    pub(super) fn new(url: &str) -> Result<Self, NoUrl> {
        let known = url.starts_with("https://") || url.starts_with("http://");
        let plain = url.chars().all(|c| c.is_ascii_graphic() && !"<>\"".contains(c));
        if known && plain { Ok(Self(url.to_owned())) } else { Err(NoUrl) }
    }
}

impl Header for ListUnsubscribe {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("List-Unsubscribe")
    }

    fn parse(url: &str) -> Result<Self, ParseError> {
        Ok(Self::new(url.trim().trim_start_matches('<').trim_end_matches('>'))?)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), format!("<{}>", self.0))
    }
}

/// `List-Unsubscribe-Post` (RFC 8058): that button needs no page, a `POST` does it.
#[derive(Clone, Copy)]
pub(super) struct ListUnsubscribePost;

impl Header for ListUnsubscribePost {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("List-Unsubscribe-Post")
    }

    fn parse(_: &str) -> Result<Self, ParseError> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "List-Unsubscribe=One-Click".to_owned())
    }
}
