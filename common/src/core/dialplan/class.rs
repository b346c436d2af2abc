//! What kind of number a canonical number is.
//!
//! Rules of our own come first: they hold for whole ranges, so a number of unusual length cannot slip past them. What
//! they do not name is told by the ranges that the `phonenumber` crate carries for every country. Whatever is left is
//! [`NumberClass::Unknown`].

use phonenumber::Type;

use super::country::{self, HomePlan};
use crate::core::policy::NumberClass;
use crate::core::tel::Tel;

/// The class of a number, as seen from home.
pub fn of(tel: &Tel, home: &HomePlan) -> NumberClass {
    let digits = tel.digits();
    if let Some(class) = SHARED_CODES
        .iter()
        .find(|(code, _)| digits.starts_with(code))
        .map(|&(_, class)| class)
    {
        return class;
    }
    let Some(code) = country::code_of(digits) else {
        return NumberClass::Unknown;
    };
    let kind = own_rule(digits).unwrap_or_else(|| by_library(tel));
    let at_home = code == home.code() && (code != country::NANP || nanp_region(digits) == home.country());
    match (kind, at_home) {
        (Kind::Geographic, true) => NumberClass::National,
        (Kind::Mobile, true) => NumberClass::Mobile,
        (Kind::Free, true) => NumberClass::Free,
        (Kind::Shared, true) => NumberClass::Shared,
        (Kind::Premium, true) => NumberClass::Premium,
        // Free in its own country is not free from abroad, but an ordinary call.
        (Kind::Geographic | Kind::Mobile | Kind::Free, false) => NumberClass::Intl,
        // The part that a caller in the country does not pay, one from abroad does.
        (Kind::Shared | Kind::Premium, false) => NumberClass::IntlPremium,
        (Kind::Unknown, _) => NumberClass::Unknown,
    }
}

/// Makes the library read its tables.
pub fn warm_up() {
    let _ = phonenumber::metadata::DATABASE.by_code(&1);
}

/// What a number is in its own country.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Geographic,
    Mobile,
    Free,
    Shared,
    Premium,
    Unknown,
}

fn own_rule(digits: &str) -> Option<Kind> {
    if digits.starts_with(country::NANP) {
        let (area, exchange) = (digits.get(1..4)?, digits.get(4..7)?);
        return match (area, exchange) {
            // Information services hide behind this exchange in ordinary areas.
            ("900", _) | (_, "976") => Some(Kind::Premium),
            ("800" | "833" | "844" | "855" | "866" | "877" | "888" | "822", _) => Some(Kind::Free),
            _ if PERSONAL_AREAS.split(' ').any(|personal| personal == area) => Some(Kind::Premium),
            _ => None,
        };
    }
    let longest = RANGES
        .iter()
        .filter(|(prefix, _)| digits.starts_with(prefix))
        .max_by_key(|(prefix, _)| prefix.len());
    longest.map(|&(_, kind)| kind)
}

fn by_library(tel: &Tel) -> Kind {
    let Ok(number) = phonenumber::parse(None, tel.as_str()) else {
        return Kind::Unknown;
    };
    match number.number_type(&phonenumber::metadata::DATABASE) {
        Type::FixedLine | Type::FixedLineOrMobile | Type::Voip => Kind::Geographic,
        Type::Mobile => Kind::Mobile,
        Type::TollFree => Kind::Free,
        Type::SharedCost | Type::Uan => Kind::Shared,
        // Personal numbers and pagers are billed like premium services.
        Type::PremiumRate | Type::PersonalNumber | Type::Pager => Kind::Premium,
        _ => Kind::Unknown,
    }
}

/// The country of a number of the North American plan.
fn nanp_region(digits: &str) -> &'static str {
    let area = digits.get(1..4).unwrap_or_default();
    let within = |areas: &str| areas.split(' ').any(|known| known == area);
    match () {
        () if within(CANADIAN_AREAS) => "CA",
        () if within(OTHER_AREAS) => "",
        () => "US",
    }
}

/// Codes that belong to services and networks instead of countries, with one class for everybody.
const SHARED_CODES: [(&str, NumberClass); 9] = [
    ("800", NumberClass::Free),
    ("808", NumberClass::Shared),
    ("870", NumberClass::Satellite),
    ("878", NumberClass::IntlPremium),
    ("881", NumberClass::Satellite),
    ("882", NumberClass::Satellite),
    ("883", NumberClass::Satellite),
    ("888", NumberClass::Unknown),
    ("979", NumberClass::IntlPremium),
];

/// Ranges with the country code in front; the longest that fits holds. From the public numbering plans of the
/// Bundesnetzagentur and of Ofcom.
const RANGES: [(&str, Kind); 46] = [
    ("4911", Kind::Unknown),
    ("49116", Kind::Free),
    ("49118", Kind::Premium),
    ("4912", Kind::Unknown),
    ("4913", Kind::Unknown),
    ("49137", Kind::Premium),
    ("4914", Kind::Unknown),
    ("4915", Kind::Mobile),
    ("4916", Kind::Unknown),
    ("49160", Kind::Mobile),
    ("49162", Kind::Mobile),
    ("49163", Kind::Mobile),
    ("4917", Kind::Mobile),
    ("4918", Kind::Unknown),
    ("49180", Kind::Shared),
    ("4919", Kind::Unknown),
    ("49190", Kind::Premium),
    ("492", Kind::Geographic),
    ("493", Kind::Geographic),
    ("4931", Kind::Unknown),
    ("494", Kind::Geographic),
    ("495", Kind::Geographic),
    ("496", Kind::Geographic),
    ("497", Kind::Geographic),
    ("49700", Kind::Premium),
    ("498", Kind::Geographic),
    ("49800", Kind::Free),
    ("499", Kind::Geographic),
    ("49900", Kind::Premium),
    ("441", Kind::Geographic),
    ("442", Kind::Geographic),
    ("443", Kind::Geographic),
    ("445", Kind::Unknown),
    ("4455", Kind::Geographic),
    ("4456", Kind::Geographic),
    ("446", Kind::Unknown),
    ("447", Kind::Mobile),
    ("4470", Kind::Premium),
    ("4476", Kind::Premium),
    ("448", Kind::Shared),
    ("44800", Kind::Free),
    ("44808", Kind::Free),
    ("4482", Kind::Unknown),
    ("449", Kind::Premium),
    ("444", Kind::Unknown),
    ("440", Kind::Unknown),
];

/// Numbers that follow a person, and are billed as such.
const PERSONAL_AREAS: &str = "500 521 522 523 524 525 526 527 528 529 532 533 535 538 542 543 544 545 546 547 549 550 \
                              552 553 554 556 558 566 569 577 578 588 589 600 622 700 710";
const CANADIAN_AREAS: &str = "204 226 236 249 250 257 263 289 306 343 354 365 367 368 382 387 403 416 418 428 431 437 \
                              438 450 460 468 474 506 514 519 537 548 568 579 581 584 587 604 613 639 647 672 683 705 \
                              709 742 753 778 780 782 807 819 825 851 867 871 873 879 902 905 942";
/// Countries and territories other than Canada and the United States, whose territories are billed as abroad too.
const OTHER_AREAS: &str = "242 246 264 268 284 340 345 441 473 649 658 664 670 671 684 721 758 767 784 787 809 829 849 \
                           868 869 876 939";
