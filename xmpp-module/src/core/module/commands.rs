//! What ad-hoc commands (XEP-0050) do: for users what is theirs, for administrators what there is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cusax_common::core::bridge::ToB2bua;
use cusax_common::core::id::SessionId;
use cusax_common::core::notice::{NoticeKind, Notices};
use cusax_common::core::policy::{Action as Rule, NumberClass};
use cusax_common::core::store::Choice;
use cusax_common::core::user::{Aor, User};
use jid::{BareJid, Jid};
use minidom::Element;

use super::{Fetch, Module, Output, Request};
use crate::core::command::{self, Action, BadAction, Node, Outcome};
use crate::core::form::{Field, Form, Submitted};
use crate::core::language::Language;
use crate::core::ns;
use crate::core::vcard::{Explained, ReadNumber};
use crate::core::xml::StanzaError;

/// Commands whose answer waits for the store or for the b2bua.
#[derive(Debug, Default)]
pub(super) struct Commands {
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
}

#[derive(Debug)]
struct Waiting {
    until: Instant,
    request: Request,
    node: Node,
    language: Language,
}

impl Commands {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.values().map(|waiting| waiting.until).min()
    }

    /// Nobody waits for an answer any more.
    pub(super) fn forget(&mut self) {
        self.waiting.clear();
    }
}

impl<N: ReadNumber> Module<N> {
    /// Whether somebody may use a command, by what the store and the settings say at this moment.
    fn may(&self, jid: &BareJid, node: Node) -> bool {
        if node.is_for_admins() {
            self.settings.admins.contains(jid)
        } else {
            self.directory.user(jid).is_some()
        }
    }

    fn language_of(&self, jid: &BareJid) -> Language {
        Language::of(self.directory.user(jid).map_or("", |user| &user.language))
    }

    /// Answers disco#items about the list of commands (XEP-0050 §3.2): everybody sees what they may use.
    pub(super) fn list_commands(&mut self, request: &Request) {
        let asker = request.asker();
        let nodes = Node::ALL
            .into_iter()
            .filter(|&node| asker.as_ref().is_some_and(|jid| self.may(jid, node)));
        let language = asker.as_ref().map_or(Language::English, |jid| self.language_of(jid));
        let list = command::items(&self.settings.component, nodes, language);
        self.reply(request, Some(list));
    }

    /// Answers disco#info about one node.
    pub(super) fn describe_command(&mut self, request: &Request, node: &str) {
        let asker = request.asker();
        let language = asker.as_ref().map_or(Language::English, |jid| self.language_of(jid));
        match (node, Node::of(node)) {
            (ns::COMMANDS, _) => self.reply(request, Some(command::info(None, language))),
            (_, Some(node)) if asker.is_some_and(|jid| self.may(&jid, node)) => {
                self.reply(request, Some(command::info(Some(node), language)));
            }
            (_, Some(_)) => self.reply_error(request, &StanzaError::FORBIDDEN),
            (_, None) => self.reply_error(request, &StanzaError::ITEM_NOT_FOUND),
        }
    }

    /// Somebody uses a command.
    pub(super) fn command(&mut self, now: Instant, request: Request, payload: &Element) {
        let Some(node) = payload.attr("node").and_then(Node::of) else {
            return self.reply_error(&request, &StanzaError::ITEM_NOT_FOUND);
        };
        let Some(jid) = request.asker().filter(|jid| self.may(jid, node)) else {
            return self.reply_error(&request, &StanzaError::FORBIDDEN);
        };
        let action = match Action::of(payload) {
            Ok(action) => action,
            Err(BadAction) => return self.reply_error(&request, &StanzaError::BAD_REQUEST),
        };
        let language = self.language_of(&jid);
        let request = self.in_session(request, payload.attr("sessionid"));
        let outcome = match (node, action) {
            (_, Action::Cancel) => Outcome::Canceled,
            (Node::Addresses, _) => self.addresses(&jid, language),
            (Node::Notices, Action::Begin) => self.offer_notices(&jid, language),
            (Node::Notices, Action::Submit(form)) => {
                return self.choose(now, request, jid, form, language);
            }
            (Node::Call, Action::Begin) => ask_whom(language),
            (Node::Call, Action::Submit(form)) => return self.place(now, request, jid, form, language),
            (Node::Users, Action::Begin) => ask_which(language),
            (Node::Users, Action::Submit(form)) => self.users(form, language),
            (Node::Policy, Action::Begin) => self.show_policy(language),
            (Node::Policy, Action::Submit(form)) => self.explain(form, language),
            (Node::Status, _) => self.status(language),
            (Node::Resync, _) => {
                self.link.handle_need_sync(now, super::PROTOCOL);
                self.outputs.push_back(Output::Bridge(ToB2bua::Resync));
                let done = language.choose("Everything is told anew.", "Alles wird neu gesagt.");
                Outcome::Done(done.into())
            }
        };
        self.finish(&request, node, outcome);
    }

    /// A session is known by its name alone: what is ours is given back, and anything else gets a new one.
    fn in_session(&mut self, mut request: Request, given: Option<&str>) -> Request {
        let given = given.filter(|given| !given.is_empty() && given.len() <= MAX_SESSION);
        request.session = given.map_or_else(
            || {
                self.commands.next += 1;
                format!("{}-{}", self.settings.component, self.commands.next)
            },
            str::to_owned,
        );
        request
    }

    fn finish(&mut self, request: &Request, node: Node, outcome: Outcome) {
        let payload = outcome.element(node, &request.session);
        self.reply(request, Some(payload));
    }

    /// Keeps a command until its answer is there; tells by which number, if there is room.
    fn wait(&mut self, now: Instant, request: Request, node: Node, language: Language) -> Option<u64> {
        if self.commands.waiting.len() >= MAX_WAITING {
            self.reply_error(&request, &StanzaError::RESOURCE_CONSTRAINT);
            return None;
        }
        self.commands.next += 1;
        let number = self.commands.next;
        let waiting = Waiting {
            until: now + WAIT,
            request,
            node,
            language,
        };
        self.commands.waiting.insert(number, waiting);
        Some(number)
    }

    /// Gives up those whose time is over.
    pub(super) fn expire_commands(&mut self, now: Instant) {
        while let Some((&number, _)) = self.commands.waiting.iter().find(|(_, waiting)| waiting.until <= now) {
            self.answer_command(number, |language| {
                let late = language.choose(
                    "The service did not answer in time.",
                    "Der Dienst hat nicht rechtzeitig geantwortet.",
                );
                Outcome::Failed(late.into())
            });
        }
    }

    fn answer_command(&mut self, number: u64, outcome: impl FnOnce(Language) -> Outcome) {
        if let Some(waiting) = self.commands.waiting.remove(&number) {
            let outcome = outcome(waiting.language);
            self.finish(&waiting.request, waiting.node, outcome);
        }
    }

    fn addresses(&self, jid: &BareJid, language: Language) -> Outcome {
        let Some(user) = self.directory.user(jid) else {
            return Outcome::Failed(String::new());
        };
        let registered = self.directory.registered_at(jid);
        let aors: Vec<&str> = user.aors.iter().map(Aor::as_str).collect();
        let numbers: Vec<&str> = user.numbers.iter().map(|number| number.as_str()).collect();
        let reachable: Vec<&str> = registered.iter().map(Aor::as_str).collect();
        let video = if user.flags.video { "1" } else { "0" };
        let form = Form::result(Node::Addresses.title(language))
            .with(
                Field::TextMulti,
                "addresses",
                language.choose("SIP addresses", "SIP-Adressen"),
                &aors,
                &[],
            )
            .with(
                Field::TextMulti,
                "numbers",
                language.choose("Telephone numbers", "Rufnummern"),
                &numbers,
                &[],
            )
            .with(
                Field::TextMulti,
                "registered",
                language.choose("A phone is connected at", "Ein Telefon ist verbunden unter"),
                &reachable,
                &[],
            )
            .with(
                Field::Boolean,
                "video",
                language.choose("Video", "Video"),
                &[video],
                &[],
            );
        Outcome::Show(form)
    }

    fn offer_notices(&self, jid: &BareJid, language: Language) -> Outcome {
        let Some(user) = self.directory.user(jid) else {
            return Outcome::Failed(String::new());
        };
        let offered: Vec<(&str, &str)> = self
            .settings
            .notices
            .kinds()
            .map(|kind| (kind.as_str(), label_of(kind, language)))
            .collect();
        let chosen: Vec<&str> = user
            .flags
            .notices
            .kinds()
            .filter(|&kind| self.settings.notices.contains(kind))
            .map(NoticeKind::as_str)
            .collect();
        let impp = if user.flags.impp { "1" } else { "0" };
        let form = Form::to_fill(
            Node::Notices.title(language),
            language.choose(
                "Choose what you are told in chat.",
                "Wählen Sie, was Ihnen im Chat gesagt wird.",
            ),
        )
        .with(
            Field::ListMulti,
            "notices",
            language.choose("Tell me of", "Sagt mir Bescheid über"),
            &chosen,
            &offered,
        )
        .with(
            Field::Boolean,
            "impp",
            language.choose(
                "Those whom I call may learn my chat address",
                "Wen ich anrufe, darf meine Chat-Adresse erfahren",
            ),
            &[impp],
            &[],
        );
        Outcome::Fill(form)
    }

    fn choose(&mut self, now: Instant, request: Request, jid: BareJid, form: Submitted<'_>, language: Language) {
        let Some(flags) = self.directory.user(&jid).map(|user| user.flags) else {
            return self.reply_error(&request, &StanzaError::FORBIDDEN);
        };
        let notices = match form.values("notices") {
            None => flags.notices,
            Some(words) => {
                let chosen: Result<Vec<NoticeKind>, _> = words.iter().map(|word| word.parse()).collect();
                let Ok(mut kinds) = chosen else {
                    return self.reply_error(&request, &StanzaError::BAD_REQUEST);
                };
                // What is not offered cannot be changed either.
                kinds.retain(|&kind| self.settings.notices.contains(kind));
                kinds.extend(
                    flags
                        .notices
                        .kinds()
                        .filter(|&kind| !self.settings.notices.contains(kind)),
                );
                Notices::of(&kinds)
            }
        };
        let choice = Choice {
            notices,
            impp: form.flag("impp").unwrap_or(flags.impp),
        };
        if let Some(number) = self.wait(now, request, Node::Notices, language) {
            self.outputs
                .push_back(Output::Fetch(Fetch::Choose { number, jid, choice }));
        }
    }

    /// Whether the store has kept what a user chose; none if it could not be asked.
    pub(super) fn chosen(&mut self, number: u64, done: Option<bool>) {
        self.answer_command(number, |language| match done {
            Some(true) => Outcome::Done(language.choose("It is kept.", "Es ist gemerkt.").into()),
            Some(false) | None => {
                let failed = language.choose(
                    "It could not be kept; try again later.",
                    "Es ließ sich nicht merken; versuchen Sie es später.",
                );
                Outcome::Failed(failed.into())
            }
        });
    }

    fn place(&mut self, now: Instant, request: Request, jid: BareJid, form: Submitted<'_>, language: Language) {
        let to = form.value("to").unwrap_or_default();
        if to.is_empty() || to.len() > MAX_TO || to.chars().any(char::is_control) {
            return self.finish(&request, Node::Call, ask_whom(language));
        }
        if let Some(id) = self.wait(now, request, Node::Call, language) {
            self.outputs
                .push_back(Output::Bridge(ToB2bua::Place { id, user: jid, to }));
        }
    }

    /// What became of a call that a user wanted.
    pub(super) fn placed(&mut self, id: u64, session: Option<SessionId>, status: Option<u16>) {
        self.answer_command(id, |language| match (session, status) {
            (Some(session), _) => {
                tracing::info!(%session, "a user's phones ring for a call of theirs");
                let rings = language.choose(
                    "Your phones ring. Answer one, and the other side is called.",
                    "Ihre Telefone läuten. Nehmen Sie eines ab, dann wird die andere Seite angerufen.",
                );
                Outcome::Done(rings.into())
            }
            (None, status) => Outcome::Failed(why_not(status, language).into()),
        });
    }

    fn users(&self, form: Submitted<'_>, language: Language) -> Outcome {
        let wanted = form.value("search").unwrap_or_default().to_lowercase();
        let mut found = self.directory.matching(&wanted);
        let rows: Vec<[String; 5]> = found
            .by_ref()
            .take(MAX_ROWS)
            .map(|(user, registered)| row_of(user, registered))
            .collect();
        let more = found.count();
        let title = match more {
            0 => Node::Users.title(language).to_owned(),
            more => format!(
                "{} ({more} {})",
                Node::Users.title(language),
                language.choose("more: search for fewer", "weitere: suchen Sie enger")
            ),
        };
        let columns = [
            ("jid", "JID"),
            ("name", language.choose("Name", "Name")),
            ("addresses", language.choose("Addresses", "Adressen")),
            ("numbers", language.choose("Numbers", "Nummern")),
            (
                "registered",
                language.choose("Phone connected at", "Telefon verbunden unter"),
            ),
        ];
        Outcome::Show(Form::result(&title).table(columns, rows.into_iter()))
    }

    fn show_policy(&self, language: Language) -> Outcome {
        let ask = language.choose(
            "Write a number to see what would become of a call to it.",
            "Nennen Sie eine Nummer, um zu sehen, was aus einem Anruf dorthin würde.",
        );
        let mut form = Form::to_fill(Node::Policy.title(language), ask).with(
            Field::TextSingle,
            "number",
            language.choose("Number", "Nummer"),
            &[],
            &[],
        );
        let Some(policy) = self.numbers.policy() else {
            return Outcome::Fill(form);
        };
        for class in NumberClass::ALL {
            let line = format!("{class}: {}", rule(policy.action(class), language));
            form = form.with(Field::Fixed, "", "", &[&line], &[]);
        }
        Outcome::Fill(form)
    }

    fn explain(&self, form: Submitted<'_>, language: Language) -> Outcome {
        let text = form.value("number").unwrap_or_default();
        if text.is_empty() || text.len() > MAX_TO {
            return self.show_policy(language);
        }
        let holder = |number| {
            self.directory
                .matching("")
                .find(|(user, _)| user.numbers.contains(number))
        };
        let (what, class, becomes) = match self.numbers.explain(&text) {
            Some(Explained::Number { number, .. }) if let Some((user, _)) = holder(&number) => (
                format!("{number} ({})", user.jid),
                NumberClass::Onnet,
                self.numbers.policy().map(|policy| policy.action(NumberClass::Onnet)),
            ),
            Some(Explained::Number { number, class, rule }) => (number.to_string(), class, Some(rule)),
            Some(Explained::Emergency) => (text, NumberClass::Emergency, Some(Rule::Allow)),
            Some(Explained::Refused(why)) => return Outcome::Failed(why),
            None => {
                let none = language.choose("That is no number.", "Das ist keine Nummer.");
                return Outcome::Failed(none.into());
            }
        };
        let becomes = becomes.map_or("", |becomes| rule(becomes, language));
        let form = Form::result(Node::Policy.title(language))
            .with(
                Field::TextSingle,
                "number",
                language.choose("Number", "Nummer"),
                &[&what],
                &[],
            )
            .with(
                Field::TextSingle,
                "class",
                language.choose("Kind", "Art"),
                &[class.as_str()],
                &[],
            )
            .with(
                Field::TextSingle,
                "decision",
                language.choose("What happens", "Was geschieht"),
                &[becomes],
                &[],
            );
        Outcome::Show(form)
    }

    fn status(&self, language: Language) -> Outcome {
        let (users, reachable) = self.directory.counts();
        let plugin = match self.link.refusal() {
            Some(why) => why.to_owned(),
            None if self.is_settled() => language.choose("has everything", "hat alles").to_owned(),
            None => language.choose("is being told", "wird gerade unterrichtet").to_owned(),
        };
        let counters = self.counters;
        let on_phone = self.phones.now.len();
        let lines = [
            ("users", language.choose("Users", "Benutzer"), users.to_string()),
            (
                "reachable",
                language.choose("With a phone connected", "Mit verbundenem Telefon"),
                reachable.to_string(),
            ),
            (
                "on-phone",
                language.choose("On the phone", "Im Gespräch"),
                on_phone.to_string(),
            ),
            (
                "plugin",
                language.choose("The plugin in the server", "Das Plugin im Server"),
                plugin,
            ),
            (
                "cards-refused",
                language.choose("Cards refused", "Abgelehnte Karten"),
                counters.cards_refused.to_string(),
            ),
            (
                "notices",
                language.choose("Notices sent", "Gesendete Hinweise"),
                (counters.charges + counters.calls).to_string(),
            ),
        ];
        let form = lines.iter().fold(
            Form::result(Node::Status.title(language)),
            |form, (name, label, value)| form.with(Field::TextSingle, name, label, &[value], &[]),
        );
        Outcome::Show(form)
    }
}

impl Request {
    /// Who asks, without the resource.
    fn asker(&self) -> Option<BareJid> {
        Jid::new(&self.from).ok().map(|jid| jid.to_bare())
    }
}

fn ask_whom(language: Language) -> Outcome {
    let how = language.choose(
        "Your phones ring first; when you answer, the other side is called, as if you had dialled it.",
        "Zuerst läuten Ihre Telefone; wenn Sie abnehmen, wird die andere Seite angerufen, als hätten Sie gewählt.",
    );
    let form = Form::to_fill(Node::Call.title(language), how).with(
        Field::TextSingle,
        "to",
        language.choose("Number or address", "Nummer oder Adresse"),
        &[],
        &[],
    );
    Outcome::Fill(form)
}

fn ask_which(language: Language) -> Outcome {
    let how = language.choose(
        "Write a part of a JID, name, address or number; nothing for all.",
        "Nennen Sie einen Teil von JID, Name, Adresse oder Nummer; nichts für alle.",
    );
    let form = Form::to_fill(Node::Users.title(language), how).with(
        Field::TextSingle,
        "search",
        language.choose("Search", "Suche"),
        &[],
        &[],
    );
    Outcome::Fill(form)
}

fn row_of(user: &User, registered: &[Aor]) -> [String; 5] {
    let joined = |aors: &[Aor]| aors.iter().map(Aor::as_str).collect::<Vec<_>>().join(" ");
    let numbers: Vec<&str> = user.numbers.iter().map(|number| number.as_str()).collect();
    [
        user.jid.to_string(),
        user.name.to_string(),
        joined(&user.aors),
        numbers.join(" "),
        joined(registered),
    ]
}

fn label_of(kind: NoticeKind, language: Language) -> &'static str {
    match kind {
        NoticeKind::Charge => language.choose(
            "calls of mine that may cost money",
            "Anrufe von mir, die Geld kosten können",
        ),
        NoticeKind::Incoming => language.choose("incoming calls", "ankommende Anrufe"),
        NoticeKind::Missed => language.choose("missed calls", "verpasste Anrufe"),
        NoticeKind::Refused => language.choose(
            "calls while my phones were busy or away",
            "Anrufe, als meine Telefone besetzt oder fort waren",
        ),
    }
}

fn rule(rule: Rule, language: Language) -> &'static str {
    match rule {
        Rule::Allow => language.choose("is dialled at once", "wird sofort gewählt"),
        Rule::Warn => language.choose("is dialled after a warning", "wird nach einer Warnung gewählt"),
        Rule::Refuse => language.choose("is refused", "wird abgelehnt"),
    }
}

/// Why a call was not begun, by its SIP status.
fn why_not(status: Option<u16>, language: Language) -> &'static str {
    match status {
        Some(403) => language.choose(
            "You may not call that, or have as many calls as one may begin.",
            "Das dürfen Sie nicht anrufen, oder Sie haben schon so viele Gespräche, wie man beginnen darf.",
        ),
        Some(480) => language.choose(
            "None of your phones is connected.",
            "Keines Ihrer Telefone ist verbunden.",
        ),
        Some(416 | 484) => language.choose(
            "That is no number and no address.",
            "Das ist keine Nummer und keine Adresse.",
        ),
        _ => language.choose(
            "The service cannot now; try again later.",
            "Der Dienst kann gerade nicht; versuchen Sie es später.",
        ),
    }
}

/// Most commands that wait for an answer.
const MAX_WAITING: usize = 256;
/// How long one waits.
const WAIT: Duration = Duration::from_secs(8);
/// The longest number or address that somebody may want, in bytes.
const MAX_TO: usize = 256;
/// The longest name of a session that is given back, in bytes.
const MAX_SESSION: usize = 256;
/// Most users that are shown at once.
const MAX_ROWS: usize = 100;
