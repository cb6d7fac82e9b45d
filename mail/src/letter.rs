//! From a letter's content to the message as it is sent: templates, headers, MIME. A folder under `templates/` and a
//! struct under `letter/` for each kind of letter.

mod account;
mod alert;
mod code;
mod digest;
mod headers;
mod sign_in;
mod words;

use std::time::SystemTime;

use askama::Template;
use contract::{
    Time,
    mail::{Content, Letter},
};
use lettre::{
    Address, Message,
    message::{Mailbox, MultiPart},
};

use account::AlreadyRegistered;
use alert::Alert;
use code::{Otp, PasswordReset};
use digest::Digest;
use headers::{AutoSubmitted, ListUnsubscribe, ListUnsubscribePost, NoUrl};
use sign_in::NewSignIn;

/// A letter ready to be sent.
#[derive(Debug)]
pub(crate) struct Rendered {
    pub(crate) from: Address,
    pub(crate) to: Address,
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) html: String,
    /// As RFC 5322 wants it, without the SMTP encoding.
    pub(crate) message: Vec<u8>,
}

/// Why a letter cannot be written. It never will be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RenderError {
    #[error("cannot fill the template in")]
    Template(#[from] askama::Error),
    #[error("no mail can be sent to this address")]
    Address(#[from] lettre::address::AddressError),
    #[error("the link to unsubscribe is of no use")]
    Unsubscribe(#[from] NoUrl),
    #[error("cannot put the message together")]
    Message(#[from] lettre::error::Error),
}

/// What the templates of a letter say.
struct Filled {
    subject: String,
    text: String,
    html: String,
}

impl Filled {
    fn new(subject: &impl Template, text: &impl Template, html: &impl Template) -> Result<Self, askama::Error> {
        Ok(Self { subject: subject.render()?, text: text.render()?, html: html.render()? })
    }
}

/// What the letter is called in logs and metrics: its folder of templates.
pub(crate) fn kind(content: &Content) -> &'static str {
    match content {
        Content::Otp { .. } => "otp",
        Content::AlreadyRegistered {} => "already_registered",
        Content::PasswordReset { .. } => "password_reset",
        Content::NewSignIn { .. } => "new_sign_in",
        Content::Digest(_) => "digest",
        Content::Alert { .. } => "alert",
    }
}

/// Writes a letter. `id` is the same however often it is written, so that a mail server and a mail client know a
/// second copy as one; `written` is when it was asked for.
pub(crate) fn render(letter: &Letter, id: &str, written: Time, from: &Mailbox) -> Result<Rendered, RenderError> {
    let Filled { subject, text, html } = fill(letter)?;
    let to: Address = letter.to.parse()?;
    let mut message = Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to.clone()))
        .subject(subject.clone())
        .date(SystemTime::UNIX_EPOCH + written.since(Time::from_millis(0)))
        .message_id(Some(format!("<{id}@{}>", from.email.domain())))
        .header(AutoSubmitted);
    if let Content::Digest(digest) = &letter.content {
        message = message.header(ListUnsubscribe::new(&digest.unsubscribe_url)?).header(ListUnsubscribePost);
    }
    let message = message.multipart(MultiPart::alternative_plain_html(text.clone(), html.clone()))?.formatted();
    Ok(Rendered { from: from.email.clone(), to, subject, text, html, message })
}

fn fill(letter: &Letter) -> Result<Filled, askama::Error> {
    // Anybody can have a letter sent to anybody by signing up with their address, under a name of their choice.
    let name = letter.name.as_deref().filter(|name| !words::looks_like_a_link(name));
    match &letter.content {
        Content::Otp { code, minutes } => Otp { name, code: code.expose(), minutes: *minutes }.fill(),
        Content::PasswordReset { code, minutes } => {
            PasswordReset { name, code: code.expose(), minutes: *minutes }.fill()
        }
        Content::AlreadyRegistered {} => AlreadyRegistered { name, email: &letter.to }.fill(),
        Content::NewSignIn { device, ip, at } => NewSignIn::new(name, device.as_deref(), ip.as_deref(), *at).fill(),
        Content::Digest(digest) => Digest::new(name, digest).fill(),
        Content::Alert { title, text } => Alert::new(name, title, text).fill(),
    }
}

#[cfg(test)]
mod tests {
    use contract::text::{Email, Name, Secret};
    use testkit::smtp::Mail;

    use super::*;

    /// A letter to Anna as a mail client reads it.
    pub(super) fn read(content: Content) -> Mail {
        read_as("Anna", content)
    }

    fn read_as(name: &str, content: Content) -> Mail {
        let (to, name) = (Email::new("anna@example.org").unwrap(), Some(Name::new(name).unwrap()));
        let letter = Letter { to, name, content, expires_at: None };
        let from = "Natter <natter@example.org>".parse().unwrap();
        Mail::parse(render(&letter, "letter-7", Time::from_millis(1_763_800_000_000), &from).unwrap().message)
    }

    /// What is before the first empty line.
    pub(super) fn head(mail: &Mail) -> String {
        mail.raw().split("\r\n\r\n").next().unwrap().to_owned()
    }

    fn otp(code: &str) -> Content {
        Content::Otp { code: Secret::new(code), minutes: 5 }
    }

    #[test]
    fn every_letter_says_that_a_machine_wrote_it() {
        let mail = read_as("Änna", otp("012345"));
        assert!(mail.text().contains("Hello Änna,") && mail.html().contains("Hello Änna,"));
        assert_eq!(mail.header("Message-ID"), "<letter-7@example.org>");
        assert_eq!(mail.header("Auto-Submitted"), "auto-generated");
        assert_eq!(mail.header("List-Unsubscribe"), "");
    }

    #[test]
    fn a_name_is_text_not_html() {
        let mail = read_as("<b>Ben</b> & \"Co\"", Content::AlreadyRegistered {});
        assert!(!mail.html().contains("<b>Ben") && mail.html().contains("&#60;b&#62;Ben"), "{}", mail.html());
        assert!(mail.text().contains("<b>Ben</b> & \"Co\""));
    }

    #[test]
    fn a_name_carries_no_link() {
        for name in ["win at evil.example", "http://1.2.3.4", "www.evil.com!", "mail me@evil", "evil.com/x"] {
            let mail = read_as(name, otp("012345"));
            assert!(mail.text().starts_with("Hello,"), "{}", mail.text());
            assert!(!mail.html().contains("evil"));
        }
        for name in ["J. R. R. Tolkien", "J.R.R. Tolkien", "Dr. No", "Anna/Ben", "孔子"] {
            assert!(read_as(name, otp("012345")).text().starts_with(&format!("Hello {name},")), "{name}");
        }
    }

    #[test]
    fn nothing_that_is_filled_in_becomes_a_header() {
        let mail = read(otp("1\r\nBcc: eve@example.org\r\n\r\nx"));
        assert_eq!(mail.header("Bcc"), "");
        assert!(!head(&mail).contains("\nBcc:"), "{}", head(&mail));
    }
}
