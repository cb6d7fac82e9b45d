//! The devices connected here, by person. No I/O.

use std::collections::HashMap;

use contract::{UserId, presence::Availability};

#[derive(Debug, Default)]
pub(super) struct Devices {
    people: HashMap<UserId, Vec<(u64, Availability)>>,
    arrivals: u64,
}

impl Devices {
    /// Answers the device's number.
    pub(super) fn arrive(&mut self, user: UserId, availability: Availability) -> u64 {
        self.arrivals += 1;
        self.people.entry(user).or_default().push((self.arrivals, availability));
        self.arrivals
    }

    pub(super) fn set(&mut self, user: UserId, device: u64, availability: Availability) {
        let devices = self.people.get_mut(&user).into_iter().flatten();
        devices.filter(|(number, _)| *number == device).for_each(|(_, now)| *now = availability);
    }

    pub(super) fn leave(&mut self, user: UserId, device: u64) {
        if let Some(devices) = self.people.get_mut(&user) {
            devices.retain(|(number, _)| *number != device);
            if devices.is_empty() {
                self.people.remove(&user);
            }
        }
    }

    /// Nobody is here any more; who leaves later has left already.
    pub(super) fn clear(&mut self) {
        self.people.clear();
    }

    /// What a person's devices here make together; `None` where there are none.
    pub(super) fn of(&self, user: UserId) -> Option<Availability> {
        Availability::combined(self.people.get(&user)?.iter().map(|(_, availability)| *availability))
    }

    pub(super) fn people(&self) -> impl Iterator<Item = UserId> {
        self.people.keys().copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.people.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_here_from_the_first_to_the_last_device() {
        let (mut devices, anna) = (Devices::default(), UserId::new());
        assert_eq!(devices.of(anna), None);
        let (phone, laptop) = (devices.arrive(anna, Availability::Away), devices.arrive(anna, Availability::Online));
        assert_eq!(devices.of(anna), Some(Availability::Online));
        devices.set(anna, phone, Availability::Dnd);
        assert_eq!(devices.of(anna), Some(Availability::Dnd));
        devices.leave(anna, phone);
        devices.leave(anna, phone);
        assert_eq!(devices.of(anna), Some(Availability::Online));
        devices.leave(anna, laptop);
        assert!(devices.is_empty());
        devices.set(anna, laptop, Availability::Online);
        assert_eq!(devices.of(anna), None);

        let phone = devices.arrive(anna, Availability::Online);
        devices.clear();
        assert!(devices.is_empty());
        devices.leave(anna, phone);
        assert!(devices.is_empty());
    }
}
