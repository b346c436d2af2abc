//! Two phones of one user, and a transfer: who rings, who stops, and who is told with whom they speak.

use super::call::{LISTEN, hears};
use crate::demo::report::{Mechanism, Report, ensure};
use crate::demo::stage::{SOON, Stage};
use crate::lab::{Result, wait};

/// Shows it.
///
/// # Errors
/// When a line does not hold.
pub fn show(stage: &mut Stage, report: &mut Report) -> Result<()> {
    report.step(4, "Alice calls Bob, who has two phones, and transfers him to Carol");
    let cast = stage.cast.clone();
    let (bob, carol) = (&cast.bob, &cast.carol);
    stage.second.register(&stage.bob_account())?;
    stage.carol.register(&stage.carol_account())?;
    let rung = stage.at_bob.messages()?.len();
    stage.alice.dial(&bob.aor)?;
    report.line(
        Mechanism::Ground,
        "both of Bob's phones ring, he answers one, and the other is told so",
        || {
            stage.bob.incoming()?;
            stage.second.incoming()?;
            stage.second.accept()?;
            stage.second.established()?;
            stage.alice.established()?;
            stage.bob.closed()?;
            let told = wait::until_ok("a CANCEL", SOON, || {
                let mut messages = stage.at_bob.messages()?.into_iter().skip(rung);
                Ok(messages.find(|message| message.is("CANCEL")))
            })?;
            let reason = told.header("Reason");
            ensure(reason.starts_with("SIP;cause=200"), || format!("Reason: {reason:?}"))?;
            Ok(format!("Reason: {reason}"))
        },
    )?;
    stage.alice.transfer(&carol.aor)?;
    report.line(
        Mechanism::Identity,
        "Alice transfers Bob, and Carol's phone says that it is Bob who calls",
        || {
            stage.carol.incoming()?;
            let invite = stage
                .at_carol
                .message("the INVITE at Carol's phone", SOON, |message| message.is("INVITE"))?;
            let found: Vec<_> = invite.all("Call-Info").collect();
            let wanted = format!("<xmpp:{}>;purpose=impp", bob.jid);
            ensure(found == [wanted.as_str()], || format!("it carries {found:?}"))?;
            let from = invite.header("From");
            ensure(
                from.contains(&bob.name) && from.contains(&format!("<{}>", bob.aor)),
                || format!("From: {from}"),
            )?;
            Ok(from.to_owned())
        },
    )?;
    report.line(
        Mechanism::Identity,
        "and Bob's phone, in the call that it has, that it is Carol",
        || {
            stage.carol.accept()?;
            stage.carol.established()?;
            let wanted = format!("<xmpp:{}>;purpose=impp", carol.jid);
            let reinvite = stage.at_second.message("Carol's JID", SOON, |message| {
                message.is("INVITE") && message.all("Call-Info").any(|info| info == wanted)
            })?;
            let asserted = reinvite.all("P-Asserted-Identity").collect::<Vec<_>>().join(", ");
            ensure(asserted.contains(&format!("<{}>", carol.aor)), || {
                format!("P-Asserted-Identity: {asserted:?}")
            })?;
            Ok(wanted)
        },
    )?;
    report.line(Mechanism::Relay, "Carol hears the digits that Bob speaks", || {
        stage.alice.closed()?;
        wait::pass(LISTEN);
        stage.second.hang_up()?;
        stage.carol.closed()?;
        hears(&stage.carol.heard()?, &stage.voices[1], &cast.spoken[1])
    })?;
    stage.second.remove_account(&bob.aor)?;
    stage.carol.remove_account(&carol.aor)?;
    for phone in [&stage.alice, &stage.bob, &stage.second, &stage.carol] {
        phone.forget_events();
    }
    Ok(())
}
