//! Early and confirmed dialogs, message by message: forks, reliable responses, UPDATE, session timers.

use std::time::Duration;

use cusax_b2bua::core::media::{MediaCommand, Side};
use cusax_common::core::record::Cause;
use cusax_common::core::sip::typed::{RAck, RSeq, Require, SessionExpires, Supported};
use cusax_common::core::sip::{HeaderName, Headers, Message, Method, Response};
use cusax_tests::sim::puppet::{Puppet, dialled, sdp};
use cusax_tests::sim::{SECOND, Scene, address, scene};

const RELIABLE: (&str, &str) = ("Supported", "100rel");
const REQUIRED: (&str, &str) = ("Require", "100rel");
const ALLOWED: (&str, &str) = ("Allow", "INVITE, ACK, BYE, CANCEL, PRACK, UPDATE");

struct Stage {
    scene: Scene,
    alice: Puppet,
    bob: Puppet,
}

/// Bob is registered, and Alice is not.
fn stage(seed: u64) -> Stage {
    let mut scene = scene(seed);
    let mut bob = Puppet::new(&mut scene.world, address(20, 5090), "bob");
    bob.register(&mut scene.world);
    let alice = Puppet::new(&mut scene.world, address(10, 5090), "alice");
    Stage { scene, alice, bob }
}

impl Stage {
    /// Alice calls Bob, who has heard it.
    fn calling(seed: u64, lines: &[(&str, &str)]) -> Self {
        let mut stage = stage(seed);
        let offer = sdp(stage.alice.address(), 1, 0);
        stage.alice.call(&mut stage.scene.world, &dialled("bob"), lines, &offer);
        stage.bob.hear(&mut stage.scene.world, Duration::ZERO);
        assert!(stage.bob.invite.is_some());
        stage.alice.hear(&mut stage.scene.world, Duration::ZERO);
        stage
    }

    /// They speak.
    fn up(seed: u64, alices: &[(&str, &str)], bobs: &[(&str, &str)]) -> (Self, Response) {
        let mut stage = Self::calling(seed, alices);
        let answer = stage.bobs(1, 0);
        stage.bob.answer(&mut stage.scene.world, 200, bobs, &answer);
        let told = stage.alice.told(&mut stage.scene.world, &Method::Invite);
        assert_eq!(codes(&told), [200]);
        stage.alice.acknowledge(&mut stage.scene.world, &told[0], "");
        assert_eq!(stage.bob.asked(&mut stage.scene.world, &Method::Ack).len(), 1);
        (stage, told[0].clone())
    }

    fn bobs(&self, version: u32, codec: u8) -> String {
        sdp(self.bob.address(), version, codec)
    }

    fn alices(&self, version: u32, codec: u8) -> String {
        sdp(self.alice.address(), version, codec)
    }

    /// Alice hangs up, and nothing is left.
    fn over(mut self, met: &Response) {
        let world = &mut self.scene.world;
        self.alice.request(world, Method::Bye, Some(met), &[], "");
        assert_eq!(codes(&self.alice.told(world, &Method::Bye)), [200]);
        let byes = self.bob.asked(world, &Method::Bye);
        for bye in &byes {
            self.bob.respond(world, bye, 200, &[], "");
        }
        self.done(Cause::CallerHungUp);
    }

    fn done(mut self, cause: Cause) {
        self.scene.world.run(64 * SECOND);
        assert_eq!(self.scene.world.node.calls(), 0);
        for (table, left) in self.scene.world.node.leftovers() {
            assert_eq!(left, 0, "{table}");
        }
        let causes: Vec<Cause> = self.scene.world.records.iter().map(|record| record.cause).collect();
        assert_eq!(causes, [cause]);
    }
}

fn codes(responses: &[Response]) -> Vec<u16> {
    responses.iter().map(|response| response.status.code()).collect()
}

fn tag(response: &Response) -> String {
    response.headers.to().expect("a To").tag().expect("a tag").to_owned()
}

fn is_reliable(headers: &Headers) -> bool {
    let required = matches!(headers.opt::<Require>(), Ok(Some(require)) if require.has("100rel"));
    assert_eq!(required, headers.opt::<RSeq>().is_ok_and(|rseq| rseq.is_some()));
    required
}

fn codec(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body).into_owned();
    let line = text
        .lines()
        .find(|line| line.starts_with("m=audio"))
        .unwrap_or_default();
    line.rsplit(' ').next().unwrap_or_default().to_owned()
}

/// Each leg has reliable responses by what its own peer can (RFC 3262 §3, §4).
#[test]
fn reliable_responses_are_each_legs_own() {
    for (caller, callee) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut stage = Stage::calling(1, if caller { &[RELIABLE] } else { &[] });
        let world = &mut stage.scene.world;
        let invite = stage.bob.invite.clone().unwrap();
        assert!(invite.headers.one::<Supported>().unwrap().has("100rel"));
        let answer = sdp(stage.bob.address(), 1, 0);
        let lines: &[(&str, &str)] = if callee { &[REQUIRED, ("RSeq", "7")] } else { &[] };
        stage.bob.answer(world, 183, lines, &answer);
        let pracks = stage.bob.asked(world, &Method::Prack);
        assert_eq!(pracks.len(), usize::from(callee), "{caller} {callee}");
        for prack in &pracks {
            let rack: RAck = prack.headers.one().unwrap();
            assert_eq!((rack.rseq, rack.cseq.method), (7, Method::Invite));
            assert!(prack.body.is_empty());
            stage.bob.respond(world, prack, 200, &[], "");
        }
        let told = stage.alice.told(world, &Method::Invite);
        assert_eq!(codes(&told), [183], "{caller} {callee}");
        assert!(!told[0].body.is_empty());
        assert_eq!(is_reliable(&told[0].headers), caller);
        if caller {
            stage.alice.prack(world, &told[0], "");
            assert_eq!(codes(&stage.alice.told(world, &Method::Prack)), [200]);
        }
        let last = if callee { "" } else { &answer };
        stage.bob.answer(world, 200, &[], last);
        let told = stage.alice.told(world, &Method::Invite);
        assert_eq!(codes(&told), [200]);
        assert_eq!(told[0].body.is_empty(), caller, "what was agreed on is not said again");
        stage.alice.acknowledge(world, &told[0], "");
        assert_eq!(stage.bob.asked(world, &Method::Ack).len(), 1);
        stage.over(&told[0]);
    }
}

/// RFC 3262 §4: a copy is not heard, nor one before its turn.
#[test]
fn a_callees_responses_are_heard_once_and_in_order() {
    let mut stage = Stage::calling(2, &[]);
    let world = &mut stage.scene.world;
    for (rseq, pracked) in [("3", 1), ("3", 0), ("5", 0), ("4", 1), ("5", 1)] {
        stage.bob.answer(world, 180, &[REQUIRED, ("RSeq", rseq)], "");
        let pracks = stage.bob.asked(world, &Method::Prack);
        assert_eq!(pracks.len(), pracked, "{rseq}");
        for prack in &pracks {
            stage.bob.respond(world, prack, 200, &[], "");
        }
        assert_eq!(stage.alice.told(world, &Method::Invite).len(), pracked, "{rseq}");
    }
}

/// RFC 3262 §3: T1, doubled, for 64*T1; then the INVITE fails, and so does what was asked for on its behalf.
#[test]
fn an_unacknowledged_response_fails_the_call() {
    let mut stage = Stage::calling(3, &[("Require", "100rel")]);
    let world = &mut stage.scene.world;
    stage.bob.answer(world, 180, &[], "");
    let mut said = Vec::new();
    for _ in 0..330 {
        let told = stage.alice.told_in(world, Duration::from_millis(100), &Method::Invite);
        said.extend(codes(&told));
        if said.contains(&500) {
            break;
        }
    }
    assert_eq!(
        said,
        [180, 180, 180, 180, 180, 180, 180, 500],
        "as often as T1 doubled fits"
    );
    assert_eq!(stage.bob.asked(world, &Method::Cancel).len(), 1);
    stage.bob.answer(world, 487, &[], "");
    stage.done(Cause::PeerFailed);
}

#[test]
fn a_prack_for_nothing_changes_nothing() {
    let mut stage = Stage::calling(4, &[RELIABLE]);
    let world = &mut stage.scene.world;
    let answer = sdp(stage.bob.address(), 1, 0);
    stage.bob.answer(world, 183, &[], &answer);
    let told = stage.alice.told(world, &Method::Invite);
    let RSeq(rseq) = told[0].headers.one().unwrap();
    for (rack, status) in [
        (format!("{} 1 INVITE", rseq + 1), 481),
        (format!("{rseq} 99 INVITE"), 481),
        ("1 INVITE".to_owned(), 400),
    ] {
        stage
            .alice
            .request(world, Method::Prack, Some(&told[0]), &[("RAck", &rack)], "");
        assert_eq!(codes(&stage.alice.told(world, &Method::Prack)), [status], "{rack}");
    }
    // The answer waits for the right one.
    stage.bob.answer(world, 200, &[], &answer);
    assert!(!codes(&stage.alice.told(world, &Method::Invite)).contains(&200));
    stage.alice.prack(world, &told[0], "");
    let heard = stage.alice.told(world, &Method::Invite);
    assert_eq!(codes(&heard), [200]);
    stage.alice.acknowledge(world, &heard[0], "");
    stage.over(&heard[0]);
}

/// Who hangs up while the answer waits for a PRACK is not left with a callee who talks to nobody.
#[test]
fn a_call_given_up_before_its_prack_is_hung_up_at_the_callee() {
    let mut stage = Stage::calling(5, &[RELIABLE]);
    let world = &mut stage.scene.world;
    let answer = sdp(stage.bob.address(), 1, 0);
    stage.bob.answer(world, 183, &[], &answer);
    let told = stage.alice.told(world, &Method::Invite);
    stage.bob.answer(world, 200, &[], &answer);
    assert_eq!(stage.bob.asked(world, &Method::Ack).len(), 1);
    stage.alice.request(world, Method::Bye, Some(&told[0]), &[], "");
    let byes = stage.bob.asked(world, &Method::Bye);
    assert_eq!(byes.len(), 1);
    stage.bob.respond(world, &byes[0], 200, &[], "");
    assert!(codes(&stage.alice.told(world, &Method::Invite)).contains(&487));
    stage.done(Cause::CallerHungUp);
}

/// RFC 3262 §5, RFC 6337 §2.2: an offer in a reliable response is answered in its PRACK, on either leg.
#[test]
fn a_late_offer_may_come_before_the_answer() {
    let mut stage = stage(6);
    let world = &mut stage.scene.world;
    stage.alice.call(world, &dialled("bob"), &[RELIABLE], "");
    stage.bob.hear(world, Duration::ZERO);
    let invite = stage.bob.invite.clone().unwrap();
    assert!(invite.body.is_empty() && invite.headers.one::<Supported>().unwrap().has("100rel"));
    stage.alice.hear(world, Duration::ZERO);
    let offer = sdp(stage.bob.address(), 1, 8);
    stage.bob.answer(world, 183, &[REQUIRED, ("RSeq", "1")], &offer);
    let told = stage.alice.told(world, &Method::Invite);
    assert!(is_reliable(&told[0].headers));
    assert_eq!(codec(&told[0].body), "8");
    assert!(
        stage.bob.asked(world, &Method::Prack).is_empty(),
        "there is no answer yet"
    );
    let answer = sdp(stage.alice.address(), 1, 8);
    stage.alice.prack(world, &told[0], &answer);
    assert_eq!(codes(&stage.alice.told(world, &Method::Prack)), [200]);
    let pracks = stage.bob.asked(world, &Method::Prack);
    assert_eq!((pracks.len(), codec(&pracks[0].body).as_str()), (1, "8"));
    stage.bob.respond(world, &pracks[0], 200, &[], "");
    stage.bob.answer(world, 200, &[], "");
    let told = stage.alice.told(world, &Method::Invite);
    assert_eq!((codes(&told), told[0].body.is_empty()), (vec![200], true));
    stage.alice.acknowledge(world, &told[0], "");
    stage.over(&told[0]);
}

/// A caller who cannot answer early is not shown what could only be answered early.
#[test]
fn a_late_offer_without_100rel_comes_with_the_answer() {
    let mut stage = stage(7);
    let world = &mut stage.scene.world;
    stage.alice.call(world, &dialled("bob"), &[], "");
    stage.bob.hear(world, Duration::ZERO);
    let invite = stage.bob.invite.clone().unwrap();
    assert!(!invite.headers.one::<Supported>().unwrap().has("100rel"));
    stage.alice.hear(world, Duration::ZERO);
    let offer = sdp(stage.bob.address(), 1, 8);
    stage.bob.answer(world, 200, &[], &offer);
    let told = stage.alice.told(world, &Method::Invite);
    assert_eq!((codes(&told), codec(&told[0].body).as_str()), (vec![200], "8"));
    assert!(
        stage.bob.asked(world, &Method::Ack).is_empty(),
        "the answer is not there yet"
    );
    let answer = sdp(stage.alice.address(), 1, 8);
    stage.alice.acknowledge(world, &told[0], &answer);
    let acks = stage.bob.asked(world, &Method::Ack);
    assert_eq!(codec(&acks[0].body), "8");
    stage.over(&told[0]);
}

/// RFC 3261 §13.2.2.4: each branch is a dialog for the caller too; one wins, and what answers later is hung up.
#[test]
fn branches_behind_a_callee_are_dialogs_of_their_own() {
    let mut stage = Stage::calling(8, &[]);
    let world = &mut stage.scene.world;
    let mut tags = Vec::new();
    for (branch, codec_of) in [("desk", 0), ("door", 8), ("cellar", 0)] {
        stage.bob.tag = branch.into();
        let answer = sdp(stage.bob.address(), 1, codec_of);
        stage.bob.answer(world, 183, &[], &answer);
        let told = stage.alice.told(world, &Method::Invite);
        assert_eq!((codes(&told), codec(&told[0].body)), (vec![183], codec_of.to_string()));
        tags.push(tag(&told[0]));
    }
    assert!(
        tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2],
        "{tags:?}"
    );
    stage.bob.tag = "door".into();
    let answer = sdp(stage.bob.address(), 1, 8);
    stage.bob.answer(world, 200, &[], &answer);
    let told = stage.alice.told(world, &Method::Invite);
    assert_eq!((codes(&told), tag(&told[0])), (vec![200], tags[1].clone()));
    stage.alice.acknowledge(world, &told[0], "");
    assert_eq!(stage.bob.asked(world, &Method::Ack).len(), 1);
    for branch in ["cellar", "garage"] {
        stage.bob.tag = branch.into();
        stage.bob.answer(world, 200, &[], &answer);
        let heard: Vec<_> = stage.bob.hear(world, Duration::from_millis(300));
        let methods: Vec<String> = heard
            .iter()
            .filter_map(|message| match message {
                Message::Request(request) => {
                    assert_eq!(request.headers.to().unwrap().tag(), Some(branch));
                    Some(request.method.to_string())
                }
                Message::Response(_) => None,
            })
            .collect();
        assert_eq!(methods, ["ACK", "BYE"], "{branch}");
        for message in heard {
            if let Message::Request(request) = message
                && request.method == Method::Bye
            {
                stage.bob.respond(world, &request, 200, &[], "");
            }
        }
    }
    stage.bob.tag = "door".into();
    stage.over(&told[0]);
}

/// The same when nobody has won: what answers after the CANCEL is hung up, branch for branch.
#[test]
fn branches_of_a_call_that_was_given_up_are_hung_up() {
    let mut stage = Stage::calling(19, &[]);
    let world = &mut stage.scene.world;
    for branch in ["desk", "door", "cellar"] {
        stage.bob.tag = branch.into();
        stage.bob.answer(world, 180, &[], "");
    }
    let told = stage.alice.told(world, &Method::Invite);
    stage.alice.request(world, Method::Bye, Some(&told[0]), &[], "");
    assert_eq!(stage.bob.asked(world, &Method::Cancel).len(), 1);
    let answer = sdp(stage.bob.address(), 1, 0);
    for branch in ["door", "desk", "garage"] {
        stage.bob.tag = branch.into();
        stage.bob.answer(world, 200, &[], &answer);
        let asked = stage.bob.hear(world, Duration::from_millis(300));
        let mut methods = Vec::new();
        for message in asked {
            let Message::Request(request) = message else { continue };
            methods.push(request.method.to_string());
            if request.method == Method::Bye {
                stage.bob.respond(world, &request, 200, &[], "");
            }
        }
        // The CANCEL itself has no answer here, and comes again.
        methods.retain(|method| method != "CANCEL");
        assert_eq!(methods, ["ACK", "BYE"], "{branch}");
    }
    stage.done(Cause::Cancelled);
}

/// RFC 3311: once offer and answer are done reliably, either side may offer anew before the call is answered.
#[test]
fn an_update_crosses_an_early_dialog() {
    let mut stage = Stage::calling(9, &[RELIABLE, ALLOWED]);
    let world = &mut stage.scene.world;
    let answer = sdp(stage.bob.address(), 1, 0);
    stage
        .bob
        .answer(world, 183, &[REQUIRED, ("RSeq", "1"), ALLOWED], &answer);
    let pracks = stage.bob.asked(world, &Method::Prack);
    stage.bob.respond(world, &pracks[0], 200, &[], "");
    let told = stage.alice.told(world, &Method::Invite);
    let again = sdp(stage.alice.address(), 2, 8);
    stage.alice.request(world, Method::Update, Some(&told[0]), &[], &again);
    let updates = stage.bob.asked(world, &Method::Update);
    assert_eq!((updates.len(), codec(&updates[0].body).as_str()), (1, "8"));
    // Both at once: the second is told to wait (§5.2).
    let mine = sdp(stage.bob.address(), 2, 0);
    stage.bob.request(world, Method::Update, None, &[], &mine);
    assert_eq!(codes(&stage.bob.told(world, &Method::Update)), [491]);
    let answer = sdp(stage.bob.address(), 2, 8);
    stage.bob.respond(world, &updates[0], 200, &[], &answer);
    let answered = stage.alice.told(world, &Method::Update);
    assert_eq!((codes(&answered), codec(&answered[0].body).as_str()), (vec![200], "8"));
    // Before her PRACK nothing can be offered to the caller; afterwards it can.
    stage.alice.prack(world, &told[0], "");
    assert_eq!(codes(&stage.alice.told(world, &Method::Prack)), [200]);
    stage.bob.request(world, Method::Update, None, &[], &mine);
    let updates = stage.alice.asked(world, &Method::Update);
    let answer = sdp(stage.alice.address(), 3, 0);
    stage.alice.respond(world, &updates[0], 200, &[], &answer);
    assert_eq!(codes(&stage.bob.told(world, &Method::Update)), [200]);
    stage.bob.answer(world, 200, &[], "");
    let told = stage.alice.told(world, &Method::Invite);
    stage.alice.acknowledge(world, &told[0], "");
    stage.over(&told[0]);
}

#[test]
fn what_cannot_be_offered_now_is_put_off() {
    // Nothing was agreed on yet: the callee's description may still be lost.
    let mut stage = Stage::calling(10, &[ALLOWED]);
    let answer = stage.bobs(1, 0);
    let again = stage.alices(2, 8);
    let world = &mut stage.scene.world;
    stage.bob.answer(world, 183, &[ALLOWED], &answer);
    let told = stage.alice.told(world, &Method::Invite);
    stage.alice.request(world, Method::Update, Some(&told[0]), &[], &again);
    let refused = stage.alice.told(world, &Method::Update);
    assert_eq!(codes(&refused), [500]);
    assert!(refused[0].headers.get(&"Retry-After".parse().unwrap()).is_some());
    stage.bob.request(world, Method::Update, None, &[], &answer);
    assert_eq!(codes(&stage.bob.told(world, &Method::Update)), [491]);
    assert!(stage.bob.asked(world, &Method::Update).is_empty());
}

/// RFC 3262 §5: a PRACK may offer anew; the callee hears it as UPDATE, and the caller its answer in the 200.
#[test]
fn an_offer_in_a_prack_is_an_update_at_the_callee() {
    for (lines, status) in [
        (&[REQUIRED, ("RSeq", "1"), ALLOWED][..], 200),
        (&[REQUIRED, ("RSeq", "1")], 488),
    ] {
        let mut stage = Stage::calling(11, &[RELIABLE]);
        let (answer, again) = (stage.bobs(1, 0), stage.alices(2, 8));
        let world = &mut stage.scene.world;
        stage.bob.answer(world, 183, lines, &answer);
        let pracks = stage.bob.asked(world, &Method::Prack);
        stage.bob.respond(world, &pracks[0], 200, &[], "");
        let told = stage.alice.told(world, &Method::Invite);
        stage.alice.prack(world, &told[0], &again);
        for update in stage.bob.asked(world, &Method::Update) {
            assert_eq!(codec(&update.body), "8");
            let answer = sdp(stage.bob.address(), 2, 8);
            stage.bob.respond(world, &update, 200, &[], &answer);
        }
        let answered = stage.alice.told(world, &Method::Prack);
        assert_eq!(codes(&answered), [status]);
        assert_eq!(codec(&answered[0].body), if status == 200 { "8" } else { "" });
        stage.bob.answer(world, 200, &[], "");
        let told = stage.alice.told(world, &Method::Invite);
        stage.alice.acknowledge(world, &told[0], "");
        stage.over(&told[0]);
    }
}

/// A request that says nothing new ends here; each leg has a timer of its own.
#[test]
fn what_only_refreshes_does_not_cross() {
    let (mut stage, met) = Stage::up(12, &[("Supported", "timer")], &[]);
    let same = stage.alices(1, 0);
    let world = &mut stage.scene.world;
    let lines = [("Supported", "timer"), ("Session-Expires", "600;refresher=uac")];
    for (method, body) in [(Method::Update, ""), (Method::Invite, &same)] {
        stage.alice.request(world, method.clone(), Some(&met), &lines, body);
        let told = stage.alice.told(world, &method);
        assert_eq!(codes(&told), [200], "{method}");
        let expires: SessionExpires = told[0].headers.one().unwrap();
        assert_eq!((expires.seconds, expires.params.value("refresher")), (600, Some("uac")));
        assert_eq!(told[0].body.is_empty(), body.is_empty());
        if method == Method::Invite {
            assert_eq!(codec(&told[0].body), "0");
            stage.alice.acknowledge(world, &told[0], "");
        }
        assert!(stage.bob.asked(world, &method).is_empty(), "{method}");
    }
    let brief = [("Supported", "timer"), ("Session-Expires", "60")];
    stage.alice.request(world, Method::Update, Some(&met), &brief, "");
    let told = stage.alice.told(world, &Method::Update);
    assert_eq!(
        (codes(&told), told[0].headers.get(&"Min-SE".parse().unwrap()).is_some()),
        (vec![422], true)
    );
    stage.over(&met);
}

/// RFC 4028: whoever does not refresh is refreshed, by what it takes; whoever does not answer is hung up.
#[test]
fn sessions_are_refreshed_or_end() {
    let (mut stage, met) = Stage::up(13, &[], &[ALLOWED]);
    let world = &mut stage.scene.world;
    let before = met.headers.get(&"Session-Expires".parse().unwrap()).is_some();
    assert!(!before, "who does not know timers is not told of them");
    let described = met.body.clone();
    for round in 0..3 {
        let (mut updates, mut invites) = (0, 0);
        for _ in 0..9_000 {
            for update in stage.bob.hear(world, Duration::from_millis(100)) {
                if let Message::Request(request) = update {
                    assert_eq!((&request.method, request.body.len()), (&Method::Update, 0));
                    updates += 1;
                    stage.bob.respond(world, &request, 200, &[], "");
                }
            }
            for message in stage.alice.hear(world, Duration::ZERO) {
                match message {
                    Message::Request(request) if request.method == Method::Invite => {
                        invites += 1;
                        assert_eq!(request.body, described, "nothing changes");
                        let same = sdp(stage.alice.address(), 1, 0);
                        stage.alice.respond(world, &request, 200, &[], &same);
                    }
                    _ => {}
                }
            }
        }
        assert_eq!((updates, invites), (1, 1), "in round {round}");
    }
    assert_eq!(stage.scene.world.node.calls(), 1);
    // Nobody answers any more.
    stage.scene.world.run(1000 * SECOND);
    stage.done(Cause::PeerFailed);
}

/// A callee that wants longer sessions, or began a change at the same time, is asked again.
#[test]
fn a_refresh_that_is_refused_is_asked_for_again() {
    let (mut stage, met) = Stage::up(
        14,
        &[("Supported", "timer"), ("Session-Expires", "1800;refresher=uac")],
        &[ALLOWED],
    );
    let world = &mut stage.scene.world;
    let mut seen = Vec::new();
    let mut refusals = [
        (491, ("X-Nothing", "1")),
        (422, ("Min-SE", "2400")),
        (500, ("X-Nothing", "1")),
    ]
    .into_iter();
    for _ in 0..9_300 {
        for message in stage.bob.hear(world, Duration::from_millis(100)) {
            if let Message::Request(request) = message {
                let expires: SessionExpires = request.headers.one().unwrap();
                seen.push(expires.seconds);
                match refusals.next() {
                    Some((code, line)) => stage.bob.respond(world, &request, code, &[line], ""),
                    None => stage.bob.respond(world, &request, 200, &[], ""),
                }
            }
        }
    }
    assert_eq!(seen, [1800, 1800, 2400, 2400]);
    stage.over(&met);
}

/// RFC 7989 §7: the session has one name from end to end, whoever speaks.
#[test]
fn a_session_has_one_name() {
    const ALICE: &str = "ab30317f1a784dc48ff824d0d3715d86";
    const BOB: &str = "47755a9de7794ba387653f2099600ef2";
    const NIL: &str = "00000000000000000000000000000000";
    let named = |headers: &Headers| {
        headers
            .get(&HeaderName::SESSION_ID)
            .map(|value| value.to_text().into_owned())
    };
    let lines = [("Session-ID", &*format!("{ALICE};remote={NIL}"))];
    let mut stage = Stage::calling(15, &lines);
    let world = &mut stage.scene.world;
    let invite = stage.bob.invite.clone().expect("a call");
    assert_eq!(named(&invite.headers), Some(format!("{ALICE};remote={NIL}")));
    let (answer, said) = (sdp(stage.bob.address(), 1, 0), format!("{BOB};remote={ALICE}"));
    stage.bob.answer(world, 180, &[], "");
    let told = stage.alice.told(world, &Method::Invite);
    assert_eq!(named(&told[0].headers), Some(format!("{NIL};remote={ALICE}")));
    stage.bob.answer(world, 200, &[("Session-ID", &said)], &answer);
    let told = stage.alice.told(world, &Method::Invite);
    assert_eq!(named(&told[0].headers), Some(said));
    let acks = stage.bob.asked(world, &Method::Ack);
    assert_eq!(named(&acks[0].headers), Some(format!("{ALICE};remote={BOB}")));
    stage.alice.acknowledge(world, &told[0], "");
    stage.alice.request(world, Method::Bye, Some(&told[0]), &[], "");
    let byes = stage.bob.asked(world, &Method::Bye);
    assert_eq!(named(&byes[0].headers), Some(format!("{ALICE};remote={BOB}")));
    stage.bob.respond(world, &byes[0], 200, &[], "");
    stage.done(Cause::CallerHungUp);
}

/// The drafts' correlation of calls and chats: a thread crosses, a JID only if it is the speaker's own, and both only in
/// INVITE and 2xx.
#[test]
fn a_call_may_name_its_chat() {
    let named = |headers: &Headers| {
        let text = |name| {
            headers
                .get(&name)
                .map(|value| value.to_text().into_owned())
                .unwrap_or_default()
        };
        (text(HeaderName::XMPP_THREAD), text(HeaderName::XMPP_CONTACT))
    };
    for (who, crosses) in [("alice", true), ("mallory", false)] {
        let contact = format!("<xmpp:{who}@example.com/orchard>;1@example");
        let mut stage = Stage::calling(16, &[("XMPP-Thread", "chat1"), ("XMPP-Contact", &contact)]);
        let world = &mut stage.scene.world;
        let invite = stage.bob.invite.clone().expect("a call");
        let kept = if crosses { contact.as_str() } else { "" };
        assert_eq!(named(&invite.headers), ("chat1".to_owned(), kept.to_owned()));
        let answer = sdp(stage.bob.address(), 1, 0);
        let lines = [("XMPP-Thread", "chat1"), ("XMPP-Contact", "xmpp:bob@example.com")];
        for (code, body) in [(180, ""), (200, &*answer)] {
            stage.bob.answer(world, code, &lines, body);
            let told = stage.alice.told(world, &Method::Invite);
            let due = if code == 200 {
                (lines[0].1, lines[1].1)
            } else {
                ("", "")
            };
            assert_eq!(named(&told[0].headers), (due.0.to_owned(), due.1.to_owned()), "{code}");
            if code == 200 {
                stage.alice.acknowledge(world, &told[0], "");
                stage.alice.request(world, Method::Bye, Some(&told[0]), &[], "");
            }
        }
    }
}

/// A callee that never answers our PRACKs fills no table of ours.
#[test]
fn reliable_responses_without_end_are_not_all_heard() {
    let mut stage = Stage::calling(17, &[]);
    let world = &mut stage.scene.world;
    for rseq in 1..=100 {
        let rseq = rseq.to_string();
        stage.bob.answer(world, 180, &[REQUIRED, ("RSeq", &rseq)], "");
    }
    world.run(SECOND);
    let transactions = world.node.transactions();
    assert!(transactions < 30, "{transactions}");
}

/// Whoever answers a refresh from elsewhere is sent its media there.
#[test]
fn a_peer_may_move_when_it_is_refreshed() {
    let (mut stage, met) = Stage::up(18, &[], &[]);
    let world = &mut stage.scene.world;
    let refresh = (0..10_000).find_map(|_| {
        let heard = stage.alice.hear(world, Duration::from_millis(100));
        heard.into_iter().find_map(|message| match message {
            Message::Request(request) => Some(request),
            Message::Response(_) => None,
        })
    });
    let refresh = refresh.expect("half of the interval has passed");
    let moved = sdp(stage.alice.address(), 2, 0).replace("m=audio 4000", "m=audio 4444");
    let before = world.commands.len();
    stage.alice.respond(world, &refresh, 200, &[], &moved);
    world.run(SECOND);
    let aimed = world.commands[before..].iter().any(|(_, command)| {
        matches!(command, MediaCommand::Aim { side: Side::Caller, target, .. }
            if target.rtp.is_some_and(|rtp| rtp.port() == 4444))
    });
    assert!(aimed, "{:?}", &world.commands[before..]);
    stage.over(&met);
}

/// RFC 3261 §12.1: each early dialog numbers its requests from the INVITE's number, whatever was said in the others.
#[test]
fn early_dialogs_have_numbers_of_their_own() {
    let mut stage = Stage::calling(20, &[RELIABLE, ALLOWED]);
    let answer = stage.bobs(1, 0);
    let world = &mut stage.scene.world;
    let first = stage.alice.invite.as_ref().expect("a call").cseq().expect("a CSeq").seq;
    for branch in ["desk", "door"] {
        stage.bob.tag = branch.into();
        stage.bob.answer(world, 183, &[], &answer);
        let told = stage.alice.told(world, &Method::Invite);
        let RSeq(rseq) = told[0].headers.one().expect("an RSeq");
        let rack = format!("{rseq} {first} INVITE");
        // The next number in this dialog, as a phone counts that has one counter for each.
        let met = Some(&told[0]);
        stage
            .alice
            .numbered(world, Method::Prack, first + 1, met, &[("RAck", &rack)], "");
        assert_eq!(codes(&stage.alice.told(world, &Method::Prack)), [200], "{branch}");
    }
    // The callee's branches likewise.
    for (branch, number) in [("desk", 5000), ("door", 1), ("cellar", 1)] {
        stage.bob.tag = branch.into();
        stage.bob.answer(world, 183, &[], &answer);
        stage.bob.numbered(world, Method::Options, number, None, &[], "");
        assert_eq!(codes(&stage.bob.told(world, &Method::Options)), [200], "{branch}");
    }
}

/// RFC 3262 §3: a PRACK that crosses the answer is taken, for a 481 would end the dialog that was just made.
#[test]
fn a_prack_may_cross_the_answer() {
    let mut stage = Stage::calling(21, &[("Require", "100rel")]);
    let answer = stage.bobs(1, 0);
    let world = &mut stage.scene.world;
    stage.bob.answer(world, 180, &[], "");
    let ringing = stage.alice.told(world, &Method::Invite);
    assert!(is_reliable(&ringing[0].headers));
    stage.bob.answer(world, 200, &[], &answer);
    let told = stage.alice.told(world, &Method::Invite);
    assert_eq!(codes(&told), [200]);
    stage.alice.prack(world, &ringing[0], "");
    assert_eq!(codes(&stage.alice.told(world, &Method::Prack)), [200]);
    stage.alice.acknowledge(world, &told[0], "");
    stage.over(&told[0]);
}

/// A 2xx that names no dialog is a failure: nothing waits for ever, and nothing is left.
#[test]
fn an_answer_without_a_tag_is_a_failure() {
    let mut stage = Stage::calling(22, &[]);
    let answer = stage.bobs(1, 0);
    let world = &mut stage.scene.world;
    stage.bob.tag = String::new();
    stage.bob.answer(world, 200, &[], &answer);
    assert_eq!(codes(&stage.alice.told(world, &Method::Invite)), [480]);
    stage.done(Cause::Unreachable);
}

/// What was refused is not said again, neither by whoever refreshes nor to whoever does.
#[test]
fn a_refused_change_leaves_no_trace() {
    let (mut stage, met) = Stage::up(23, &[], &[]);
    let agreed = met.body.clone();
    let world = &mut stage.scene.world;
    let told = stage.bob.invite.clone().expect("a call").body;
    let more = sdp(stage.alice.address(), 2, 0) + "m=video 4002 RTP/AVP 31\r\n";
    stage.alice.request(world, Method::Invite, Some(&met), &[], &more);
    let asked = stage.bob.asked(world, &Method::Invite);
    assert_ne!(asked[0].body, told);
    stage.bob.respond(world, &asked[0], 488, &[], "");
    assert_eq!(codes(&stage.alice.told(world, &Method::Invite)), [488]);
    let same = sdp(stage.bob.address(), 1, 0);
    stage.bob.request(world, Method::Invite, None, &[], &same);
    let answered = stage.bob.told(world, &Method::Invite);
    assert_eq!(
        (codes(&answered), &answered[0].body),
        (vec![200], &told),
        "as it was before"
    );
    stage.bob.acknowledge(world, &answered[0], "");
    assert_eq!(agreed, met.body);
    stage.over(&met);
}

/// What is said in the dialog of a phone that lost is nothing to the call with the one that won.
#[test]
fn a_losers_silence_ends_nothing() {
    let mut stage = Stage::calling(24, &[RELIABLE, ALLOWED]);
    let (answer, again) = (stage.bobs(1, 0), stage.alices(2, 8));
    let world = &mut stage.scene.world;
    stage.bob.tag = "desk".into();
    stage
        .bob
        .answer(world, 183, &[REQUIRED, ("RSeq", "1"), ALLOWED], &answer);
    let pracks = stage.bob.asked(world, &Method::Prack);
    stage.bob.respond(world, &pracks[0], 200, &[], "");
    let told = stage.alice.told(world, &Method::Invite);
    stage.alice.prack(world, &told[0], "");
    stage.alice.told(world, &Method::Prack);
    stage.alice.request(world, Method::Update, Some(&told[0]), &[], &again);
    let updates = stage.bob.asked(world, &Method::Update);
    assert_eq!(updates.len(), 1);
    stage.bob.tag = "door".into();
    stage.bob.answer(world, 200, &[], &answer);
    let heard = stage.alice.hear(world, Duration::from_millis(300));
    let mut responses = Vec::new();
    for message in heard {
        if let Message::Response(response) = message {
            responses.push(response);
        }
    }
    let mut said = codes(&responses);
    said.sort_unstable();
    assert_eq!(
        said,
        [200, 487],
        "the call is answered, and so is the UPDATE of the dialog that is over"
    );
    let met = responses
        .iter()
        .find(|response| response.status.is_success())
        .expect("a 200")
        .clone();
    stage.alice.acknowledge(world, &met, "");
    stage.bob.tag = "desk".into();
    stage.bob.respond(world, &updates[0], 481, &[], "");
    world.run(SECOND);
    assert_eq!(world.node.calls(), 1);
    assert!(stage.bob.asked(world, &Method::Bye).is_empty());
    stage.bob.tag = "door".into();
    stage.over(&met);
}

/// A callee whose answer cannot be used leaves nothing behind, however many branches it has.
#[test]
fn an_unfit_answer_leaves_no_branch() {
    let mut stage = Stage::calling(25, &[]);
    let world = &mut stage.scene.world;
    stage.bob.tag = "desk".into();
    stage.bob.answer(world, 180, &[], "");
    stage.bob.tag = "door".into();
    let unfit = sdp(stage.bob.address(), 1, 0) + "m=video 4002 RTP/AVP 31\r\n";
    stage.bob.answer(world, 200, &[], &unfit);
    for bye in stage.bob.asked(world, &Method::Bye) {
        stage.bob.respond(world, &bye, 200, &[], "");
    }
    assert!(codes(&stage.alice.told(world, &Method::Invite)).contains(&488));
    stage.done(Cause::PeerFailed);
}

/// Branches without end: few are heard, and one too many that answers is hung up.
#[test]
fn branches_without_end_are_not_all_heard() {
    let mut stage = Stage::calling(26, &[]);
    let answer = stage.bobs(1, 0);
    let world = &mut stage.scene.world;
    for branch in 0..40 {
        stage.bob.tag = format!("branch{branch}");
        stage.bob.answer(world, 180, &[], "");
    }
    assert_eq!(stage.alice.told(world, &Method::Invite).len(), 8);
    stage.bob.tag = "branch39".into();
    stage.bob.answer(world, 200, &[], &answer);
    let asked = stage.bob.hear(world, Duration::from_millis(300));
    let methods: Vec<String> = asked
        .iter()
        .filter_map(|message| match message {
            Message::Request(request) => Some(request.method.to_string()),
            Message::Response(_) => None,
        })
        .collect();
    assert_eq!(methods, ["ACK", "BYE"]);
}

#[test]
fn a_callee_that_wants_longer_sessions_is_asked_again_once() {
    let mut stage = Stage::calling(27, &[]);
    let first = stage.bob.invite.take().expect("he is called");
    stage
        .bob
        .respond(&mut stage.scene.world, &first, 422, &[("Min-SE", "2400")], "");
    let heard = stage.bob.hear(&mut stage.scene.world, Duration::from_millis(300));
    let acknowledged = heard
        .iter()
        .any(|message| matches!(message, Message::Request(r) if r.method == Method::Ack));
    assert!(acknowledged, "{heard:?}");
    let again = stage.bob.invite.clone().expect("he is called again");
    let expires = again.headers.one::<SessionExpires>().expect("a Session-Expires");
    assert_eq!(expires.seconds, 2400);
    stage
        .bob
        .respond(&mut stage.scene.world, &again, 422, &[("Min-SE", "4800")], "");
    let told = stage.alice.told(&mut stage.scene.world, &Method::Invite);
    assert_eq!(codes(&told), [502], "one who always wants more is not");
    stage.done(Cause::PeerFailed);
}
