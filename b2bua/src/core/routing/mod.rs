//! Where a call goes: from what was dialled and who dialled it to the targets to invite, or a refusal.
//!
//! Pure: what has to be looked up is told as data ([`Lookup`]), and the answer comes back as an argument ([`Owner`]).
//!
//! # What stays true
//! - A number that a user of ours holds never goes to a trunk.
//! - A trunk reaches users of ours by their numbers, and nothing else: no call crosses from trunk to trunk.
//! - What goes to a trunk is the canonical number and nothing that the caller wrote. Emergency digits go as dialled.
//! - A domain of others is reached by users of ours alone, and where the operator allows it; never by a trunk.
//! - A caller from outside cannot tell a user without a phone from one who does not exist.
//! - Each hop that leaves us says by which trunk it does: who is told what, and what is recorded, follow from that hop.
//!
//! Which of the hops is tried when is for [`attempts`] to say.

mod attempts;
mod order;

use std::cmp::Reverse;
use std::sync::Arc;

use cusax_common::core::dialplan::Dialled;
use cusax_common::core::entropy::Entropy;
use cusax_common::core::policy::{CallerKind, NumberClass};
use cusax_common::core::record::Cause;
use cusax_common::core::sip::typed::NameAddr;
use cusax_common::core::sip::{Host, SipUri, Status, Uri};
use cusax_common::core::tel::Tel;
use cusax_common::core::user::{Aor, User};

pub use self::attempts::{Attempts, Fate, SILENCE, Step, Turn};
use crate::core::carriers::Place;
use crate::core::flow::{Flow, Transport};

/// A carrier, known by its place and realm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trunk {
    /// Its name in records and logs.
    pub name: String,
    /// Where its calls come from and ours go to.
    pub place: Place,
    /// The domain that stands in its requests; any where there is none.
    pub realm: Option<String>,
    /// The name that its certificate must hold, where TLS is spoken.
    pub certified: String,
    /// The beginnings of the numbers, without `+`, that go this way. Empty: every number.
    pub prefixes: Vec<String>,
    /// Among trunks with equally long beginnings the lowest one is tried first.
    pub order: u16,
    /// Its share of the calls among trunks of the same order, at least 1.
    pub weight: u16,
    /// Whether it may learn the JIDs of our users.
    pub impp: bool,
    /// Whether it is told who calls (RFC 3325 §2).
    pub asserted: bool,
    /// Whether emergency calls go this way.
    pub emergency: bool,
}

impl Trunk {
    /// Whether it may be reached by TLS; then it is known by its certificate.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        match &self.place {
            Place::Fixed(flow) => flow.transport == Transport::Tls,
            Place::Domain(domain) => matches!(domain.goal.transport, None | Some(Transport::Tls)),
        }
    }

    /// What stands in our requests to it: its realm, else its domain, else its address.
    fn host(&self) -> (Host, Option<u16>) {
        let name = match &self.place {
            Place::Domain(domain) => self.realm.as_deref().unwrap_or(&domain.goal.domain),
            Place::Fixed(_) => self.realm.as_deref().unwrap_or_default(),
        };
        match (name.parse(), &self.place) {
            (Ok(host), _) => (host, None),
            (Err(_), Place::Fixed(flow)) => (Host::from(flow.remote.ip()), Some(flow.remote.port())),
            (Err(_), Place::Domain(domain)) => (Host::Name(domain.goal.domain.as_str().into()), None),
        }
    }
}

/// What the store must be asked before a call can be routed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Who holds this address of record?
    ByAor(Aor),
    /// Who holds this number?
    ByNumber(Tel),
}

/// The question that what was dialled poses; none for an emergency call, which waits for no store, and for an address of
/// others, of which it knows nothing.
#[must_use]
pub fn lookup(dialled: &Dialled) -> Option<Lookup> {
    match dialled {
        Dialled::Number { tel, .. } => Some(Lookup::ByNumber(tel.clone())),
        Dialled::Name(aor) | Dialled::Extension(aor) => Some(Lookup::ByAor(aor.clone())),
        Dialled::Emergency { .. } | Dialled::Foreign(_) => None,
    }
}

/// The answer to a [`Lookup`].
#[derive(Clone, Debug)]
pub enum Owner {
    /// This user of ours.
    User(Arc<User>),
    /// Nobody.
    Nobody,
}

/// Something to invite: a phone, or what lies behind the trunks. Its hops are tried one after the other, until one of
/// them is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// In the order to try. Never empty, at most [`MAX_HOPS`] to a phone and [`MAX_ATTEMPTS`] by trunks.
    pub hops: Vec<Hop>,
    /// How much it is preferred, in thousandths (RFC 3261 §20.10): equals ring together, others later.
    pub q: u16,
}

/// One way to a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// For the request line.
    pub uri: Uri,
    /// The way to it.
    pub flow: Flow,
    /// The proxies in between, for Route (RFC 3327 §5.3).
    pub path: Vec<NameAddr>,
    /// How the call leaves us; none where it stays.
    pub exit: Option<Exit>,
}

impl Hop {
    /// The name of the trunk that it goes by, if it goes by one.
    #[must_use]
    pub fn trunk(&self) -> Option<&str> {
        match &self.exit {
            Some(Exit::Trunk { name, .. }) => Some(name),
            Some(Exit::Domain) | None => None,
        }
    }
}

/// How a call leaves us by one hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By a trunk.
    Trunk {
        /// Its name in records and logs.
        name: String,
        /// Whether it may learn JIDs.
        impp: bool,
        /// Whether it is told who calls (RFC 3325 §2).
        asserted: bool,
    },
    /// To a domain of others, in which nobody is trusted.
    Domain,
}

/// Whose servers are wanted.
#[derive(Clone, Copy, Debug)]
pub enum Whose<'a> {
    /// Those of a trunk.
    Trunk(&'a Trunk),
    /// Those of the domain of this address.
    Domain(&'a SipUri),
}

/// A phone at an address of record, as routing sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phone {
    /// Its own name, if it has one: several registrations of it are ways to one phone (RFC 5626 §7).
    pub instance: Option<String>,
    /// How much it is preferred, in thousandths.
    pub q: u16,
    /// The way to it.
    pub hop: Hop,
}

/// Where a call goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The called user's address, or the number at the first trunk; see [`called`](Self::called).
    pub to: Uri,
    /// What to invite, by preference. Never empty, at most [`MAX_TARGETS`].
    pub targets: Vec<Target>,
    /// The canonical number that will be dialled and its class, for policy. None for a call to an address of record,
    /// and none for an emergency call, which no policy may touch.
    pub number: Option<(Tel, NumberClass)>,
    /// Whether this is an emergency call.
    pub emergency: bool,
}

impl Plan {
    /// Leaves out every hop on which somebody could read along; what is behind a proxy is secure only if it says so
    /// itself. Tells whether anything is left.
    pub fn keep_secure(&mut self) -> bool {
        let is_sips = |uri: &Uri| matches!(uri, Uri::Sip(uri) if uri.secure);
        for target in &mut self.targets {
            target
                .hops
                .retain(|hop| hop.flow.transport.is_secure() && (hop.path.is_empty() || is_sips(&hop.uri)));
        }
        self.targets.retain(|target| !target.hops.is_empty());
        !self.targets.is_empty()
    }

    /// The way to the first target.
    #[must_use]
    pub fn first_flow(&self) -> Flow {
        self.targets[0].hops[0].flow
    }

    /// The name of the trunk that comes first; none where the call stays with us.
    #[must_use]
    pub fn trunk(&self) -> Option<&str> {
        self.targets[0].hops[0].trunk()
    }

    /// A hop by its turn, if there is such a one.
    #[must_use]
    pub fn hop(&self, turn: Turn) -> Option<&Hop> {
        self.targets.get(turn.target)?.hops.get(turn.hop)
    }

    /// For the To header of an INVITE by this hop: each trunk is asked for the number at its own domain.
    #[must_use]
    pub fn called<'a>(&'a self, hop: &'a Hop) -> &'a Uri {
        match &hop.exit {
            Some(_) => &hop.uri,
            None => &self.to,
        }
    }
}

/// Why there is nothing to invite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Toward the caller.
    pub status: Status,
    /// For the record.
    pub cause: Cause,
}

/// Decides where a call goes. `bindings` gives the phones registered at an address of record, the preferred one first;
/// `ways` gives the servers of a trunk or domain in the order to try. `entropy` shares out the calls among trunks of one order.
///
/// # Errors
/// [`Refusal`] when there is nothing that this caller may reach.
pub fn plan<E: Entropy>(
    trunks: &[Trunk],
    mut bindings: impl FnMut(&Aor) -> Vec<Phone>,
    mut ways: impl FnMut(Whose<'_>, &mut E) -> Vec<Flow>,
    entropy: &mut E,
    caller: CallerKind,
    dialled: &Dialled,
    owner: &Owner,
) -> Result<Plan, Refusal> {
    match (dialled, owner, caller) {
        (Dialled::Emergency { digits }, _, CallerKind::User) => {
            let trunks = order::for_emergency(trunks, entropy);
            out(&trunks, ways, entropy, digits, None)
        }
        (Dialled::Number { tel, .. }, Owner::User(user), _) => {
            let targets = user.aors.iter().flat_map(&mut bindings).collect();
            let home = user.aors.first().ok_or(ABSENT)?;
            stay(home, targets, Some((tel.clone(), NumberClass::Onnet)))
        }
        (Dialled::Name(aor) | Dialled::Extension(aor), Owner::User(_), CallerKind::User) => {
            stay(aor, bindings(aor), None)
        }
        (Dialled::Number { tel, class }, Owner::Nobody, CallerKind::User) => {
            let trunks = order::for_number(trunks, tel, entropy);
            out(&trunks, ways, entropy, tel.as_str(), Some((tel.clone(), *class)))
        }
        (Dialled::Foreign(uri), _, CallerKind::User) => away(uri, ways(Whose::Domain(uri), entropy)),
        (Dialled::Name(_), Owner::Nobody, CallerKind::User) => Err(NOBODY),
        (Dialled::Extension(_), Owner::Nobody, CallerKind::User) => Err(NO_NUMBER),
        (_, _, CallerKind::Trunk) => Err(ABSENT),
    }
}

fn out<E: Entropy>(
    trunks: &[&Trunk],
    mut ways: impl FnMut(Whose<'_>, &mut E) -> Vec<Flow>,
    entropy: &mut E,
    digits: &str,
    number: Option<(Tel, NumberClass)>,
) -> Result<Plan, Refusal> {
    // A carrier of many servers leaves room for the others.
    let each = (MAX_ATTEMPTS / trunks.len().max(1)).clamp(1, MAX_HOPS);
    let mut hops = Vec::new();
    for trunk in trunks {
        let (host, port) = trunk.host();
        let mut uri = SipUri::new(digits, host);
        uri.port = port;
        uri.params.set("user", Some("phone"));
        let uri = Uri::Sip(uri);
        let hop = |flow| Hop {
            uri: uri.clone(),
            flow,
            path: Vec::new(),
            exit: Some(Exit::Trunk {
                name: trunk.name.clone(),
                impp: trunk.impp,
                asserted: trunk.asserted,
            }),
        };
        let ways = ways(Whose::Trunk(trunk), entropy);
        hops.extend(ways.into_iter().take(each).map(hop));
    }
    hops.truncate(MAX_ATTEMPTS);
    let to = hops.first().ok_or(NO_WAY_OUT)?.uri.clone();
    Ok(Plan {
        to,
        targets: vec![Target { hops, q: MAX_Q }],
        emergency: number.is_none(),
        number,
    })
}

/// To a domain of others. The address goes as dialled: only that domain knows what it means.
fn away(uri: &SipUri, ways: Vec<Flow>) -> Result<Plan, Refusal> {
    let uri = Uri::Sip(uri.clone());
    let hop = |flow| Hop {
        uri: uri.clone(),
        flow,
        path: Vec::new(),
        exit: Some(Exit::Domain),
    };
    let hops: Vec<Hop> = ways.into_iter().take(MAX_HOPS).map(hop).collect();
    if hops.is_empty() {
        return Err(NO_WAY_OUT);
    }
    Ok(Plan {
        to: uri,
        targets: vec![Target { hops, q: MAX_Q }],
        number: None,
        emergency: false,
    })
}

fn stay(home: &Aor, phones: Vec<Phone>, number: Option<(Tel, NumberClass)>) -> Result<Plan, Refusal> {
    let mut names: Vec<Option<String>> = Vec::new();
    let mut targets: Vec<Target> = Vec::new();
    for Phone { instance, q, hop } in phones {
        // One phone may be registered under several addresses of its user: it rings once.
        let same = |other: &Hop| other.flow == hop.flow && other.uri.same_as(&hop.uri);
        if targets.iter().any(|target| target.hops.iter().any(same)) {
            continue;
        }
        let known = names.iter().position(|name| name.is_some() && *name == instance);
        match known {
            Some(at) if targets[at].hops.len() < MAX_HOPS => targets[at].hops.push(hop),
            Some(_) => {}
            None if targets.len() < MAX_TARGETS => {
                names.push(instance);
                targets.push(Target { hops: vec![hop], q });
            }
            None => {}
        }
    }
    // Those of several addresses come one address after the other.
    targets.sort_by_key(|target| Reverse(target.q));
    let to = home.as_str().parse().map_err(|_| ABSENT)?;
    if targets.is_empty() {
        return Err(ABSENT);
    }
    Ok(Plan {
        to,
        targets,
        number,
        emergency: false,
    })
}

/// The preference of what has none, in thousandths (RFC 3261 §20.10).
pub const MAX_Q: u16 = 1000;
/// The most phones that ring for one call.
pub const MAX_TARGETS: usize = 16;
/// The most ways to one phone, or to one trunk.
pub const MAX_HOPS: usize = 8;
/// The most ways by which one call leaves us, over all trunks.
pub const MAX_ATTEMPTS: usize = 16;
/// Nobody of that name. Callers from outside get [`ABSENT`] instead.
const NOBODY: Refusal = Refusal {
    status: Status::NOT_FOUND,
    cause: Cause::Unreachable,
};
/// Digits that are neither a number nor anybody's address.
const NO_NUMBER: Refusal = Refusal {
    status: Status::ADDRESS_INCOMPLETE,
    cause: Cause::BadNumber,
};
/// Nobody can be rung now.
const ABSENT: Refusal = Refusal {
    status: Status::TEMPORARILY_UNAVAILABLE,
    cause: Cause::Unreachable,
};
/// No trunk carries that, and no server of the domain was found.
const NO_WAY_OUT: Refusal = Refusal {
    status: Status::SERVICE_UNAVAILABLE,
    cause: Cause::Unreachable,
};

#[cfg(test)]
mod tests;
