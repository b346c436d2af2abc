//! `[numbers]`, `[policy]`: what a dialled number means, and what the caller must be told first.

use crate::core::config::section::{Check, Place, Reader, section};
use crate::core::config::setting::{Country, Digits};
use crate::core::dialplan::{EmergencyNumber, HomePlan, PlanFault};
use crate::core::policy::{self, Action, NumberClass};

section! {
    /// How telephone numbers are dialled here.
    Numbers {
        /// The home country: numbers without a country code are its own, and its prefixes are understood. Not set: only
        /// numbers that begin with + are dialled.
        country: Option<Country> = None => "\"DE\"",
        /// The area code, without the trunk prefix, for numbers dialled without one. Not set: such numbers are refused.
        area: Option<Digits> = None => "\"30\"",
        /// Emergency numbers, besides those of the home country.
        emergency: Vec<Digits> = vec!["112".parse().expect("digits")],
    }
}

section! {
    /// What may be called, and what the caller is told first. A class that stands in no list is warned of: what is not
    /// known to be free may cost money.
    Policy {
        /// Classes that are dialled at once.
        allow: Vec<NumberClass> = vec![NumberClass::Emergency, NumberClass::Onnet, NumberClass::Free],
        /// Classes that are dialled after a warning to the caller, besides those in no list.
        warn: Vec<NumberClass> = Vec::new(),
        /// Classes that are never dialled.
        refuse: Vec<NumberClass> = Vec::new(),
        /// The tone that warns.
        tone: Tone,
    }
}

section! {
    /// The tone that a caller hears before a call that may cost money.
    Tone {
        /// In hertz, 100 to 3400.
        frequency: u16 = 425,
        /// Milliseconds of sound, 20 to 5000.
        on_ms: u16 = 200,
        /// Milliseconds of silence after the sound, up to 5000.
        off_ms: u16 = 200,
        /// How often sound and silence are repeated before the number is dialled, 1 to 20.
        repeat: u16 = 3,
    }
}

impl Numbers {
    /// The plan by which dialled numbers are read.
    ///
    /// # Errors
    /// None for numbers that were read from a configuration, which checks them.
    pub fn plan(&self) -> Result<HomePlan, PlanFault> {
        let plan = self.countrywide()?;
        match &self.area {
            Some(area) => plan.in_area(area.as_str()),
            None => Ok(plan),
        }
    }

    fn countrywide(&self) -> Result<HomePlan, PlanFault> {
        let mut digits = self.emergency.iter().map(Digits::as_str);
        let plan = match &self.country {
            Some(country) => HomePlan::new(country.as_str())?,
            None => {
                let digits = digits.next().unwrap_or_default().to_owned();
                HomePlan::anywhere(vec![EmergencyNumber {
                    digits,
                    services: Vec::new(),
                }])?
            }
        };
        digits.try_fold(plan, HomePlan::and_emergency)
    }
}

impl Policy {
    /// The policy by which calls are judged.
    #[must_use]
    pub fn rules(&self) -> policy::Policy {
        let action = |class| match class {
            class if self.refuse.contains(&class) => Action::Refuse,
            class if self.allow.contains(&class) => Action::Allow,
            _ => Action::Warn,
        };
        policy::Policy {
            onnet: action(NumberClass::Onnet),
            free: action(NumberClass::Free),
            national: action(NumberClass::National),
            mobile: action(NumberClass::Mobile),
            shared: action(NumberClass::Shared),
            premium: action(NumberClass::Premium),
            intl: action(NumberClass::Intl),
            intl_premium: action(NumberClass::IntlPremium),
            satellite: action(NumberClass::Satellite),
            unknown: action(NumberClass::Unknown),
            tone: self.tone.sound(),
        }
    }
}

impl Tone {
    /// What is played.
    #[must_use]
    pub fn sound(&self) -> policy::Tone {
        let Self {
            frequency: frequency_hz,
            on_ms,
            off_ms,
            repeat,
        } = *self;
        policy::Tone {
            frequency_hz,
            on_ms,
            off_ms,
            repeat,
        }
    }
}

impl Check for Numbers {
    fn check(&self, reader: &mut Reader<'_>, place: &Place) {
        if self.area.is_some() && self.country.is_none() {
            let what = "an area code means nothing without a country".to_owned();
            reader.fault_at(place.inner("area"), what, "write country as well".into());
            return;
        }
        let fault = match self.countrywide() {
            Ok(_) => self.plan().err(),
            Err(fault) => Some(fault),
        };
        if let Some(fault) = fault {
            let key = match fault {
                PlanFault::Country => "country",
                PlanFault::Area => "area",
                PlanFault::Emergency => "emergency",
            };
            reader.fault_at(place.inner(key), "does not fit".into(), fault.to_string());
        }
    }
}

impl Check for Policy {
    fn check(&self, reader: &mut Reader<'_>, place: &Place) {
        let lists = [("allow", &self.allow), ("warn", &self.warn), ("refuse", &self.refuse)];
        for (index, (key, list)) in lists.iter().enumerate() {
            for class in *list {
                if let Some((other, _)) = lists[..index].iter().find(|(_, earlier)| earlier.contains(class)) {
                    let what = format!("{class} stands in {} as well", place.inner(other));
                    reader.fault_at(place.inner(key), what, "keep it in one of them".into());
                }
            }
        }
        if !self.allow.contains(&NumberClass::Emergency) {
            let what = "EMERGENCY is missing: emergency calls are always dialled at once".into();
            reader.fault_at(place.inner("allow"), what, "add \"EMERGENCY\"".into());
        }
    }
}

impl Check for Tone {
    fn check(&self, reader: &mut Reader<'_>, place: &Place) {
        let rules = policy::Policy {
            tone: self.sound(),
            ..Default::default()
        };
        for fault in rules.faults() {
            let key = fault.key.trim_start_matches("tone.").trim_end_matches("_hz");
            let fix = format!("write {} to {}", fault.lowest, fault.highest);
            reader.fault_at(place.inner(key), format!("{} is out of bounds", fault.value), fix);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_become_rules() {
        let list = |names: &[NumberClass]| names.to_vec();
        let tone = Tone {
            frequency: 440,
            on_ms: 100,
            off_ms: 50,
            repeat: 2,
        };
        let policy = Policy {
            allow: list(&[NumberClass::Emergency, NumberClass::Onnet, NumberClass::Mobile]),
            warn: list(&[NumberClass::Free]),
            refuse: list(&[NumberClass::IntlPremium]),
            tone,
        };
        let rules = policy.rules();
        let expected = [
            (NumberClass::Emergency, Action::Allow),
            (NumberClass::Mobile, Action::Allow),
            (NumberClass::Free, Action::Warn),
            (NumberClass::National, Action::Warn),
            (NumberClass::IntlPremium, Action::Refuse),
            // As the dearest.
            (NumberClass::Unknown, Action::Refuse),
        ];
        for (class, action) in expected {
            assert_eq!(rules.action(class), action, "{class}");
        }
        assert_eq!(rules.tone.frequency_hz, 440);
    }

    #[test]
    fn emergency_numbers_are_added_to_those_of_the_country() {
        let numbers = Numbers {
            country: Some("US".parse().expect("a country")),
            area: None,
            emergency: vec!["112".parse().expect("digits"), "911".parse().expect("digits")],
        };
        let plan = numbers.plan().expect("a plan");
        let digits: Vec<_> = plan.emergency().iter().map(|number| number.digits.as_str()).collect();
        assert_eq!(
            (digits[0], digits.iter().filter(|d| **d == "911").count()),
            ("911", 1),
            "{digits:?}"
        );
        assert!(digits.contains(&"112"), "{digits:?}");
        let nowhere = Numbers {
            country: None,
            ..numbers
        }
        .plan()
        .expect("a plan");
        assert_eq!(nowhere.emergency().len(), 2);
    }
}
