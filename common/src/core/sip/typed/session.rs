//! Session timers (RFC 4028 §4, §5).

use std::fmt::Write as _;

use crate::core::sip::headers::HeaderError;
use crate::core::sip::name::HeaderName;
use crate::core::sip::params::{self, Params};
use crate::core::sip::scan;
use crate::core::sip::text::Text;
use crate::core::sip::typed::{Form, TypedHeader};

/// How long a session lasts unless it is refreshed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionExpires {
    /// In seconds.
    pub seconds: u32,
    /// `refresher`, …
    pub params: Params,
}

/// Who refreshes the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresher {
    /// Who sent the request.
    Uac,
    /// Who answered it.
    Uas,
}

impl SessionExpires {
    /// A time, and who refreshes, if that is settled.
    #[must_use]
    pub fn new(seconds: u32, refresher: Option<Refresher>) -> Self {
        let name = refresher.map(|who| match who {
            Refresher::Uac => "uac",
            Refresher::Uas => "uas",
        });
        let params = name.map_or_else(Params::new, |name| Params::new().with("refresher", Some(name)));
        Self { seconds, params }
    }

    /// Who refreshes; none also for a value that is neither.
    #[must_use]
    pub fn refresher(&self) -> Option<Refresher> {
        let value = self.params.value("refresher")?;
        if value.eq_ignore_ascii_case("uac") {
            Some(Refresher::Uac)
        } else if value.eq_ignore_ascii_case("uas") {
            Some(Refresher::Uas)
        } else {
            None
        }
    }
}

impl TypedHeader for SessionExpires {
    const NAME: HeaderName = HeaderName::SESSION_EXPIRES;
    const FORM: Form = Form::Single;

    fn parse(text: &str) -> Result<Self, HeaderError> {
        let (seconds, params) = split(text)?;
        Ok(Self { seconds, params })
    }

    fn write(&self, out: &mut String) {
        write!(out, "{}{}", self.seconds, self.params).expect("writing to a String cannot fail");
    }
}

/// The shortest session, in seconds, that somebody on the way takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MinSe(pub u32);

impl TypedHeader for MinSe {
    const NAME: HeaderName = HeaderName::MIN_SE;
    const FORM: Form = Form::Single;

    fn parse(text: &str) -> Result<Self, HeaderError> {
        split(text).map(|(seconds, _)| Self(seconds))
    }

    fn write(&self, out: &mut String) {
        write!(out, "{}", self.0).expect("writing to a String cannot fail");
    }
}

fn split(text: &str) -> Result<(u32, Params), HeaderError> {
    let (seconds, params) = text.split_at(text.find(';').unwrap_or(text.len()));
    params::check_header(params)?;
    Ok((scan::number(scan::trim(seconds))?, Params::checked(Text::from(params))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_refreshers_are_read() {
        let read = |text| SessionExpires::parse(text).map(|s| (s.seconds, s.refresher()));
        assert_eq!(read("1800;refresher=UAS").unwrap(), (1800, Some(Refresher::Uas)));
        assert_eq!(read("90 ; refresher=x").unwrap(), (90, None));
        assert!(read("4294967296").is_err() && read("").is_err() && read("-1").is_err());
        assert_eq!(MinSe::parse("90;x=y").unwrap(), MinSe(90));
        let mut text = String::new();
        SessionExpires::new(90, Some(Refresher::Uac)).write(&mut text);
        assert_eq!(text, "90;refresher=uac");
    }
}
