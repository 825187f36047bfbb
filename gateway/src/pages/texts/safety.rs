//! The safety statement's texts, in both languages side by side: whoever changes what is claimed in
//! one sees the other.

use std::time::Duration;

use super::{Unit, rounded};
use crate::pages::safety::{Certificate, Limit, Login, Tls};

/// What the statement says.
pub(in crate::pages) struct SafetyTexts {
    pub(in crate::pages) title: &'static str,
    /// Of the site and the moment.
    pub(in crate::pages) lead: fn(&str, &str) -> String,
    pub(in crate::pages) evidence: &'static str,
    pub(in crate::pages) none: &'static str,
    pub(in crate::pages) not_shown: &'static str,
    pub(in crate::pages) encryption: &'static str,
    pub(in crate::pages) login: &'static str,
    pub(in crate::pages) access: &'static str,
    pub(in crate::pages) record: &'static str,
    pub(in crate::pages) certificate: fn(&Certificate) -> String,
    pub(in crate::pages) protocols: fn(&Tls) -> String,
    pub(in crate::pages) router_ends_tls: &'static str,
    pub(in crate::pages) configuration: &'static str,
    pub(in crate::pages) arithmetic: &'static str,
    pub(in crate::pages) store: &'static str,
    pub(in crate::pages) steps: fn(&Login) -> String,
    pub(in crate::pages) tries: fn(&Login) -> String,
    pub(in crate::pages) takeovers: fn(&Login) -> String,
    pub(in crate::pages) session: fn(&Login) -> String,
    pub(in crate::pages) shield_raised: &'static str,
    pub(in crate::pages) shield_down: &'static str,
    pub(in crate::pages) digest: &'static str,
    /// Of the number of routes and the public ones.
    pub(in crate::pages) routes: fn(usize, &[String]) -> String,
    /// Of the number of invariants.
    pub(in crate::pages) proved: fn(usize) -> String,
    pub(in crate::pages) trail: &'static str,
    pub(in crate::pages) records: fn(u64) -> String,
    pub(in crate::pages) backup: &'static str,
    pub(in crate::pages) restore: &'static str,
    pub(in crate::pages) version: fn(&str) -> String,
    pub(in crate::pages) program: &'static str,
}

pub(super) const ENGLISH: SafetyTexts = SafetyTexts {
    title: "Application safety",
    lead: |site, made| {
        let made = minute(made);
        format!("What protects {site}, as it was in force at {made}. Each claim has its evidence.")
    },
    evidence: "Evidence",
    none: "none",
    not_shown: "Not shown",
    encryption: "Encryption",
    login: "Login",
    access: "Access",
    record: "Record and recovery",
    certificate: |one| {
        format!(
            "{} shows the certificate of {}, issued by {}, valid from {} to {} ({} days left), with a key of the kind {}.",
            one.names.join(", "),
            one.subject,
            one.issuer,
            minute(&one.not_before),
            minute(&one.not_after),
            one.days_left,
            one.key
        )
    },
    protocols: |tls| {
        format!(
            "Everything between a browser and the gateway is encrypted by {} and nothing else, with keys agreed by {}.",
            tls.protocols.join(" or "),
            tls.groups.join(", ")
        )
    },
    router_ends_tls: "what the router in front of this address offers is not known to the gateway.",
    configuration: "[login] and [session] of the configuration in force",
    arithmetic: "computed from the limits above, every code being equally likely",
    store: "the store's own counters",
    steps: |login| {
        let good = stretch(login.code_lifetime, ENGLISH_UNITS);
        format!(
            "To log in takes an e-mail address, and then a code of four digits that is sent by SMS to the telephone that the directory names. A code is good for {good}, once, in the browser that asked for it."
        )
    },
    tries: |login| {
        format!(
            "A code can be tried {} times. An account takes {} wrong codes from devices that it does not know, and {} from one that has logged in before; then none until the time has passed.",
            login.attempts_per_challenge,
            windows(&login.unknown_device, " and ", "in", ENGLISH_UNITS),
            windows(&login.known_device, " and ", "in", ENGLISH_UNITS)
        )
    },
    takeovers: |login| {
        format!(
            "Whoever guesses all that these limits allow opens one account with a chance of {:.2} % a day and {:.1} % a year; of all accounts together, {:.2} a year.",
            login.takeover_per_day * 100.0,
            login.takeover_per_year * 100.0,
            login.takeovers_of_all_per_year
        )
    },
    session: |login| {
        format!(
            "A session ends after {} without a request, and after {} in any case.",
            stretch(login.session_idle, ENGLISH_UNITS),
            stretch(login.session_absolute, ENGLISH_UNITS)
        )
    },
    shield_raised: "The login's shield is raised: new devices must follow a link in a mail first.",
    shield_down: "The login's shield is down: there are no more wrong codes than usual.",
    digest: "policy set",
    routes: |routes, public| {
        let without = match public {
            [] => "None of them can be opened without a login.".to_owned(),
            some => format!(
                "Without a login, only these can be opened: {}.",
                some.join(", ")
            ),
        };
        format!("What none of the {routes} routes and no rule allows is refused. {without}")
    },
    proved: |count| {
        format!(
            "{count} invariants, what must never be allowed, are proved for every request that there can be."
        )
    },
    trail: "Every login, refusal and write is on record, and the whole record was verified: nothing in it was changed, left out or put in.",
    records: |count| format!("{count} records, their chain and its signatures"),
    backup: "State is backed up, encrypted, and the last backup was read back.",
    restore: "A backup was put back, and the gateway served from it.",
    version: |version| format!("This is Portvakt {version}."),
    program: "the running program",
};

pub(super) const NORWEGIAN: SafetyTexts = SafetyTexts {
    title: "Applikasjonens sikkerhet",
    lead: |site, made| {
        let made = minute(made);
        format!("Det som beskytter {site}, slik det gjaldt {made}. Hver påstand har sitt bevis.")
    },
    evidence: "Bevis",
    none: "ingen",
    not_shown: "Ikke vist",
    encryption: "Kryptering",
    login: "Innlogging",
    access: "Tilgang",
    record: "Logg og gjenoppretting",
    certificate: |one| {
        format!(
            "{} viser sertifikatet til {}, utstedt av {}, gyldig fra {} til {} ({} døgn igjen), med en nøkkel av typen {}.",
            one.names.join(", "),
            one.subject,
            one.issuer,
            minute(&one.not_before),
            minute(&one.not_after),
            one.days_left,
            one.key
        )
    },
    protocols: |tls| {
        format!(
            "Alt mellom nettleseren og portvakten er kryptert med {} og ikke noe annet, med nøkler avtalt ved {}.",
            tls.protocols.join(" eller "),
            tls.groups.join(", ")
        )
    },
    router_ends_tls: "hva ruteren foran denne adressen tilbyr, kjenner ikke portvakten til.",
    configuration: "[login] og [session] i konfigurasjonen som gjelder",
    arithmetic: "regnet ut av grensene ovenfor, når alle koder er like sannsynlige",
    store: "lagerets egne tellere",
    steps: |login| {
        let good = stretch(login.code_lifetime, NORWEGIAN_UNITS);
        format!(
            "Innlogging krever en e-postadresse, og så en kode på fire siffer som sendes på SMS til telefonen som står i katalogen. En kode gjelder i {good}, én gang, i nettleseren som ba om den."
        )
    },
    tries: |login| {
        format!(
            "En kode kan prøves {} ganger. En konto tåler {} gale koder fra enheter den ikke kjenner, og {} fra en som har vært logget inn før; så ingen før tiden er gått.",
            login.attempts_per_challenge,
            windows(&login.unknown_device, " og ", "på", NORWEGIAN_UNITS),
            windows(&login.known_device, " og ", "på", NORWEGIAN_UNITS)
        )
    },
    takeovers: |login| {
        let text = format!(
            "Den som gjetter alt det disse grensene tillater, åpner én konto med en sannsynlighet på {:.2} % om dagen og {:.1} % i året; av alle kontoer til sammen {:.2} i året.",
            login.takeover_per_day * 100.0,
            login.takeover_per_year * 100.0,
            login.takeovers_of_all_per_year
        );
        decimal_commas(&text)
    },
    session: |login| {
        format!(
            "En økt slutter etter {} uten forespørsler, og etter {} uansett.",
            stretch(login.session_idle, NORWEGIAN_UNITS),
            stretch(login.session_absolute, NORWEGIAN_UNITS)
        )
    },
    shield_raised: "Innloggingens skjold er hevet: nye enheter må først følge en lenke i en e-post.",
    shield_down: "Innloggingens skjold er nede: det er ikke flere gale koder enn vanlig.",
    digest: "regelsett",
    routes: |routes, public| {
        let without = match public {
            [] => "Ingen av dem kan åpnes uten innlogging.".to_owned(),
            some => format!("Uten innlogging kan bare disse åpnes: {}.", some.join(", ")),
        };
        format!(
            "Det som ingen av de {routes} rutene og ingen regel tillater, blir avvist. {without}"
        )
    },
    proved: |count| {
        format!(
            "{count} invarianter, det som aldri må tillates, er bevist for hver forespørsel som kan finnes."
        )
    },
    trail: "Hver innlogging, avvisning og skriving er loggført, og hele loggen er kontrollert: ingenting i den er endret, utelatt eller føyd til.",
    records: |count| format!("{count} poster, kjeden deres og signaturene"),
    backup: "Tilstanden er sikkerhetskopiert, kryptert, og den siste kopien er lest tilbake.",
    restore: "En sikkerhetskopi er lagt tilbake, og portvakten har tjent fra den.",
    version: |version| format!("Dette er Portvakt {version}."),
    program: "programmet som kjører",
};

/// A unit's word for one and for several: seconds, minutes, hours, days.
type Units = [(&'static str, &'static str); 4];

const ENGLISH_UNITS: Units = [
    ("second", "seconds"),
    ("minute", "minutes"),
    ("hour", "hours"),
    ("day", "days"),
];
const NORWEGIAN_UNITS: Units = [
    ("sekund", "sekunder"),
    ("minutt", "minutter"),
    ("time", "timer"),
    ("døgn", "døgn"),
];

/// A moment of RFC 3339 in UTC, to the minute and for people: `2026-11-27 18:20 UTC`.
pub(in crate::pages) fn minute(moment: &str) -> String {
    match moment.split_once('T') {
        Some((day, time)) => format!("{day} {} UTC", time.get(..5).unwrap_or(time)),
        None => moment.to_owned(),
    }
}

fn stretch(seconds: u64, units: Units) -> String {
    let (number, unit) = rounded(Duration::from_secs(seconds));
    let [second, minute, hour, day] = units;
    let (one, several) = match unit {
        Unit::Second => second,
        Unit::Minute => minute,
        Unit::Hour => hour,
        Unit::Day => day,
    };
    format!("{number} {}", if number == 1 { one } else { several })
}

/// `5 in 24 hours and 20 in 30 days`.
fn windows(limits: &[Limit], and: &str, within: &str, units: Units) -> String {
    let each = limits.iter().map(|limit| {
        let window = stretch(limit.window().as_secs(), units);
        format!("{} {within} {window}", limit.limit)
    });
    each.collect::<Vec<_>>().join(and)
}

/// Norwegian writes decimals with a comma.
fn decimal_commas(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let between = before.is_ascii_digit() && rest.peek().is_some_and(char::is_ascii_digit);
        out.push(if c == '.' && between { ',' } else { c });
        before = c;
    }
    out
}
