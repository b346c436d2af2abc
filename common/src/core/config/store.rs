//! `[store]`, `[state]`: where users, records and short-lived facts are kept.

use crate::core::config::section::{Check, Place, Reader, section};
use crate::core::config::setting::StoreUrl;

section! {
    /// Users and call records.
    Store {
        /// `sqlite:/path/of/a/file` for one machine, `postgres://user:password@host/database` for several.
        url: StoreUrl = "sqlite:/var/lib/cusax/cusax.db".into(),
    }
}

section! {
    /// Short-lived facts that several processes share: registrations and nonces.
    State {
        /// `memory:` for one process, `redis://host:6379/0` or `redis+unix:///a/socket` for several. In memory, phones must
        /// register again after a restart.
        url: StoreUrl = "memory:".into(),
        /// What stands before every key in Redis, so that several services can share one server.
        prefix: String = "cusax:".to_owned(),
        /// The most mebibytes that the state in memory takes. When it is full, the oldest facts are forgotten.
        memory_mib: u32 = 64,
    }
}

impl Check for Store {
    fn check(&self, reader: &mut Reader<'_>, place: &Place) {
        scheme(reader, place, &self.url, &["sqlite", "postgres", "postgresql"]);
    }
}

impl Check for State {
    fn check(&self, reader: &mut Reader<'_>, place: &Place) {
        scheme(reader, place, &self.url, &["memory", "redis", "redis+unix"]);
        if self.prefix.len() > MAX_PREFIX {
            let fix = format!("write at most {MAX_PREFIX} bytes");
            reader.fault_at(place.inner("prefix"), "is too long".into(), fix);
        }
        if !(1..=65_536).contains(&self.memory_mib) {
            let what = format!("{} is out of bounds", self.memory_mib);
            reader.fault_at(place.inner("memory_mib"), what, "write 1 to 65536".into());
        }
    }
}

fn scheme(reader: &mut Reader<'_>, place: &Place, url: &StoreUrl, known: &[&str]) {
    if !known.contains(&url.scheme()) {
        let what = "begins with no kind of store that we have".to_owned();
        reader.fault_at(place.inner("url"), what, format!("begin with {}:", known.join(": or ")));
    }
}

/// The longest prefix of keys in Redis, in bytes.
const MAX_PREFIX: usize = 64;
