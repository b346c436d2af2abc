//! Typed headers.

use std::fmt::Debug;

use cusax_common::core::sip::typed::{
    Allow, AllowEvents, Authorization, CSeq, CallId, CallInfo, Contact, ContactList, ContentType, Diversion, Event,
    Expires, From, MaxBreadth, MaxForwards, MinExpires, MinSe, PAssertedIdentity, PPreferredIdentity, Path, Privacy,
    ProxyAuthenticate, ProxyAuthorization, ProxyRequire, RAck, RSeq, Reason, RecordRoute, ReferTo, ReferredBy,
    Replaces, Require, RetryAfter, Route, ServiceRoute, SessionExpires, SessionUuids, SubscriptionState, Supported, To,
    Unsupported, Via, WwwAuthenticate,
};
use cusax_common::core::sip::{Form, Headers, TypedHeader, Value};

/// One typed header: the first byte says which, the rest is a value. What can be read is written so that it reads the
/// same.
pub fn header(data: &[u8]) {
    let Some((which, text)) = data.split_first() else {
        return;
    };
    let (_, check) = KINDS[usize::from(*which) % KINDS.len()];
    // Two lines, where there is a line end.
    let mut lines = text.splitn(2, |byte| *byte == b'\n');
    let lines: [Option<Value>; 2] =
        [lines.next(), lines.next()].map(|line| Some(Value::cleaned(&String::from_utf8_lossy(line?))));
    check(&mut Headers::new(), lines);
}

/// Asks for every typed header of a message, as one value, as the first and as a list.
pub(super) fn ask_everything(headers: &Headers) {
    for (_, check) in KINDS {
        check(&mut headers.clone(), [None, None]);
    }
}

/// Adds the lines, and reads and writes every header of this type.
type Check = fn(&mut Headers, [Option<Value>; 2]);

macro_rules! kinds {
    ($($name:ident $(=> |$value:ident| $ask:block)?;)*) => {
        /// Each typed header, by its name in `typed`.
        const KINDS: [(&str, Check); [$(stringify!($name)),*].len()] = [$((stringify!($name), |headers, lines| {
            for line in lines.into_iter().flatten() {
                headers.push($name::NAME, line);
            }
            for header in values::<$name>(headers) {
                same(&header);
                $(let $value = header; $ask)?
            }
        })),*];
    };
}

kinds! {
    Allow => |allow| { let _ = allow.has("invite"); };
    AllowEvents;
    Authorization => |proof| { let _ = (proof.algorithm(), proof.nonce_count()); };
    CSeq;
    CallId;
    CallInfo => |info| { let _ = info.is_impp(); };
    Contact => |contact| { assert!(contact.q().is_none_or(|q| q <= 1000)); let _ = contact.expires(); };
    ContactList;
    ContentType => |kind| { let _ = (kind.is("application/sdp"), kind.is_composite()); };
    Diversion;
    Event;
    Expires;
    From => |from| {
        let mut from = from;
        from.set_tag("t 1");
        same(&from);
        assert_eq!(from.tag(), Some("t 1"));
    };
    MaxForwards;
    MinExpires;
    MinSe;
    PAssertedIdentity;
    PPreferredIdentity;
    Path;
    Privacy;
    ProxyAuthenticate => |challenge| { let _ = (challenge.algorithm(), challenge.offers_auth(), challenge.stale()); };
    ProxyAuthorization;
    ProxyRequire;
    RAck;
    RSeq;
    Reason => |reason| { let _ = (reason.cause(), reason.text()); };
    RecordRoute;
    ReferTo;
    ReferredBy;
    Replaces;
    Require;
    RetryAfter;
    Route;
    ServiceRoute;
    SessionExpires => |session| { let _ = session.refresher(); };
    SessionUuids;
    SubscriptionState;
    Supported;
    To;
    Unsupported;
    Via => |via| {
        let _ = (via.branch(), via.rport(), via.received());
        let via = via.stamped([192, 0, 2, 1].into(), 40_000).unwrap_or(via);
        same(&via);
        assert!(via.received().is_none_or(|ip| ip.is_ipv4()), "a sender chose where the answer goes");
    };
    WwwAuthenticate;
    // An input names its header by the place: new ones stand last, so that the corpus keeps its meaning.
    MaxBreadth;
}

/// All values, however they are asked for.
fn values<H: TypedHeader + PartialEq + Debug>(headers: &Headers) -> Vec<H> {
    let list = headers.list::<H>();
    let (first, opt) = (headers.first::<H>(), headers.opt::<H>());
    if let Ok(list) = &list
        && H::FORM != Form::Joined
    {
        assert_eq!(
            first.as_ref().ok(),
            list.first(),
            "the first of a list is another than the first"
        );
        if let Ok(Some(one)) = &opt {
            assert_eq!(
                (list.len(), list.first()),
                (1, Some(one)),
                "one value alone is another than in a list"
            );
        }
    }
    let mut rest = headers.clone();
    if rest.remove_top::<H>().is_ok()
        && let Ok(list) = &list
        && H::FORM != Form::Joined
    {
        assert_eq!(
            rest.list::<H>().as_deref(),
            Ok(&list[1..]),
            "what is left without the topmost"
        );
    }
    let list = list.unwrap_or_default().into_iter();
    list.chain(first).chain(opt.ok().flatten()).collect()
}

/// Written and read again it is the same, also by way of a message.
fn same<H: TypedHeader + PartialEq + Debug>(value: &H) {
    let mut written = String::new();
    value.write(&mut written);
    assert_eq!(H::parse(&written).as_ref(), Ok(value), "written as {written:?}");
    let mut again = String::new();
    H::parse(&written).expect("read above").write(&mut again);
    assert_eq!(again, written);
    let mut headers = Headers::new();
    headers.put(value);
    if H::FORM != Form::Joined {
        assert_eq!(
            headers.list::<H>().as_deref(),
            Ok(std::slice::from_ref(value)),
            "{written:?}"
        );
    } else {
        assert_eq!(headers.one::<H>().as_ref(), Ok(value), "{written:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A new typed header is fuzzed, or this fails.
    #[test]
    fn every_typed_header_is_covered() {
        let source = include_str!("../../../common/src/core/sip/typed/mod.rs");
        let uses = source
            .split("pub use ")
            .skip(1)
            .filter_map(|part| part.split(';').next());
        let names: Vec<&str> = uses
            .flat_map(|part| part.split([':', '{', '}', ',', ' ', '\n']))
            .filter(|word| word.starts_with(char::is_uppercase))
            .collect();
        let parts = [
            "Challenge",
            "Credentials",
            "DigestProof",
            "Hop",
            "Login",
            "NameAddr",
            "Refresher",
        ];
        assert!(names.len() > KINDS.len(), "{names:?}");
        for name in names.iter().filter(|name| !parts.contains(name)) {
            assert!(KINDS.iter().any(|(known, _)| known == name), "{name} is not fuzzed");
        }
    }
}
