//! The answer to a REGISTER that was carried out (RFC 3261 §10.3 item 8).

use std::fmt::Write as _;

use cusax_common::core::entropy::Entropy;
use cusax_common::core::sip::typed::{Path, Require};
use cusax_common::core::sip::{HeaderName, Request, Response, Status, Uri, Value};
use cusax_common::core::time::{Now, Wall};

use super::clock::Tick;
use super::gruu::Gruus;
use super::request::Asked;
use super::{Registrar, date};

impl Registrar {
    /// All bindings of the address, with the time that is left to each.
    pub(super) fn answer<E: Entropy>(
        &mut self,
        now: Now,
        tick: Tick,
        request: &Request,
        asked: &Asked<'_>,
        outbound: bool,
        entropy: &mut E,
    ) -> Response {
        let mut response = request.response(Status::OK);
        let aor = asked.aor;
        for binding in self.bindings(aor) {
            let (contact, left) = (binding.contact.as_str(), binding.remaining(tick));
            let digits = left.checked_ilog10().unwrap_or(0) as usize + 1;
            let mut line = String::with_capacity(contact.len() + EXPIRES.len() + digits);
            line.push_str(contact);
            line.push_str(EXPIRES);
            write!(line, "{left}").expect("writing to a String cannot fail");
            if let (true, Some(instance)) = (asked.gruu, binding.instance()) {
                let gruus = [
                    ("pub-gruu", Gruus::public(aor, instance)),
                    ("temp-gruu", self.gruus.temporary(aor, binding.epoch, entropy)),
                ];
                for (name, uri) in gruus {
                    if let Some(uri) = uri {
                        write!(line, ";{name}=\"{}\"", Uri::Sip(uri)).expect("writing to a String cannot fail");
                    }
                }
            }
            response.headers.push(HeaderName::CONTACT, Value::made(line));
        }
        for hop in &asked.path {
            response.headers.put(&Path(hop.clone()));
        }
        if outbound {
            response.headers.put(&Require::of(&["outbound"]));
        }
        response.headers.push(HeaderName::DATE, self.date(now.wall));
        response
    }

    /// The Date of this second, which very many answers may share.
    fn date(&mut self, now: Wall) -> Value {
        match &self.date {
            Some((second, date)) if *second == now.seconds() => date.clone(),
            _ => {
                let date = Value::made(date::date(now));
                self.date = Some((now.seconds(), date.clone()));
                date
            }
        }
    }
}

const EXPIRES: &str = ";expires=";
