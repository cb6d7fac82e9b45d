//! What `mail` has written into the folder of letters.

use std::path::Path;

/// The letters to an address, the latest last.
pub fn to(email: &str, folder: &Path) -> Vec<String> {
    let mut letters: Vec<_> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "eml"))
        .filter_map(|entry| {
            Some((entry.metadata().ok()?.modified().ok()?, std::fs::read_to_string(entry.path()).ok()?))
        })
        .filter(|(_, letter)| is_to(letter, email))
        .collect();
    letters.sort();
    letters.into_iter().map(|(_, letter)| letter).collect()
}

/// Whether the letter's `To` header has this address.
fn is_to(letter: &str, email: &str) -> bool {
    header(letter, "To").is_some_and(|to| to.to_lowercase().contains(&email.to_lowercase()))
}

/// The code in the subject `<code> is your Natter code`.
pub fn code_in(letter: &str) -> Option<String> {
    Some(header(letter, "Subject")?.strip_suffix(" is your Natter code")?.to_owned())
}

fn header<'a>(letter: &'a str, name: &str) -> Option<&'a str> {
    let head = letter.lines().take_while(|line| !line.is_empty());
    head.filter_map(|line| line.split_once(": "))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}
