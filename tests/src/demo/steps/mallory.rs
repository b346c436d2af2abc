//! What a user who means harm, and a stranger, try in vain.

use std::time::Duration;

use minidom::Element;

use super::call::numbers;
use crate::demo::report::{Mechanism, Report, ensure};
use crate::demo::stage::{SOON, Stage, is_from, reach, service};
use crate::lab::chat::Chat;
use crate::lab::rogue::{Ask, Rogue};
use crate::lab::{Context as _, Result, phone, trunk, wait};

/// Shows it.
///
/// # Errors
/// When a line does not hold.
pub fn show(stage: &mut Stage, report: &mut Report) -> Result<()> {
    report.step(6, "Mallory tries");
    vcards(stage, report)?;
    forged_reach(stage, report)?;
    digests(stage, report)?;
    from_the_trunk(stage, report)
}

fn vcards(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let cast = stage.cast.clone();
    let chat = &mut stage.chats.mallory;
    report.line(
        Mechanism::Vcard,
        "twenty vCards with other people's numbers are refused",
        || {
            let mut tried = 0;
            for (victim, door) in [
                (&cast.alice, Door::Temp),
                (&cast.bob, Door::Publish),
                (&cast.carol, Door::Query),
            ] {
                let spellings = foreign(&victim.number, &victim.aor);
                let count = if door == Door::Temp { 8 } else { 6 };
                for spelling in spellings.iter().cycle().skip(tried % 3).take(count) {
                    let answer = door.put(chat, spelling)?;
                    ensure(is_refused(&answer), || {
                        format!("{spelling} by {door:?} was answered {}", String::from(&answer))
                    })?;
                    tried += 1;
                }
            }
            let card = chat.iq("get", None, "<vCard xmlns='vcard-temp'/>")?;
            let stored = numbers(&card);
            let theirs = |text: &String| {
                [&cast.alice, &cast.bob, &cast.carol]
                    .iter()
                    .any(|person| text.contains(&person.number[6..]))
            };
            ensure(!stored.iter().any(theirs), || format!("her card holds {stored:?}"))?;
            ensure(tried == 20, || format!("only {tried} were tried"))?;
            Ok("refused by vcard-temp, vCard4 publish and vCard4 IQ")
        },
    )?;
    report.line(
        Mechanism::Vcard,
        "five spellings of her own number are accepted",
        || {
            let own = own(&cast.mallory.number);
            for (spelling, door) in own
                .iter()
                .zip([Door::Temp, Door::Publish, Door::Query].into_iter().cycle())
            {
                let answer = door.put(chat, spelling)?;
                ensure(answer.attr("type") == Some("result"), || {
                    format!("{spelling} was refused by {door:?}: {}", String::from(&answer))
                })?;
            }
            Ok(own.join(", "))
        },
    )
}

fn forged_reach(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let cast = stage.cast.clone();
    report.line(Mechanism::Reach, "a forged <reach/> reaches nobody", || {
        let forged = format!("<reach xmlns='urn:xmpp:reach:0'><addr uri='{}'/></reach>", cast.alice.aor);
        let mark = stage.chats.carol.mark();
        stage.chats.mallory.send(&format!("<presence><status>call me</status>{forged}</presence>"))?;
        let presence = stage.chats.carol.stanza(mark, "Mallory's presence", SOON, |stanza| {
            let hers = stanza.name() == "presence" && is_from(stanza, &cast.mallory.jid);
            (hers && stanza.children().any(|child| child.name() == "status")).then(|| stanza.clone())
        })?;
        let shown = reach(&presence).unwrap_or_default();
        ensure(!shown.contains(&cast.alice.aor), || format!("Carol saw {shown:?}"))?;
        let publish = |addr: &str| format!("<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:xmpp:reach:0'><item><reach xmlns='urn:xmpp:reach:0'><addr uri='{addr}'/></reach></item></publish></pubsub>");
        let answer = stage.chats.mallory.iq("set", None, &publish(&cast.alice.aor))?;
        ensure(is_refused(&answer), || format!("PEP answered {}", String::from(&answer)))?;
        let own = format!("tel:{}", cast.mallory.number);
        let answer = stage.chats.mallory.iq("set", None, &publish(&own))?;
        ensure(answer.attr("type") == Some("result"), || format!("her own was refused: {}", String::from(&answer)))?;
        // A presence sent after it arrives after it, so what was to come by PEP has come by then.
        let marker = stage.chats.carol.mark();
        stage.chats.mallory.send("<presence><status>later</status></presence>")?;
        stage.chats.carol.stanza(marker, "Mallory's later presence", SOON, |stanza| {
            (stanza.name() == "presence" && is_from(stanza, &cast.mallory.jid)).then_some(())
        })?;
        let pushed = stage.chats.carol.since(mark).iter().any(|stanza| {
            stanza.name() == "message" && is_from(stanza, &cast.mallory.jid) && String::from(stanza).contains(&cast.alice.aor)
        });
        ensure(!pushed, || "Carol was told by PEP")?;
        let own_pushed = stage.chats.carol.since(mark).iter().any(|stanza| {
            stanza.name() == "message" && is_from(stanza, &cast.mallory.jid) && String::from(stanza).contains(&own)
        });
        ensure(own_pushed, || "Carol was not told of Mallory's own number, so that nothing was shown")?;
        Ok("neither in presence nor by PEP, where her own number went through")
    })
}

fn digests(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let cast = stage.cast.clone();
    let mut rogue = Rogue::new(&stage.hosts.mallory, 0, service())?;
    let alice = format!("<{}>", cast.alice.aor);
    report.line(Mechanism::Defence, "wrong digests register nothing", || {
        let uri = format!("sip:{}", cast.sip_domain);
        let ask = Ask { method: "REGISTER", uri: &uri, from: &alice, to: &alice, lines: &[], body: "" };
        let challenge = rogue.ask(&ask, SOON)?;
        ensure(challenge.status() == Some(401), || challenge.start.clone())?;
        let nonce = challenge.header("WWW-Authenticate").split("nonce=\"").nth(1).and_then(|rest| rest.split('"').next());
        let nonce = nonce.context("no nonce in the challenge")?;
        let mut told = Vec::new();
        for (user, response) in [
            (&cast.alice.login, "0".repeat(32)),
            (&cast.mallory.login, "f".repeat(32)),
            (&"nobody".to_owned(), "1".repeat(32)),
        ] {
            let credentials = format!(
                "Authorization: Digest username=\"{user}\", realm=\"{}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\", algorithm=MD5, qop=auth, nc=00000001, cnonce=\"abc\"",
                cast.sip_domain
            );
            let answer = rogue.ask(&Ask { lines: &[&credentials], ..ask }, SOON)?;
            ensure(answer.status().is_some_and(|status| status >= 400), || answer.start.clone())?;
            told.push(answer.status().unwrap_or_default().to_string());
        }
        Ok(format!("answered {}", told.join(", ")))
    })?;
    report.line(
        Mechanism::Defence,
        "an INVITE that claims to be from Alice rings nowhere",
        || {
            let seen = stage.at_bob.messages()?.len();
            let sdp = sdp(&rogue)?;
            let lines = [
                format!("P-Asserted-Identity: {alice}"),
                format!("Call-Info: <xmpp:{}>;purpose=impp", cast.alice.jid),
            ];
            let lines = lines.each_ref().map(String::as_str);
            let to = format!("<{}>", cast.bob.aor);
            let answer = rogue.ask(
                &Ask {
                    method: "INVITE",
                    uri: &cast.bob.aor,
                    from: &alice,
                    to: &to,
                    lines: &lines,
                    body: &sdp,
                },
                SOON,
            )?;
            ensure(matches!(answer.status(), Some(401 | 403 | 407)), || {
                answer.start.clone()
            })?;
            wait::pass(Duration::from_millis(300));
            let rang = stage
                .at_bob
                .messages()?
                .iter()
                .skip(seen)
                .any(|message| message.is("INVITE"));
            ensure(!rang, || "Bob's phone got it")?;
            Ok(answer.start)
        },
    )
}

fn from_the_trunk(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let cast = stage.cast.clone();
    // From now on somebody else sits at the trunk's address.
    stage.trunk = None;
    let mut rogue = Rogue::new(&stage.hosts.trunk, trunk::PORT, service())?;
    report.line(
        Mechanism::Defence,
        "from the trunk, a forged JID and a forged identity get nowhere",
        || {
            let seen = stage.at_bob.messages()?.len();
            let sdp = sdp(&rogue)?;
            let caller = cast.biloxi.number.clone();
            let from = format!("<sip:{caller}@{}>", stage.hosts.trunk.address);
            let uri = format!("sip:{}@{}", cast.bob.number, service());
            let to = format!("<{uri}>");
            let lines = [
                format!("P-Asserted-Identity: \"{}\" <{}>", cast.alice.name, cast.alice.aor),
                format!(
                    "Call-Info: <http://x.example/i.png>;purpose=icon, <xmpp:{}>;purpose=impp",
                    cast.alice.jid
                ),
                format!("Call-Info: <xmpp:{}> ; purpose=\"impp\"", cast.alice.jid),
            ];
            let lines = lines.each_ref().map(String::as_str);
            phone::breathe();
            let (at_bob, bob) = (&stage.at_bob, &mut stage.bob);
            let ask = Ask {
                method: "INVITE",
                uri: &uri,
                from: &from,
                to: &to,
                lines: &lines,
                body: &sdp,
            };
            std::thread::scope(|scope| {
                let asking = scope.spawn(|| rogue.ask(&ask, SOON * 2));
                let ringing = bob.incoming().and_then(|_| bob.hang_up());
                let answer = asking.join().map_err(|_| crate::lab::Fault::new("a thread panicked"))?;
                // Whatever went wrong, the final answer tells most.
                ringing.context(answer.map_or_else(|fault| fault.to_string(), |answer| answer.start))
            })?;
            let invite = at_bob
                .messages()?
                .into_iter()
                .skip(seen)
                .find(|message| message.is("INVITE"));
            let invite = invite.context("Bob's phone got no INVITE")?;
            for secret in [&cast.alice.jid, &cast.alice.aor, &cast.alice.name] {
                ensure(!invite.mentions(secret), || format!("{secret} came through"))?;
            }
            Ok(format!("Bob sees {}", invite.header("From")))
        },
    )
}

/// Refused because of what it says, not because something was out of order.
fn is_refused(answer: &Element) -> bool {
    answer.attr("type") == Some("error")
        && answer
            .get_child("error", "jabber:client")
            .is_some_and(|error| error.has_child("not-acceptable", "urn:ietf:params:xml:ns:xmpp-stanzas"))
}

/// One of the three ways to store a vCard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    /// XEP-0054.
    Temp,
    /// XEP-0292 §3 by PEP.
    Publish,
    /// XEP-0292 by a plain IQ.
    Query,
}

impl Door {
    fn put(self, chat: &mut Chat, number: &str) -> Result<Element> {
        let card4 = format!(
            "<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'><tel>{}</tel></vcard>",
            value(number)
        );
        let payload = match self {
            Self::Temp => {
                format!("<vCard xmlns='vcard-temp'><FN>M</FN><TEL><CELL/><NUMBER>{number}</NUMBER></TEL></vCard>")
            }
            Self::Publish => format!(
                "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:xmpp:vcard4'><item id='current'>{card4}</item></publish></pubsub>"
            ),
            Self::Query => card4,
        };
        chat.iq("set", None, &payload)
    }
}

/// How vCard4 writes a telephone value: a URI if it is one, text otherwise.
fn value(number: &str) -> String {
    let kind = if number.contains(':') { "uri" } else { "text" };
    format!("<{kind}>{number}</{kind}>")
}

/// Ways to write a number that is somebody else's, so that it may slip through.
fn foreign(number: &str, aor: &str) -> Vec<String> {
    let (country, rest) = (&number[1..3], &number[3..]);
    let (area, local) = rest.split_at(2);
    vec![
        number.to_owned(),
        format!("tel:{number}"),
        format!("00{country}{rest}"),
        format!("0{area} {local}"),
        format!("+{country} ({area}) {}-{}", &local[..4], &local[4..]),
        format!("tel:+{country}-{area}-{local};ext=1"),
        format!("+{country} (0){area} {local}"),
        aor.to_owned(),
    ]
}

/// Ways in which people write their own number.
fn own(number: &str) -> Vec<String> {
    let (country, rest) = (&number[1..3], &number[3..]);
    let (area, local) = rest.split_at(2);
    vec![
        number.to_owned(),
        format!("tel:{number}"),
        format!("+{country} {area} {local}"),
        format!("+{country}-{area}-{}-{}", &local[..4], &local[4..]),
        format!("0{area} {local}"),
    ]
}

fn sdp(rogue: &Rogue) -> Result<String> {
    let address = rogue.address()?.ip();
    Ok(format!(
        "v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
    ))
}
