//! What a phone writes to prove who it is (RFC 7616).

use cusax_common::core::sip::typed::Challenge;
use cusax_common::core::sip::{HeaderName, digest};
use cusax_common::core::user::Algorithm;

use super::users;

/// What a proof is for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Of the request.
    pub method: &'a str,
    /// Of the request.
    pub uri: &'a str,
    /// How often the phone has used the nonce, this time included.
    pub count: u32,
    /// Makes the phone's own nonce another one each time.
    pub salt: u32,
}

/// The whole line for this phone: `header` says whether a registrar or a proxy asked.
#[must_use]
pub fn line(header: &HeaderName, index: u32, challenge: &Challenge, asked: &Asked<'_>) -> String {
    let user = users::login(index);
    let (realm, nonce) = (
        challenge.realm().unwrap_or_default(),
        challenge.nonce().unwrap_or_default(),
    );
    let &Asked {
        method,
        uri,
        count,
        salt,
    } = asked;
    let algorithm = challenge.algorithm().unwrap_or(Algorithm::Md5);
    let ha1 = digest::ha1(algorithm, &user, realm, &users::password(index));
    let (cnonce, count) = (format!("{index:08x}{salt:08x}"), format!("{count:08x}"));
    let qop = challenge.offers_auth().then_some("auth");
    let response = digest::response(algorithm, &ha1, nonce, &count, &cnonce, qop, method, uri);
    let counted = if qop.is_some() {
        format!(", qop=auth, nc={count}, cnonce=\"{cnonce}\"")
    } else {
        String::new()
    };
    format!(
        "{header}: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
         response=\"{response}\", algorithm={}{counted}\r\n",
        algorithm.as_str(),
        header = header.as_str(),
    )
}
