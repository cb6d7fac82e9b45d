//! Who is away is pushed to, and gets one letter.

use super::{Truth, Violation};
use crate::history::{Absent, History};

/// The push that waits for a browser is about the latest message of its chat, and one letter tells of all that is unread, however
/// much comes while its reader stays away.
pub fn is_told(history: &History, truth: &Truth) -> Vec<Violation> {
    history.absent.iter().flat_map(|absent| of(absent, truth)).collect()
}

fn of(absent: &Absent, truth: &Truth) -> Vec<Violation> {
    let Absent { user, pushed, letters } = absent;
    let latest = truth.of_user(user).filter_map(|(id, chat)| Some((id, chat.latest_unread(user)?)));
    let latest: Vec<(&String, u64)> = latest.collect();
    let mut all = Vec::new();
    for (chat, latest) in &latest {
        let pushed = pushed.get(*chat).copied();
        if pushed != Some(*latest) {
            all.push(Violation::Pushed { chat: (*chat).clone(), user: user.clone(), latest: *latest, pushed });
        }
    }
    if !latest.is_empty() && letters.len() != 1 {
        all.push(Violation::Letters { user: user.clone(), letters: letters.len() });
    }
    all
}
