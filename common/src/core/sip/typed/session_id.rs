//! `Session-ID`: one name for a session from end to end (RFC 7989 §5).

use crate::core::id::SessionId;
use crate::core::sip::headers::HeaderError;
use crate::core::sip::name::HeaderName;
use crate::core::sip::params;
use crate::core::sip::params::Params;
use crate::core::sip::scan;
use crate::core::sip::text::Text;
use crate::core::sip::typed::{Form, TypedHeader};

/// What the two ends call themselves. None is the nil UUID: not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionUuids {
    /// The end that the message comes from.
    pub local: Option<SessionId>,
    /// The end that it goes to.
    pub remote: Option<SessionId>,
}

impl TypedHeader for SessionUuids {
    const NAME: HeaderName = HeaderName::SESSION_ID;
    const FORM: Form = Form::Single;

    /// Other parameters are not kept: nobody has defined one.
    fn parse(text: &str) -> Result<Self, HeaderError> {
        let (local, params) = text.split_at(text.find(';').unwrap_or(text.len()));
        params::check_header(params)?;
        let params = Params::checked(Text::from(params));
        Ok(Self {
            local: read(scan::trim(local))?,
            remote: params.value("remote").map(read).transpose()?.flatten(),
        })
    }

    fn write(&self, out: &mut String) {
        let text = |uuid: Option<SessionId>| uuid.map_or_else(|| NIL.to_owned(), |uuid| uuid.to_string());
        out.push_str(&text(self.local));
        out.push_str(";remote=");
        out.push_str(&text(self.remote));
    }
}

fn read(text: &str) -> Result<Option<SessionId>, HeaderError> {
    if text == NIL {
        return Ok(None);
    }
    let uuid = SessionId::from_hex(text).ok_or(HeaderError::malformed("not 32 lower-case hexadecimal digits"))?;
    Ok(Some(uuid))
}

const NIL: &str = "00000000000000000000000000000000";

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "ab30317f1a784dc48ff824d0d3715d86";
    const OTHER: &str = "47755a9de7794ba387653f2099600ef2";

    #[test]
    fn both_halves_are_read() {
        let one = SessionId::from_hex(ONE);
        let other = SessionId::from_hex(OTHER);
        assert!(one.is_some() && other.is_some());
        let rows = [
            (format!("{ONE};remote={OTHER}"), one, other),
            (format!("{ONE} ; remote={NIL}"), one, None),
            (ONE.to_owned(), one, None),
            (format!("{NIL};remote={OTHER};x=y"), None, other),
        ];
        for (text, local, remote) in rows {
            let read = SessionUuids::parse(&text).unwrap();
            assert_eq!(read, SessionUuids { local, remote }, "{text}");
            let mut written = String::new();
            read.write(&mut written);
            assert_eq!(SessionUuids::parse(&written), Ok(read), "{written}");
        }
        for text in [
            "",
            "x",
            "AB30317F1A784DC48FF824D0D3715D86",
            &ONE[1..],
            &format!("{ONE}0"),
            &format!("{ONE};remote=1"),
        ] {
            assert!(SessionUuids::parse(text).is_err(), "{text}");
        }
    }
}
