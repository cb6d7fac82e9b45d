//! Of each user and chat there is one notification that is added to. Two instances may still have made one each, neither knowing
//! of the other's: where nobody is pinned to the log, since NATS itself has just died, or somebody wrote who had hung for
//! long. Whoever looks next, and each looks after it has written, makes one of them: pure.

use std::collections::HashMap;

use contract::{ChatId, Time, UserId};

use super::{counted::Counted, store::Stored};

/// Notifications without doubles.
#[derive(Debug, Default)]
pub struct Merged {
    /// Each with whether it has taken in another.
    pub kept: Vec<(Stored, bool)>,
    /// What is in one of `kept` now: to be written after these, read and with nothing left.
    pub doubles: Vec<Stored>,
}

/// Makes one of what is unread of the same user and chat, but for what is not added to.
pub fn merge(mut unread: Vec<Stored>, at: Time) -> Merged {
    // The same one is kept by everybody.
    unread.sort_by_key(|one| (one.created_at, one.id));
    let mut merged = Merged::default();
    let mut open: HashMap<(UserId, Option<ChatId>), usize> = HashMap::new();
    for one in unread {
        let next = merged.kept.len();
        let place = if one.open { *open.entry((one.user_id, one.chat_id)).or_insert(next) } else { next };
        match merged.kept.get_mut(place) {
            Some((kept, grown)) => {
                take_in(kept, &one);
                *grown = true;
                let (count, counted) = (0, Counted::default());
                merged.doubles.push(Stored { count, counted, read_at: Some(at), open: false, ..one });
            }
            None => merged.kept.push((one, false)),
        }
    }
    merged
}

fn take_in(kept: &mut Stored, double: &Stored) {
    kept.count += kept.counted.insert_all(&double.counted);
    kept.kind = kept.kind.max(double.kind);
    kept.mailed &= double.mailed;
    if kept.seq < double.seq {
        kept.seq = double.seq;
        kept.from = double.from;
        kept.preview.clone_from(&double.preview);
        kept.at = double.at;
    }
}

#[cfg(test)]
mod tests {
    use contract::{NotificationId, event::Seq, notification::NotificationType};

    use super::*;

    fn now() -> Time {
        Time::from_millis(99)
    }

    fn of(user: UserId, chat: ChatId, seqs: &[Seq]) -> Stored {
        let mut counted = Counted::default();
        for seq in seqs {
            counted.insert(*seq);
        }
        Stored {
            id: NotificationId::of(user, &format!("{chat}.{}", seqs[0])),
            user_id: user,
            kind: NotificationType::Message,
            chat_id: Some(chat),
            chat_name: None,
            seq: seqs.last().copied(),
            from: Some(UserId::new()),
            preview: format!("n {}", seqs[seqs.len() - 1]),
            count: seqs.len() as u64,
            created_at: Time::from_millis(i64::try_from(seqs[0]).unwrap()),
            counted,
            at: i64::try_from(seqs[seqs.len() - 1]).unwrap(),
            read_at: None,
            open: true,
            mailed: true,
            version: 0,
        }
    }

    #[test]
    fn two_of_one_chat_become_one_that_counts_what_both_have() {
        let (user, chat) = (UserId::new(), ChatId::new());
        let first = of(user, chat, &[3, 4, 6]);
        let mut second = of(user, chat, &[4, 5, 7]);
        (second.mailed, second.kind) = (false, NotificationType::Mention);
        for both in [vec![first.clone(), second.clone()], vec![second.clone(), first.clone()]] {
            let Merged { kept, doubles } = merge(both, now());
            assert_eq!((doubles.len(), doubles[0].id, doubles[0].version), (1, second.id, second.version));
            // Nothing that it counted passes for read.
            assert_eq!(
                (doubles[0].count, doubles[0].read_at, &doubles[0].counted),
                (0, Some(now()), &Counted::default())
            );
            let [(one, true)] = &kept[..] else { panic!("{kept:?}") };
            assert_eq!((one.id, one.count, one.seq, one.at), (first.id, 5, Some(7), 7));
            assert_eq!((one.preview.as_str(), one.from, one.kind), ("n 7", second.from, NotificationType::Mention));
            assert!(!one.mailed && (3..=7).all(|seq| one.counted.contains(seq)));
            // One who died before the double was read does it again, which counts nothing twice.
            let again = merge(vec![one.clone(), second.clone()], now());
            assert_eq!((again.kept[0].0.clone(), again.doubles.len()), (one.clone(), 1));
        }
    }

    #[test]
    fn what_is_of_others_or_not_added_to_stays() {
        let (anna, ben, chat) = (UserId::new(), UserId::new(), ChatId::new());
        let unread_again = Stored { open: false, ..of(anna, chat, &[1]) };
        let added = Stored { open: false, kind: NotificationType::Added, ..of(anna, chat, &[2]) };
        let all = vec![unread_again, added, of(anna, chat, &[3]), of(ben, chat, &[3]), of(anna, ChatId::new(), &[4])];
        let Merged { kept, doubles } = merge(all.clone(), now());
        assert_eq!((kept.len(), doubles.len()), (all.len(), 0));
        assert!(kept.iter().all(|(one, grown)| all.contains(one) && !grown));
    }
}
