//! People who sign up with a code from the mail folder, and the direct chats between them, all over REST.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsString,
    fs,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::Client;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{latency::Times, load::Seat, rest::post, target::System};

/// Requests at a time: signing up is no part of what is measured.
const AT_A_TIME: usize = 8;
/// From the last request for a code until all letters are there.
const LETTERS_DEADLINE: Duration = Duration::from_mins(1);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Of everybody who registers.
pub const PASSWORD: &str = "correct horse battery staple";

/// Somebody who has signed in.
pub struct Person {
    pub id: String,
    pub email: String,
    /// Good for 15 minutes.
    pub token: String,
    /// The gateway this person keeps to, as its place among all.
    pub gateway: usize,
}

/// A chat.
pub struct Chat {
    pub id: String,
    pub last_seq: u64,
    /// Where its log ends.
    pub cursor: u64,
    /// Its members, by their place among all people.
    pub members: Vec<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tokens {
    access_token: String,
    user: User,
}

#[derive(Deserialize)]
struct User {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OpenedChat {
    id: String,
    last_seq: u64,
    cursor: u64,
}

impl Person {
    /// A socket for this person.
    pub fn seat(&self, system: &System) -> Seat {
        Seat { gateway: system.gateways[self.gateway].clone(), token: self.token.clone() }
    }
}

/// Signs up so many new people with codes, in turn at each of the gateways.
pub async fn sign_up(system: &System, count: usize) -> Result<Vec<Person>> {
    join(system, count, "otp", |email| json!({ "email": email })).await
}

/// The same with the [`PASSWORD`].
pub async fn register(system: &System, count: usize) -> Result<Vec<Person>> {
    join(system, count, "register", |email| json!({ "email": email, "password": PASSWORD, "name": "Bench" })).await
}

/// `ask` makes the body for the route that sends a code.
async fn join(system: &System, count: usize, route: &str, ask: fn(&str) -> Value) -> Result<Vec<Person>> {
    let System { gateways, mail, .. } = system;
    let run = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis();
    let people: Vec<_> = (0..count).map(|index| (index, format!("bench-{run:x}-{index}@example.org"))).collect();
    let http = &Client::new();
    let post = |index: usize, path: &str, body: Value| {
        let url = format!("{}/api/auth/{path}", gateways[index % gateways.len()]);
        async move { post(http, &url, None, &body).await }
    };

    let asked = stream::iter(&people).map(|(index, email)| post(*index, route, ask(email)));
    asked.buffered(AT_A_TIME).try_for_each(async |_: Value| Ok(())).await?;

    let codes = read_codes(mail, people.iter().map(|(_, email)| email.as_str()).collect()).await?;
    let verified = stream::iter(&people).map(|(index, email)| {
        let tokens = post(*index, "verify", json!({ "email": email, "code": codes.get(email) }));
        async { serde_json::from_value::<Tokens>(tokens.await?).context("no tokens") }
    });
    let tokens: Vec<_> = verified.buffered(AT_A_TIME).try_collect().await?;
    let person = |(tokens, (index, email)): (Tokens, (usize, String))| Person {
        id: tokens.user.id,
        email,
        token: tokens.access_token,
        gateway: index % gateways.len(),
    };
    Ok(tokens.into_iter().zip(people).map(person).collect())
}

/// Opens so many direct chats, each between two people of different gateways, if there are different ones.
pub async fn open_chats(system: &System, people: &[Person], count: usize) -> Result<Vec<Chat>> {
    let gateways = &system.gateways;
    let pairs = pairs(people.len(), gateways.len());
    ensure!(pairs.len() >= count, "{} people are enough for {} chats", people.len(), pairs.len());
    let http = &Client::new();
    let opened = stream::iter(pairs.into_iter().take(count)).map(async |members: [usize; 2]| {
        let [from, to] = members.map(|member| &people[member]);
        let url = format!("{}/api/chats", gateways[from.gateway]);
        let body = json!({ "type": "direct", "userId": to.id });
        let OpenedChat { id, last_seq, cursor } = post(http, &url, Some(&from.token), &body).await?;
        Ok(Chat { id, last_seq, cursor, members: members.into() })
    });
    opened.buffered(AT_A_TIME).try_collect().await
}

/// Opens a group of these people, by their place among all.
pub async fn open_group(system: &System, people: &[Person], members: Vec<usize>) -> Result<Chat> {
    let (first, others) = members.split_first().context("a group of nobody")?;
    let (owner, others) = (&people[*first], others.iter().map(|member| people[*member].id.as_str()));
    let body = json!({ "type": "group", "name": "Bench", "memberIds": others.collect::<Vec<_>>() });
    let url = format!("{}/api/chats", system.gateways[owner.gateway]);
    let OpenedChat { id, last_seq, cursor } = post(&Client::new(), &url, Some(&owner.token), &body).await?;
    Ok(Chat { id, last_seq, cursor, members })
}

/// Writes so many messages into a chat over REST, one after the other, by its members in turn. Answers how long each took
/// and the number of the last one.
pub async fn write(system: &System, people: &[Person], chat: &Chat, count: u16) -> Result<(Times, u64)> {
    #[derive(Deserialize)]
    struct Stored {
        seq: u64,
    }
    let (http, run) = (Client::new(), rand::random::<u64>());
    let (mut times, mut last) = (Times::default(), chat.last_seq);
    for (number, member) in (0..count).zip(chat.members.iter().cycle()) {
        let url = format!("{}/api/messages", system.gateways[people[*member].gateway]);
        let message = json!({ "chatId": chat.id, "clientId": format!("{run:x}-{number}"), "text": "Hello" });
        let started = Instant::now();
        let Stored { seq } = post(&http, &url, Some(&people[*member].token), &message).await?;
        times.record(started.elapsed());
        last = seq;
    }
    Ok((times, last))
}

/// All pairs that a chat is wanted between, those first that give everybody one.
fn pairs(people: usize, gateways: usize) -> Vec<[usize; 2]> {
    let mut pairs = Vec::new();
    for distance in 1..people {
        for first in (0..people).step_by(2).chain((1..people).step_by(2)) {
            let second = first + distance;
            if second < people && (gateways == 1 || first % gateways != second % gateways) {
                pairs.push([first, second]);
            }
        }
    }
    pairs
}

/// Waits for the letters to these addresses; the newest to each counts.
async fn read_codes(folder: &Path, mut awaited: HashSet<&str>) -> Result<HashMap<String, String>> {
    let (mut seen, mut codes) = (HashSet::new(), HashMap::new());
    let deadline = Instant::now() + LETTERS_DEADLINE;
    loop {
        for letter in unseen(folder, &mut seen).with_context(|| format!("mail in {}", folder.display()))? {
            if let Some((to, code)) = code_in(&letter) {
                awaited.remove(to);
                codes.insert(to.to_owned(), code.to_owned());
            }
        }
        let Some(someone) = awaited.iter().next() else { return Ok(codes) };
        let (missing, folder) = (awaited.len(), folder.display());
        ensure!(Instant::now() < deadline, "{missing} letters, one to {someone}, are not in {folder}");
        sleep(LOOK_AGAIN).await;
    }
}

/// Letters that were not there before, oldest first: their names begin with the time.
fn unseen(folder: &Path, seen: &mut HashSet<OsString>) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if Path::new(&name).extension().is_some_and(|extension| extension == "eml") && seen.insert(name.clone()) {
            names.push(name);
        }
    }
    names.sort();
    names.iter().map(|name| Ok(String::from_utf8_lossy(&fs::read(folder.join(name))?).into_owned())).collect()
}

/// To whom a letter is and the code in its subject, if it carries one.
fn code_in(letter: &str) -> Option<(&str, &str)> {
    let headers = || letter.lines().take_while(|line| !line.is_empty());
    let header = |name: &str| headers().find_map(|line| line.strip_prefix(name));
    let code = header("Subject: ")?.strip_suffix(" is your Natter code")?;
    Some((header("To: ")?.trim_matches(['<', '>']), code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_from_its_letter() {
        let letter = "From: Natter <natter@example.org>\r\nTo: anna@example.org\r\n\
            Subject: 012345 is your Natter code\r\n\r\nSubject: 999999 is your Natter code\r\n";
        assert_eq!(code_in(letter), Some(("anna@example.org", "012345")));
        assert_eq!(code_in(&letter.replace("012345 is your Natter code", "You have an account")), None);
    }

    #[test]
    fn chats_are_between_gateways_and_everybody_gets_one_first() {
        let few = pairs(8, 2);
        assert_eq!(few[..4], [[0, 1], [2, 3], [4, 5], [6, 7]]);
        assert_eq!(few.len(), 16);
        for [first, second] in pairs(9, 3) {
            assert_ne!(first % 3, second % 3);
        }
        assert_eq!(pairs(4, 1).len(), 6);
    }
}
