//! Chat clients log in; nobody can be reached by phone yet.

use crate::demo::report::{Mechanism, Report, ensure};
use crate::demo::stage::{SOON, Stage, is_from, reach};
use crate::lab::Result;

/// Shows it.
///
/// # Errors
/// When a line does not hold.
pub fn show(stage: &mut Stage, report: &mut Report) -> Result<()> {
    report.step(1, "Alice, Bob and Carol log in with chat clients");
    let cast = &stage.cast;
    let chats = &mut stage.chats;
    report.line(Mechanism::Ground, "everybody sees their contacts", || {
        for chat in [
            &mut chats.alice,
            &mut chats.bob,
            &mut chats.bob_annotated,
            &mut chats.carol,
            &mut chats.mallory,
            &mut chats.biloxi,
        ] {
            chat.available()?;
        }
        let watchers = [
            (&mut chats.carol, [&cast.alice, &cast.bob]),
            (&mut chats.alice, [&cast.bob, &cast.carol]),
            (&mut chats.bob, [&cast.alice, &cast.carol]),
        ];
        for (chat, others) in watchers {
            for other in others {
                chat.stanza(0, &format!("presence of {}", other.name), SOON, |stanza| {
                    (stanza.name() == "presence" && is_from(stanza, &other.jid)).then_some(())
                })?;
            }
        }
        Ok("presence has crossed")
    })?;
    report.line(
        Mechanism::Reach,
        "before a phone is registered nobody's presence carries <reach/>",
        || {
            let all = [&chats.alice, &chats.bob, &chats.bob_annotated, &chats.carol]
                .map(|chat| chat.since(0))
                .concat();
            let presences: Vec<_> = all.iter().filter(|stanza| stanza.name() == "presence").collect();
            let with = presences.iter().filter_map(|presence| reach(presence)).next();
            ensure(with.is_none(), || format!("one carries {with:?}"))?;
            Ok(format!("{} presences looked at", presences.len()))
        },
    )
}
