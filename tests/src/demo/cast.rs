//! Who takes part: people, numbers and sounds, all drawn from one seed.

use cusax_common::core::entropy::{Entropy as _, Seeded};

/// Everybody and everything that is drawn.
#[derive(Clone, Debug)]
pub struct Cast {
    /// Calls Bob, and pays.
    pub alice: Person,
    /// Is called.
    pub bob: Person,
    /// Has a phone for a while.
    pub carol: Person,
    /// Means harm; has a number of her own.
    pub mallory: Person,
    /// Bob of Biloxi: on the other virtual host, without SIP, with a mobile phone.
    pub biloxi: Person,
    /// The virtual host with our plugin.
    pub atlanta_domain: String,
    /// The virtual host without.
    pub biloxi_domain: String,
    /// What stands after the @ of AORs.
    pub sip_domain: String,
    /// The shared secret of the component.
    pub secret: String,
    /// The warning tone.
    pub tone: Tone,
    /// How Alice's phone spells Bob of Biloxi's number.
    pub dialled: String,
    /// The digits that Alice, Bob and the trunk speak.
    pub spoken: [String; 3],
    /// Pitch and speed of their voices.
    pub voices: [(u32, u32); 3],
}

/// One person and all their names.
#[derive(Clone, Debug)]
pub struct Person {
    /// For people.
    pub name: String,
    /// Bare JID.
    pub jid: String,
    /// XMPP password.
    pub password: String,
    /// SIP address of record.
    pub aor: String,
    /// Digest username.
    pub login: String,
    /// Digest password.
    pub sip_password: String,
    /// The number that they hold, in E.164.
    pub number: String,
}

/// The warning tone as the policy has it.
#[derive(Clone, Copy, Debug)]
pub struct Tone {
    /// Hertz.
    pub frequency: u32,
    /// Milliseconds of sound.
    pub on: u32,
    /// Milliseconds of silence.
    pub off: u32,
    /// Times.
    pub repeat: u32,
}

impl Cast {
    /// The same seed draws the same cast.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut dice = Dice(Seeded::new(seed));
        let word = dice.0.token::<2>();
        let (atlanta_domain, biloxi_domain) = (format!("atlanta-{word}.example"), format!("biloxi-{word}.example"));
        let sip_domain = format!("sip.{}.example", dice.word(6));
        let mut person = |first: &str, domain: &str, number: String| Person {
            name: format!("{first} {}", dice.pick(&SURNAMES)),
            jid: format!("{}.{}@{domain}", first.to_lowercase(), dice.0.token::<2>()),
            password: dice.0.token::<8>(),
            aor: format!("sip:{}@{sip_domain}", dice.word(7)),
            login: format!("{}{}", dice.word(4), dice.below(900) + 100),
            sip_password: dice.0.token::<12>(),
            number,
        };
        // Numbers that the regulator keeps for films: they ring nowhere.
        let fixed = |number: u32| format!("+493023125{number:03}");
        let offset = (seed % 200) as u32;
        let alice = person("Alice", &atlanta_domain, fixed(offset));
        let bob = person("Bob", &atlanta_domain, fixed(offset + 200));
        let carol = person("Carol", &atlanta_domain, fixed(offset + 400));
        let mallory = person("Mallory", &atlanta_domain, fixed(offset + 600));
        let mobile = format!("1713920{:03}", offset % 100);
        let biloxi = person("Bob", &biloxi_domain, format!("+49{mobile}"));
        let dialled = dice.pick(&["+49", "0049", "0"]).to_owned() + &mobile;
        let tone = Tone {
            frequency: dice.between(350, 1200),
            // Longer than a second in all, see `Phone::heard`.
            on: dice.between(20, 30) * 10,
            off: dice.between(20, 30) * 10,
            repeat: dice.between(3, 4),
        };
        let spoken = std::array::from_fn(|_| dice.digits(5));
        // The trunk's voice lies between the others so that none is taken for another.
        let voices = [
            (dice.between(75, 95), 150),
            (dice.between(5, 20), 170),
            (dice.between(40, 55), 160),
        ];
        let secret = dice.0.token::<16>();
        Self {
            alice,
            bob,
            carol,
            mallory,
            biloxi,
            atlanta_domain,
            biloxi_domain,
            sip_domain,
            secret,
            tone,
            dialled,
            spoken,
            voices,
        }
    }
}

impl Cast {
    /// An account on the host without our plugin that has Bob's name and roster.
    #[must_use]
    pub fn twin(&self) -> String {
        let user = self.bob.jid.split('@').next().unwrap_or_default();
        format!("{user}@{}", self.biloxi_domain)
    }
}

struct Dice(Seeded);

impl Dice {
    fn below(&mut self, limit: u32) -> u32 {
        u32::try_from(self.0.next_u64() % u64::from(limit)).expect("below a u32")
    }

    fn between(&mut self, low: u32, high: u32) -> u32 {
        low + self.below(high - low + 1)
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(u32::try_from(from.len()).expect("short")) as usize]
    }

    fn word(&mut self, length: usize) -> String {
        (0..length)
            .map(|place| self.pick(if place % 2 == 0 { &CONSONANTS } else { &VOWELS }))
            .collect()
    }

    fn digits(&mut self, count: usize) -> String {
        (0..count).map(|_| char::from(b'0' + self.below(10) as u8)).collect()
    }
}

const SURNAMES: [&str; 8] = [
    "Adler", "Boone", "Castillo", "Dvořák", "Eze", "Fontaine", "Gupta", "Hale",
];
const CONSONANTS: [&str; 10] = ["b", "d", "f", "k", "l", "m", "n", "r", "t", "z"];
const VOWELS: [&str; 5] = ["a", "e", "i", "o", "u"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_one_cast_in_which_nothing_is_shared_and_no_aor_resembles_a_jid() {
        for seed in 0..500 {
            let cast = Cast::draw(seed);
            assert_eq!(format!("{cast:?}"), format!("{:?}", Cast::draw(seed)), "seed {seed}");
            let people = [&cast.alice, &cast.bob, &cast.carol, &cast.mallory, &cast.biloxi];
            for (place, one) in people.iter().enumerate() {
                let user = one.jid.split('@').next().expect("a localpart");
                assert!(!one.aor.contains(user), "seed {seed}: {} and {}", one.aor, one.jid);
                for other in &people[..place] {
                    assert!(
                        one.jid != other.jid
                            && one.aor != other.aor
                            && one.number != other.number
                            && one.login != other.login,
                        "seed {seed}: {one:?} {other:?}"
                    );
                }
            }
        }
    }
}
