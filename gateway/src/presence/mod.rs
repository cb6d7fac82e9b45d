//! Presence: who has sockets here and as what they want to be seen, kept in NATS while this gateway lives; and what
//! sockets here want to know of others.

mod devices;
mod keeper;
mod watch;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use contract::{UserId, presence::Availability};
use service::{Lifecycle, Nats, Readiness};
use tokio::sync::Notify;

use devices::Devices;
pub use watch::{Watchers, check};

/// Who leaves and comes back within this was never away: a page that is loaded anew, a client that changes its gateway.
const LINGER: Duration = Duration::from_secs(2);

/// Who is here; cheap to clone.
#[derive(Clone, Default)]
pub struct Presence(Arc<Inner>);

#[derive(Default)]
struct Inner {
    here: Mutex<Here>,
    changed: Notify,
}

#[derive(Default)]
struct Here {
    devices: Devices,
    /// Whose entry in the bucket may no longer be right.
    stale: HashSet<UserId>,
}

/// A connected device; gone when dropped.
pub struct Device {
    presence: Presence,
    user: UserId,
    number: u64,
}

impl Presence {
    /// Keeps the bucket `PRESENCE` up to date in the background. Readiness `presence` says whether it is.
    pub fn keep(&self, nats: &Nats, lifecycle: &Lifecycle, readiness: &Readiness) {
        readiness.set("presence", false);
        let keeper = keeper::Keeper::new(self.clone(), nats.clone(), readiness.clone());
        lifecycle.keep("presence", keeper.run(lifecycle.soft().clone()));
    }

    pub fn arrive(&self, user: UserId, availability: Availability) -> Device {
        let number = self.change(user, |devices| devices.arrive(user, availability));
        Device { presence: self.clone(), user, number }
    }

    /// At the stop, when all sockets are closed: socketioxide keeps what belongs to them until it is dropped itself.
    pub fn all_closed(&self) {
        self.here().devices.clear();
    }

    fn here(&self) -> MutexGuard<'_, Here> {
        self.0.here.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, user: UserId, change: impl FnOnce(&mut Devices) -> T) -> T {
        let mut here = self.here();
        let before = here.devices.of(user);
        let outcome = change(&mut here.devices);
        if here.devices.of(user) != before {
            here.stale.insert(user);
            self.0.changed.notify_one();
        }
        outcome
    }
}

impl Device {
    /// The person wants to be seen as this, as far as this device goes.
    pub fn set(&self, availability: Availability) {
        self.presence.change(self.user, |devices| devices.set(self.user, self.number, availability));
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.presence.change(self.user, |devices| devices.leave(self.user, self.number));
    }
}
