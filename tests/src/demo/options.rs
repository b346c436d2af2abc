//! What may be asked of the demonstration.

/// How it is to be given.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Options {
    /// Draws everything that is drawn; the same seed gives the same demonstration.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Where cusax keeps users, records and registrations.
    #[arg(long, value_enum, default_value_t = Store::Embedded)]
    pub store: Store,
    /// Switches one mechanism off, to see that the demonstration notices.
    #[arg(long = "break", value_enum)]
    pub broken: Option<Break>,
}

/// Where cusax keeps things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Store {
    /// A SQLite file and the process's own memory.
    #[value(alias = "sqlite")]
    Embedded,
    /// A private Postgres and Redis.
    Postgres,
}

/// What can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Break {
    /// The plugin puts no `<reach/>` into presence.
    Reach,
    /// Alice has asked that her JID is not sent.
    Impp,
    /// The policy warns of no class of numbers.
    Tone,
    /// What the relay sends is dropped.
    Relay,
    /// The plugin has no vCard checked.
    Vcard,
    /// The plugin annotates no roster.
    Roster,
}
