//! Messages: each acknowledged one is everywhere once, at its number; each other one at most once; the numbers have no
//! gaps; and everywhere is the same order.

use std::collections::BTreeMap;

use super::{Seen, Sent, Truth, Violation, seen, sent};
use crate::history::{Found, History};

pub fn everywhere(history: &History, truth: &Truth) -> Vec<Violation> {
    let (sent, seen) = (sent(history), seen(history, truth));
    let mut all = Vec::new();
    for place in &seen {
        acknowledged_are_there(place, &sent, &mut all);
        nothing_else_is_there(place, &sent, &mut all);
        for (first, found) in place.chats.values() {
            numbers_have_no_gaps(place, *first, found, &mut all);
        }
    }
    if let Some((log, others)) = seen.split_first() {
        for place in others {
            the_order_is_that_of_the_log(log, place, &mut all);
        }
        times_go_forward(log, &mut all);
    }
    all
}

type Key<'a> = (&'a str, &'a str, &'a str);

fn by_key(place: &Seen) -> BTreeMap<Key<'_>, Vec<u64>> {
    let mut keys: BTreeMap<Key<'_>, Vec<u64>> = BTreeMap::new();
    for message in place.chats.values().flat_map(|(_, found)| found).filter(|message| message.by_person) {
        keys.entry((&message.chat, &message.sender, &message.client_id)).or_default().push(message.seq);
    }
    keys
}

fn acknowledged_are_there(place: &Seen, sent: &[Sent<'_>], all: &mut Vec<Violation>) {
    let found = by_key(place);
    for one in sent {
        let Some((first, _)) = place.chats.get(one.chat) else { continue };
        let (chat, client_id) = (one.chat.to_owned(), one.client_id.to_owned());
        let at = place.place.clone();
        let seqs = found.get(&(one.chat, one.sender, one.client_id)).map_or(&[][..], Vec::as_slice);
        if let Some((_, seq)) = one.acked
            && seqs.is_empty()
            && seq >= *first
        {
            all.push(Violation::Lost { place: at.clone(), chat: chat.clone(), client_id: client_id.clone(), seq });
        }
        let told = one.acked.iter().map(|(_, seq)| *seq).chain(one.others.iter().copied());
        if let [found] = seqs {
            for told in told.filter(|told| told != found) {
                let (place, chat, client_id) = (at.clone(), chat.clone(), client_id.clone());
                all.push(Violation::Renumbered { place, chat, client_id, told, found: *found });
            }
        }
    }
    for ((chat, _, client_id), seqs) in found {
        if seqs.len() > 1 {
            let (place, chat, client_id) = (place.place.clone(), chat.to_owned(), client_id.to_owned());
            all.push(Violation::Doubled { place, chat, client_id, seqs });
        }
    }
}

fn nothing_else_is_there(place: &Seen, sent: &[Sent<'_>], all: &mut Vec<Violation>) {
    let known: std::collections::BTreeSet<Key<'_>> =
        sent.iter().map(|sent| (sent.chat, sent.sender, sent.client_id)).collect();
    for ((chat, sender, client_id), seqs) in by_key(place) {
        if !known.contains(&(chat, sender, client_id)) {
            let (place, chat, client_id) = (place.place.clone(), chat.to_owned(), client_id.to_owned());
            all.push(Violation::FromNobody { place, chat, client_id, seq: seqs[0] });
        }
    }
}

fn numbers_have_no_gaps(place: &Seen, first: u64, found: &[Found], all: &mut Vec<Violation>) {
    let mut after = first - 1;
    let mut last: Option<&Found> = None;
    for message in found {
        let (place, chat, seq) = (place.place.clone(), message.chat.clone(), message.seq);
        if let Some(last) = last.filter(|last| last.seq == seq) {
            let client_ids = [last.client_id.clone(), message.client_id.clone()];
            all.push(Violation::TwoAt { place, chat, seq, client_ids });
        } else if seq != after + 1 {
            all.push(Violation::Gap { place, chat, after, seq });
        }
        (after, last) = (seq, Some(message));
    }
}

fn the_order_is_that_of_the_log(log: &Seen, other: &Seen, all: &mut Vec<Violation>) {
    for (id, (_, found)) in &other.chats {
        let logged: BTreeMap<u64, &Found> =
            log.chats.get(id).into_iter().flat_map(|(_, found)| found).map(|message| (message.seq, message)).collect();
        for message in found {
            let same = |logged: &&Found| (&logged.client_id, &logged.sender) == (&message.client_id, &message.sender);
            if let Some(logged) = logged.get(&message.seq).filter(|logged| !same(logged)) {
                all.push(Violation::TwoAt {
                    place: other.place.clone(),
                    chat: id.clone(),
                    seq: message.seq,
                    client_ids: [logged.client_id.clone(), message.client_id.clone()],
                });
            }
        }
    }
}

fn times_go_forward(log: &Seen, all: &mut Vec<Violation>) {
    for (id, (_, found)) in &log.chats {
        for pair in found.windows(2).filter(|pair| pair[0].seq < pair[1].seq && pair[0].sent_at > pair[1].sent_at) {
            all.push(Violation::TimeBackward { chat: id.clone(), seq: pair[1].seq });
        }
    }
}

/// What was acknowledged before another was asked for has the smaller number.
pub fn in_real_time(history: &History) -> Vec<Violation> {
    let mut chats: BTreeMap<&str, Vec<(u64, u64, u64, &str)>> = BTreeMap::new();
    for one in sent(history) {
        if let Some((acked, seq)) = one.acked {
            chats.entry(one.chat).or_default().push((acked, one.invoked, seq, one.client_id));
        }
    }
    let mut all = Vec::new();
    for (chat, mut sent) in chats {
        sent.sort_unstable();
        // The greatest number among what was acknowledged up to each moment.
        let mut greatest: Vec<(u64, u64, &str)> = Vec::new();
        for (acked, _, seq, client_id) in &sent {
            let before = greatest.last().map_or((0, ""), |(_, seq, client_id)| (*seq, *client_id));
            let (seq, client_id) = before.max((*seq, *client_id));
            greatest.push((*acked, seq, client_id));
        }
        for (_, invoked, seq, client_id) in &sent {
            let before = greatest.partition_point(|(acked, _, _)| acked < invoked);
            if let Some((_, greater, first)) = before.checked_sub(1).map(|at| greatest[at])
                && greater > *seq
            {
                let (chat, first, second) = (chat.to_owned(), first.to_owned(), (*client_id).to_owned());
                all.push(Violation::OutOfRealTime { chat, first, second });
            }
        }
    }
    all
}
