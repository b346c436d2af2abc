//! What keeps the service from doing its work, told by each part about itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The readiness of every part. Cheap to clone: all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<BTreeMap<&'static str, Option<String>>>>);

impl Health {
    /// No part yet, so ready.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A part that is not ready, for the reason given, until it says otherwise.
    #[must_use]
    pub fn part(&self, name: &'static str, reason: &str) -> Part {
        let part = Part {
            health: self.clone(),
            name,
        };
        part.not_ready(reason);
        part
    }

    /// Every part with the reason why it is not ready, if it is not.
    #[must_use]
    pub fn parts(&self) -> BTreeMap<&'static str, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether every part is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.parts().values().all(Option::is_none)
    }

    fn set(&self, name: &'static str, reason: Option<String>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name, reason);
    }
}

/// The voice of one part.
#[derive(Clone, Debug)]
pub struct Part {
    health: Health,
    name: &'static str,
}

impl Part {
    /// The part does its work.
    pub fn ready(&self) {
        self.health.set(self.name, None);
    }

    /// The part cannot do its work. The reason is shown to whoever asks, so it holds no address and no secret.
    pub fn not_ready(&self, reason: &str) {
        self.health.set(self.name, Some(reason.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part_that_is_not_ready_is_enough() {
        let health = Health::new();
        assert!(health.is_ready());
        let (store, xmpp) = (health.part("store", "starting"), health.part("xmpp", "not connected"));
        store.ready();
        assert!(!health.is_ready());
        assert_eq!(health.parts()["xmpp"].as_deref(), Some("not connected"));
        xmpp.ready();
        assert!(health.is_ready());
    }
}
