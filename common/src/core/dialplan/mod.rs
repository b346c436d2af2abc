//! Any spelling of a dialled address to one canonical form, or a refusal with a reason.
//!
//! Reads SIP URIs (RFC 3261 §19.1), tel URIs (RFC 3966), emergency service URNs (RFC 5031) and, for vCards, what people
//! write. The result is what is looked up, what policy judges and what a trunk gets; nothing of the input goes further.
//!
//! # What stays true
//! - Percent escapes are undone once; what is no number then is none.
//! - The class is a function of the canonical number alone, so no spelling is cheaper than another.
//! - Whatever is ambiguous is refused: a guess could cost the caller money.
//! - Time is linear in the input, and the input is bounded.
//!
//! # What it leaves out
//! Whether a number belongs to a user of ours: that needs the store, so routing asks afterwards. Feature codes with `*`
//! and `#`, pauses and second-stage dialling are refused.

mod class;
mod country;
mod text;

use std::fmt;

use crate::core::policy::NumberClass;
use crate::core::sip::{Params, SipUri};
use crate::core::tel::Tel;
use crate::core::user::Aor;

pub use country::{EmergencyNumber, HomePlan, PlanFault};
use country::{Shape, trunk_prefix};
use text::Lexed;

/// What was dialled, in canonical form.
#[derive(Clone, PartialEq, Eq)]
pub enum Dialled {
    /// A telephone number.
    Number {
        /// The one form that may be dialled.
        tel: Tel,
        /// What kind of number it is, before anybody has looked whether a user of ours holds it.
        class: NumberClass,
    },
    /// An emergency service.
    Emergency {
        /// The digits of the home country for it.
        digits: String,
    },
    /// A name in a domain of ours. It is looked up as an address of record and never goes to a trunk.
    Name(Aor),
    /// Digits that are no number of the dial plan. A user of ours may hold them as an address of record; if nobody
    /// does, the answer is [`Reject::NoSuchExtension`]. They never go to a trunk.
    Extension(Aor),
    /// An address in a domain that is not ours, which [`dial`] refuses and [`foreign`] reads.
    Foreign(Box<SipUri>),
}

impl fmt::Debug for Dialled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number { tel, class } => f
                .debug_struct("Number")
                .field("tel", tel)
                .field("class", class)
                .finish(),
            Self::Emergency { digits } => f.debug_struct("Emergency").field("digits", digits).finish(),
            Self::Name(aor) => f.debug_tuple("Name").field(aor).finish(),
            Self::Extension(aor) => f.debug_tuple("Extension").field(aor).finish(),
            Self::Foreign(uri) => f.debug_tuple("Foreign").field(uri).finish(),
        }
    }
}

/// Reads the request URI of a call, or the target of a redirection or transfer.
///
/// `is_ours` tells whether a host, and a port if one is written, name this service.
///
/// # Errors
/// [`Reject`] tells why nothing can be dialled.
pub fn dial(uri: &str, plan: &HomePlan, is_ours: impl Fn(&str, Option<u16>) -> bool) -> Result<Dialled, Reject> {
    if uri.len() > MAX_URI {
        return Err(Reject::TooLong);
    }
    let (scheme, rest) = uri.split_once(':').ok_or(Reject::Scheme)?;
    match scheme.to_ascii_lowercase().as_str() {
        "sip" | "sips" => dial_sip(rest, plan, &is_ours),
        "tel" => {
            let (number, parameters) = rest.split_once(';').unwrap_or((rest, ""));
            let number = text::decode(number)?;
            dial_number(&number, parameters, Bare::NeedsContext, plan, &is_ours)
        }
        "urn" => plan
            .service(rest)
            .map(|digits| Dialled::Emergency { digits })
            .ok_or(Reject::Scheme),
        _ => Err(Reject::Scheme),
    }
}

/// Reads an address in a domain of others, for a service that calls such. Parameters but that of a
/// GRUU are left out: they could lead elsewhere than the domain does (RFC 3261 §19.1.1, `maddr`).
///
/// # Errors
/// [`Reject::Relay`] where the host is no name, [`Reject::NoUser`] where there is no user, [`Reject::Password`] and
/// [`Reject::Headers`] where an address must have none.
pub fn foreign(uri: &SipUri) -> Result<Dialled, Reject> {
    match uri {
        SipUri { password: Some(_), .. } => Err(Reject::Password),
        SipUri { headers: Some(_), .. } => Err(Reject::Headers),
        SipUri { user: None, .. } => Err(Reject::NoUser),
        SipUri { host, .. } if host.name().is_none() => Err(Reject::Relay),
        SipUri { .. } => {
            let mut uri = uri.clone();
            // Which device it is (RFC 5627 §4.3) belongs to the name; all else says how to get there, which DNS says.
            let device = uri.params.get(DEVICE).map(|value| Params::new().with(DEVICE, value));
            uri.params = device.unwrap_or_default();
            Ok(Dialled::Foreign(Box::new(uri)))
        }
    }
}

/// What marks a GRUU.
const DEVICE: &str = "gr";

/// Reads what an ENUM lookup (RFC 6116) gave for a number. Only a SIP URI ends the search: a tel URI would be looked up
/// again, and could go on for ever.
///
/// # Errors
/// As [`dial`].
pub fn dial_enum(
    target: &str,
    plan: &HomePlan,
    is_ours: impl Fn(&str, Option<u16>) -> bool,
) -> Result<Dialled, Reject> {
    match target.split_once(':') {
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("sip") || scheme.eq_ignore_ascii_case("sips") => {
            dial(target, plan, is_ours)
        }
        _ => Err(Reject::EnumTarget),
    }
}

/// Reads a number as people write it in a vCard: spaces and slashes may stand in it, and a written `(0)` after the
/// country code is dropped.
///
/// # Errors
/// As [`dial`]. A text with a domain (`sip:…`) is not for this function.
pub fn read_written(text: &str, plan: &HomePlan) -> Result<Dialled, Reject> {
    if text.len() > MAX_URI {
        return Err(Reject::TooLong);
    }
    if text.bytes().any(|b| b.is_ascii_control()) || !text.is_ascii() {
        return Err(Reject::Control);
    }
    let text = match text.get(..4) {
        Some(scheme) if scheme.eq_ignore_ascii_case("tel:") => &text[4..],
        _ => text,
    };
    let (number, parameters) = text.split_once(';').unwrap_or((text, ""));
    let mut number: String = number.chars().filter(|c| !matches!(c, ' ' | '/')).collect();
    if number.starts_with('+') || number.starts_with(plan.international()) {
        number = number.replacen("(0)", "", 1);
    }
    let lexed = Lexed {
        text: number,
        escaped_delimiter: false,
    };
    dial_number(&lexed, parameters, Bare::DialString, plan, &|_, _| false)
}

/// Reads the tables of number ranges, which takes a while the first time: done at start, no call waits for it.
pub fn warm_up() {
    class::warm_up();
}

/// Why nothing can be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reject {
    /// Longer than any address.
    #[error("longer than any address")]
    TooLong,
    /// Neither `sip`, `sips`, `tel` nor an emergency service.
    #[error("no scheme that can be dialled")]
    Scheme,
    /// A host without a user.
    #[error("no user part")]
    NoUser,
    /// A password in a URI is refused rather than sent on (RFC 3261 §19.1.1).
    #[error("a password in the address")]
    Password,
    /// Headers in a request URI (RFC 3261 §19.1.1 allows none).
    #[error("headers in the address")]
    Headers,
    /// A transport that does not exist.
    #[error("an unknown transport")]
    Transport,
    /// The host is not ours and we relay to nobody else's.
    #[error("the host is not of this service")]
    Relay,
    /// Control characters, spaces, or characters outside ASCII.
    #[error("control characters, spaces or letters outside ASCII in a number")]
    Control,
    /// An escaped character that would cut the address in two if it were not escaped.
    #[error("an escaped delimiter in a number")]
    EscapedDelimiter,
    /// A character that no number holds.
    #[error("characters that no number holds")]
    Characters,
    /// A user part that no address of record can have.
    #[error("not a name that an address can have")]
    Name,
    /// A local number in a tel URI without its context (RFC 3966 §5.1.5).
    #[error("a local number without its context")]
    LocalWithoutContext,
    /// A context on a number that needs none (RFC 3966 §5.1.5).
    #[error("a context on a global number")]
    ContextOnGlobal,
    /// A context that is no country, no area and no domain, or more than one.
    #[error("a context that cannot be read")]
    Context,
    /// A context and an international prefix: nobody can tell which one holds.
    #[error("a context together with an international prefix")]
    ContextAndPrefix,
    /// The context is a domain that is not ours.
    #[error("a context of another domain")]
    ForeignContext,
    /// A parameter by which carriers steer calls (RFC 4694, RFC 4904): not for callers to choose.
    #[error("a routing parameter that is not the caller's to choose")]
    RoutingParameter,
    /// More digits than E.164 has, or too few for any number.
    #[error("too many or too few digits")]
    Length,
    /// A country code that nobody has.
    #[error("no such country code")]
    CountryCode,
    /// Not of the form that numbers with country code 1 have.
    #[error("not a number of the North American plan")]
    Nanp,
    /// A zero right after the international prefix.
    #[error("a zero after the international prefix")]
    ZeroAfterPrefix,
    /// The trunk prefix written after the country code.
    #[error("a trunk prefix after the country code")]
    WrittenZero,
    /// A prefix that picks another carrier.
    #[error("a prefix that picks another carrier")]
    CarrierPrefix,
    /// Digits that are neither a number nor an address of record of ours.
    #[error("no such number or extension")]
    NoSuchExtension,
    /// An ENUM answer that would need another lookup.
    #[error("an ENUM answer that is not a SIP address")]
    EnumTarget,
}

impl Reject {
    /// The SIP status toward the caller.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::TooLong => 414, // RFC 3261 §21.4.12
            Self::Scheme => 416,  // RFC 3261 §21.4.14
            Self::Password | Self::Headers | Self::Transport => 400,
            Self::Relay => 403,
            // RFC 3261 §21.4.22
            Self::NoUser
            | Self::Control
            | Self::EscapedDelimiter
            | Self::Characters
            | Self::Name
            | Self::LocalWithoutContext
            | Self::ContextOnGlobal
            | Self::Context
            | Self::ContextAndPrefix
            | Self::ForeignContext
            | Self::RoutingParameter
            | Self::Length
            | Self::CountryCode
            | Self::Nanp
            | Self::ZeroAfterPrefix
            | Self::WrittenZero
            | Self::CarrierPrefix
            | Self::NoSuchExtension
            | Self::EnumTarget => 484,
        }
    }
}

/// What digits without `+` and without a context mean.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bare {
    /// Nothing, except an emergency number: a tel URI must say where they are from.
    NeedsContext,
    /// What the home country dials.
    DialString,
}

type IsOurs<'a> = &'a dyn Fn(&str, Option<u16>) -> bool;

fn dial_sip(rest: &str, plan: &HomePlan, is_ours: IsOurs<'_>) -> Result<Dialled, Reject> {
    let sip = text::sip(rest)?;
    if !is_ours(&sip.host, sip.port) {
        return Err(Reject::Relay);
    }
    let (number, parameters) = sip.user.split_once(';').unwrap_or((sip.user, ""));
    let lexed = text::decode(number)?;
    if !sip.is_phone && !lexed.is_like_a_number() {
        let name = text::decode(sip.user)?;
        // A percent sign that is left was escaped twice: the next reader would see another name.
        if name.text.contains('%') {
            return Err(Reject::Name);
        }
        return Aor::new(&name.text, &sip.host)
            .map(Dialled::Name)
            .map_err(|_| Reject::Name);
    }
    match dial_number(&lexed, parameters, Bare::DialString, plan, is_ours) {
        Err(Reject::NoSuchExtension) if parameters.is_empty() => Aor::new(&lexed.text, &sip.host)
            .map(Dialled::Extension)
            .map_err(|_| Reject::Name),
        other => other,
    }
}

fn dial_number(
    lexed: &Lexed,
    parameters: &str,
    bare: Bare,
    plan: &HomePlan,
    is_ours: IsOurs<'_>,
) -> Result<Dialled, Reject> {
    let number = lexed.number()?;
    let context = text::context(parameters)?;
    if let Some(digits) = number.strip_prefix('+') {
        return match context {
            Some(_) => Err(Reject::ContextOnGlobal),
            None => global(digits, plan),
        };
    }
    match context {
        None if bare == Bare::NeedsContext && !plan.is_emergency(&number) => Err(Reject::LocalWithoutContext),
        None => dial_string(&number, plan),
        Some(context) => match context.strip_prefix('+') {
            Some(area) => in_context(&number, area, plan),
            None if is_ours(&context, None) => dial_string(&number, plan),
            None => Err(Reject::ForeignContext),
        },
    }
}

/// Digits after a `+`.
fn global(digits: &str, plan: &HomePlan) -> Result<Dialled, Reject> {
    if digits.starts_with('0') {
        return Err(Reject::CountryCode);
    }
    // Nobody has numbers that begin with an emergency number, so +49112 can only mean 112.
    if let Some(digits) = digits.strip_prefix(plan.code()).filter(|rest| plan.is_emergency(rest)) {
        return Ok(Dialled::Emergency { digits: digits.into() });
    }
    let code = country::code_of(digits);
    let national = code.map_or(digits, |code| &digits[code.len()..]);
    if code.is_some_and(|code| country::is_carrier_prefix(code, national)) {
        return Err(Reject::CarrierPrefix);
    }
    if digits.len() > MAX_DIGITS {
        return Err(Reject::Length);
    }
    let code = code.ok_or(Reject::CountryCode)?;
    if code == country::NANP {
        let bytes = national.as_bytes();
        if bytes.len() != 10 || bytes[0] < b'2' || bytes[3] < b'2' {
            return Err(Reject::Nanp);
        }
    } else if trunk_prefix(code).is_some_and(|trunk| national.starts_with(trunk)) {
        return Err(Reject::WrittenZero);
    }
    let tel: Tel = format!("+{digits}").parse().map_err(|_| Reject::Length)?;
    let class = class::of(&tel, plan);
    Ok(Dialled::Number { tel, class })
}

/// A local number with the country or area that it is from (RFC 3966 §5.1.5).
fn in_context(number: &str, area: &str, plan: &HomePlan) -> Result<Dialled, Reject> {
    let prefix = if area.starts_with(country::NANP) { "011" } else { "00" };
    if number.starts_with(prefix) || number.starts_with("00") {
        return Err(Reject::ContextAndPrefix);
    }
    let code = country::code_of(area).ok_or(Reject::Context)?;
    let national = match trunk_prefix(code) {
        Some(trunk) if code == area => number.strip_prefix(trunk).unwrap_or(number),
        // With its area written, a number has no trunk prefix.
        Some(trunk) if number.starts_with(trunk) => return Err(Reject::Context),
        _ => number,
    };
    global(&format!("{area}{national}"), plan)
}

/// What the home country dials.
fn dial_string(digits: &str, plan: &HomePlan) -> Result<Dialled, Reject> {
    if plan.is_emergency(digits) {
        return Ok(Dialled::Emergency { digits: digits.into() });
    }
    if let Some(rest) = digits.strip_prefix(plan.international()) {
        return match rest.as_bytes().first() {
            Some(b'0') => Err(Reject::ZeroAfterPrefix),
            Some(_) => global(rest, plan),
            None => Err(Reject::Length),
        };
    }
    let in_country = |national: &str| global(&format!("{}{national}", plan.code()), plan);
    if plan.is_short_code(digits) {
        return in_country(digits);
    }
    match plan.shape() {
        Shape::Trunk(trunk) => match (digits.strip_prefix(trunk), plan.area()) {
            (Some(national), _) => in_country(national),
            (None, Some(area)) if digits.len() >= MIN_LOCAL => in_country(&format!("{area}{digits}")),
            (None, _) => Err(Reject::NoSuchExtension),
        },
        Shape::Nanp => match (digits.len(), plan.area()) {
            (11, _) if digits.starts_with(country::NANP) => global(digits, plan),
            (10, _) if digits.as_bytes()[0] >= b'2' => in_country(digits),
            (7, Some(area)) if digits.as_bytes()[0] >= b'2' => in_country(&format!("{area}{digits}")),
            _ => Err(Reject::NoSuchExtension),
        },
        Shape::Closed(shortest, longest) if (shortest..=longest).contains(&digits.len()) => in_country(digits),
        Shape::Closed(..) => Err(Reject::NoSuchExtension),
    }
}

/// The longest URI that is read at all: an address of record of full length with every byte escaped, and parameters.
const MAX_URI: usize = 1024;
/// The most that E.164 allows.
const MAX_DIGITS: usize = 15;
/// Fewer digits are never a number without its area: they are extensions.
const MIN_LOCAL: usize = 5;

#[cfg(test)]
mod tests;
