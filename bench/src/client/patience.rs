//! Connecting as `socket.io-client` does where it is refused: again, later, and not all at the same time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::{task::JoinHandle, time::sleep};

use super::{
    engine::{Sender, connect},
    packet::Packet,
};
use crate::refused::Refused;

/// The official client's `reconnectionDelay` and `reconnectionDelayMax`; each is taken at random from half to one and a
/// half of it, and doubles.
const DELAY: Duration = Duration::from_secs(1);
const DELAY_AT_MOST: Duration = Duration::from_secs(5);
/// Who is not in by then is given up.
const DEADLINE: Duration = Duration::from_mins(5);

/// A connection that was not made.
pub const FAILED: &str = "failed";

/// Connects, and again after what a refusal asks for or, where it does not say, after a growing delay. `heard` gets the
/// code of each refusal, [`FAILED`] where there was no answer. Refused for good or for too long is an error.
pub async fn connect_patiently<I>(
    gateway: &str,
    token: &str,
    incoming: impl Fn() -> I,
    mut heard: impl FnMut(&str),
) -> Result<(Sender, JoinHandle<Result<()>>)>
where
    I: FnMut(Packet<'_>, Instant) -> Result<()> + Send + 'static,
{
    let end = Instant::now() + DEADLINE;
    let mut delay = DELAY;
    loop {
        let error = match connect(gateway, token, incoming()).await {
            Ok(connected) => return Ok(connected),
            Err(error) => error,
        };
        let refused = error.downcast_ref::<Refused>();
        heard(refused.map_or(FAILED, |refused| refused.code.as_str()));
        // A token that is not good does not become so.
        if refused.is_some_and(|refused| refused.code == "unauthenticated") || Instant::now() > end {
            return Err(error).context("given up");
        }
        let asked = refused.map(|refused| refused.wait).unwrap_or_default();
        sleep(asked + delay.mul_f64(rand::random_range(0.5..1.5))).await;
        delay = (delay * 2).min(DELAY_AT_MOST);
    }
}
