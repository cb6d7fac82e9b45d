//! Samples of every letter, to be looked at in a browser and in a mail client.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use contract::{
    Time,
    mail::{Content, Digest, DigestItem, Letter},
    text::{Device, Email, MessageText, Name, Secret},
};

use crate::letter::{kind, render};

/// Writes a sample of every letter into `folder`, as `.eml`, `.html` and `.txt`; answers the files.
pub fn preview(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let from = "Natter <natter@example.org>".parse()?;
    let mut files = Vec::new();
    for letter in samples().map_err(anyhow::Error::msg)? {
        let kind = kind(&letter.content);
        let rendered = render(&letter, kind, Time::now(), &from)?;
        let texts = [
            ("eml", rendered.message.as_slice()),
            ("html", rendered.html.as_bytes()),
            ("txt", rendered.text.as_bytes()),
        ];
        for (extension, text) in texts {
            let file = folder.join(format!("{kind}.{extension}"));
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
            files.push(file);
        }
    }
    Ok(files)
}

fn samples() -> Result<Vec<Letter>, String> {
    let code = || Secret::new("428193");
    let sign_in = (Device::new("Firefox on Linux")?, "198.51.100.23".to_owned());
    let alert = "Natter is away on Saturday from 22:00 to 23:00 UTC, because the database gets more room.\n\n\
                 Nothing is lost: messages that are sent meanwhile arrive afterwards.\n\
                 More: https://natter.example/status";
    let contents = [
        Content::Otp { code: code(), minutes: 5 },
        Content::AlreadyRegistered {},
        Content::PasswordReset { code: code(), minutes: 5 },
        Content::NewSignIn { device: Some(sign_in.0), ip: Some(sign_in.1), at: Time::now() },
        Content::Digest(digest()),
        Content::Alert { title: Name::new("Maintenance on Saturday evening")?, text: MessageText::new(alert)? },
    ];
    let letter = |content| {
        let (to, name) = (Email::new("anna@example.org")?, Some(Name::new("Anna Månsdotter")?));
        Ok(Letter { to, name, content, expires_at: None })
    };
    contents.into_iter().map(letter).collect()
}

fn digest() -> Digest {
    let item = |chat: Option<&str>, from: &str, preview: &str, count| DigestItem {
        chat: chat.map(str::to_owned),
        from: from.to_owned(),
        preview: preview.to_owned(),
        count,
    };
    let long = "I have put the photos of the hike into the folder, all two hundred of them. Which ones shall we print for \
                the calendar? I like the one with the fog and the one with the cows best, but tell me what you think.";
    let items = vec![
        item(None, "Ben Carter", "Are you coming tonight? 🍕", 2),
        item(Some("Hiking club"), "Dora Vinterberg", long, 14),
        item(Some("Book & film <club>"), "孔子", "See https://books.example/next", 1),
    ];
    let unsubscribe_url = "https://natter.example/api/notifications/unsubscribe?token=c2FtcGxl".to_owned();
    Digest { items, more: 2, unsubscribe_url }
}
