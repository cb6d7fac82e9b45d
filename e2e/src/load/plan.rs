//! What happens in a run: who does what in which order, and what dies when. It derives from the seed alone, so that a
//! replay does the same; what it refers to, a chat or a message, is the step that makes it.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    fault::{Change, Fault},
    random::Random,
};

pub const PEOPLE: usize = 6;
/// Person by device: two people have two. One more, which only looks on, runs the example client.
pub const DEVICES: [usize; 8] = [0, 0, 1, 1, 2, 3, 4, 5];
pub const GATEWAYS: usize = 2;
/// Of each other service.
pub const INSTANCES: usize = 2;

/// Number of a step: of the one that made a chat, or sent a message.
pub type StepId = usize;

/// Somebody does something at one of their devices.
#[derive(Debug, Clone)]
pub struct Step {
    pub id: StepId,
    pub device: usize,
    pub op: Op,
}

#[derive(Debug, Clone)]
pub enum Op {
    OpenDirect {
        with: usize,
    },
    CreateGroup {
        with: Vec<usize>,
    },
    Add {
        chat: StepId,
        who: usize,
    },
    Remove {
        chat: StepId,
        who: usize,
    },
    Promote {
        chat: StepId,
        who: usize,
    },
    Leave {
        chat: StepId,
    },
    DeleteGroup {
        chat: StepId,
    },
    Rename {
        chat: StepId,
    },
    /// `rest`: over REST, otherwise over the socket. `insist`: send again until there is an answer.
    Send {
        chat: StepId,
        rest: bool,
        insist: bool,
    },
    Edit {
        message: StepId,
    },
    DeleteMessage {
        message: StepId,
    },
    React {
        message: StepId,
        emoji: &'static str,
        add: bool,
    },
    Mark {
        message: StepId,
        event: &'static str,
    },
    Type {
        chat: StepId,
        event: &'static str,
    },
    SetStatus(&'static str),
    Watch {
        who: usize,
        event: &'static str,
    },
    /// The network is lost and comes back.
    Drop,
    GoAway,
    ComeBack {
        gateway: usize,
    },
}

/// Steps of different devices that happen at the same time, and a fault in the middle of them.
#[derive(Debug)]
pub struct Beat {
    pub steps: Vec<Step>,
    pub fault: Option<Change>,
    /// Before the next one: clients need some time to connect again, and others do things meanwhile.
    pub pause: Duration,
}

/// The plan as it comes to be; one for all rounds, because chats and messages live on.
pub struct Planner {
    random: Random,
    /// What may happen to the system.
    faults: Vec<&'static Fault>,
    next: StepId,
    chats: Vec<Chat>,
    messages: Vec<(StepId, StepId, usize)>,
    away: BTreeSet<usize>,
    /// What is wrong with the system, and for how many beats more.
    wrong: Vec<(Change, usize)>,
}

/// A chat as it will be if all goes well.
struct Chat {
    id: StepId,
    group: bool,
    members: BTreeSet<usize>,
}

impl Planner {
    pub fn new(seed: u64, faults: Vec<&'static Fault>) -> Self {
        let random = Random::new(seed);
        let (chats, messages, away) = (Vec::new(), Vec::new(), BTreeSet::new());
        Self { random, faults, next: 0, chats, messages, away, wrong: Vec::new() }
    }

    /// Some chats to begin with.
    pub fn beginning(&mut self) -> Vec<Beat> {
        let everybody: Vec<usize> = (1..PEOPLE).collect();
        let ops = [
            Op::CreateGroup { with: everybody },
            Op::CreateGroup { with: vec![2, 3] },
            Op::OpenDirect { with: 1 },
            Op::OpenDirect { with: 4 },
        ];
        ops.into_iter().map(|op| self.beat_of(vec![(0, op)], None)).collect()
    }

    /// A round; at its end everything runs and everybody is there.
    pub fn round(&mut self, beats: usize) -> Vec<Beat> {
        let mut round: Vec<Beat> = (0..beats).map(|beat| self.beat(beat + 10 > beats)).collect();
        for device in std::mem::take(&mut self.away) {
            let back = Op::ComeBack { gateway: self.random.below(GATEWAYS) };
            round.push(self.beat_of(vec![(device, back)], None));
        }
        for (change, _) in std::mem::take(&mut self.wrong) {
            let healed = self.beat_of(Vec::new(), Some(change.end()));
            round.push(healed);
        }
        round
    }

    fn beat(&mut self, soon_over: bool) -> Beat {
        let mut devices: Vec<usize> = (0..DEVICES.len()).collect();
        let mut acts = Vec::new();
        for _ in 0..=self.random.below(4) {
            let device = devices.swap_remove(self.random.below(devices.len()));
            acts.push((device, self.op(device)));
        }
        let fault = self.fault(soon_over);
        self.beat_of(acts, fault)
    }

    fn beat_of(&mut self, acts: Vec<(usize, Op)>, fault: Option<Change>) -> Beat {
        let steps = acts.into_iter().map(|(device, op)| self.step(device, op)).collect();
        let pause = if self.random.percent(40) { self.random.below(150) } else { 0 };
        Beat { steps, fault, pause: Duration::from_millis(pause as u64) }
    }

    /// One thing is wrong at a time, or two that have little to do with each other, and not for long.
    fn fault(&mut self, soon_over: bool) -> Option<Change> {
        for (_, beats) in &mut self.wrong {
            *beats = beats.saturating_sub(1);
        }
        if let Some(over) = self.wrong.iter().position(|(_, beats)| *beats == 0) {
            return Some(self.wrong.remove(over).0.end());
        }
        if soon_over || self.faults.is_empty() || !self.random.percent(10) {
            return None;
        }
        let fault = *self.random.one(&self.faults);
        let change = Change { fault, which: self.random.below(12), begins: true };
        if self.wrong.len() > 1 || !self.wrong.iter().all(|(other, _)| fault.goes_with(other.fault)) {
            return None;
        }
        self.wrong.push((change, 1 + self.random.below(fault.beats)));
        Some(change)
    }

    fn op(&mut self, device: usize) -> Op {
        if self.away.contains(&device) {
            if self.random.percent(60) {
                return Op::ComeBack { gateway: self.random.below(GATEWAYS) };
            }
        } else if self.random.percent(8) {
            return if self.random.percent(50) { Op::Drop } else { Op::GoAway };
        }
        match self.random.below(100) {
            0..2 => Op::OpenDirect { with: self.other(device) },
            2..4 => Op::CreateGroup { with: vec![self.other(device), self.other(device)] },
            4..14 => self.change_of_members(device),
            14..17 => Op::Rename { chat: self.chat_of(device, true) },
            17..52 => self.send(device),
            52..60 => Op::Edit { message: self.message(device, true) },
            60..63 => Op::DeleteMessage { message: self.message(device, true) },
            63..75 => self.react(device),
            75..87 => {
                let event = *self.random.one(&["message:delivered", "message:read"]);
                Op::Mark { message: self.message(device, false), event }
            }
            87..92 => {
                let event = *self.random.one(&["typing:start", "typing:start", "typing:stop"]);
                Op::Type { chat: self.chat_of(device, false), event }
            }
            92..97 => {
                let status: &&str = self.random.one(&["online", "away", "dnd", "invisible"]);
                Op::SetStatus(status)
            }
            _ => {
                let event = *self.random.one(&["presence:subscribe", "presence:unsubscribe"]);
                Op::Watch { who: self.other(device), event }
            }
        }
    }

    fn change_of_members(&mut self, device: usize) -> Op {
        let (chat, who) = (self.chat_of(device, true), self.other(device));
        match self.random.below(20) {
            0..9 => Op::Add { chat, who },
            9..15 => Op::Remove { chat, who },
            15..17 => Op::Promote { chat, who },
            17..19 => Op::Leave { chat },
            _ => Op::DeleteGroup { chat },
        }
    }

    fn send(&mut self, device: usize) -> Op {
        Op::Send { chat: self.chat_of(device, false), rest: self.random.percent(25), insist: self.random.percent(50) }
    }

    fn react(&mut self, device: usize) -> Op {
        let emoji = *self.random.one(&["👍", "🎉", "🌱"]);
        Op::React { message: self.message(device, false), emoji, add: self.random.percent(65) }
    }

    fn other(&mut self, device: usize) -> usize {
        (DEVICES[device] + 1 + self.random.below(PEOPLE - 1)) % PEOPLE
    }

    /// Mostly a chat that the person is in.
    fn chat_of(&mut self, device: usize, group: bool) -> StepId {
        let stray = self.random.percent(5);
        let fits = |chat: &&Chat| (chat.group || !group) && (stray || chat.members.contains(&DEVICES[device]));
        let mut fitting: Vec<StepId> = self.chats.iter().filter(fits).map(|chat| chat.id).collect();
        if fitting.is_empty() {
            fitting = self.chats.iter().map(|chat| chat.id).collect();
        }
        *self.random.one(&fitting)
    }

    /// Mostly one of the last messages, and with `own` mostly one's own.
    fn message(&mut self, device: usize, own: bool) -> StepId {
        let own = own && self.random.percent(85);
        let fits = |(id, chat, sender): &(StepId, StepId, usize)| {
            let member = self.chats.iter().any(|one| one.id == *chat && one.members.contains(&DEVICES[device]));
            (member && (!own || *sender == DEVICES[device])).then_some(*id)
        };
        let fitting: Vec<StepId> = self.messages.iter().filter_map(fits).collect();
        let recent = if self.random.percent(70) { fitting.len().saturating_sub(8) } else { 0 };
        if fitting.is_empty() { 0 } else { *self.random.one(&fitting[recent..]) }
    }

    /// Numbers the step and notes what it will have changed.
    fn step(&mut self, device: usize, op: Op) -> Step {
        let (id, me) = (self.next, DEVICES[device]);
        self.next += 1;
        let chat = |chats: &mut Vec<Chat>, id: StepId, change: &dyn Fn(&mut Chat)| {
            chats.iter_mut().filter(|chat| chat.id == id && chat.group).for_each(change);
        };
        match &op {
            Op::OpenDirect { with } => self.chats.push(Chat { id, group: false, members: [me, *with].into() }),
            Op::CreateGroup { with } => {
                let members = with.iter().copied().chain([me]).collect();
                self.chats.push(Chat { id, group: true, members });
            }
            Op::Add { chat: of, who } => chat(&mut self.chats, *of, &|chat| {
                chat.members.insert(*who);
            }),
            Op::Remove { chat: of, who } => chat(&mut self.chats, *of, &|chat| {
                chat.members.remove(who);
            }),
            Op::Leave { chat: of } => chat(&mut self.chats, *of, &|chat| {
                chat.members.remove(&me);
            }),
            Op::DeleteGroup { chat: of } => chat(&mut self.chats, *of, &|chat| chat.members.clear()),
            Op::Send { chat, .. } => self.messages.push((id, *chat, me)),
            Op::GoAway => {
                self.away.insert(device);
            }
            Op::ComeBack { .. } => {
                self.away.remove(&device);
            }
            _ => {}
        }
        Step { id, device, op }
    }
}
