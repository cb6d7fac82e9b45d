//! The one error of the wire: a stable code for the program, a sentence for the person. What an operator needs is
//! logged where it happened and never travels.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// Why a request was refused. A frontend may rely on these names; each has one HTTP status (`invalid` two).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The request does not fit its type or limits. 422, or 400 where it is not even JSON.
    Invalid,
    /// No valid access token, or wrong credentials. 401.
    Unauthenticated,
    /// Known, but not allowed. 403.
    Forbidden,
    /// The password is right, the address not yet verified. 403.
    EmailUnverified,
    /// It does not exist, or not for the one who asks. 404.
    NotFound,
    /// It contradicts what is already there. 409.
    Conflict,
    /// Over a size limit. 413.
    TooLarge,
    /// Too often; later works. 429.
    RateLimited,
    /// A fault of ours. 500.
    Internal,
    /// A part is absent or busy; later works. 503.
    Unavailable,
}

impl Code {
    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::EmailUnverified => "email_unverified",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::TooLarge => "too_large",
            Self::RateLimited => "rate_limited",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
        }
    }

    /// The HTTP status (RFC 9110).
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Invalid => 422,
            Self::Unauthenticated => 401,
            Self::Forbidden | Self::EmailUnverified => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::RateLimited => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is wrong with one field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// Path from the body's root, `members[3]`.
    pub field: String,
    pub message: String,
}

/// A request refused: what the frontend and the person before it may know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    pub code: Code,
    /// A sentence for a person; never a secret, never an internal.
    pub message: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Seconds after which trying again makes sense.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

impl Refusal {
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), errors: Vec::new(), retry_after: None }
    }

    /// One field is not as it must be.
    #[must_use]
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        let (field, message) = (field.into(), message.into());
        let sentence = if field.is_empty() { message.clone() } else { format!("{field}: {message}") };
        Self { errors: vec![FieldError { field, message }], ..Self::new(Code::Invalid, sentence) }
    }

    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("There is no such {what}."))
    }

    #[must_use]
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(Code::Forbidden, message)
    }

    #[must_use]
    pub fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(Code::Unauthenticated, message)
    }

    /// A part is absent or busy; the caller may try again in a second.
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { retry_after: Some(1), ..Self::new(Code::Unavailable, message) }
    }

    /// Too often; `wait` is rounded up to whole seconds.
    #[must_use]
    pub fn rate_limited(wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Self {
            retry_after: Some(seconds.max(1)),
            ..Self::new(Code::RateLimited, "Too many requests; please wait a moment.")
        }
    }

    /// A fault of ours. The cause is for the log of the one who saw it.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(Code::Internal, "Something went wrong on our side.")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Refusal {}
