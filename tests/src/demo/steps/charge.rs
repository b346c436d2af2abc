//! A call that may cost money: the tone, the notice, and only then the trunk.

use std::time::Duration;

use super::call::{LISTEN, hears, numbers};
use crate::demo::cast::Tone;
use crate::demo::report::{Mechanism, Report, ensure};
use crate::demo::stage::{SOON, Stage, is_from};
use crate::lab::capture::{Stream, streams};
use crate::lab::phone::breathe;
use crate::lab::sound::{Burst, bursts};
use crate::lab::topology::SIP_ADDRESS;
use crate::lab::{Context as _, Result, wait};

/// Shows it.
///
/// # Errors
/// When a line does not hold.
pub fn show(stage: &mut Stage, report: &mut Report) -> Result<()> {
    report.step(5, "Alice calls the mobile phone of Bob of Biloxi");
    let cast = stage.cast.clone();
    let (alice, biloxi) = (&cast.alice, &cast.biloxi);
    let mut number = String::new();
    report.line(
        Mechanism::Ground,
        "Alice's client reads the number in his vCard",
        || {
            let card = format!(
                "<vCard xmlns='vcard-temp'><FN>{}</FN><TEL><CELL/><VOICE/><NUMBER>{}</NUMBER></TEL></vCard>",
                biloxi.name, cast.dialled
            );
            let stored = stage.chats.biloxi.iq("set", None, &card)?;
            ensure(
                stored.attr("type") == Some("result"),
                || "his server did not store the card",
            )?;
            let found = numbers(
                &stage
                    .chats
                    .alice
                    .iq("get", Some(&biloxi.jid), "<vCard xmlns='vcard-temp'/>")?,
            );
            number = found.first().context("no TEL")?.clone();
            ensure(number == cast.dialled, || format!("{number} and not {}", cast.dialled))?;
            Ok(number.clone())
        },
    )?;

    let before = stage.at_alice.datagrams()?.len();
    let mark = stage.chats.alice.mark();
    breathe();
    stage.alice.dial(&format!("sip:{number}@{}", cast.sip_domain))?;
    let invite = stage
        .at_trunk
        .message("the INVITE at the trunk", SOON * 2, |message| message.is("INVITE"))?;
    let toward = toward_alice(stage, before)?;
    report.line(
        Mechanism::Tone,
        "our relay sent her the warning tone before the trunk saw any INVITE",
        || {
            let early: Vec<_> = toward.iter().flat_map(|stream| tone_of(stream, cast.tone)).collect();
            check_tone(&early.iter().map(|(_, burst)| *burst).collect::<Vec<_>>(), cast.tone)?;
            let last = early.last().map(|(end, _)| *end).unwrap_or_default();
            ensure(last <= invite.at, || "the INVITE came before the tone was over")?;
            Ok(format!(
                "the INVITE came {} ms after it",
                (invite.at - last).as_millis()
            ))
        },
    )?;
    stage.alice.established()?;
    report.line(
        Mechanism::Tone,
        "her chat client was told the number, as an ordinary chat message",
        || {
            let text = stage.chats.alice.stanza(mark, "a charge notice", SOON, |stanza| {
                let body = stanza.get_child("body", "jabber:client")?.text();
                let chat = stanza.name() == "message" && stanza.attr("type") == Some("chat");
                (chat && is_from(stanza, &stage.stack.component)).then_some(body)
            })?;
            ensure(text.contains(&biloxi.number), || format!("it says {text:?}"))?;
            Ok(text)
        },
    )?;
    report.line(
        Mechanism::Identity,
        "the trunk gets the canonical number, and no JID",
        || {
            ensure(invite.start.contains(&biloxi.number), || invite.start.clone())?;
            ensure(!invite.mentions(&alice.jid), || "her JID is in it")?;
            Ok(invite.start.clone())
        },
    )?;
    wait::pass(LISTEN);
    stage.alice.hang_up()?;
    stage.alice.forget_events();
    report.line(Mechanism::Tone, "the recording on Alice's side holds the tone", || {
        check_tone(
            &bursts(&stage.alice.heard()?, f64::from(cast.tone.frequency)),
            cast.tone,
        )
    })?;
    report.line(Mechanism::Relay, "then Alice hears the trunk", || {
        hears(&stage.alice.heard()?, &stage.voices[2], &cast.spoken[2])
    })?;
    report.line(Mechanism::Relay, "and the trunk hears Alice", || {
        let sent = stage
            .at_trunk
            .streams()?
            .into_iter()
            .find(|stream| stream.to.ip() == stage.hosts.trunk.address);
        hears(
            &sent.context("no RTP reached the trunk")?.samples(),
            &stage.voices[0],
            &cast.spoken[0],
        )
    })?;
    onnet(stage, report)?;
    emergency(stage, report)
}

fn onnet(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let cast = stage.cast.clone();
    let before = stage.at_alice.datagrams()?.len();
    let mark = stage.chats.alice.mark();
    let seen = stage.at_bob.messages()?.len();
    breathe();
    let begun = wait::wall();
    // By his number this time, which is as free as his address.
    stage
        .alice
        .dial(&format!("sip:{}@{}", cast.bob.number, cast.sip_domain))?;
    stage.bob.incoming()?;
    stage.bob.accept()?;
    stage.alice.established()?;
    wait::pass(Duration::from_millis(800));
    stage.alice.hang_up()?;
    stage.bob.closed()?;
    stage.alice.forget_events();
    report.line(
        Mechanism::Tone,
        "a call within the house, right after, has no tone and no notice",
        || {
            let invite = stage
                .at_bob
                .messages()?
                .into_iter()
                .skip(seen)
                .find(|message| message.is("INVITE"));
            let after = invite.context("no INVITE")?.at.saturating_sub(begun);
            ensure(no_tone(stage, before)?, || "there is a tone")?;
            ensure(notices(stage, mark) == 0, || "there is a notice")?;
            ensure(after < AT_ONCE, || {
                format!("Bob's INVITE came after {} ms", after.as_millis())
            })?;
            Ok(format!("Bob's phone had the INVITE after {} ms", after.as_millis()))
        },
    )
}

fn emergency(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let before = stage.at_alice.datagrams()?.len();
    let mark = stage.chats.alice.mark();
    let seen = stage.at_trunk.messages()?.len();
    breathe();
    let begun = wait::wall();
    stage
        .alice
        .dial(&format!("sip:{EMERGENCY}@{}", stage.cast.sip_domain))?;
    stage.alice.established()?;
    stage.alice.hang_up()?;
    stage.alice.forget_events();
    report.line(
        Mechanism::Tone,
        "an emergency number is dialled at once, without a tone",
        || {
            let invite = stage
                .at_trunk
                .messages()?
                .into_iter()
                .skip(seen)
                .find(|message| message.is("INVITE"));
            let invite = invite.context("the trunk saw no INVITE")?;
            let after = invite.at.saturating_sub(begun);
            ensure(invite.start.contains(EMERGENCY), || invite.start.clone())?;
            ensure(after < AT_ONCE, || {
                format!("the INVITE came after {} ms", after.as_millis())
            })?;
            ensure(
                no_tone(stage, before)? && notices(stage, mark) == 0,
                || "there is a warning",
            )?;
            Ok(format!("{EMERGENCY} after {} ms", after.as_millis()))
        },
    )
}

/// The RTP that our relay sent to Alice after the first `skipped` datagrams at her link.
fn toward_alice(stage: &Stage, skipped: usize) -> Result<Vec<Stream>> {
    let datagrams = stage.at_alice.datagrams()?;
    let all = streams(&datagrams[skipped..]);
    Ok(all
        .into_iter()
        .filter(|stream| stream.from.ip() == SIP_ADDRESS && stream.to.ip() == stage.hosts.alice.address)
        .collect())
}

/// The bursts in a stream, each with the time of day at which it ended.
fn tone_of(stream: &Stream, tone: Tone) -> Vec<(Duration, Burst)> {
    let end = |burst: &Burst| stream.began() + Duration::from_secs_f64((burst.start + burst.length) / 1000.0);
    bursts(&stream.samples(), f64::from(tone.frequency))
        .into_iter()
        .map(|burst| (end(&burst), burst))
        .collect()
}

fn check_tone(found: &[Burst], tone: Tone) -> Result<String> {
    let Tone {
        frequency,
        on,
        off,
        repeat,
    } = tone;
    let wanted = format!("{repeat} times {frequency} Hz, {on} ms on, {off} ms off");
    ensure(found.len() == repeat as usize, || {
        format!("{wanted} is due, and {} bursts are there", found.len())
    })?;
    for (place, burst) in found.iter().enumerate() {
        ensure((burst.frequency - f64::from(frequency)).abs() <= HERTZ, || {
            format!("{wanted}; it is {:.0} Hz", burst.frequency)
        })?;
        ensure((burst.length - f64::from(on)).abs() <= MILLISECONDS, || {
            format!("{wanted}; it is on for {:.0} ms", burst.length)
        })?;
        if let Some(before) = place.checked_sub(1).map(|place| found[place]) {
            let silence = burst.start - before.start - before.length;
            ensure((silence - f64::from(off)).abs() <= MILLISECONDS, || {
                format!("{wanted}; it is off for {silence:.0} ms")
            })?;
        }
    }
    Ok(wanted)
}

fn no_tone(stage: &Stage, skipped: usize) -> Result<bool> {
    Ok(toward_alice(stage, skipped)?
        .iter()
        .all(|stream| tone_of(stream, stage.cast.tone).is_empty()))
}

fn notices(stage: &Stage, mark: usize) -> usize {
    let stanzas = stage.chats.alice.since(mark);
    stanzas
        .iter()
        .filter(|stanza| stanza.name() == "message" && is_from(stanza, &stage.stack.component))
        .count()
}

const EMERGENCY: &str = "112";
/// How far the measured frequency may be from the drawn one.
const HERTZ: f64 = 4.0;
/// How far the measured times may be from the drawn ones: a packet of sound and the width of an edge.
const MILLISECONDS: f64 = 30.0;
/// A call without a warning must be at the other side within this time.
const AT_ONCE: Duration = Duration::from_millis(500);
