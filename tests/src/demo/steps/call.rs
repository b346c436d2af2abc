//! Alice calls Bob: names, identities, sound both ways, and who learns what.

use std::net::IpAddr;
use std::time::Duration;

use minidom::Element;

use super::registration::addresses;
use crate::demo::cast::Person;
use crate::demo::report::{Mechanism, Report, ensure};
use crate::demo::stage::{SOON, Stage, is_from};
use crate::lab::capture::{Capture, SipText, Stream};
use crate::lab::chat::{Annotation, Chat};
use crate::lab::phone::breathe;
use crate::lab::speech::Voice;
use crate::lab::topology::SIP_ADDRESS;
use crate::lab::{Context as _, Result, wait};

/// Shows it.
///
/// # Errors
/// When a line does not hold.
pub fn show(stage: &mut Stage, report: &mut Report) -> Result<()> {
    report.step(3, "Alice calls Bob");
    let cast = stage.cast.clone();
    let (alice, bob) = (&cast.alice, &cast.bob);
    let forged = format!("Call-Info: <xmpp:{}>;purpose=impp", cast.carol.jid);
    stage.meddler.write(&[&forged]);
    let marks = (stage.chats.carol.mark(), stage.chats.bob_annotated.sent().len());
    stage.alice.dial(&bob.aor)?;
    let invite = stage
        .at_bob
        .message("the INVITE at Bob's phone", SOON, |message| message.is("INVITE"))?;
    report.line(
        Mechanism::Impp,
        "Bob's INVITE carries Alice's JID once, though her phone claimed Carol's",
        || {
            let claimed = stage
                .at_alice
                .message("the forged INVITE", SOON, |message| message.is("INVITE"))?;
            ensure(claimed.mentions(&cast.carol.jid), || "her phone forged nothing")?;
            let found: Vec<_> = invite.all("Call-Info").collect();
            let wanted = format!("<xmpp:{}>;purpose=impp", alice.jid);
            ensure(found == [wanted.as_str()], || format!("it carries {found:?}"))?;
            Ok(wanted)
        },
    )?;
    report.line(
        Mechanism::Identity,
        "and her name and address as the provider knows them",
        || {
            let (from, asserted) = (
                invite.header("From"),
                invite.all("P-Asserted-Identity").collect::<Vec<_>>().join(", "),
            );
            ensure(
                from.contains(&alice.name) && from.contains(&format!("<{}>", alice.aor)),
                || format!("From: {from}"),
            )?;
            ensure(asserted.contains(&format!("<{}>", alice.aor)), || {
                format!("P-Asserted-Identity: {asserted:?}")
            })?;
            Ok(from.to_owned())
        },
    )?;
    report.line(
        Mechanism::Roster,
        "Bob's annotated client confirms the binding without a vCard",
        || {
            let roster = stage.chats.bob_annotated.roster(Annotation::Asked)?;
            let known = addresses(&roster, &claimed_jid(&invite)?);
            ensure(known.contains(&alice.aor), || format!("the contact has {known:?}"))?;
            let asked = &stage.chats.bob_annotated.sent()[marks.1..];
            ensure(
                !asked.iter().any(|xml| xml.contains("vCard")),
                || "it asked for a vCard",
            )?;
            Ok(format!("{} is {}", alice.aor, alice.jid))
        },
    )?;
    report.line(
        Mechanism::Vcard,
        "a stock client confirms it by the one vCard that the INVITE names",
        || {
            let claimed = claimed_jid(&invite)?;
            let card = stage
                .chats
                .bob
                .iq("get", Some(&claimed), "<vCard xmlns='vcard-temp'/>")?;
            let found = numbers(&card);
            ensure(found.contains(&alice.aor), || format!("its TELs are {found:?}"))?;
            Ok(format!("TEL {}", alice.aor))
        },
    )?;
    report.line(Mechanism::Ground, "Bob answers", || {
        stage.bob.incoming()?;
        stage.bob.accept()?;
        stage.bob.established()?;
        stage.alice.established()?;
        Ok("connected")
    })?;
    report.line(
        Mechanism::Activity,
        "contacts of both see that they are on the phone",
        || {
            for person in [alice, bob] {
                activity(&mut stage.chats.carol, marks.0, person, Phone::Busy)?;
            }
            Ok("Carol sees both")
        },
    )?;
    wait::pass(LISTEN);
    let end = stage.chats.carol.mark();
    stage.alice.hang_up()?;
    stage.bob.closed()?;
    stage.alice.forget_events();
    report.line(Mechanism::Relay, "Bob hears the digits that Alice speaks", || {
        hears(&stage.bob.heard()?, &stage.voices[0], &cast.spoken[0])
    })?;
    report.line(Mechanism::Relay, "Alice hears the digits that Bob speaks", || {
        hears(&stage.alice.heard()?, &stage.voices[1], &cast.spoken[1])
    })?;
    report.line(Mechanism::Relay, "neither phone learns the other's address", || {
        let one = strangers(&stage.at_alice, stage.hosts.bob.address)?;
        let other = strangers(&stage.at_bob, stage.hosts.alice.address)?;
        Ok(format!(
            "{} SIP messages and {} RTP packets looked at",
            one.0 + other.0,
            one.1 + other.1
        ))
    })?;
    report.line(Mechanism::Activity, "afterwards nobody is on the phone", || {
        for person in [alice, bob] {
            activity(&mut stage.chats.carol, end, person, Phone::Free)?;
        }
        Ok("Carol sees it")
    })?;
    anonymous(stage, report)?;
    missed(stage, report)?;
    from_chat(stage, report)
}

fn anonymous(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let cast = stage.cast.clone();
    let (alice, bob) = (&cast.alice, &cast.bob);
    let seen = stage.at_bob.messages()?.len();
    stage.meddler.write(&["Privacy: id"]);
    breathe();
    stage.alice.dial(&bob.aor)?;
    stage.bob.incoming()?;
    let invite = stage
        .at_bob
        .messages()?
        .into_iter()
        .skip(seen)
        .find(|message| message.is("INVITE"));
    stage.alice.hang_up()?;
    stage.bob.closed()?;
    stage.meddler.write(&[]);
    stage.alice.forget_events();
    report.line(
        Mechanism::Impp,
        "an anonymous call carries no JID, name or address",
        || {
            let invite = invite.context("no INVITE was seen")?;
            ensure(invite.all("Call-Info").count() == 0, || {
                format!("Call-Info: {}", invite.header("Call-Info"))
            })?;
            let user = alice
                .aor
                .trim_start_matches("sip:")
                .split('@')
                .next()
                .unwrap_or_default();
            for secret in [&alice.jid, &alice.name, user, &alice.number] {
                ensure(!invite.mentions(secret), || format!("{secret} is in it"))?;
            }
            Ok(format!("From: {}", invite.header("From")))
        },
    )
}

fn missed(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let cast = stage.cast.clone();
    let (alice, bob) = (&cast.alice, &cast.bob);
    let mark = stage.chats.bob.mark();
    breathe();
    stage.alice.dial(&bob.aor)?;
    stage.bob.incoming()?;
    stage.alice.hang_up()?;
    stage.bob.closed()?;
    stage.alice.forget_events();
    report.line(
        Mechanism::Notice,
        "Bob's chat client tells him of a call that he missed, with a link to Alice's chat",
        || {
            let link = format!("xmpp:{}?message", alice.jid);
            let text = stage.chats.bob.stanza(mark, "a missed call", SOON, |stanza| {
                let body = stanza.get_child("body", "jabber:client")?.text();
                let chat = stanza.name() == "message" && stanza.attr("type") == Some("chat");
                // That of the anonymous call may come as late as this.
                (chat && is_from(stanza, &stage.stack.component) && body.contains(&link)).then_some(body)
            })?;
            ensure(text.contains(&alice.name), || format!("it says {text:?}"))?;
            Ok(text.replace('\n', " "))
        },
    )
}

fn from_chat(stage: &mut Stage, report: &mut Report) -> Result<()> {
    const COMMANDS: &str = "http://jabber.org/protocol/commands";
    let (alice, bob) = (stage.cast.alice.clone(), stage.cast.bob.clone());
    let component = stage.stack.component.clone();
    breathe();
    report.line(
        Mechanism::Notice,
        "Alice dials Bob in her chat client, by a command: her phone rings, and then his",
        || {
            let form = format!(
                "<x xmlns='jabber:x:data' type='submit'><field var='to'><value>{}</value></field></x>",
                bob.aor
            );
            let call = format!("<command xmlns='{COMMANDS}' node='call' action='complete'>{form}</command>");
            let answer = stage.chats.alice.iq("set", Some(&component), &call)?;
            let note = answer
                .get_child("command", COMMANDS)
                .and_then(|command| command.get_child("note", COMMANDS))
                .context("no note came back")?;
            ensure(note.attr("type") == Some("info"), || note.text())?;
            stage.alice.incoming()?;
            stage.alice.accept()?;
            stage.bob.incoming()?;
            stage.bob.accept()?;
            stage.bob.established()?;
            stage.alice.hang_up()?;
            stage.bob.closed()?;
            stage.alice.forget_events();
            Ok(format!("{}: {}", alice.name, note.text()))
        },
    )
}

/// Whether a user's phone is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phone {
    Busy,
    Free,
}

fn activity(chat: &mut Chat, mark: usize, person: &Person, state: Phone) -> Result<()> {
    const NODE: &str = "http://jabber.org/protocol/activity";
    chat.stanza(
        mark,
        &format!("activity of {}: {state:?}", person.name),
        SOON,
        |stanza| {
            let items = stanza
                .get_child("event", "http://jabber.org/protocol/pubsub#event")?
                .children()
                .next()?;
            let activity = items.children().next()?.get_child("activity", NODE)?;
            let talking = activity
                .get_child("talking", NODE)
                .is_some_and(|kind| kind.has_child("on_the_phone", NODE));
            (is_from(stanza, &person.jid) && talking == (state == Phone::Busy)).then_some(())
        },
    )
}

/// What stands in the TELs of a vcard-temp.
#[must_use]
pub fn numbers(answer: &Element) -> Vec<String> {
    let card = answer.get_child("vCard", "vcard-temp");
    let tels = card
        .into_iter()
        .flat_map(Element::children)
        .filter(|child| child.name() == "TEL");
    tels.filter_map(|tel| tel.get_child("NUMBER", "vcard-temp"))
        .map(Element::text)
        .collect()
}

/// Checks that `recording` holds `digits` in this voice.
///
/// # Errors
/// When it does not.
pub fn hears(recording: &[i16], voice: &Voice, digits: &str) -> Result<String> {
    let heard = voice.recognise(recording, LIKENESS);
    ensure(heard.digits.contains(digits), || {
        format!(
            "{digits} was spoken and {:?} heard in {:.1} s",
            heard.digits,
            recording.len() as f64 / 8000.0
        )
    })?;
    Ok(format!("{digits}, correlation {:.3}", heard.score))
}

/// Checks that a phone's traffic is with the service alone and shows nothing of `other`; counts what it looked at.
fn strangers(capture: &Capture, other: IpAddr) -> Result<(usize, usize)> {
    let (messages, streams) = (capture.messages()?, capture.streams()?);
    for message in &messages {
        ensure(!message.mentions(&other.to_string()), || {
            format!("{} shows {other}", message.start)
        })?;
    }
    for stream in &streams {
        let service = IpAddr::V4(SIP_ADDRESS);
        ensure(stream.from.ip() == service || stream.to.ip() == service, || {
            format!("RTP {} to {}", stream.from, stream.to)
        })?;
    }
    let packets = streams.iter().map(|Stream { packets, .. }| packets.len()).sum();
    ensure(packets > 0, || "there was no RTP at all")?;
    Ok((messages.len(), packets))
}

fn claimed_jid(invite: &SipText) -> Result<String> {
    let value = invite.header("Call-Info");
    let uri = value.strip_prefix("<xmpp:").and_then(|rest| rest.split('>').next());
    Ok(uri.context("no JID in the INVITE")?.to_owned())
}

/// How long both sides are listened to: long enough for all digits after a late start.
pub const LISTEN: Duration = Duration::from_millis(5500);
/// The correlation from which a digit is recognised.
const LIKENESS: f64 = 0.95;
