//! The INVITE that began a call: all of it until nobody is to be answered or invited by it any more, and then the little
//! that is asked of it later.

use cusax_common::core::sip::{Headers, Request, Uri};

use crate::core::identity;

/// What is known of the INVITE that began a call.
#[derive(Debug)]
pub struct Begun {
    invite: Option<Box<Request>>,
    /// Its number.
    pub seq: u32,
    /// Whether its sender wants not to be named.
    pub private: bool,
    /// The request line's address and the claimed one of the sender, once the rest is forgotten.
    remains: Option<Box<(String, String)>>,
}

impl Begun {
    /// By this INVITE.
    pub fn by(invite: Request) -> Self {
        Self {
            seq: invite.headers.cseq().map_or(0, |cseq| cseq.seq),
            private: identity::wants_privacy(&invite.headers),
            invite: Some(Box::new(invite)),
            remains: None,
        }
    }

    /// The INVITE itself, as long as it is of use.
    pub fn invite(&self) -> Option<&Request> {
        self.invite.as_deref()
    }

    /// Its lines; none when it is of no use any more.
    pub fn headers(&self) -> &Headers {
        static NONE: Headers = Headers::new();
        self.invite().map_or(&NONE, |invite| &invite.headers)
    }

    /// Whether it asked for that very address.
    pub fn asks_for(&self, uri: &Uri) -> bool {
        match (&self.invite, &self.remains) {
            (Some(invite), _) => invite.uri.same_as(uri),
            (None, Some(remains)) => remains.0.parse().is_ok_and(|asked: Uri| asked.same_as(uri)),
            (None, None) => false,
        }
    }

    /// The address that its sender claims to have.
    pub fn claimed_from(&self) -> String {
        match (&self.invite, &self.remains) {
            (Some(invite), _) => claimed_from(invite),
            (None, Some(remains)) => remains.1.clone(),
            (None, None) => String::new(),
        }
    }

    /// Nobody is answered or invited by it any more.
    pub fn forget(&mut self, keeps_claim: bool) {
        if let Some(invite) = self.invite.take() {
            let claim = keeps_claim.then(|| claimed_from(&invite));
            self.remains = Some(Box::new((invite.uri.to_string(), claim.unwrap_or_default())));
        }
    }
}

/// The address that the sender of an INVITE claims to have.
pub fn claimed_from(invite: &Request) -> String {
    let from = invite.headers.from();
    from.map_or_else(|_| String::new(), |from| from.uri.to_string())
}
