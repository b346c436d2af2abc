//! A call: its legs, and what joins them.
//!
//! ```text
//!             INVITE            owner known          ports open
//! (endpoint) ───────► Locating ─────────────► Opening ──────────► Ringing ──► Answering ──► Up ──► Over
//!                                                    └► Warning ──┘  2xx          ACK       BYE
//!                                                  183     tone played
//! ```
//!
//! A leg is one dialog ([`Leg`]). Each has From, To, tags, Call-ID, Contact and sequence numbers of its own, its own offer
//! and answer, its own reliable responses and session timer. For each dialog that an INVITE of ours makes at a callee, the
//! caller has one with another tag of ours; the two are joined, and what crosses between them is decided in one table
//! ([`headers`](crate::core::headers)). When a callee answers, its leg and the caller's leg that it is joined with are the
//! pair that remains. The warning has a leg of the caller's for itself, and the paid leg does not exist before it has been
//! heard to its end: there is nothing that early media, a re-INVITE or a redirect could reach.
//!
//! Either side of a call that is up may have the other one joined with somebody else ([`referral`]); the call that is made
//! for that ([`transfer`]) takes the leg of the one who remains.
//!
//! # Invariants
//! - The caller's INVITE gets exactly one final response.
//! - A 2xx from a callee is acknowledged exactly once for each copy, and hung up unless it won.
//! - A call gives one record, when no leg is left.
//! - At most one change of the session is under way.

mod begun;
mod crossing;
mod ending;
mod invite;
mod leg;
mod legs;
mod limits;
mod news;
mod output;
mod placed;
mod redirect;
mod referral;
pub mod reliable;
mod ringing;
pub mod session_timer;
mod setup;
mod speaker;
mod transfer;
mod turns;
mod upkeep;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use cusax_common::core::dialplan::Dialled;
use cusax_common::core::entropy::Entropy;
use cusax_common::core::id::SessionId;
use cusax_common::core::policy::{CallerKind, NumberClass};
use cusax_common::core::record::{CallRecord, Cause, Impp, Warned};
use cusax_common::core::secret::Pii;
use cusax_common::core::sip::typed::{Contact, ContentType, MaxBreadth, Reason};
use cusax_common::core::sip::{Headers, Method, Request, Response, Status, Uri};
use cusax_common::core::time::Wall;
use cusax_common::core::user::{Aor, User};
use jid::BareJid;
use tracing::{debug, info, warn};

use self::begun::Begun;
use self::crossing::Crossing;
use self::limits::Limits;
use self::referral::Transfer;
use self::session_timer::Wish;
use self::speaker::Speaker;
use self::transfer::Joining;
use self::turns::Turns;
use self::upkeep::Own;

pub use self::invite::{OPTIONS, capabilities, not_allowed};
pub use self::leg::{Exchange, Leg, LegId};
pub use self::output::{CallOutput, Context, Token, Word};
pub use self::referral::Referral;
pub use self::transfer::Replaced;
use crate::core::dialog::{Dialog, DialogId, Misplaced};
use crate::core::flow::Flow;
use crate::core::identity;
use crate::core::media::rewrite::{Description, Rules, Way};
use crate::core::media::{MediaCommand, MediaEvent, MediaId, Side};
use crate::core::registrar::Device;
use crate::core::routing::{self, Attempts, Owner, Plan, Turn};
use crate::core::transaction::{Failure, ServerId};

/// Who began a call, proved.
#[derive(Clone, Debug)]
pub enum Caller {
    /// A user of ours, by digest, under one of their addresses.
    User {
        /// The record.
        user: Arc<User>,
        /// What the phone called itself in From; it is theirs.
        aor: Aor,
    },
    /// A trunk, by its configured address.
    Trunk {
        /// Its configured name.
        name: String,
    },
}

impl Caller {
    fn kind(&self) -> CallerKind {
        match self {
            Self::User { .. } => CallerKind::User,
            Self::Trunk { .. } => CallerKind::Trunk,
        }
    }

    /// The user of ours, if it is one.
    #[must_use]
    pub fn user(&self) -> Option<&BareJid> {
        match self {
            Self::User { user, .. } => Some(&user.jid),
            Self::Trunk { .. } => None,
        }
    }

    /// The user, and the address for the record: `claimed` gives that of somebody outside.
    fn named(&self, claimed: impl FnOnce() -> String) -> (Option<BareJid>, String) {
        match self {
            Self::User { user, aor } => (Some(user.jid.clone()), aor.to_string()),
            Self::Trunk { .. } => (None, claimed()),
        }
    }

    fn party(&self) -> identity::Party<'_> {
        match self {
            Self::User { user, aor } => identity::Party::User { user, aor },
            Self::Trunk { .. } => identity::Party::Outside,
        }
    }
}

/// One call.
#[derive(Debug)]
pub struct Call {
    id: MediaId,
    session: SessionId,
    caller: Caller,
    phase: Phase,
    deadline: Option<Instant>,
    begun: Begun,
    /// Its transaction, until it has its final answer.
    asked: Option<ServerId>,
    /// What its sender wishes of session timers.
    wish: Wish,
    /// How it came.
    near_flow: Flow,
    /// The one device that was dialled, where it was one (RFC 5627).
    device: Option<Device>,
    /// Through how many calls of ours the same request came before.
    depth: usize,
    /// How many branches the caller allows at one time, if it says so (RFC 5393 §5.3).
    breadth: Option<u32>,
    /// What the caller offered; none with a late offer.
    offer: Option<Box<Description>>,
    legs: Vec<Leg>,
    next_leg: u32,
    invitations: Vec<Invitation>,
    /// What is being invited, once it is.
    plan: Option<Box<Plan>>,
    /// Which of its hops are tried when.
    attempts: Attempts,
    /// Whose turn has come, and whose has not.
    turns: Turns,
    /// The two legs that are joined, once a callee has answered.
    pair: Option<Pair>,
    /// The callee's leg whose early media the caller hears.
    speaking: Option<LegId>,
    /// The answer for the caller, and with which leg, that waits for a PRACK (RFC 3262 §3).
    held_answer: Option<Box<(LegId, Response)>>,
    crossings: Vec<Crossing>,
    /// Requests of ours that nobody asked for.
    own: Vec<Own>,
    /// Re-INVITEs whose asker has gone; a 2xx still wants its ACK.
    orphans: Vec<(Token, Box<Dialog>)>,
    media: Option<Media>,
    limits: Limits,
    tokens: u32,
    /// Requests of ours that have no final answer yet.
    open: Vec<Token>,
    facts: Facts,
    recorded: bool,
    /// The record goes on with a leg that went to another call.
    recorded_elsewhere: bool,
    /// A BYE that waits until the caller has acknowledged our 2xx (RFC 3261 §15), or for theirs.
    held_bye: Option<(LegId, Vec<Reason>)>,
    /// Nobody may read along, whatever the request line says.
    secure: bool,
    /// The session interval that a callee has demanded, in seconds.
    demanded: Option<u32>,
    /// Where it was before phones sent it elsewhere, as the record names it.
    redirects: Vec<String>,
    /// What its caller is to be told of where else to call.
    elsewhere: Vec<Contact>,
    /// A side has asked for a transfer.
    transfer: Option<Box<Transfer>>,
    /// The call that asked for this one and has the caller's leg, until it is answered.
    on_behalf: Option<MediaId>,
    /// How the one who pays wants to be named, where that is not the one who speaks.
    payer_said: Option<Box<Headers>>,
    /// Who is there instead of the one who began it, and pays.
    for_caller: Option<Box<Speaker>>,
    /// Who is there instead of the one who was called.
    for_callee: Option<Box<Speaker>>,
    /// Whom the user who is being called wants to speak with, until they have answered.
    placing: Option<Box<Uri>>,
    /// We began it.
    is_placed: bool,
    /// The side that has asked for a transfer and is no longer on the phone.
    departed: Option<Side>,
    /// The leg whose place another one is about to take.
    replaced: Option<LegId>,
    /// Another call was asked for its leg.
    claiming: bool,
    /// A leg that is to be asked again to take its new session, and when.
    joining: Option<(Instant, Box<Joining>)>,
}

/// Which way media goes.
#[derive(Clone, Copy, Debug)]
enum Media {
    /// Through the relay, by these addresses of ours.
    Relayed { caller: SocketAddr, callee: SocketAddr },
    /// From one party to the other.
    Direct,
}

impl Media {
    /// To the party on this side.
    fn way(self, side: Side) -> Way {
        match (self, side) {
            (Self::Relayed { caller, .. }, Side::Caller) => Way::Relay(caller),
            (Self::Relayed { callee, .. }, Side::Callee) => Way::Relay(callee),
            (Self::Direct, _) => Way::Direct,
        }
    }
}

/// The two legs of a call that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pair {
    caller: LegId,
    callee: LegId,
}

impl Pair {
    fn of(self, side: Side) -> LegId {
        match side {
            Side::Caller => self.caller,
            Side::Callee => self.callee,
        }
    }

    fn has(self, leg: LegId) -> bool {
        leg == self.caller || leg == self.callee
    }
}

/// One INVITE of ours.
#[derive(Debug)]
struct Invitation {
    token: Token,
    state: InvitationState,
    /// The final status with which it failed.
    failed: Option<Status>,
    /// Which target of the plan this is, and by which of its hops.
    turn: Turn,
    /// The session interval that it asks for, if a refusal demanded one, in seconds.
    interval: Option<u32>,
    /// Its dialog when none of its legs is left, should another branch speak up yet.
    last: Option<Box<Dialog>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InvitationState {
    Inviting,
    Cancelled,
    Answered,
    Gone,
}

#[derive(Debug)]
enum Phase {
    /// The store is asked who holds the dialled address.
    Locating(Dialled),
    /// The media engine is asked for ports.
    Opening(Box<Plan>),
    /// The caller hears the warning.
    Warning(Box<Plan>),
    /// Callees have been invited.
    Ringing,
    /// The caller got the 200 and has not acknowledged it.
    Answering,
    /// Both sides talk.
    Up,
    /// No leg is left.
    Over,
}

/// What the record will say.
#[derive(Debug)]
struct Facts {
    started: Wall,
    answered: Option<Wall>,
    callee: Option<Arc<User>>,
    to: String,
    class: Option<NumberClass>,
    trunk: Option<String>,
    status: u16,
    warned: Warned,
    impp: Impp,
    video: bool,
}

impl Call {
    /// Begins with an INVITE whose sender was proved. The endpoint has read the Request-URI.
    ///
    /// # Errors
    /// When it cannot become a call: the response to send, and the record to keep.
    #[expect(clippy::too_many_arguments, reason = "all of it comes from one request")]
    pub fn begin<E: Entropy>(
        cx: &mut Context<'_, E>,
        id: MediaId,
        session: SessionId,
        caller: Caller,
        dialling: Dialling,
        server: ServerId,
        flow: Flow,
        invite: Request,
    ) -> Result<Self, Box<(Response, CallRecord)>> {
        let now = cx.now.wall;
        let refuse = |response: Response| {
            let record = refused(now, session, &caller, &invite, response.status, Cause::PeerFailed);
            Box::new((response, record))
        };
        let offer = read_offer(cx, &invite, &invite.headers, &invite.body).map_err(|response| refuse(*response))?;
        let Dialling { dialled, device, depth } = dialling;
        let breadth = match invite.headers.opt::<MaxBreadth>() {
            Ok(given) => given.map(|MaxBreadth(breadth)| breadth.min(BREADTH)),
            Err(_) => return Err(refuse(invite.response(Status::BAD_REQUEST))),
        };
        if breadth == Some(0) {
            return Err(refuse(invite.response(Status::MAX_BREADTH_EXCEEDED)));
        }
        let wish = Wish::read(&invite).map_err(|response| refuse(*response))?;
        let contact = invite::contact(cx, flow, is_sips(&invite.uri));
        let dialog = Dialog::answering(cx.dialogs, &invite, flow, &cx.draw(), &contact)
            .map_err(|_| refuse(invite.response(Status::BAD_REQUEST)))?;
        let exchange = if offer.is_some() {
            Exchange::Theirs
        } else {
            Exchange::Blank
        };
        let mut near = Leg::new(LegId(0), Side::Caller, dialog, exchange, cx.entropy);
        near.can.learn(&invite.headers);
        near.can.reliable |= invite::requires(&invite, "100rel");
        near.hear(&invite.body);
        let mut call = Self::blank(cx, id, session, caller, invite, flow, &dialled);
        call.asked = Some(server);
        call.wish = wish;
        (call.device, call.depth, call.breadth) = (device, depth, breadth);
        call.facts.video = offer.as_ref().is_some_and(|offer| offer.video);
        call.offer = offer.map(Box::new);
        near.private = call.begun.private;
        let trying = call.begun.invite().map(|invite| invite.response(Status::TRYING));
        call.legs.push(near);
        debug!(leg = "caller", to = %Pii(&call.facts.to), "call begins");
        cx.emit(CallOutput::Join(call.legs[0].dialog.id(), flow));
        if let Some(trying) = trying {
            respond(cx, server, trying);
        }
        match routing::lookup(&dialled) {
            Some(lookup) => {
                call.phase = Phase::Locating(dialled);
                cx.emit(CallOutput::Fetch(lookup));
            }
            None => call.route(cx, dialled, Owner::Nobody),
        }
        Ok(call)
    }

    /// A call of which nobody knows yet.
    fn blank<E>(
        cx: &Context<'_, E>,
        id: MediaId,
        session: SessionId,
        caller: Caller,
        invite: Request,
        near_flow: Flow,
        dialled: &Dialled,
    ) -> Self {
        let facts = Facts {
            started: cx.now.wall,
            answered: None,
            callee: None,
            to: name_of(dialled),
            class: class_of(dialled),
            trunk: None,
            status: 0,
            warned: Warned::None,
            impp: Impp::Absent,
            video: false,
        };
        Self {
            id,
            session,
            caller,
            phase: Phase::Over,
            deadline: Some(cx.now.instant + cx.settings.ring_timeout),
            secure: is_sips(&invite.uri),
            begun: Begun::by(invite),
            asked: None,
            wish: Wish::default(),
            near_flow,
            device: None,
            depth: 0,
            breadth: None,
            offer: None,
            legs: Vec::with_capacity(USUAL_LEGS),
            next_leg: 1,
            invitations: Vec::new(),
            plan: None,
            attempts: Attempts::default(),
            turns: Turns::default(),
            pair: None,
            speaking: None,
            held_answer: None,
            crossings: Vec::new(),
            own: Vec::new(),
            orphans: Vec::new(),
            media: None,
            limits: Limits::default(),
            tokens: 0,
            open: Vec::new(),
            facts,
            recorded: false,
            recorded_elsewhere: false,
            held_bye: None,
            demanded: None,
            redirects: Vec::new(),
            elsewhere: Vec::new(),
            transfer: None,
            on_behalf: None,
            payer_said: None,
            for_caller: None,
            for_callee: None,
            placing: None,
            is_placed: false,
            departed: None,
            replaced: None,
            claiming: false,
            joining: None,
        }
    }

    /// The correlation id.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// The user of ours who began it.
    #[must_use]
    pub fn begun_by(&self) -> Option<&BareJid> {
        self.caller.user()
    }

    /// Through how many calls of ours the same request came before this one.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Whether the caller asked for that very address.
    #[must_use]
    pub fn asks_for(&self, uri: &Uri) -> bool {
        self.begun.asks_for(uri)
    }

    /// Whether the caller wants every hop to be secure (RFC 3261 §26.2.2).
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Whether nobody has got what they asked for yet: a caller an answer, or another call one for somebody in it.
    fn is_unanswered(&self) -> bool {
        self.asked.is_some() || self.on_behalf.is_some() || self.placing.is_some()
    }

    /// How many targets are invited at one time.
    fn width(&self, plan: &Plan) -> usize {
        let breadth = self.breadth.unwrap_or(BREADTH);
        plan.targets.len().min(usize::try_from(breadth).unwrap_or(usize::MAX))
    }

    /// What each branch may branch on; none where there is nothing to share out.
    fn share(&self, plan: &Plan) -> Option<u32> {
        let width = u32::try_from(self.width(plan)).unwrap_or(BREADTH).max(1);
        (self.breadth.is_some() || width > 1).then(|| (self.breadth.unwrap_or(BREADTH) / width).max(1))
    }

    /// Whether nothing more can come of this call, late answers included.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over) && self.open.is_empty() && self.held_bye.is_none() && !self.claiming
    }

    /// When [`handle_timeout`](Self::handle_timeout) is wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let legs = self
            .legs
            .iter()
            .flat_map(|leg| [leg.sending.poll_timeout(), leg.timer.poll_timeout(), leg.until]);
        let rest = [
            self.turns.poll_timeout(),
            self.deadline,
            self.joining.as_ref().map(|(at, _)| *at),
            self.attempts.poll_timeout(),
            self.limits.poll_timeout(),
        ];
        legs.chain(rest).flatten().min()
    }

    /// The store's answer to the lookup; `None` when the store did not answer.
    pub fn handle_fetched<E: Entropy>(&mut self, cx: &mut Context<'_, E>, answer: Option<Option<Arc<User>>>) {
        let dialled = match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Locating(dialled) => dialled,
            // It has ended meanwhile.
            other => {
                self.phase = other;
                return;
            }
        };
        match answer {
            None => {
                warn!(session = %self.session, dependency = "user-store", "answering 503");
                self.refuse(cx, Status::SERVICE_UNAVAILABLE, Cause::Overloaded);
            }
            Some(owner) => {
                let owner = owner.map_or(Owner::Nobody, Owner::User);
                self.route(cx, dialled, owner);
            }
        }
    }

    /// Something from the media engine.
    pub fn handle_media<E: Entropy>(&mut self, cx: &mut Context<'_, E>, event: &MediaEvent) {
        match event {
            MediaEvent::Opened { caller, callee, .. } => match std::mem::replace(&mut self.phase, Phase::Over) {
                Phase::Opening(plan) => {
                    self.media = Some(Media::Relayed {
                        caller: invite::media_told(cx, self.near_flow, *caller),
                        callee: invite::media_told(cx, plan.first_flow(), *callee),
                    });
                    self.introduce(cx, plan);
                }
                other => self.phase = other,
            },
            MediaEvent::Refused { why, .. } => {
                warn!(session = %self.session, dependency = "media", ?why, "answering 503");
                self.refuse(cx, Status::SERVICE_UNAVAILABLE, Cause::Overloaded);
            }
            MediaEvent::Played { side: Side::Caller, .. } if matches!(self.phase, Phase::Warning(_)) => {
                self.warned(cx);
            }
            MediaEvent::Played { side, .. } => self.transfer_played(cx, *side),
            MediaEvent::Reported { stats, .. } => self.listened(cx, stats.heard()),
            MediaEvent::Closed { .. } if !matches!(self.phase, Phase::Over) => {
                warn!(session = %self.session, dependency = "media", "the relay dropped a call");
                self.hang_up_both(cx, Cause::Overloaded);
            }
            MediaEvent::Closed { .. } | MediaEvent::Failed => {}
        }
    }

    /// The caller gave up before the answer (RFC 3261 §9.2); the CANCEL itself is answered already.
    pub fn handle_cancel<E: Entropy>(&mut self, cx: &mut Context<'_, E>, server: ServerId) {
        if self.asked == Some(server) {
            self.abandon(cx, Status::REQUEST_TERMINATED, Cause::Cancelled);
        } else {
            self.cancel_crossing(cx, server);
        }
    }

    /// A request within one of the dialogs of this call. ACK has [`handle_ack`](Self::handle_ack).
    pub fn handle_request<E: Entropy>(
        &mut self,
        cx: &mut Context<'_, E>,
        id: DialogId,
        server: ServerId,
        flow: Flow,
        request: &Request,
    ) {
        let Some(leg) = self.addressed(id, request) else {
            return respond(cx, server, request.response(Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST));
        };
        let name = leg.id;
        if let Err(why) = leg.dialog.accept(request, flow) {
            let status = match why {
                Misplaced::NotOurs => Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST,
                Misplaced::OutOfOrder => Status::SERVER_INTERNAL_ERROR,
                Misplaced::Malformed => Status::BAD_REQUEST,
            };
            return respond(cx, server, request.response(status));
        }
        self.name_session(name);
        if let Some(refusal) = invite::unknown_extension(request) {
            return respond(cx, server, refusal);
        }
        match request.method {
            Method::Bye => self.bye(cx, name, server, request),
            Method::Invite => self.reinvite(cx, name, server, request),
            Method::Update => self.update(cx, name, server, request),
            Method::Info => self.info(cx, name, server, request),
            Method::Prack => self.prack(cx, name, server, request),
            Method::Refer => self.refer(cx, name, server, request),
            Method::Subscribe => self.subscribe(cx, name, server, request),
            Method::Options => respond(cx, server, capabilities(request)),
            // There is no subscription (RFC 6665 §4.1.3).
            Method::Notify => respond(cx, server, request.response(Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST)),
            Method::Other(_) => respond(cx, server, request.response(Status::NOT_IMPLEMENTED)),
            _ => respond(cx, server, invite::not_allowed_within(request)),
        }
    }

    /// An ACK for a 2xx of ours.
    pub fn handle_ack<E: Entropy>(&mut self, cx: &mut Context<'_, E>, id: DialogId, flow: Flow, ack: &Request) {
        let Some(leg) = self.addressed(id, ack) else { return };
        let name = leg.id;
        let Ok(number) = leg.dialog.accept(ack, flow) else {
            return;
        };
        let by_caller = leg.side == Side::Caller;
        if by_caller {
            self.release_bye(cx);
        }
        match self.phase {
            Phase::Answering if by_caller => {
                self.phase = Phase::Up;
                debug!(leg = "caller", "acknowledged");
                self.late_answer(cx, name, ack);
            }
            Phase::Up => self.crossing_acknowledged(cx, name, number, ack),
            _ => {}
        }
    }

    /// A response to a request of ours.
    pub fn handle_response<E: Entropy>(&mut self, cx: &mut Context<'_, E>, token: Token, response: &Response) {
        let is_final = response.status.is_final();
        let is_first = is_final && self.settle(token);
        if let Some(index) = self.invitations.iter().position(|made| made.token == token) {
            return self.invited(cx, index, response);
        }
        if !is_first {
            return;
        }
        if let Some(at) = self.crossings.iter().position(|crossing| crossing.token == token) {
            self.crossed(cx, at, response);
        } else if let Some(at) = self.own.iter().position(|own| own.token == token) {
            self.own_answered(cx, at, response);
        } else {
            self.orphan_answered(cx, token, response);
        }
    }

    /// A request of ours got no answer, or could not be sent.
    pub fn handle_failed<E: Entropy>(&mut self, cx: &mut Context<'_, E>, token: Token, why: Failure) {
        if !self.settle(token) {
            return;
        }
        if let Some(index) = self.invitations.iter().position(|made| made.token == token) {
            let status = match why {
                Failure::TimedOut => Status::REQUEST_TIMEOUT,
                Failure::Transport | Failure::Full | Failure::Unsendable => Status::FLOW_FAILED,
            };
            return self.failed(cx, index, status);
        }
        if let Some(at) = self.crossings.iter().position(|crossing| crossing.token == token) {
            self.crossing_failed(cx, at);
        } else if let Some(at) = self.own.iter().position(|own| own.token == token) {
            self.own_failed(cx, at);
        } else {
            self.orphans.retain(|(orphan, _)| *orphan != token);
        }
    }

    /// No response to a request of ours will come any more, not even another branch's: in a call that was answered nobody
    /// asks again how it was invited.
    pub fn handle_ended(&mut self, token: Token) {
        if self.is_unanswered() || self.facts.answered.is_none() {
            return;
        }
        self.invitations.retain(|made| made.token != token);
        if self.invitations.is_empty() {
            (self.invitations, self.plan) = (Vec::new(), None);
            self.open.shrink_to_fit();
        }
    }

    /// A 2xx of ours was never acknowledged (RFC 3261 §13.3.1.4).
    pub fn handle_unacknowledged<E: Entropy>(&mut self, cx: &mut Context<'_, E>) {
        self.hang_up_both(cx, Cause::PeerFailed);
        self.release_bye(cx);
    }

    /// Time has come to `cx.now`.
    pub fn handle_timeout<E: Entropy>(&mut self, cx: &mut Context<'_, E>) {
        self.silence(cx);
        self.turn_over(cx);
        if self.deadline.is_some_and(|deadline| deadline <= cx.now.instant) {
            self.deadline = None;
            self.release_bye(cx);
            if matches!(
                self.phase,
                Phase::Locating(_) | Phase::Opening(_) | Phase::Warning(_) | Phase::Ringing
            ) {
                self.abandon(cx, Status::TEMPORARILY_UNAVAILABLE, Cause::NoAnswer);
            }
        }
        self.end_of_patience(cx);
        self.join_again(cx);
        self.keep_up(cx);
    }

    /// The service stops: both sides are told.
    pub fn shut_down<E: Entropy>(&mut self, cx: &mut Context<'_, E>) {
        if self.is_unanswered() {
            self.abandon(cx, Status::SERVICE_UNAVAILABLE, Cause::Shutdown);
        } else {
            self.hang_up_both(cx, Cause::Shutdown);
        }
    }

    /// Tells the relay where a leg wants its media.
    fn aim<E: Entropy>(&self, cx: &mut Context<'_, E>, leg: LegId, description: &Description) {
        let Some(leg) = self.leg(leg).filter(|_| self.is_relayed()) else {
            return;
        };
        let target = description.target(Some(leg.dialog.flow().remote.ip()));
        cx.emit(CallOutput::Media(MediaCommand::Aim {
            id: self.id,
            side: leg.side,
            target,
        }));
    }

    fn send<E: Entropy>(&mut self, cx: &mut Context<'_, E>, flow: Flow, request: Request) -> Token {
        let token = self.token();
        cx.emit(CallOutput::Send { token, flow, request });
        token
    }

    fn token(&mut self) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        self.open.push(token);
        token
    }

    /// Whether a request of ours has no final answer yet.
    #[must_use]
    pub fn awaits(&self, token: Token) -> bool {
        self.open.contains(&token)
    }

    /// A request of ours has its final answer, or will have none. False if that is nothing new.
    fn settle(&mut self, token: Token) -> bool {
        let at = self.open.iter().position(|open| *open == token);
        at.map(|at| self.open.swap_remove(at)).is_some()
    }

    /// Which way media goes to that side.
    fn way(&self, side: Side) -> Option<Way> {
        self.media.map(|media| media.way(side))
    }

    /// Whether the relay has ports for this call.
    fn is_relayed(&self) -> bool {
        matches!(self.media, Some(Media::Relayed { .. }))
    }
}

/// What is dialled, and on whose behalf in the end.
#[derive(Debug)]
pub struct Dialling {
    /// What the request line says.
    pub dialled: Dialled,
    /// The one device that it names, if it does (RFC 5627).
    pub device: Option<Device>,
    /// Through how many calls of ours the same request came before.
    pub depth: usize,
}

/// The record of a call that ended before it began.
#[must_use]
pub fn refused(
    now: Wall,
    session: SessionId,
    caller: &Caller,
    invite: &Request,
    status: Status,
    cause: Cause,
) -> CallRecord {
    let (jid, from) = caller.named(|| begun::claimed_from(invite));
    info!(session = %session, leg = "caller", status = status.code(), cause = ?cause, "call refused");
    CallRecord {
        session,
        started: now,
        answered: None,
        ended: now,
        caller: jid,
        from,
        callee: None,
        to: invite.uri.to_string(),
        class: None,
        trunk: match caller {
            Caller::Trunk { name } => Some(name.clone()),
            Caller::User { .. } => None,
        },
        cause,
        status: status.code(),
        warning: Warned::None,
        impp: Impp::Absent,
    }
}

/// Queues an answer.
fn respond<E: Entropy>(cx: &mut Context<'_, E>, server: ServerId, response: Response) {
    cx.emit(CallOutput::Respond { server, response });
}

/// What media may not be sent to.
fn rules<'a, E>(cx: &'a Context<'_, E>) -> &'a Rules {
    &cx.settings.media
}

/// The session description of a message, if it has one.
///
/// A body of another type is refused with 415 and what we take (RFC 3261 §8.2.3).
fn read_offer<E>(
    cx: &Context<'_, E>,
    request: &Request,
    headers: &Headers,
    body: &Bytes,
) -> Result<Option<Description>, Box<Response>> {
    if body.is_empty() {
        return Ok(None);
    }
    let is_sdp = headers
        .opt::<ContentType>()
        .ok()
        .flatten()
        .is_some_and(|kind| kind.is("application/sdp"));
    if !is_sdp {
        return Err(Box::new(invite::unsupported_media(request)));
    }
    Description::read(body, rules(cx)).map(Some).map_err(|fault| {
        let status = Status::new(fault.status()).unwrap_or(Status::NOT_ACCEPTABLE_HERE);
        Box::new(request.response(status))
    })
}

/// What the record calls the callee: an AOR, a canonical number, or emergency digits.
fn name_of(dialled: &Dialled) -> String {
    match dialled {
        Dialled::Number { tel, .. } => tel.to_string(),
        Dialled::Emergency { digits } => digits.clone(),
        Dialled::Name(aor) | Dialled::Extension(aor) => aor.to_string(),
        Dialled::Foreign(uri) => Uri::Sip((**uri).clone()).to_string(),
    }
}

fn class_of(dialled: &Dialled) -> Option<NumberClass> {
    match dialled {
        Dialled::Number { class, .. } => Some(*class),
        Dialled::Emergency { .. } => Some(NumberClass::Emergency),
        Dialled::Name(_) | Dialled::Extension(_) | Dialled::Foreign(_) => None,
    }
}

fn is_sips(uri: &Uri) -> bool {
    matches!(uri, Uri::Sip(uri) if uri.secure)
}

/// That of the caller and that of the callee.
const USUAL_LEGS: usize = 2;
/// How many branches a request may have where nobody says otherwise (RFC 5393 §5.3.3).
const BREADTH: u32 = 60;
