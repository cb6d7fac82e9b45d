//! Letters with a code: to sign in, and to set a new password.

use askama::Template;

use super::Filled;

/// `templates/otp`
pub(super) struct Otp<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) code: &'a str,
    pub(super) minutes: u32,
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

impl Otp<'_> {
    pub(super) fn fill(&self) -> Result<Filled, askama::Error> {
        Filled::new(&OtpSubject { letter: self }, &OtpText { letter: self }, &OtpHtml { letter: self })
    }
}

/// `templates/password_reset`
pub(super) struct PasswordReset<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) code: &'a str,
    pub(super) minutes: u32,
}

#[derive(Template)]
#[template(path = "password_reset/subject.txt")]
struct PasswordResetSubject<'a> {
    letter: &'a PasswordReset<'a>,
}

#[derive(Template)]
#[template(path = "password_reset/body.txt")]
struct PasswordResetText<'a> {
    letter: &'a PasswordReset<'a>,
}

#[derive(Template)]
#[template(path = "password_reset/body.html")]
struct PasswordResetHtml<'a> {
    letter: &'a PasswordReset<'a>,
}

impl PasswordReset<'_> {
    pub(super) fn fill(&self) -> Result<Filled, askama::Error> {
        let letter = self;
        Filled::new(&PasswordResetSubject { letter }, &PasswordResetText { letter }, &PasswordResetHtml { letter })
    }
}

#[cfg(test)]
mod tests {
    use contract::{mail::Content, text::Secret};

    use crate::letter::tests::{head, read};

    #[test]
    fn a_code_stands_in_the_subject_and_in_both_bodies() {
        let mail = read(Content::Otp { code: Secret::new("012345"), minutes: 5 });
        assert_eq!(mail.subject(), "012345 is your Natter code");
        assert!(mail.text().contains("012345") && mail.html().contains("012345"));
        assert!(mail.text().contains("5 minutes") && mail.html().contains("5 minutes"));
    }

    #[test]
    fn a_code_for_a_new_password_says_what_it_is_for() {
        let mail = read(Content::PasswordReset { code: Secret::new("012345"), minutes: 1 });
        assert_eq!(mail.subject(), "012345 is your Natter code");
        for body in [mail.text(), mail.html()] {
            assert!(body.contains("012345") && body.contains("new password") && body.contains("1 minute "), "{body}");
        }
    }

    #[test]
    fn what_is_in_place_of_a_code_is_text() {
        let mail = read(Content::PasswordReset { code: Secret::new("<b>\r\nBcc: eve@example.org"), minutes: 5 });
        assert!(!mail.html().contains("<b>") && mail.html().contains("&#60;b&#62;"), "{}", mail.html());
        assert!(!head(&mail).contains("\nBcc:"), "{}", head(&mail));
    }
}
