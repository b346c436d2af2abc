//! How requests travel, under simulated time: too large for a datagram, secure or not at all, in circles, in breadth.

use cusax_b2bua::core::flow::{Flow, Identity, ListenerId, Transport};
use cusax_b2bua::core::settings::{Listener, Settings};
use cusax_common::core::sip::typed::{CallId, MaxBreadth, To, Via};
use cusax_common::core::sip::{Message, Method, Request, Status};
use cusax_common::core::user::Algorithm;
use cusax_tests::peer::phone::{Account, Manner, Phone, Stage};
use cusax_tests::sim::{Actor, SECOND, Scene, address};

const BOB: &str = "sip:bob.phone@sip.example.com";

fn with_tcp(settings: &mut Settings) {
    let udp = settings.listeners[0].clone();
    settings.listeners.push(Listener {
        transport: Transport::Tcp,
        ..udp
    });
}

fn large(scene: &mut Scene) {
    let filler = "x".repeat(1200);
    scene.world.phones[scene.alice.0].extra = vec![("X-Filler".into(), filler)];
}

fn transports(requests: &[&Request]) -> Vec<String> {
    let via = |request: &&Request| request.headers.first::<Via>().expect("a Via").transport.to_string();
    requests.iter().map(via).collect()
}

#[test]
fn what_is_too_large_for_a_datagram_goes_by_tcp() {
    let mut scene = Scene::registered_with(1, with_tcp);
    scene.alice_calls(BOB);
    scene.world.run(5 * SECOND);
    assert_eq!(
        transports(&scene.world.phone(scene.bob).requests(&Method::Invite)),
        ["UDP"]
    );
    scene.world.act(scene.alice, |phone, now| phone.hang_up(now));
    scene.world.run(5 * SECOND);

    large(&mut scene);
    scene.alice_calls(BOB);
    scene.world.run(5 * SECOND);
    assert_eq!(scene.stage(scene.bob), &Stage::Up);
    assert_eq!(
        transports(&scene.world.phone(scene.bob).requests(&Method::Invite)),
        ["UDP", "TCP"],
        "once, and by TCP"
    );
    scene.world.act(scene.alice, |phone, now| phone.hang_up(now));
    scene.nothing_is_left();
}

#[test]
fn where_nobody_takes_connections_it_goes_by_udp_after_all_and_that_is_remembered() {
    let mut scene = Scene::registered_with(2, with_tcp);
    scene.world.takes_connections = false;
    large(&mut scene);
    for calls in 1..=2 {
        scene.alice_calls(BOB);
        scene.world.run(5 * SECOND);
        assert_eq!(scene.stage(scene.bob), &Stage::Up);
        let invites = transports(&scene.world.phone(scene.bob).requests(&Method::Invite));
        assert_eq!(invites, vec!["UDP"; calls]);
        scene.world.act(scene.alice, |phone, now| phone.hang_up(now));
        scene.world.run(5 * SECOND);
    }
    scene.nothing_is_left();
    assert_eq!(scene.world.records.len(), 2);
}

#[test]
fn a_call_that_was_given_up_while_the_connection_was_tried_rings_nowhere() {
    let mut scene = Scene::registered_with(3, with_tcp);
    scene.world.takes_connections = false;
    large(&mut scene);
    scene.alice_calls(BOB);
    scene.world.run(SECOND / 4);
    assert_eq!(scene.world.media.len(), 1, "the connection is being tried");
    scene.world.act(scene.alice, |phone, now| phone.hang_up(now));
    scene.world.run(5 * SECOND);
    assert_eq!(scene.world.phone(scene.bob).requests(&Method::Invite).len(), 0);
    assert_eq!(scene.stage(scene.alice), &Stage::Over(Some(487)));
    scene.nothing_is_left();
}

#[test]
fn without_a_socket_for_tcp_it_goes_as_it_is() {
    let mut scene = Scene::registered(4);
    large(&mut scene);
    scene.alice_calls(BOB);
    scene.world.run(5 * SECOND);
    assert_eq!(scene.stage(scene.bob), &Stage::Up);
}

/// Alice's phone speaks TLS as far as the service can tell.
fn by_tls(scene: &mut Scene, actor: Actor) {
    let mut settings = scene.world.node.settings().clone();
    let listener = Listener {
        transport: Transport::Tls,
        algorithms: vec![Algorithm::Md5],
        ..settings.listeners[0].clone()
    };
    settings.listeners.push(listener);
    scene.world.node.handle_settings(settings.into());
    let remote = scene.world.phone(actor).address;
    scene.world.connect(remote, Transport::Tls, 1);
}

#[test]
fn a_secure_address_is_reached_securely_or_not_at_all() {
    const SECURE: &str = "sips:bob.phone@sip.example.com";
    let mut scene = Scene::registered(5);
    scene.alice_calls(SECURE);
    scene.world.run(SECOND);
    assert_eq!(
        scene.stage(scene.alice),
        &Stage::Over(Some(403)),
        "the first hop is not secure"
    );

    let alice = scene.alice;
    by_tls(&mut scene, alice);
    scene.alice_calls(SECURE);
    scene.world.run(SECOND);
    assert_eq!(scene.stage(scene.alice), &Stage::Over(Some(480)), "the last hop is not");
    assert!(scene.world.phone(scene.bob).requests(&Method::Invite).is_empty());
    scene.alice_calls("sips:+442079460000@sip.example.com");
    scene.world.run(SECOND);
    assert_eq!(
        scene.stage(scene.alice),
        &Stage::Over(Some(480)),
        "nor is the carrier's"
    );

    let bob = scene.world.phone(scene.bob).address;
    scene.world.connect(bob, Transport::Tls, 1);
    scene.world.act(scene.bob, |phone, now| phone.register(now, 3600));
    scene.world.run(SECOND);
    scene.alice_calls(SECURE);
    scene.world.run(5 * SECOND);
    assert_eq!(scene.stage(scene.bob), &Stage::Up);
    let contacts: Vec<String> = scene
        .world
        .phone(scene.alice)
        .heard
        .iter()
        .chain(&scene.world.phone(scene.bob).heard)
        .filter_map(|message| match message {
            Message::Request(request) => Some(&request.headers),
            Message::Response(response) if response.status == Status::OK => Some(&response.headers),
            Message::Response(_) => None,
        })
        .filter_map(|headers| headers.list::<cusax_common::core::sip::typed::Contact>().ok()?.pop())
        .map(|contact| contact.uri.to_string())
        .filter(|uri| uri.contains("cusax@"))
        .collect();
    assert!(
        contacts.len() >= 2 && contacts.iter().all(|uri| uri.starts_with("sips:")),
        "{contacts:?}"
    );
}

/// Behind a proxy nobody knows what is secure, unless the phone's own address says so.
#[test]
fn a_secure_address_behind_a_proxy_is_one_that_says_so() {
    for (secure_contact, status) in [(false, Some(480)), (true, None)] {
        let mut scene = Scene::registered(11);
        let (alice, bob) = (scene.alice, scene.bob);
        by_tls(&mut scene, alice);
        let remote = scene.world.phone(bob).address;
        scene.world.connect(remote, Transport::Tls, 1);
        let phone = &mut scene.world.phones[bob.0];
        phone.secure_contact = secure_contact;
        phone.registering = vec![
            ("Supported".into(), "path".into()),
            ("Path".into(), "<sip:edge.example.net;lr>".into()),
        ];
        scene.world.act(bob, |phone, now| phone.register(now, 0));
        scene.world.run(SECOND);
        scene.world.act(bob, |phone, now| phone.register(now, 3600));
        scene.world.run(SECOND);
        scene.alice_calls("sips:bob.phone@sip.example.com");
        scene.world.run(5 * SECOND);
        let expected = status.map_or(Stage::Up, |status| Stage::Over(Some(status)));
        assert_eq!(scene.stage(alice), &expected);
    }
}

/// Whoever makes up an address must not end a call that nobody can read along with.
#[test]
fn a_secure_call_is_not_changed_over_an_open_way() {
    let mut scene = Scene::registered(12);
    let alice = scene.alice;
    by_tls(&mut scene, alice);
    scene.alice_calls(BOB);
    scene.world.run(5 * SECOND);
    assert_eq!(scene.stage(scene.bob), &Stage::Up);
    let remote = scene.world.phone(alice).address;
    scene.world.connect(remote, Transport::Udp, 0);
    scene.world.act(alice, |phone, now| phone.hang_up(now));
    scene.world.run(5 * SECOND);
    assert_eq!(scene.stage(scene.bob), &Stage::Up, "the BYE came by UDP");
    assert_eq!(
        scene.world.phone(alice).last_response().status,
        Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST
    );
}

/// A REGISTER whose connection is gone before the store has answered makes no binding that nobody could reach.
#[test]
fn a_phone_whose_connection_is_gone_is_not_registered() {
    let mut scene = Scene::registered_with(13, with_tcp);
    let (bob, bindings) = (scene.bob, scene.world.node.bindings());
    scene.world.act(bob, |phone, now| phone.register(now, 0));
    scene.world.run(SECOND);
    scene.world.store_delay = SECOND / 2;
    let remote = scene.world.phone(bob).address;
    scene.world.connect(remote, Transport::Tcp, 1);
    scene.world.act(bob, |phone, now| phone.register(now, 3600));
    scene.world.run(SECOND / 4);
    let flow = Flow {
        listener: ListenerId(1),
        transport: Transport::Tcp,
        remote,
        identity: Identity::NONE,
    };
    let now = scene.world.now();
    scene.world.node.handle_closed(now, flow);
    // What the phone would send again goes nowhere: its connection is gone.
    scene.world.weather.loss = 1000;
    scene.world.run(5 * SECOND);
    assert_eq!(scene.world.node.bindings(), bindings - 1);
}

#[test]
fn a_secure_contact_is_not_registered_over_an_open_way() {
    let mut scene = Scene::registered(6);
    let (bindings, bob) = (scene.world.node.bindings(), scene.bob);
    scene.world.phones[bob.0].secure_contact = true;
    scene.world.act(bob, |phone, now| phone.register(now, 3600));
    scene.world.run(SECOND);
    assert_eq!(scene.world.phone(bob).last_response().status, Status::FORBIDDEN);
    assert_eq!(scene.world.node.bindings(), bindings);
}

/// A proxy of Bob's sends what it gets back to us with the Call-ID and From as they came, proved as Bob's.
#[test]
fn a_call_that_comes_back_ends() {
    for (changing, times) in [(false, 1), (true, 11)] {
        let mut scene = Scene::registered(7);
        let bob = scene.bob;
        scene.world.phones[bob.0].manner = Manner::Forward(changing);
        // Whoever names nobody may be anybody's.
        scene.world.phones[scene.alice.0].extra = vec![("Privacy".into(), "id".into())];
        scene.alice_calls(&format!("{BOB};x=first"));
        scene.world.run(30 * SECOND);
        let mut calls: Vec<String> = Vec::new();
        for request in scene.world.phone(bob).requests(&Method::Invite) {
            let call_id = request.headers.one::<CallId>().expect("a Call-ID").as_str().to_owned();
            if !calls.contains(&call_id) {
                calls.push(call_id);
            }
        }
        assert_eq!(calls.len(), times, "around");
        assert_eq!(scene.world.node.counted(|counters| counters.looped), 1);
        scene.world.act(scene.alice, |phone, now| phone.hang_up(now));
        scene.nothing_is_left();
    }
}

#[test]
fn no_more_branches_are_under_way_than_the_caller_allows() {
    let mut scene = Scene::registered(8);
    let local = scene.world.address();
    let account = Account {
        aor: BOB.into(),
        username: "bob.phone".into(),
        password: "bob-secret".into(),
    };
    let mut phones = vec![scene.bob];
    for last in 21..24 {
        let phone = scene.world.add(Phone::new(
            address(last, 5070),
            local,
            Some(account.clone()),
            last.into(),
        ));
        scene.world.act(phone, |phone, now| phone.register(now, 3600));
        phones.push(phone);
    }
    scene.world.run(SECOND);
    let rung = |scene: &Scene| -> Vec<Option<u32>> {
        let all = phones
            .iter()
            .flat_map(|phone| scene.world.phone(*phone).requests(&Method::Invite));
        let breadth = |request: &Request| {
            request
                .headers
                .opt::<MaxBreadth>()
                .expect("readable")
                .map(|given| given.0)
        };
        all.filter(|request| request.headers.one::<To>().is_ok_and(|to| to.tag().is_none()))
            .map(breadth)
            .collect()
    };
    // Nobody says anything: all four, and sixty branches between them.
    for phone in &phones {
        scene.world.phones[phone.0].manner = Manner::Busy;
    }
    scene.alice_calls(BOB);
    scene.world.run(5 * SECOND);
    assert_eq!(rung(&scene), [Some(15); 4]);
    for (allowed, first) in [("3", Some(1)), ("1", Some(1))] {
        for phone in &phones {
            scene.world.phones[phone.0].heard.clear();
            scene.world.phones[phone.0].manner = Manner::Ring;
        }
        scene.world.phones[scene.alice.0].extra = vec![("Max-Breadth".into(), allowed.into())];
        scene.alice_calls(BOB);
        scene.world.run(5 * SECOND);
        assert_eq!(
            rung(&scene),
            vec![first; allowed.parse().expect("a number")],
            "{allowed}"
        );
        scene.world.act(scene.alice, |phone, now| phone.hang_up(now));
        scene.world.run(40 * SECOND);
    }
    // One after the other is allowed.
    for phone in &phones {
        scene.world.phones[phone.0].heard.clear();
        scene.world.phones[phone.0].manner = Manner::Busy;
    }
    scene.alice_calls(BOB);
    scene.world.run(5 * SECOND);
    assert_eq!(rung(&scene).len(), 4);
    assert_eq!(scene.stage(scene.alice), &Stage::Over(Some(486)));
    scene.world.phones[scene.alice.0].extra = vec![("Max-Breadth".into(), "0".into())];
    scene.alice_calls(BOB);
    scene.world.run(SECOND);
    assert_eq!(scene.stage(scene.alice), &Stage::Over(Some(440)));
    scene.nothing_is_left();
}
