//! Somebody tried to register an address that has an account.

use askama::Template;

use super::Filled;

/// `templates/already_registered`
pub(super) struct AlreadyRegistered<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) email: &'a str,
}

#[derive(Template)]
#[template(path = "already_registered/subject.txt")]
struct Subject {}

#[derive(Template)]
#[template(path = "already_registered/body.txt")]
struct Text<'a> {
    letter: &'a AlreadyRegistered<'a>,
}

#[derive(Template)]
#[template(path = "already_registered/body.html")]
struct Html<'a> {
    letter: &'a AlreadyRegistered<'a>,
}

impl AlreadyRegistered<'_> {
    pub(super) fn fill(&self) -> Result<Filled, askama::Error> {
        Filled::new(&Subject {}, &Text { letter: self }, &Html { letter: self })
    }
}
