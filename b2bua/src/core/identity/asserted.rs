//! From and P-Asserted-Identity (RFC 3325 §9.1), made from the user record.
//!
//! Phones are shown the address of record that the user calls from, and the number beside it; a trunk is shown the
//! number, which is what it can call back.

use cusax_common::core::dialplan::{self, Dialled, HomePlan};
use cusax_common::core::sip::typed::{From, NameAddr};
use cusax_common::core::sip::{Headers, Host, SipUri, TelUri, Uri};
use cusax_common::core::tel::Tel;
use cusax_common::core::user::{Aor, User};

use super::{Audience, is_anonymous};

/// Nobody (RFC 3323 §4.1.1.3).
#[must_use]
pub fn anonymous() -> NameAddr {
    NameAddr::new(Uri::Sip(SipUri::new("anonymous", nowhere()))).with_display("Anonymous")
}

/// A domain that no name server knows.
pub(super) fn nowhere() -> Host {
    "anonymous.invalid".parse().expect("a constant host name")
}

/// A user of ours.
pub(super) fn of_user(user: &User, aor: &Aor, audience: &Audience) -> NameAddr {
    let address = address_of(aor);
    let uri = match (audience, user.numbers.first()) {
        (Audience::Trunk { .. }, Some(number)) => numbered(number, address.host),
        _ => address,
    };
    NameAddr::new(Uri::Sip(uri)).with_display(&user.name)
}

/// What is asserted of a user: at most one SIP URI and one tel URI (RFC 3325 §9.1).
pub(super) fn identities(user: &User, aor: &Aor, audience: &Audience) -> Vec<NameAddr> {
    let tel = user
        .numbers
        .first()
        .and_then(|number| TelUri::new(number.as_str()).ok());
    std::iter::once(of_user(user, aor, audience))
        .chain(tel.map(|tel| NameAddr::new(Uri::Tel(tel))))
        .collect()
}

/// Somebody behind a trunk: the number that the trunk tells, in its international form and the domain of the callee, so
/// that it can be called back. Names are claims that nobody checked. Digits that are no public number, such as short
/// codes, are shown under no domain: in ours they could be the extension of one of our users.
pub(super) fn of_outside(invite: &Headers, domain: &Host, plan: &HomePlan) -> NameAddr {
    let claimed = invite.one::<From>().ok().filter(|from| !is_anonymous(from));
    let digits = claimed.and_then(|From(from)| match from.uri {
        Uri::Sip(uri) => {
            let user = uri.user_decoded()?;
            digits(user.split(';').next().unwrap_or_default())
        }
        Uri::Tel(uri) => digits(&uri.number),
        Uri::Other(_) => None,
    });
    let Some(digits) = digits else { return anonymous() };
    let uri = match dialplan::read_written(&digits, plan) {
        Ok(Dialled::Number { tel, .. }) => numbered(&tel, domain.clone()),
        _ => SipUri::new(&digits, nowhere()),
    };
    NameAddr::new(Uri::Sip(uri))
}

fn address_of(aor: &Aor) -> SipUri {
    match aor.as_str().parse() {
        Ok(Uri::Sip(uri)) => uri,
        // An AOR is a SIP URI by its type; should a reader differ, nobody is named.
        _ => SipUri::new("anonymous", nowhere()),
    }
}

fn numbered(number: &Tel, host: Host) -> SipUri {
    let mut uri = SipUri::new(number.as_str(), host);
    uri.params.set("user", Some("phone"));
    uri
}

/// A number without separators; none for what is no number.
fn digits(text: &str) -> Option<String> {
    let plain: String = text.chars().filter(|c| !matches!(c, '-' | '.' | '(' | ')')).collect();
    let bare = plain.strip_prefix('+').unwrap_or(&plain);
    let fits = (MIN_SHOWN..=MAX_SHOWN).contains(&bare.len()) && bare.bytes().all(|b| b.is_ascii_digit());
    fits.then_some(plain)
}

/// Short codes call too.
const MIN_SHOWN: usize = 3;
/// E.164 with an international prefix that a carrier forgot to take off.
const MAX_SHOWN: usize = 18;
