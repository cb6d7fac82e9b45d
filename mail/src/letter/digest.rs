//! What somebody has not read, in one letter.

use askama::Template;
use contract::mail::{self, DigestItem};

use super::{Filled, words};

/// Characters of a name that are shown; more than any name has, unless it is no name.
const NAME: usize = 100;
/// Characters of a message that are shown.
const PREVIEW: usize = 160;

/// `templates/digest`
pub(super) struct Digest<'a> {
    name: Option<&'a str>,
    chats: Vec<Chat>,
    /// `and 2 more chats`
    more: Option<String>,
    /// What the letter is about, as a sentence goes on after `You have`.
    unread: String,
    subject: String,
    unsubscribe_url: &'a str,
}

/// A chat with something unread.
struct Chat {
    /// The group's name, or who wrote.
    title: String,
    /// Who wrote last, where the title does not say so.
    from: Option<String>,
    preview: String,
    count: u64,
}

#[derive(Template)]
#[template(path = "digest/subject.txt")]
struct Subject<'a> {
    letter: &'a Digest<'a>,
}

#[derive(Template)]
#[template(path = "digest/body.txt")]
struct Text<'a> {
    letter: &'a Digest<'a>,
}

#[derive(Template)]
#[template(path = "digest/body.html")]
struct Html<'a> {
    letter: &'a Digest<'a>,
}

impl Chat {
    fn of(item: &DigestItem) -> Self {
        let from = named(&item.from, "Somebody");
        let (title, from) = match &item.chat {
            Some(chat) => (named(chat, "A group"), Some(from)),
            None => (from, None),
        };
        Self { title, from, preview: words::plain(&item.preview, PREVIEW), count: item.count }
    }

    /// `2 unread messages`
    fn unread(&self) -> String {
        words::counted(self.count, "unread message")
    }
}

impl<'a> Digest<'a> {
    pub(super) fn new(name: Option<&'a str>, digest: &'a mail::Digest) -> Self {
        let chats: Vec<_> = digest.items.iter().map(Chat::of).collect();
        let messages = chats.iter().fold(0_u64, |sum, chat| sum.saturating_add(chat.count));
        let all = digest.more.saturating_add(chats.len() as u64);
        // How many messages there are in the chats that had no room, nobody has counted.
        let unread = if digest.more == 0 {
            words::counted(messages, "unread message")
        } else {
            format!("unread messages in {}", words::counted(all, "chat"))
        };
        let subject = match &chats[..] {
            [chat] if digest.more == 0 => format!("{}: {unread}", chat.title),
            _ if digest.more == 0 => format!("{unread} on Natter"),
            _ => format!("Unread messages in {} on Natter", words::counted(all, "chat")),
        };
        let more = (digest.more > 0).then(|| format!("and {}", words::counted(digest.more, "more chat")));
        Self { name, chats, more, unread, subject, unsubscribe_url: &digest.unsubscribe_url }
    }

    pub(super) fn fill(&self) -> Result<Filled, askama::Error> {
        Filled::new(&Subject { letter: self }, &Text { letter: self }, &Html { letter: self })
    }
}

fn named(name: &str, otherwise: &str) -> String {
    let name = words::plain(name, NAME);
    if name.is_empty() { otherwise.to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use contract::mail::{Content, Digest, DigestItem};
    use testkit::smtp::Mail;

    use crate::letter::{
        RenderError, render,
        tests::{head, read},
    };

    const URL: &str = "https://natter.example/api/notifications/unsubscribe?token=abcdefghijklmnopqrstuvwxyz0123456789";

    fn item(chat: Option<&str>, from: &str, preview: &str, count: u64) -> DigestItem {
        DigestItem { chat: chat.map(str::to_owned), from: from.to_owned(), preview: preview.to_owned(), count }
    }

    fn digest(items: Vec<DigestItem>, more: u64) -> Mail {
        read(Content::Digest(Digest { items, more, unsubscribe_url: URL.to_owned() }))
    }

    #[test]
    fn the_subject_says_how_much_there_is() {
        let anna = || item(None, "Anna", "Hi", 2);
        let group = |count| item(Some("Chess club"), "Ben", "e4", count);
        for (items, more, subject) in [
            (vec![anna()], 0, "Anna: 2 unread messages"),
            (vec![group(1)], 0, "Chess club: 1 unread message"),
            (vec![anna(), group(1)], 0, "3 unread messages on Natter"),
            (vec![anna(), group(1)], 1, "Unread messages in 3 chats on Natter"),
            (vec![anna()], 4, "Unread messages in 5 chats on Natter"),
        ] {
            assert_eq!(digest(items, more).subject(), subject);
        }
    }

    #[test]
    fn both_bodies_say_who_wrote_what() {
        let items = vec![item(None, "Anna", "See <you> & me", 2), item(Some("Chess club"), "Ben", "e4", 1)];
        let mail = digest(items, 1);
        let (text, html) = (mail.text(), mail.html());
        assert!(text.contains("Anna (2 unread messages)\n    See <you> & me\n"), "{text}");
        assert!(text.contains("Chess club (1 unread message)\n    Ben: e4\n\nand 1 more chat\n"), "{text}");
        assert!(html.contains("See &#60;you&#62; &#38; me") && html.contains("and 1 more chat<"), "{html}");
        assert!(html.contains("Chess club") && html.contains("Ben:"), "{html}");
        assert!(!digest(vec![item(None, "Anna", "Hi", 1)], 0).text().contains("more chat"));
    }

    #[test]
    fn it_can_be_ended_with_one_click() {
        let mail = digest(vec![item(None, "Anna", "Hi", 2)], 0);
        assert_eq!(mail.header("List-Unsubscribe"), format!("<{URL}>"));
        assert_eq!(mail.header("List-Unsubscribe-Post"), "List-Unsubscribe=One-Click");
        assert!(head(&mail).contains(&format!("<{URL}>\r\n")), "as it is, in no encoding: {}", head(&mail));
        assert!(mail.text().contains(URL) && mail.html().contains(&format!("href=\"{URL}\"")), "{}", mail.html());
    }

    #[test]
    fn names_and_messages_are_lines_of_text_without_links() {
        let evil = "x\r\nBcc: eve@example.org\r\n\r\n<a href=\"https://evil.example\">evil.example</a>";
        for item in [item(None, evil, evil, 1), item(Some(evil), evil, evil, 1)] {
            let mail = digest(vec![item], 0);
            assert!(!head(&mail).contains("\nBcc:") && mail.header("Bcc").is_empty(), "{}", head(&mail));
            for body in [mail.text(), mail.html()] {
                assert!(!body.contains("evil.example") && !body.contains("<a href=\"https://evil"), "{body}");
            }
        }
        assert_eq!(digest(vec![item(Some(" \n"), "", "", 1)], 0).subject(), "A group: 1 unread message");
    }

    #[test]
    fn a_link_that_could_break_out_is_refused() {
        for url in ["", "javascript:alert(1)", "https://x\r\nBcc: y", "https://x>, <mailto:y", "https://ä"] {
            let content = Content::Digest(Digest { items: Vec::new(), more: 0, unsubscribe_url: url.to_owned() });
            let to = contract::text::Email::new("anna@example.org").unwrap();
            let letter = contract::mail::Letter { to, name: None, content, expires_at: None };
            let from = "natter@example.org".parse().unwrap();
            let error = render(&letter, "x", contract::Time::now(), &from).unwrap_err();
            assert!(matches!(error, RenderError::Unsubscribe(_)), "{url}: {error:?}");
        }
    }
}
