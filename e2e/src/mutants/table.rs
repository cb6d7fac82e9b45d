//! The mutants: what is changed, under which faults it does harm, and as what it has to be caught.

/// Natter with one promise broken.
#[derive(Debug)]
pub struct Mutant {
    pub name: &'static str,
    pub what: &'static str,
    pub edits: &'static [Edit],
    /// What goes wrong meanwhile, for mutants that are right as long as nothing does.
    pub faults: &'static [&'static str],
    /// Kinds of violations, one of which has to be found.
    pub caught_as: &'static [&'static str],
}

/// A replacement in a file, whose text is there exactly once.
#[derive(Debug)]
pub struct Edit {
    pub file: &'static str,
    pub from: &'static str,
    pub to: &'static str,
}

/// Every mutant.
pub const ALL: &[Mutant] = &[
    Mutant {
        name: "no-fence",
        what: "chat appends wherever the log stands",
        edits: &[Edit {
            file: "chat/src/log.rs",
            from: "\n        .expected_last_subject_sequence(fence);",
            to: ";\n    let _ = fence;",
        }],
        faults: &[],
        caught_as: &["two-at-one-number", "gap", "doubled"],
    },
    Mutant {
        name: "ack-without-append",
        what: "chat acknowledges a message though it does not know whether it was appended",
        edits: &[Edit {
            file: "chat/src/chats.rs",
            from: "Err(error) => return Err(absent(\"the log\", &error)),\n            }",
            to: "Err(_) => {\n                    let state = slot.state.clone().ok_or_else(Refusal::internal)?;\n                    \
                 return Ok(Some(Done::Appended { event, body, state }));\n                }\n            }",
        }],
        faults: &["store-full"],
        caught_as: &["lost", "renumbered"],
    },
    Mutant {
        name: "no-dedupe",
        what: "chat forgets which messages it has",
        edits: &[
            Edit {
                file: "chat/src/decide.rs",
                from: "self.state.recent_by_client_id(self.me.user_id, &new.client_id)",
                to: "self.state.recent_by_client_id(self.me.user_id, &new.client_id).filter(|_| false)",
            },
            Edit {
                file: "chat/src/log.rs",
                from: "format!(\"{chat}.{}.{}\", new.sender_id, &*new.client_id)",
                to: "format!(\"{chat}.{}.{}.{fence}\", new.sender_id, &*new.client_id)",
            },
        ],
        faults: &["chat-pause", "gateway-kill", "nats-pause"],
        caught_as: &["doubled"],
    },
    Mutant {
        name: "archive-skips",
        what: "the archive passes over one event in fifty",
        edits: &[Edit {
            file: "chat/src/archive.rs",
            from: "            outcomes.push(add(nats, &mut writes, delivery).await);",
            to: "            let skip = delivery.sequence % 50 == 0;\n            \
                 outcomes.push(if skip { Outcome::Done } else { add(nats, &mut writes, delivery).await });",
        }],
        faults: &[],
        caught_as: &["lost"],
    },
    Mutant {
        name: "gateway-twice",
        what: "the gateway emits one event in fifty twice",
        edits: &[Edit {
            file: "gateway/src/rooms/room.rs",
            from: "        let arguments = (outgoing.body, &outgoing.at);",
            to: "        let arguments = (outgoing.body, &outgoing.at);\n        if cursor % 50 == 0 {\n            \
                 let _ = overflown(sockets.clone().within(self.name.clone()).emit(outgoing.event, &arguments));\n        }",
        }],
        faults: &[],
        caught_as: &["heard-twice"],
    },
    Mutant {
        name: "gateway-drops",
        what: "the gateway leaves out one event in fifty and takes it for emitted",
        edits: &[Edit {
            file: "gateway/src/rooms/room.rs",
            from: "        let arguments = (outgoing.body, &outgoing.at);",
            to: "        if cursor % 50 == 0 {\n            emitted.last = Some(cursor);\n            return true;\n        }\n        \
                 let arguments = (outgoing.body, &outgoing.at);",
        }],
        faults: &[],
        caught_as: &["heard-gap"],
    },
    Mutant {
        name: "gateway-fills-no-gap",
        what: "the gateway does not emit what it missed while NATS was away",
        edits: &[Edit {
            file: "gateway/src/rooms/room.rs",
            from: "            self.emit_logged(rooms, event);",
            to: "            let _ = (rooms, event);",
        }],
        faults: &["gateway-cut"],
        caught_as: &["heard-gap", "messages", "lost"],
    },
    Mutant {
        name: "sync-skips",
        what: "catch-up leaves out an event and says that nothing is missing",
        edits: &[Edit {
            file: "chat/src/catchup.rs",
            from: "        synced.chats.insert(chat, events);",
            to: "        if events.events.len() > 2 {\n            events.events.remove(1);\n            \
                 events.events[1].prev = events.events[0].cursor;\n        }\n        \
                 synced.chats.insert(chat, events);",
        }],
        faults: &["gateway-kill"],
        caught_as: &["messages", "lost", "gap"],
    },
    Mutant {
        name: "receipts-backward",
        what: "a receipt goes wherever it is told",
        edits: &[Edit {
            file: "chat/src/receipts.rs",
            from: "    if seq > entry.delivered {",
            to: "    if seq != entry.delivered {",
        }],
        faults: &[],
        caught_as: &["receipt-backward", "mark-forgotten"],
    },
    Mutant {
        name: "unread-own",
        what: "one message that was seen counts as unread",
        edits: &[Edit {
            file: "chat/src/unread.rs",
            from: "    let after = seen.max(state.joined_at(user));",
            to: "    let after = seen.saturating_sub(1).max(state.joined_at(user));",
        }],
        faults: &[],
        caught_as: &["unread"],
    },
    Mutant {
        name: "clock-rules",
        what: "the time of a message is the instance's clock, whatever the one before says",
        edits: &[Edit {
            file: "chat/src/decide.rs",
            from: "            sent_at: self.now.max(self.state.last_at),",
            to: "            sent_at: self.now,",
        }],
        faults: &["clock"],
        caught_as: &["time-backward"],
    },
    Mutant {
        name: "change-forgotten",
        what: "an instance does not remember its own change of a message, and decides on it as it was",
        edits: &[Edit {
            file: "chat/src/messages.rs",
            from: "                fold::change(&mut version.message, &event);\n                version.cursor = state.cursor;\n                \
                   return Ok(version.message.clone());",
            to: "                version.cursor = state.cursor;\n                let mut message = version.message.clone();\n                \
                 fold::change(&mut message, &event);\n                return Ok(message);",
        }],
        faults: &[],
        caught_as: &["changed-after-deleted"],
    },
    Mutant {
        name: "change-unwritten",
        what: "every third message takes changes that are acknowledged and nothing else",
        edits: &[Edit {
            file: "chat/src/messages.rs",
            from: "        let command = command(Box::new(version.message.clone()));",
            to: "        if seq % 3 == 0 {\n            return Ok(version.message.clone());\n        }\n        \
                 let command = command(Box::new(version.message.clone()));",
        }],
        faults: &[],
        caught_as: &["change-lost"],
    },
    Mutant {
        name: "gone-but-online",
        what: "a gateway does not notice that somebody has gone",
        edits: &[Edit {
            file: "gateway/src/presence/mod.rs",
            from: "devices.leave(self.user, self.number)",
            to: "devices.set(self.user, self.number, Availability::Online)",
        }],
        faults: &["chat-pause"],
        caught_as: &["presence"],
    },
    Mutant {
        name: "notify-skips",
        what: "nobody is told of one message in ten",
        edits: &[Edit {
            file: "mail/src/notify/plan.rs",
            from: "if wants(listener, kind, message.seq) {",
            to: "if wants(listener, kind, message.seq) && message.seq % 10 != 0 {",
        }],
        faults: &[],
        caught_as: &["notifications"],
    },
    Mutant {
        name: "notify-beside",
        what: "the instances of mail tell of a chat one beside the other, and nothing keeps them from it",
        edits: &[
            Edit {
                file: "mail/src/notify/mod.rs",
                from: "one_at_a_time: true, ..batches(",
                to: "one_at_a_time: false, ..batches(",
            },
            Edit {
                file: "mail/src/notify/merge.rs",
                from: "let place = if one.open {",
                to: "let place = if one.open && next > usize::MAX / 2 {",
            },
        ],
        faults: &[],
        caught_as: &["notifications"],
    },
    Mutant {
        name: "notify-unread",
        what: "what has been seen stays unread",
        edits: &[
            Edit {
                file: "mail/src/notify/mod.rs",
                from: "async move { this.take_reads(batch).await }",
                to: "async move {\n                let _ = &this;\n                \
                     batch.into_iter().map(|delivery| (delivery, Outcome::Done)).collect()\n            }",
            },
            Edit {
                file: "mail/src/notify/batch.rs",
                from: "self.read(seen).await?;",
                to: "drop::<Vec<Stored>>(seen);",
            },
        ],
        faults: &[],
        caught_as: &["notifications"],
    },
    Mutant {
        name: "push-skips",
        what: "who is away is pushed one message of four",
        edits: &[Edit {
            file: "mail/src/notify/tell.rs",
            from: "away.iter().filter(wanted).map(",
            to: "away.iter().filter(wanted).filter(|one| one.seq.is_none_or(|seq| seq % 4 == 0)).map(",
        }],
        faults: &[],
        caught_as: &["pushed"],
    },
    Mutant {
        name: "letter-again",
        what: "who stays away gets one letter after the other",
        edits: &[Edit {
            file: "mail/src/notify/digest.rs",
            from: "        if self.store.mailed_since(",
            to: "        if latest == 0 && self.store.mailed_since(",
        }],
        faults: &[],
        caught_as: &["letters"],
    },
];
