//! What a REGISTER asks for, and for whom (RFC 3261 §10.3 items 3 to 6).

use std::borrow::Cow;

use cusax_common::core::sip::typed::{Contact, ContactList, Expires, NameAddr, Path, Supported, Via};
use cusax_common::core::sip::{HeaderName, Headers, Request, Status, Uri};
use cusax_common::core::user::{Aor, User};

use super::binding::{MAX_CALL_ID, MAX_USER_AGENT, fits};
use super::contact::FlowNumbers;
use crate::core::auth::Authenticated;

/// A REGISTER that can be read, of somebody who may ask for the address.
pub(super) struct Asked<'a> {
    request: &'a Request,
    /// Who has proved to be asking.
    pub(super) user: &'a User,
    /// One of theirs.
    pub(super) aor: &'a Aor,
    pub(super) call_id: Cow<'a, str>,
    pub(super) sequence: u32,
    /// The `Expires` for all contacts that do not say otherwise.
    pub(super) expires: Option<u32>,
    pub(super) wish: Wish,
    /// The proxies between us and the phone.
    pub(super) path: Vec<NameAddr>,
    pub(super) numbers: FlowNumbers,
    /// Whether the phone knows of flows (RFC 5626).
    pub(super) outbound: bool,
    /// Whether the phone wants to know its GRUUs.
    pub(super) gruu: bool,
}

/// What is to become of the bindings.
pub(super) enum Wish {
    /// Nothing: they are only asked for.
    Fetch,
    /// All go.
    Clear,
    /// These are set, or go where they expire at once.
    Set(Vec<Contact>),
}

impl<'a> Asked<'a> {
    pub(super) fn read(request: &'a Request, proof: &'a Authenticated) -> Result<Self, Refusal> {
        let malformed = |_| Refusal::Malformed;
        let headers = &request.headers;
        let to = headers.to_sip().map_err(malformed)?;
        let from = headers.from_sip().map_err(malformed)?;
        let to = proof.address_in(to, || Ok(headers.to()?.0.uri)).map_err(malformed)?;
        let from = proof
            .address_in(from, || Ok(headers.from()?.0.uri))
            .map_err(malformed)?;
        let aor = to.ok_or(Refusal::NotTheirs)?;
        // Nobody registers for somebody else, not even in name.
        from.ok_or(Refusal::NotTheirs)?;
        let call_id = headers.call_id().map_err(malformed)?.to_text();
        let sequence = headers.cseq().map_err(malformed)?.seq;
        if call_id.len() > MAX_CALL_ID {
            return Err(Refusal::Malformed);
        }
        let expires = headers.opt::<Expires>().map_err(malformed)?;
        let expires = expires.map(|Expires(seconds)| seconds);
        let wish = match headers.opt::<ContactList>().map_err(malformed)? {
            None => Wish::Fetch,
            Some(ContactList::Star) => Wish::Clear,
            Some(ContactList::List(contacts)) => Wish::Set(contacts),
        };
        let supported = headers.opt::<Supported>().map_err(malformed)?.unwrap_or_default();
        let path = headers.list::<Path>().map_err(malformed)?;
        let path: Vec<NameAddr> = path.into_iter().map(|Path(hop)| hop).collect();
        if !path.is_empty() && !supported.has("path") {
            // Somebody on the way put it there, and the phone would never know (RFC 3327 §5.3).
            return Err(Refusal::PathUnknown);
        }
        if !fits(&path) {
            return Err(Refusal::Malformed);
        }
        let first_hop_knows = is_direct(headers)? || path.first().is_some_and(is_outbound);
        if matches!(wish, Wish::Clear) && expires != Some(0) {
            return Err(Refusal::Malformed);
        }
        Ok(Self {
            request,
            user: proof.user(),
            aor,
            call_id,
            sequence,
            expires,
            wish,
            path,
            numbers: if first_hop_knows {
                FlowNumbers::Kept
            } else {
                FlowNumbers::Ignored
            },
            outbound: supported.has("outbound"),
            gruu: supported.has("gruu"),
        })
    }

    /// Where the address stands in the record of its user.
    pub(super) fn place(&self) -> u8 {
        let place = self.user.aors.iter().position(|held| held == self.aor);
        place.and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX)
    }

    /// What the phone says to be, as much of it as is kept.
    pub(super) fn user_agent(&self) -> Option<Cow<'a, str>> {
        let text = self.request.headers.get(&HeaderName::USER_AGENT)?.to_text();
        let end = text.floor_char_boundary(MAX_USER_AGENT);
        let cut = match text {
            Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
            Cow::Owned(text) => Cow::Owned(text[..end].to_owned()),
        };
        Some(cut).filter(|text| !text.is_empty())
    }
}

/// Why a REGISTER was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A header cannot be read, a contact is none that we keep, or `*` stands with anything but `Expires: 0`.
    Malformed,
    /// The address, or the one who says to be asking, is not the user's.
    NotTheirs,
    /// A later request of the same call was carried out before.
    OutOfOrder,
    /// The address would have too many bindings.
    TooMany,
    /// We would have too many bindings.
    Full,
    /// The interval asked for is too short.
    TooBrief,
    /// A proxy recorded itself, and the phone does not know that this can be.
    PathUnknown,
    /// The phone wants a flow, and the proxy before us cannot keep one (RFC 5626 §6).
    FirstHop,
}

impl Refusal {
    pub(super) fn status(self) -> Status {
        match self {
            Self::Malformed => Status::BAD_REQUEST,
            Self::NotTheirs | Self::TooMany => Status::FORBIDDEN,
            Self::OutOfOrder => Status::SERVER_INTERNAL_ERROR,
            Self::Full => Status::SERVICE_UNAVAILABLE,
            Self::TooBrief => Status::INTERVAL_TOO_BRIEF,
            Self::PathUnknown => Status::BAD_EXTENSION,
            Self::FirstHop => Status::FIRST_HOP_LACKS_OUTBOUND_SUPPORT,
        }
    }
}

/// Whether nobody is between the phone and us.
fn is_direct(headers: &Headers) -> Result<bool, Refusal> {
    let name = HeaderName::VIA;
    let mut lines = headers.get_all(&name);
    if lines.next().is_some_and(|line| !line.as_bytes().contains(&b',')) && lines.next().is_none() {
        // That it can be read was seen when the request came.
        return Ok(true);
    }
    let vias = headers.list::<Via>().map_err(|_| Refusal::Malformed)?;
    Ok(vias.len() < 2)
}

/// Whether a proxy keeps flows.
fn is_outbound(hop: &NameAddr) -> bool {
    matches!(&hop.uri, Uri::Sip(uri) if uri.params.has("ob"))
}

#[cfg(test)]
mod tests {
    use cusax_common::core::sip::Value;

    use super::*;

    #[test]
    fn whoever_has_one_via_is_direct() {
        let rows: [(&[&'static str], bool); 4] = [
            (&["SIP/2.0/UDP a;branch=z9hG4bK1"], true),
            (&["SIP/2.0/UDP a;branch=z9hG4bK1;x=\",\""], true),
            (&["SIP/2.0/UDP a;branch=z9hG4bK1, SIP/2.0/UDP b;branch=z9hG4bK2"], false),
            (
                &["SIP/2.0/UDP a;branch=z9hG4bK1", "SIP/2.0/UDP b;branch=z9hG4bK2"],
                false,
            ),
        ];
        for (lines, direct) in rows {
            let mut headers = Headers::new();
            for line in lines {
                headers.push(HeaderName::VIA, Value::of_static(line));
            }
            assert_eq!(is_direct(&headers), Ok(direct), "{lines:?}");
        }
    }
}
