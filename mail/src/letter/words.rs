//! What others wrote, on its way into a letter that Natter sends in its own name: it shall not carry a link, and mail
//! clients make one of whatever looks like it.

/// Whether a mail client may make a link of some of this.
pub(super) fn looks_like_a_link(text: &str) -> bool {
    let host = |text: &str| {
        text.split('.').skip(1).any(|label| label.chars().take_while(|c| c.is_alphanumeric()).count() >= 2)
    };
    text.contains('@') || text.contains("//") || text.split_whitespace().any(host)
}

/// One line of text without links, of at most `most` characters. A URL becomes `[link]`; a dot that is followed by a
/// letter as in a host gets a space (`evil. example`), so that of a sentence after which somebody forgot the space
/// nothing is lost.
pub(super) fn plain(text: &str, most: usize) -> String {
    let visible: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).filter(|c| !is_direction(*c)).collect();
    let words: Vec<_> = visible.split_whitespace().map(unlinked).collect();
    shortened(words.join(" "), most)
}

/// `1 message`, `2 messages`.
pub(super) fn counted(count: u64, one: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

fn unlinked(word: &str) -> String {
    if word.contains("//") {
        return "[link]".to_owned();
    }
    let mut unlinked = String::with_capacity(word.len());
    for (place, c) in word.char_indices() {
        unlinked.push(c);
        let (host, next) = (&word[..place], &word[place + c.len_utf8()..]);
        let after_label = !host.is_empty() && !host.ends_with(is_dot);
        if is_dot(c) && after_label && next.starts_with(char::is_alphabetic) && has_label(next) {
            unlinked.push(' ');
        }
    }
    unlinked
}

/// Two letters are the least of a top-level domain: `e.g.` and `J.R.R.` are none.
fn has_label(text: &str) -> bool {
    text.chars().take_while(|c| c.is_alphanumeric()).count() >= 2
}

/// Those that hosts are taken apart at (UTS 46, section 4).
fn is_dot(c: char) -> bool {
    matches!(c, '.' | '．' | '｡')
}

/// Changes the direction of what follows, also of what is not theirs (UAX 9, section 2).
fn is_direction(c: char) -> bool {
    matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

fn shortened(text: String, most: usize) -> String {
    if text.chars().nth(most).is_none() {
        return text;
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_taken_apart_and_nothing_else_is() {
        for (text, said) in [
            ("see https://evil.example/x?y=1 now", "see [link] now"),
            ("www.evil.example", "www. evil. example"),
            ("me@evil.example", "me@evil. example"),
            ("evil．example", "evil． example"),
            ("ok.See you", "ok. See you"),
            ("at 10.30, J.R.R. e.g. 3.5 @anna ...yes :-)", "at 10.30, J.R.R. e.g. 3.5 @anna ...yes :-)"),
            (" two\r\nlines\tand \u{202E}more ", "two lines and more"),
            ("孔子 说。好", "孔子 说。好"),
        ] {
            assert_eq!(plain(text, 100), said);
        }
    }

    #[test]
    fn what_is_long_ends_with_dots() {
        assert_eq!(plain("äbcde", 5), "äbcde");
        assert_eq!(plain("äbc def", 5), "äbc…");
        assert_eq!(plain(&"👍".repeat(9), 3), "👍👍…");
    }

    #[test]
    fn one_is_singular() {
        assert_eq!((counted(1, "chat"), counted(0, "chat")), ("1 chat".to_owned(), "0 chats".to_owned()));
    }
}
