//! Phones register, and contacts learn where their owners can be reached.

use minidom::Element;

use crate::demo::cast::Person;
use crate::demo::report::{Mechanism, Report, ensure};
use crate::demo::stage::{SOON, Stage, is_from, reach};
use crate::lab::chat::{Annotation, Chat};
use crate::lab::{Context as _, Fault, Result, wait};

/// Shows it.
///
/// # Errors
/// When a line does not hold.
pub fn show(stage: &mut Stage, report: &mut Report) -> Result<()> {
    report.step(2, "Alice's and Bob's phones register");
    let (alice_account, bob_account) = (stage.alice_account(), stage.bob_account());
    let cast = &stage.cast;
    let (alice, carol) = (&cast.alice, &mut stage.chats.carol);
    report.line(Mechanism::Ground, "Bob's phone registers by digest", || {
        stage.bob.register(&bob_account)?;
        Ok(&cast.bob.aor)
    })?;
    let before = carol.mark();
    report.line(Mechanism::Ground, "Alice's phone registers by digest", || {
        stage.alice.register(&alice_account)?;
        Ok(&alice.aor)
    })?;
    report.line(Mechanism::Reach, "Carol sees where Alice can be reached", || {
        reached(carol, before, alice)
    })?;
    report.line(Mechanism::Reach, "when Alice's phone goes, <reach/> goes", || {
        let (mark, begun) = (carol.mark(), wait::now());
        stage.alice.remove_account(&alice.aor)?;
        carol.stanza(mark, "presence of Alice without <reach/>", SOON, |stanza| {
            (presence_of(stanza, alice) && reach(stanza).is_none()).then_some(())
        })?;
        Ok(format!("after {:.1} s", begun.elapsed().as_secs_f64()))
    })?;
    report.line(Mechanism::Reach, "and comes back with her", || {
        let mark = carol.mark();
        stage.alice.register(&alice_account)?;
        reached(carol, mark, alice)
    })?;
    report.line(
        Mechanism::Vcard,
        "Alice's client stores her address in her vCard, which is hers to do",
        || {
            let tel = format!("<TEL><WORK/><VOICE/><NUMBER>{}</NUMBER></TEL>", alice.aor);
            let card = format!("<vCard xmlns='vcard-temp'><FN>{}</FN>{tel}</vCard>", alice.name);
            let answer = stage.chats.alice.iq("set", None, &card)?;
            ensure(answer.attr("type") == Some("result"), || String::from(&answer))?;
            Ok(&alice.aor)
        },
    )?;
    report.line(
        Mechanism::Roster,
        "Bob's roster, asked for with <annotate/>, carries Alice's addresses",
        || {
            let roster = stage.chats.bob_annotated.roster(Annotation::Asked)?;
            let found = addresses(&roster, &alice.jid);
            let wanted = [alice.aor.clone(), format!("tel:{}", alice.number)];
            ensure(found == wanted, || format!("it carries {found:?} and not {wanted:?}"))?;
            Ok(found.join(" "))
        },
    )?;
    report.line(
        Mechanism::Roster,
        "without it, it is byte for byte the one of a server without our plugin",
        || {
            let ours = stage.chats.bob.roster_bytes(Annotation::Not)?;
            let theirs = stage.chats.twin.roster_bytes(Annotation::Not)?;
            ensure(ours == theirs, || format!("{ours} and {theirs}"))?;
            Ok(format!(
                "{} contacts in {} bytes",
                ours.matches("<item ").count(),
                ours.len()
            ))
        },
    )
}

/// The verified addresses of a contact in an annotated roster.
#[must_use]
pub fn addresses(roster: &Element, jid: &str) -> Vec<String> {
    let item = roster.children().find(|item| item.attr("jid") == Some(jid));
    let addr = item
        .into_iter()
        .flat_map(Element::children)
        .filter(|child| child.is("addr", "urn:x-cusax:roster:0"));
    addr.filter_map(|addr| addr.attr("uri")).map(str::to_owned).collect()
}

fn reached(chat: &mut Chat, mark: usize, person: &Person) -> Result<String> {
    let found = chat.stanza(mark, "presence with <reach/>", SOON, |stanza| {
        presence_of(stanza, person).then(|| reach(stanza)).flatten()
    })?;
    let first = found.first().context("an empty <reach/>")?;
    ensure(*first == person.aor, || {
        format!("{first} comes first and not {}", person.aor)
    })?;
    let strange = found
        .iter()
        .find(|uri| **uri != person.aor && **uri != format!("tel:{}", person.number));
    match strange {
        None => Ok(found.join(" ")),
        Some(uri) => Err(Fault::new(format_args!("{uri} is not hers"))),
    }
}

fn presence_of(stanza: &Element, person: &Person) -> bool {
    stanza.name() == "presence" && stanza.attr("type").is_none() && is_from(stanza, &person.jid)
}
