//! The arithmetic of Digest authentication (RFC 7616 §3.4, RFC 8760).
//!
//! Nonces, their age and their counts belong to whoever challenges; here are only the hashes.

use std::fmt;
use std::ops::Deref;

use md5::{Digest as _, Md5};
use smallvec::SmallVec;

use crate::core::entropy::hex_pair;
use crate::core::user::Algorithm;

/// A hash as it is written: lower-case hexadecimal digits, in place, since each proof takes several.
#[derive(Clone, Copy)]
pub struct Hex {
    digits: [u8; 2 * MOST_BYTES],
    length: usize,
}

impl Hex {
    /// Those of a hash, which is cut after as many bytes as any of our algorithms gives.
    #[must_use]
    pub fn of(hash: &[u8]) -> Self {
        let mut digits = [0; 2 * MOST_BYTES];
        for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(hash) {
            *pair = hex_pair(*byte);
        }
        Self {
            digits,
            length: 2 * hash.len().min(MOST_BYTES),
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.digits[..self.length]
    }
}

impl Deref for Hex {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(self.bytes()).expect("digits are ASCII")
    }
}

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

/// The hash of `username:realm:password`, which a store keeps instead of the password (RFC 7616 §3.4.2).
#[must_use]
pub fn ha1(algorithm: Algorithm, username: &str, realm: &str, password: &str) -> String {
    hash(algorithm, &[username, realm, password]).to_string()
}

/// The proof for one request (RFC 7616 §3.4.1). Without `qop`, that of RFC 2069, into which `nc` and `cnonce` do not go.
#[expect(
    clippy::too_many_arguments,
    reason = "they are the parts of the formula, in its order"
)]
#[must_use]
pub fn response(
    algorithm: Algorithm,
    ha1: &str,
    nonce: &str,
    nc: &str,
    cnonce: &str,
    qop: Option<&str>,
    method: &str,
    uri: &str,
) -> Hex {
    let ha2 = hash(algorithm, &[method, uri]);
    match qop {
        Some(qop) => hash(algorithm, &[ha1, nonce, nc, cnonce, qop, &ha2]),
        None => hash(algorithm, &[ha1, nonce, &ha2]),
    }
}

/// Compares two secrets in a time that does not tell where they differ.
///
/// Every comparison of a secret goes through here.
#[must_use]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    let difference = |(x, y): (&u8, &u8)| x ^ y;
    a.len() == b.len() && std::hint::black_box(a.iter().zip(b).map(difference).fold(0, |all, one| all | one)) == 0
}

/// The same for two proofs, without regard to the case of their digits.
#[must_use]
pub fn same_proof(a: &str, b: &str) -> bool {
    let difference = |(x, y): (u8, u8)| x.to_ascii_lowercase() ^ y.to_ascii_lowercase();
    let pairs = a.bytes().zip(b.bytes());
    a.len() == b.len() && std::hint::black_box(pairs.map(difference).fold(0, |all, one| all | one)) == 0
}

/// The hash of the parts with colons between them, in hexadecimal digits.
fn hash(algorithm: Algorithm, parts: &[&str]) -> Hex {
    let mut text: SmallVec<[u8; USUAL_TEXT]> = SmallVec::new();
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            text.push(b':');
        }
        text.extend_from_slice(part.as_bytes());
    }
    match algorithm {
        Algorithm::Md5 => Hex::of(&Md5::digest(&text)),
        Algorithm::Sha256 => Hex::of(ring::digest::digest(&ring::digest::SHA256, &text).as_ref()),
        Algorithm::Sha512_256 => Hex::of(ring::digest::digest(&ring::digest::SHA512_256, &text).as_ref()),
    }
}

/// The most bytes that any of our algorithms gives.
pub(crate) const MOST_BYTES: usize = 32;
/// As long as most texts that are hashed.
const USUAL_TEXT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    /// Differences do not make up for one another.
    #[test]
    fn the_same_is_the_same_in_every_digit() {
        let rows = [
            ("00ff", "00FF", true),
            ("00ff", "11ff", false),
            ("0011", "1100", false),
            ("00ff", "00f", false),
        ];
        for (a, b, same_digits) in rows {
            assert_eq!(same_proof(a, b), same_digits, "{a} {b}");
            assert_eq!(same(a.as_bytes(), b.as_bytes()), same_digits && a == b, "{a} {b}");
        }
    }

    /// RFC 7616 §3.9.1.
    #[test]
    fn the_examples_of_the_rfc() {
        let rows = [
            (Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
            (
                Algorithm::Sha256,
                "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
            ),
        ];
        for (algorithm, expected) in rows {
            let ha1 = ha1(algorithm, "Mufasa", "http-auth@example.org", "Circle of Life");
            let (nonce, cnonce) = (
                "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
                "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            );
            let found = response(
                algorithm,
                &ha1,
                nonce,
                "00000001",
                cnonce,
                Some("auth"),
                "GET",
                "/dir/index.html",
            );
            assert_eq!(&*found, expected, "{algorithm:?}");
        }
    }

    /// RFC 2617 §3.5, without `qop` as RFC 2069 has it.
    #[test]
    fn the_old_form_without_qop() {
        let ha1 = ha1(Algorithm::Md5, "Mufasa", "testrealm@host.com", "Circle Of Life");
        assert_eq!(ha1, "939e7578ed9e3c518a452acee763bce9");
        let found = response(
            Algorithm::Md5,
            &ha1,
            "dcd98b7102dd2f0e8b11d0f600bfb0c093",
            "",
            "",
            None,
            "GET",
            "/dir/index.html",
        );
        assert_eq!(&*found, "670fd8c2df070c60b045671b8b24ff02");
    }

    #[test]
    fn sha_512_256_is_not_a_cut_sha_512() {
        assert_eq!(
            &*hash(Algorithm::Sha512_256, &["abc"]),
            "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23"
        );
    }

    #[test]
    fn only_equal_proofs_are_the_same() {
        assert!(same_proof("00ff", "00FF") && same_proof("", ""));
        assert!(!same_proof("00ff", "00fe") && !same_proof("00ff", "00ff0") && !same_proof("", "0"));
        assert!(!same(&[0, 0], &[1, 1]), "two equal differences do not undo each other");
        assert!(same(&[7; 16], &[7; 16]) && !same(&[7; 16], &[7; 15]));
    }
}
