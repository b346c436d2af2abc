//! Two nodes of ejabberd with one map.

use cusax_tests::lab::chat::{Annotation, Chat, Login};
use cusax_tests::lab::ejabberd::{Ejabberd, Node};
use cusax_tests::lab::xmpp_server::{Account, Plan, Plugin, VirtualHost};
use cusax_tests::lab::{Namespace, Result, Scratch, Spec, wait};

use crate::protocol::{line, pushed, say, state};
use crate::stack::Raw;
use crate::stanzas::{addresses, comes_to_show};
use crate::{ALICE, AOR, BOB, CLIENTS, COMPONENT, COMPONENTS, SECRET, SOON, TEL};

#[test]
fn ejabberds_nodes_share_what_one_of_them_was_told() {
    nodes().unwrap_or_else(|fault| panic!("{fault}"));
}

fn nodes() -> Result<()> {
    let scratch = Scratch::new("cluster")?;
    let namespace = Namespace::new("cluster")?;
    let _names = Spec::new("epmd", "epmd")
        .args(["-address", "127.0.0.1"])
        .inside(&namespace)
        .start(scratch.path())?;
    let account = |jid: &str, contact: &str| Account {
        jid: jid.into(),
        password: "pw".into(),
        contacts: vec![contact.into()],
    };
    let plan = |place: u16| Plan {
        hosts: vec![VirtualHost {
            plugin: Some(Plugin::of(COMPONENT)),
            ..VirtualHost::plain("atlanta.example")
        }],
        accounts: vec![account(ALICE, BOB), account(BOB, ALICE)],
        component: Some((COMPONENT.into(), SECRET.into())),
        clients: CLIENTS + place,
        components: COMPONENTS + place,
        versions: true,
    };
    let start = |name, place, joins| {
        Ejabberd::start_node(
            Some(&namespace),
            scratch.path(),
            &plan(place),
            Some(Node { name, joins }),
        )
    };
    let first = start("one", 0, None)?;
    let mut raw = Raw::connect_to(&namespace, COMPONENTS)?;
    raw.tell_all("one", &[&line(ALICE, &format!("{AOR} {TEL}"), AOR)]);
    let second = start("two", 1, Some("one"))?;
    let chat = |jid, place| {
        let login = Login {
            jid,
            password: "pw",
            port: CLIENTS + place,
        };
        Chat::start(Some(&namespace), scratch.path(), login)
    };

    // Alice is at the node that was told nothing, and her contact at either.
    let (mut alice, mut bob) = (
        chat("alice@atlanta.example/two", 1)?,
        chat("bob@atlanta.example/one", 0)?,
    );
    let mut away = chat("bob@atlanta.example/two", 1)?;
    bob.available()?;
    away.available()?;
    let copied = wait::until("the map at the second node", SOON, || {
        let roster = away.roster(Annotation::Asked).ok()?;
        (addresses(&roster, ALICE) == [AOR, TEL]).then_some(())
    });
    copied?;
    alice.available()?;
    comes_to_show(
        &mut bob,
        0,
        "alice@atlanta.example/two",
        &[AOR],
        "a node that comes takes the map of another",
    );

    let (mark, theirs) = (bob.mark(), away.mark());
    assert_eq!(
        say(&mut raw, "delta' epoch='one' after='1' seq='2", &line(ALICE, AOR, "")),
        "result"
    );
    comes_to_show(
        &mut bob,
        mark,
        "alice@atlanta.example/two",
        &[],
        "a change is passed on",
    );
    assert_eq!(addresses(&pushed(&mut away, theirs), ALICE), [AOR], "and pushed there");

    // The component comes back at the other node.
    drop(raw);
    let mut raw = Raw::connect_to(&namespace, COMPONENTS + 1)?;
    assert_eq!(state(&mut raw), "epoch=one seq=2 users=1");
    let mark = bob.mark();
    assert_eq!(
        say(&mut raw, "delta' epoch='one' after='2' seq='3", &line(ALICE, AOR, AOR)),
        "result"
    );
    comes_to_show(&mut bob, mark, "alice@atlanta.example/two", &[AOR], "it goes on there");
    let mark = bob.mark();
    raw.tell_all("two", &[&line(ALICE, TEL, TEL)]);
    comes_to_show(&mut bob, mark, "alice@atlanta.example/two", &[TEL], "a whole map too");
    let roster = bob.roster(Annotation::Asked)?;
    assert_eq!(addresses(&roster, ALICE), [TEL], "which the first node has as well");
    second.command(
        "restart_module",
        &[("host", "atlanta.example"), ("module", "mod_cusax")],
    )?;
    let again = wait::until("the map at the node that had lost it", SOON, || {
        let roster = away.roster(Annotation::Asked).ok()?;
        (addresses(&roster, ALICE) == [TEL]).then_some(())
    });
    again?;
    assert_eq!(state(&mut raw), "epoch=two seq=1 users=1");
    for server in [&first, &second] {
        let log = server.log();
        assert!(
            !log.contains("crashed when running") && !log.contains("CRASH REPORT"),
            "{log}"
        );
    }
    Ok(())
}
