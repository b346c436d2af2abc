//! Header names.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use super::headers::HeaderError;
use super::scan;
use super::text::Text;

/// The name of a header. Names compare without regard to case, and a compact form equals its long one (RFC 3261 §7.3.3).
#[derive(Clone)]
pub struct HeaderName(Repr);

#[derive(Clone)]
enum Repr {
    Known(Known),
    Other(Text),
}

impl HeaderName {
    /// The long form in its usual spelling; an unknown name as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Known(known) => known.as_str(),
            Repr::Other(text) => text.as_str(),
        }
    }

    /// Its place among those that [have a constant](Self::KNOWN).
    #[must_use]
    pub fn place(&self) -> Option<usize> {
        self.known().map(|known| known as usize)
    }

    pub(super) fn known(&self) -> Option<Known> {
        match self.0 {
            Repr::Known(known) => Some(known),
            Repr::Other(_) => None,
        }
    }

    pub(super) fn of(known: Option<Known>, spelling: &[u8]) -> Self {
        match known {
            Some(known) => Self(Repr::Known(known)),
            None => Self(Repr::Other(Text::from(&*String::from_utf8_lossy(spelling)))),
        }
    }
}

impl FromStr for HeaderName {
    type Err = HeaderError;

    /// Any token is a name.
    fn from_str(text: &str) -> Result<Self, HeaderError> {
        if !scan::all_token(text.as_bytes()) {
            return Err(HeaderError::malformed("a header name that is no token"));
        }
        Ok(Self::of(Known::of(text.as_bytes()), text.as_bytes()))
    }
}

impl PartialEq for HeaderName {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Repr::Known(a), Repr::Known(b)) => a == b,
            (Repr::Other(a), Repr::Other(b)) => a.eq_ignore_ascii_case(b),
            _ => false,
        }
    }
}

impl Eq for HeaderName {}

impl Hash for HeaderName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for byte in self.as_str().bytes() {
            state.write_u8(byte.to_ascii_lowercase());
        }
        state.write_u8(0xff);
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Declares the names that we know: constant, variant, long form, and how they look in lower case.
macro_rules! names {
    ($($constant:ident $variant:ident $long:literal $($lower:literal)|+,)*) => {
        /// A name of the table below, in one byte.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(super) enum Known { $($variant,)* }

        impl Known {
            pub(super) fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $long,)* }
            }

        }

        /// How each known name looks in lower case, its compact form as well, with its usual spelling.
        static SPELLINGS: &[(&[u8], &str, Known)] = &[$($(($lower, $long, Known::$variant),)+)*];

        impl HeaderName {
            $(#[doc = concat!("`", $long, "`")] pub const $constant: Self = Self(Repr::Known(Known::$variant));)*

            /// Every name that has a constant.
            pub const KNOWN: &'static [Self] = &[$(Self::$constant,)*];
        }
    };
}

impl Known {
    /// Finds a name in any case.
    pub(super) fn of(name: &[u8]) -> Option<Self> {
        let mut at = BUCKETS[bucket(name)?];
        while let Some(&(spelling, usual, known)) = SPELLINGS.get(usize::from(at)) {
            // Nearly everybody writes the usual spelling, and that is quick to see.
            if name == usual.as_bytes() || name.eq_ignore_ascii_case(spelling) {
                return Some(known);
            }
            at = NEXT[usize::from(at)];
        }
        None
    }
}

/// Where to begin looking for a name: its length and two of its letters, with factors that tell all names apart. A new
/// name that meets another one costs a step, no more.
#[inline]
const fn bucket(name: &[u8]) -> Option<usize> {
    if name.is_empty() || name.len() > LONGEST {
        return None;
    }
    // This bit makes a letter small; what it does to other characters does not matter here.
    let first = (name[0] | 0x20) as usize;
    let middle = (name[name.len() / 2] | 0x20) as usize;
    Some((name.len() * 21 + first * 2 + middle) % BUCKET_COUNT)
}

/// The first spelling of each bucket; [`NONE`] for an empty one.
static BUCKETS: [u8; BUCKET_COUNT] = chains().0;
/// The spelling that follows in the same bucket.
static NEXT: [u8; SPELLINGS.len()] = chains().1;

const fn chains() -> ([u8; BUCKET_COUNT], [u8; SPELLINGS.len()]) {
    let (mut buckets, mut next) = ([NONE; BUCKET_COUNT], [NONE; SPELLINGS.len()]);
    let mut at = 0;
    while at < SPELLINGS.len() {
        let Some(bucket) = bucket(SPELLINGS[at].0) else {
            panic!("a known name is too long")
        };
        next[at] = buckets[bucket];
        #[expect(
            clippy::cast_possible_truncation,
            reason = "there are fewer spellings than NONE, as the next line holds"
        )]
        let place = at as u8;
        assert!(at < NONE as usize);
        buckets[bucket] = place;
        at += 1;
    }
    (buckets, next)
}

/// No known name is longer.
const LONGEST: usize = 24;
const BUCKET_COUNT: usize = 512;
/// The end of a chain.
const NONE: u8 = u8::MAX;

names! {
    ACCEPT Accept "Accept" b"accept",
    ACCEPT_CONTACT AcceptContact "Accept-Contact" b"accept-contact" | b"a",
    ACCEPT_ENCODING AcceptEncoding "Accept-Encoding" b"accept-encoding",
    ACCEPT_LANGUAGE AcceptLanguage "Accept-Language" b"accept-language",
    ALERT_INFO AlertInfo "Alert-Info" b"alert-info",
    ALLOW Allow "Allow" b"allow",
    ALLOW_EVENTS AllowEvents "Allow-Events" b"allow-events" | b"u",
    AUTHENTICATION_INFO AuthenticationInfo "Authentication-Info" b"authentication-info",
    AUTHORIZATION Authorization "Authorization" b"authorization",
    CALL_ID CallId "Call-ID" b"call-id" | b"i",
    CALL_INFO CallInfo "Call-Info" b"call-info",
    CONTACT Contact "Contact" b"contact" | b"m",
    CONTENT_DISPOSITION ContentDisposition "Content-Disposition" b"content-disposition",
    CONTENT_ENCODING ContentEncoding "Content-Encoding" b"content-encoding" | b"e",
    CONTENT_LANGUAGE ContentLanguage "Content-Language" b"content-language",
    CONTENT_LENGTH ContentLength "Content-Length" b"content-length" | b"l",
    CONTENT_TYPE ContentType "Content-Type" b"content-type" | b"c",
    CSEQ Cseq "CSeq" b"cseq",
    DATE Date "Date" b"date",
    DIVERSION Diversion "Diversion" b"diversion",
    ERROR_INFO ErrorInfo "Error-Info" b"error-info",
    EVENT Event "Event" b"event" | b"o",
    EXPIRES Expires "Expires" b"expires",
    FROM From "From" b"from" | b"f",
    HISTORY_INFO HistoryInfo "History-Info" b"history-info",
    IDENTITY Identity "Identity" b"identity" | b"y",
    INFO_PACKAGE InfoPackage "Info-Package" b"info-package",
    IN_REPLY_TO InReplyTo "In-Reply-To" b"in-reply-to",
    JOIN Join "Join" b"join",
    MAX_BREADTH MaxBreadth "Max-Breadth" b"max-breadth",
    MAX_FORWARDS MaxForwards "Max-Forwards" b"max-forwards",
    MIME_VERSION MimeVersion "MIME-Version" b"mime-version",
    MIN_EXPIRES MinExpires "Min-Expires" b"min-expires",
    MIN_SE MinSe "Min-SE" b"min-se",
    ORGANIZATION Organization "Organization" b"organization",
    PATH Path "Path" b"path",
    PRIORITY Priority "Priority" b"priority",
    PRIVACY Privacy "Privacy" b"privacy",
    PROXY_AUTHENTICATE ProxyAuthenticate "Proxy-Authenticate" b"proxy-authenticate",
    PROXY_AUTHORIZATION ProxyAuthorization "Proxy-Authorization" b"proxy-authorization",
    PROXY_REQUIRE ProxyRequire "Proxy-Require" b"proxy-require",
    P_ACCESS_NETWORK_INFO PAccessNetworkInfo "P-Access-Network-Info" b"p-access-network-info",
    P_ASSERTED_IDENTITY PAssertedIdentity "P-Asserted-Identity" b"p-asserted-identity",
    P_CHARGING_VECTOR PChargingVector "P-Charging-Vector" b"p-charging-vector",
    P_EARLY_MEDIA PEarlyMedia "P-Early-Media" b"p-early-media",
    P_PREFERRED_IDENTITY PPreferredIdentity "P-Preferred-Identity" b"p-preferred-identity",
    RACK Rack "RAck" b"rack",
    REASON Reason "Reason" b"reason",
    RECORD_ROUTE RecordRoute "Record-Route" b"record-route",
    RECV_INFO RecvInfo "Recv-Info" b"recv-info",
    REFERRED_BY ReferredBy "Referred-By" b"referred-by" | b"b",
    REFER_SUB ReferSub "Refer-Sub" b"refer-sub",
    REFER_TO ReferTo "Refer-To" b"refer-to" | b"r",
    REJECT_CONTACT RejectContact "Reject-Contact" b"reject-contact" | b"j",
    REMOTE_PARTY_ID RemotePartyId "Remote-Party-ID" b"remote-party-id",
    REPLACES Replaces "Replaces" b"replaces",
    REPLY_TO ReplyTo "Reply-To" b"reply-to",
    REQUEST_DISPOSITION RequestDisposition "Request-Disposition" b"request-disposition" | b"d",
    REQUIRE Require "Require" b"require",
    RETRY_AFTER RetryAfter "Retry-After" b"retry-after",
    ROUTE Route "Route" b"route",
    RSEQ Rseq "RSeq" b"rseq",
    SERVER Server "Server" b"server",
    SERVICE_ROUTE ServiceRoute "Service-Route" b"service-route",
    SESSION_EXPIRES SessionExpires "Session-Expires" b"session-expires" | b"x",
    SESSION_ID SessionId "Session-ID" b"session-id",
    SIP_ETAG SipEtag "SIP-ETag" b"sip-etag",
    SIP_IF_MATCH SipIfMatch "SIP-If-Match" b"sip-if-match",
    SUBJECT Subject "Subject" b"subject" | b"s",
    SUBSCRIPTION_STATE SubscriptionState "Subscription-State" b"subscription-state",
    SUPPORTED Supported "Supported" b"supported" | b"k",
    TIMESTAMP Timestamp "Timestamp" b"timestamp",
    TO To "To" b"to" | b"t",
    UNSUPPORTED Unsupported "Unsupported" b"unsupported",
    USER_AGENT UserAgent "User-Agent" b"user-agent",
    VIA Via "Via" b"via" | b"v",
    WARNING Warning "Warning" b"warning",
    WWW_AUTHENTICATE WwwAuthenticate "WWW-Authenticate" b"www-authenticate",
    XMPP_CONTACT XmppContact "XMPP-Contact" b"xmpp-contact",
    XMPP_THREAD XmppThread "XMPP-Thread" b"xmpp-thread",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_compact_forms_do_not_matter() {
        for (a, b) in [
            ("v", "VIA"),
            ("f", "From"),
            ("i", "call-id"),
            ("x", "session-expires"),
            ("X-Own", "x-oWN"),
        ] {
            assert_eq!(a.parse::<HeaderName>().unwrap(), b.parse().unwrap(), "{a}");
        }
        assert_ne!("X-Own".parse::<HeaderName>().unwrap(), "X-Owm".parse().unwrap());
        assert_eq!("l".parse::<HeaderName>().unwrap().as_str(), "Content-Length");
        for bad in ["", "a b", "a:", "Tö", "To\u{1}"] {
            assert!(bad.parse::<HeaderName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_known_name_is_found_by_its_long_form() {
        for name in HeaderName::KNOWN {
            assert!(name.as_str().len() <= LONGEST, "{name}");
            assert_eq!(
                name.as_str().parse::<HeaderName>().unwrap().known(),
                name.known(),
                "{name}"
            );
            assert_eq!(name.place().and_then(|place| HeaderName::KNOWN.get(place)), Some(name));
        }
    }
}
