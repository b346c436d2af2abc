//! Messages as lines of text. What is tested reads them by a parser of its own, and the phones around it by none.

use super::super::hand::Text;

impl Text {
    /// The lines of a datagram; none if it is no message.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let (start, lines) = head.split_once("\r\n")?;
        let mut read = Self {
            start: start.to_owned(),
            lines: Vec::with_capacity(16),
            body: body.to_owned(),
        };
        for line in lines.split("\r\n") {
            let (name, value) = line.split_once(':')?;
            read.lines.push((name.to_owned(), value.trim_start().to_owned()));
        }
        Some(read)
    }

    /// The value of the first line of this name, empty without one.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        let found = self.lines.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    /// The status, if it is a response.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// Number and method of its CSeq.
    #[must_use]
    pub fn sequence(&self) -> (u32, &str) {
        let (number, method) = self.get("CSeq").split_once(' ').unwrap_or_default();
        (number.parse().unwrap_or_default(), method)
    }

    /// The branch of its topmost Via.
    #[must_use]
    pub fn branch(&self) -> &str {
        parameter(self.get("Via"), "branch")
    }

    /// The tag of From or To.
    #[must_use]
    pub fn tag(&self, name: &str) -> &str {
        parameter(self.get(name), "tag")
    }
}

/// A parameter behind an address or a Via.
#[must_use]
pub fn parameter<'a>(value: &'a str, name: &str) -> &'a str {
    let behind = value.rsplit('>').next().unwrap_or(value);
    let found = behind
        .split(';')
        .skip(1)
        .find_map(|one| one.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_default()
}

/// The URI between the angle brackets.
#[must_use]
pub fn bracketed(value: &str) -> &str {
    let inside = value.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inside.map_or(value, |(uri, _)| uri)
}

/// A quoted or bare parameter of a challenge.
#[must_use]
pub fn challenged<'a>(challenge: &'a str, name: &str) -> &'a str {
    let parts = challenge.trim_start_matches("Digest ").split(',');
    let found = parts
        .filter_map(|part| part.trim().split_once('='))
        .find(|(known, _)| *known == name);
    found.map_or("", |(_, value)| value.trim_matches('"'))
}

/// The lines that a response repeats (RFC 3261 §8.2.6.2), To with our tag.
#[must_use]
pub fn answer(request: &Text, status: u16, tag: &str) -> Text {
    let repeated = ["Via", "From", "To", "Call-ID", "CSeq"];
    let lines = request
        .lines
        .iter()
        .filter(|(name, _)| repeated.contains(&name.as_str()));
    let lines = lines.map(|(name, value)| {
        let tagged = name == "To" && status > 100 && parameter(value, "tag").is_empty();
        let value = if tagged {
            format!("{value};tag={tag}")
        } else {
            value.clone()
        };
        (name.clone(), value)
    });
    Text {
        start: format!("SIP/2.0 {status} Said"),
        lines: lines.collect(),
        body: String::new(),
    }
}
