//! Somebody who speaks SIP by hand over any transport and keeps a dialog.
//!
//! A party says only what it is told to, apart from a few reflexes that every user agent has: it acknowledges failures,
//! lets itself be cancelled and hung up, and thanks for NOTIFY and PRACK. A 2xx is acknowledged only when a test says so.

use std::net::SocketAddr;

use cusax_b2bua::core::flow::Transport;
use cusax_common::core::sip::typed::{Contact, ContentType, NameAddr, RSeq, To};
use cusax_common::core::sip::{
    HeaderName, Headers, Message, Method, Request, Response, Status, TypedHeader as _, Value,
};

use super::hand::{Text, proof};
use super::{DOMAIN, World};

/// What a party knows of its dialog.
#[derive(Clone, Debug)]
pub struct Talk {
    /// The Call-ID.
    pub call_id: String,
    /// Its own address, as `<sip:…>`.
    pub local: String,
    /// Its own tag.
    pub tag: String,
    /// The other's address, as `<sip:…>`.
    pub remote: String,
    /// The other's tag, once it is known.
    pub remote_tag: Option<String>,
    /// Where requests are addressed.
    pub target: String,
    /// The number of the last request.
    pub sequence: u32,
}

/// A request as it is sent, with what its answers repeat.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The message.
    pub text: Text,
    /// The method.
    pub method: String,
    /// The number in CSeq.
    pub number: u32,
    call_id: String,
}

/// A user of the scene, or a stranger.
#[derive(Debug)]
pub struct Party {
    /// Where it is.
    pub address: SocketAddr,
    /// The dialog, or what it would like to be one.
    pub talk: Talk,
    /// Everything that came, copies included.
    pub inbox: Vec<Message>,
    /// An INVITE that it was sent and has not answered finally.
    pub invited: Option<Request>,
    /// A reliable provisional response that it has not acknowledged: its RSeq, and the number of its INVITE.
    pub reliable: Option<(u32, u32)>,
    /// It leaves BYE unanswered.
    pub ignores_bye: bool,
    name: &'static str,
    transport: Transport,
    asked: Vec<Ask>,
    /// The last reliable provisional response that it has acknowledged.
    acknowledged: Option<(u32, u32)>,
    /// The description that it has answered an INVITE of this number with, which it repeats (RFC 3261 §13.2.1).
    described: Option<(u32, String)>,
    branches: u32,
    versions: u32,
    heard: usize,
    reacted: usize,
}

impl Party {
    /// The user of this name, at this address, on this transport, by the service's listener of that number. What is on
    /// the wire is kept from now on.
    pub fn new(
        world: &mut World,
        name: &'static str,
        address: SocketAddr,
        (transport, listener): (Transport, u16),
    ) -> Self {
        if transport.reliable() {
            world.connect(address, transport, listener);
        }
        let heard = world.wire.get_or_insert_default().len();
        Self {
            address,
            talk: Talk {
                call_id: format!("{name}-calls"),
                local: format!("<sip:{name}.phone@{DOMAIN}>"),
                tag: format!("{name}-tag"),
                remote: String::new(),
                remote_tag: None,
                target: String::new(),
                sequence: FIRST,
            },
            inbox: Vec::new(),
            invited: None,
            reliable: None,
            ignores_bye: false,
            name,
            transport,
            asked: Vec::new(),
            acknowledged: None,
            described: None,
            branches: 0,
            versions: 0,
            heard,
            reacted: 0,
        }
    }

    /// The next request of this method, with what such a request carries.
    pub fn ask(&mut self, method: &str) -> Ask {
        self.talk.sequence += 1;
        self.ask_as(method, self.talk.sequence)
    }

    /// The same with a number of its own.
    pub fn ask_as(&mut self, method: &str, number: u32) -> Ask {
        self.branches += 1;
        let Talk {
            call_id,
            local,
            tag,
            remote,
            remote_tag,
            target,
            ..
        } = &self.talk;
        let to = match remote_tag {
            Some(tag) => format!("{remote};tag={tag}"),
            None => remote.clone(),
        };
        let lines = [
            (
                "Via",
                format!(
                    "SIP/2.0/{} {};branch=z9hG4bK{}{};rport",
                    self.transport, self.address, self.name, self.branches
                ),
            ),
            ("Max-Forwards", "70".to_owned()),
            ("From", format!("{local};tag={tag}")),
            ("To", to),
            ("Call-ID", call_id.clone()),
            ("CSeq", format!("{number} {method}")),
            ("Contact", self.contact()),
            ("Allow", ALLOWED.to_owned()),
            (
                "User-Agent",
                "A pen and some paper, which may be of any length".to_owned(),
            ),
        ];
        let text = Text {
            start: format!("{method} {target} SIP/2.0"),
            lines: lines.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            body: String::new(),
        };
        Ask {
            call_id: call_id.clone(),
            text: self.furnish(method, text),
            method: method.to_owned(),
            number,
        }
    }

    /// What makes a request of this method more than a first line.
    fn furnish(&mut self, method: &str, text: Text) -> Text {
        match method {
            "INVITE" | "UPDATE" => {
                let sdp = self.sdp();
                text.carrying("application/sdp", sdp)
            }
            "PRACK" => {
                self.acknowledged = self.reliable.take().or(self.acknowledged);
                let (response, invite) = self.acknowledged.unwrap_or((1, self.talk.sequence));
                text.and("RAck", &format!("{response} {invite} INVITE"))
            }
            "INFO" => text.carrying("application/dtmf-relay", "Signal=1\r\nDuration=160\r\n".to_owned()),
            "REFER" => text.and("Refer-To", &format!("<sip:nobody.phone@{DOMAIN}>")),
            "NOTIFY" => text
                .and("Event", "refer")
                .and("Subscription-State", "active;expires=60")
                .carrying("message/sipfrag", "SIP/2.0 100 Trying\r\n".to_owned()),
            "SUBSCRIBE" | "PUBLISH" => text.and("Event", "presence").and("Expires", "3600"),
            "MESSAGE" => text.carrying("text/plain", "Are you there?".to_owned()),
            "REGISTER" => text.and("Expires", "3600"),
            _ => text,
        }
    }

    /// The ACK for the 2xx to that INVITE (RFC 3261 §13.2.2.4).
    pub fn ack(&mut self, invite: &Ask) -> Ask {
        self.ask_as("ACK", invite.number)
    }

    /// The same with the answer to the offer that the 2xx made.
    pub fn answering_ack(&mut self, invite: &Ask) -> Ask {
        let (mut ack, sdp) = (self.ack(invite), self.sdp());
        ack.text = ack.text.carrying("application/sdp", sdp);
        ack
    }

    /// The CANCEL of that INVITE (RFC 3261 §9.1).
    #[must_use]
    pub fn cancel(&self, invite: &Ask) -> Ask {
        derived(invite, "CANCEL", None)
    }

    /// Sends it.
    pub fn say(&mut self, world: &mut World, ask: &Ask) {
        world.inject(self.address, ask.text.written());
        self.asked.push(ask.clone());
    }

    /// Answers a request, with a description if it is about a session and is taken.
    ///
    /// # Panics
    /// If the code is none, or a line is no header.
    pub fn answer(&mut self, world: &mut World, request: &Request, code: u16, lines: &[(&str, &str)]) {
        let mut response = request.response(Status::new(code).expect("a status of a test"));
        if code > 100
            && let Ok(To(to)) = response.headers.one::<To>()
            && to.tag().is_none()
        {
            response.headers.replace(&To(to.with_tag(&self.talk.tag)));
        }
        if (101..300).contains(&code) {
            let uri = self.contact();
            let uri = uri.trim_matches(['<', '>']).parse().expect("an address of a test");
            response.headers.replace(&Contact(NameAddr::new(uri)));
            response.headers.push(HeaderName::ALLOW, Value::of_static(ALLOWED));
        }
        for (name, value) in lines {
            let name: HeaderName = name.parse().expect("a header name of a test");
            response.headers.push(name, Value::cleaned(value));
        }
        let offered = match request.method {
            // Without an offer in it, the answer makes one (RFC 3261 §13.3.1.4).
            Method::Invite => true,
            Method::Update => !request.body.is_empty(),
            _ => false,
        };
        // A session progresses with a description of it, and is taken with one.
        if offered && (code == 183 || (200..300).contains(&code)) {
            response.headers.put(&ContentType::SDP);
            response.body = self.description(request).into();
        }
        if request.method == Method::Invite && code >= 200 {
            self.invited = None;
        }
        world.inject(self.address, response.to_bytes());
    }

    /// Takes the dialog of an INVITE.
    pub fn join(&mut self, invite: &Request) {
        let (Ok(to), Ok(from), Ok(call_id)) = (invite.headers.to(), invite.headers.from(), invite.headers.call_id())
        else {
            return;
        };
        self.talk = Talk {
            call_id: call_id.to_text().into_owned(),
            local: format!("<{}>", to.0.uri),
            tag: self.talk.tag.clone(),
            remote: format!("<{}>", from.0.uri),
            remote_tag: from.0.tag().map(str::to_owned),
            target: target(&invite.headers).unwrap_or_default(),
            sequence: FIRST,
        };
    }

    /// Hears what came, and does what every user agent does without being told.
    pub fn listen(&mut self, world: &mut World) {
        let wire = world.wire.get_or_insert_default();
        let came = wire.iter().skip(self.heard).filter(|(_, to, _)| *to == self.address);
        let messages = came.filter_map(|(_, _, bytes)| Message::parse(bytes.clone()).ok());
        self.inbox.extend(messages);
        self.heard = wire.len();
        while let Some(message) = self.inbox.get(self.reacted).cloned() {
            self.reacted += 1;
            match message {
                Message::Request(request) => self.react(world, request),
                Message::Response(response) => self.learn(world, &response),
            }
        }
    }

    fn react(&mut self, world: &mut World, request: Request) {
        match request.method {
            Method::Bye if self.ignores_bye => {}
            Method::Bye | Method::Notify | Method::Prack => self.answer(world, &request, 200, &[]),
            Method::Cancel => {
                self.answer(world, &request, 200, &[]);
                if let Some(invite) = self.invited.take() {
                    self.answer(world, &invite, 487, &[]);
                }
            }
            Method::Invite => self.invited = Some(request),
            _ => {}
        }
    }

    fn learn(&mut self, world: &mut World, response: &Response) {
        let Ok(cseq) = response.cseq() else { return };
        if cseq.method != Method::Invite {
            return;
        }
        let code = response.status.code();
        if code >= 300 {
            let invite = self.asked.iter().find(|ask| ask.is_answered_by(response)).cloned();
            if let Some(invite) = invite {
                let to = response.headers.one::<To>().ok();
                world.inject(self.address, derived(&invite, "ACK", to).text.written());
            }
            return;
        }
        if let (None, Ok(To(to))) = (&self.talk.remote_tag, response.headers.one::<To>())
            && let Some(tag) = to.tag()
        {
            self.talk.remote_tag = Some(tag.to_owned());
            self.talk.target = target(&response.headers).unwrap_or_default();
        }
        if let (true, Ok(RSeq(number))) = (code < 200, response.headers.one()) {
            let said = Some((number, cseq.seq));
            self.reliable = said.filter(|_| said != self.acknowledged);
        }
    }

    /// The final responses to this request among what came from `mark` on, each once, by their code.
    #[must_use]
    pub fn finals(&self, ask: &Ask, mark: usize) -> Vec<Response> {
        let mut finals: Vec<Response> = Vec::new();
        for message in &self.inbox[mark..] {
            if let Message::Response(response) = message
                && response.status.is_final()
                && ask.is_answered_by(response)
                && finals.iter().all(|one| one.status != response.status)
            {
                finals.push(response.clone());
            }
        }
        finals
    }

    /// The requests that came from `mark` on, without copies.
    pub fn requests(&self, mark: usize) -> impl Iterator<Item = &Request> {
        let name = |message: &Message| match message {
            Message::Request(request) => request.cseq().ok().map(|cseq| (cseq.seq, cseq.method)),
            Message::Response(_) => None,
        };
        let (mut seen, late): (Vec<_>, _) = (
            self.inbox[..mark].iter().filter_map(name).collect(),
            self.inbox[mark..].iter(),
        );
        late.filter_map(move |message| match message {
            Message::Request(request) => {
                let name = name(message)?;
                let fresh = !seen.contains(&name);
                seen.push(name);
                fresh.then_some(request)
            }
            Message::Response(_) => None,
        })
    }

    /// Whether a request of this method came from `mark` on.
    #[must_use]
    pub fn was_asked(&self, method: &Method, mark: usize) -> bool {
        self.requests(mark).any(|request| request.method == *method)
    }

    /// Adds the proof that an answer asks for, and the next number.
    pub fn proved(&mut self, ask: &Ask, challenged: &Response) -> Option<Ask> {
        let (method, uri) = (ask.method.as_str(), ask.text.start.split(' ').nth(1)?);
        let (login, password) = (format!("{}.phone", self.name), format!("{}-secret", self.name));
        let (name, value) = proof(challenged, &login, &password, method, uri)?;
        let mut again = self.ask(method);
        again.text.start.clone_from(&ask.text.start);
        for kept in ["To", "Require", "Supported"] {
            if let Some((_, value)) = ask.text.lines.iter().find(|(name, _)| name == kept) {
                again.text = again.text.with(kept, value);
            }
        }
        again.text = again.text.and(&name, &value);
        Some(again)
    }

    fn contact(&self) -> String {
        let transport = self.transport.parameter();
        let transport = transport.map(|word| format!(";transport={word}")).unwrap_or_default();
        format!("<sip:{}@{}{transport}>", self.name, self.address)
    }

    fn description(&mut self, request: &Request) -> String {
        let number = request.cseq().map_or(0, |cseq| cseq.seq);
        if let Some((_, sdp)) = self.described.as_ref().filter(|(described, _)| *described == number) {
            return sdp.clone();
        }
        let sdp = self.sdp();
        self.described = Some((number, sdp.clone()));
        sdp
    }

    fn sdp(&mut self) -> String {
        self.versions += 1;
        let (version, ip) = (self.versions, self.address.ip());
        format!("v=0\r\no=- 1 {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n")
    }
}

impl Ask {
    /// The same without a body.
    #[must_use]
    pub fn without_body(mut self) -> Self {
        self.text.body = String::new();
        self.text.lines.retain(|(name, _)| name != "Content-Type");
        self
    }

    fn is_answered_by(&self, response: &Response) -> bool {
        response
            .cseq()
            .is_ok_and(|cseq| cseq.seq == self.number && cseq.method.as_str() == self.method)
            && response.headers.call_id().is_ok_and(|id| id == *self.call_id)
    }
}

/// What goes the way of an INVITE: its CANCEL, or the ACK for a failure (RFC 3261 §9.1, §17.1.1.3).
fn derived(invite: &Ask, method: &str, to: Option<To>) -> Ask {
    let mut ask = invite.clone();
    method.clone_into(&mut ask.method);
    ask.text.start = ask.text.start.replacen("INVITE", method, 1);
    ask.text.body = String::new();
    let kept = ["Via", "Max-Forwards", "From", "To", "Call-ID", "CSeq"];
    ask.text.lines.retain(|(name, _)| kept.contains(&name.as_str()));
    ask.text = ask.text.with("CSeq", &format!("{} {method}", invite.number));
    if let Some(to) = to {
        let mut value = String::new();
        to.write(&mut value);
        ask.text = ask.text.with("To", &value);
    }
    ask
}

fn target(headers: &Headers) -> Option<String> {
    let contacts = headers.list::<Contact>().ok()?;
    contacts.first().map(|Contact(contact)| contact.uri.to_string())
}

/// High enough that there are lower numbers.
const FIRST: u32 = 10;

/// What each end says that it takes (RFC 3311 §5.1).
const ALLOWED: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, PRACK, UPDATE, INFO, REFER, NOTIFY";
