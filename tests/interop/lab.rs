//! The laboratory itself: if its phones, trunk, sound and captures were wrong, every other interop test would be too.

use std::time::Duration;

use cusax_b2bua::core::flow::Transport;
use cusax_tests::lab::capture::Capture;
use cusax_tests::lab::chat::{Annotation, Chat, Login};
use cusax_tests::lab::meddler::Meddler;
use cusax_tests::lab::phone::{Account, Phone};
use cusax_tests::lab::speech::Voice;
use cusax_tests::lab::topology::Topology;
use cusax_tests::lab::trunk::Trunk;
use cusax_tests::lab::xmpp_server::{Account as XmppAccount, Kind, Plan, Server, VirtualHost};
use cusax_tests::lab::{Child, Namespace, Result, Scratch, Spec, wait};

#[test]
fn a_phone_calls_the_trunk_and_each_hears_the_other() {
    call_the_trunk().unwrap_or_else(|fault| panic!("{fault}"));
}

fn call_the_trunk() -> Result<()> {
    let scratch = Scratch::new("lab-call")?;
    let topology = Topology::new()?;
    // The one test in which a phone reaches another machine: there is no service between them.
    topology
        .server()
        .run(|| Ok(std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?))?;
    let (caller, gateway) = (topology.host("caller")?, topology.host("gateway")?);
    let (hers, theirs) = (
        Voice::new(70, 150, scratch.path())?,
        Voice::new(25, 170, scratch.path())?,
    );
    let capture = Capture::at(&gateway, scratch.path())?;
    let trunk = Trunk::start(&gateway, scratch.path(), &theirs.say("290476", 60))?;
    let mut phone = Phone::start(&caller, scratch.path(), &hers.say("738015", 60))?;
    let meddler = Meddler::start(&caller, phone.address(), trunk.address())?;
    meddler.write(&["Call-Info: <xmpp:forged@x.example>;purpose=impp", "Privacy: id"]);
    phone.add_account(&Account {
        aor: "sip:a@x.example".to_owned(),
        display: "A".to_owned(),
        login: None,
        outbound: meddler.address(),
        transport: Transport::Udp,
        codecs: "pcmu/8000/1",
    })?;
    phone.dial("sip:b@x.example")?;
    phone.established()?;
    wait::pass(Duration::from_secs(6));
    phone.hang_up()?;

    let heard = theirs.recognise(&phone.heard()?, 0.95);
    assert!(heard.digits.contains("290476"), "the phone heard {heard:?}");
    let sent = capture
        .streams()?
        .into_iter()
        .find(|stream| stream.from.ip() == caller.address)
        .expect("the phone's RTP");
    let heard = hers.recognise(&sent.samples(), 0.95);
    assert!(heard.digits.contains("738015"), "the trunk heard {heard:?}");
    let wrong = theirs.recognise(&sent.samples(), 0.95);
    assert_eq!(wrong.digits, "", "one voice must not be taken for the other");

    let invite = capture.message("INVITE", Duration::from_secs(2), |message| message.is("INVITE"))?;
    assert_eq!(invite.header("Call-Info"), "<xmpp:forged@x.example>;purpose=impp");
    assert_eq!(invite.all("Route").count(), 0);
    phone.quit()
}

#[test]
fn phones_have_no_way_to_one_another() {
    let topology = Topology::new().expect("namespaces can be made");
    let (one, two) = (
        topology.host("one").expect("a host"),
        topology.host("two").expect("a host"),
    );
    let there = two.address;
    let bind = two
        .namespace
        .run(move || Ok(std::net::UdpSocket::bind((there, 9))?))
        .expect("a socket");
    bind.set_read_timeout(Some(Duration::from_millis(300)))
        .expect("a timeout");
    one.namespace
        .run(move || {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
            // The kernel may already know that there is no way.
            let _ = socket.send_to(b"hello", (there, 9));
            Ok(())
        })
        .expect("a socket");
    assert!(bind.recv(&mut [0; 16]).is_err(), "a datagram came through");
}

#[test]
fn a_program_dies_with_its_owner_and_on_drop() {
    let scratch = Scratch::new("lab-child").expect("a scratch folder");
    let child: Child = Spec::new("sleeper", "sleep")
        .arg("600")
        .start(scratch.path())
        .expect("sleep starts");
    let path = format!("/proc/{}", child.id());
    assert!(std::fs::exists(&path).expect("readable"));
    drop(child);
    assert!(!std::fs::exists(&path).expect("readable"));
    // The thread that asked for the program has ended; the program must not.
    let logs = scratch.path().to_owned();
    let started = std::thread::spawn(move || Spec::new("longer", "sleep").arg("600").start(&logs));
    let mut child = started.join().expect("no panic").expect("sleep starts");
    wait::pass(Duration::from_millis(100));
    assert_eq!(child.ended().expect("known"), None);
    child.stop(Duration::from_secs(2)).expect("SIGTERM ends it");
}

#[test]
fn chat_clients_see_each_other_and_a_server_without_our_plugin_gives_plain_rosters() {
    for kind in [Kind::Prosody, Kind::Ejabberd] {
        chat(kind).unwrap_or_else(|fault| panic!("{kind:?}: {fault}"));
    }
}

fn chat(kind: Kind) -> Result<()> {
    let scratch = Scratch::new("lab-chat")?;
    let server = Namespace::new("srv")?;
    let people = ["ann@a.example", "ben@b.example"];
    let account = |place: usize| XmppAccount {
        jid: people[place].to_owned(),
        password: "secret".to_owned(),
        contacts: vec![people[1 - place].to_owned()],
    };
    let plan = Plan {
        hosts: ["a.example", "b.example"].map(VirtualHost::plain).into(),
        accounts: vec![account(0), account(1)],
        component: None,
        clients: 15222,
        components: 15347,
        versions: true,
    };
    let running = Server::start(kind, Some(&server), scratch.path(), &plan)?;
    let login = |jid, password| {
        Chat::start(
            Some(&server),
            scratch.path(),
            Login {
                jid,
                password,
                port: 15222,
            },
        )
    };
    assert!(
        login("ann@a.example/x", "wrong").is_err(),
        "a wrong password is refused"
    );
    let (mut ann, mut ben) = (
        login("ann@a.example/phone", "secret")?,
        login("ben@b.example/desk", "secret")?,
    );
    let roster = ann.roster(Annotation::Asked)?;
    assert_eq!(
        roster.children().map(|item| item.attr("jid")).collect::<Vec<_>>(),
        [Some("ben@b.example")]
    );
    assert_eq!(roster, ann.roster(Annotation::Not)?);
    ann.available()?;
    ben.available()?;
    let limit = Duration::from_secs(5);
    ann.stanza(0, "Ben's presence", limit, |stanza| {
        (stanza.name() == "presence" && stanza.attr("from") == Some("ben@b.example/desk")).then_some(())
    })?;
    // Entity capabilities reach the server, so what contacts publish is pushed to us.
    let activity = "http://jabber.org/protocol/activity";
    let mark = ann.mark();
    let published = ben.iq(
        "set",
        None,
        &format!(
            "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='{activity}'><item id='current'>\
             <activity xmlns='{activity}'><talking><on_the_phone/></talking></activity></item></publish></pubsub>"
        ),
    )?;
    assert_eq!(published.attr("type"), Some("result"));
    ann.stanza(mark, "Ben's activity", limit, |stanza| {
        let items = stanza.get_child("event", "http://jabber.org/protocol/pubsub#event")?;
        items
            .children()
            .any(|items| items.attr("node") == Some(activity))
            .then_some(())
    })?;
    running.stop()
}
