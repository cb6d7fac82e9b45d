//! Whether the node of NATS that we are at is cut off from the others, and whether what streams republish may have passed us by
//! although our connection held: because it was, or because a stream's leader changed. Core NATS does not tell its clients.

use std::{collections::HashMap, time::Duration};

use async_nats::jetstream::{
    ErrorCode,
    context::{GetStreamError, GetStreamErrorKind},
};
use futures::future::join_all;
use tokio::time::{Instant, sleep, timeout};

use crate::{Lifecycle, Nats};

/// Each stream's leader is asked for this often.
const EVERY: Duration = Duration::from_secs(1);
/// What is lost on a way that is cut never answers; who only has much to do gets this long, so that load makes no more load.
const PATIENCE: Duration = Duration::from_secs(3);
/// A node from which no stream's leader was reached for so long is left for another. Leaders are elected in less.
const CUT_OFF: Duration = Duration::from_secs(10);

/// What was said to the question for a stream's leader.
#[derive(Debug)]
enum Answer {
    Leader(String),
    /// Nobody has made the stream; those who know that can be reached.
    Missing,
    Silence,
}

/// What is known of a stream's leader.
#[derive(Debug, Default)]
struct Leader {
    name: Option<String>,
    /// It did not answer when it was asked last.
    silent: bool,
}

impl Nats {
    /// Counts a [gap](Self::gaps) whenever one of these streams has another leader, or one that was out of reach is there again,
    /// and connects to another node when all of them have been out of reach for ten seconds. Where nothing is replicated there is
    /// only one node, and nothing to look for.
    pub fn follow_leaders(&self, streams: impl IntoIterator<Item = &'static str>, lifecycle: &Lifecycle) {
        let streams: Vec<_> = streams.into_iter().collect();
        let (this, soft) = (self.clone(), lifecycle.soft().clone());
        lifecycle.keep("leaders", async move {
            if this.replicas() < 2 {
                return soft.cancelled().await;
            }
            soft.run_until_cancelled(this.ask_for_leaders(&streams)).await;
        });
    }

    async fn ask_for_leaders(&self, streams: &[&'static str]) {
        let mut leaders: HashMap<&str, Leader> = HashMap::new();
        let mut silence = Silence::default();
        loop {
            let asked = Instant::now();
            let answers = join_all(streams.iter().map(async |stream| (*stream, self.leader_of(stream).await))).await;
            let heard = answers.iter().any(|(_, answer)| !matches!(answer, Answer::Silence));
            if silence.too_long(heard, asked) {
                tracing::warn!("the node of NATS that we are at reaches no stream's leader; connecting to another");
                // Fails only where the client is no more.
                let _ = self.client().force_reconnect().await;
            }
            for (stream, answer) in answers {
                if leaders.entry(stream).or_default().hear(answer) {
                    self.note_gap(format_args!("{stream} has another leader, or one that was out of reach"));
                }
            }
            sleep(EVERY).await;
        }
    }

    async fn leader_of(&self, stream: &str) -> Answer {
        match timeout(PATIENCE, self.jetstream().get_stream(stream)).await {
            Ok(Ok(stream)) => {
                let leader = stream.cached_info().cluster.as_ref().and_then(|cluster| cluster.leader.clone());
                leader.map_or(Answer::Silence, Answer::Leader)
            }
            Ok(Err(error)) if is_missing(&error) => Answer::Missing,
            _ => Answer::Silence,
        }
    }
}

fn is_missing(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

impl Leader {
    /// Whether something may have been missed before this answer.
    fn hear(&mut self, answer: Answer) -> bool {
        let Answer::Leader(name) = answer else {
            self.silent = true;
            return false;
        };
        let missed = self.silent || self.name.as_ref().is_some_and(|before| *before != name);
        *self = Self { name: Some(name), silent: false };
        missed
    }
}

/// How long no stream's leader has answered.
#[derive(Debug, Default)]
struct Silence {
    since: Option<Instant>,
}

impl Silence {
    /// Whether another node should be tried, after those asked at `asked` were heard or not; then the time begins anew.
    fn too_long(&mut self, heard: bool, asked: Instant) -> bool {
        if heard {
            self.since = None;
            return false;
        }
        let long = asked - *self.since.get_or_insert(asked) >= CUT_OFF;
        if long {
            self.since = None;
        }
        long
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_left_after_ten_seconds_without_any_answer_and_the_next_one_has_as_long() {
        let (mut silence, start) = (Silence::default(), Instant::now());
        let mut left = Vec::new();
        for second in 0..40 {
            if silence.too_long((5..8).contains(&second), start + Duration::from_secs(second)) {
                left.push(second);
            }
        }
        assert_eq!(left, [18, 29], "heard last at 7");
    }

    #[test]
    fn another_leader_or_one_that_is_back_may_have_said_what_was_not_heard() {
        let mut leader = Leader::default();
        let answers = [None, Some("a"), Some("a"), Some("b"), None, None, Some("b"), Some("b"), None, Some("a")]
            .map(|name| name.map_or(Answer::Silence, |name| Answer::Leader(name.to_owned())));
        let missed: Vec<bool> = answers.map(|answer| leader.hear(answer)).into();
        assert_eq!(missed, [false, true, false, true, false, false, true, false, false, true]);
    }
}
