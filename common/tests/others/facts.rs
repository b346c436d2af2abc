//! What one reader says of one message, field by field, in words that all readers share.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;

/// Field and value. A header that has parts says `read` or [`UNREAD`] under its own name, and its parts below it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Facts(BTreeMap<String, String>);

/// Instead of the parts of what its reader did not understand.
pub const UNREAD: &str = "unread";

/// A URI as its reader took it apart; `rest` is all behind the scheme where it does not take it apart.
#[derive(Default)]
pub struct UriFacts {
    pub scheme: String,
    pub user: Option<String>,
    pub password: Option<String>,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub params: Vec<(String, Option<String>)>,
    pub headers: Option<String>,
    pub rest: Option<String>,
}

impl Facts {
    pub fn value(&self, field: &str) -> Option<&str> {
        self.0.get(field).map(String::as_str)
    }

    pub fn put(&mut self, field: &str, value: impl Display) {
        let before = self.0.insert(field.to_owned(), value.to_string());
        assert_eq!(before, None, "{field} is told twice");
    }

    pub fn put_some(&mut self, field: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.put(field, value);
        }
    }

    /// The parts of a header if they could be read. Of two lines the first one counts; [`lines`](Self::lines) shows both.
    pub fn parts<T, E>(&mut self, field: &str, read: Result<T, E>, put: impl FnOnce(&mut Self, T)) {
        match read {
            _ if self.0.contains_key(field) => {}
            Ok(value) => {
                self.put(field, "read");
                put(self, value);
            }
            Err(_) => self.put(field, UNREAD),
        }
    }

    /// The values of a header that may have many: how many there are, and the parts of each.
    pub fn list<T, E>(&mut self, field: &str, read: Result<Vec<T>, E>, put: impl Fn(&mut Self, &str, T)) {
        if read.as_ref().is_ok_and(Vec::is_empty) {
            return;
        }
        self.parts(field, read, |facts, values| {
            facts.put(&format!("{field}.count"), values.len());
            for (at, value) in values.into_iter().enumerate() {
                put(facts, &format!("{field}.{at}"), value);
            }
        });
    }

    /// Names compare without case (RFC 3261 §7.3.1), quotes are not part of a value, and the order counts.
    pub fn params(&mut self, field: &str, params: impl IntoIterator<Item = (String, Option<String>)>) {
        let mut order: Vec<String> = Vec::new();
        for (name, value) in params {
            let name = name.trim().to_ascii_lowercase();
            let nth = order.iter().filter(|found| **found == name).count();
            let value = value.map_or_else(|| "(no value)".to_owned(), |value| plain(value.trim()));
            let value = match &*name {
                "transport" | "received" | "maddr" => value.to_ascii_lowercase(),
                _ => value,
            };
            let again = if nth == 0 { String::new() } else { format!("#{nth}") };
            self.put(&format!("{field};{name}{again}"), value);
            order.push(name);
        }
        if !order.is_empty() {
            self.put(&format!("{field}.params"), order.join(";"));
        }
    }

    pub fn host(&mut self, field: &str, host: &str, port: Option<u16>) {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let host = match bare.parse::<IpAddr>() {
            Ok(ip) => ip.to_string(),
            Err(_) => host.to_ascii_lowercase(),
        };
        self.put(&format!("{field}.host"), host);
        self.put_some(&format!("{field}.port"), port);
    }

    pub fn uri(&mut self, field: &str, uri: UriFacts) {
        self.put(&format!("{field}.scheme"), uri.scheme.to_ascii_lowercase());
        self.put_some(&format!("{field}.user"), uri.user);
        self.put_some(&format!("{field}.password"), uri.password);
        if let Some(host) = uri.host {
            self.host(field, &host, uri.port);
        }
        self.params(field, uri.params);
        self.put_some(&format!("{field}.headers"), uri.headers);
        self.put_some(&format!("{field}.rest"), uri.rest);
    }

    pub fn address(
        &mut self,
        field: &str,
        display: Option<String>,
        uri: UriFacts,
        params: Vec<(String, Option<String>)>,
    ) {
        self.put_some(
            &format!("{field}.display"),
            display.map(|name| plain(name.trim())).filter(|name| !name.is_empty()),
        );
        self.uri(&format!("{field}.uri"), uri);
        self.params(field, params);
    }

    /// All header lines: names without case, values trimmed and unfolded, in their order. Blanks in a row are one, as
    /// each reader puts another number of them where a line was folded (RFC 3261 §7.3.1).
    pub fn lines(&mut self, lines: impl IntoIterator<Item = (String, String)>) {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for (name, value) in lines {
            let name = name.to_ascii_lowercase();
            let nth = counts.entry(name.clone()).or_default();
            let words: Vec<&str> = value
                .split([' ', '\t', '\r', '\n'])
                .filter(|word| !word.is_empty())
                .collect();
            self.put(&format!("line.{name}.{nth}"), words.join(" "));
            *nth += 1;
        }
    }

    /// What two readers say of the same fields and not alike. Parts of what one of them did not read are left out.
    pub fn differences(&self, theirs: &Self) -> Vec<(String, Option<String>, Option<String>)> {
        let fields: std::collections::BTreeSet<&String> = self.0.keys().chain(theirs.0.keys()).collect();
        let mut unread: Vec<&str> = Vec::new();
        let mut found = Vec::new();
        for field in fields {
            if unread.iter().any(|above| {
                field
                    .strip_prefix(above)
                    .is_some_and(|below| below.starts_with(['.', ';']))
            }) {
                continue;
            }
            let (a, b) = (self.0.get(field), theirs.0.get(field));
            if a != b {
                found.push((field.clone(), a.cloned(), b.cloned()));
            }
            if [a, b].into_iter().flatten().any(|value| value == UNREAD) {
                unread.push(field);
            }
        }
        found
    }
}

/// The text without quotes around it and their escapes.
fn plain(text: &str) -> String {
    let Some(inside) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return text.to_owned();
    };
    let mut plain = String::new();
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        plain.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
    }
    plain
}
