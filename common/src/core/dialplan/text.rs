//! The pieces of a URI as the dial plan needs them. Strict: what it does not know it refuses.

use super::Reject;

/// The parts of a SIP URI after its scheme.
pub struct Sip<'a> {
    /// Still escaped, parameters of a number included.
    pub user: &'a str,
    /// Lower-case; an IPv6 address keeps its brackets.
    pub host: String,
    /// If written.
    pub port: Option<u16>,
    /// Whether the user part is marked as a number (`user=phone`).
    pub is_phone: bool,
}

/// Splits what follows `sip:`.
pub fn sip(rest: &str) -> Result<Sip<'_>, Reject> {
    // A user part holds no raw @, so the first one ends it; headers may hold more.
    let (user, place) = rest.split_once('@').ok_or(Reject::NoUser)?;
    if user.is_empty() {
        return Err(Reject::NoUser);
    }
    if place.contains('?') {
        return Err(Reject::Headers);
    }
    if user.contains(':') {
        return Err(Reject::Password);
    }
    let (place, parameters) = place.split_once(';').unwrap_or((place, ""));
    let mut is_phone = false;
    for (name, value) in parameters_of(parameters) {
        match name.as_str() {
            "transport" if !TRANSPORTS.iter().any(|known| value.eq_ignore_ascii_case(known)) => {
                return Err(Reject::Transport);
            }
            // It would send the call elsewhere than the host says (RFC 3261 §19.1.1).
            "maddr" => return Err(Reject::Relay),
            "user" => is_phone = value.eq_ignore_ascii_case("phone"),
            _ => {}
        }
    }
    let (host, port) = match place.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((inner, port)) => (&place[..inner.len() + 2], port.strip_prefix(':')),
        None => place
            .split_once(':')
            .map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map(str::parse).transpose().map_err(|_| Reject::Relay)?;
    Ok(Sip {
        user,
        host: host.to_ascii_lowercase(),
        port,
        is_phone,
    })
}

/// A text whose escapes were undone once.
pub struct Lexed {
    /// The text.
    pub text: String,
    /// Whether an escape hid a character that delimits parts of a URI.
    pub escaped_delimiter: bool,
}

impl Lexed {
    /// Whether this can only be meant as a number: what begins like one, and what has no letter.
    pub fn is_like_a_number(&self) -> bool {
        self.text.starts_with(['+', '*', '#']) || !self.text.chars().any(char::is_alphabetic)
    }

    /// The digits, with a `+` in front if there is one, without visual separators (RFC 3966 §5.1.1).
    pub fn number(&self) -> Result<String, Reject> {
        if self.text.bytes().any(|b| !b.is_ascii_graphic()) {
            return Err(Reject::Control);
        }
        if self.escaped_delimiter {
            return Err(Reject::EscapedDelimiter);
        }
        let number: String = self.text.chars().filter(|c| !matches!(c, '-' | '.')).collect();
        if number.contains("(0)") {
            return Err(Reject::WrittenZero);
        }
        let digits = number.strip_prefix('+');
        let mut plain = String::from(if digits.is_some() { "+" } else { "" });
        for c in digits.unwrap_or(&number).chars() {
            match c {
                '0'..='9' => plain.push(c),
                '(' | ')' => {}
                _ => return Err(Reject::Characters),
            }
        }
        if plain.is_empty() {
            Err(Reject::Characters)
        } else {
            Ok(plain)
        }
    }
}

/// Undoes percent escapes, once.
pub fn decode(text: &str) -> Result<Lexed, Reject> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut escaped_delimiter = false;
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || {
            rest.next()
                .and_then(|b| char::from(b).to_digit(16))
                .ok_or(Reject::Characters)
        };
        let (high, low) = (digit()?, digit()?);
        let byte = u8::try_from(high * 16 + low).expect("two hexadecimal digits make a byte");
        escaped_delimiter |= matches!(byte, b'@' | b':' | b';' | b'?' | b'<' | b'>' | b'"');
        bytes.push(byte);
    }
    let text = String::from_utf8(bytes).map_err(|_| Reject::Control)?;
    Ok(Lexed {
        text,
        escaped_delimiter,
    })
}

/// The `phone-context` among the parameters of a number, without separators if it is a number itself.
pub fn context(parameters: &str) -> Result<Option<String>, Reject> {
    let mut context = None;
    for (name, value) in parameters_of(parameters) {
        match name.as_str() {
            name if name.contains('%') => return Err(Reject::Characters),
            name if ROUTING.contains(&name) => return Err(Reject::RoutingParameter),
            "phone-context" if context.is_some() => return Err(Reject::Context),
            "phone-context" => {
                let value = decode(value)?.text;
                let value = match value.strip_prefix('+') {
                    Some(area) => {
                        let digits: String = area.chars().filter(|c| !matches!(c, '-' | '.' | '(' | ')')).collect();
                        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                            return Err(Reject::Context);
                        }
                        format!("+{digits}")
                    }
                    None if value.is_empty() => return Err(Reject::Context),
                    None => value.to_ascii_lowercase(),
                };
                context = Some(value);
            }
            // Extensions, sub-addresses and the like are not part of the number that is routed.
            _ => {}
        }
    }
    Ok(context)
}

/// Names, lower-case, with their values; empty where none is given.
fn parameters_of(text: &str) -> impl Iterator<Item = (String, &str)> {
    text.split(';')
        .filter(|parameter| !parameter.is_empty())
        .map(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            (name.trim().to_ascii_lowercase(), value.trim())
        })
}

/// RFC 3261 §19.1.1, RFC 4168, RFC 7118.
const TRANSPORTS: [&str; 6] = ["udp", "tcp", "tls", "sctp", "ws", "wss"];
/// RFC 4694 §5, RFC 4904 §5.
const ROUTING: [&str; 8] = [
    "cic",
    "cic-context",
    "rn",
    "rn-context",
    "npdi",
    "enumdi",
    "tgrp",
    "trunk-context",
];
