//! Carriers that have names, under simulated time: DNS leads to their servers, and nobody waits for DNS.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use cusax_b2bua::core::carriers::{Carriers, Domain, Opening, Place};
use cusax_b2bua::core::flow::{Flow, Identity, ListenerId, Transport};
use cusax_b2bua::core::locate::{Answer, Goal, Kind, Query, Records, Srv};
use cusax_b2bua::core::settings::Settings;
use cusax_common::core::entropy::Seeded;
use cusax_common::core::record::Cause;
use cusax_common::core::sip::{HeaderName, Method, Request, Value};
use cusax_tests::peer::phone::{Manner, Phone, Stage};
use cusax_tests::sim::{Actor, SECOND, Scene, address, scene};

const ABROAD: &str = "sip:+442079460000@sip.example.com";
const TTL: Duration = Duration::from_secs(300);

fn by_name(settings: &mut Settings) {
    settings.trunks[0].place = Place::Domain(Domain {
        goal: Goal {
            domain: "carrier.example".into(),
            port: None,
            transport: None,
        },
        listener: None,
        networks: Vec::new(),
    });
}

fn put(scene: &mut Scene, name: &str, kind: Kind, records: Records) {
    let query = Query {
        name: name.into(),
        kind,
    };
    scene.world.zone.insert(query, Answer { records, ttl: TTL });
}

/// Two servers of the carrier, the first one preferred.
fn publish(scene: &mut Scene, servers: [IpAddr; 2]) {
    put(scene, "carrier.example", Kind::Naptr, Records::Naptr(Vec::new()));
    let srv = |priority, target: &str| Srv {
        priority,
        weight: 0,
        port: 5060,
        target: target.into(),
    };
    let records = Records::Srv(vec![srv(2, "b.carrier.example."), srv(1, "a.carrier.example.")]);
    put(scene, "_sip._udp.carrier.example", Kind::Srv, records);
    for (name, ip) in ["a.carrier.example", "b.carrier.example"].into_iter().zip(servers) {
        put(scene, name, Kind::A, Records::Addresses(vec![ip]));
    }
}

/// A scene whose carrier has a second server.
fn two_servers(seed: u64) -> (Scene, Actor) {
    let mut scene = Scene::registered_with(seed, by_name);
    let local = scene.world.address();
    let second = scene.world.add(Phone::new(address(98, 5060), local, None, seed ^ 9));
    let first = scene.world.phone(scene.trunk).address.ip();
    publish(&mut scene, [first, address(98, 5060).ip()]);
    // What was asked before the zone was there is given up, and asked again.
    scene.world.run(20 * SECOND);
    (scene, second)
}

#[test]
fn a_call_goes_to_the_server_that_dns_prefers_and_to_the_next_one_when_that_is_silent() {
    let (mut scene, second) = two_servers(1);
    scene.alice_calls(ABROAD);
    scene.world.run(5 * SECOND);
    assert_eq!(scene.stage(scene.trunk), &Stage::Up, "the preferred one");
    scene.world.act(scene.alice, |phone, now| phone.hang_up(now));
    scene.world.run(5 * SECOND);

    scene.world.phones[scene.trunk.0].manner = Manner::Mute;
    scene.alice_calls(ABROAD);
    // The warning, the silence and the ringing.
    scene.world.run(8 * SECOND);
    assert_eq!(scene.stage(second), &Stage::Up, "the next one");
    assert_eq!(scene.stage(scene.alice), &Stage::Up);
    scene.world.act(scene.alice, |phone, now| phone.hang_up(now));
    scene.nothing_is_left();
    assert_eq!(
        scene.world.records.len(),
        2,
        "one record a call, however many servers were tried"
    );
}

#[test]
fn a_server_that_says_it_is_full_is_passed_over_and_one_that_says_no_is_believed() {
    for (manner, answered) in [(Manner::Refuse(503), true), (Manner::Busy, false)] {
        let (mut scene, second) = two_servers(2);
        scene.world.phones[scene.trunk.0].manner = manner;
        scene.alice_calls(ABROAD);
        scene.world.run(5 * SECOND);
        assert_eq!(scene.stage(second) == &Stage::Up, answered, "{manner:?}");
        scene.world.act(scene.alice, |phone, now| phone.hang_up(now));
        scene.nothing_is_left();
    }
}

/// RFC 3261 §8.1.3.1: a connection that is refused or lost is no silence.
#[test]
fn who_cannot_be_reached_is_not_said_to_have_been_silent() {
    let rows = [(ABROAD, true, 503), ("sip:bob.phone@sip.example.com", false, 480)];
    for (whom, via_trunk, expected) in rows {
        let mut scene = Scene::registered_with(7, |_| {});
        let callee = if via_trunk { scene.trunk } else { scene.bob };
        scene.world.phones[callee.0].manner = Manner::Mute;
        scene.alice_calls(whom);
        scene.world.run(5 * SECOND);
        assert_eq!(
            scene.world.phone(callee).requests(&Method::Invite).len(),
            4,
            "with its copies"
        );
        assert!(matches!(scene.stage(scene.alice), Stage::Calling(_)));
        let flow = Flow {
            listener: ListenerId(0),
            transport: Transport::Udp,
            remote: scene.world.phone(callee).address,
            identity: Identity::NONE,
        };
        let now = scene.world.now();
        scene.world.node.handle_closed(now, flow);
        scene.world.run(SECOND);
        assert_eq!(scene.stage(scene.alice), &Stage::Over(Some(expected)), "{whom}");
        let cause = scene.world.records.last().map(|record| record.cause);
        assert_eq!(cause, Some(Cause::Unreachable), "{whom}");
    }
}

/// What it is about; the connections that are up, each with the trunk that it proves and the Via of a request; the one
/// that is gone then; and the ways to the carrier.
type Row<'a> = (&'a str, &'a [(Flow, &'a str, &'a str)], Option<Flow>, &'a [Flow]);

/// RFC 5923 §8.2.
#[test]
fn a_connection_that_a_carrier_lends_comes_before_one_of_ours() {
    const CARRIER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 70)), 5061);
    let flow = |port| Flow {
        listener: ListenerId(0),
        transport: Transport::Tls,
        remote: SocketAddr::new(CARRIER.ip(), port),
        identity: Identity::NONE,
    };
    let (first, second) = (flow(40_001), flow(40_002));
    let secure = |settings: &mut Settings| settings.trunks[0].place = Place::Fixed(flow(CARRIER.port()));
    let scene = Scene::registered_with(8, secure);
    let settings = scene.world.node.settings();
    let trunk = settings.trunks[0].name.as_str();
    let ours = flow(CARRIER.port()).to(Identity::of_trunk(trunk));
    let rows: [Row<'_>; 9] = [
        ("nothing is up", &[], None, &[ours]),
        ("lent", &[(first, trunk, "x.test:5061;alias")], None, &[first, ours]),
        (
            "lent at the usual port",
            &[(first, trunk, "x.test;alias")],
            None,
            &[first, ours],
        ),
        ("not lent", &[(first, trunk, "x.test:5061")], None, &[ours]),
        (
            "lent for another port",
            &[(first, trunk, "x.test:5071;alias")],
            None,
            &[ours],
        ),
        (
            "lent by another carrier",
            &[(first, "other", "x.test:5061;alias")],
            None,
            &[ours],
        ),
        (
            "the later one",
            &[(second, trunk, "x.test;alias"), (first, trunk, "x.test;alias")],
            None,
            &[first, ours],
        ),
        ("gone", &[(first, trunk, "x.test:5061;alias")], Some(first), &[ours]),
        (
            "ours is up",
            &[(ours, trunk, "x.test"), (first, trunk, "x.test:5061;alias")],
            None,
            &[ours],
        ),
    ];
    for (what, connections, closed, expected) in rows {
        let mut carriers = Carriers::new(scene.world.now().instant, settings);
        for (flow, trunk, via) in connections {
            carriers.handle_proved(*flow, vec![(*trunk).to_owned()]);
            let mut request = Request::new(Method::Options, "sip:sip.example.com".parse().expect("a URI"));
            let via = format!("SIP/2.0/TLS {via};branch=z9hG4bK1");
            request.headers.push(HeaderName::VIA, Value::new(via).expect("a value"));
            carriers.handle_request(flow, &request);
        }
        if let Some(flow) = closed {
            carriers.handle_closed(settings, &flow, false);
        }
        let ways = carriers.ways(settings, trunk, &mut Seeded::new(8));
        assert_eq!(ways, expected, "{what}");
    }
}

/// Each trunk has an authority of its own: what one has proved is no proof of another.
#[test]
fn two_trunks_at_one_address_have_a_connection_each_with_a_proof_of_its_own() {
    let scene = Scene::registered_with(12, |settings| {
        let Place::Fixed(flow) = &mut settings.trunks[0].place else {
            unreachable!("the trunk of the scene is at an address");
        };
        flow.transport = Transport::Tls;
        let mut second = settings.trunks[0].clone();
        second.name = "second".into();
        settings.trunks.push(second);
    });
    let settings = scene.world.node.settings();
    let carriers = Carriers::new(scene.world.now().instant, settings);
    let [first, second] = [0, 1].map(|index: usize| {
        let trunk = settings.trunks[index].name.clone();
        let ways = carriers.ways(settings, &trunk, &mut Seeded::new(12));
        assert_eq!(ways.len(), 1, "{trunk}");
        assert_eq!(carriers.opening(settings, &ways[0]), Some(Opening::Tls { trunk }));
        ways[0]
    });
    assert_ne!(first, second);
}

/// A carrier may close the connection that its call came by at any time; the call goes on, and must come to an end there
/// (RFC 3261 §18.2.2, §12.2.1.1).
#[test]
fn what_is_to_be_said_to_a_carrier_that_has_hung_up_its_connection_goes_by_another() {
    let tcp = |last, port| Flow {
        listener: ListenerId(0),
        transport: Transport::Tcp,
        remote: address(last, port),
        identity: Identity::NONE,
    };
    let (home, came_by) = (tcp(99, 5060), tcp(99, 40_001));
    for comes_again in [false, true] {
        let mut scene = Scene::registered_with(10, |settings| settings.trunks[0].place = Place::Fixed(home));
        let local = scene.world.address();
        let caller = scene.world.add(Phone::new(came_by.remote, local, None, 11));
        scene.world.connect(came_by.remote, Transport::Tcp, 0);
        scene
            .world
            .act(caller, |phone, now| phone.call(now, "sip:+4930901820@sip.example.com"));
        scene.world.run(5 * SECOND);
        assert_eq!(scene.stage(caller), &Stage::Up, "{comes_again}");

        let now = scene.world.now();
        scene.world.node.handle_closed(now, came_by);
        if comes_again {
            scene.world.node.handle_proved(came_by, Vec::new());
        }
        scene.world.act(scene.alice, |phone, now| phone.hang_up(now));
        scene.world.run(5 * SECOND);
        let byes = |actor| scene.world.phone(actor).requests(&Method::Bye).len();
        let expected = if comes_again { (1, 0) } else { (0, 1) };
        assert_eq!((byes(caller), byes(scene.trunk)), expected, "{comes_again}");
        scene.nothing_is_left();
    }
}

/// RFC 5923 §8.1, §8.2: clients and servers keep such connections up.
#[test]
fn the_connection_of_a_carrier_is_kept_though_it_says_nothing() {
    let mut scene = Scene::registered_with(9, |_| {});
    let flow = Flow {
        listener: ListenerId(0),
        transport: Transport::Tls,
        remote: address(70, 40_001),
        identity: Identity::NONE,
    };
    let now = scene.world.now();
    let endpoint = &mut scene.world.node;
    assert!(!endpoint.wants(&flow), "anybody's");
    endpoint.handle_proved(flow, vec!["carrier".to_owned()]);
    assert!(endpoint.wants(&flow));
    endpoint.handle_closed(now, flow);
    assert!(!endpoint.wants(&flow), "it is gone");
}

#[test]
fn without_an_answer_of_dns_calls_are_refused_at_once_and_with_an_old_one_they_go_on() {
    let mut scene = Scene::registered_with(3, by_name);
    scene.alice_calls(ABROAD);
    scene.world.run(SECOND);
    assert_eq!(
        scene.stage(scene.alice),
        &Stage::Over(Some(503)),
        "nobody waits for DNS"
    );
    assert_eq!(
        scene.world.records.last().map(|record| record.cause),
        Some(Cause::Unreachable)
    );

    let (mut scene, _) = two_servers(4);
    scene.world.zone.clear();
    scene.world.run(4 * TTL);
    for phone in [scene.alice, scene.bob] {
        scene.world.act(phone, |phone, now| phone.register(now, 3600));
    }
    scene.world.run(SECOND);
    scene.alice_calls(ABROAD);
    scene.world.run(5 * SECOND);
    assert_eq!(scene.stage(scene.trunk), &Stage::Up, "what was found stands");
}

#[test]
fn a_call_from_any_server_of_the_carrier_is_its_own_and_from_no_other_address() {
    let (mut scene, second) = two_servers(5);
    let local = scene.world.address();
    let stranger = scene.world.add(Phone::new(address(97, 5060), local, None, 55));
    for (from, expected) in [(scene.trunk, true), (second, true), (stranger, false)] {
        scene
            .world
            .act(from, |phone, now| phone.call(now, "sip:+4930901821@sip.example.com"));
        scene.world.run(5 * SECOND);
        assert_eq!(scene.stage(from) == &Stage::Up, expected);
        scene.world.act(from, |phone, now| phone.hang_up(now));
        scene.world.run(40 * SECOND);
    }
}

/// Security: whoever may ask only who is there must not learn who is.
#[test]
fn who_is_away_and_who_does_not_exist_are_told_apart_by_no_byte() {
    // Who asks and what they hear; two addresses of one length each, the first of a user of ours without a phone.
    let rows = [
        (
            "trunk",
            480,
            ["sip:+4930901821@sip.example.com", "sip:+4930901829@sip.example.com"],
        ),
        (
            "trunk",
            480,
            ["sip:bob.phone@sip.example.com", "sip:bub.phone@sip.example.com"],
        ),
        (
            "stranger",
            407,
            ["sip:+4930901821@sip.example.com", "sip:+4930901829@sip.example.com"],
        ),
        (
            "stranger",
            407,
            ["sip:bob.phone@sip.example.com", "sip:bub.phone@sip.example.com"],
        ),
    ];
    for (who, status, addresses) in rows {
        let [known, unknown] = addresses.map(|called| {
            let mut scene = scene(13);
            scene.world.start();
            let local = scene.world.address();
            let asker = match who {
                "trunk" => scene.trunk,
                _ => scene.world.add(Phone::new(address(77, 5060), local, None, 13)),
            };
            scene.world.wire = Some(Vec::new());
            scene.world.act(asker, |phone, now| phone.call(now, called));
            let began = scene.world.elapsed();
            let over = Stage::Over(Some(status));
            assert!(
                scene.world.until(5 * SECOND, |world| world.phone(asker).stage == over),
                "{who}: {called}"
            );
            let time = scene.world.elapsed() - began;
            let said = scene.world.said(local, scene.world.phone(asker).address);
            let user = called.trim_start_matches("sip:").split('@').next().expect("a user");
            let said: Vec<String> = said.iter().map(|text| text.replace(user, "them")).collect();
            assert!(
                !said.is_empty() && said.iter().all(|text| text.contains("<sip:them@")),
                "{who}: {said:?}"
            );
            (time, said)
        });
        assert_eq!(known, unknown, "{who}: {addresses:?}");
    }
}

/// Whoever writes the records cannot make us knock at our own door, or at somebody's inside.
#[test]
fn addresses_that_no_carrier_has_are_never_sent_to() {
    for forbidden in [
        "127.0.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "0.0.0.0",
        "255.255.255.255",
    ] {
        let mut scene = Scene::registered_with(6, by_name);
        let ours = scene.world.address().ip();
        publish(&mut scene, [forbidden.parse().expect("an address"), ours]);
        scene.world.run(20 * SECOND);
        scene.world.wire = Some(Vec::new());
        scene.alice_calls(ABROAD);
        scene.world.run(SECOND);
        assert_eq!(scene.stage(scene.alice), &Stage::Over(Some(503)), "{forbidden}");
        let alice = scene.world.phone(scene.alice).address;
        let wire = scene.world.wire.take().unwrap_or_default();
        assert!(
            wire.iter().all(|(from, to, _)| *from == alice || *to == alice),
            "{forbidden}"
        );
    }
}
