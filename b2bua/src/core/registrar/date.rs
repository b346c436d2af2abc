//! The Date of a response (RFC 3261 §20.17), in the one form that SIP allows.

use cusax_common::core::time::Wall;

/// `Sat, 13 Nov 2010 23:29:00 GMT`
#[must_use]
pub fn date(now: Wall) -> String {
    let seconds = now.seconds();
    let (days, rest) = (seconds / DAY, seconds % DAY);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    // Years that begin with March put the leap day at their end.
    let since_march = days + 719_468;
    let (era, of_era) = (since_march / 146_097, since_march % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12;
    let year = year + era * 400 + u64::from(month < 2);
    let weekday = WEEKDAYS[usize::try_from((days + 4) % 7).unwrap_or(0)];
    let month = MONTHS[usize::try_from(month).unwrap_or(0)];
    let mut text = String::with_capacity("Sat, 13 Nov 2010 23:29:00 GMT".len());
    text.push_str(weekday);
    text.push_str(", ");
    two(&mut text, day);
    text.push(' ');
    text.push_str(month);
    text.push(' ');
    two(&mut text, year / 100 % 100);
    two(&mut text, year % 100);
    for (mark, number) in [(' ', hour), (':', minute), (':', second)] {
        text.push(mark);
        two(&mut text, number);
    }
    text.push_str(" GMT");
    text
}

/// Two digits; the formatter of the standard library takes many times as long, and every registration has a date.
fn two(text: &mut String, number: u64) {
    for digit in [number / 10 % 10, number % 10] {
        text.push(char::from(b'0' + u8::try_from(digit).unwrap_or(0)));
    }
}

const DAY: u64 = 86_400;
const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        let rows = [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_289_690_940, "Sat, 13 Nov 2010 23:29:00 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ];
        for (seconds, text) in rows {
            assert_eq!(date(Wall(seconds * 1000 + 999)), text);
        }
    }
}
