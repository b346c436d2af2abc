//! Somebody speaks with somebody, and asks for a transfer: for tests message by message.

use std::time::Duration;

use cusax_b2bua::core::settings::Settings;
use cusax_common::core::record::CallRecord;
use cusax_common::core::sip::typed::{CallId, From};
use cusax_common::core::sip::{HeaderName, Headers, Message, Method, Request, Response};

use super::puppet::{Puppet, dialled, sdp};
use super::{SECOND, Scene, address, scene, scene_with};

/// Long enough for messages to come and go, too short for any to be sent again.
pub const MOMENT: Duration = Duration::from_millis(300);

/// A call that is about to be handed on.
pub struct Stage {
    /// Where they are.
    pub scene: Scene,
    /// Who called.
    pub alice: Puppet,
    /// Who answered.
    pub bob: Puppet,
    /// Who is to be called.
    pub carol: Puppet,
    /// What Alice's dialog with us was made by, where she called.
    pub met: Response,
}

/// Alice has called Bob, they speak, and Carol has a phone.
pub fn speaking(seed: u64) -> Stage {
    speaking_with(seed, |_| {})
}

/// The same with other settings.
pub fn speaking_with(seed: u64, change: impl FnOnce(&mut Settings)) -> Stage {
    speaking_in(scene_with(seed, change))
}

/// The same there.
pub fn speaking_in(mut scene: Scene) -> Stage {
    let world = &mut scene.world;
    let mut bob = Puppet::new(world, address(20, 5090), "bob");
    bob.register(world);
    let mut carol = Puppet::new(world, address(30, 5090), "carol");
    carol.register(world);
    let mut alice = Puppet::new(world, address(10, 5090), "alice");
    let met = connect(&mut scene, &mut alice, &mut bob, "bob");
    Stage {
        scene,
        alice,
        bob,
        carol,
        met,
    }
}

/// One calls the other, who answers.
pub fn connect(scene: &mut Scene, caller: &mut Puppet, callee: &mut Puppet, name: &str) -> Response {
    let world = &mut scene.world;
    caller.call(world, &dialled(name), &[], &sdp(caller.address(), 1, 0));
    callee.hear(world, Duration::ZERO);
    callee.answer(world, 200, &[], &sdp(callee.address(), 1, 0));
    let told = caller.told(world, &Method::Invite);
    assert_eq!(codes(&told), [200]);
    caller.acknowledge(world, &told[0], "");
    assert_eq!(callee.asked(world, &Method::Ack).len(), 1);
    told[0].clone()
}

impl Stage {
    /// Alice asks that Bob be joined with somebody else; what she is told before it is tried.
    pub fn alice_refers(&mut self, to: &str) -> Vec<String> {
        let met = self.met.clone();
        let world = &mut self.scene.world;
        self.alice
            .request(world, Method::Refer, Some(&met), &[("Refer-To", to)], "");
        let heard = self.alice.hear(world, MOMENT);
        let accepted = heard
            .iter()
            .any(|message| matches!(message, Message::Response(r) if r.status.code() == 202));
        assert!(accepted, "{heard:?}");
        let mut states = self.notified(heard);
        // The next state is told when this one was heard.
        states.extend(self.alice_hears(MOMENT));
        states
    }

    /// What Alice's phone is told of her transfer: status and state; it says 200 to that.
    pub fn notified(&mut self, heard: Vec<Message>) -> Vec<String> {
        let mut states = Vec::new();
        for message in heard {
            if let Message::Request(request) = message
                && request.method == Method::Notify
            {
                self.alice.respond(&mut self.scene.world, &request, 200, &[], "");
                states.push(state_of(&request));
            }
        }
        states
    }

    /// The same of what comes within this time.
    pub fn alice_hears(&mut self, time: Duration) -> Vec<String> {
        let heard = self.alice.hear(&mut self.scene.world, time);
        self.notified(heard)
    }

    /// Lets everything end; nothing may be left but the records.
    pub fn done(mut self) -> Vec<CallRecord> {
        self.scene.world.run(64 * SECOND);
        assert_eq!(self.scene.world.node.calls(), 0);
        for (table, left) in self.scene.world.node.leftovers() {
            assert_eq!(left, 0, "{table}");
        }
        assert!(self.scene.world.media.is_empty());
        self.scene.world.records
    }
}

/// What a NOTIFY says: event, state, and status.
pub fn state_of(notify: &Request) -> String {
    let header = |name: HeaderName| notify.headers.get(&name).map(|value| value.to_text().into_owned());
    let body = String::from_utf8_lossy(&notify.body).trim_end().to_owned();
    assert_eq!(
        header(HeaderName::CONTENT_TYPE).as_deref(),
        Some("message/sipfrag;version=2.0")
    );
    let event = header(HeaderName::EVENT).expect("an Event");
    let state = header(HeaderName::SUBSCRIPTION_STATE).expect("a state");
    let state = state.split(';').next().unwrap_or_default();
    format!("{event} {state} {body}")
}

/// The codes of responses.
pub fn codes(responses: &[Response]) -> Vec<u16> {
    responses.iter().map(|response| response.status.code()).collect()
}

/// All values of a header.
pub fn values(headers: &Headers, name: &HeaderName) -> Vec<String> {
    headers
        .get_all(name)
        .map(|value| value.to_text().into_owned())
        .collect()
}

/// What somebody is told of the one they speak with.
pub fn told_of(request: &Request) -> (Vec<String>, Vec<String>) {
    (
        values(&request.headers, &HeaderName::CALL_INFO),
        values(&request.headers, &HeaderName::P_ASSERTED_IDENTITY),
    )
}

/// Call-Info with the chat address of somebody.
pub fn jid(name: &str) -> [String; 1] {
    [format!("<xmpp:{name}@example.com>;purpose=impp")]
}

/// The INVITE among what somebody hears within a moment.
pub fn invited(who: &mut Puppet, stage: &mut Scene) -> Request {
    let mut invites = who.asked(&mut stage.world, &Method::Invite);
    assert_eq!(invites.len(), 1, "{invites:?}");
    invites.remove(0)
}

/// The codes of the responses but 100 that come within a moment.
pub fn responses(who: &mut Puppet, scene: &mut Scene) -> Vec<u16> {
    let heard = who.hear(&mut scene.world, MOMENT);
    let codes = heard.into_iter().filter_map(|message| match message {
        Message::Response(response) if response.status.code() != 100 => Some(response.status.code()),
        _ => None,
    });
    codes.collect()
}

/// Alice speaks with Bob, and by another call with Carol: her dialog there.
pub fn two_calls(seed: u64) -> (Stage, Puppet, Response) {
    two_calls_in(scene(seed))
}

/// The same there.
pub fn two_calls_in(scene: Scene) -> (Stage, Puppet, Response) {
    let mut stage = speaking_in(scene);
    let mut second = Puppet::new(&mut stage.scene.world, address(10, 5092), "alice");
    let met = connect(&mut stage.scene, &mut second, &mut stage.carol, "carol");
    (stage, second, met)
}

/// Refer-To as Linphone writes it: of the dialog that this response made.
pub fn replacing(met: &Response) -> String {
    let id = met.headers.one::<CallId>().expect("a Call-ID");
    let from = met.headers.one::<From>().expect("a From");
    let to = met.headers.to().expect("a To");
    format!(
        "<{}?Replaces={}%3bfrom-tag%3d{}%3bto-tag%3d{}>",
        dialled("carol"),
        id.as_str().replace('@', "%40"),
        from.tag().expect("a tag"),
        to.tag().expect("a tag")
    )
}

/// The INVITE among what somebody has heard by now.
pub fn invited_late(who: &mut Puppet, scene: &mut Scene) -> Request {
    let heard = who.hear(&mut scene.world, Duration::ZERO);
    let invites = heard.into_iter().filter_map(|message| match message {
        Message::Request(request) if request.method == Method::Invite => Some(request),
        _ => None,
    });
    invites.last().expect("an INVITE")
}
