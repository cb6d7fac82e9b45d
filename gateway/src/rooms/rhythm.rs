//! The rhythm of a large room: after a fan-out it leaves the sockets' tasks alone until they have written and those who heard have
//! answered, and then waits for as many events as lately came together, so that they go out in one write to each socket. A
//! small room never waits, nor does the first event after a quiet moment.

use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures::{FutureExt, StreamExt};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep, timeout_at},
};

/// Rooms of fewer sockets here are done with a fan-out before the timer could say so.
const LARGE: usize = 50;
/// The timer can do no less.
const LOOK: Duration = Duration::from_millis(1);
/// Where the gateway has much else to do, a fan-out is taken to be over after this.
const AT_MOST: Duration = Duration::from_millis(50);
/// Then it rests for half as long as that took: what the sockets' people say to it comes together. Without that some events
/// are always just too late for the others, go out alone, and keep the room from hearing the next ones in time.
const REST: (u32, u32) = (1, 2);
/// A room is busy for so many times as long as its last fan-out took: who writes into it then is mostly not alone.
const BUSY: u32 = 2;
/// How many of the last fan-outs say how many events come together.
const LATELY: usize = 8;
/// At most so many events go out together, far fewer than a socket's buffer holds.
const TOGETHER: usize = 64;

/// When a room emits what it has heard.
#[derive(Default)]
pub(super) struct Rhythm {
    last: Option<FanOut>,
    /// Events of each of the last fan-outs.
    lately: [usize; LATELY],
}

struct FanOut {
    took: Duration,
    /// When the rest after it was over.
    rested: Instant,
}

/// What a batch waits for.
#[derive(Debug, PartialEq, Eq)]
struct Gathering {
    events: usize,
    until: Instant,
}

impl Rhythm {
    /// The events that go out together, of which the first has come.
    pub(super) async fn gather(&mut self, first: Message, messages: &mut Subscriber) -> Vec<Message> {
        let mut batch = vec![first];
        if let Some(Gathering { events, until }) = self.gathering(Instant::now()) {
            while batch.len() < events
                && let Ok(Some(message)) = timeout_at(until, messages.next()).await
            {
                batch.push(message);
            }
        }
        while batch.len() < TOGETHER
            && let Some(message) = messages.next().now_or_never().flatten()
        {
            batch.push(message);
        }
        batch
    }

    /// So many events have gone out to so many sockets; returns when these have been written to, and a little later.
    pub(super) async fn fanned_out(&mut self, events: usize, sockets: usize) {
        if sockets < LARGE {
            self.last = None;
            return;
        }
        let began = Instant::now();
        caught_up(began + AT_MOST).await;
        let took = began.elapsed();
        sleep(took * REST.0 / REST.1).await;
        self.note(events, took, Instant::now());
    }

    fn note(&mut self, events: usize, took: Duration, rested: Instant) {
        self.last = Some(FanOut { took, rested });
        self.lately.rotate_right(1);
        self.lately[0] = events;
    }

    /// What has come waits for this many others, and at most as long as the last fan-out took.
    fn gathering(&mut self, now: Instant) -> Option<Gathering> {
        let busy = self.last.as_ref().filter(|last| now < last.rested + last.took * BUSY);
        let Some(last) = busy else {
            self.lately = [0; LATELY];
            return None;
        };
        let events = self.lately.into_iter().max().unwrap_or_default();
        (events > 1).then_some(Gathering { events, until: now + last.took })
    }
}

/// Returns when one of the runtime's threads has found nothing to do, its own or another's, since this was called: what had been
/// woken before, as the tasks of a room's sockets, has run then.
async fn caught_up(at_the_latest: Instant) {
    let runtime = Handle::current().metrics();
    let parked = || (0..runtime.num_workers()).map(|worker| runtime.worker_park_count(worker)).sum::<u64>();
    let before = parked();
    while parked() == before && Instant::now() < at_the_latest {
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// After fan-outs of so many events, each of which took 8 ms.
    fn after(fan_outs: &[usize]) -> (Rhythm, Instant) {
        let (mut rhythm, mut now) = (Rhythm::default(), Instant::now());
        for events in fan_outs {
            now += 12 * MS;
            rhythm.note(*events, 8 * MS, now);
        }
        (rhythm, now)
    }

    #[test]
    fn what_comes_while_a_room_is_busy_waits_for_as_many_as_came_together() {
        let gathering = |fan_outs: &[usize]| {
            let (mut rhythm, now) = after(fan_outs);
            let gathering = rhythm.gathering(now + 15 * MS)?;
            assert_eq!(gathering.until, now + 23 * MS);
            Some(gathering.events)
        };
        assert_eq!(gathering(&[]), None);
        assert_eq!(gathering(&[1, 1, 1]), None, "who was alone is not waited for");
        assert_eq!(gathering(&[4]), Some(4));
        assert_eq!(gathering(&[4, 1, 1, 2, 1, 1, 1, 1]), Some(4));
        assert_eq!(gathering(&[4, 1, 1, 2, 1, 1, 1, 1, 1]), Some(2));
    }

    #[test]
    fn a_quiet_moment_is_a_new_beginning() {
        let (mut rhythm, now) = after(&[4, 4]);
        assert_eq!(rhythm.gathering(now + 16 * MS), None);
        rhythm.note(1, 4 * MS, now + 22 * MS);
        assert_eq!(rhythm.gathering(now + 22 * MS), None);
    }

    #[tokio::test]
    async fn a_small_room_is_done_at_once() {
        let mut rhythm = Rhythm::default();
        assert!(rhythm.fanned_out(3, LARGE - 1).now_or_never().is_some());
        assert_eq!(rhythm.gathering(Instant::now()), None);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_large_room_goes_on_when_what_it_woke_has_run() {
        use std::sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        };
        const SOCKETS: usize = 400;
        let (events, _) = tokio::sync::broadcast::channel(1);
        let written = Arc::new(AtomicUsize::new(0));
        for _ in 0..SOCKETS {
            let (mut events, written) = (events.subscribe(), written.clone());
            tokio::spawn(async move {
                let () = events.recv().await.unwrap();
                std::thread::sleep(Duration::from_micros(20));
                written.fetch_add(1, Ordering::SeqCst);
            });
        }
        let room = tokio::spawn(async move {
            sleep(20 * MS).await;
            events.send(()).unwrap();
            Rhythm::default().fanned_out(1, SOCKETS).await;
            written.load(Ordering::SeqCst)
        });
        // All but what the other thread is at just then.
        assert!(room.await.unwrap() >= SOCKETS - 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_busy_gateway_does_not_hold_up_a_room_for_long() {
        let work = || async {
            loop {
                std::thread::sleep(MS / 5);
                tokio::task::yield_now().await;
            }
        };
        let busy: Vec<tokio::task::JoinHandle<()>> = (0..64).map(|_| tokio::spawn(work())).collect();
        // Until all threads have their share.
        sleep(20 * MS).await;
        let began = Instant::now();
        Rhythm::default().fanned_out(1, LARGE).await;
        assert!((AT_MOST..20 * AT_MOST).contains(&began.elapsed()));
        busy.iter().for_each(tokio::task::JoinHandle::abort);
    }
}
