//! Samples of every letter, to be looked at in a browser and in a mail client.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use contract::{
    Time,
    mail::{Content, Letter},
    text::{Email, Name, Secret},
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
    let contents = [Content::Otp { code: Secret::new("428193"), minutes: 5 }, Content::AlreadyRegistered {}];
    let letter = |content| {
        let (to, name) = (Email::new("anna@example.org")?, Some(Name::new("Anna Månsdotter")?));
        Ok(Letter { to, name, content, expires_at: None })
    };
    contents.into_iter().map(letter).collect()
}
