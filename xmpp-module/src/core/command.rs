//! Ad-hoc commands (XEP-0050): which there are, who may use them, and how they are asked and answered.
//!
//! Nothing is kept between the steps of a command: a form that comes back says everything, and whoever sends it must be
//! allowed to at that moment.

use minidom::Element;

use crate::core::form::{Form, Submitted};
use crate::core::language::Language;
use crate::core::{ns, xml};

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// What the user can be called at.
    Addresses,
    /// What the user is told in chat, and whether others are told the user's JID.
    Notices,
    /// Rings the user's phones, and joins them with somebody.
    Call,
    /// Who there is, and where their phones are registered.
    Users,
    /// What happens to calls, and what would happen to one.
    Policy,
    /// How the service is.
    Status,
    /// Has everything told anew.
    Resync,
}

impl Node {
    /// Every command, in the order of the list.
    pub const ALL: [Self; 7] = [
        Self::Addresses,
        Self::Notices,
        Self::Call,
        Self::Users,
        Self::Policy,
        Self::Status,
        Self::Resync,
    ];

    /// The node of the command.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Addresses => "my-addresses",
            Self::Notices => "my-notices",
            Self::Call => "call",
            Self::Users => "users",
            Self::Policy => "policy",
            Self::Status => "status",
            Self::Resync => "resync",
        }
    }

    /// Whether it is for administrators; the others are for users.
    #[must_use]
    pub fn is_for_admins(self) -> bool {
        match self {
            Self::Addresses | Self::Notices | Self::Call => false,
            Self::Users | Self::Policy | Self::Status | Self::Resync => true,
        }
    }

    /// The name in the list.
    #[must_use]
    pub fn title(self, language: Language) -> &'static str {
        match self {
            Self::Addresses => language.choose("My addresses and numbers", "Meine Adressen und Nummern"),
            Self::Notices => language.choose(
                "What I am told, and others of me",
                "Was mir und anderen von mir gesagt wird",
            ),
            Self::Call => language.choose("Call somebody with my phone", "Jemanden mit meinem Telefon anrufen"),
            Self::Users => language.choose("Users and their phones", "Benutzer und ihre Telefone"),
            Self::Policy => language.choose("What calls may cost", "Was Anrufe kosten können"),
            Self::Status => language.choose("State of the service", "Zustand des Dienstes"),
            Self::Resync => language.choose("Tell the server everything anew", "Dem Server alles neu sagen"),
        }
    }

    /// The command of a node.
    #[must_use]
    pub fn of(node: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == node)
    }
}

/// What is wanted of a command (XEP-0050 §3.4).
#[derive(Clone, Copy, Debug)]
pub enum Action<'a> {
    /// To begin, or to be shown the form again.
    Begin,
    /// This was filled in.
    Submit(Submitted<'a>),
    /// To forget it.
    Cancel,
}

/// Why an action is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAction;

impl<'a> Action<'a> {
    /// What `command` wants.
    ///
    /// # Errors
    /// [`BadAction`] for an action that there is not at this step.
    pub fn of(command: &'a Element) -> Result<Self, BadAction> {
        match command.attr("action") {
            Some("cancel") => Ok(Self::Cancel),
            None | Some("execute" | "complete" | "next") => {
                Ok(Submitted::of(command).map_or(Self::Begin, Self::Submit))
            }
            Some(_) => Err(BadAction),
        }
    }
}

/// How far a command has come.
#[derive(Debug)]
pub enum Outcome {
    /// This is to be filled in.
    Fill(Form),
    /// It is done, and this is what came of it.
    Show(Form),
    /// It is done.
    Done(String),
    /// It could not be done.
    Failed(String),
    /// It was given up.
    Canceled,
}

impl Outcome {
    /// The payload of the answer.
    #[must_use]
    pub fn element(self, node: Node, session: &str) -> Element {
        let status = match self {
            Self::Fill(_) => "executing",
            Self::Canceled => "canceled",
            Self::Show(_) | Self::Done(_) | Self::Failed(_) => "completed",
        };
        let attributes = [("node", node.as_str()), ("sessionid", session), ("status", status)];
        let mut command = xml::element("command", ns::COMMANDS, &attributes);
        let note = |kind: &str, text: &str| {
            let mut note = xml::element("note", ns::COMMANDS, &[("type", kind)]);
            xml::append_text(&mut note, text);
            note
        };
        match self {
            Self::Fill(form) => {
                let mut actions = xml::element("actions", ns::COMMANDS, &[("execute", "complete")]);
                actions.append_child(Element::bare("complete", ns::COMMANDS));
                command.append_child(actions);
                command.append_child(form.into_element());
            }
            Self::Show(form) => {
                command.append_child(form.into_element());
            }
            Self::Done(text) => {
                command.append_child(note("info", &text));
            }
            Self::Failed(text) => {
                command.append_child(note("error", &text));
            }
            Self::Canceled => {}
        }
        command
    }
}

/// The list of commands, for somebody who may use `nodes`.
#[must_use]
pub fn items(component: &str, nodes: impl Iterator<Item = Node>, language: Language) -> Element {
    let mut query = xml::element("query", ns::DISCO_ITEMS, &[("node", ns::COMMANDS)]);
    for node in nodes {
        let attributes = [
            ("jid", component),
            ("node", node.as_str()),
            ("name", node.title(language)),
        ];
        query.append_child(xml::element("item", ns::DISCO_ITEMS, &attributes));
    }
    query
}

/// What a command is, or the list of them.
#[must_use]
pub fn info(node: Option<Node>, language: Language) -> Element {
    let (name, kind, title) = match node {
        Some(node) => (node.as_str(), "command-node", node.title(language)),
        None => (ns::COMMANDS, "command-list", language.choose("Commands", "Befehle")),
    };
    let mut query = xml::element("query", ns::DISCO_INFO, &[("node", name)]);
    let identity = [("category", "automation"), ("type", kind), ("name", title)];
    query.append_child(xml::element("identity", ns::DISCO_INFO, &identity));
    if node.is_some() {
        for feature in [ns::COMMANDS, ns::DATA] {
            query.append_child(xml::element("feature", ns::DISCO_INFO, &[("var", feature)]));
        }
    }
    query
}
