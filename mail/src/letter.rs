//! From a letter's content to the message as it is sent: templates, headers, MIME. A folder under `templates/` for each
//! kind of letter.

use std::time::SystemTime;

use askama::Template;
use contract::{
    Time,
    mail::{Content, Letter},
};
use lettre::{
    Address, Message,
    message::{
        Mailbox, MultiPart,
        header::{Header, HeaderName, HeaderValue},
    },
};

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
    #[error("there are no templates for it yet")]
    NotYet,
    #[error("cannot put the message together")]
    Message(#[from] lettre::error::Error),
}

/// `templates/otp`
struct Otp<'a> {
    name: Option<&'a str>,
    code: &'a str,
    minutes: u32,
}

#[derive(Template)]
#[template(path = "otp/subject.txt")]
struct OtpSubject<'a> {
    letter: &'a Otp<'a>,
}

#[derive(Template)]
#[template(path = "otp/body.txt")]
struct OtpText<'a> {
    letter: &'a Otp<'a>,
}

#[derive(Template)]
#[template(path = "otp/body.html")]
struct OtpHtml<'a> {
    letter: &'a Otp<'a>,
}

/// `templates/already_registered`
struct AlreadyRegistered<'a> {
    name: Option<&'a str>,
    email: &'a str,
}

#[derive(Template)]
#[template(path = "already_registered/subject.txt")]
struct AlreadyRegisteredSubject {}

#[derive(Template)]
#[template(path = "already_registered/body.txt")]
struct AlreadyRegisteredText<'a> {
    letter: &'a AlreadyRegistered<'a>,
}

#[derive(Template)]
#[template(path = "already_registered/body.html")]
struct AlreadyRegisteredHtml<'a> {
    letter: &'a AlreadyRegistered<'a>,
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
    let name = letter.name.as_deref().filter(|name| !looks_like_a_link(name));
    let (subject, text, html) = match &letter.content {
        Content::Otp { code, minutes } => {
            let letter = &Otp { name, code: code.expose(), minutes: *minutes };
            (OtpSubject { letter }.render()?, OtpText { letter }.render()?, OtpHtml { letter }.render()?)
        }
        Content::AlreadyRegistered {} => {
            let letter = &AlreadyRegistered { name, email: &letter.to };
            let subject = AlreadyRegisteredSubject {}.render()?;
            (subject, AlreadyRegisteredText { letter }.render()?, AlreadyRegisteredHtml { letter }.render()?)
        }
        Content::PasswordReset { .. } | Content::NewSignIn { .. } | Content::Digest(_) | Content::Alert { .. } => {
            return Err(RenderError::NotYet);
        }
    };
    let to: Address = letter.to.parse()?;
    let message = Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to.clone()))
        .subject(subject.clone())
        .date(SystemTime::UNIX_EPOCH + written.since(Time::from_millis(0)))
        .message_id(Some(format!("<{id}@{}>", from.email.domain())))
        .header(AutoSubmitted)
        .multipart(MultiPart::alternative_plain_html(text.clone(), html.clone()))?
        .formatted();
    Ok(Rendered { from: from.email.clone(), to, subject, text, html, message })
}

/// Anybody can have a letter sent to anybody by signing up with their address, under a name of their choice. That name
/// shall not carry a link: mail clients make one of whatever looks like it.
fn looks_like_a_link(name: &str) -> bool {
    let host = |text: &str| {
        text.split('.').skip(1).any(|label| label.chars().take_while(|c| c.is_alphanumeric()).count() >= 2)
    };
    name.contains('@') || name.contains("//") || name.split_whitespace().any(host)
}

/// `Auto-Submitted: auto-generated` (RFC 3834): no answers from out-of-office programs.
#[derive(Clone, Copy)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use contract::text::{Email, Name, Secret};
    use testkit::smtp::Mail;

    use super::*;

    fn letter(name: &str, content: Content) -> Letter {
        Letter {
            to: Email::new("anna@example.org").unwrap(),
            name: Some(Name::new(name).unwrap()),
            content,
            expires_at: None,
        }
    }

    fn otp(code: &str) -> Content {
        Content::Otp { code: Secret::new(code), minutes: 5 }
    }

    fn read(letter: &Letter) -> Mail {
        let from = "Natter <natter@example.org>".parse().unwrap();
        Mail::parse(render(letter, "letter-7", Time::from_millis(1_763_800_000_000), &from).unwrap().message)
    }

    #[test]
    fn a_code_stands_in_the_subject_and_in_both_bodies() {
        let mail = read(&letter("Änna", otp("012345")));
        assert_eq!(mail.subject(), "012345 is your Natter code");
        assert!(mail.text().contains("012345") && mail.html().contains("012345"));
        assert!(mail.text().contains("Hello Änna,") && mail.html().contains("Hello Änna,"));
        assert_eq!(mail.header("Message-ID"), "<letter-7@example.org>");
        assert_eq!(mail.header("Auto-Submitted"), "auto-generated");
    }

    #[test]
    fn a_name_is_text_not_html() {
        let mail = read(&letter("<b>Ben</b> & \"Co\"", Content::AlreadyRegistered {}));
        assert!(!mail.html().contains("<b>Ben") && mail.html().contains("&#60;b&#62;Ben"), "{}", mail.html());
        assert!(mail.text().contains("<b>Ben</b> & \"Co\""));
    }

    #[test]
    fn a_name_carries_no_link() {
        for name in ["win at evil.example", "http://1.2.3.4", "www.evil.com!", "mail me@evil", "evil.com/x"] {
            let mail = read(&letter(name, otp("012345")));
            assert!(mail.text().starts_with("Hello,"), "{}", mail.text());
            assert!(!mail.html().contains("evil"));
        }
        for name in ["J. R. R. Tolkien", "J.R.R. Tolkien", "Dr. No", "Anna/Ben", "孔子"] {
            assert!(read(&letter(name, otp("012345"))).text().starts_with(&format!("Hello {name},")), "{name}");
        }
    }

    #[test]
    fn nothing_that_is_filled_in_becomes_a_header() {
        let mail = read(&letter("Anna", otp("1\r\nBcc: eve@example.org\r\n\r\nx")));
        assert_eq!(mail.header("Bcc"), "");
        let raw = mail.raw();
        let head = raw.split("\r\n\r\n").next().unwrap();
        assert!(!head.contains("\nBcc:"), "{head}");
    }
}
