//! One request in one state of a call over one transport: what is answered, what it does to the call, and whether the call
//! is any the worse for it.
//!
//! The expectations stand in a table that was written from the RFCs, of which [`Row`] is a line. A [`Bench`] brings a
//! fresh call into a [`State`], lets one of its sides send a request, holds what comes of it against the row, and then
//! completes the call and hangs it up.

use std::fmt;

use cusax_b2bua::core::flow::Transport;

use super::bench::Bench;

/// The methods: what RFC 3261 and its extensions know, and one that nobody knows.
pub const METHODS: [&str; 15] = [
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "OPTIONS",
    "REGISTER",
    "PRACK",
    "UPDATE",
    "INFO",
    "REFER",
    "NOTIFY",
    "SUBSCRIBE",
    "MESSAGE",
    "PUBLISH",
    "FROBNICATE",
];

/// The transports, with what stands for them in the column `over`, and the listener of each.
pub const TRANSPORTS: [(Transport, &str, u16); 4] = [
    (Transport::Udp, "udp", 0),
    (Transport::Tcp, "streams", 1),
    (Transport::Tls, "streams", 2),
    (Transport::Ws, "streams", 3),
];

/// What a call is for the side that sends the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There is no call, and the request has no To tag.
    NoDialog,
    /// There is no call, and the request says that there is one.
    UnknownDialog,
    /// The caller has sent an INVITE and knows no tag of ours yet.
    Trying,
    /// The caller has got a 180.
    EarlyCaller,
    /// The callee has sent a 180.
    EarlyCallee,
    /// The caller has got a 180 that wants a PRACK.
    EarlyReliable,
    /// The caller has got a 183 with an answer to its offer, and has acknowledged it with a PRACK.
    EarlyAgreed,
    /// The caller has got the 2xx and has not acknowledged it.
    Answered,
    /// The same with an offer in the 2xx, since the INVITE had none.
    AnsweredLate,
    /// Both sides talk; the caller sends the request.
    ConfirmedCaller,
    /// Both sides talk; the callee sends the request.
    ConfirmedCallee,
    /// The sender has a re-INVITE under way.
    OwnReinvite,
    /// The other side has a re-INVITE under way, which the sender has not answered.
    OthersReinvite,
    /// The sender has an UPDATE under way.
    OwnUpdate,
    /// The other side has an UPDATE under way, which the sender has not answered.
    OthersUpdate,
    /// The sender has sent a BYE, which was answered.
    HungUp,
    /// The other side has hung up, and the sender has not yet answered the BYE.
    LetGo,
    /// The caller has given up before the answer.
    Cancelled,
    /// The call ended longer ago than any transaction lasts.
    Forgotten,
    /// Both sides talk, and the request has another To tag.
    StrangeTo,
    /// Both sides talk, and the request has another From tag.
    StrangeFrom,
    /// Both sides talk, and the request has a number that is too low.
    OutOfOrder,
}

impl State {
    /// All of them, with the names that the table has for them.
    pub const ALL: [(Self, &str); 22] = [
        (Self::NoDialog, "no dialog"),
        (Self::UnknownDialog, "unknown dialog"),
        (Self::Trying, "trying"),
        (Self::EarlyCaller, "early, caller"),
        (Self::EarlyReliable, "early reliable, caller"),
        (Self::EarlyAgreed, "early agreed, caller"),
        (Self::EarlyCallee, "early, callee"),
        (Self::Answered, "answered"),
        (Self::AnsweredLate, "answered, late offer"),
        (Self::ConfirmedCaller, "confirmed, caller"),
        (Self::ConfirmedCallee, "confirmed, callee"),
        (Self::OwnReinvite, "re-INVITE of its own"),
        (Self::OthersReinvite, "re-INVITE of the other"),
        (Self::OwnUpdate, "UPDATE of its own"),
        (Self::OthersUpdate, "UPDATE of the other"),
        (Self::HungUp, "hung up"),
        (Self::LetGo, "let go"),
        (Self::Cancelled, "cancelled"),
        (Self::Forgotten, "forgotten"),
        (Self::StrangeTo, "strange To tag"),
        (Self::StrangeFrom, "strange From tag"),
        (Self::OutOfOrder, "out of order"),
    ];

    /// The state of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, known)| *known == name);
        found.map(|(state, _)| *state)
    }

    /// Whether it is the callee who sends the request.
    #[must_use]
    pub fn is_callees(self) -> bool {
        matches!(
            self,
            Self::EarlyCallee | Self::ConfirmedCallee | Self::OthersReinvite | Self::OthersUpdate
        )
    }

    /// Whether the caller wants every provisional response to be reliable (RFC 3262 §3).
    #[must_use]
    pub fn is_reliable(self) -> bool {
        matches!(self, Self::EarlyReliable | Self::EarlyAgreed)
    }

    /// Whether there was a call, of which a record is kept.
    #[must_use]
    pub fn has_call(self) -> bool {
        !matches!(self, Self::NoDialog | Self::UnknownDialog)
    }
}

/// A line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// The name of the state.
    pub state: String,
    /// The method.
    pub method: String,
    /// `all`, `udp` or `streams`.
    pub over: String,
    /// What is answered: codes, `pass` when the other side is asked and its answer comes back, `refused` for a refusal
    /// that denies neither dialog nor method, `-` for silence; alternatives with `|`.
    pub expected: String,
    /// What becomes of the call: there is `nothing` and nobody is told anything; it is `unchanged`, and can be completed
    /// and hung up; the 2xx is `acknowledged`; it is `over`, and the other side gets BYE; it is `cancelled` on both
    /// sides; its re-INVITE is `retracted` on both sides.
    pub afterwards: String,
    /// A header that the answer must have, or `-`.
    pub carries: String,
    /// Who says so.
    pub rule: String,
    /// Why.
    pub reason: String,
}

impl Row {
    /// Reads a table with a line of titles.
    ///
    /// # Panics
    /// If a line has too few columns.
    #[must_use]
    pub fn read(table: &str) -> Vec<Self> {
        let row = |line: &str| {
            let mut columns = line.split('\t').map(str::to_owned);
            let mut next = || columns.next().unwrap_or_else(|| panic!("a column is missing: {line}"));
            Self {
                state: next(),
                method: next(),
                over: next(),
                expected: next(),
                afterwards: next(),
                carries: next(),
                rule: next(),
                reason: next(),
            }
        };
        table.lines().skip(1).map(row).collect()
    }

    /// Whether it speaks of this transport.
    #[must_use]
    pub fn is_over(&self, word: &str) -> bool {
        self.over == "all" || self.over == word
    }

    /// Whether this may come of it.
    #[must_use]
    pub fn allows(&self, got: &Got) -> bool {
        self.expected.split('|').any(|one| match (one, got) {
            ("-", Got::Silence) | ("pass", Got::Passed(200)) => true,
            ("refused", Got::Answered(code)) => *code >= 400 && ![405, 481, 501].contains(code),
            (code, Got::Answered(got)) => code == got.to_string(),
            _ => false,
        })
    }
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// Nothing.
    Silence,
    /// We answered ourselves.
    Answered(u16),
    /// The other side was asked, and answered 200; this came back.
    Passed(u16),
}

impl fmt::Display for Got {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silence => f.write_str("-"),
            Self::Answered(code) => write!(f, "{code}"),
            Self::Passed(200) => f.write_str("pass"),
            Self::Passed(code) => write!(f, "pass, then {code}"),
        }
    }
}

/// Runs one cell.
///
/// # Errors
/// What was found instead of what the row says.
pub fn run(row: &Row, state: State, (transport, listener): (Transport, u16)) -> Result<(), String> {
    let mut bench = Bench::reach(state, transport, listener).map_err(|why| format!("not reached: {why}"))?;
    bench.hold_against(row)
}

/// The answer to a request of this method in this state: the names of its headers, and their values where nothing in
/// them is the sender's own.
///
/// # Errors
/// If the state is not reached, or there is no answer.
pub fn looks(state: State, method: &str) -> Result<(u16, Vec<String>), String> {
    let (transport, _, listener) = TRANSPORTS[0];
    let answer = Bench::reach(state, transport, listener)?.answer_to(method)?;
    let repeated = ["Via", "From", "To", "Call-ID", "CSeq"];
    let lines = answer.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        match repeated.contains(&name.as_str()) {
            true => name.as_str().to_owned(),
            false => format!("{}: {value}", name.as_str()),
        }
    });
    Ok((answer.status.code(), lines.collect()))
}
