//! Numbers that order requests and provisional responses: `CSeq` (RFC 3261 §20.16), `RSeq` and `RAck` (RFC 3262 §7).

use std::fmt::Write as _;

use crate::core::sip::headers::HeaderError;
use crate::core::sip::method::Method;
use crate::core::sip::name::HeaderName;
use crate::core::sip::scan::{self, Bad};
use crate::core::sip::typed::{Form, TypedHeader};

/// The place of a request in its dialog, and its method once more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CSeq {
    /// Below 2³¹ (RFC 3261 §8.1.1.5).
    pub seq: u32,
    /// The method of the request, also in responses.
    pub method: Method,
}

impl CSeq {
    /// A sequence number with its method.
    #[must_use]
    pub fn new(seq: u32, method: Method) -> Self {
        Self { seq, method }
    }
}

impl TypedHeader for CSeq {
    const NAME: HeaderName = HeaderName::CSEQ;
    const FORM: Form = Form::Single;

    fn parse(text: &str) -> Result<Self, HeaderError> {
        let (seq, method) = split(text.as_bytes())?;
        Ok(Self { seq, method })
    }

    fn write(&self, out: &mut String) {
        write!(out, "{} {}", self.seq, self.method).expect("writing to a String cannot fail");
    }
}

/// The number of a reliable provisional response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RSeq(pub u32);

impl TypedHeader for RSeq {
    const NAME: HeaderName = HeaderName::RSEQ;
    const FORM: Form = Form::Single;

    fn parse(text: &str) -> Result<Self, HeaderError> {
        match scan::number(text)? {
            0 => Err(HeaderError::malformed("zero")),
            number => Ok(Self(number)),
        }
    }

    fn write(&self, out: &mut String) {
        write!(out, "{}", self.0).expect("writing to a String cannot fail");
    }
}

/// Which reliable provisional response a PRACK acknowledges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RAck {
    /// Its `RSeq`.
    pub rseq: u32,
    /// Its `CSeq`.
    pub cseq: CSeq,
}

impl TypedHeader for RAck {
    const NAME: HeaderName = HeaderName::RACK;
    const FORM: Form = Form::Single;

    fn parse(text: &str) -> Result<Self, HeaderError> {
        let (rseq, rest) = text
            .split_once(scan::is_blank)
            .ok_or(HeaderError::malformed("not three words"))?;
        Ok(Self {
            rseq: scan::number(rseq)?,
            cseq: CSeq::parse(scan::trim(rest))?,
        })
    }

    fn write(&self, out: &mut String) {
        write!(out, "{} ", self.rseq).expect("writing to a String cannot fail");
        self.cseq.write(out);
    }
}

/// Number and method of a `CSeq`.
pub fn split(text: &[u8]) -> Result<(u32, Method), Bad> {
    let blank = text
        .iter()
        .position(|byte| matches!(byte, b' ' | b'\t'))
        .ok_or(Bad("not a number and a method"))?;
    let (seq, method) = text.split_at(blank);
    let seq = scan::number(seq)?;
    if seq > MAX_SEQ {
        return Err(Bad("a number out of range"));
    }
    let method = Method::read(scan::trim_bytes(method)).ok_or(Bad("not a token"))?;
    Ok((seq, method))
}

const MAX_SEQ: u32 = (1 << 31) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_methods_are_read() {
        assert_eq!(CSeq::parse("0009 \t INVITE").unwrap(), CSeq::new(9, Method::Invite));
        assert_eq!(CSeq::parse("2147483647 invite").unwrap().method.as_str(), "invite");
        assert_eq!(
            RAck::parse("776656 1 INVITE").unwrap(),
            RAck {
                rseq: 776_656,
                cseq: CSeq::new(1, Method::Invite)
            }
        );
        for text in [
            "",
            "1",
            "INVITE",
            "2147483648 INVITE",
            "36893488147419103232 INVITE",
            "-1 INVITE",
            "1 INV(ITE",
            "1 A B",
        ] {
            assert!(CSeq::parse(text).is_err(), "{text}");
        }
        assert!(RSeq::parse("0").is_err() && RAck::parse("1 INVITE").is_err());
    }
}
