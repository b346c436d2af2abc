//! The flows: who says what, part by part.

use Between::{TrunkAndUser, UserAndTrunk, Users};

/// Who calls whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    Users,
    UserAndTrunk,
    TrunkAndUser,
}

/// What one party does and hears, part by part, and what it is given beside what all are given.
#[derive(Clone, Debug, Default)]
pub struct Party {
    pub parts: Vec<&'static str>,
    pub words: Vec<(&'static str, &'static str)>,
    /// Of its Contact, when it registers.
    pub params: &'static str,
    pub role: Role,
}

/// Which user of a lane a party is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    Caller,
    #[default]
    Callee,
    /// Whom the call is transferred to.
    Target,
}

/// One way that a call may go.
#[derive(Clone, Debug)]
pub struct Flow {
    pub name: String,
    pub between: Vec<Between>,
    pub caller: Party,
    pub callees: Vec<Party>,
    /// A call of one user to the target, which is up before the call that is to replace it begins.
    pub consultation: Option<Party>,
}

fn party(parts: &[&'static str], words: &[(&'static str, &'static str)]) -> Party {
    Party {
        parts: parts.to_vec(),
        words: words.to_vec(),
        ..Party::default()
    }
}

fn flow(name: &str, between: &[Between], caller: Party, callees: &[Party]) -> Flow {
    Flow {
        name: name.to_owned(),
        between: between.to_vec(),
        caller: Party {
            role: Role::Caller,
            ..caller
        },
        callees: callees.to_vec(),
        consultation: None,
    }
}

/// Something that either side may do once a call is up, and what the other one sees of it. Whoever does it hangs up.
fn within(name: &str, does: &'static str, sees: &[&'static str], words: &[(&'static str, &'static str)]) -> [Flow; 2] {
    let (mut caller, mut callee) = (vec!["invite", "rings", "answered"], vec!["invited", "ring", "answer"]);
    caller.extend([does, "hang-up"]);
    callee.extend(sees.iter().chain(&["hung-up"]));
    let by_caller = flow(
        &format!("{name} by the caller"),
        &EVERY,
        party(&caller, words),
        &[party(&callee, words)],
    );
    let (mut caller, mut callee) = (vec!["invite", "rings", "answered"], vec!["invited", "ring", "answer"]);
    // The callee's ACK may come before the caller's, and what is said before that one has to be put off.
    caller.push("tell");
    callee.push("told");
    caller.extend(sees.iter().chain(&["hung-up"]));
    callee.extend([does, "hang-up"]);
    let by_callee = flow(
        &format!("{name} by the callee"),
        &EVERY,
        party(&caller, words),
        &[party(&callee, words)],
    );
    [by_caller, by_callee]
}

/// Calls from beginning to end, and what may happen in between.
pub fn flows() -> Vec<Flow> {
    let up = ["invite", "rings", "answered"];
    let answers = ["invited", "ring", "answer"];
    let and = |parts: &[&'static str], last: &'static str| [parts, &[last]].concat();
    let mut flows = vec![
        flow(
            "hung up by the caller",
            &EVERY,
            party(&and(&up, "hang-up"), &[]),
            &[party(&and(&answers, "hung-up"), &[])],
        ),
        flow(
            "hung up by the callee",
            &EVERY,
            party(&and(&up, "hung-up"), &[]),
            &[party(&and(&answers, "hang-up"), &[])],
        ),
        flow(
            "given up while it rings",
            &EVERY,
            party(&["invite", "rings", "cancel", "refused"], &[("final", "487")]),
            &[party(&["invited", "ring", "cancelled"], &[("why", "{given-up}")])],
        ),
        flow(
            "early media, then an answer",
            &EVERY,
            party(&["invite", "progresses", "answered", "hang-up"], &[]),
            &[party(&["invited", "progress", "answer", "hung-up"], &[])],
        ),
        flow(
            "ringing, early media, ringing again, then an answer",
            &EVERY,
            party(&["invite", "rings", "progresses", "rings", "answered", "hang-up"], &[]),
            &[party(
                &["invited", "ring", "progress", "ring", "answer", "hung-up"],
                &[],
            )],
        ),
        flow(
            "ringing with early media",
            &EVERY,
            party(&["invite", "progresses", "answered", "hang-up"], &[("early", "180")]),
            &[party(
                &["invited", "progress", "answer", "hung-up"],
                &[("early", "180")],
            )],
        ),
        flow(
            "early media, then a refusal",
            &EVERY,
            party(&["invite", "progresses", "refused"], &[("final", "480")]),
            &[party(&["invited", "progress", "refuse"], &[("status", "480")])],
        ),
        flow(
            "reliable responses on both sides",
            &EVERY,
            party(
                &["invite", "rings-reliably", "answered-as-agreed", "hang-up"],
                &[KNOWS_100REL],
            ),
            &[party(&["invited", "ring-reliably", "answer-as-agreed", "hung-up"], &[])],
        ),
        flow(
            "reliable responses to the caller alone",
            &EVERY,
            party(
                &["invite", "rings-reliably", "answered-as-agreed", "hang-up"],
                &[KNOWS_100REL],
            ),
            &[party(&["invited", "progress", "answer", "hung-up"], &[])],
        ),
        flow(
            "reliable responses from the callee alone",
            &EVERY,
            party(&["invite", "progresses", "answered", "hang-up"], &[]),
            &[party(&["invited", "ring-reliably", "answer-as-agreed", "hung-up"], &[])],
        ),
        flow(
            "an offer in the answer",
            &EVERY,
            party(
                &["invite", "rings", "answered-with-an-offer", "hang-up"],
                &[("content", ""), ("described", "")],
            ),
            &[party(&["invited-to-offer", "ring", "accepted", "hung-up"], &[])],
        ),
        flow(
            "headers that nobody here knows",
            &EVERY,
            party(
                &and(&up, "hang-up"),
                &[("headers", "X-Colour: mauve\nSubject: lunch"), ("crossed", "{shaped}")],
            ),
            &[party(
                &and(&answers, "hung-up"),
                &[("headers", "X-Shape: round"), ("offered", "{coloured}")],
            )],
        ),
        flow(
            "a session that the caller refreshes",
            &EVERY,
            party(
                &["invite", "rings", "answered", "refresh", "hang-up"],
                &[
                    (
                        "headers",
                        "Supported: timer\nSession-Expires: 90;refresher=uac\nMin-SE: 90",
                    ),
                    ("interval", "90"),
                    ("refresher", "uac"),
                    ("granted", "uac"),
                    ("crossed", "{granted-session}"),
                ],
            ),
            &[party(&and(&answers, "hung-up"), &[("offered", "{wanted-session}")])],
        ),
        flow(
            "a session that the service refreshes",
            &EVERY,
            party(
                &["invite", "rings", "answered", "refresh", "hang-up"],
                &[
                    (
                        "headers",
                        "Supported: timer\nSession-Expires: 90;refresher=uas\nMin-SE: 90",
                    ),
                    ("interval", "90"),
                    ("refresher", "uas"),
                    ("granted", "uas"),
                    ("crossed", "{granted-session}"),
                ],
            ),
            &[party(&and(&answers, "hung-up"), &[("offered", "{wanted-session}")])],
        ),
        flow(
            "a session that the callee refreshes",
            &EVERY,
            party(&["invite", "rings", "answered", "tell", "hung-up"], &[]),
            &[party(
                &["invited", "ring", "answer", "told", "refresh", "hang-up"],
                &[
                    ("headers", "Require: timer\nSession-Expires: 600;refresher=uas"),
                    ("interval", "600"),
                    ("refresher", "uac"),
                    ("offered", "{wanted-session}"),
                ],
            )],
        ),
        flow(
            "a session that is too short",
            &[Users, TrunkAndUser],
            party(
                &["invite", "too-short"],
                &[("headers", "Supported: timer\nSession-Expires: 60")],
            ),
            &[],
        ),
        flow(
            "a callee that wants longer sessions",
            &EVERY,
            party(&and(&up, "hang-up"), &[]),
            &[party(
                &["invited", "wants-longer", "invited", "ring", "answer", "hung-up"],
                &[("offered", "{wanted-session}")],
            )],
        ),
        flow(
            "two phones ring, one answers",
            &[Users],
            party(&["invite", "rings", "rings-too", "answered", "hang-up"], &[]),
            &[
                party(&["invited", "ring", "answer", "hung-up"], &[]),
                party(&["invited", "ring", "cancelled"], &[("why", "{answered-elsewhere}")]),
            ],
        ),
        flow(
            "two phones answer at once",
            &[Users],
            party(&["invite", "rings", "rings-too", "answered", "hang-up"], &[]),
            &[
                party(&["invited", "ring", "answer", "hung-up"], &[]),
                party(&["invited", "ring", "crosses"], &[("why", "{answered-elsewhere}")]),
            ],
        ),
        flow(
            "the phone that is preferred rings first",
            &[Users],
            party(&["invite", "rings", "rings", "answered", "hang-up"], &[]),
            &[
                Party {
                    params: ";q=1.0",
                    ..party(&["invited", "ring", "ring-for-a-while", "refuse"], &[("status", "480")])
                },
                Party {
                    params: ";q=0.5",
                    ..party(&and(&answers, "hung-up"), &[])
                },
            ],
        ),
        flow(
            "a carrier that cannot",
            &[UserAndTrunk],
            party(&and(&up, "hang-up"), &[]),
            &[
                party(&["invited", "refuse"], &[("status", "503")]),
                party(&and(&answers, "hung-up"), &[]),
            ],
        ),
        flow(
            "a carrier that says nothing for four seconds",
            &[UserAndTrunk],
            party(&and(&up, "hang-up"), &[]),
            &[
                party(&["invited", "silence"], &[]),
                party(&and(&answers, "hung-up"), &[]),
            ],
        ),
    ];
    for (status, told) in [
        ("403", "403"),
        ("404", "404"),
        ("480", "480"),
        ("486", "486"),
        ("488", "488"),
        ("600", "600"),
        ("603", "603"),
        ("606", "606"),
    ] {
        for rings in [false, true] {
            let (mut caller, mut callee) = (vec!["invite"], vec!["invited"]);
            if rings {
                caller.push("rings");
                callee.push("ring");
            }
            caller.push("refused");
            callee.push("refuse");
            let when = if rings { "after ringing" } else { "at once" };
            flows.push(flow(
                &format!("{status} {when}"),
                &EVERY,
                party(&caller, &[("final", told)]),
                &[party(&callee, &[("status", status)])],
            ));
        }
    }
    for (status, told) in [("500", "500"), ("503", "500"), ("504", "504"), ("580", "502")] {
        flows.push(flow(
            &format!("{status} at once"),
            &[Users, TrunkAndUser],
            party(&["invite", "refused"], &[("final", told)]),
            &[party(&["invited", "refuse"], &[("status", status)])],
        ));
    }
    let invite = [
        ("method", "INVITE"),
        ("again", " retrans=\"500\""),
        ("ack", "{acknowledge}"),
        ("acked", "{acknowledged}"),
    ];
    let update = [("method", "UPDATE"), ("again", ""), ("ack", ""), ("acked", "")];
    let tone = [
        ("kind", "application/dtmf-relay"),
        ("words", "Signal=5\n\n      Duration=160"),
        ("said", "Signal=5.*Duration=160"),
    ];
    for pair in [
        within("hold and resume by INVITE", "change", &["changed"], &invite),
        within("hold and resume by UPDATE", "change", &["changed"], &update),
        within("a tone by INFO", "tell", &["told"], &tone),
        within("a body that nobody here knows", "tell", &["told"], &[]),
        within("OPTIONS", "ask", &[], &[]),
    ] {
        flows.extend(pair);
    }
    flows
}

/// Calls that one side sends to a third user, and calls that are sent on before they are answered.
pub fn transfers() -> Vec<Flow> {
    let target = |parts: &[&'static str], words: &[(&'static str, &'static str)]| Party {
        role: Role::Target,
        ..party(parts, &[&[("impp", ""), ("named", "")], words].concat())
    };
    let takes = || target(&["invited", "ring", "answer", "moved-until-hung-up"], &[]);
    // Of both that are connected it is the last one to be told.
    let hangs_up = || target(&["invited", "ring", "answer", "moved", "hang-up"], &[]);
    let busy = || target(&["invited", "refuse"], &[("status", "486")]);
    let (done, failed) = ([("outcome", "2")], [("outcome", "486")]);
    let on = |start: &[&'static str], rest: &[&'static str]| [start, rest].concat();
    let (up, answers) = (["invite", "rings", "answered"], ["invited", "ring", "answer"]);
    let mut flows = vec![
        flow(
            "a transfer by the caller",
            &[Users],
            party(&on(&up, &["refer", "hang-up"]), &done),
            &[party(&on(&answers, &["moved", "hang-up"]), &[]), takes()],
        ),
        flow(
            "a transfer by the callee",
            &[Users],
            party(&on(&up, &["tell", "moved", "hang-up"]), &[]),
            &[party(&on(&answers, &["told", "refer", "hang-up"]), &done), takes()],
        ),
        flow(
            "a transfer by the caller to somebody who is busy",
            &[Users],
            party(&on(&up, &["refer", "hang-up"]), &failed),
            &[party(&on(&answers, &["moved-until-hung-up"]), &[]), busy()],
        ),
        flow(
            "a transfer by the callee to somebody who is busy",
            &[Users],
            party(&on(&up, &["tell", "moved-until-hung-up"]), &[]),
            &[party(&on(&answers, &["told", "refer", "hang-up"]), &failed), busy()],
        ),
        flow(
            "a call that is sent on before it is answered",
            &[Users],
            party(&on(&up, &["hang-up"]), &[]),
            &[
                party(&["invited", "redirect"], &[]),
                target(&on(&answers, &["hung-up"]), &[]),
            ],
        ),
    ];
    for (name, role, caller, callee) in [
        (
            "a transfer by the caller, who has asked the target",
            Role::Caller,
            party(&on(&up, &["refer", "hang-up"]), &done),
            party(&on(&answers, &["moved-until-hung-up"]), &[]),
        ),
        (
            "a transfer by the callee, who has asked the target",
            Role::Callee,
            party(&on(&up, &["tell", "moved-until-hung-up"]), &[]),
            party(&on(&answers, &["told", "refer", "hang-up"]), &done),
        ),
    ] {
        flows.push(Flow {
            consultation: Some(Party {
                role,
                ..party(&on(&up, &["tells-its-dialog", "hung-up"]), &[("callee", "{target}")])
            }),
            ..flow(name, &[Users], caller, &[callee, hangs_up()])
        });
    }
    flows
}

const EVERY: [Between; 3] = [Users, UserAndTrunk, TrunkAndUser];
const KNOWS_100REL: (&str, &str) = ("headers", "Supported: 100rel");
