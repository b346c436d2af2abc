//! RTCP compounds (RFC 3550 §6): checked length by length, and made silent about who and where the sender is.
//!
//! A BYE in RTCP is passed on and changes nothing here: only SIP ends a call.

/// Checks a whole compound and overwrites in place every text in it, so that names, host names and addresses of
/// one party do not reach the other. `mask` (drawn once for each direction of a session) replaces the canonical
/// name, which has to stay distinct and constant (RFC 3550 §6.5.1).
///
/// Gives the SSRC of the sender, or `None` for a compound that is not to be passed on.
#[must_use]
pub fn check_and_mask(compound: &mut [u8], mask: &[u8; 16]) -> Option<u32> {
    // RFC 3550 appendix A.2: the first one is a report, without padding.
    if compound.len() < 8 || compound.len() > MAX_COMPOUND || compound[0] & PADDED != 0 {
        return None;
    }
    if !matches!(compound[1], SENDER_REPORT | RECEIVER_REPORT) {
        return None;
    }
    let sender = u32::from_be_bytes(compound[4..8].try_into().expect("four octets"));
    let mut rest = compound;
    while !rest.is_empty() {
        let [first, kind, high, low, ..] = *rest else {
            return None;
        };
        let length = (usize::from(u16::from_be_bytes([high, low])) + 1) * 4;
        if first >> 6 != 2 || length > rest.len() {
            return None;
        }
        let (packet, next) = rest.split_at_mut(length);
        rest = next;
        let padding = if first & PADDED == 0 {
            0
        } else if rest.is_empty() {
            usize::from(*packet.last()?)
        } else {
            // Only the last one of a compound may be padded (RFC 3550 §6.4.1).
            return None;
        };
        let count = usize::from(first & COUNT);
        let end = length.checked_sub(padding).filter(|&end| end >= 4)?;
        if first & PADDED != 0 && padding == 0 {
            return None;
        }
        // Padding could carry anything.
        if let Some(filler) = packet[end..].split_last_mut() {
            filler.1.fill(0);
        }
        let body = &mut packet[4..end];
        match kind {
            SENDER_REPORT => (body.len() >= 24 + count * 24).then_some(())?,
            RECEIVER_REPORT => (body.len() >= 4 + count * 24).then_some(())?,
            SOURCE_DESCRIPTION => mask_descriptions(body, count, mask)?,
            GOODBYE => {
                let reason = body.get_mut(count * 4..)?;
                mask_reason(reason)?;
            }
            // What an application says is its own business, and not to be shown across (RFC 3550 §6.7).
            APPLICATION => {
                if body.len() < 8 {
                    return None;
                }
                body[8..].fill(0);
            }
            // Feedback and extended reports (RFC 4585, RFC 3611) hold numbers only.
            205..=207 => (body.len() >= 4).then_some(())?,
            _ => return None,
        }
    }
    Some(sender)
}

/// `count` chunks of an SSRC and items, each chunk padded with zeros to four octets (RFC 3550 §6.5).
fn mask_descriptions(body: &mut [u8], count: usize, mask: &[u8; 16]) -> Option<()> {
    let mut at = 0;
    for _ in 0..count {
        at += 4;
        loop {
            let kind = *body.get(at)?;
            if kind == 0 {
                at = (at / 4 + 1) * 4;
                break;
            }
            let length = usize::from(*body.get(at + 1)?);
            let text = body.get_mut(at + 2..at + 2 + length)?;
            match kind {
                CANONICAL_NAME => fill(text, mask),
                // Length-prefixed prefix and value: emptied as a whole.
                PRIVATE => text.fill(0),
                _ => text.fill(b'-'),
            }
            at += 2 + length;
        }
    }
    (at <= body.len()).then_some(())
}

fn mask_reason(reason: &mut [u8]) -> Option<()> {
    if let Some((&mut length, text)) = reason.split_first_mut() {
        let (said, filler) = text.split_at_mut_checked(usize::from(length))?;
        said.fill(b'-');
        filler.fill(0);
    }
    Some(())
}

fn fill(text: &mut [u8], mask: &[u8; 16]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = mask.iter().flat_map(|octet| [octet >> 4, octet & 15]).cycle();
    for (octet, digit) in text.iter_mut().zip(digits) {
        *octet = DIGITS[usize::from(digit)];
    }
}

/// The longest compound that is passed on, in octets.
const MAX_COMPOUND: usize = super::rtp::MAX_PACKET;
const PADDED: u8 = 0x20;
const COUNT: u8 = 0x1f;
const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
const APPLICATION: u8 = 204;
const CANONICAL_NAME: u8 = 1;
const PRIVATE: u8 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use cusax_common::core::entropy::{Entropy, Seeded};

    const MASK: [u8; 16] = [0xab; 16];

    #[test]
    fn compounds_are_checked_length_by_length() {
        let report = receiver_report(0, 4);
        for (name, compound, good) in [
            ("an empty receiver report", report.clone(), true),
            ("a report of one block", receiver_report(1, 28), true),
            ("thirty-one blocks announced, one there", receiver_report(31, 28), false),
            ("nothing", Vec::new(), false),
            ("one octet", vec![0x80], false),
            ("seven octets", report[..7].to_vec(), false),
            ("longer than it is", [0x80, 201, 0, 9, 0, 0, 0, 5].to_vec(), false),
            ("a goodbye in front", packet(0x81, 203, &[0, 0, 0, 5]), false),
            (
                "a goodbye behind",
                [report.clone(), packet(0x81, 203, &[0, 0, 0, 5])].concat(),
                true,
            ),
            (
                "a goodbye of more sources than there are",
                [report.clone(), packet(0x9f, 203, &[0, 0, 0, 5])].concat(),
                false,
            ),
            (
                "a reason longer than the packet",
                [report.clone(), packet(0x81, 203, &[0, 0, 0, 5, 200, b'x', 0, 0])].concat(),
                false,
            ),
            (
                "an item longer than the packet",
                [report.clone(), packet(0x81, 202, &[0, 0, 0, 5, 1, 200, 0, 0])].concat(),
                false,
            ),
            (
                "a chunk without end",
                [report.clone(), packet(0x81, 202, &[0, 0, 0, 5, 1, 2, b'a', b'b'])].concat(),
                false,
            ),
            ("a short sender report", packet(0x80, 200, &[0; 20]), false),
            ("version 1", [0x40, 201, 0, 1, 0, 0, 0, 5].to_vec(), false),
            (
                "an unknown kind behind",
                [report.clone(), packet(0x80, 199, &[0; 4])].concat(),
                false,
            ),
            ("half a header behind", [&report[..], &[0x80, 203]].concat(), false),
            (
                "padding of the first",
                packet(0xa0, 201, &[0, 0, 0, 5, 0, 0, 0, 4]),
                false,
            ),
            (
                "padding of the last",
                [report.clone(), packet(0xa0, 203, &[0, 0, 0, 4])].concat(),
                true,
            ),
            (
                "padding longer than the last",
                [report, packet(0xa0, 203, &[0, 0, 0, 40])].concat(),
                false,
            ),
        ] {
            let read = check_and_mask(&mut compound.clone(), &MASK);
            assert_eq!(read, good.then_some(5), "{name}");
        }
    }

    #[test]
    fn no_text_of_the_sender_is_left() {
        let said = b"me@192.0.2.10";
        let item = |kind: u8| [&[kind, said.len() as u8], &said[..]].concat();
        let mut chunk = [&[0, 0, 0, 5][..], &item(1), &item(2), &item(8)].concat();
        chunk.resize((chunk.len() / 4 + 1) * 4, 0);
        let goodbye = [&[0, 0, 0, 5, said.len() as u8][..], said, &[0; 2]].concat();
        let application = [&[0, 0, 0, 5][..], b"addr", b"192.0.2.10  "].concat();
        let mut compound = [
            receiver_report(0, 4),
            packet(0x81, 202, &chunk),
            packet(0x80, 204, &application),
            packet(0x81, 203, &goodbye),
        ]
        .concat();
        let length = compound.len();
        assert!(
            compound.windows(5).any(|window| window == b"192.0"),
            "it was there before"
        );
        assert_eq!(check_and_mask(&mut compound, &MASK), Some(5));
        assert_eq!(compound.len(), length);
        assert!(
            !compound.windows(3).any(|window| window == b"192" || window == b"me@"),
            "{compound:?}"
        );
        assert!(
            compound.windows(13).any(|window| window == b"abababababab\x61"),
            "{compound:?}"
        );
        let once = compound.clone();
        assert_eq!(check_and_mask(&mut compound, &MASK), Some(5));
        assert_eq!(compound, once, "the same name every time");
    }

    #[test]
    fn noise_never_panics() {
        let seed = 0xc0ffee;
        let mut source = Seeded::new(seed);
        let mut passed = 0;
        for _ in 0..50_000 {
            let mut noise = vec![0; usize::from(source.bytes::<1>()[0])];
            source.fill(&mut noise);
            for octet in noise.iter_mut().step_by(4) {
                *octet = *octet & 0x23 | 0x80;
            }
            for (at, kind) in [(1, 201), (2, 0), (3, 1), (9, 202), (10, 0)] {
                if let Some(octet) = noise.get_mut(at) {
                    *octet = kind;
                }
            }
            passed += u32::from(check_and_mask(&mut noise, &MASK).is_some());
        }
        assert!(passed < 50_000, "seed {seed}");
    }

    fn receiver_report(count: u8, body: usize) -> Vec<u8> {
        let mut content = vec![0; body];
        content[3] = 5;
        packet(0x80 | count, 201, &content)
    }

    fn packet(first: u8, kind: u8, body: &[u8]) -> Vec<u8> {
        [&[first, kind, 0, (body.len() / 4) as u8], body].concat()
    }
}
