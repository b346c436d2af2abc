//! G.711 companding (ITU-T G.711), the test side's own: what a capture holds is judged without the service's code.

/// One byte of µ-law as a linear sample.
#[must_use]
pub fn from_ulaw(byte: u8) -> i16 {
    let byte = !byte;
    let exponent = (byte >> 4) & 7;
    let magnitude = ((i16::from(byte & 0x0f) << 3) + BIAS) << exponent;
    if byte & 0x80 == 0 {
        magnitude - BIAS
    } else {
        BIAS - magnitude
    }
}

/// A linear sample as one byte of µ-law.
#[must_use]
pub fn to_ulaw(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = i32::from(sample).abs().min(CLIP) + i32::from(BIAS);
    // The place of the highest bit tells the segment; the bias makes sure that there is one from bit 7 on.
    let exponent = (31 - magnitude.leading_zeros()) - 7;
    let mantissa = (magnitude >> (exponent + 3)) & 0x0f;
    let byte = sign
        | u8::try_from(exponent << 4).expect("the clip keeps it below 8")
        | u8::try_from(mantissa).expect("masked");
    !byte
}

/// One byte of A-law as a linear sample.
#[must_use]
pub fn from_alaw(byte: u8) -> i16 {
    let byte = byte ^ 0x55;
    let exponent = (byte >> 4) & 7;
    let mantissa = i16::from(byte & 0x0f) << 4;
    let magnitude = if exponent == 0 {
        mantissa + 8
    } else {
        (mantissa + 0x108) << (exponent - 1)
    };
    if byte & 0x80 == 0 { -magnitude } else { magnitude }
}

const BIAS: i16 = 0x84;
const CLIP: i32 = 32_635;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_points_of_the_tables() {
        for (byte, sample) in [(0xff, 0), (0x7f, 0), (0x80, 32_124), (0x00, -32_124), (0xf0, 120)] {
            assert_eq!(from_ulaw(byte), sample, "µ-law {byte:#x}");
        }
        for (byte, sample) in [(0xd5, 8), (0x55, -8), (0xaa, 32_256), (0x2a, -32_256)] {
            assert_eq!(from_alaw(byte), sample, "A-law {byte:#x}");
        }
    }

    #[test]
    fn every_level_comes_back_as_itself() {
        for byte in 0..=u8::MAX {
            // There are two codes for zero; both sound the same.
            assert_eq!(from_ulaw(to_ulaw(from_ulaw(byte))), from_ulaw(byte), "{byte:#x}");
        }
        for sample in [i16::MIN, -1, 0, 1, i16::MAX] {
            let error = i32::from(from_ulaw(to_ulaw(sample))) - i32::from(sample);
            assert!(error.abs() <= 700, "{sample} comes back off by {error}");
        }
    }
}
