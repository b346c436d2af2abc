//! How the home country dials, and which country codes there are.

/// Where dialled digits are read: a country, perhaps an area, and its emergency numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HomePlan {
    country: &'static Country,
    area: Option<String>,
    emergency: Vec<EmergencyNumber>,
}

/// Digits that reach help, and the services of RFC 5031 that they stand for.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmergencyNumber {
    /// What people dial.
    pub digits: String,
    /// Sub-services of `urn:service:sos`, such as `police`. The first number in a list stands for all that no number
    /// names.
    #[serde(default)]
    pub services: Vec<String>,
}

impl HomePlan {
    /// The plan of a country, with its own emergency numbers.
    ///
    /// # Errors
    /// [`PlanFault::Country`] if the country is not in the table.
    pub fn new(country: &str) -> Result<Self, PlanFault> {
        let country = COUNTRIES
            .iter()
            .find(|c| c.id.eq_ignore_ascii_case(country))
            .ok_or(PlanFault::Country)?;
        let number = |&(digits, services): &(&str, &[&str])| EmergencyNumber {
            digits: digits.into(),
            services: services.iter().map(|&service| service.into()).collect(),
        };
        Ok(Self {
            country,
            area: None,
            emergency: country.emergency.iter().map(number).collect(),
        })
    }

    /// A plan for no country: only global numbers are read, all of them abroad, and these emergency numbers.
    ///
    /// # Errors
    /// As [`with_emergency`](Self::with_emergency).
    pub fn anywhere(emergency: Vec<EmergencyNumber>) -> Result<Self, PlanFault> {
        let plan = Self {
            country: &NOWHERE,
            area: None,
            emergency: Vec::new(),
        };
        plan.with_emergency(emergency)
    }

    /// The same plan for somebody who may dial numbers of this area without its code.
    ///
    /// # Errors
    /// [`PlanFault::Area`] if that is not 1 to 6 digits without a trunk prefix.
    pub fn in_area(mut self, area: &str) -> Result<Self, PlanFault> {
        let trunk = matches!(self.country.shape, Shape::Trunk(trunk) if area.starts_with(trunk));
        if trunk || !(1..=6).contains(&area.len()) || !area.bytes().all(|b| b.is_ascii_digit()) {
            return Err(PlanFault::Area);
        }
        self.area = Some(area.into());
        Ok(self)
    }

    /// The same plan with other emergency numbers, the general one first.
    ///
    /// # Errors
    /// [`PlanFault::Emergency`] if there is none, or one that is not 2 to 6 digits, or one that begins like a number.
    pub fn with_emergency(mut self, numbers: Vec<EmergencyNumber>) -> Result<Self, PlanFault> {
        let fits = |number: &EmergencyNumber| {
            (2..=6).contains(&number.digits.len())
                && number.digits.bytes().all(|b| b.is_ascii_digit())
                && !number.digits.starts_with('0')
        };
        if numbers.is_empty() || !numbers.iter().all(fits) {
            return Err(PlanFault::Emergency);
        }
        self.emergency = numbers;
        Ok(self)
    }

    /// The same plan with one more emergency number, if it does not hold it.
    ///
    /// # Errors
    /// As [`with_emergency`](Self::with_emergency).
    pub fn and_emergency(self, digits: &str) -> Result<Self, PlanFault> {
        if self.is_emergency(digits) {
            return Ok(self);
        }
        let mut numbers = self.emergency.clone();
        numbers.push(EmergencyNumber {
            digits: digits.into(),
            services: Vec::new(),
        });
        self.with_emergency(numbers)
    }

    /// The countries that [`new`](Self::new) knows, as ISO 3166 has them.
    pub fn countries() -> impl Iterator<Item = &'static str> {
        COUNTRIES.iter().map(|country| country.id)
    }

    /// The country, as ISO 3166 has it.
    #[must_use]
    pub fn country(&self) -> &'static str {
        self.country.id
    }

    /// The emergency numbers, the general one first.
    #[must_use]
    pub fn emergency(&self) -> &[EmergencyNumber] {
        &self.emergency
    }

    pub(super) fn code(&self) -> &'static str {
        self.country.code
    }

    pub(super) fn international(&self) -> &'static str {
        self.country.international
    }

    pub(super) fn shape(&self) -> Shape {
        self.country.shape
    }

    pub(super) fn area(&self) -> Option<&str> {
        self.area.as_deref()
    }

    pub(super) fn is_emergency(&self, digits: &str) -> bool {
        self.emergency.iter().any(|number| number.digits == digits)
    }

    /// Numbers of the country that are dialled without a trunk prefix.
    pub(super) fn is_short_code(&self, digits: &str) -> bool {
        let short = |&(prefix, shortest, longest): &(&str, usize, usize)| {
            digits.starts_with(prefix) && (shortest..=longest).contains(&digits.len())
        };
        self.country.short.iter().any(short)
    }

    /// The digits for `service:sos…`, what follows `urn:` (RFC 5031 §4.2). An unknown sub-service is the general one.
    pub(super) fn service(&self, urn: &str) -> Option<String> {
        let urn = urn.to_ascii_lowercase();
        let sub = match urn.strip_prefix("service:sos")? {
            "" => "",
            sub => sub.strip_prefix('.')?,
        };
        let top = sub.split('.').next().unwrap_or_default();
        let named = self
            .emergency
            .iter()
            .find(|number| number.services.iter().any(|service| service == top));
        named.or(self.emergency.first()).map(|number| number.digits.clone())
    }
}

/// What keeps a text from being part of a [`HomePlan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanFault {
    /// No rules are known for this country.
    #[error("no dialling rules are known for this country; write a two-letter code such as DE")]
    Country,
    /// Not an area code.
    #[error("an area code has 1 to 6 digits, without the trunk prefix")]
    Area,
    /// Not a list of emergency numbers.
    #[error("write at least one emergency number, each of 2 to 6 digits, not beginning with 0")]
    Emergency,
}

/// The country code shared by the countries of the North American plan.
pub const NANP: &str = "1";

/// How numbers of the country are dialled within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Behind a trunk prefix; without it only within an area.
    Trunk(&'static str),
    /// Ten digits, or eleven with a 1 in front; seven within an area.
    Nanp,
    /// As they are; from this many digits to this many.
    Closed(usize, usize),
}

/// The country code that these digits begin with, if there is such a code (ITU-T E.164). No code begins another.
pub fn code_of(digits: &str) -> Option<&str> {
    let head = |length: usize| digits.get(..length);
    if let Some(one @ ("1" | "7")) = head(1) {
        return Some(one);
    }
    // All codes of a list are of one length, with a blank behind each.
    let within = |codes: &str, code: &str| {
        let mut codes = codes.as_bytes().chunks(code.len() + 1);
        codes.any(|known| known.starts_with(code.as_bytes()))
    };
    head(2)
        .filter(|code| within(TWO_DIGIT_CODES, code))
        .or_else(|| head(3).filter(|code| within(THREE_DIGIT_CODES, code)))
}

/// The trunk prefix of a country code, where numbers never begin with it after the code.
pub fn trunk_prefix(code: &str) -> Option<&'static str> {
    COUNTRIES
        .iter()
        .find(|country| country.code == code)
        .and_then(|country| match country.shape {
            Shape::Trunk(trunk) => Some(trunk),
            Shape::Nanp => Some(NANP),
            Shape::Closed(..) => None,
        })
}

/// Whether a national number begins with the choice of another carrier.
pub fn is_carrier_prefix(code: &str, national: &str) -> bool {
    code == "49" && national.starts_with("10")
}

#[derive(Debug, PartialEq, Eq)]
struct Country {
    /// ISO 3166.
    id: &'static str,
    code: &'static str,
    international: &'static str,
    shape: Shape,
    /// Prefix, shortest, longest.
    short: &'static [(&'static str, usize, usize)],
    emergency: &'static [(&'static str, &'static [&'static str])],
}

const fn european(id: &'static str, code: &'static str, shape: Shape) -> Country {
    Country {
        id,
        code,
        international: "00",
        shape,
        short: &[],
        emergency: &[("112", &[])],
    }
}

/// Public dialling rules, as the national numbering plans filed with the ITU have them.
static COUNTRIES: [Country; 19] = [
    Country {
        short: &[("118", 5, 6), ("116", 6, 6)],
        emergency: &[("112", &["fire", "ambulance"]), ("110", &["police"])],
        ..european("DE", "49", Shape::Trunk("0"))
    },
    Country {
        emergency: &[
            ("112", &[]),
            ("133", &["police"]),
            ("122", &["fire"]),
            ("144", &["ambulance"]),
        ],
        ..european("AT", "43", Shape::Trunk("0"))
    },
    Country {
        emergency: &[
            ("112", &[]),
            ("117", &["police"]),
            ("118", &["fire"]),
            ("144", &["ambulance"]),
        ],
        ..european("CH", "41", Shape::Trunk("0"))
    },
    Country {
        emergency: &[
            ("112", &[]),
            ("17", &["police"]),
            ("18", &["fire"]),
            ("15", &["ambulance"]),
        ],
        ..european("FR", "33", Shape::Trunk("0"))
    },
    Country {
        emergency: &[("999", &[]), ("112", &[])],
        ..european("GB", "44", Shape::Trunk("0"))
    },
    Country {
        emergency: &[("112", &[]), ("999", &[])],
        ..european("IE", "353", Shape::Trunk("0"))
    },
    european("NL", "31", Shape::Trunk("0")),
    Country {
        emergency: &[("112", &[]), ("101", &["police"])],
        ..european("BE", "32", Shape::Trunk("0"))
    },
    european("SE", "46", Shape::Trunk("0")),
    european("FI", "358", Shape::Trunk("0")),
    european("ES", "34", Shape::Closed(9, 9)),
    european("PT", "351", Shape::Closed(9, 9)),
    european("PL", "48", Shape::Closed(9, 9)),
    european("CZ", "420", Shape::Closed(9, 9)),
    european("DK", "45", Shape::Closed(8, 8)),
    Country {
        emergency: &[("112", &["police"]), ("110", &["fire"]), ("113", &["ambulance"])],
        ..european("NO", "47", Shape::Closed(8, 8))
    },
    // The zero of an area is part of the number.
    european("IT", "39", Shape::Closed(6, 11)),
    Country {
        id: "US",
        code: NANP,
        international: "011",
        shape: Shape::Nanp,
        short: &[],
        emergency: &[("911", &[])],
    },
    Country {
        id: "CA",
        code: NANP,
        international: "011",
        shape: Shape::Nanp,
        short: &[],
        emergency: &[("911", &[])],
    },
];

/// No country: a prefix that no digits begin with, and no number without one.
static NOWHERE: Country = Country {
    id: "",
    code: "",
    international: "+",
    shape: Shape::Closed(usize::MAX, usize::MAX),
    short: &[],
    emergency: &[],
};

/// ITU-T E.164, assigned country codes.
const TWO_DIGIT_CODES: &str = "20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 \
                               63 64 65 66 81 82 84 86 90 91 92 93 94 95 98";
/// As [`TWO_DIGIT_CODES`], with the codes of services and networks that belong to no country.
const THREE_DIGIT_CODES: &str = "211 212 213 216 218 220 221 222 223 224 225 226 227 228 229 230 231 232 233 234 235 \
                                 236 237 238 239 240 241 242 243 244 245 246 247 248 249 250 251 252 253 254 255 256 \
                                 257 258 260 261 262 263 264 265 266 267 268 269 290 291 297 298 299 350 351 352 353 \
                                 354 355 356 357 358 359 370 371 372 373 374 375 376 377 378 379 380 381 382 383 385 \
                                 386 387 389 420 421 423 500 501 502 503 504 505 506 507 508 509 590 591 592 593 594 \
                                 595 596 597 598 599 670 672 673 674 675 676 677 678 679 680 681 682 683 685 686 687 \
                                 688 689 690 691 692 800 808 850 852 853 855 856 870 878 880 881 882 883 886 888 960 \
                                 961 962 963 964 965 966 967 968 970 971 972 973 974 975 976 977 979 992 993 994 995 \
                                 996 998";
