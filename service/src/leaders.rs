//! Whether what streams republish may have passed us by although our connection held: the node of NATS that we are at was cut
//! off from the others, or a stream's leader changed. Core NATS does not tell its clients of either.

use std::{collections::HashMap, time::Duration};

use futures::future::join_all;
use tokio::time::{sleep, timeout};

use crate::{Lifecycle, Nats};

/// Each stream's leader is asked for this often.
const EVERY: Duration = Duration::from_secs(1);
/// What is lost on a way that is cut never answers; who only has much to do gets this long, so that load makes no more load.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is known of a stream's leader.
#[derive(Debug, Default)]
struct Leader {
    name: Option<String>,
    /// It did not answer when it was asked last.
    silent: bool,
}

impl Nats {
    /// Counts a [gap](Self::gaps) whenever one of these streams has another leader, or one that was out of reach is there again.
    /// Where nothing is replicated there is only one node, and nothing to look for.
    pub fn follow_leaders(&self, streams: &'static [&'static str], lifecycle: &Lifecycle) {
        let (this, soft) = (self.clone(), lifecycle.soft().clone());
        lifecycle.keep("leaders", async move {
            if this.replicas() < 2 {
                return soft.cancelled().await;
            }
            soft.run_until_cancelled(this.ask_for_leaders(streams)).await;
        });
    }

    async fn ask_for_leaders(&self, streams: &[&'static str]) {
        let mut leaders: HashMap<&str, Leader> = HashMap::new();
        loop {
            let answers = join_all(streams.iter().map(async |stream| (*stream, self.leader_of(stream).await))).await;
            for (stream, answer) in answers {
                if leaders.entry(stream).or_default().hear(answer) {
                    self.note_gap(format_args!("{stream} has another leader, or one that was out of reach"));
                }
            }
            sleep(EVERY).await;
        }
    }

    async fn leader_of(&self, stream: &str) -> Option<String> {
        let stream = timeout(PATIENCE, self.jetstream().get_stream(stream)).await.ok()?.ok()?;
        stream.cached_info().cluster.as_ref()?.leader.clone()
    }
}

impl Leader {
    /// Whether something may have been missed before this answer; `None` for none.
    fn hear(&mut self, answer: Option<String>) -> bool {
        let Some(name) = answer else {
            self.silent = true;
            return false;
        };
        let missed = self.silent || self.name.as_ref().is_some_and(|before| *before != name);
        *self = Self { name: Some(name), silent: false };
        missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_leader_or_one_that_is_back_may_have_said_what_was_not_heard() {
        let mut leader = Leader::default();
        let answers = [None, Some("a"), Some("a"), Some("b"), None, None, Some("b"), Some("b"), None, Some("a")];
        let missed: Vec<bool> = answers.map(|answer| leader.hear(answer.map(str::to_owned))).into();
        assert_eq!(missed, [false, true, false, true, false, false, true, false, false, true]);
    }
}
