//! Natter itself has something to say. Admins write it, so its links are meant.

use askama::Template;
use contract::text::MessageText;

use super::Filled;

/// `templates/alert`
pub(super) struct Alert<'a> {
    name: Option<&'a str>,
    title: &'a str,
    lines: Vec<&'a str>,
}

#[derive(Template)]
#[template(path = "alert/subject.txt")]
struct Subject<'a> {
    letter: &'a Alert<'a>,
}

#[derive(Template)]
#[template(path = "alert/body.txt")]
struct Text<'a> {
    letter: &'a Alert<'a>,
}

#[derive(Template)]
#[template(path = "alert/body.html")]
struct Html<'a> {
    letter: &'a Alert<'a>,
}

impl<'a> Alert<'a> {
    pub(super) fn new(name: Option<&'a str>, title: &'a str, text: &'a MessageText) -> Self {
        Self { name, title, lines: text.trim().lines().map(str::trim_end).collect() }
    }

    pub(super) fn fill(&self) -> Result<Filled, askama::Error> {
        Filled::new(&Subject { letter: self }, &Text { letter: self }, &Html { letter: self })
    }
}

#[cfg(test)]
mod tests {
    use contract::{
        mail::Content,
        text::{MessageText, Name},
    };

    use crate::letter::tests::read;

    #[test]
    fn its_lines_are_kept_and_it_is_text() {
        let text = "Natter is away tonight.\r\n\r\nFrom <b>22:00</b>\nto 23:00 & no longer.\n";
        let alert = Content::Alert { title: Name::new("Maintenance <tonight>").unwrap(), text: message(text) };
        let mail = read(alert);
        assert_eq!(mail.subject(), "Maintenance <tonight>");
        assert!(
            mail.text().contains("Natter is away tonight.\n\nFrom <b>22:00</b>\nto 23:00 & no longer.\n"),
            "{}",
            mail.text()
        );
        let html = mail.html();
        assert!(
            html.contains(
                "Natter is away tonight.<br><br>From &#60;b&#62;22:00&#60;/b&#62;<br>to 23:00 &#38; no longer.</p>"
            ),
            "{html}"
        );
        assert!(html.contains("Maintenance &#60;tonight&#62;"), "{html}");
    }

    #[test]
    fn a_title_of_any_language_is_a_subject() {
        let title = "Störung – 障害 ".repeat(6);
        let mail = read(Content::Alert { title: Name::new(title.clone()).unwrap(), text: message("x") });
        assert_eq!(mail.subject(), title.trim());
    }

    fn message(text: &str) -> MessageText {
        MessageText::new(text).unwrap()
    }
}
