//! What phones call themselves. There are many phones and few kinds of them, so each name is kept once.

use std::collections::HashSet;
use std::sync::Arc;

/// Names that phones share.
///
/// # Invariant
/// At most [`MAX_AGENTS`] are held; a phone whose name found no room has it for itself.
#[derive(Debug, Default)]
pub(super) struct Agents(HashSet<Arc<str>>);

impl Agents {
    /// This name, shared with all who have it too.
    pub(super) fn share(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        if self.0.len() >= MAX_AGENTS {
            self.0.retain(|known| Arc::strong_count(known) > 1);
        }
        let name: Arc<str> = name.into();
        if self.0.len() < MAX_AGENTS {
            self.0.insert(Arc::clone(&name));
        }
        name
    }
}

/// More kinds of phones than anybody has.
const MAX_AGENTS: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shared_and_bounded() {
        let mut agents = Agents::default();
        let one = agents.share("phone/1");
        assert!(Arc::ptr_eq(&one, &agents.share("phone/1")));
        for n in 0..2 * MAX_AGENTS {
            agents.share(&format!("made up {n}"));
            assert!(agents.0.len() <= MAX_AGENTS);
        }
        assert!(Arc::ptr_eq(&one, &agents.share("phone/1")), "it is in use");
        let held: Vec<_> = (0..2 * MAX_AGENTS).map(|n| agents.share(&n.to_string())).collect();
        assert_eq!(agents.0.len(), MAX_AGENTS);
        assert_eq!(
            held.last().map(|name| name.to_string()),
            Some((2 * MAX_AGENTS - 1).to_string())
        );
    }
}
