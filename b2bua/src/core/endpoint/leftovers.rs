//! What the endpoint holds, table by table; for tests, which know when it must hold nothing.

use super::Endpoint;

impl<E> Endpoint<E> {
    /// How many calls are up in which somebody is with nobody, though nobody is being reached for them: none at any time.
    #[doc(hidden)]
    #[must_use]
    pub fn lonely(&self) -> usize {
        self.calls.values().filter(|live| !live.call.is_whole()).count()
    }

    /// How much is left in each table of what belongs to a call, a transaction or a question: all of it is gone when
    /// they are over. Bindings, carriers and what is remembered for a while on purpose are not among them.
    #[doc(hidden)]
    #[must_use]
    pub fn leftovers(&self) -> [(&'static str, usize); 21] {
        let (clients, servers) = self.transactions.live();
        [
            ("client transactions", clients),
            ("server transactions", servers),
            (
                "transactions without a name, or names without one",
                usize::from(!self.transactions.is_sound()),
            ),
            ("calls", self.calls.len()),
            ("deadlines of calls", self.deadlines.len()),
            ("dialogs", self.dialogs.len()),
            ("flows of dialogs", self.flows.len()),
            ("servers of calls", self.servers.len()),
            ("clients of calls", self.clients.len()),
            ("tokens of calls", self.tokens.len()),
            ("ACKs", self.acks.len()),
            ("questions to the store", self.fetches.len()),
            ("questions to the first endpoint", self.asking.len()),
            ("dialogs that have moved", self.moved.len()),
            ("refusals that wait", self.refused.len()),
            ("words of calls", self.letters.len()),
            ("calls that wait for DNS", self.searching.len()),
            ("transfers that wait for DNS", self.seeking.len()),
            ("users on the phone", self.busy.len()),
            ("users with calls", self.begun.len()),
            ("users to be looked up", self.doubtful.len() + self.doubted),
        ]
    }
}
