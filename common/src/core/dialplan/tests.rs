use super::*;
use crate::core::entropy::Seeded;
use crate::core::sip::Uri;

/// Which reason each text in the table stands for; `None` where the whole class is meant.
fn reason(text: &str) -> Reject {
    match text {
        "no such extension" => Reject::NoSuchExtension,
        "foreign context" => Reject::ForeignContext,
        "local tel without context" => Reject::LocalWithoutContext,
        "context + intl prefix" => Reject::ContextAndPrefix,
        "nanp" => Reject::Nanp,
        "name" => Reject::Name,
        "control, space or non-ASCII" | "control" => Reject::Control,
        "escaped delimiter" => Reject::EscapedDelimiter,
        "context on global number" => Reject::ContextOnGlobal,
        "chars" => Reject::Characters,
        "cc" => Reject::CountryCode,
        "00+0" => Reject::ZeroAfterPrefix,
        "(0)" => Reject::WrittenZero,
        "carrier prefix" => Reject::CarrierPrefix,
        "headers in URI" => Reject::Headers,
        "password" => Reject::Password,
        "relay refused" => Reject::Relay,
        "transport" => Reject::Transport,
        "length" => Reject::Length,
        "no user" => Reject::NoUser,
        "too long" => Reject::TooLong,
        "ENUM must end in a sip target" => Reject::EnumTarget,
        text if text.starts_with("routing parameter") => Reject::RoutingParameter,
        other => panic!("no such reason: {other}"),
    }
}

#[test]
fn every_row_of_the_table_agrees() {
    let table = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/fixtures/numbers/tel-policy.tsv"
    ));
    let mut rows = 0;
    for row in table.lines().skip(1) {
        let [id, home, input, canonical, class, why, reference] = row.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{row}");
        };
        rows += 1;
        let plan = HomePlan::new(home).unwrap();
        let seen = if let Some(text) = input.strip_prefix("VCARD:") {
            read_written(&text.replace("\\r\\n", "\r\n"), &plan)
        } else if let Some((_, target)) = input.strip_prefix("ENUM:").and_then(|text| text.split_once(" -> ")) {
            dial_enum(target, &plan, is_ours)
        } else if let Some((_, target)) = input.strip_prefix("302:").and_then(|text| text.split_once(' ')) {
            dial(target, &plan, is_ours)
        } else {
            dial(input, &plan, is_ours)
        };
        // No user of this table holds an extension.
        let seen = match seen {
            Ok(Dialled::Extension(_)) => Err(Reject::NoSuchExtension),
            other => other,
        };
        let expected = match canonical {
            "REJECT" => Err(reason(reference)),
            canonical => Ok((canonical.to_owned(), class.replace('_', "-"))),
        };
        let seen = seen.map(|dialled| match dialled {
            Dialled::Number { tel, class } => (tel.to_string(), class.to_string()),
            Dialled::Emergency { digits } => (digits, NumberClass::Emergency.to_string()),
            Dialled::Name(aor) | Dialled::Extension(aor) => (aor.user().to_owned(), NumberClass::Onnet.to_string()),
            Dialled::Foreign(uri) => panic!("{id}: {uri:?} was not asked for"),
        });
        assert_eq!(seen, expected, "{id} {input}: {why}");
    }
    assert_eq!(rows, 83, "rows of the table");
}

#[test]
fn every_spelling_of_a_number_has_its_class() {
    let numbers = [
        "+4930901820",
        "+491511234567",
        "+498001234567",
        "+491801234567",
        "+499001234567",
        "+49118000",
        "+19005550100",
        "+12129765000",
        "+18005550100",
        "+442079460000",
        "+447012345678",
        "+33899123456",
        "+881612345678",
        "+97912345678",
        "+80012345678",
        "+5511987654321",
    ];
    let seed = 0x5eed_0001;
    let mut random = Seeded::new(seed);
    for round in 0..4_000 {
        let number = numbers[below(&mut random, numbers.len())];
        let home = ["DE", "US", "GB", "ES"][below(&mut random, 4)];
        let plan = HomePlan::new(home).unwrap();
        let canonical: Tel = number.parse().unwrap();
        let spelling = spell(&mut random, number, home);
        let expected = Dialled::Number {
            class: class::of(&canonical, &plan),
            tel: canonical,
        };
        assert_eq!(
            dial(&spelling, &plan, is_ours),
            Ok(expected),
            "seed {seed:#x} round {round}: {spelling} of {number} from {home}"
        );
    }
}

#[test]
fn soup_is_never_dialled_otherwise_than_its_canonical_form() {
    let seed = 0x5eed_0002;
    let mut random = Seeded::new(seed);
    let plan = HomePlan::new("DE").unwrap();
    let pieces = [
        "+",
        "0",
        "00",
        "49",
        "1",
        "900",
        "5550100",
        "112",
        "110",
        "%2B",
        "%30",
        "%252B",
        "-",
        ".",
        "(",
        ")",
        "(0)",
        ";",
        "phone-context=",
        "=",
        "ext=1",
        "@sip.example.test",
        "@",
        "sip:",
        "tel:",
        "%00",
        "%0a",
        "%40",
        "a",
        "é",
        "?",
        ":",
        "user=phone",
        "٣",
        "*",
        "#",
        ",",
        "urn:service:sos",
    ];
    let mut dialled = 0;
    for round in 0..30_000 {
        let mut text = String::from(["sip:", "tel:", ""][below(&mut random, 3)]);
        for _ in 0..below(&mut random, 8) {
            // Mostly from the first, which make numbers.
            let bound = if below(&mut random, 4) == 0 { pieces.len() } else { 14 };
            text.push_str(pieces[below(&mut random, bound)]);
        }
        if below(&mut random, 2) == 0 {
            text.push_str("@sip.example.test");
        }
        let _ = read_written(&text, &plan);
        if let Ok(Dialled::Number { tel, class }) = dial(&text, &plan, is_ours) {
            dialled += 1;
            let again = dial(&format!("tel:{tel}"), &plan, is_ours);
            assert_eq!(
                again,
                Ok(Dialled::Number { tel, class }),
                "seed {seed:#x} round {round}: {text}"
            );
        }
    }
    assert!(dialled > 100, "the soup holds numbers: {dialled}");
}

#[test]
fn emergency_is_recognised_in_every_form() {
    let rows = [
        ("DE", "sip:112@sip.example.test", "112"),
        ("DE", "sip:112@sip.example.test;user=phone", "112"),
        ("DE", "sip:1%312@sip.example.test", "112"),
        ("DE", "tel:112", "112"),
        ("DE", "tel:112;phone-context=+49", "112"),
        ("DE", "tel:110;phone-context=sip.example.test", "110"),
        ("DE", "sip:0049110@sip.example.test", "110"),
        ("DE", "urn:service:sos", "112"),
        ("DE", "URN:service:SOS.police.special", "110"),
        ("DE", "urn:service:sos.mountain", "112"),
        ("US", "urn:service:sos.police", "911"),
        ("US", "tel:+1911", "911"),
        ("GB", "sip:999@sip.example.test", "999"),
    ];
    for (home, uri, digits) in rows {
        let plan = HomePlan::new(home).unwrap();
        assert_eq!(
            dial(uri, &plan, is_ours),
            Ok(Dialled::Emergency { digits: digits.into() }),
            "{home} {uri}"
        );
    }
    let plan = HomePlan::new("DE").unwrap();
    for uri in [
        "urn:service:sosx",
        "urn:service:counseling",
        "urn:isbn:112",
        "sip:112@example.net",
        "tel:911",
    ] {
        assert!(dial(uri, &plan, is_ours).is_err(), "{uri}");
    }
}

#[test]
fn an_area_completes_local_numbers() {
    let plain = HomePlan::new("DE").unwrap();
    let berlin = plain.clone().in_area("30").unwrap();
    let uri = "sip:901820@sip.example.test";
    assert!(matches!(dial(uri, &plain, is_ours), Ok(Dialled::Extension(_))));
    assert_eq!(dial(uri, &berlin, is_ours), dial("tel:+4930901820", &plain, is_ours));
    let new_york = HomePlan::new("US").unwrap().in_area("212").unwrap();
    assert_eq!(
        dial("sip:5550100@sip.example.test", &new_york, is_ours),
        dial("tel:+12125550100", &new_york, is_ours)
    );
    assert_eq!(plain.clone().in_area("030").unwrap_err(), PlanFault::Area);
    assert_eq!(HomePlan::new("XX").unwrap_err(), PlanFault::Country);
    assert_eq!(plain.with_emergency(Vec::new()).unwrap_err(), PlanFault::Emergency);
}

#[test]
fn without_a_country_only_global_numbers_are_read() {
    let help = EmergencyNumber {
        digits: "112".into(),
        services: Vec::new(),
    };
    let plan = HomePlan::anywhere(vec![help]).unwrap().and_emergency("911").unwrap();
    let rows = [
        ("tel:+4930901820", Some(NumberClass::Intl)),
        ("tel:+499001234567", Some(NumberClass::IntlPremium)),
        ("sip:030901820@sip.example.test", None),
        ("sip:004930901820@sip.example.test", None),
    ];
    for (uri, class) in rows {
        let seen = match dial(uri, &plan, is_ours) {
            Ok(Dialled::Number { class, .. }) => Some(class),
            _ => None,
        };
        assert_eq!(seen, class, "{uri}");
    }
    for digits in ["112", "911"] {
        let uri = format!("sip:{digits}@sip.example.test");
        assert_eq!(
            dial(&uri, &plan, is_ours),
            Ok(Dialled::Emergency { digits: digits.into() })
        );
    }
    assert!(HomePlan::anywhere(Vec::new()).is_err());
}

#[test]
fn a_number_that_no_plan_knows_is_unknown() {
    let plan = HomePlan::new("DE").unwrap();
    for number in ["+88812345678", "+4912123456", "+3510000000", "+4440123456"] {
        let tel: Tel = number.parse().unwrap();
        assert_eq!(class::of(&tel, &plan), NumberClass::Unknown, "{number}");
    }
}

/// A spelling that a user at `home` may dial.
fn spell(random: &mut Seeded, number: &str, home: &str) -> String {
    let digits = &number[1..];
    let plan = HomePlan::new(home).unwrap();
    let code = country::code_of(digits).unwrap();
    let national = &digits[code.len()..];
    let mut forms = vec![
        (number.to_owned(), ""),
        (format!("{}{digits}", plan.international()), ""),
    ];
    if code == plan.code() {
        forms.push((national.to_owned(), ";phone-context=CODE"));
        match plan.shape() {
            Shape::Trunk(trunk) => forms.push((format!("{trunk}{national}"), "")),
            Shape::Nanp => forms.extend([(national.to_owned(), ""), (digits.to_owned(), "")]),
            Shape::Closed(..) => {}
        }
    }
    let (number, context) = forms.swap_remove(below(random, forms.len()));
    let is_global = number.starts_with('+');
    let mut text = String::new();
    for (at, c) in number.chars().enumerate() {
        if below(random, 4) == 0 {
            text.push_str(&format!("%{:02X}", u32::from(c)));
        } else {
            text.push(c);
        }
        if at > 0 && below(random, 4) == 0 {
            text.push_str(["-", ".", "(", ")", "%2D", "%28"][below(random, 6)]);
        }
    }
    // A zero between parentheses is a trunk prefix to a reader, and is refused.
    let text = text
        .replace("(0)", "0")
        .replace("(%30)", "0")
        .replace("%280)", "0")
        .replace("%28%30)", "0");
    let mut context = context.replace("CODE", &format!("+{code}"));
    if below(random, 3) == 0 {
        context.push_str(";ext=900");
    }
    if context.is_empty() && !is_global || below(random, 2) == 0 {
        let end = ["", ";user=phone", ":5060;transport=udp"][below(random, 3)];
        let scheme = ["sip", "SIP", "sips"][below(random, 3)];
        format!("{scheme}:{text}{context}@SIP.example.test{end}")
    } else if is_global || context.contains("phone-context") {
        format!("{}:{text}{context}", ["tel", "TEL"][below(random, 2)])
    } else {
        format!("tel:{text};Phone-Context=sip.EXAMPLE.test")
    }
}

fn is_ours(host: &str, _port: Option<u16>) -> bool {
    host == "sip.example.test"
}

fn below(random: &mut Seeded, bound: usize) -> usize {
    usize::try_from(random.next_u64() % bound as u64).unwrap()
}

#[test]
fn addresses_of_others_lose_what_could_lead_elsewhere() {
    let rows = [
        ("sip:zoe@other.example", Ok("sip:zoe@other.example")),
        ("sips:zoe@other.example:5071", Ok("sips:zoe@other.example:5071")),
        (
            "sip:zoe@other.example;maddr=127.0.0.1;transport=tcp;lr",
            Ok("sip:zoe@other.example"),
        ),
        (
            "sip:zoe@other.example;maddr=127.0.0.1;gr=urn:x;lr",
            Ok("sip:zoe@other.example;gr=urn:x"),
        ),
        ("sip:zoe@other.example;gr", Ok("sip:zoe@other.example;gr")),
        ("sip:zoe@127.0.0.1", Err(Reject::Relay)),
        ("sip:zoe@[::1]", Err(Reject::Relay)),
        ("sip:other.example", Err(Reject::NoUser)),
        ("sip:zoe:secret@other.example", Err(Reject::Password)),
        ("sip:zoe@other.example?Route=%3Csip:127.0.0.1%3E", Err(Reject::Headers)),
    ];
    for (text, expected) in rows {
        let Ok(Uri::Sip(uri)) = text.parse() else {
            panic!("{text}");
        };
        let found = foreign(&uri).map(|dialled| match dialled {
            Dialled::Foreign(uri) => Uri::Sip(*uri).to_string(),
            other => panic!("{text}: {other:?}"),
        });
        assert_eq!(found, expected.map(str::to_owned), "{text}");
    }
}
