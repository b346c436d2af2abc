//! The types that a value of the configuration may have, how each is read and how it is shown.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use figment::value::{Dict, Value};
use ipnet::IpNet;
use jid::BareJid;

use crate::core::config::section::{Place, Reader, Row};
use crate::core::dialplan::HomePlan;
use crate::core::notice::NoticeKind;
use crate::core::policy::NumberClass;
use crate::core::secret::Secret;
use crate::core::user::Algorithm;

/// A type that a key may have.
pub trait Setting: Sized {
    /// What to write, for faults and for the reference.
    const EXPECTED: &'static str;
    /// How it stands in a file.
    const SHAPE: Shape = Shape::Value;
    /// Whether the value is a secret, which may also stand in a file of its own, named by `KEY_file`.
    const SECRET: bool = false;
    /// Whether a key that is not set is a value of its own.
    const OPTIONAL: bool = false;

    /// What stands for the value where nobody needs it; only secrets have that.
    #[must_use]
    fn unread() -> Option<Self> {
        None
    }

    /// The keys inside, for tables.
    #[must_use]
    fn rows() -> Vec<Row> {
        Vec::new()
    }

    /// What a table is for.
    #[must_use]
    fn about() -> &'static str {
        ""
    }

    /// Reads a value; tells `reader` what is wrong with it.
    fn read(reader: &mut Reader<'_>, place: &Place, value: &Value) -> Option<Self>;

    /// The value as an operator may see it.
    fn shown(&self) -> Shown;
}

/// How a setting stands in a TOML file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `key = value`
    Value,
    /// `[section]`
    Table,
    /// `[[section]]`
    Tables,
}

/// A setting as an operator may see it: secrets are `***`.
#[derive(Clone, Debug, PartialEq)]
pub enum Shown {
    /// Not set, and that is a value of its own.
    Nothing,
    /// One value.
    Value(serde_json::Value),
    /// The keys of a table.
    Table(Vec<(&'static str, Shown)>),
    /// Several tables.
    Tables(Vec<Shown>),
}

impl Shown {
    fn text(value: impl fmt::Display) -> Self {
        Self::Value(value.to_string().into())
    }

    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Nothing => serde_json::Value::Null,
            Self::Value(value) => value.clone(),
            Self::Table(keys) => keys
                .iter()
                .map(|(key, shown)| ((*key).to_owned(), shown.to_json()))
                .collect(),
            Self::Tables(tables) => tables.iter().map(Self::to_json).collect(),
        }
    }
}

/// The text of a value, or of a variable's content.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(_, text) => Some(text.clone()),
        Value::Bool(_, truth) => Some(truth.to_string()),
        Value::Num(..) => value
            .to_i128()
            .map(|n| n.to_string())
            .or_else(|| value.to_u128().map(|n| n.to_string()))
            .or_else(|| value.to_f64().map(|n| n.to_string())),
        _ => None,
    }
}

/// Reads anything that has a text form. A wrong text is quoted, so never use it for secrets.
fn parsed<T: Setting + FromStr>(reader: &mut Reader<'_>, place: &Place, value: &Value) -> Option<T> {
    let text = match value {
        Value::String(_, text) => Some(text.trim().to_owned()),
        _ => scalar(value),
    };
    let read = text.as_ref().and_then(|text| text.parse().ok());
    if read.is_none() {
        let what = match text {
            Some(text) => format!("{text:?} is not {}", T::EXPECTED),
            None => format!("{} is not {}", value.to_actual(), T::EXPECTED),
        };
        reader.fault(place, what, format!("write {}", T::EXPECTED));
    }
    read
}

macro_rules! by_text {
    ($($ty:ty: $expected:literal, $shown:expr;)*) => {$(
        impl Setting for $ty {
            const EXPECTED: &'static str = $expected;

            fn read(reader: &mut Reader<'_>, place: &Place, value: &Value) -> Option<Self> {
                parsed(reader, place, value)
            }

            fn shown(&self) -> Shown {
                let show: fn(&Self) -> Shown = $shown;
                show(self)
            }
        }
    )*};
}

by_text! {
    bool: "true or false", |v| Shown::Value((*v).into());
    u8: "a whole number from 0 to 255", |v| Shown::Value((*v).into());
    u16: "a whole number from 0 to 65535", |v| Shown::Value((*v).into());
    u32: "a whole number from 0 to 4294967295", |v| Shown::Value((*v).into());
    Seconds: "a whole number of seconds", |v| Shown::Value(v.0.into());
    IpAddr: "an IP address such as \"192.0.2.1\" or \"2001:db8::1\"", |v| Shown::text(v);
    SocketAddr: "an IP address with a port, such as \"127.0.0.1:8085\"", |v| Shown::text(v);
    IpNet: "a network such as \"192.0.2.0/24\"", |v| Shown::text(v);
    Host: "a host name such as \"sip.example.com\", or an IP address", |v| Shown::text(v);
    Country: "a country as two letters of ISO 3166, such as \"DE\"", |v| Shown::text(v);
    Digits: "digits only, in quotes, such as \"112\"", |v| Shown::text(v);
    Word: "a name of letters, digits, - and _", |v| Shown::text(v);
    BareJid: "a bare JID such as \"alice@example.com\"", |v| Shown::text(v);
    NoticeKind: "\"charge\", \"incoming\", \"missed\" or \"refused\"", |v| Shown::text(v.as_str());
    Algorithm: "\"SHA-256\", \"SHA-512-256\" or \"MD5\"", |v| Shown::text(v.as_str());
}

impl Setting for String {
    const EXPECTED: &'static str = "a text in quotes";

    fn read(reader: &mut Reader<'_>, place: &Place, value: &Value) -> Option<Self> {
        parsed(reader, place, value)
    }

    fn shown(&self) -> Shown {
        Shown::text(self)
    }
}

impl Setting for PathBuf {
    const EXPECTED: &'static str = "a path in quotes";

    fn read(reader: &mut Reader<'_>, place: &Place, value: &Value) -> Option<Self> {
        parsed(reader, place, value)
    }

    fn shown(&self) -> Shown {
        Shown::text(self.display())
    }
}

impl Setting for NumberClass {
    const EXPECTED: &'static str = "EMERGENCY, ONNET, FREE, NATIONAL, MOBILE, SHARED, PREMIUM, INTL, INTL-PREMIUM, \
                                    SATELLITE or UNKNOWN, in quotes";

    fn read(reader: &mut Reader<'_>, place: &Place, value: &Value) -> Option<Self> {
        let text = scalar(value).unwrap_or_default();
        let read = serde_json::from_value(text.trim().to_ascii_uppercase().replace('_', "-").into()).ok();
        if read.is_none() {
            let what = format!("{text:?} is no class of numbers");
            reader.fault(place, what, format!("write {}", Self::EXPECTED));
        }
        read
    }

    fn shown(&self) -> Shown {
        Shown::text(self)
    }
}

impl<T: Setting> Setting for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;
    const SHAPE: Shape = T::SHAPE;
    const SECRET: bool = T::SECRET;
    const OPTIONAL: bool = true;

    fn rows() -> Vec<Row> {
        T::rows()
    }

    fn read(reader: &mut Reader<'_>, place: &Place, value: &Value) -> Option<Self> {
        T::read(reader, place, value).map(Some)
    }

    fn shown(&self) -> Shown {
        self.as_ref().map_or(Shown::Nothing, Setting::shown)
    }
}

impl<T: Setting> Setting for Vec<T> {
    const EXPECTED: &'static str = T::EXPECTED;
    const SHAPE: Shape = match T::SHAPE {
        Shape::Table => Shape::Tables,
        _ => Shape::Value,
    };

    fn rows() -> Vec<Row> {
        T::rows()
    }

    fn about() -> &'static str {
        T::about()
    }

    fn read(reader: &mut Reader<'_>, place: &Place, value: &Value) -> Option<Self> {
        let parsed;
        let items = match value {
            Value::Array(_, items) => items,
            // A variable holds text only: a list stands in it as in a file, or with commas.
            Value::String(_, text) => {
                parsed = listed(text);
                &parsed
            }
            other => {
                let what = format!("{} is not a list", other.to_actual());
                reader.fault(
                    place,
                    what,
                    format!("write [ … ] with entries of this form: {}", T::EXPECTED),
                );
                return None;
            }
        };
        if items.len() > MAX_LIST {
            let fix = format!("write at most {MAX_LIST}");
            reader.fault(place, format!("the list has {} entries", items.len()), fix);
            return None;
        }
        let read: Vec<_> = items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                let place = reader.place_in(place, format!("{}[{index}]", place.key), item);
                T::read(reader, &place, item)
            })
            .collect();
        read.into_iter().collect()
    }

    fn shown(&self) -> Shown {
        if Self::SHAPE == Shape::Tables {
            return Shown::Tables(self.iter().map(Setting::shown).collect());
        }
        Shown::Value(self.iter().map(|item| item.shown().to_json()).collect())
    }
}

/// The entries of a list in the text of a variable.
fn listed(text: &str) -> Vec<Value> {
    let text = text.trim();
    if text.starts_with('[')
        && let Ok(mut dict) =
            <figment::providers::Toml as figment::providers::Format>::from_str::<Dict>(&format!("v = {text}"))
        && let Some(Value::Array(_, items)) = dict.remove("v")
    {
        return items;
    }
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(Value::from)
        .collect()
}

impl Setting for Secret<String> {
    const EXPECTED: &'static str = "a secret in quotes";
    const SECRET: bool = true;

    fn unread() -> Option<Self> {
        Some(Self::new(String::new()))
    }

    fn read(reader: &mut Reader<'_>, place: &Place, value: &Value) -> Option<Self> {
        match scalar(value) {
            Some(text) if !text.trim().is_empty() => Some(Self::new(text)),
            Some(_) => {
                reader.fault(place, "is empty".into(), reader.secret_fix(place));
                None
            }
            None => {
                reader.fault(
                    place,
                    format!("{} is no secret", value.to_actual()),
                    reader.secret_fix(place),
                );
                None
            }
        }
    }

    fn shown(&self) -> Shown {
        Shown::text(self)
    }
}

/// The address of a store, which may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl(Secret<String>);

impl StoreUrl {
    /// The whole address. The name is there to be found in review.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// What stands before the first colon.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.0.expose().split_once(':').map_or("", |(scheme, _)| scheme)
    }
}

impl From<&str> for StoreUrl {
    fn from(text: &str) -> Self {
        Self(Secret::new(text.to_owned()))
    }
}

impl fmt::Display for StoreUrl {
    /// Without what stands between the scheme and the `@`, and without parameters, which may hold a password too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.expose().split('?').next().unwrap_or_default();
        match (text.split_once("://"), text.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) => write!(f, "{scheme}://***@{host}"),
            _ => f.write_str(text),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Setting for StoreUrl {
    const EXPECTED: &'static str = "the address of a store in quotes";
    const SECRET: bool = true;

    fn read(reader: &mut Reader<'_>, place: &Place, value: &Value) -> Option<Self> {
        Secret::read(reader, place, value).map(Self)
    }

    fn shown(&self) -> Shown {
        Shown::text(self)
    }
}

/// Declares an enum whose variants are words in the file.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident, $expected:literal { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// The word in the file.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                match text.to_ascii_lowercase().as_str() { $($word => Ok(Self::$variant),)* _ => Err(()) }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::core::config::setting::Setting for $name {
            const EXPECTED: &'static str = $expected;

            fn read(
                reader: &mut $crate::core::config::section::Reader<'_>,
                place: &$crate::core::config::section::Place,
                value: &::figment::value::Value,
            ) -> Option<Self> {
                $crate::core::config::setting::by_word(reader, place, value)
            }

            fn shown(&self) -> $crate::core::config::setting::Shown {
                $crate::core::config::setting::Shown::Value(self.as_str().into())
            }
        }
    };
}
pub(super) use words;

/// Reads one word of a closed list.
pub(super) fn by_word<T: Setting + FromStr>(reader: &mut Reader<'_>, place: &Place, value: &Value) -> Option<T> {
    parsed(reader, place, value)
}

/// A span of time that the file gives in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub u32);

impl Seconds {
    /// As a duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0.into())
    }
}

impl FromStr for Seconds {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// Declares a text that was checked when it was read.
macro_rules! checked_text {
    ($($(#[$meta:meta])* $name:ident = $check:expr;)*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                let check: fn(&str) -> Option<String> = $check;
                check(text).map(Self).ok_or(())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

checked_text! {
    /// A host name in lower case, or an IP address without brackets.
    Host = |text| {
        let text = text.to_ascii_lowercase();
        if text.parse::<IpAddr>().is_ok() {
            return Some(text);
        }
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        // A name that ends in a number would be taken for a malformed IPv4 address elsewhere.
        let last_is_word = text.rsplit('.').next().is_some_and(|last| !last.bytes().all(|b| b.is_ascii_digit()));
        (text.len() <= 253 && text.split('.').all(label) && last_is_word).then_some(text)
    };
    /// Two capital letters of ISO 3166 of a country whose dialling is known.
    Country = |text| {
        let text = text.to_ascii_uppercase();
        HomePlan::countries().any(|known| known == text).then_some(text)
    };
    /// One to 15 digits.
    Digits = |text| {
        ((1..=15).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.to_owned())
    };
    /// A name that is safe in logs, labels and tables.
    Word = |text| {
        ((1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'))
            .then(|| text.to_owned())
    };
}

impl Host {
    /// The address, where it is one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.0.parse().ok()
    }
}

/// The most entries of one list.
pub const MAX_LIST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_checked_when_read() {
        for good in [
            "sip.example.com",
            "SIP.Example.COM",
            "localhost",
            "192.0.2.1",
            "2001:db8::1",
            "xn--p1ai",
        ] {
            assert!(good.parse::<Host>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "a b",
            "-a.example",
            "a..b",
            "256.1.1.1",
            "1.2.3",
            "a_b",
            "[::1]",
            "example.com:5060",
        ] {
            assert!(bad.parse::<Host>().is_err(), "{bad}");
        }
        for (text, ok) in [("DE", true), ("us", true), ("XX", false), ("DEU", false), ("", false)] {
            assert_eq!(text.parse::<Country>().is_ok(), ok, "{text}");
        }
    }

    #[test]
    fn a_store_address_never_shows_its_password() {
        let cases = [
            (
                "postgres://cusax:canary@db.example/cusax",
                "postgres://***@db.example/cusax",
            ),
            (
                "postgres://db.example/cusax?password=canary",
                "postgres://db.example/cusax",
            ),
            ("redis://:can@ary@10.0.0.1:6379/0", "redis://***@10.0.0.1:6379/0"),
            ("sqlite:/var/lib/cusax/cusax.db", "sqlite:/var/lib/cusax/cusax.db"),
            ("memory:", "memory:"),
        ];
        for (text, shown) in cases {
            let url = StoreUrl::from(text);
            assert_eq!((url.to_string().as_str(), format!("{url:?}").as_str()), (shown, shown));
            assert!(!url.shown().to_json().to_string().contains("canary"));
        }
    }
}
