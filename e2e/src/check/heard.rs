//! What connections heard: each event of the log once and in order, without gaps, and receipts that only go forward.

use std::collections::{BTreeMap, BTreeSet};

use super::Violation;
use crate::history::{History, Said, print};

/// On each connection the events of a chat are a chain, and all of them are in the log.
pub fn once_and_in_order(history: &History) -> Vec<Violation> {
    let mut all = Vec::new();
    let logged: BTreeMap<(&str, u64), u64> =
        history.log.iter().map(|entry| ((entry.chat.as_str(), entry.cursor), print(&entry.data))).collect();
    let mut chains: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    for heard in &history.heard {
        let chain = chains.entry(&heard.device).or_default();
        match &heard.said {
            Said::Disconnected => chain.clear(),
            Said::Joined { chat, cursor } => {
                chain.insert(chat, *cursor);
            }
            Said::Left { chat } => {
                chain.remove(chat.as_str());
            }
            Said::Logged { chat, cursor, prev, print, .. } => {
                let (device, id) = (heard.device.clone(), chat.clone());
                if logged.get(&(chat.as_str(), *cursor)) != Some(print) {
                    all.push(Violation::HeardOther { device: device.clone(), chat: id.clone(), cursor: *cursor });
                }
                match chain.insert(chat, *cursor) {
                    Some(last) if last >= *cursor => {
                        all.push(Violation::HeardTwice { device, chat: id, cursor: *cursor });
                    }
                    Some(last) if last != *prev && !history.unfilled.contains(chat) => {
                        all.push(Violation::HeardGap { device, chat: id, after: last, prev: *prev });
                    }
                    _ => {}
                }
            }
            Said::Receipt { .. } => {}
        }
    }
    all
}

/// On each connection a receipt is never smaller than one heard before.
pub fn receipts_forward(history: &History) -> Vec<Violation> {
    let mut all = BTreeSet::new();
    let mut known: BTreeMap<&str, BTreeMap<(&str, &str, bool), u64>> = BTreeMap::new();
    for heard in &history.heard {
        let known = known.entry(&heard.device).or_default();
        match &heard.said {
            Said::Disconnected => known.clear(),
            Said::Receipt { chat, user, seq, seen } => {
                let before = known.insert((chat, user, *seen), *seq).unwrap_or_default();
                if before > *seq {
                    all.insert(Violation::ReceiptBackward {
                        device: heard.device.clone(),
                        chat: chat.clone(),
                        user: user.clone(),
                        from: before,
                        to: *seq,
                    });
                }
            }
            _ => {}
        }
    }
    all.into_iter().collect()
}
