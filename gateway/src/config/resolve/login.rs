//! `[login]`: what a login may cost an attacker.

use std::time::Duration;

use super::super::written::{self, At};
use super::super::{Fleet, Login, Sends, Shield, Window};
use super::Resolver;

impl Resolver<'_> {
    pub(super) fn login(&mut self, written: &written::Login) -> Login {
        let day = Duration::from_secs(86_400);
        let window = |limit, days| Window {
            limit,
            per: day * days,
        };
        Login {
            code_lifetime: self.duration(
                "login.code_lifetime",
                written.code_lifetime.as_ref(),
                Duration::from_secs(30)..=Duration::from_secs(600),
                Duration::from_secs(300),
            ),
            attempts_per_challenge: self.count(
                "login.attempts_per_challenge",
                written.attempts_per_challenge.as_ref(),
                1..=5,
                3,
            ),
            live_challenges: self.count(
                "login.live_challenges",
                written.live_challenges.as_ref(),
                1..=5,
                3,
            ),
            unknown_device: self.windows(
                "login.unknown_device",
                written.unknown_device.as_ref(),
                vec![window(5, 1), window(20, 30)],
            ),
            known_device: self.windows(
                "login.known_device",
                written.known_device.as_ref(),
                vec![window(10, 1), window(30, 30)],
            ),
            device_lifetime: self.duration(
                "login.device_lifetime",
                written.device_lifetime.as_ref(),
                day..=day * 3650,
                day * 180,
            ),
            answer_tick: self.duration(
                "login.answer_tick",
                written.answer_tick.as_ref(),
                Duration::from_millis(1)..=Duration::from_secs(1),
                Duration::from_millis(50),
            ),
            sends: self.sends(&written.sends),
            fleet: self.fleet(&written.fleet),
            shield: self.shield(written.shield.as_ref()),
        }
    }

    fn sends(&mut self, written: &written::Sends) -> Sends {
        let default = Sends::default();
        let mut windows = |key: &str, list: &Option<At<Vec<written::Window>>>, default| {
            self.windows(&format!("login.sends.{key}"), list.as_ref(), default)
        };
        Sends {
            unknown_device: windows(
                "unknown_device",
                &written.unknown_device,
                default.unknown_device,
            ),
            known_device: windows("known_device", &written.known_device, default.known_device),
            address: windows("address", &written.address, default.address),
            address_codes: windows(
                "address_codes",
                &written.address_codes,
                default.address_codes,
            ),
            prefix: windows("prefix", &written.prefix, default.prefix),
            company: windows("company", &written.company, default.company),
            all: windows("all", &written.all, default.all),
            countries: self.countries(written.countries.as_deref()),
        }
    }

    fn countries(&mut self, written: Option<&[At<String>]>) -> Option<Vec<String>> {
        let mut countries = Vec::new();
        for written in written? {
            let text = written.get();
            if text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
                countries.push(text.clone());
            } else {
                self.fault(
                    written.span(),
                    format!("`{text}` in `login.sends.countries` is no country"),
                    "two capital letters after ISO 3166-1, such as `NO`",
                );
            }
        }
        Some(countries)
    }

    fn fleet(&mut self, written: &written::Fleet) -> Fleet {
        let default = Fleet::default();
        Fleet {
            burst: self.count(
                "login.fleet.burst",
                written.burst.as_ref(),
                10..=100_000,
                default.burst,
            ),
            refill_per_day: self.count(
                "login.fleet.refill_per_day",
                written.refill_per_day.as_ref(),
                1..=10_000,
                default.refill_per_day,
            ),
        }
    }

    fn shield(&mut self, written: Option<&At<String>>) -> Shield {
        let Some(written) = written else {
            return Shield::Link;
        };
        match written.get().as_str() {
            "link" => Shield::Link,
            "refuse" => Shield::Refuse,
            other => {
                self.fault(
                    written.span(),
                    format!("`login.shield` is `{other}`, which is neither `link` nor `refuse`"),
                    "`link` asks unknown devices to follow a link sent by e-mail, `refuse` refuses them",
                );
                Shield::Link
            }
        }
    }

    fn windows(
        &mut self,
        key: &str,
        written: Option<&At<Vec<written::Window>>>,
        default: Vec<Window>,
    ) -> Vec<Window> {
        let Some(list) = written else {
            return default;
        };
        if list.get().is_empty() {
            self.fault(
                list.span(),
                format!("`{key}` is empty: nothing would be bounded"),
                "at least one window, such as `{ limit = 5, per = \"24h\" }`",
            );
        }
        let span = Duration::from_secs(1)..=Duration::from_secs(3650 * 86_400);
        let default = Window {
            limit: 1,
            per: *span.end(),
        };
        let windows = list.get().iter().map(|window| Window {
            limit: self.count(
                &format!("{key}.limit"),
                window.limit.as_ref(),
                1..=10_000_000,
                default.limit,
            ),
            per: self.duration(
                &format!("{key}.per"),
                window.per.as_ref(),
                span.clone(),
                default.per,
            ),
        });
        windows.collect()
    }
}
