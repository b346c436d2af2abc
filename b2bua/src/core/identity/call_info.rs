//! The values of Call-Info (RFC 3261 §20.9): what others said, and the JID that we vouch for (RFC 6993).
//!
//! A value crosses only if it reads the same to every reader: one URI in brackets, parameters in good order, and
//! nowhere in it anything that a careless reader could take for a JID. Whatever is doubtful is left out, since a value
//! lost costs an icon and a value kept could name somebody else.

use cusax_common::core::sip::typed::{CallInfo, TypedHeader as _};
use cusax_common::core::sip::{HeaderName, Headers, Value};

/// What becomes of values that are no JID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// They go on, in their order.
    Keep,
    /// They go on, except those that make a phone answer by itself.
    KeepHarmless,
    /// None goes on.
    Drop,
}

/// Puts into `ours` the values of `inbound` that may cross, each in a line of its own, with `jid`, which is a URI, as the
/// first one; only
/// a value by which the phone is to answer by itself stays before it, if it was first, since phones read no further.
///
/// Tells whether `inbound` held something that claims a JID. `ours` must hold no Call-Info yet.
pub fn rebuild(ours: &mut Headers, inbound: &Headers, jid: Option<&str>, others: Others) -> bool {
    let mut claimed = false;
    let mut kept = Vec::new();
    let mut at = 0;
    for line in inbound.get_all(&HeaderName::CALL_INFO) {
        for value in values(&line.to_text()) {
            match judge(value) {
                Judged::Claim => claimed = true,
                Judged::Doubtful => {}
                Judged::Fine { answers_itself, text } => match others {
                    Others::Drop => {}
                    Others::KeepHarmless if answers_itself => {}
                    Others::Keep | Others::KeepHarmless if kept.len() < MAX_KEPT => {
                        kept.push((answers_itself && at == 0, text));
                    }
                    Others::Keep | Others::KeepHarmless => {}
                },
            }
            at += 1;
        }
    }
    let mut kept = kept.into_iter().peekable();
    if let Some((_, text)) = kept.next_if(|(goes_first, _)| *goes_first) {
        ours.push(HeaderName::CALL_INFO, Value::cleaned(&text));
    }
    if let Some(jid) = jid {
        let mut text = String::with_capacity(jid.len() + "<>".len() + IMPP.len());
        text.extend(["<", jid, ">", IMPP]);
        ours.push(HeaderName::CALL_INFO, Value::made(text));
    }
    for (_, text) in kept {
        ours.push(HeaderName::CALL_INFO, Value::cleaned(&text));
    }
    claimed
}

enum Judged {
    /// Says where somebody is reached by messages, or might be read so.
    Claim,
    /// Not in good order.
    Doubtful,
    /// May cross, in this spelling.
    Fine { answers_itself: bool, text: String },
}

fn judge(value: &str) -> Judged {
    // As the most careless reader might see it.
    let bare: String = value
        .chars()
        .filter(|c| !matches!(c, '"' | '\\'))
        .collect::<String>()
        .to_ascii_lowercase();
    if bare.contains("impp") || bare.contains("xmpp:") {
        return Judged::Claim;
    }
    let Ok(info) = CallInfo::parse(value) else {
        return Judged::Doubtful;
    };
    let plain_uri = info
        .uri
        .bytes()
        .all(|b| b.is_ascii_graphic() && !matches!(b, b'<' | b'"' | b'\\'));
    let plain_params = !info.params.as_str().contains(['<', '>']);
    if !plain_uri
        || !plain_params
        || info.uri.is_empty()
        || bare.matches("purpose").count() > 1
        || names_a_machine(&info.uri)
    {
        return Judged::Doubtful;
    }
    let mut text = String::with_capacity(value.len());
    info.write(&mut text);
    Judged::Fine {
        answers_itself: info.params.has("answer-after"),
        text,
    }
}

/// Whether the URI's authority is an IP address, which is where a party or its provider stands.
fn names_a_machine(uri: &str) -> bool {
    let (scheme, rest) = uri.split_once(':').unwrap_or(("", uri));
    let is_sip = scheme.eq_ignore_ascii_case("sip") || scheme.eq_ignore_ascii_case("sips");
    if !rest.starts_with("//") && !is_sip && !rest.contains('@') {
        return false;
    }
    let authority = rest
        .trim_start_matches('/')
        .split(['/', '?', '#', ';'])
        .next()
        .unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host.starts_with('[') {
        return true;
    }
    let name = host.split(':').next().unwrap_or_default();
    // Numbers in any base and any count of parts are addresses to some readers (RFC 3986 §7.4).
    let last = name.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    last.starts_with(|c: char| c.is_ascii_digit())
}

/// Cuts a comma list. What follows an open quote or bracket is one value, which no judge will like.
fn values(line: &str) -> Vec<&str> {
    let mut values = Vec::new();
    let (mut start, mut quoted, mut bracketed, mut escaped) = (0, false, false, false);
    for (at, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' if !bracketed => quoted = !quoted,
            '<' if !quoted => bracketed = true,
            '>' if !quoted => bracketed = false,
            ',' if !quoted && !bracketed => {
                values.push(line[start..at].trim_matches([' ', '\t']));
                start = at + 1;
            }
            _ => {}
        }
    }
    values.push(line[start..].trim_matches([' ', '\t']));
    values.retain(|value| !value.is_empty());
    values
}

const IMPP: &str = ";purpose=impp";
/// The most foreign values that cross.
const MAX_KEPT: usize = 8;
