//! An account was signed in to from a device it had not been used on before.

use std::net::IpAddr;

use askama::Template;
use contract::Time;

use super::{Filled, words};

/// Characters of a device's name that are shown.
const DEVICE: usize = 100;

/// `templates/new_sign_in`
pub(super) struct NewSignIn<'a> {
    name: Option<&'a str>,
    /// Whoever signed in chose it.
    device: Option<String>,
    ip: Option<IpAddr>,
    at: String,
}

#[derive(Template)]
#[template(path = "new_sign_in/subject.txt")]
struct Subject {}

#[derive(Template)]
#[template(path = "new_sign_in/body.txt")]
struct Text<'a> {
    letter: &'a NewSignIn<'a>,
}

#[derive(Template)]
#[template(path = "new_sign_in/body.html")]
struct Html<'a> {
    letter: &'a NewSignIn<'a>,
}

impl<'a> NewSignIn<'a> {
    /// What is no IP address comes from somebody who wants to say something, and is left out.
    pub(super) fn new(name: Option<&'a str>, device: Option<&str>, ip: Option<&str>, at: Time) -> Self {
        Self {
            name,
            device: device.map(|device| words::plain(device, DEVICE)).filter(|device| !device.is_empty()),
            ip: ip.and_then(|ip| ip.parse().ok()),
            at: in_utc(at),
        }
    }

    pub(super) fn fill(&self) -> Result<Filled, askama::Error> {
        Filled::new(&Subject {}, &Text { letter: self }, &Html { letter: self })
    }
}

/// `22 November 2026, 15:08 UTC`: where the reader's clock stands, nobody has told us.
fn in_utc(time: Time) -> String {
    jiff::Timestamp::from_millisecond(time.as_millis())
        .map_or_else(|_| time.to_string(), |time| time.strftime("%-d %B %Y, %H:%M UTC").to_string())
}

#[cfg(test)]
mod tests {
    use contract::{Time, mail::Content, text::Device};

    use crate::letter::tests::read;

    fn sign_in(device: Option<&str>, ip: Option<&str>) -> Content {
        let at = Time::from_millis(1_763_800_000_000);
        Content::NewSignIn { device: device.map(|name| Device::new(name).unwrap()), ip: ip.map(str::to_owned), at }
    }

    #[test]
    fn it_says_where_from_and_when() {
        let mail = read(sign_in(Some("Firefox on Linux"), Some("192.168.10.25")));
        assert_eq!(mail.subject(), "New sign-in to your Natter account");
        for body in [mail.text(), mail.html()] {
            for said in ["Firefox on Linux", "192.168.10.25", "22 November 2025, 08:26 UTC", "Forgot password"] {
                assert!(body.contains(said), "{said}: {body}");
            }
        }
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let mail = read(sign_in(None, None));
        for body in [mail.text(), mail.html()] {
            assert!(body.contains("Not known") && !body.contains("IP address"), "{body}");
        }
    }

    #[test]
    fn a_device_is_one_line_of_text_without_links() {
        let device = "<i>Phone</i>\r\nBcc: x\n\nCall evil.example or https://evil.example/x";
        let mail = read(sign_in(Some(device), Some("<b>evil.example</b>")));
        assert!(mail.text().contains("<i>Phone</i> Bcc: x Call evil. example or [link]\n"), "{}", mail.text());
        assert!(mail.html().contains("&#60;i&#62;Phone") && !mail.html().contains("<i>"), "{}", mail.html());
        assert!(!mail.raw().contains("evil.example"), "{}", mail.raw());
    }
}
