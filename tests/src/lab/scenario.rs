//! SIPp as one side of a call: a scenario put together from parts, each a file of its own, that checks what it gets.
//!
//! A part stands for one thing that a party does or hears. It is SIPp's own language, but for words in braces, which are
//! what a party is given, or other parts. A line that holds nothing but a word that is empty is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cusax_b2bua::core::flow::Transport;

use super::{Child, Context as _, Fault, Result, Spec, wait};

/// The parts of scenarios, by name.
#[derive(Clone, Debug)]
pub struct Parts(BTreeMap<String, String>);

/// What the words in braces stand for.
pub type Words = BTreeMap<&'static str, String>;

/// A SIPp that plays one scenario once.
#[derive(Debug)]
pub struct Scenario {
    name: String,
    program: Child,
    errors: PathBuf,
    messages: PathBuf,
    words: PathBuf,
}

/// Where a SIPp is, and whom it speaks to.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// It waits for a call at an address.
    Waiting(SocketAddr),
    /// It calls somebody, without `sip:`, from an address by way of another.
    Calling(&'a str, SocketAddr, SocketAddr),
}

impl Parts {
    /// Reads a folder of parts: what stands before the dot is a part's name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut parts = BTreeMap::new();
        for entry in fs::read_dir(folder).context(folder.display())? {
            let path = entry?.path();
            let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
            let text = fs::read_to_string(&path).context(path.display())?;
            if parts.insert(name.to_owned(), text.trim_end().to_owned()).is_some() {
                return Err(Fault::new(format_args!("two parts are called {name}")));
            }
        }
        Ok(Self(parts))
    }

    /// The names of all.
    #[must_use]
    pub fn names(&self) -> BTreeSet<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// A scenario of these parts, one after the other; also the names of those that are in it.
    ///
    /// # Errors
    /// When a word in braces stands for nothing.
    pub fn scenario(&self, name: &str, parts: &[&str], words: &Words) -> Result<(String, BTreeSet<&str>)> {
        let mut text: String = parts.iter().map(|part| format!("{{{part}}}\n")).collect();
        let mut used = BTreeSet::new();
        while let Some((start, end)) = braces(&text) {
            let word = &text[start + 1..end - 1];
            let value = match (words.get(word), self.0.get_key_value(word)) {
                (Some(value), _) => value,
                (None, Some((part, value))) => {
                    used.insert(part.as_str());
                    value
                }
                (None, None) => return Err(Fault::new(format_args!("{name}: nothing is called {{{word}}}"))),
            };
            let (line, rest) = (text[..start].rfind('\n').map_or(0, |at| at + 1), &text[end..]);
            if value.is_empty() && text[line..start].trim().is_empty() && rest.starts_with('\n') {
                text.replace_range(line..=end, "");
            } else {
                text.replace_range(start..end, value);
            }
        }
        // SIPp stops at a variable that nobody reads.
        let variables: BTreeSet<&str> = text
            .split("assign_to=\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        let variables = variables.into_iter().collect::<Vec<_>>().join(",");
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\n<scenario name=\"{name}\">\n{text}\
             <Reference variables=\"{variables}\"/>\n</scenario>\n"
        );
        Ok((text, used))
    }
}

/// Where the first word in braces is.
fn braces(text: &str) -> Option<(usize, usize)> {
    let start = text.find('{')?;
    Some((start, start + text[start..].find('}')? + 1))
}

impl Scenario {
    /// Starts it. `name` is for people and for files.
    ///
    /// # Errors
    /// When SIPp does not come up.
    pub fn start(folder: &Path, name: &str, text: &str, transport: Transport, place: Place<'_>) -> Result<Self> {
        let file = |kind: &str| folder.join(format!("{name}.{kind}"));
        let (scenario, errors, messages, words) = (file("xml"), file("errors"), file("messages"), file("words"));
        fs::write(&scenario, text)?;
        let mode = if transport == Transport::Udp { "u1" } else { "t1" };
        let spec = Spec::new(name, "sipp").folder(folder).arg("-sf").arg(&scenario);
        let spec = spec.args(["-t", mode, "-m", "1", "-nostdin", "-timeout_error", "-timeout", LIMIT]);
        let spec = spec.args(["-trace_err", "-error_file"]).arg(&errors);
        let spec = spec.args(["-trace_msg", "-message_file"]).arg(&messages);
        let spec = spec.args(["-trace_logs", "-log_file"]).arg(&words);
        let (Place::Waiting(own) | Place::Calling(_, own, _)) = place;
        let mut spec = spec.args(["-i", &own.ip().to_string(), "-p", &own.port().to_string()]);
        if let Place::Calling(whom, _, service) = place {
            // Without -auth_uri it proves itself for the address that it sends to, not for the request (RFC 7616 §3.4.6).
            spec = spec.args(["-auth_uri", whom, "-bind_local", &service.to_string()]);
        }
        // SIPp draws its screen with escape sequences for a terminal, which it need not find.
        let program = spec.env("TERM", "dumb").start(folder)?;
        let mut party = Self {
            name: name.to_owned(),
            program,
            errors,
            messages,
            words,
        };
        if let Place::Waiting(own) = place {
            let there = || listens(transport, own).unwrap_or_default().then_some(());
            let waited = party.program.until("it waits for a call", START, |_| there());
            waited.map_err(|fault| party.fault(fault))?;
        }
        Ok(party)
    }

    /// Waits until its scenario logs something, and tells that.
    ///
    /// # Errors
    /// When it ends before, or says nothing in time.
    pub fn says(&mut self) -> Result<String> {
        let words = self.words.clone();
        let said = self.program.until("what it has to say", START, |_| {
            let text = fs::read_to_string(&words).unwrap_or_default();
            text.split_once('\n').map(|(line, _)| line.trim().to_owned())
        });
        said.map_err(|fault| self.fault(fault))
    }

    /// Waits until all have played their parts to the end. Once one has failed, the others have little time left.
    ///
    /// # Errors
    /// When one fails; the fault holds what SIPp says of each that did, and the messages of its call.
    pub fn all_end(mut parties: Vec<Self>) -> Result<()> {
        let mut faults = String::new();
        let mut limit = wait::now() + END;
        while !parties.is_empty() && wait::now() < limit {
            let mut playing = Vec::new();
            for mut party in parties {
                match party.program.ended()? {
                    Some(status) if status.success() => {}
                    Some(status) => {
                        faults += &party.fault(status).to_string();
                        limit = limit.min(wait::now() + REST);
                    }
                    None => playing.push(party),
                }
            }
            parties = playing;
            wait::pass(STEP);
        }
        for party in &parties {
            faults += &party.fault("it did not end").to_string();
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(Fault::new(faults))
        }
    }

    fn fault(&self, why: impl std::fmt::Display) -> Fault {
        let said = fs::read_to_string(&self.errors).unwrap_or_else(|_| self.program.log_tail(20));
        let messages = fs::read_to_string(&self.messages).unwrap_or_default();
        Fault::new(format_args!("{}: {why}: {said}\n{messages}\n", self.name))
    }
}

/// Whether somebody listens at an address of this machine.
fn listens(transport: Transport, address: SocketAddr) -> Result<bool> {
    let (table, state) = match transport {
        Transport::Udp => ("/proc/thread-self/net/udp", ""),
        _ => ("/proc/thread-self/net/tcp", " 00000000:0000 0A "),
    };
    let port = format!(":{:04X}", address.port());
    let SocketAddr::V4(v4) = address else {
        return Err(Fault::new("an address of IPv4"));
    };
    let local = format!(" {:08X}{port}{state}", u32::from_le_bytes(v4.ip().octets()));
    Ok(fs::read_to_string(table)?.contains(&local))
}

/// Seconds that a scenario may take.
const LIMIT: &str = "40";
const START: Duration = Duration::from_secs(20);
const END: Duration = Duration::from_secs(60);
/// How long a call goes on that has failed for one party.
const REST: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(15);

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> Parts {
        let parts = [("greet", "<send>\n{head}\n  {more}\n</send>"), ("head", "hello {whom}")];
        Parts(parts.map(|(name, text)| (name.to_owned(), text.to_owned())).into())
    }

    #[test]
    fn a_scenario_is_put_together_from_parts() {
        let words = Words::from([("whom", "world".to_owned()), ("more", String::new())]);
        let parts = parts();
        let (text, used) = parts.scenario("test", &["greet"], &words).expect("a scenario");
        assert!(text.contains("<send>\nhello world\n</send>\n"), "{text}");
        assert_eq!(used.into_iter().collect::<Vec<_>>(), ["greet", "head"]);
    }

    #[test]
    fn a_word_that_stands_for_nothing_is_a_fault() {
        let fault = parts()
            .scenario("test", &["greet"], &Words::new())
            .expect_err("no word");
        assert!(fault.to_string().contains("{whom}"), "{fault}");
    }
}
