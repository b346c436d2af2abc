//! Phones with names of their own, under simulated time: flows, paths, GRUUs, the routes that phones are given, and
//! keep-alives.

use std::time::Duration;

use cusax_common::core::sip::typed::{Contact, Require, Route, ServiceRoute};
use cusax_common::core::sip::{Method, Status, Uri};
use cusax_tests::peer::phone::{Account, Manner, Phone, Stage};
use cusax_tests::sim::{Actor, SECOND, Scene, address, scene};

const INSTANCE: &str = "\"<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>\"";
const BOB: &str = "sip:bob.phone@sip.example.com";

fn lines(lines: &[(&str, &str)]) -> Vec<(String, String)> {
    lines
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Everybody is registered, Bob by a phone that knows all of this.
fn outbound(seed: u64) -> Scene {
    let mut scene = scene(seed);
    let bob = &mut scene.world.phones[scene.bob.0];
    bob.registering = lines(&[("Supported", "path, outbound, gruu")]);
    bob.contact_params = lines(&[("+sip.instance", INSTANCE), ("reg-id", "1")]);
    for phone in [scene.alice, scene.bob] {
        scene.world.act(phone, |phone, now| phone.register(now, 3600));
    }
    scene.world.run(SECOND);
    assert_eq!(scene.world.node.bindings(), 2);
    scene
}

/// The same device by a second flow, from another address.
fn second_flow(scene: &mut Scene, seed: u64) -> Actor {
    let local = scene.world.address();
    let account = Account {
        aor: BOB.into(),
        username: "bob.phone".into(),
        password: "bob-secret".into(),
    };
    let mut phone = Phone::new(address(21, 5070), local, Some(account), seed);
    phone.registering = lines(&[("Supported", "path, outbound, gruu")]);
    phone.contact_params = lines(&[("+sip.instance", INSTANCE), ("reg-id", "2")]);
    let second = scene.world.add(phone);
    scene.world.act(second, |phone, now| phone.register(now, 3600));
    scene.world.run(SECOND);
    assert_eq!(scene.world.node.bindings(), 3);
    second
}

#[test]
fn a_phone_with_two_flows_rings_once_and_by_the_other_one_when_the_first_has_failed() {
    for (manner, there) in [(Manner::Refuse(430), true), (Manner::Mute, true), (Manner::Busy, false)] {
        let mut scene = outbound(1);
        scene.world.run(SECOND);
        let second = second_flow(&mut scene, 77);
        // The flow that registered last comes first.
        scene.alice_calls(BOB);
        scene.world.run(5 * SECOND);
        assert_eq!(scene.stage(second), &Stage::Up);
        assert!(
            scene.world.phone(scene.bob).requests(&Method::Invite).is_empty(),
            "one at a time"
        );
        scene.world.act(scene.alice, |phone, now| phone.hang_up(now));
        scene.world.run(5 * SECOND);

        scene.world.phones[second.0].manner = manner;
        scene.alice_calls(BOB);
        scene.world.run(40 * SECOND);
        assert_eq!(scene.stage(scene.bob) == &Stage::Up, there, "{manner:?}");
        scene.world.act(scene.alice, |phone, now| phone.hang_up(now));
        scene.nothing_is_left();
    }
}

#[test]
fn a_gruu_rings_that_device_and_no_other() {
    let mut scene = outbound(2);
    // Another phone of Bob's, without a name.
    let local = scene.world.address();
    let account = scene.world.phone(scene.bob).account.clone();
    let desk = scene.world.add(Phone::new(address(22, 5070), local, account, 5));
    scene.world.act(desk, |phone, now| phone.register(now, 3600));
    scene.world.run(SECOND);
    let response = scene.world.phone(scene.bob).last_response();
    assert!(
        response
            .headers
            .one::<Require>()
            .is_ok_and(|require| require.has("outbound"))
    );
    let contact = &response.headers.list::<Contact>().expect("contacts")[0];
    for name in ["pub-gruu", "temp-gruu"] {
        let gruu = contact.params.unquoted(name).expect("a GRUU").into_owned();
        let before = scene.world.phone(desk).requests(&Method::Invite).len();
        scene.alice_calls(&gruu);
        scene.world.run(5 * SECOND);
        assert_eq!(scene.stage(scene.bob), &Stage::Up, "{name}");
        assert_eq!(
            scene.world.phone(desk).requests(&Method::Invite).len(),
            before,
            "{name}"
        );
        let invites = scene.world.phone(scene.bob).requests(&Method::Invite);
        let uri = invites.last().expect("it rang").uri.to_string();
        assert!(!uri.contains(";gr"), "{uri}: the phone is asked for by its own contact");
        scene.world.act(scene.alice, |phone, now| phone.hang_up(now));
        scene.world.run(5 * SECOND);
    }
    for (nobody, status) in [
        ("sip:tgruu.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA@sip.example.com;gr", 404),
        ("sip:bob.phone@sip.example.com;gr=0000", 480),
    ] {
        scene.alice_calls(nobody);
        scene.world.run(SECOND);
        assert_eq!(scene.stage(scene.alice), &Stage::Over(Some(status)), "{nobody}");
    }
}

#[test]
fn a_phone_behind_a_proxy_is_called_by_its_path_and_never_past_it() {
    let mut scene = scene(3);
    let bob = &mut scene.world.phones[scene.bob.0];
    let path = "<sip:edge.example.net;lr;ob>, <sip:10.66.66.66:6379;transport=tcp;lr>";
    bob.registering = lines(&[("Supported", "path"), ("Path", path)]);
    for phone in [scene.alice, scene.bob] {
        scene.world.act(phone, |phone, now| phone.register(now, 3600));
    }
    scene.world.run(SECOND);
    scene.world.wire = Some(Vec::new());
    scene.alice_calls(BOB);
    scene.world.run(5 * SECOND);
    assert_eq!(scene.stage(scene.bob), &Stage::Up);
    let invites = scene.world.phone(scene.bob).requests(&Method::Invite);
    let routes = invites[0].headers.list::<Route>().expect("routes");
    let routes: Vec<String> = routes.iter().map(|Route(route)| route.uri.to_string()).collect();
    assert_eq!(
        routes,
        ["sip:edge.example.net;lr;ob", "sip:10.66.66.66:6379;transport=tcp;lr"]
    );
    let known = [scene.alice, scene.bob].map(|actor| scene.world.phone(actor).address);
    let wire = scene.world.wire.take().expect("a capture");
    assert!(
        wire.iter()
            .all(|(from, to, _)| known.contains(from) || known.contains(to))
    );
}

#[test]
fn a_route_that_was_given_is_good_on_its_own_flow_alone() {
    let mut scene = outbound(4);
    let response = scene.world.phone(scene.bob).last_response();
    let ServiceRoute(given) = response.headers.list::<ServiceRoute>().expect("a route").remove(0);
    let Uri::Sip(route) = &given.uri else {
        panic!("{:?}", given.uri)
    };
    assert!(route.params.has("lr"));
    let uri = given.uri.to_string();
    let stolen = scene.world.phone(scene.alice).last_response();
    assert!(
        stolen
            .headers
            .list::<ServiceRoute>()
            .is_ok_and(|routes| routes.is_empty()),
        "she did not ask"
    );
    let forged = uri.replacen("sip:", "sip:A", 1);
    for (who, route, status) in [
        (scene.bob, uri.clone(), None),
        // Of a flow that is another's, or no longer the phone's: it registers again (RFC 5626 §4.3).
        (scene.alice, uri, Some(Status::FLOW_FAILED)),
        (scene.bob, forged, Some(Status::FORBIDDEN)),
        // A route that names the service and no flow is an outbound proxy of the phone's own configuration.
        (scene.bob, "sip:sip.example.com;lr".to_owned(), None),
    ] {
        scene.world.phones[who.0].extra = lines(&[("Route", &format!("<{route}>"))]);
        let callee = if who == scene.bob {
            "sip:alice.phone@sip.example.com"
        } else {
            BOB
        };
        scene.world.act(who, |phone, now| phone.call(now, callee));
        scene.world.run(5 * SECOND);
        match status {
            None => assert_eq!(scene.stage(who), &Stage::Up, "{route}"),
            Some(status) => assert_eq!(scene.stage(who), &Stage::Over(Some(status.code())), "{route}"),
        }
        scene.world.act(who, |phone, now| phone.hang_up(now));
        scene.world.run(5 * SECOND);
    }
}

#[test]
fn keepalives_are_answered_to_phones_that_registered() {
    let mut scene = outbound(5);
    let request = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[9; 12]].concat();
    let (bob, stranger) = (scene.world.phone(scene.bob).address, address(97, 5060));
    for (from, answers) in [(bob, 1), (stranger, 0)] {
        scene.world.wire = Some(Vec::new());
        scene.world.inject(from, request.clone());
        scene.world.run(SECOND);
        let wire = scene.world.wire.take().expect("a capture");
        let to_them: Vec<_> = wire.iter().filter(|(_, to, _)| *to == from).collect();
        assert_eq!(to_them.len(), answers, "{from}");
        assert!(to_them.iter().all(|(_, _, bytes)| bytes[..2] == [1, 1]));
    }
    assert_eq!(scene.world.node.counted(|counters| counters.keepalives), 2);
    scene.world.run(Duration::from_secs(4000));
    scene.world.wire = Some(Vec::new());
    scene.world.inject(bob, request);
    scene.world.run(SECOND);
    let wire = scene.world.wire.take().expect("a capture");
    assert!(wire.iter().all(|(_, to, _)| *to != bob), "the registration is over");
}
