//! What messages and calls draw on: the budgets of sends, as drafts for the store.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use crate::config::{Sends, Window};
use crate::directory::{Directory, Person, PhoneNumber};
use crate::secret::Key;
use crate::store::{AccountKey, BudgetKey, Charge, Charging, Lane};

/// Which of an account's budgets; `user unlock` frees all of them.
const TO_UNKNOWN: u8 = 0;
const TO_KNOWN: u8 = 1;
const MAILS_TO_UNKNOWN: u8 = 2;
const MAILS_TO_KNOWN: u8 = 3;

/// What is sent to an account's user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Text messages.
    Messages,
    /// Mails.
    Mails,
}

/// One of an account's budgets of what is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountBudget {
    /// Of what.
    pub sent: Sent,
    /// Whether it is that of known devices.
    pub known: bool,
    /// Where it is counted.
    pub key: BudgetKey,
    /// What it allows.
    pub windows: Vec<Window>,
}

/// All of an account's budgets of what is sent.
#[must_use]
pub fn account_budgets(sends: &Sends, account: AccountKey) -> Vec<AccountBudget> {
    [
        (Sent::Messages, false, TO_UNKNOWN),
        (Sent::Messages, true, TO_KNOWN),
        (Sent::Mails, false, MAILS_TO_UNKNOWN),
        (Sent::Mails, true, MAILS_TO_KNOWN),
    ]
    .map(|(sent, known, what)| {
        let windows = if known {
            &sends.known_device
        } else {
            &sends.unknown_device
        };
        let key = of_account(account, what, windows, false).key;
        AccountBudget {
            sent,
            known,
            key,
            windows: windows.clone(),
        }
    })
    .into()
}

/// Makes drafts on the budgets of sends.
#[derive(Debug)]
pub struct Sending {
    key: Key,
    sends: Sends,
    /// `None`: the directory cannot tell which there are, and nobody has said.
    countries: Option<BTreeSet<String>>,
}

/// What one message to a telephone draws on.
#[derive(Debug, Default)]
pub struct Drafts {
    /// Budgets keyed by what the caller typed, or where they come from: they may learn of them.
    pub asked: Vec<Charge>,
    /// Budgets keyed by what only we know.
    pub ours: Vec<Charge>,
    names: Vec<&'static str>,
    barred: bool,
}

impl Drafts {
    /// Which budget holds the message back, for metrics and records: `None` if it may be sent.
    #[must_use]
    pub fn held(&self, charging: Charging) -> Option<&'static str> {
        match charging {
            Charging::Held(place) => Some(self.names.get(place).copied().unwrap_or("budget")),
            Charging::Charged if self.barred => Some("country"),
            Charging::Charged | Charging::Spent { .. } => None,
        }
    }

    fn add(&mut self, name: &'static str, charge: Charge) {
        self.ours.push(charge);
        self.names.push(name);
    }
}

impl Sending {
    /// Takes over the configured budgets. `key` hides in the store what they are keyed by; where
    /// no countries are configured, those of the directory's numbers are allowed.
    #[must_use]
    pub fn new(key: Key, sends: &Sends, directory: &dyn Directory) -> Self {
        let countries = match &sends.countries {
            Some(listed) => Some(listed.iter().cloned().collect()),
            None => directory.countries(),
        };
        Self {
            key,
            sends: sends.clone(),
            countries,
        }
    }

    /// What a code to an account draws on; `person` is whom it will be sent to, if there is
    /// anyone.
    #[must_use]
    pub fn message(
        &self,
        account: AccountKey,
        lane: Lane,
        client: IpAddr,
        person: Option<&Person>,
    ) -> Drafts {
        let known = lane != Lane::Unknown;
        let (what, windows) = if known {
            (TO_KNOWN, &self.sends.known_device)
        } else {
            (TO_UNKNOWN, &self.sends.unknown_device)
        };
        let mut drafts = Drafts {
            asked: vec![of_account(account, what, windows, person.is_none())],
            ..Drafts::default()
        };
        if !known {
            drafts
                .asked
                .push(self.of_client(b"messages", client, &self.sends.address));
        }
        let Some(person) = person else {
            return drafts;
        };
        if !self.may_go_to(&person.phone) {
            drafts.barred = true;
            return drafts;
        }
        if !known {
            let prefix = person.phone.prefix().as_bytes();
            let key = self.hashed(&[b"prefix", prefix]);
            drafts.add("prefix", charge(key, &self.sends.prefix));
        }
        let company = person.principal.company.id.as_str().as_bytes();
        let caps = [
            ("company", company, &self.sends.company),
            ("all", b"", &self.sends.all),
        ];
        for (name, whose, windows) in caps {
            for window in windows {
                let key = self.cap(name, whose, *window);
                drafts.add(name, charge(key, &[reserved(*window, known)]));
            }
        }
        drafts
    }

    /// The caps on all messages together, each with where it is counted.
    pub fn caps_on_all(&self) -> impl Iterator<Item = (Window, BudgetKey)> {
        let windows = self.sends.all.iter();
        windows.map(|window| (*window, self.cap("all", b"", *window)))
    }

    /// A window is a budget of its own, so that each is counted in steps of its own.
    fn cap(&self, name: &str, whose: &[u8], window: Window) -> BudgetKey {
        let per = window.per.as_millis().to_be_bytes();
        self.hashed(&[name.as_bytes(), whose, &per])
    }

    /// What a mail to an account draws on: as many again as its messages.
    #[must_use]
    pub fn mail(&self, account: AccountKey, lane: Lane, client: IpAddr, real: bool) -> Vec<Charge> {
        if lane != Lane::Unknown {
            let windows = &self.sends.known_device;
            return vec![of_account(account, MAILS_TO_KNOWN, windows, !real)];
        }
        let windows = &self.sends.unknown_device;
        vec![
            of_account(account, MAILS_TO_UNKNOWN, windows, !real),
            self.of_client(b"messages", client, &self.sends.address),
        ]
    }

    /// How long after a message to a lane another one may follow, if nothing else is in its way.
    #[must_use]
    pub fn pause(&self, lane: Lane) -> Duration {
        let windows = match lane {
            Lane::Unknown => &self.sends.unknown_device,
            Lane::Known(_) => &self.sends.known_device,
        };
        let single = windows.iter().filter(|window| window.limit <= 1);
        single.map(|window| window.per).max().unwrap_or_default()
    }

    /// What a code typed into an unknown device draws on, whatever it is.
    #[must_use]
    pub fn submission(&self, client: IpAddr) -> Charge {
        self.of_client(b"codes", client, &self.sends.address_codes)
    }

    fn may_go_to(&self, phone: &PhoneNumber) -> bool {
        let Some(countries) = &self.countries else {
            return true;
        };
        countries.contains(&phone.country())
    }

    fn of_client(&self, label: &[u8], client: IpAddr, windows: &[Window]) -> Charge {
        Charge {
            invented: true,
            ..charge(self.hashed(&[label, &place_of(client)]), windows)
        }
    }

    fn hashed(&self, parts: &[&[u8]]) -> BudgetKey {
        BudgetKey {
            whose: self.key.mac(parts),
            what: 0,
        }
    }
}

fn of_account(account: AccountKey, what: u8, windows: &[Window], invented: bool) -> Charge {
    let key = BudgetKey {
        whose: account.0,
        what,
    };
    Charge {
        invented,
        ..charge(key, windows)
    }
}

fn charge(key: BudgetKey, windows: &[Window]) -> Charge {
    Charge {
        key,
        windows: windows.to_vec(),
        invented: false,
    }
}

/// A cap as it stands for a device: the last tenth is for known ones.
fn reserved(window: Window, known: bool) -> Window {
    let kept = if known { 0 } else { window.limit.div_ceil(10) };
    Window {
        limit: window.limit - kept,
        ..window
    }
}

/// What of an address stands for one client: all of IPv4, or the /64 that an IPv6 client has to
/// itself.
fn place_of(client: IpAddr) -> Vec<u8> {
    match client.to_canonical() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().into_iter().take(8).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_an_ipv4_address_or_an_ipv6_network() {
        let place = |text: &str| place_of(text.parse().unwrap());
        assert_eq!(place("192.0.2.1"), place("::ffff:192.0.2.1"));
        assert_ne!(place("192.0.2.1"), place("192.0.2.2"));
        assert_eq!(place("2001:db8::1"), place("2001:db8::ffff:0:0:1"));
        assert_ne!(place("2001:db8:0:1::1"), place("2001:db8:0:2::1"));
    }

    #[test]
    fn a_tenth_is_kept_for_known_devices() {
        let second = Duration::from_secs(1);
        for (limit, unknown) in [(500, 450), (15, 13), (1, 0)] {
            let window = Window { limit, per: second };
            assert_eq!(reserved(window, true).limit, limit);
            assert_eq!(reserved(window, false).limit, unknown);
        }
    }
}
