//! REFER (RFC 3515): one side asks for the other to be joined with somebody else, and hears by NOTIFY what becomes of it.
//!
//! The one who asks pays: it is their call to the new callee, and policy is asked as if they had dialled. It is made by a
//! call of its own ([`transfer`](super::transfer)), which takes the leg that remains from this one when it is answered. With
//! Replaces (RFC 3891) there is a call already, and its other side is taken instead.
//!
//! Whoever asked may hang up at once, or wait; the one who remains is kept until the new call has come to something.

use std::collections::VecDeque;
use std::time::Duration;

use cusax_common::core::entropy::Entropy;
use cusax_common::core::id::SessionId;
use cusax_common::core::policy;
use cusax_common::core::record::Cause;
use cusax_common::core::sip::typed::{
    CSeq, ContentType, Event, Expires, NameAddr, ReferTo, Replaces, SubscriptionState, TypedHeader as _,
};
use cusax_common::core::sip::{Headers, Method, Params, Request, Status, Uri};
use tracing::debug;

use super::output::Word;
use super::setup::tone_of;
use super::speaker::Speaker;
use super::upkeep::What;
use super::{Call, CallOutput, Caller, Context, Leg, LegId, Phase, invite, respond, rules};
use crate::core::cause::Because;
use crate::core::flow::Flow;
use crate::core::media::rewrite::{Description, Direction};
use crate::core::media::{MediaCommand, MediaId, PlayCodec, Side, Tone};
use crate::core::transaction::ServerId;

/// What a side asks for, for whoever makes the new call.
#[derive(Debug)]
pub struct Referral {
    /// Who is to be called.
    pub target: Uri,
    /// The call of theirs whose place is to be taken, as they know it.
    pub replaces: Option<Replaces>,
    /// Who pays.
    pub payer: Caller,
    /// How they want to be named.
    pub payer_said: Headers,
    /// Who is to be joined with the callee, and where they are.
    pub remaining: Speaker,
    /// Their flow.
    pub flow: Flow,
    /// Their side's session, to be offered to the callee.
    pub offer: Description,
    /// The address of the one who asks; none if they want not to be named.
    pub referred_by: Option<NameAddr>,
    /// Whether the session must not be heard on the way (RFC 3261 §26.2.2).
    pub secure: bool,
    /// The correlation id of the new call, where it is the same to whoever asked.
    pub session: Option<SessionId>,
}

/// A transfer that is under way.
#[derive(Debug)]
pub struct Transfer {
    /// Who asked.
    by: LegId,
    side: Side,
    /// The number of the REFER, if it is not the first one in its dialog (RFC 3515 §2.4.6).
    id: Option<u32>,
    /// The call that is being made, once it is.
    to: Option<MediaId>,
    /// What they were last told.
    told: Option<Status>,
    /// They have unsubscribed.
    is_silent: bool,
    /// They have hung up meanwhile, for this reason.
    gone: Option<Cause>,
    /// Who hears a warning.
    warned: Side,
    /// For which call it is being heard.
    warned_for: Option<MediaId>,
}

impl Transfer {
    /// One that we carry out for the callee, and that no caller has asked for; if it fails, this is why the call ends.
    pub(super) fn of_ours(nobody: LegId, cause: Cause) -> Self {
        Self {
            gone: Some(cause),
            warned: Side::Callee,
            ..Self::asked(nobody, Side::Caller, None)
        }
    }

    fn asked(by: LegId, side: Side, id: Option<u32>) -> Self {
        Self {
            by,
            side,
            id,
            to: None,
            told: None,
            is_silent: false,
            gone: None,
            warned: side,
            warned_for: None,
        }
    }
}

/// What a leg is told of its transfers: one NOTIFY at a time.
#[derive(Debug, Default)]
pub struct Notices {
    /// One has no answer yet.
    in_flight: bool,
    waiting: VecDeque<Notice>,
}

#[derive(Debug)]
struct Notice {
    /// Of which REFER.
    id: Option<u32>,
    status: Status,
    /// Why it is the last one, if it is.
    end: Option<&'static str>,
}

impl Notices {
    /// A state that was not told yet, and is not the last one, is told no more when there is a newer one.
    fn add(&mut self, notice: Notice) {
        let is_old = |last: &mut Notice| last.end.is_none() && last.id == notice.id;
        self.waiting.pop_back_if(is_old);
        self.waiting.push_back(notice);
    }

    /// Whether so much waits that nothing more may be asked for.
    fn is_full(&self) -> bool {
        self.waiting.len() >= MAX_WAITING
    }
}

/// A leg that goes from one call to another.
#[derive(Debug)]
pub struct Moved {
    /// The dialog.
    pub leg: Leg,
    /// Who is at its end.
    pub speaker: Speaker,
}

impl Call {
    /// A side asks for a transfer.
    pub(super) fn refer<E: Entropy>(
        &mut self,
        cx: &mut Context<'_, E>,
        by: LegId,
        server: ServerId,
        request: &Request,
    ) {
        let is_full = self.leg(by).is_some_and(|leg| leg.notices.is_full());
        if !matches!(self.phase, Phase::Up) || self.transfer.is_some() || self.is_unsettled() || is_full {
            return respond(cx, server, request.response(Status::REQUEST_PENDING));
        }
        let (target, replaces) = match read(request) {
            Ok(read) => read,
            Err(status) => return respond(cx, server, request.response(status)),
        };
        let Some(referral) = self.referral(cx, by, target, replaces) else {
            return respond(cx, server, request.response(Status::FORBIDDEN));
        };
        let Some(leg) = self.leg_mut(by) else { return };
        leg.dialog.refresh(&request.headers);
        let id = request.headers.one::<CSeq>().ok().filter(|_| leg.referred);
        leg.referred = true;
        let (side, answer) = (leg.side, invite::within(leg, request, Status::ACCEPTED));
        respond(cx, server, answer);
        debug!(leg = ?side, "transfer asked for");
        self.transfer = Some(Box::new(Transfer::asked(by, side, id.map(|cseq| cseq.seq))));
        self.notify(cx, Status::TRYING, None);
        cx.emit(CallOutput::Refer(Box::new(referral)));
    }

    /// What is asked for, if whoever asks may have it.
    fn referral<E>(&self, cx: &Context<'_, E>, by: LegId, target: Uri, replaces: Option<Replaces>) -> Option<Referral> {
        let side = self.leg(by)?.side;
        let payer = self.payer_at(side)?;
        let remaining = self.leg(self.pair?.of(side.other()))?;
        let offer = Description::read(&remaining.heard, rules(cx)).ok()?.resumed();
        let asking = self.speaker_at(side)?;
        let is_private = crate::core::identity::wants_privacy(&asking.said);
        let referred_by = asking.user.as_ref().filter(|_| !is_private);
        Some(Referral {
            target,
            replaces,
            payer,
            payer_said: asking.said.clone(),
            remaining: self.speaker_at(side.other())?,
            flow: remaining.dialog.flow(),
            offer,
            referred_by: referred_by.and_then(|(_, aor)| Some(NameAddr::new(aor.as_str().parse().ok()?))),
            secure: self.is_secure(),
            session: None,
        })
    }

    /// What the call that is made on our behalf, or that is to be joined, has to say.
    pub fn handle_word<E: Entropy>(&mut self, cx: &mut Context<'_, E>, from: MediaId, word: Word) {
        match word {
            Word::Begun => match &mut self.transfer {
                Some(transfer) => {
                    transfer.to = Some(from);
                    // What a user wanted from the beginning is one call to them: that one.
                    self.recorded_elsewhere |= self.is_placed;
                }
                // It is over, and is kept for what is still to be answered.
                None => cx.emit(CallOutput::Tell(from, Word::Abandon)),
            },
            Word::Progress(status) => self.transfer_progress(cx, status),
            Word::Failed(status) => self.transfer_failed(cx, status),
            Word::Warn(tone) => self.warn_referrer(cx, from, tone),
            Word::Claim => {
                let moved = self.hand_over(cx).map(Box::new);
                cx.emit(CallOutput::Tell(from, Word::Leg(moved)));
            }
            Word::Abandon if self.on_behalf.is_some() => {
                self.abandon(cx, Status::REQUEST_TERMINATED, Cause::Cancelled);
            }
            // Its answer was quicker: it hears that the leg is no more.
            Word::Abandon => {}
            Word::Warned(is_heard) => self.referrer_warned(cx, is_heard),
            Word::Replace(replaced) => self.replace(cx, from, &replaced),
            Word::Leg(moved) => {
                self.claiming = false;
                self.take_over(cx, moved);
            }
        }
    }

    fn transfer_progress<E: Entropy>(&mut self, cx: &mut Context<'_, E>, status: Status) {
        if self
            .transfer
            .as_ref()
            .is_some_and(|transfer| transfer.told != Some(status))
        {
            self.notify(cx, status, None);
        }
    }

    /// It came to nothing. If who asked is still there, the call goes on as it was.
    fn transfer_failed<E: Entropy>(&mut self, cx: &mut Context<'_, E>, status: Status) {
        debug!(status = status.code(), "transfer failed");
        self.notify(cx, status, Some(ENDED));
        let Some(transfer) = self.transfer.take() else { return };
        if transfer.warned_for.is_some() {
            self.stop_tone(cx, transfer.warned);
        }
        if let Some(cause) = transfer.gone {
            if self.is_placed {
                self.facts.status = status.code();
            }
            self.settle_crossings(cx);
            self.end(cx, cause, Some(transfer.side.other()), Because::Status(status));
        }
    }

    /// Whether a BYE of this leg leaves the other one waiting for a transfer.
    pub(super) fn referrer_leaves<E: Entropy>(&mut self, cx: &mut Context<'_, E>, leg: LegId, cause: Cause) -> bool {
        let Some(transfer) = self.transfer.as_mut().filter(|transfer| transfer.by == leg) else {
            return false;
        };
        transfer.gone = Some(cause);
        let (side, warned_for) = (transfer.side, transfer.warned_for.take());
        if let Some(call) = warned_for {
            cx.emit(CallOutput::Tell(call, Word::Warned(false)));
        }
        self.settle_crossings(cx);
        self.leave(cx, leg);
        // Only one of the two is on the phone any more.
        self.tell_busy(cx, false);
        self.departed = Some(side);
        self.tell_busy(cx, true);
        if let Some(remaining) = self.pair.map(|pair| pair.of(side.other()))
            && let Some(leg) = self.leg_mut(remaining)
        {
            leg.peer = None;
        }
        self.ring(cx, side.other());
        true
    }

    /// Somebody has asked whether the one who asks for a transfer still wants it.
    #[must_use]
    pub fn wants_transfer(&self) -> bool {
        self.transfer.is_some()
    }

    /// Whether one side waits for a transfer, and the one who asked for it is gone.
    pub(super) fn is_waiting(&self) -> bool {
        self.transfer.as_ref().is_some_and(|transfer| transfer.gone.is_some())
    }

    /// Whoever waits hears that somebody is being called.
    pub(super) fn ring<E: Entropy>(&mut self, cx: &mut Context<'_, E>, side: Side) {
        if let Some(codec) = self.tone_codec(cx, side) {
            cx.emit(CallOutput::Media(MediaCommand::Play {
                id: self.id,
                side,
                tone: RINGING,
                codec,
            }));
        }
    }

    /// How a tone is played to a side; none where it would not be heard, as by a phone that holds the other side.
    fn tone_codec<E>(&self, cx: &Context<'_, E>, side: Side) -> Option<PlayCodec> {
        let leg = self.leg(self.pair?.of(side)).filter(|_| self.is_relayed())?;
        let described = Description::read(&leg.heard, rules(cx)).ok()?;
        let listens = matches!(described.direction, Direction::SendReceive | Direction::ReceiveOnly);
        let hears = listens && described.remote_rtp.is_some();
        described.g711.filter(|_| hears)
    }

    /// The payer is warned before the paid leg is dialled: here, where they are.
    fn warn_referrer<E: Entropy>(&mut self, cx: &mut Context<'_, E>, call: MediaId, tone: policy::Tone) {
        let there = |transfer: &&Transfer| transfer.gone.is_none() || transfer.warned != transfer.side;
        let payer = self.transfer.as_deref().filter(there).map(|transfer| transfer.warned);
        let codec = payer.and_then(|side| Some((side, self.tone_codec(cx, side)?)));
        let Some((side, codec)) = codec else {
            return cx.emit(CallOutput::Tell(call, Word::Warned(false)));
        };
        if let Some(transfer) = &mut self.transfer {
            transfer.warned_for = Some(call);
        }
        cx.emit(CallOutput::Media(MediaCommand::Play {
            id: self.id,
            side,
            tone: tone_of(tone),
            codec,
        }));
    }

    /// A tone has ended.
    pub(super) fn transfer_played<E: Entropy>(&mut self, cx: &mut Context<'_, E>, side: Side) {
        let Some(transfer) = self.transfer.as_mut().filter(|transfer| transfer.warned == side) else {
            return;
        };
        if let Some(call) = transfer.warned_for.take() {
            self.stop_tone(cx, side);
            if self.is_placed {
                self.ring(cx, side);
            }
            cx.emit(CallOutput::Tell(call, Word::Warned(true)));
        }
    }

    fn stop_tone<E: Entropy>(&self, cx: &mut Context<'_, E>, side: Side) {
        cx.emit(CallOutput::Media(MediaCommand::Stop { id: self.id, side }));
    }

    /// The call ends under a transfer: the one that is being made for it is over as well.
    pub(super) fn drop_transfer<E: Entropy>(&mut self, cx: &mut Context<'_, E>) {
        self.notify(cx, Status::REQUEST_TERMINATED, Some(ENDED));
        if let Some(transfer) = self.transfer.take()
            && let Some(call) = transfer.to
        {
            cx.emit(CallOutput::Tell(call, Word::Abandon));
        }
    }

    /// Gives the leg that remains to the call that was made for it: this one is over. None if there is nothing to give.
    fn hand_over<E: Entropy>(&mut self, cx: &mut Context<'_, E>) -> Option<Moved> {
        let transfer = self.transfer.as_ref()?;
        let side = transfer.side.other();
        let speaker = self.speaker_at(side)?;
        let remaining = self.pair?.of(side);
        self.leg(remaining).filter(|leg| leg.up)?;
        self.settle_crossings(cx);
        let at = self.legs.iter().position(|leg| leg.id == remaining)?;
        let mut leg = self.legs.remove(at);
        super::ending::acknowledge_open(cx, &mut leg);
        self.orphan_refreshes(&leg);
        (leg.peer, leg.invited, leg.notices) = (None, None, Notices::default());
        // What was called goes on to cost its caller until it is over.
        if side == Side::Callee && !self.recorded_elsewhere && leg.earlier.len() < MAX_EARLIER {
            let record = self.record(cx.now.wall, Cause::Transferred);
            if let Some(jid) = record.caller.clone() {
                cx.emit(CallOutput::Owes { jid, more: true });
            }
            leg.earlier.push(record);
            leg.until = leg.until.into_iter().chain(self.limits.end()).min();
            self.recorded_elsewhere = true;
        }
        debug!("transferred");
        self.notify(cx, Status::OK, Some(ENDED));
        self.transfer = None;
        self.end(cx, Cause::Transferred, None, Because::Nothing);
        self.expect_goodbye(cx, side.other());
        Some(Moved { leg, speaker })
    }

    /// Tells the one who asked how it stands (RFC 3515 §2.4.4, §2.4.5).
    fn notify<E: Entropy>(&mut self, cx: &mut Context<'_, E>, status: Status, end: Option<&'static str>) {
        let Some(transfer) = self.transfer.as_mut() else { return };
        if transfer.is_silent || transfer.gone.is_some() {
            return;
        }
        transfer.told = Some(status);
        let (by, id) = (transfer.by, transfer.id);
        let Some(leg) = self.leg_mut(by) else { return };
        leg.notices.add(Notice { id, status, end });
        if !leg.notices.in_flight {
            self.notify_next(cx, by);
        }
    }

    /// What was answered to the last NOTIFY of a leg, if anything was: the next one may be sent. By two at once the later one
    /// could come first.
    pub(super) fn notified<E: Entropy>(&mut self, cx: &mut Context<'_, E>, by: LegId, status: Option<Status>) {
        let Some(leg) = self.leg_mut(by) else { return };
        leg.notices.in_flight = false;
        if ends_subscription(status) {
            leg.notices.waiting.clear();
            if let Some(transfer) = self.transfer.as_mut().filter(|transfer| transfer.by == by) {
                transfer.is_silent = true;
            }
        }
        self.notify_next(cx, by);
    }

    /// A leg is about to be hung up: what it has not been told yet is told now, answered or not.
    pub(super) fn notify_rest<E: Entropy>(&mut self, cx: &mut Context<'_, E>, by: LegId) {
        while self.leg(by).is_some_and(|leg| !leg.notices.waiting.is_empty()) {
            self.notify_next(cx, by);
        }
    }

    fn notify_next<E: Entropy>(&mut self, cx: &mut Context<'_, E>, by: LegId) {
        let Some(leg) = self.leg_mut(by) else { return };
        let Some(Notice { id, status, end }) = leg.notices.waiting.pop_front() else {
            return;
        };
        leg.notices.in_flight = true;
        let mut event = Event::new(PACKAGE);
        if let Some(id) = id {
            event.params.set("id", Some(&id.to_string()));
        }
        let mut request = leg.dialog.request(Method::Notify);
        request.headers.put(&event);
        request.headers.put(&state(end));
        let mut kind = ContentType::SIPFRAG;
        kind.params.set("version", Some("2.0"));
        request.headers.put(&kind);
        request.body = format!("SIP/2.0 {} {}\r\n", status.code(), status.reason()).into();
        let flow = leg.dialog.flow();
        let token = self.send(cx, flow, request);
        self.note(token, by, What::Notify);
    }

    /// Whoever asked no longer wants to hear, or for longer (RFC 6665 §4.1.2). The transfer goes on all the same (RFC 3515
    /// §2.4.4).
    pub(super) fn subscribe<E: Entropy>(
        &mut self,
        cx: &mut Context<'_, E>,
        by: LegId,
        server: ServerId,
        request: &Request,
    ) {
        let is_refer = matches!(request.headers.opt::<Event>(), Ok(Some(event)) if &*event.package == PACKAGE);
        if !is_refer {
            return respond(cx, server, request.response(Status::BAD_EVENT));
        }
        // §2.4.4: only a REFER begins one.
        if self.transfer.as_ref().is_none_or(|transfer| transfer.by != by) {
            return respond(cx, server, request.response(Status::FORBIDDEN));
        }
        let Ok(expires) = request.headers.opt::<Expires>() else {
            return respond(cx, server, request.response(Status::BAD_REQUEST));
        };
        let seconds = expires.map_or(SUBSCRIBED, |Expires(seconds)| seconds.min(SUBSCRIBED));
        let Some(leg) = self.leg(by) else { return };
        let mut answer = invite::within(leg, request, Status::OK);
        answer.headers.replace(&Expires(seconds));
        respond(cx, server, answer);
        let status = self.transfer.as_ref().and_then(|transfer| transfer.told);
        self.notify(
            cx,
            status.unwrap_or(Status::TRYING),
            (seconds == 0).then_some("timeout"),
        );
        if let Some(transfer) = self.transfer.as_mut().filter(|_| seconds == 0) {
            transfer.is_silent = true;
        }
    }
}

/// Whether the answer to a NOTIFY, or none at all, says that nobody wants to hear more (RFC 6665 §4.2.2).
fn ends_subscription(status: Option<Status>) -> bool {
    let code = status.map_or(408, Status::code);
    matches!(code, 404 | 405 | 408 | 410 | 416 | 480..=485 | 489 | 501 | 604)
}

/// Who is to be called, and in whose place: the one Refer-To (RFC 3515 §2.1). Of the headers that its URI asks for, only
/// Replaces is taken: whoever asks has no say in the others.
fn read(request: &Request) -> Result<(Uri, Option<Replaces>), Status> {
    let ReferTo(to) = request.headers.one::<ReferTo>().map_err(|_| Status::BAD_REQUEST)?;
    let mut target = to.uri;
    let Uri::Sip(uri) = &mut target else {
        return Ok((target, None));
    };
    let method = uri.params.value("method");
    if method.is_some_and(|method| !method.eq_ignore_ascii_case(Method::Invite.as_str())) {
        return Err(Status::NOT_ACCEPTABLE);
    }
    let replaces = match uri.header("Replaces") {
        Some(text) => Some(Replaces::parse(&text).map_err(|_| Status::BAD_REQUEST)?),
        None => None,
    };
    uri.headers = None;
    uri.params.remove("method");
    Ok((target, replaces))
}

fn state(end: Option<&str>) -> SubscriptionState {
    let (state, params) = match end {
        Some(reason) => ("terminated", Params::new().with("reason", Some(reason))),
        None => ("active", Params::new().with("expires", Some(&SUBSCRIBED.to_string()))),
    };
    SubscriptionState {
        state: state.into(),
        params,
    }
}

/// The event package (RFC 3515 §3.1).
const PACKAGE: &str = "refer";
/// Why a subscription ends when there is nothing more to tell (RFC 3515 §2.4.7).
const ENDED: &str = "noresource";
/// For how many seconds whoever asked is told how it stands; longer than any call rings.
const SUBSCRIBED: u32 = 600;
/// The most that a leg may still have to be told of its transfers.
const MAX_WAITING: usize = 4;
/// How many calls one leg may have been part of that are still to be recorded.
const MAX_EARLIER: usize = 8;

/// What the one who waits hears: the ringing tone of most of Europe, for as long as any call rings.
const RINGING: Tone = Tone {
    frequency: 425,
    on: Duration::from_secs(1),
    off: Duration::from_secs(4),
    repetitions: u8::MAX,
    level: Tone::LEVEL,
};
