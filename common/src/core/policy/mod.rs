//! What may be called, and what the caller must be told first.
//!
//! A pure function from facts to a decision. It is asked last before a leg is dialled, on exactly the canonical string
//! that the trunk will get.
//!
//! # What stays true whatever an administrator writes
//! - An emergency call is allowed, at once and without a warning.
//! - A number of unknown kind is treated no more kindly than the dearest kind.
//! - A trunk reaches users of ours and nothing else.

use std::fmt;

/// What kind of destination a canonical number is, as the caller's bill sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
pub enum NumberClass {
    /// An emergency service.
    Emergency,
    /// A number of a user of ours.
    Onnet,
    /// Free of charge for the caller.
    Free,
    /// Geographic, in the home country.
    National,
    /// Mobile, in the home country.
    Mobile,
    /// Shared cost.
    Shared,
    /// Premium rate in the home country.
    Premium,
    /// Another country.
    Intl,
    /// Premium rate in another country, or on an international network.
    IntlPremium,
    /// Satellite networks.
    Satellite,
    /// A number whose kind cannot be told: treated as the dearest.
    Unknown,
}

impl NumberClass {
    /// Every class.
    pub const ALL: [Self; 11] = [
        Self::Emergency,
        Self::Onnet,
        Self::Free,
        Self::National,
        Self::Mobile,
        Self::Shared,
        Self::Premium,
        Self::Intl,
        Self::IntlPremium,
        Self::Satellite,
        Self::Unknown,
    ];

    /// The word in logs, records and configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Emergency => "EMERGENCY",
            Self::Onnet => "ONNET",
            Self::Free => "FREE",
            Self::National => "NATIONAL",
            Self::Mobile => "MOBILE",
            Self::Shared => "SHARED",
            Self::Premium => "PREMIUM",
            Self::Intl => "INTL",
            Self::IntlPremium => "INTL-PREMIUM",
            Self::Satellite => "SATELLITE",
            Self::Unknown => "UNKNOWN",
        }
    }
}

impl fmt::Display for NumberClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What happens to calls, by the kind of number that they go to.
///
/// Emergency calls have no entry, since nothing may hold them up. The default warns before everything that is not free.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Calls to users of this service: `allow`, `warn` or `refuse`.
    pub onnet: Action,
    /// Calls that cost the caller nothing.
    pub free: Action,
    /// Geographic numbers of the home country.
    pub national: Action,
    /// Mobile numbers of the home country.
    pub mobile: Action,
    /// Shared-cost numbers.
    pub shared: Action,
    /// Premium-rate numbers of the home country.
    pub premium: Action,
    /// Numbers of other countries.
    pub intl: Action,
    /// Premium-rate numbers of other countries and of international networks.
    pub intl_premium: Action,
    /// Satellite networks.
    pub satellite: Action,
    /// Numbers whose kind cannot be told. The strictest of the other entries for paid numbers holds where this one is
    /// milder.
    pub unknown: Action,
    /// What a warned caller hears before the call is dialled.
    pub tone: Tone,
}

impl Policy {
    /// What to do with calls to numbers of this kind.
    #[must_use]
    pub fn action(&self, class: NumberClass) -> Action {
        match class {
            NumberClass::Emergency => Action::Allow,
            NumberClass::Onnet => self.onnet,
            NumberClass::Free => self.free,
            NumberClass::National => self.national,
            NumberClass::Mobile => self.mobile,
            NumberClass::Shared => self.shared,
            NumberClass::Premium => self.premium,
            NumberClass::Intl => self.intl,
            NumberClass::IntlPremium => self.intl_premium,
            NumberClass::Satellite => self.satellite,
            NumberClass::Unknown => [
                self.national,
                self.mobile,
                self.shared,
                self.premium,
                self.intl,
                self.intl_premium,
                self.satellite,
            ]
            .into_iter()
            .fold(self.unknown, Action::max),
        }
    }

    /// Everything that is wrong with this policy, each with the key that holds it.
    #[must_use]
    pub fn faults(&self) -> Vec<PolicyFault> {
        let tone = &self.tone;
        let mut faults = Vec::new();
        let mut within = |key, value: u16, lowest, highest| {
            if !(lowest..=highest).contains(&value) {
                faults.push(PolicyFault {
                    key,
                    value,
                    lowest,
                    highest,
                });
            }
        };
        within(
            "tone.frequency_hz",
            tone.frequency_hz,
            MIN_FREQUENCY_HZ,
            MAX_FREQUENCY_HZ,
        );
        within("tone.on_ms", tone.on_ms, MIN_SOUND_MS, MAX_SOUND_MS);
        within("tone.off_ms", tone.off_ms, 0, MAX_SOUND_MS);
        within("tone.repeat", tone.repeat, 1, MAX_REPEAT);
        faults
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            onnet: Action::Allow,
            free: Action::Allow,
            national: Action::Warn,
            mobile: Action::Warn,
            shared: Action::Warn,
            premium: Action::Warn,
            intl: Action::Warn,
            intl_premium: Action::Warn,
            satellite: Action::Warn,
            unknown: Action::Warn,
            tone: Tone::default(),
        }
    }
}

/// What happens to a call, the mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Dial it.
    Allow,
    /// Warn the caller, then dial it.
    Warn,
    /// Do not dial it.
    Refuse,
}

impl Action {
    /// Every action, the mildest first.
    pub const ALL: [Self; 3] = [Self::Allow, Self::Warn, Self::Refuse];
}

/// A sine that comes and goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tone {
    /// Pitch in hertz, 100 to 3400: what a telephone carries.
    pub frequency_hz: u16,
    /// How long it sounds each time, in milliseconds, 20 to 5000.
    pub on_ms: u16,
    /// The silence after it, in milliseconds, up to 5000.
    pub off_ms: u16,
    /// How many times it sounds, 1 to 20; the caller waits that long.
    pub repeat: u16,
}

impl Default for Tone {
    fn default() -> Self {
        Self {
            frequency_hz: 425,
            on_ms: 200,
            off_ms: 200,
            repeat: 3,
        }
    }
}

/// A value of a policy that is out of its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} is {value}; it must be from {lowest} to {highest}")]
pub struct PolicyFault {
    /// The key, as seen from the policy's own section.
    pub key: &'static str,
    /// What stands there.
    pub value: u16,
    /// The least that works.
    pub lowest: u16,
    /// The most that works.
    pub highest: u16,
}

/// What is known about a call when it is about to be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What kind of number it goes to, from the canonical form that will be dialled. An address of record of ours
    /// counts as [`NumberClass::Onnet`].
    pub class: NumberClass,
    /// Who calls.
    pub caller: CallerKind,
}

/// Who calls, as proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerKind {
    /// A user of ours, proved by digest.
    User,
    /// A trunk, known by its configuration.
    Trunk,
}

/// What to do with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Dial it at once.
    Allow,
    /// Play the tone to its end, tell the caller's chat client, then dial.
    Warn {
        /// What to play.
        tone: Tone,
    },
    /// Do not dial it.
    Refuse {
        /// The SIP status toward the caller.
        status: u16,
        /// Why.
        why: Barred,
    },
}

/// Why policy refuses a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Barred {
    /// The policy refuses this kind of number.
    #[error("calls to {0} numbers are refused by policy")]
    Class(NumberClass),
    /// A trunk asked to be connected to something that is not ours.
    #[error("a trunk reaches only users of this service")]
    Transit,
}

/// Decides what happens to a call.
#[must_use]
pub fn decide(policy: &Policy, facts: Facts) -> Decision {
    match (facts.caller, policy.action(facts.class)) {
        (CallerKind::Trunk, _) if facts.class != NumberClass::Onnet => Decision::Refuse {
            status: FORBIDDEN,
            why: Barred::Transit,
        },
        // A warning is for somebody whose bill we know: what a call from outside costs is its own network's to say.
        (_, Action::Allow) | (CallerKind::Trunk, Action::Warn) => Decision::Allow,
        (CallerKind::User, Action::Warn) => Decision::Warn { tone: policy.tone },
        (_, Action::Refuse) => Decision::Refuse {
            status: FORBIDDEN,
            why: Barred::Class(facts.class),
        },
    }
}

/// RFC 3261 §21.4.4.
const FORBIDDEN: u16 = 403;
/// The band that G.711 and every telephone carries.
const MIN_FREQUENCY_HZ: u16 = 100;
/// As [`MIN_FREQUENCY_HZ`].
const MAX_FREQUENCY_HZ: u16 = 3400;
/// One packet of audio.
const MIN_SOUND_MS: u16 = 20;
/// Nobody waits longer for one sound.
const MAX_SOUND_MS: u16 = 5000;
/// Nobody listens longer.
const MAX_REPEAT: u16 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_hold_for_every_input() {
        use NumberClass::*;
        for policy in policies() {
            for caller in [CallerKind::User, CallerKind::Trunk] {
                let decision = |class| decide(&policy, Facts { class, caller });
                for class in NumberClass::ALL {
                    let made = decision(class);
                    let name = format!("{policy:?} {caller:?} {class}");
                    match (caller, class) {
                        (CallerKind::User, Emergency) => {
                            assert_eq!(
                                made,
                                Decision::Allow,
                                "emergency is always allowed, never warned: {name}"
                            );
                        }
                        (CallerKind::User, _) => {
                            assert_eq!(
                                strictness(made),
                                policy.action(class),
                                "the action is carried out: {name}"
                            );
                        }
                        (CallerKind::Trunk, Onnet) => {
                            assert_ne!(strictness(made), Action::Warn, "a trunk has nobody to warn: {name}");
                        }
                        (CallerKind::Trunk, _) => {
                            assert_eq!(
                                made,
                                Decision::Refuse {
                                    status: 403,
                                    why: Barred::Transit
                                },
                                "no call crosses from trunk to trunk: {name}"
                            );
                        }
                    }
                    if let Decision::Warn { tone } = made {
                        assert_eq!(tone, policy.tone, "{name}");
                    }
                }
                for paid in [National, Mobile, Shared, Premium, Intl, IntlPremium, Satellite] {
                    assert!(
                        strictness(decision(Unknown)) >= strictness(decision(paid)),
                        "unknown is no milder than {paid}: {policy:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_first_policy_warns_before_everything_that_costs() {
        use NumberClass::*;
        let policy = Policy::default();
        for class in NumberClass::ALL {
            let free = matches!(class, Emergency | Onnet | Free);
            let expected = if free { Action::Allow } else { Action::Warn };
            assert_eq!(policy.action(class), expected, "{class}");
        }
        assert_eq!(
            policy.tone,
            Tone {
                frequency_hz: 425,
                on_ms: 200,
                off_ms: 200,
                repeat: 3
            }
        );
        assert_eq!(policy.faults(), []);
    }

    #[test]
    fn every_fault_of_a_tone_is_told() {
        let tone = Tone {
            frequency_hz: 50,
            on_ms: 0,
            off_ms: 60_000,
            repeat: 0,
        };
        let keys: Vec<_> = Policy {
            tone,
            ..Policy::default()
        }
        .faults()
        .into_iter()
        .map(|f| f.key)
        .collect();
        assert_eq!(keys, ["tone.frequency_hz", "tone.on_ms", "tone.off_ms", "tone.repeat"]);
    }

    #[test]
    fn a_policy_reads_from_text() {
        let text = r#"{"premium": "refuse", "tone": {"frequency_hz": 440}}"#;
        let policy: Policy = serde_json::from_str(text).unwrap();
        assert_eq!(policy.action(NumberClass::Premium), Action::Refuse);
        assert_eq!(policy.action(NumberClass::Unknown), Action::Refuse);
        assert_eq!(
            policy.tone,
            Tone {
                frequency_hz: 440,
                ..Tone::default()
            }
        );
        assert!(serde_json::from_str::<Policy>(r#"{"emergency": "refuse"}"#).is_err());
        for class in NumberClass::ALL {
            assert_eq!(serde_json::to_value(class).unwrap(), class.as_str());
        }
    }

    /// Each action for each class in turn, everything alike, and the default.
    fn policies() -> Vec<Policy> {
        let mut policies = vec![Policy::default()];
        for action in Action::ALL {
            let all = Policy {
                onnet: action,
                free: action,
                national: action,
                mobile: action,
                shared: action,
                premium: action,
                intl: action,
                intl_premium: action,
                satellite: action,
                unknown: action,
                tone: Tone::default(),
            };
            let set: [fn(&mut Policy, Action); 10] = [
                |p, a| p.onnet = a,
                |p, a| p.free = a,
                |p, a| p.national = a,
                |p, a| p.mobile = a,
                |p, a| p.shared = a,
                |p, a| p.premium = a,
                |p, a| p.intl = a,
                |p, a| p.intl_premium = a,
                |p, a| p.satellite = a,
                |p, a| p.unknown = a,
            ];
            for other in Action::ALL {
                policies.extend(set.map(|set| {
                    let mut policy = all.clone();
                    set(&mut policy, other);
                    policy
                }));
            }
            policies.push(all);
        }
        policies
    }

    fn strictness(decision: Decision) -> Action {
        match decision {
            Decision::Allow => Action::Allow,
            Decision::Warn { .. } => Action::Warn,
            Decision::Refuse { .. } => Action::Refuse,
        }
    }
}
