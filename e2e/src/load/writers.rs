//! Writers: each sends one message after the other into the chats that everybody is in for the whole run, at both
//! gateways, over sockets and REST at the same time. They are what races for the numbers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinSet, time::sleep};

use super::world::World;
use crate::{history::Outcome, random::Random};

/// Between two messages of one writer: a debug build on two cores keeps up with some hundred a second.
const PACE: Duration = Duration::from_millis(15);
/// Before what was not answered, or was refused, is sent again.
const AGAIN: Duration = Duration::from_millis(100);
/// Of the messages that were not acknowledged at first, those which are sent until they are.
const INSISTING_PERCENT: usize = 70;
/// How far back somebody may say that they have seen the chat.
const BACK: usize = 300;
/// How often somebody says so.
const READING_PERCENT: usize = 15;

/// Writers at work.
pub struct Writers {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Writers {
    /// Starts one at each of the first `count` devices. `name` is part of their messages' `clientId`s.
    pub fn start(world: &Arc<World>, name: &str, count: usize, random: &mut Random) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for device in 0..count {
            let (world, stop) = (world.clone(), stop.clone());
            let random = Random::new(random.number());
            let name = format!("{name}-w{device}");
            tasks.spawn(async move { write(&world, device, &name, &stop, random).await });
        }
        Self { stop, tasks }
    }

    /// Returns when all messages that had to be are acknowledged.
    pub async fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.join_all().await;
    }
}

async fn write(world: &World, device: usize, name: &str, stop: &AtomicBool, mut random: Random) {
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let Some(chat) = world.common_chat(random.below(2)) else { return };
        let client_id = format!("{name}-{number}");
        let rest = random.percent(40);
        let insist = random.percent(INSISTING_PERCENT);
        let mut acked = None;
        loop {
            match world.send(device, &chat, &client_id, rest).await {
                Outcome::Acked(seq) => acked = Some(seq),
                Outcome::Refused(code) if code != "unavailable" => {}
                _ if insist => {
                    sleep(AGAIN).await;
                    continue;
                }
                _ => sleep(AGAIN).await,
            }
            break;
        }
        if let Some(seq) = acked.filter(|_| random.percent(READING_PERCENT)) {
            // Often less than what was said before, by this or another device: that must not count.
            let seq = seq.saturating_sub(random.below(BACK) as u64).max(1);
            world.mark(device, &chat, seq, random.percent(50)).await;
        }
        sleep(PACE).await;
    }
}
