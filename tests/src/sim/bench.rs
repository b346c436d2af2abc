//! A call on the bench: brought into one state, asked one thing, completed and hung up.

use std::time::Duration;

use cusax_b2bua::core::flow::Transport;
use cusax_b2bua::core::settings::Listener;
use cusax_common::core::sip::typed::{Allow, RetryAfter, Via};
use cusax_common::core::sip::{HeaderName, Method, Request, Response};

use super::matrix::{Got, Row, State, TRANSPORTS};
use super::party::{Ask, Party};
use super::{DOMAIN, World, address, scene_with};

/// How far the call has come, and what is to be done to complete it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Nothing,
    Trying,
    Early,
    Answered,
    Up,
    Changing,
    Updating,
}

/// A call in some state, with both of its parties.
pub struct Bench {
    world: World,
    alice: Party,
    bob: Party,
    state: State,
    standing: Standing,
    /// The caller's last INVITE.
    invite: Option<Ask>,
    /// The caller's UPDATE, and as the callee got it.
    update: Option<(Ask, Request)>,
    /// A REFER was taken, and has led to a call that may have a record of its own.
    referred: bool,
}

impl Bench {
    /// Brings a fresh call into the state.
    ///
    /// # Errors
    /// What went wrong on the way.
    pub fn reach(state: State, transport: Transport, listener: u16) -> Result<Self, String> {
        let seed = 1;
        let mut world = scene_with(seed, |settings| {
            let first = settings.listeners[0].clone();
            let others = TRANSPORTS.iter().skip(1).zip(5061..);
            settings
                .listeners
                .extend(others.map(|(&(transport, ..), port)| Listener {
                    transport,
                    local: address(1, port),
                    public: address(1, port),
                    ..first.clone()
                }));
        })
        .world;
        world.start();
        let way = (transport, listener);
        let alice = Party::new(&mut world, "alice", address(30, 5070), way);
        let bob = Party::new(&mut world, "bob", address(40, 5070), way);
        let mut bench = Self {
            world,
            alice,
            bob,
            state,
            standing: Standing::Nothing,
            invite: None,
            update: None,
            referred: false,
        };
        bench.bob_registers()?;
        bench.set_up(transport)?;
        let live = bench.standing != Standing::Nothing;
        let calls = bench.world.node.calls();
        let ending = matches!(state, State::HungUp | State::LetGo | State::Cancelled);
        check(calls == usize::from(live) || ending, || format!("{calls} calls"))?;
        let records = bench.world.records.len();
        check(records == usize::from(state.has_call() && !live), || {
            format!("{records} records")
        })?;
        Ok(bench)
    }

    fn bob_registers(&mut self) -> Result<(), String> {
        let bob = &mut self.bob;
        bob.talk.remote.clone_from(&bob.talk.local);
        bob.talk.target = format!("sip:{DOMAIN}");
        let plain = bob.ask("REGISTER");
        bob.say(&mut self.world, &plain);
        self.tick();
        let challenge = self.bob.finals(&plain, 0).pop().ok_or("REGISTER is not answered")?;
        let proved = self
            .bob
            .proved(&plain, &challenge)
            .ok_or("REGISTER is not challenged")?;
        self.bob.say(&mut self.world, &proved);
        self.tick();
        let registered = self.world.node.bindings();
        check(registered == 1, || format!("{registered} bindings"))
    }

    /// Brings the call into the state.
    fn set_up(&mut self, transport: Transport) -> Result<(), String> {
        self.alice.talk.remote = format!("<{BOB}>");
        BOB.clone_into(&mut self.alice.talk.target);
        if !self.state.has_call() {
            return Ok(());
        }
        self.call(transport)?;
        if self.state == State::Trying {
            return Ok(());
        }
        self.ring()?;
        match self.state {
            State::EarlyCaller | State::EarlyCallee | State::EarlyReliable | State::EarlyAgreed => return Ok(()),
            State::Cancelled => return self.give_up(),
            _ => {}
        }
        self.pick_up()?;
        if matches!(self.state, State::Answered | State::AnsweredLate) {
            return Ok(());
        }
        self.acknowledge()?;
        match self.state {
            State::OwnReinvite | State::OthersReinvite => self.change(),
            State::OwnUpdate | State::OthersUpdate => self.update(),
            State::HungUp => self.hang_up(true),
            State::LetGo => {
                self.alice.ignores_bye = true;
                self.hang_up(false)
            }
            State::Forgotten => {
                self.hang_up(true)?;
                self.world.run(FORGOTTEN);
                let (calls, left) = (self.world.node.calls(), self.world.node.transactions());
                check((calls, left) == (0, 0), || {
                    format!("{calls} calls and {left} transactions are left")
                })
            }
            _ => Ok(()),
        }
    }

    /// The caller sends an INVITE, of which the callee says only that it has it.
    fn call(&mut self, transport: Transport) -> Result<(), String> {
        let late = self.state == State::AnsweredLate;
        let mut plain = self.alice.ask("INVITE");
        if self.state.is_reliable() {
            // Whoever takes this call has to send every provisional response reliably (RFC 3262 §3).
            plain.text = plain.text.and("Require", "100rel");
        }
        self.alice.say(&mut self.world, &plain);
        self.tick();
        let challenge = self.alice.finals(&plain, 0).pop().ok_or("INVITE is not answered")?;
        let code = challenge.status.code();
        let proved = self
            .alice
            .proved(&plain, &challenge)
            .ok_or_else(|| format!("INVITE gets {code}"))?;
        let proved = if late { proved.without_body() } else { proved };
        self.alice.say(&mut self.world, &proved);
        self.tick();
        let refused = self.alice.finals(&proved, 0).pop().map(|refusal| refusal.status.code());
        let invited = self
            .bob
            .invited
            .clone()
            .ok_or_else(|| format!("INVITE gets {refused:?}"))?;
        let via = invited.headers.first::<Via>().map(|via| via.transport.to_string());
        check(via.as_deref() == Ok(transport.as_str()), || {
            format!("the callee is called over {via:?}")
        })?;
        self.bob.join(&invited);
        self.bob.answer(&mut self.world, &invited, 100, &[]);
        self.tick();
        check(self.alice.talk.remote_tag.is_none(), || {
            "a tag before the callee rings".to_owned()
        })?;
        self.invite = Some(proved);
        self.standing = Standing::Trying;
        Ok(())
    }

    fn ring(&mut self) -> Result<(), String> {
        let invited = self.bob.invited.clone().ok_or("the callee has no INVITE")?;
        let lists = |name: HeaderName| {
            let mut values = invited.headers.get_all(&name);
            values.any(|value| value.as_bytes().windows(6).any(|word| word == b"100rel"))
        };
        let reliable = lists(HeaderName::REQUIRE) || lists(HeaderName::SUPPORTED);
        let lines: &[_] = if reliable && self.state.is_reliable() {
            &[("Require", "100rel"), ("RSeq", "77")]
        } else {
            &[]
        };
        let code = if self.state == State::EarlyAgreed { 183 } else { 180 };
        self.bob.answer(&mut self.world, &invited, code, lines);
        self.tick();
        check(self.alice.talk.remote_tag.is_some(), || format!("no {code}"))?;
        let reliable = self.alice.reliable.is_some();
        check(reliable == self.state.is_reliable(), || {
            format!("a reliable {code}: {reliable}")
        })?;
        if self.state == State::EarlyAgreed {
            self.acknowledge_reliably()?;
        }
        self.standing = Standing::Early;
        Ok(())
    }

    fn acknowledge_reliably(&mut self) -> Result<(), String> {
        let prack = self.alice.ask("PRACK");
        self.alice.say(&mut self.world, &prack);
        self.tick();
        let answered = codes(&self.alice, &prack, 0);
        check(answered == [200], || format!("PRACK gets {answered:?}"))
    }

    fn give_up(&mut self) -> Result<(), String> {
        let invite = self.invite()?;
        let cancel = self.alice.cancel(&invite);
        self.alice.say(&mut self.world, &cancel);
        self.tick();
        let (cancelled, invited) = (codes(&self.alice, &cancel, 0), codes(&self.alice, &invite, 0));
        check((&cancelled[..], &invited[..]) == (&[200], &[487]), || {
            format!("CANCEL gets {cancelled:?}, INVITE {invited:?}")
        })?;
        check(self.bob.was_asked(&Method::Cancel, 0), || {
            "the callee gets no CANCEL".to_owned()
        })?;
        self.standing = Standing::Nothing;
        Ok(())
    }

    /// The callee answers, and is acknowledged.
    fn pick_up(&mut self) -> Result<(), String> {
        let invited = self.bob.invited.clone().ok_or("the callee has no INVITE")?;
        let mark = self.bob.inbox.len();
        self.bob.answer(&mut self.world, &invited, 200, &[]);
        self.tick();
        let answered = codes(&self.alice, &self.invite()?, 0);
        check(answered == [200], || {
            format!("INVITE gets {answered:?} after the answer")
        })?;
        // With an offer in the 2xx the ACK brings the answer, which the caller has yet to make.
        let late = self.state == State::AnsweredLate;
        let acknowledged = self.bob.was_asked(&Method::Ack, mark);
        check(acknowledged != late, || {
            format!("an ACK for the callee: {acknowledged}")
        })?;
        self.standing = Standing::Answered;
        Ok(())
    }

    fn acknowledge(&mut self) -> Result<(), String> {
        let invite = self.invite()?;
        let ack = self.ack(&invite);
        self.alice.say(&mut self.world, &ack);
        self.is_acknowledged()
    }

    /// The caller's ACK, with an answer where that is due.
    fn ack(&mut self, invite: &Ask) -> Ask {
        if self.state == State::AnsweredLate && self.standing == Standing::Answered {
            self.alice.answering_ack(invite)
        } else {
            self.alice.ack(invite)
        }
    }

    /// The 2xx is repeated no more, and the callee has its ACK.
    fn is_acknowledged(&mut self) -> Result<(), String> {
        self.tick();
        let (invite, mark) = (self.invite()?, self.alice.inbox.len());
        check(self.bob.was_asked(&Method::Ack, 0), || {
            "the callee gets no ACK".to_owned()
        })?;
        self.pause(LONGER_THAN_T1);
        let again = codes(&self.alice, &invite, mark);
        check(again.is_empty(), || {
            format!("INVITE gets {again:?} again after the ACK")
        })?;
        self.standing = Standing::Up;
        Ok(())
    }

    /// The caller sends a re-INVITE, of which the callee says only that it has it.
    fn change(&mut self) -> Result<(), String> {
        let reinvite = self.alice.ask("INVITE");
        self.alice.say(&mut self.world, &reinvite);
        self.tick();
        let refused = codes(&self.alice, &reinvite, 0);
        let invited = self
            .bob
            .invited
            .clone()
            .ok_or_else(|| format!("re-INVITE gets {refused:?}"))?;
        self.bob.answer(&mut self.world, &invited, 100, &[]);
        self.tick();
        self.invite = Some(reinvite);
        self.standing = Standing::Changing;
        Ok(())
    }

    /// The caller sends an UPDATE, to which the callee says nothing yet.
    fn update(&mut self) -> Result<(), String> {
        let update = self.alice.ask("UPDATE");
        self.alice.say(&mut self.world, &update);
        self.tick();
        let refused = codes(&self.alice, &update, 0);
        let asked = self.bob.requests(0).find(|request| request.method == Method::Update);
        let asked = asked.cloned().ok_or_else(|| format!("UPDATE gets {refused:?}"))?;
        self.update = Some((update, asked));
        self.standing = Standing::Updating;
        Ok(())
    }

    /// The callee answers the UPDATE, and the caller hears of it.
    fn answer_update(&mut self, code: u16) -> Result<(), String> {
        let (update, asked) = self.update.clone().ok_or("no UPDATE was sent")?;
        self.bob.answer(&mut self.world, &asked, code, &[]);
        self.tick();
        let answered = codes(&self.alice, &update, 0);
        self.standing = Standing::Up;
        check(answered == [code], || format!("the UPDATE under way gets {answered:?}"))
    }

    fn hang_up(&mut self, by_caller: bool) -> Result<(), String> {
        let (one, other) = match by_caller {
            true => (&mut self.alice, &self.bob),
            false => (&mut self.bob, &self.alice),
        };
        let (bye, heard, mark) = (one.ask("BYE"), one.inbox.len(), other.inbox.len());
        one.say(&mut self.world, &bye);
        self.tick();
        let (one, other) = match by_caller {
            true => (&self.alice, &self.bob),
            false => (&self.bob, &self.alice),
        };
        let answered = codes(one, &bye, heard);
        check(answered == [200], || format!("BYE gets {answered:?}"))?;
        check(other.was_asked(&Method::Bye, mark), || {
            "the other side gets no BYE".to_owned()
        })?;
        self.standing = Standing::Nothing;
        Ok(())
    }

    /// The request of this cell.
    fn request(&mut self, method: &str) -> Ask {
        let (state, invite) = (self.state, self.invite.clone());
        if let (State::AnsweredLate, Some(invite), "ACK") = (state, &invite, method) {
            return self.ack(invite);
        }
        let sender = self.sender_mut();
        let cancellable = !state.is_callees() && !is_forged(state) && state != State::Forgotten;
        if let (Some(invite), "CANCEL", true) = (&invite, method, cancellable) {
            return sender.cancel(invite);
        }
        let true_talk = sender.talk.clone();
        match state {
            State::NoDialog | State::Trying if method == "REGISTER" => {
                sender.talk.remote.clone_from(&true_talk.local);
                sender.talk.target = format!("sip:{DOMAIN}");
            }
            State::UnknownDialog | State::StrangeTo => sender.talk.remote_tag = Some("invented".to_owned()),
            State::StrangeFrom => "invented".clone_into(&mut sender.talk.tag),
            _ => {}
        }
        let ask = match (state, &invite, method) {
            (State::OutOfOrder, ..) => sender.ask_as(method, LOW),
            (_, Some(invite), "ACK") if !state.is_callees() => sender.ack(invite),
            _ => sender.ask(method),
        };
        let sequence = sender.talk.sequence;
        sender.talk = true_talk;
        // A number of a request that was not the dialog's own is none that the dialog has seen.
        if !is_forged(state) {
            sender.talk.sequence = sequence;
        }
        ask
    }

    /// What is answered to a request of this method.
    ///
    /// # Errors
    /// If nothing is.
    pub fn answer_to(&mut self, method: &str) -> Result<Response, String> {
        let (ask, (mine, _)) = (self.request(method), self.marks());
        self.say(&ask);
        let answer = self.sender().finals(&ask, mine).pop();
        answer.ok_or_else(|| "no answer".to_owned())
    }

    /// Sends the request and holds what comes of it against the row.
    ///
    /// # Errors
    /// What came of it instead.
    pub fn hold_against(&mut self, row: &Row) -> Result<(), String> {
        let ask = self.request(&row.method);
        let (mine, others) = self.marks();
        let before = self.world.node.calls();
        self.say(&ask);
        let passed = self.pass_on(&ask, others)?;
        let finals = self.sender().finals(&ask, mine);
        let got = match (finals.as_slice(), passed) {
            ([], false) => Got::Silence,
            ([answer], false) => Got::Answered(answer.status.code()),
            ([answer], true) => Got::Passed(answer.status.code()),
            ([], true) => return Err("passed on, and never answered".to_owned()),
            (several, _) => {
                let codes: Vec<_> = several.iter().map(|answer| answer.status.code()).collect();
                return Err(format!("several answers: {codes:?}"));
            }
        };
        check(row.allows(&got), || got.to_string())?;
        if let [answer] = finals.as_slice() {
            judge_headers(row, answer).map_err(|why| format!("{got}, {why}"))?;
        }
        let taken = matches!(got, Got::Answered(200..=299)) && row.method == "REFER";
        if taken {
            self.referred = true;
            self.pause(NOTIFIED);
            check(self.sender().was_asked(&Method::Notify, mine), || {
                format!("{got}, and no NOTIFY")
            })?;
        }
        let after = self.afterwards(row, (mine, others), (passed, taken), before);
        let settled = after.and_then(|()| self.finish()).and_then(|()| self.nothing_is_left());
        settled.map_err(|why| format!("{got}, {why}"))
    }

    /// If the other side is asked it answers, and the sender acknowledges where that is due.
    fn pass_on(&mut self, ask: &Ask, mark: usize) -> Result<bool, String> {
        // What a party answers by itself is no longer open.
        if matches!(ask.method.as_str(), "ACK" | "BYE" | "CANCEL" | "PRACK" | "NOTIFY") {
            return Ok(false);
        }
        let asked = self
            .other()
            .requests(mark)
            .find(|request| request.method.as_str() == ask.method);
        let Some(asked) = asked.cloned() else { return Ok(false) };
        let (world, other) = self.other_mut();
        other.answer(world, &asked, 200, &[]);
        self.tick();
        if ask.method == "INVITE" {
            check(self.other().was_asked(&Method::Ack, mark), || {
                "passed on, and the 2xx gets no ACK".to_owned()
            })?;
            let ack = self.sender_mut().ack(ask);
            self.say(&ack);
        }
        Ok(true)
    }

    fn afterwards(
        &mut self,
        row: &Row,
        (mine, others): (usize, usize),
        (passed, notified): (bool, bool),
        before: usize,
    ) -> Result<(), String> {
        let told = |party: &Party, mark: usize, allowed: &dyn Fn(&Request) -> bool| {
            let odd: Vec<_> = party.requests(mark).filter(|request| !allowed(request)).collect();
            odd.iter().map(|request| request.method.to_string()).collect::<Vec<_>>()
        };
        let pending = |bench: &Self| {
            let ask = match bench.standing {
                Standing::Trying | Standing::Early | Standing::Changing => bench.invite.as_ref(),
                Standing::Updating => bench.update.as_ref().map(|(update, _)| update),
                Standing::Nothing | Standing::Answered | Standing::Up => None,
            };
            let mark = if bench.state.is_callees() { others } else { mine };
            ask.map_or_else(Vec::new, |ask| codes(&bench.alice, ask, mark))
        };
        let quiet = |bench: &Self| {
            let due = |request: &Request| {
                let method = request.method.as_str();
                match row.method.as_str() {
                    "ACK" => row.afterwards == "acknowledged" && method == "ACK",
                    // The callee has a reliable response of its own, which may be acknowledged when ours is.
                    "PRACK" => method == "PRACK",
                    asked => passed && (method == asked || method == "ACK"),
                }
            };
            let other = told(bench.other(), others, &due);
            check(other.is_empty(), || format!("the other side is told {other:?}"))?;
            let notify = |request: &Request| notified && request.method == Method::Notify;
            let sender = told(bench.sender(), mine, &notify);
            check(sender.is_empty(), || format!("the sender is told {sender:?}"))?;
            let (calls, answered) = (bench.world.node.calls(), pending(bench));
            check(answered.is_empty(), || format!("what is under way gets {answered:?}"))?;
            // An ending call may end meanwhile.
            check(
                calls == before || bench.standing == Standing::Nothing && calls < before,
                || format!("{calls} calls after {before}"),
            )
        };
        match row.afterwards.as_str() {
            "nothing" => {
                check(self.standing == Standing::Nothing, || "there is a call".to_owned())?;
                quiet(self)
            }
            "unchanged" => {
                check(self.standing != Standing::Nothing, || "there is no call".to_owned())?;
                quiet(self)
            }
            "acknowledged" => {
                quiet(self)?;
                self.is_acknowledged()
            }
            "over" => {
                check(self.other().was_asked(&Method::Bye, others), || {
                    "the other side gets no BYE".to_owned()
                })?;
                let answered = pending(self);
                let due: &[u16] = match self.standing {
                    Standing::Changing | Standing::Updating => &[487],
                    _ => &[],
                };
                check(answered == due, || format!("what is under way gets {answered:?}"))?;
                self.standing = Standing::Nothing;
                Ok(())
            }
            what @ ("cancelled" | "retracted") => {
                let answered = pending(self);
                check(answered == [487], || format!("what is under way gets {answered:?}"))?;
                check(self.other().was_asked(&Method::Cancel, others), || {
                    "the other side gets no CANCEL".to_owned()
                })?;
                let bye = self.other().was_asked(&Method::Bye, others);
                check(!bye, || "the other side gets a BYE".to_owned())?;
                self.standing = if what == "cancelled" {
                    Standing::Nothing
                } else {
                    Standing::Up
                };
                Ok(())
            }
            unknown => Err(format!("nobody knows what {unknown:?} is")),
        }
    }

    /// Completes the call and hangs it up: it is none the worse for what happened.
    fn finish(&mut self) -> Result<(), String> {
        if self.standing == Standing::Trying {
            self.ring()?;
        }
        if self.standing == Standing::Early {
            if self.alice.reliable.is_some() {
                self.acknowledge_reliably()?;
            }
            self.pick_up()?;
        }
        if self.standing == Standing::Changing {
            self.pick_up()?;
        }
        if self.standing == Standing::Updating {
            self.answer_update(200)?;
        }
        if self.standing == Standing::Answered {
            self.acknowledge()?;
        }
        if self.standing == Standing::Up {
            self.hang_up(!self.state.is_callees())?;
        }
        Ok(())
    }

    fn nothing_is_left(&mut self) -> Result<(), String> {
        if self.state == State::LetGo {
            self.alice.ignores_bye = false;
            let bye = self
                .alice
                .requests(0)
                .find(|request| request.method == Method::Bye)
                .cloned();
            let bye = bye.ok_or("no BYE")?;
            self.alice.answer(&mut self.world, &bye, 200, &[]);
        }
        for _ in 0..5 {
            self.pause(FORGOTTEN / 2);
        }
        let (calls, left) = (self.world.node.calls(), self.world.node.transactions());
        check((calls, left) == (0, 0), || {
            format!("{calls} calls and {left} transactions are left")
        })?;
        check(self.world.media.is_empty(), || "ports are left".to_owned())?;
        let records = self.world.records.len();
        let expected = usize::from(self.state.has_call());
        check(records == expected || self.referred && records == expected + 1, || {
            format!("{records} records")
        })
    }

    fn invite(&self) -> Result<Ask, String> {
        self.invite.clone().ok_or_else(|| "no INVITE was sent".to_owned())
    }

    fn sender(&self) -> &Party {
        if self.state.is_callees() {
            &self.bob
        } else {
            &self.alice
        }
    }

    fn sender_mut(&mut self) -> &mut Party {
        if self.state.is_callees() {
            &mut self.bob
        } else {
            &mut self.alice
        }
    }

    fn other(&self) -> &Party {
        if self.state.is_callees() {
            &self.alice
        } else {
            &self.bob
        }
    }

    fn other_mut(&mut self) -> (&mut World, &mut Party) {
        let other = if self.state.is_callees() {
            &mut self.alice
        } else {
            &mut self.bob
        };
        (&mut self.world, other)
    }

    /// How much the sender and the other side have heard so far.
    fn marks(&self) -> (usize, usize) {
        (self.sender().inbox.len(), self.other().inbox.len())
    }

    fn say(&mut self, ask: &Ask) {
        let sender = if self.state.is_callees() {
            &mut self.bob
        } else {
            &mut self.alice
        };
        sender.say(&mut self.world, ask);
        self.tick();
    }

    /// Lets everything happen that happens at once.
    fn tick(&mut self) {
        self.pause(AT_ONCE);
        self.pause(AT_ONCE);
    }

    fn pause(&mut self, time: Duration) {
        self.world.run(time);
        self.alice.listen(&mut self.world);
        self.bob.listen(&mut self.world);
    }
}

/// Whether the request is not what its sender would really say.
fn is_forged(state: State) -> bool {
    matches!(state, State::StrangeTo | State::StrangeFrom | State::OutOfOrder)
}

/// What an answer must carry: what the row says, and what its code always asks for.
fn judge_headers(row: &Row, answer: &Response) -> Result<(), String> {
    let has = |name: &str| {
        let name: HeaderName = name.parse().map_err(|_| format!("{name} is no header"))?;
        check(answer.headers.get(&name).is_some(), || {
            format!("without {}", name.as_str())
        })
    };
    if row.carries != "-" {
        has(&row.carries)?;
    }
    match answer.status.code() {
        401 => has("WWW-Authenticate"),
        405 => {
            has("Allow")?;
            // RFC 3261 §21.4.6: what is allowed at this address.
            let allowed = answer.headers.list::<Allow>().unwrap_or_default();
            let names_it = allowed
                .iter()
                .any(|Allow(methods)| methods.iter().any(|one| one.as_str() == row.method));
            check(!names_it, || "which it allows".to_owned())
        }
        407 => has("Proxy-Authenticate"),
        500 if row.carries == "Retry-After" => {
            let seconds = answer.headers.one::<RetryAfter>().map(|after| after.seconds);
            check(matches!(seconds, Ok(0..=10)), || {
                format!("to try again after {seconds:?} s")
            })
        }
        _ => Ok(()),
    }
}

/// The codes of the final responses to this request among what came from `mark` on.
fn codes(party: &Party, ask: &Ask, mark: usize) -> Vec<u16> {
    let finals = party.finals(ask, mark);
    finals.iter().map(|response| response.status.code()).collect()
}

fn check(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

const BOB: &str = "sip:bob.phone@sip.example.com";
/// Lower than the number of any INVITE.
const LOW: u32 = 5;
/// Longer than the store and the media engine think.
const AT_ONCE: Duration = Duration::from_millis(40);
/// A 2xx without an ACK would be repeated by then (RFC 3261 §13.3.1.4).
const LONGER_THAN_T1: Duration = Duration::from_millis(1600);
/// By then whoever takes a REFER has said so in a NOTIFY, and what it led to has failed.
const NOTIFIED: Duration = Duration::from_secs(2);
/// Longer than any transaction lasts without an answer (RFC 3261 §17).
const FORGOTTEN: Duration = Duration::from_secs(40);
