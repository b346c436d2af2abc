use cusax_common::core::entropy::Seeded;
use cusax_common::core::sip::Value;
use cusax_common::core::user::Flags;

use super::*;

#[test]
fn from_and_asserted_identity_follow_from_the_record() {
    let (alice, aor) = alice();
    let inside = Party::User {
        user: &alice,
        aor: &aor,
    };
    let anonymous = "\"Anonymous\" <sip:anonymous@anonymous.invalid>";
    let rows: Vec<NamingRow<'_>> = vec![
        (
            "a phone sees the address and the number",
            inside,
            headers(&[("From", "\"The Boss\" <sip:a.1@ours.test>;tag=1")]),
            phones(),
            "\"Alice \\\"A\\\" Example\" <sip:a.1@ours.test>",
            &["\"Alice \\\"A\\\" Example\" <sip:a.1@ours.test>", "<tel:+4930901820>"],
            "",
        ),
        (
            "a trunk sees the number",
            inside,
            headers(&[]),
            trunk(false, false),
            "\"Alice \\\"A\\\" Example\" <sip:+4930901820@ours.test;user=phone>",
            &[
                "\"Alice \\\"A\\\" Example\" <sip:+4930901820@ours.test;user=phone>",
                "<tel:+4930901820>",
            ],
            "",
        ),
        (
            "privacy hides all from a phone",
            inside,
            headers(&[("Privacy", "id")]),
            phones(),
            anonymous,
            &[],
            "",
        ),
        (
            "privacy hides all from a trunk, which must pass it on",
            inside,
            headers(&[("Privacy", "user; critical")]),
            trunk(true, false),
            anonymous,
            &[],
            "id",
        ),
        (
            "an anonymous From is a wish for privacy",
            inside,
            headers(&[("From", "<sip:anonymous@anonymous.invalid>;tag=1")]),
            phones(),
            anonymous,
            &[],
            "",
        ),
        (
            "help must know whom to call back",
            inside,
            headers(&[("Privacy", "id")]),
            trunk(false, true),
            "\"Alice \\\"A\\\" Example\" <sip:+4930901820@ours.test;user=phone>",
            &[
                "\"Alice \\\"A\\\" Example\" <sip:+4930901820@ours.test;user=phone>",
                "<tel:+4930901820>",
            ],
            "id",
        ),
        (
            "a carrier outside our trust domain",
            inside,
            headers(&[]),
            Audience::Trunk {
                impp: false,
                asserted: false,
                emergency: false,
            },
            "\"Alice \\\"A\\\" Example\" <sip:+4930901820@ours.test;user=phone>",
            &[],
            "",
        ),
        (
            "privacy that is not wanted",
            inside,
            headers(&[("Privacy", "none")]),
            phones(),
            "\"Alice \\\"A\\\" Example\" <sip:a.1@ours.test>",
            &["\"Alice \\\"A\\\" Example\" <sip:a.1@ours.test>", "<tel:+4930901820>"],
            "",
        ),
        (
            "a caller from outside is a number, without name and domain",
            Party::Outside,
            headers(&[(
                "From",
                "\"Alice\" <sip:+1-212-555-0100@gw1.carrier.internal:5080;x=y>;tag=9",
            )]),
            phones(),
            "<sip:+12125550100@ours.test;user=phone>",
            &[],
            "",
        ),
        (
            "a caller from outside who claims to be a user of ours",
            Party::Outside,
            headers(&[
                ("From", "<sip:a.1@ours.test>;tag=9"),
                ("P-Asserted-Identity", "<sip:a.1@ours.test>"),
                ("P-Preferred-Identity", "<sip:a.1@ours.test>"),
                ("Remote-Party-ID", "<sip:a.1@ours.test>"),
            ]),
            phones(),
            anonymous,
            &[],
            "",
        ),
        (
            "a caller from outside by tel URI",
            Party::Outside,
            headers(&[("From", "<tel:+1-212-555-0100>;tag=9")]),
            phones(),
            "<sip:+12125550100@ours.test;user=phone>",
            &[],
            "",
        ),
        (
            "a caller from outside in the national form",
            Party::Outside,
            headers(&[("From", "<sip:030901820@carrier.test>;tag=9")]),
            phones(),
            "<sip:+4930901820@ours.test;user=phone>",
            &[],
            "",
        ),
        (
            "a short code could be an extension of ours",
            Party::Outside,
            headers(&[("From", "<sip:4512@carrier.test>;tag=9")]),
            phones(),
            "<sip:4512@anonymous.invalid>",
            &[],
            "",
        ),
        (
            "privacy asked for by a trunk",
            Party::Outside,
            headers(&[("From", "<sip:+12125550100@carrier.test>;tag=9"), ("Privacy", "id")]),
            phones(),
            anonymous,
            &[],
            "",
        ),
        (
            "privacy that cannot be read",
            inside,
            headers(&[("Privacy", "\"id")]),
            phones(),
            anonymous,
            &[],
            "",
        ),
    ];
    let plan = HomePlan::new("DE").unwrap();
    for (what, party, invite, audience, from, identities, privacy) in rows {
        assert_eq!(
            name_caller(party, &invite, &audience, &plan).to_string(),
            from,
            "{what}: From"
        );
        let mut ours = headers(&[("P-Asserted-Identity", "<sip:evil@x>"), ("Identity", "x")]);
        stamp(&mut ours, party, &invite, &audience);
        assert_eq!(
            all(&ours, &HeaderName::P_ASSERTED_IDENTITY),
            identities,
            "{what}: P-Asserted-Identity"
        );
        assert_eq!(all(&ours, &HeaderName::PRIVACY).join(","), privacy, "{what}: Privacy");
        for gone in [
            HeaderName::P_PREFERRED_IDENTITY,
            HeaderName::REMOTE_PARTY_ID,
            HeaderName::IDENTITY,
        ] {
            assert!(!ours.has(&gone), "{what}: {gone}");
        }
    }
}

#[test]
fn the_jid_is_told_once_by_the_emission_rules() {
    let (alice, aor) = alice();
    let mut silent = alice.clone();
    silent.flags.impp = false;
    let inside = Party::User {
        user: &alice,
        aor: &aor,
    };
    let quiet = Party::User {
        user: &silent,
        aor: &aor,
    };
    const OURS: &str = "<xmpp:alice@chat.test>;purpose=impp";
    const ICON: &str = "<http://ours.test/a.png>;purpose=icon";
    let rows: Vec<JidRow<'_>> = vec![
        ("a user calls a phone", inside, &[], phones(), &[OURS], Impp::Verified),
        (
            "a forged value is replaced",
            inside,
            &[("Call-Info", "<xmpp:ceo@chat.test>;purpose=impp")],
            phones(),
            &[OURS],
            Impp::Verified,
        ),
        (
            "a forged value in a list, in quotes, with blanks and capitals",
            inside,
            &[(
                "Call-Info",
                "<http://ours.test/a.png>;purpose=icon, <xmpp:ceo@chat.test> ; Purpose = \"ImPP\" ;x=y",
            )],
            phones(),
            &[OURS, ICON],
            Impp::Verified,
        ),
        (
            "brackets in quotes hide nothing",
            inside,
            &[
                ("Call-Info", "<http://a/>;x=\">,<xmpp:ceo@chat.test>;purpose=impp\""),
                ("Call-Info", ICON),
            ],
            phones(),
            &[OURS, ICON],
            Impp::Verified,
        ),
        (
            "an escaped letter hides nothing",
            inside,
            &[("Call-Info", "<sip:ceo@x>;purpose=\"im\\pp\"")],
            phones(),
            &[OURS],
            Impp::Verified,
        ),
        (
            "other purposes keep their order behind ours",
            inside,
            &[
                (
                    "Call-Info",
                    "<http://ours.test/a.png>;purpose=icon,<http://a/b,c>;purpose=card",
                ),
                ("Call-Info", "<cid:1>;purpose=jcard"),
            ],
            phones(),
            &[OURS, ICON, "<http://a/b,c>;purpose=card", "<cid:1>;purpose=jcard"],
            Impp::Verified,
        ),
        (
            "what names a machine would show where the other party stands",
            inside,
            &[(
                "Call-Info",
                "<http://10.0.1.5/p.png>;purpose=icon, <https://u@[2001:db8::1]/>;purpose=icon, <sip:a@192.0.2.7>;purpose=card,\
                 <http://3232235777/>;purpose=icon, <http://0x7f.1:80>;purpose=icon, <cid:1@192.0.2.7>;purpose=jcard,\
                 <http://ours.test/a.png>;purpose=icon",
            )],
            phones(),
            &[OURS, ICON],
            Impp::Verified,
        ),
        (
            "a value to answer by itself stays first",
            inside,
            &[(
                "Call-Info",
                "<sip:ours.test>;answer-after=0, <http://ours.test/a.png>;purpose=icon",
            )],
            phones(),
            &["<sip:ours.test>;answer-after=0", OURS, ICON],
            Impp::Verified,
        ),
        (
            "but only if it was first",
            inside,
            &[(
                "Call-Info",
                "<http://ours.test/a.png>;purpose=icon, <sip:ours.test>;answer-after=0",
            )],
            phones(),
            &[OURS, ICON, "<sip:ours.test>;answer-after=0"],
            Impp::Verified,
        ),
        (
            "a trunk does not learn it",
            inside,
            &[("Call-Info", OURS)],
            trunk(false, false),
            &[],
            Impp::Withheld,
        ),
        (
            "unless its configuration says so",
            inside,
            &[],
            trunk(true, false),
            &[OURS],
            Impp::Verified,
        ),
        (
            "privacy withholds it, and pictures too",
            inside,
            &[("Privacy", "header"), ("Call-Info", ICON)],
            phones(),
            &[],
            Impp::Withheld,
        ),
        (
            "help is told the number, not the JID",
            inside,
            &[("Privacy", "id")],
            trunk(true, true),
            &[],
            Impp::Withheld,
        ),
        (
            "a user who does not want it told",
            quiet,
            &[("Call-Info", OURS)],
            phones(),
            &[],
            Impp::Withheld,
        ),
        (
            "a stranger's claim",
            Party::Outside,
            &[("Call-Info", OURS)],
            phones(),
            &[],
            Impp::Stripped,
        ),
        (
            "a stranger who claims nothing",
            Party::Outside,
            &[],
            phones(),
            &[],
            Impp::Absent,
        ),
        (
            "a stranger makes no phone answer by itself",
            Party::Outside,
            &[("Call-Info", "<sip:x>;Answer-After=0"), ("Call-Info", ICON)],
            phones(),
            &[ICON],
            Impp::Absent,
        ),
        (
            "a claim behind a quote that does not end",
            Party::Outside,
            &[("Call-Info", "<http://a/>;x=\"y, <xmpp:ceo@chat.test>;purpose=impp")],
            phones(),
            &[],
            Impp::Stripped,
        ),
    ];
    for (what, party, invite, audience, expected, state) in rows {
        let mut ours = headers(&[("Call-Info", "<xmpp:left@over>;purpose=impp")]);
        let seen = stamp(&mut ours, party, &headers(invite), &audience);
        assert_eq!(all(&ours, &HeaderName::CALL_INFO), expected, "{what}");
        assert_eq!(seen, state, "{what}");
    }
}

#[test]
fn the_golden_line_stands_as_rfc_6993_and_rfc_5122_have_it() {
    let (mut user, aor) = alice();
    let rows = [
        (
            "alice@xmpp.example.com",
            "Call-Info: <xmpp:alice@xmpp.example.com>;purpose=impp\r\n",
        ),
        (
            "d\\27artagnan@x.test",
            "Call-Info: <xmpp:d%5C27artagnan@x.test>;purpose=impp\r\n",
        ),
        ("müller@x.test", "Call-Info: <xmpp:m%C3%BCller@x.test>;purpose=impp\r\n"),
        (
            "日本@例え.jp",
            "Call-Info: <xmpp:%E6%97%A5%E6%9C%AC@xn--r8jz45g.jp>;purpose=impp\r\n",
        ),
    ];
    for (jid, line) in rows {
        user.jid = jid.parse().unwrap();
        let mut request =
            cusax_common::core::sip::Request::new(cusax_common::core::sip::Method::Invite, "sip:b@x".parse().unwrap());
        stamp(
            &mut request.headers,
            Party::User { user: &user, aor: &aor },
            &headers(&[]),
            &phones(),
        );
        let text = String::from_utf8(request.to_bytes().to_vec()).unwrap();
        assert!(text.contains(line), "{jid}: {text}");
    }
}

#[test]
fn a_callee_is_named_in_the_answer() {
    let (alice, _) = alice();
    let forged = [
        (
            "Call-Info",
            "<xmpp:ceo@chat.test>;purpose=impp, <http://a/i>;purpose=icon",
        ),
        ("P-Asserted-Identity", "<sip:ceo@x>"),
    ];
    let rows: Vec<AnswerRow<'_>> = vec![
        (
            "to a user",
            &forged,
            true,
            &["<xmpp:alice@chat.test>;purpose=impp", "<http://a/i>;purpose=icon"],
        ),
        ("to a trunk", &forged, false, &["<http://a/i>;purpose=icon"]),
        (
            "to a caller who is anonymous to the callee",
            &[("From", "<sip:anonymous@anonymous.invalid>;tag=1")],
            true,
            &["<xmpp:alice@chat.test>;purpose=impp"],
        ),
        (
            "in private",
            &[("Privacy", "id"), ("Call-Info", "<http://a/i>;purpose=icon")],
            true,
            &[],
        ),
    ];
    for (what, far, may_learn, expected) in rows {
        let mut ours = Headers::new();
        stamp_callee(&mut ours, &alice, &headers(far), may_learn, true);
        assert_eq!(all(&ours, &HeaderName::CALL_INFO), expected, "{what}");
        assert!(!ours.has(&HeaderName::P_ASSERTED_IDENTITY), "{what}");
    }
}

#[test]
fn no_soup_leaves_a_jid_but_ours() {
    let seed = 0x5eed_0003;
    let mut random = Seeded::new(seed);
    let (alice, aor) = alice();
    let pieces = [
        "<xmpp:ceo@chat.test>",
        ";purpose=impp",
        ";purpose=IMPP",
        "; purpose = \"impp\"",
        ";purpose=\"i\\mpp\"",
        ",",
        ", ",
        "<",
        ">",
        "\"",
        "\\",
        ";",
        "=",
        "<http://a/b>",
        ";purpose=icon",
        ";answer-after=0",
        "purpose",
        "impp",
        "xmpp:",
        "<sip:x>",
        ";a=\"",
        "\",",
        "\t",
        "é",
        "%69mpp",
        "<http://a/,<xmpp:q@r>",
    ];
    let mut kept = 0;
    for round in 0..30_000 {
        let mut invite = Headers::new();
        for _ in 0..=below(&mut random, 3) {
            let soup: String = (0..below(&mut random, 9))
                .map(|_| pieces[below(&mut random, pieces.len())])
                .collect();
            invite.push(HeaderName::CALL_INFO, Value::cleaned(&soup));
        }
        let outside = below(&mut random, 2) == 0;
        let party = if outside {
            Party::Outside
        } else {
            Party::User {
                user: &alice,
                aor: &aor,
            }
        };
        let mut ours = Headers::new();
        stamp(&mut ours, party, &invite, &phones());
        let mut vouched = 0;
        for line in all(&ours, &HeaderName::CALL_INFO) {
            if line == "<xmpp:alice@chat.test>;purpose=impp" {
                vouched += 1;
                continue;
            }
            kept += 1;
            let careless = line.replace(['"', '\\', ' ', '\t'], "").to_lowercase();
            assert!(
                !careless.contains("impp") && !careless.contains("xmpp:"),
                "seed {seed:#x} round {round}: {line} of {:?}",
                all(&invite, &HeaderName::CALL_INFO)
            );
            assert!(
                line.starts_with('<') && line.matches('<').count() == 1,
                "seed {seed:#x} round {round}: {line}"
            );
        }
        assert_eq!(vouched, usize::from(!outside), "seed {seed:#x} round {round}");
    }
    assert!(kept > 500, "harmless values cross: {kept}");
}

/// What it shows, who calls, their INVITE, who is told; From, P-Asserted-Identity, Privacy.
type NamingRow<'a> = (&'a str, Party<'a>, Headers, Audience, &'a str, &'a [&'a str], &'a str);
/// What it shows, who calls, their INVITE, who is told; Call-Info, for the record.
type JidRow<'a> = (
    &'a str,
    Party<'a>,
    &'a [(&'a str, &'a str)],
    Audience,
    &'a [&'a str],
    Impp,
);
/// What it shows, the callee's response, whether the caller may learn JIDs; Call-Info.
type AnswerRow<'a> = (&'a str, &'a [(&'a str, &'a str)], bool, &'a [&'a str]);

fn alice() -> (User, Aor) {
    let aor: Aor = "sip:a.1@ours.test".parse().unwrap();
    let user = User {
        jid: "alice@chat.test".parse().unwrap(),
        name: "Alice \"A\" Example".into(),
        aors: vec![aor.clone()],
        numbers: vec!["+4930901820".parse().unwrap()],
        credentials: Vec::new(),
        flags: Flags::default(),
        language: "en".into(),
    };
    (user, aor)
}

fn phones() -> Audience {
    Audience::Phones {
        domain: "ours.test".parse().unwrap(),
    }
}

fn trunk(impp: bool, emergency: bool) -> Audience {
    Audience::Trunk {
        impp,
        asserted: true,
        emergency,
    }
}

fn headers(lines: &[(&str, &str)]) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in lines {
        headers.push(name.parse().unwrap(), Value::new(value.to_string()).unwrap());
    }
    headers
}

fn all(headers: &Headers, name: &HeaderName) -> Vec<String> {
    headers
        .get_all(name)
        .map(|value| value.to_text().into_owned())
        .collect()
}

fn below(random: &mut Seeded, bound: usize) -> usize {
    usize::try_from(random.next_u64() % bound as u64).unwrap()
}
