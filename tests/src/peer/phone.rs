//! A SIP phone: registers, calls, answers, hangs up. It answers challenges, keeps its dialog, and remembers what it
//! heard. The same machine plays a trunk's far end, which has no account.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cusax_b2bua::core::flow::{Flow, Identity, ListenerId, Transport};
use cusax_b2bua::core::transaction::{ClientId, Limits, Output, ServerId, Transactions};
use cusax_common::core::entropy::{Entropy, Seeded};
use cusax_common::core::sip::typed::{
    Authorization, CSeq, CallId, Challenge, Contact, ContentType, Credentials, DigestProof, Expires, From, MaxForwards,
    NameAddr, ProxyAuthenticate, ProxyAuthorization, To, Via, WwwAuthenticate,
};
use cusax_common::core::sip::{
    HeaderName, Headers, Host, Message, Method, Request, Response, Status, Uri, Value, digest,
};

/// How a phone treats calls that come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Rings, and answers after a while.
    Answer(Duration),
    /// Says 486 at once.
    Busy,
    /// Says this at once.
    Refuse(u16),
    /// Is a proxy that sends calls back to where they came from, for its own address; with another parameter each time
    /// if this is set.
    Forward(bool),
    /// Rings for ever.
    Ring,
    /// Says nothing at all.
    Mute,
    /// Says nothing for so long, and then this; with a provisional status it rings for ever.
    Late(Duration, u16),
    /// Rings, and after a while says this.
    Quit(Duration, u16),
}

/// Who a phone is.
#[derive(Clone, Debug)]
pub struct Account {
    /// `sip:user@domain`
    pub aor: String,
    /// For the digest.
    pub username: String,
    /// For the digest.
    pub password: String,
}

/// What a call is for one of its phones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// No call.
    Idle,
    /// We called; the last provisional status.
    Calling(u16),
    /// We are called.
    Ringing,
    /// Answered by whoever was called.
    Up,
    /// It ended; with a failure status if it was never up.
    Over(Option<u16>),
}

/// One phone.
pub struct Phone {
    /// Where it is.
    pub address: SocketAddr,
    /// Where it sends everything.
    pub server: SocketAddr,
    /// Who it is; none for a trunk.
    pub account: Option<Account>,
    /// How it treats calls.
    pub manner: Manner,
    /// What is going on.
    pub stage: Stage,
    /// Every message that came in.
    pub heard: Vec<Message>,
    /// Extra header lines for the INVITEs that it sends.
    pub extra: Vec<(String, String)>,
    /// Extra header lines for the REGISTERs that it sends.
    pub registering: Vec<(String, String)>,
    /// Parameters of its Contact in REGISTERs, as `+sip.instance="<urn:uuid:…>"`.
    pub contact_params: Vec<(String, String)>,
    /// Whether its Contact in REGISTERs is a `sips:` address.
    pub secure_contact: bool,
    /// Whether it asks for a proof, for this realm, of whoever changes or ends the call.
    pub demands: Option<String>,
    /// What it puts into From instead of its own address.
    pub claim: Option<String>,
    transactions: Transactions,
    entropy: Seeded,
    out: VecDeque<(SocketAddr, Bytes)>,
    dialog: Option<Dialog>,
    pending: Option<(ClientId, Request)>,
    invited: Option<(ServerId, Request)>,
    answer_at: Option<Instant>,
    /// What it says then.
    answer: Status,
    tries: u32,
    sequence: u32,
    /// The user hung up before the answer; one that crosses the CANCEL is hung up again.
    given_up: bool,
    /// How often it has changed its mind about the session.
    described: u32,
    /// It holds the other one.
    holding: bool,
    proofs: Vec<String>,
}

#[derive(Clone)]
struct Dialog {
    call_id: String,
    local: NameAddr,
    remote: NameAddr,
    target: Uri,
    sequence: u32,
}

impl Phone {
    /// A phone that is switched on and knows nobody.
    pub fn new(address: SocketAddr, server: SocketAddr, account: Option<Account>, seed: u64) -> Self {
        let mut entropy = Seeded::new(seed);
        let secret = entropy.bytes::<32>();
        Self {
            address,
            server,
            account,
            manner: Manner::Answer(Duration::from_secs(1)),
            stage: Stage::Idle,
            heard: Vec::new(),
            extra: Vec::new(),
            registering: Vec::new(),
            contact_params: Vec::new(),
            secure_contact: false,
            demands: None,
            claim: None,
            transactions: Transactions::new(Limits::default(), &secret),
            entropy,
            out: VecDeque::new(),
            dialog: None,
            pending: None,
            invited: None,
            answer_at: None,
            answer: Status::OK,
            tries: 0,
            sequence: 0,
            given_up: false,
            described: 0,
            holding: false,
            proofs: Vec::new(),
        }
    }

    /// Registers for so many seconds; zero takes the phone away.
    pub fn register(&mut self, now: Instant, seconds: u32) {
        let Some(account) = self.account.clone() else { return };
        let domain = account.aor.rsplit('@').next().unwrap_or_default();
        let aor = NameAddr::new(uri(&account.aor));
        let mut request = self.begin(Method::Register, uri(&format!("sip:{domain}")), &aor, &aor);
        request.headers.put(&Expires(seconds));
        let mut contact = self.contact();
        if let (true, Uri::Sip(uri)) = (self.secure_contact, &mut contact.uri) {
            uri.secure = true;
        }
        for (name, value) in &self.contact_params {
            contact.params.set(name, Some(value));
        }
        request.headers.replace(&Contact(contact));
        add(&mut request, &self.registering);
        self.send(now, request);
    }

    /// Calls somebody.
    pub fn call(&mut self, now: Instant, whom: &str) {
        let own = match (&self.claim, &self.account) {
            (Some(claim), _) => claim.clone(),
            (None, Some(account)) => account.aor.clone(),
            (None, None) => format!("sip:+15550100@{}", self.address.ip()),
        };
        let mut request = self.begin(
            Method::Invite,
            uri(whom),
            &NameAddr::new(uri(&own)),
            &NameAddr::new(uri(whom)),
        );
        add(&mut request, &self.extra);
        request.headers.put(&ContentType::SDP);
        request.body = self.sdp();
        self.stage = Stage::Calling(0);
        self.given_up = false;
        self.send(now, request);
    }

    /// Ends whatever there is: cancels a call of ours that is not up, refuses one that rings, else BYE.
    pub fn hang_up(&mut self, now: Instant) {
        match self.stage {
            Stage::Calling(_) => {
                self.given_up = true;
                if let Some((client, _)) = &self.pending {
                    self.transactions.cancel(now, *client, None);
                    self.settle(now);
                }
            }
            Stage::Ringing => self.finish(now, Status::DECLINE),
            Stage::Up => {
                if let Some(dialog) = &mut self.dialog {
                    dialog.sequence += 1;
                    let dialog = dialog.clone();
                    let request = self.within(&dialog, Method::Bye, dialog.sequence);
                    self.send(now, request);
                }
                self.stage = Stage::Over(None);
            }
            Stage::Idle | Stage::Over(_) => {}
        }
    }

    /// Sends a request of this method within the call.
    pub fn ask(&mut self, now: Instant, method: &Method) {
        let Some(dialog) = &mut self.dialog else { return };
        dialog.sequence += 1;
        let dialog = dialog.clone();
        let request = self.within(&dialog, method.clone(), dialog.sequence);
        self.send(now, request);
    }

    /// Sends a re-INVITE: holds the other one, or takes it back.
    pub fn reinvite(&mut self, now: Instant) {
        let Some(dialog) = &mut self.dialog else { return };
        dialog.sequence += 1;
        let dialog = dialog.clone();
        (self.described, self.holding) = (self.described + 1, !self.holding);
        let mut request = self.within(&dialog, Method::Invite, dialog.sequence);
        request.headers.put(&ContentType::SDP);
        request.body = self.sdp();
        self.send(now, request);
    }

    /// A datagram came.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, bytes: Bytes) {
        if let Ok(message) = Message::parse(bytes) {
            self.heard.push(message.clone());
            self.transactions.handle_message(now, self.flow(from), message);
        }
        self.settle(now);
    }

    /// Time has come to `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.answer_at.is_some_and(|at| at <= now) {
            self.answer_at = None;
            self.finish(now, self.answer);
        }
        self.transactions.handle_timeout(now);
        self.settle(now);
    }

    /// The earliest deadline.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.answer_at, self.transactions.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next datagram to send.
    pub fn poll_output(&mut self) -> Option<(SocketAddr, Bytes)> {
        self.out.pop_front()
    }

    /// The digest responses that it sent: secrets.
    #[must_use]
    pub fn proofs(&self) -> Vec<String> {
        self.proofs.clone()
    }

    /// The requests of one method that came in, copies included.
    pub fn requests(&self, method: &Method) -> Vec<&Request> {
        let requests = self.heard.iter().filter_map(|message| match message {
            Message::Request(request) => Some(request),
            Message::Response(_) => None,
        });
        requests.filter(|request| request.method == *method).collect()
    }

    /// The responses that came in, copies included.
    pub fn responses(&self) -> Vec<&Response> {
        let responses = self.heard.iter().filter_map(|message| match message {
            Message::Response(response) => Some(response),
            Message::Request(_) => None,
        });
        responses.collect()
    }

    /// The last response that came in.
    ///
    /// # Panics
    /// If there was none.
    #[must_use]
    pub fn last_response(&self) -> Response {
        let last = self.responses().last().copied();
        last.expect("a response").clone()
    }

    fn settle(&mut self, now: Instant) {
        while let Some(output) = self.transactions.poll_output() {
            match output {
                Output::Transmit { flow, bytes } | Output::Reply { flow, bytes } | Output::TurnAway { flow, bytes } => {
                    self.out.push_back((flow.remote, bytes));
                }
                Output::Request { server, request, .. } => self.asked(now, server, request),
                Output::Response { client, response } => self.answered(now, client, &response),
                Output::Cancelled { .. } => {
                    self.answer_at = None;
                    self.finish(now, Status::REQUEST_TERMINATED);
                }
                Output::Failed { client, .. } => {
                    if self.pending.as_ref().is_some_and(|(pending, _)| *pending == client) {
                        self.pending = None;
                        if matches!(self.stage, Stage::Calling(_)) {
                            self.stage = Stage::Over(Some(408));
                        }
                    }
                }
                Output::Ack { .. } | Output::Unacknowledged { .. } | Output::Ended { .. } | Output::Refused { .. } => {}
            }
        }
    }

    fn forward(&mut self, now: Instant, mut request: Request, changing: bool) {
        let Some(account) = &self.account else { return };
        let mark = if changing {
            format!(";x={}", self.heard.len())
        } else {
            String::new()
        };
        request.uri = uri(&format!("{}{mark}", account.aor));
        // A user agent takes no answer that has a Via besides its own (RFC 3261 §8.1.3.3).
        while request.headers.remove_top::<Via>().is_ok() {}
        // The service would know its own media address again, and refuse it.
        request.headers.remove(&HeaderName::CONTENT_TYPE);
        request.body = Bytes::new();
        self.tries = 0;
        self.send(now, request);
    }

    fn asked(&mut self, now: Instant, server: ServerId, request: Request) {
        let within = request.headers.one::<To>().is_ok_and(|to| to.tag().is_some());
        if let Some(realm) = self
            .demands
            .as_ref()
            .filter(|_| within && request.method != Method::Ack)
        {
            let mut response = request.response(Status::PROXY_AUTHENTICATION_REQUIRED);
            let challenge = format!("Digest realm=\"{realm}\", nonce=\"abc\", qop=\"auth\", algorithm=MD5");
            response
                .headers
                .push(HeaderName::PROXY_AUTHENTICATE, Value::cleaned(&challenge));
            let _ = self.transactions.respond(now, server, &response);
            return;
        }
        match request.method {
            Method::Invite if request.headers.one::<To>().is_ok_and(|to| to.tag().is_some()) => {
                let response = self.described(&request);
                let _ = self.transactions.respond(now, server, &response);
            }
            Method::Invite => match self.manner {
                Manner::Mute => {}
                Manner::Busy | Manner::Refuse(_) => {
                    let status = match self.manner {
                        Manner::Refuse(code) => Status::new(code).expect("a status"),
                        _ => Status::BUSY_HERE,
                    };
                    self.invited = Some((server, request));
                    self.finish(now, status);
                    self.stage = Stage::Idle;
                }
                Manner::Forward(changing) => self.forward(now, request, changing),
                manner => {
                    let tag = self.entropy.token::<8>();
                    self.dialog = Some(Dialog {
                        call_id: request.headers.one::<CallId>().expect("checked").as_str().to_owned(),
                        local: request.headers.one::<To>().expect("checked").0.with_tag(&tag),
                        remote: request.headers.one::<From>().expect("checked").0,
                        target: contact(&request.headers),
                        sequence: 0,
                    });
                    let ringing = self.dressed(request.response(Status::RINGING));
                    self.stage = Stage::Ringing;
                    self.invited = Some((server, request));
                    if !matches!(manner, Manner::Late(..)) {
                        let _ = self.transactions.respond(now, server, &ringing);
                    }
                    self.answer = match manner {
                        Manner::Late(_, code) | Manner::Quit(_, code) => Status::new(code).expect("a status"),
                        _ => Status::OK,
                    };
                    if let Manner::Answer(after) | Manner::Late(after, _) | Manner::Quit(after, _) = manner {
                        self.answer_at = Some(now + after);
                    }
                }
            },
            Method::Bye => {
                let known = self.dialog.as_ref().is_some_and(|dialog| {
                    request
                        .headers
                        .one::<To>()
                        .is_ok_and(|to| to.tag() == dialog.local.tag())
                });
                let status = if known {
                    Status::OK
                } else {
                    Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST
                };
                if known {
                    self.stage = Stage::Over(None);
                }
                let _ = self.transactions.respond(now, server, &request.response(status));
            }
            _ => {
                let _ = self.transactions.respond(now, server, &request.response(Status::OK));
            }
        }
    }

    fn answered(&mut self, now: Instant, client: ClientId, response: &Response) {
        let Ok(CSeq { method, seq }) = response.cseq() else {
            return;
        };
        match (method, response.status.code()) {
            (Method::Register | Method::Invite, 401 | 407) => self.prove(now, client, response),
            (Method::Invite, 100..=199) => {
                if let Stage::Calling(_) = self.stage {
                    self.stage = Stage::Calling(response.status.code());
                }
            }
            (Method::Invite, 200..=299) => {
                let fresh = self.pending.as_ref().is_some_and(|(pending, _)| *pending == client);
                if fresh {
                    let Some((_, request)) = self.pending.take() else {
                        return;
                    };
                    if !matches!(self.stage, Stage::Up) {
                        self.dialog = Some(Dialog {
                            call_id: request.headers.one::<CallId>().expect("ours").as_str().to_owned(),
                            local: request.headers.one::<From>().expect("ours").0,
                            remote: response.headers.one::<To>().expect("checked").0,
                            target: contact(&response.headers),
                            sequence: seq,
                        });
                        self.stage = Stage::Up;
                    }
                }
                if let Some(dialog) = self.dialog.clone() {
                    let mut ack = self.within(&dialog, Method::Ack, seq);
                    self.add_via(&mut ack);
                    self.out.push_back((self.server, ack.to_bytes()));
                }
                if fresh && self.given_up {
                    self.hang_up(now);
                }
            }
            (Method::Invite, status) => {
                self.pending = None;
                if let Stage::Calling(_) = self.stage {
                    self.stage = Stage::Over(Some(status));
                }
            }
            _ => {}
        }
    }

    /// Sends the request again with a proof, twice at the most.
    fn prove(&mut self, now: Instant, client: ClientId, response: &Response) {
        let (pending, account) = (self.pending.take(), self.account.clone());
        let (Some((_, mut request)), Some(account), false) = (
            pending.filter(|(pending, _)| *pending == client),
            account,
            self.given_up || self.tries >= 2,
        ) else {
            if let Stage::Calling(_) = self.stage {
                self.stage = Stage::Over(Some(response.status.code()));
            }
            return;
        };
        self.tries += 1;
        let mut proofs = Vec::new();
        let www = response.headers.list::<WwwAuthenticate>().unwrap_or_default();
        let proxy = response.headers.list::<ProxyAuthenticate>().unwrap_or_default();
        let mut challenge = |challenge: &Challenge| {
            let (realm, nonce) = (challenge.realm()?.to_owned(), challenge.nonce()?.to_owned());
            let algorithm = challenge.algorithm()?;
            let ha1 = digest::ha1(algorithm, &account.username, &realm, &account.password);
            let uri = request.uri.to_string();
            let method = request.method.as_str();
            let auth = Some((CNONCE, 1));
            let proof = digest::response(algorithm, &ha1, &nonce, "00000001", CNONCE, Some("auth"), method, &uri);
            proofs.push(proof.to_string());
            Some(Credentials::digest(&DigestProof {
                username: &account.username,
                realm: &realm,
                nonce: &nonce,
                uri: &uri,
                response: &proof,
                algorithm,
                opaque: challenge.opaque(),
                auth,
            }))
        };
        if let Some(credentials) = www.first().and_then(|www| challenge(&www.0)) {
            request.headers.replace(&Authorization(credentials));
        } else if let Some(credentials) = proxy.first().and_then(|proxy| challenge(&proxy.0)) {
            request.headers.replace(&ProxyAuthorization(credentials));
        }
        self.proofs.append(&mut proofs);
        self.sequence += 1;
        request
            .headers
            .replace(&CSeq::new(self.sequence, request.method.clone()));
        let _ = request.headers.remove_top::<Via>();
        let tries = self.tries;
        self.send(now, request);
        self.tries = tries;
    }

    /// Gives the call that rings its final answer.
    fn finish(&mut self, now: Instant, status: Status) {
        let Some((server, request)) = self.invited.take() else {
            return;
        };
        if !status.is_final() {
            let response = self.dressed(request.response(status));
            let _ = self.transactions.respond(now, server, &response);
            self.invited = Some((server, request));
            return self.settle(now);
        }
        let response = if status.is_success() {
            self.stage = Stage::Up;
            self.described(&request)
        } else {
            self.stage = Stage::Over(Some(status.code()));
            self.dressed(request.response(status))
        };
        let _ = self.transactions.respond(now, server, &response);
        self.settle(now);
    }

    /// A 200 with our description.
    fn described(&self, request: &Request) -> Response {
        let mut response = self.dressed(request.response(Status::OK));
        response.headers.put(&ContentType::SDP);
        response.body = self.sdp();
        response
    }

    fn dressed(&self, mut response: Response) -> Response {
        if let Some(dialog) = &self.dialog {
            response.headers.replace(&To(dialog.local.clone()));
        }
        response.headers.replace(&Contact(self.contact()));
        response
    }

    fn begin(&mut self, method: Method, to_uri: Uri, from: &NameAddr, to: &NameAddr) -> Request {
        let mut request = Request::new(method.clone(), to_uri);
        self.sequence += 1;
        self.tries = 0;
        request.headers.put(&MaxForwards(70));
        request
            .headers
            .put(&From(from.clone().with_tag(&self.entropy.token::<8>())));
        request.headers.put(&To(to.clone()));
        request.headers.put(&CallId::new(&self.entropy.token::<12>()));
        request.headers.put(&CSeq::new(self.sequence, method));
        request.headers.put(&Contact(self.contact()));
        request
    }

    fn within(&self, dialog: &Dialog, method: Method, sequence: u32) -> Request {
        let mut request = Request::new(method.clone(), dialog.target.clone());
        request.headers.put(&MaxForwards(70));
        request.headers.put(&From(dialog.local.clone()));
        request.headers.put(&To(dialog.remote.clone()));
        request.headers.put(&CallId::new(&dialog.call_id));
        request.headers.put(&CSeq::new(sequence, method));
        request.headers.put(&Contact(self.contact()));
        request
    }

    fn send(&mut self, now: Instant, mut request: Request) {
        self.add_via(&mut request);
        let client = self.transactions.send(now, self.flow(self.server), request.clone());
        if matches!(request.method, Method::Register | Method::Invite) {
            self.pending = Some((client, request));
        }
        self.settle(now);
    }

    fn add_via(&mut self, request: &mut Request) {
        let branch = format!("z9hG4bK{}", self.entropy.token::<8>());
        request.headers.insert_first(&Via::new(
            "UDP",
            Host::from(self.address.ip()),
            Some(self.address.port()),
            &branch,
        ));
    }

    fn contact(&self) -> NameAddr {
        NameAddr::new(uri(&format!("sip:phone@{}", self.address)))
    }

    fn flow(&self, remote: SocketAddr) -> Flow {
        Flow {
            listener: ListenerId(0),
            transport: Transport::Udp,
            remote,
            identity: Identity::NONE,
        }
    }

    fn sdp(&self) -> Bytes {
        let ip = self.address.ip();
        let (port, version) = (MEDIA, 1 + self.described);
        let direction = if self.holding { "sendonly" } else { "sendrecv" };
        Bytes::from(format!(
            "v=0\r\no=- 1 {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 101\r\n\
             a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na={direction}\r\n"
        ))
    }
}

/// Where a phone says that it hears: below the ports that the system gives to whoever asks for any, so that none of its
/// own sockets can have it already.
pub const MEDIA: u16 = 30_000;

/// Each nonce is used once, so this need not change.
const CNONCE: &str = "0a4f113b";

fn add(request: &mut Request, lines: &[(String, String)]) {
    for (name, value) in lines {
        let value = Value::new(value.clone()).expect("a header value");
        request.headers.push(name.parse().expect("a header name"), value);
    }
}

fn uri(text: &str) -> Uri {
    text.parse().expect("a URI of a test")
}

fn contact(headers: &Headers) -> Uri {
    headers
        .list::<Contact>()
        .ok()
        .and_then(|list| list.first().map(|contact| contact.uri.clone()))
        .expect("a Contact")
}
