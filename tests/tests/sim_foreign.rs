//! Domains of others, under simulated time: users of ours reach those that policy allows, found by DNS, and nobody else
//! does.

use std::net::IpAddr;
use std::time::Duration;

use cusax_b2bua::core::carriers::Opening;
use cusax_b2bua::core::flow::{Flow, Identity, ListenerId, Transport};
use cusax_b2bua::core::locate::{Answer, Kind, Query, Records, Srv};
use cusax_b2bua::core::settings::{Foreign, Listener, Settings};
use cusax_common::core::record::Cause;
use cusax_common::core::sip::typed::From;
use cusax_common::core::sip::{HeaderName, Method};
use cusax_tests::peer::phone::{Manner, Phone, Stage};
use cusax_tests::sim::hand::{Hand, codes, proof};
use cusax_tests::sim::stage::{self, speaking_with};
use cusax_tests::sim::{Actor, SECOND, Scene, World, address, scene_of};

const ZOE: &str = "sip:zoe@other.example";
const TTL: Duration = Duration::from_secs(300);

fn partners(settings: &mut Settings) {
    settings.foreign.domains = vec!["other.example".into()];
}

fn put(scene: &mut Scene, name: &str, kind: Kind, records: Records) {
    let query = Query {
        name: name.into(),
        kind,
    };
    scene.world.zone.insert(query, Answer { records, ttl: TTL });
}

/// The domain has two servers, the first one preferred.
fn publish(scene: &mut Scene, service: &str, port: u16, servers: [IpAddr; 2]) {
    put(scene, "other.example", Kind::Naptr, Records::Naptr(Vec::new()));
    let srv = |priority, target: &str| Srv {
        priority,
        weight: 0,
        port,
        target: target.into(),
    };
    let records = Records::Srv(vec![srv(2, "b.other.example."), srv(1, "a.other.example.")]);
    put(scene, service, Kind::Srv, records);
    for (name, ip) in ["a.other.example", "b.other.example"].into_iter().zip(servers) {
        put(scene, name, Kind::A, Records::Addresses(vec![ip]));
    }
}

/// A scene with the domain, whose servers are two phones.
fn scene(seed: u64, change: impl FnOnce(&mut Settings)) -> (Scene, [Actor; 2]) {
    let mut scene = Scene::registered_with(seed, change);
    let local = scene.world.address();
    let servers = [60, 61].map(|last| scene.world.add(Phone::new(address(last, 5060), local, None, seed ^ 60)));
    publish(
        &mut scene,
        "_sip._udp.other.example",
        5060,
        [60, 61].map(|last| address(last, 5060).ip()),
    );
    (scene, servers)
}

#[test]
fn a_user_calls_a_domain_that_policy_allows_and_is_known_there_by_their_address_alone() {
    let (mut scene, [first, second]) = scene(1, partners);
    scene.alice_calls("sip:zoe@Other.Example;maddr=192.0.2.99;transport=tcp");
    scene.world.run(3 * SECOND);
    assert_eq!(scene.stage(first), &Stage::Up);
    assert_eq!(scene.stage(scene.alice), &Stage::Up);
    let invite = scene.world.phone(first).requests(&Method::Invite)[0].clone();
    assert_eq!(invite.uri.to_string().to_lowercase(), ZOE);
    let From(from) = invite.headers.from().expect("a From");
    assert_eq!(from.uri.to_string(), "sip:alice.phone@sip.example.com");
    for name in [&HeaderName::P_ASSERTED_IDENTITY, &HeaderName::CALL_INFO] {
        assert!(!invite.headers.has(name), "{name:?}");
    }
    scene.world.act(first, Phone::hang_up);
    scene.world.run(SECOND);
    assert_eq!(scene.stage(scene.alice), &Stage::Over(None));
    let record = scene.world.records.last().expect("a record");
    assert_eq!(
        (record.cause, record.trunk.as_deref(), record.class),
        (Cause::CalleeHungUp, None, None)
    );

    // What is known is not asked again, and a server that is silent is passed over.
    let asked = scene.world.asked.len();
    scene.behaves(first, Manner::Mute);
    scene.alice_calls(ZOE);
    scene.world.run(6 * SECOND);
    assert_eq!(scene.stage(second), &Stage::Up);
    if scene.world.node.len() == 1 {
        assert_eq!(scene.world.asked.len(), asked, "each endpoint asks for itself");
    }
    scene.world.act(scene.alice, Phone::hang_up);
    scene.nothing_is_left();
    assert_eq!(scene.world.phone(scene.trunk).heard.len(), 0, "never by a trunk");
}

/// RFC 5627 §4.4: whose device it is only its own domain can tell. It was taken for one of ours, and was none.
#[test]
fn a_device_of_another_domain_is_called_there() {
    const DEVICE: &str = "sip:zoe@other.example;gr=urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6";
    let (mut scene, [first, _]) = scene(13, partners);
    scene.alice_calls(DEVICE);
    scene.world.run(3 * SECOND);
    assert_eq!(scene.stage(scene.alice), &Stage::Up);
    let invite = scene.world.phone(first).requests(&Method::Invite)[0].clone();
    assert_eq!(invite.uri.to_string(), DEVICE);
    scene.world.act(scene.alice, Phone::hang_up);
    scene.nothing_is_left();

    let mut stage = speaking_with(14, partners);
    let world = &mut stage.scene.world;
    world.start();
    let local = world.address();
    let first = world.add(Phone::new(address(60, 5060), local, None, 60));
    publish(
        &mut stage.scene,
        "_sip._udp.other.example",
        5060,
        [address(60, 5060).ip(); 2],
    );
    stage.alice_refers(&format!("<{DEVICE}>"));
    stage.alice_hears(SECOND);
    assert_eq!(stage.scene.world.phone(first).requests(&Method::Invite).len(), 1);
}

#[test]
fn what_policy_does_not_allow_is_refused_before_dns_is_asked() {
    let any = || Foreign {
        any: true,
        ..Foreign::default()
    };
    let listed = || Foreign {
        domains: vec!["other.example".into()],
        ..Foreign::default()
    };
    // What policy says, who calls whom, and what they hear.
    let rows = [
        (Foreign::default(), false, ZOE, 403),
        (listed(), false, "sip:zoe@another.example", 403),
        (listed(), false, "sip:zoe@sub.other.example", 403),
        (listed(), false, "sip:zoe:secret@other.example", 400),
        (listed(), false, "sip:other.example", 484),
        (any(), false, "sip:zoe@192.0.2.60", 403),
        (any(), false, "sip:nobody@sip.example.com", 404),
        (any(), true, ZOE, 403),
        (listed(), true, ZOE, 403),
    ];
    for (foreign, by_trunk, whom, expected) in rows {
        let (mut scene, [first, _]) = scene(2, |settings| settings.foreign = foreign.clone());
        let caller = if by_trunk { scene.trunk } else { scene.alice };
        scene.world.act(caller, |phone, now| phone.call(now, whom));
        scene.world.run(3 * SECOND);
        assert_eq!(scene.stage(caller), &Stage::Over(Some(expected)), "{foreign:?}: {whom}");
        assert!(scene.world.phone(first).heard.is_empty(), "{foreign:?}: {whom}");
        assert!(scene.world.asked.is_empty(), "{foreign:?}: {whom}");
    }
}

/// Security: whoever publishes the records cannot make us knock at our own door, or at somebody's inside.
#[test]
fn addresses_inside_are_never_sent_to() {
    let inside = [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.1.1",
        "169.254.169.254",
        "224.0.0.1",
        "0.0.0.0",
        "192.0.2.1",
    ];
    for forbidden in inside {
        let (mut scene, _) = scene(3, partners);
        publish(
            &mut scene,
            "_sip._udp.other.example",
            5060,
            [forbidden.parse().expect("an address"); 2],
        );
        scene.world.wire = Some(Vec::new());
        scene.alice_calls(ZOE);
        scene.world.run(3 * SECOND);
        assert_eq!(scene.stage(scene.alice), &Stage::Over(Some(503)), "{forbidden}");
        let alice = scene.world.phone(scene.alice).address;
        let wire = scene.world.wire.take().unwrap_or_default();
        assert!(
            wire.iter().all(|(from, to, _)| *from == alice || *to == alice),
            "{forbidden}"
        );
    }
    // Unless the operator says that partners are there.
    let (mut scene, [first, _]) = scene(4, |settings| {
        partners(settings);
        settings.foreign.networks = vec!["10.0.0.0/8".parse().expect("a network")];
    });
    scene.alice_calls(ZOE);
    scene.world.run(3 * SECOND);
    assert_eq!(
        scene.stage(scene.alice),
        &Stage::Over(Some(503)),
        "and then nowhere else"
    );
    assert!(scene.world.phone(first).heard.is_empty());
}

/// The same where the world knows us by another address than the one that we are bound to.
#[test]
fn neither_of_our_own_addresses_is_sent_to() {
    for own in ["192.0.2.1", "192.0.2.60"] {
        let (mut scene, [first, _]) = scene(15, |settings| {
            partners(settings);
            settings.listeners[0].public = address(60, 5060);
        });
        let own = own.parse().expect("an address");
        publish(&mut scene, "_sip._udp.other.example", 5060, [own; 2]);
        scene.world.wire = Some(Vec::new());
        scene.alice_calls(ZOE);
        scene.world.run(3 * SECOND);
        assert_eq!(scene.stage(scene.alice), &Stage::Over(Some(503)), "{own}");
        assert!(scene.world.phone(first).heard.is_empty(), "{own}");
        let (here, wire) = (scene.world.address(), scene.world.wire.take().unwrap_or_default());
        assert!(wire.iter().all(|(from, to, _)| *from != here || *to != here), "{own}");
    }
}

#[test]
fn while_dns_is_silent_the_caller_waits_in_peace_and_may_give_up() {
    for gives_up in [false, true] {
        let (mut scene, _) = scene(5, partners);
        scene.world.zone.clear();
        scene.alice_calls(ZOE);
        scene.world.run(5 * SECOND);
        let invites = scene.world.phone(scene.alice).responses();
        assert!(
            invites.iter().any(|response| response.status.code() == 100),
            "{gives_up}"
        );
        assert!(matches!(scene.stage(scene.alice), Stage::Calling(_)));
        assert_eq!(scene.world.node.calls(), 0);
        if gives_up {
            scene.world.act(scene.alice, Phone::hang_up);
            scene.world.run(SECOND);
        } else {
            scene.world.run(6 * SECOND);
        }
        let (status, cause) = if gives_up {
            (487, Cause::Cancelled)
        } else {
            (503, Cause::Unreachable)
        };
        assert_eq!(scene.stage(scene.alice), &Stage::Over(Some(status)));
        let causes: Vec<_> = scene.world.records.iter().map(|record| record.cause).collect();
        assert_eq!(causes, [cause]);
        scene.nothing_is_left();
        assert_eq!(scene.world.records.len(), 1);
    }
}

/// What waits for DNS was not counted, so that one account could have begun any number of calls with one answer.
#[test]
fn calls_that_wait_for_dns_are_among_those_that_an_account_may_have() {
    const MAY: u8 = 3;
    let (mut scene, _) = scene(11, |settings| {
        partners(settings);
        settings.calls_per_account = MAY.into();
    });
    scene.world.zone.clear();
    let dials = |scene: &mut Scene, last| {
        let mut alice = Hand::new(&mut scene.world, address(last, 5070), "alice");
        let invite = alice.invite(ZOE);
        codes(&alice.prove(&mut scene.world, &invite))
    };
    for last in 0..MAY {
        assert_eq!(dials(&mut scene, 70 + last), [100], "{last}");
    }
    assert_eq!(dials(&mut scene, 80), [403]);
    scene.world.run(20 * SECOND);
    assert_eq!(scene.world.node.calls(), 0, "nothing was found");
    assert_eq!(dials(&mut scene, 81), [100], "there is room again");
    // Somebody gives up.
    scene.world.run(600 * SECOND);
    for last in 90..90 + MAY {
        let mut alice = Hand::new(&mut scene.world, address(last, 5070), "alice");
        let invite = alice.invite(ZOE);
        assert_eq!(codes(&alice.prove(&mut scene.world, &invite)), [100], "{last}");
        let via = invite.lines[0].1.clone();
        let mut cancel = alice.text("CANCEL", ZOE).with("Via", &via);
        for name in ["From", "To", "Call-ID"] {
            let same = invite.lines.iter().find(|(found, _)| found == name);
            cancel = cancel.with(name, &same.expect("written").1);
        }
        let number = invite.lines.iter().find(|(found, _)| found == "CSeq");
        let number = number.expect("written").1.replace("INVITE", "CANCEL");
        let told = codes(&alice.say(&mut scene.world, &cancel.with("CSeq", &number)));
        assert_eq!(told, [200, 487], "{last}");
    }
    scene.nothing_is_left();
    for (table, left) in scene.world.node.leftovers() {
        assert_eq!(left, 0, "{table}");
    }
}

/// By a connection, which is gone while DNS is asked, or while another endpoint is.
#[test]
fn whoever_has_gone_before_a_call_begins_leaves_nothing() {
    for (waits, endpoints) in [("calls that wait for DNS", 1), ("questions to the first endpoint", 3)] {
        let mut scene = scene_of(endpoints, 16, partners);
        scene.world.start();
        let remote = address(70, 5070);
        scene.world.connect(remote, Transport::Tcp, 0);
        let mut alice = Hand::new(&mut scene.world, remote, "alice");
        let plain = alice.invite(ZOE);
        let challenged = alice.say(&mut scene.world, &plain)[0].response().expect("a challenge");
        let (name, value) = proof(&challenged, "alice.phone", "alice-secret", "INVITE", ZOE).expect("a proof");
        let invite = alice.invite(ZOE).and(&name, &value);
        scene.world.inject(remote, invite.written());
        let held = |world: &World| {
            world
                .node
                .leftovers()
                .iter()
                .any(|(table, left)| *table == waits && *left > 0)
        };
        assert!(
            scene.world.until(SECOND, held),
            "{waits}: {:?}",
            scene.world.node.leftovers()
        );
        let flow = scene.world.connection(remote).expect("a connection");
        let now = scene.world.now();
        scene.world.node.handle_closed(now, flow);
        scene.world.run(64 * SECOND);
        for (table, left) in scene.world.node.leftovers() {
            assert_eq!(left, 0, "{waits}: {table}");
        }
    }
}

#[test]
fn a_transfer_that_waits_for_dns_is_among_the_calls_of_who_pays() {
    let mut stage = speaking_with(12, |settings| {
        partners(settings);
        settings.calls_per_account = 2;
    });
    assert_eq!(stage.alice_refers(ZOE), ["refer active SIP/2.0 100 Trying"]);
    let dials = |stage: &mut stage::Stage, last| {
        let mut alice = Hand::new(&mut stage.scene.world, address(last, 5070), "alice");
        let invite = alice.invite("sip:nobody@sip.example.com");
        codes(&alice.prove(&mut stage.scene.world, &invite))
    };
    assert_eq!(dials(&mut stage, 70), [403]);
    stage.alice_hears(20 * SECOND);
    assert_eq!(dials(&mut stage, 71).last(), Some(&404), "the search is over");
    let stage::Stage { scene, alice, met, .. } = &mut stage;
    alice.request(&mut scene.world, Method::Bye, Some(met), &[], "");
    stage.done();
}

#[test]
fn who_waits_for_dns_when_the_service_stops_is_told() {
    let (mut scene, _) = scene(8, partners);
    scene.world.zone.clear();
    scene.alice_calls(ZOE);
    scene.world.run(SECOND);
    assert!(matches!(scene.stage(scene.alice), Stage::Calling(_)));
    let now = scene.world.now();
    scene.world.node.drain(now);
    // Nobody does anything; the world sees what is to be sent.
    scene.world.act(scene.bob, |_, _| {});
    scene.world.run(SECOND);
    assert_eq!(scene.stage(scene.alice), &Stage::Over(Some(503)));
}

/// RFC 3261 §26.2.2, RFC 5922 §7.2: by TLS alone, to whoever can show the domain's certificate.
#[test]
fn a_secure_call_goes_by_tls_and_by_nothing_else() {
    let tls = |last| Flow {
        listener: ListenerId(1),
        transport: Transport::Tls,
        remote: address(last, 5061),
        identity: Identity::NONE,
    };
    for published in [true, false] {
        let (mut scene, _) = scene(6, |settings| {
            partners(settings);
            let udp = settings.listeners[0].clone();
            settings.listeners.push(Listener {
                transport: Transport::Tls,
                ..udp
            });
        });
        if published {
            let servers = [60, 61].map(|last| address(last, 5061).ip());
            publish(&mut scene, "_sips._tcp.other.example", 5061, servers);
        } else {
            put(
                &mut scene,
                "_sips._tcp.other.example",
                Kind::Srv,
                Records::Srv(Vec::new()),
            );
            put(&mut scene, "other.example", Kind::A, Records::Addresses(Vec::new()));
        }
        let local = scene.world.address();
        let secure = scene.world.add(Phone::new(address(60, 5061), local, None, 7));
        let alice = scene.world.phone(scene.alice).address;
        scene.world.connect(alice, Transport::Tls, 1);
        assert_eq!(
            scene.world.node.opening(&tls(60)),
            None,
            "not before somebody calls there"
        );
        scene.alice_calls("sips:zoe@other.example");
        scene.world.run(3 * SECOND);
        let expected = if published { Stage::Up } else { Stage::Over(Some(503)) };
        assert_eq!(scene.stage(scene.alice), &expected);
        if published {
            let name = "other.example".to_owned();
            let whom = Identity::of_domain(&name);
            assert_eq!(
                scene.world.node.opening(&tls(60).to(whom)),
                Some(Opening::Domain { name })
            );
            assert_eq!(scene.world.node.opening(&tls(60)), None, "not without proof");
            assert_eq!(scene.world.node.opening(&tls(62).to(whom)), None);
            let invite = scene.world.phone(secure).requests(&Method::Invite)[0].clone();
            assert_eq!(invite.uri.to_string(), "sips:zoe@other.example");
        }
    }
}

/// RFC 5922 §7.2: what a server has proved for one domain says nothing of another whose records lead to the same address:
/// that one may be hosted there as well, or be published by somebody who would like to be taken for it.
#[test]
fn two_domains_at_one_address_have_a_connection_each_with_a_proof_of_its_own() {
    let domains = ["other.example", "evil.example"];
    for order in [[0, 1], [1, 0]] {
        let mut scene = Scene::registered_with(10, |settings| {
            settings.foreign.domains = domains.map(str::to_owned).to_vec();
            let udp = settings.listeners[0].clone();
            settings.listeners.push(Listener {
                transport: Transport::Tls,
                ..udp
            });
        });
        for domain in domains {
            let target = "a.other.example.".to_owned();
            let records = Records::Srv(vec![Srv {
                priority: 1,
                weight: 0,
                port: 5061,
                target,
            }]);
            put(&mut scene, &format!("_sips._tcp.{domain}"), Kind::Srv, records);
        }
        let there = address(60, 5061);
        put(
            &mut scene,
            "a.other.example",
            Kind::A,
            Records::Addresses(vec![there.ip()]),
        );
        let local = scene.world.address();
        let server = scene.world.add(Phone::new(there, local, None, 7));
        let alice = scene.world.phone(scene.alice).address;
        scene.world.connect(alice, Transport::Tls, 1);
        let mut ways = Vec::new();
        for domain in order.map(|index| domains[index]) {
            scene.alice_calls(&format!("sips:zoe@{domain}"));
            scene.world.run(3 * SECOND);
            assert_eq!(scene.stage(scene.alice), &Stage::Up, "{domain}");
            let way = scene.world.connection(there).expect("a connection");
            let name = domain.to_owned();
            assert_eq!(scene.world.node.opening(&way), Some(Opening::Domain { name }));
            ways.push(way);
            // What comes by such a connection belongs to the dialog as before.
            scene.world.act(server, Phone::hang_up);
            scene.world.run(SECOND);
            assert_eq!(scene.stage(scene.alice), &Stage::Over(None), "{domain}");
        }
        assert_ne!(ways[0], ways[1]);
        scene.nothing_is_left();
    }
}

/// A domain that leads to a carrier's server would be a call by that carrier that no policy has seen.
#[test]
fn no_domain_leads_to_a_carrier() {
    let mut scene = Scene::registered_with(9, partners);
    let carrier = address(99, 5060);
    publish(
        &mut scene,
        "_sip._udp.other.example",
        5060,
        [carrier.ip(), carrier.ip()],
    );
    scene.alice_calls("sip:+8829999@other.example");
    scene.world.run(6 * SECOND);
    assert!(
        matches!(scene.stage(scene.alice), Stage::Over(Some(400..))),
        "{:?}",
        scene.stage(scene.alice)
    );
    assert_eq!(scene.world.phone(scene.trunk).heard.len(), 0);
    scene.nothing_is_left();
}
