//! Norsk bokmål.

use super::{
    AccountTexts, CodeTexts, CopyTexts, LinkTexts, LoginTexts, Refusal, RefusalTexts, Texts, Unit,
    rounded, safety,
};

pub(in crate::pages) const TEXTS: Texts = Texts {
    tags: &["nb", "no", "nn"],
    request: "Forespørsel",
    login: LoginTexts {
        title: "Logg inn",
        lead: "Skriv e-postadressen din, så sender vi en firesifret kode til telefonen din.",
        email: "E-postadresse",
        submit: "Send meg en kode",
        malformed: "Dette er ikke en e-postadresse. Den skal se ut som navn@firma.no.",
        over: "Denne koden kan ikke brukes lenger. Be om en ny.",
        last_wrong: "Koden er feil, og det var siste forsøk. Be om en ny.",
        already: |name| format!("Du er logget inn som {name}."),
    },
    code: CodeTexts {
        title: "Skriv koden",
        lead: |email| format!("Hvis {email} har en konto her, er en kode på vei på SMS."),
        label: "Firesifret kode",
        hint: |minutes| {
            let unit = if minutes == 1 { "minutt" } else { "minutter" };
            format!("Koden gjelder i {minutes} {unit}. Ikke gi den til noen.")
        },
        submit: "Logg inn",
        resend: "Send en ny kode",
        resend_in: ("Ingen kode ennå? Du kan be om en ny om ", " sekunder."),
        resent: "En ny kode er på vei. Den forrige gjelder ikke lenger.",
        restart: "Bruk en annen e-postadresse",
        wrong: |left| format!("Koden er feil. Du har {left} forsøk igjen."),
        malformed: "En kode er fire sifre. Dette ble ikke regnet som et forsøk.",
        message: |host, code| format!("{code} er koden din for {host}. Ikke gi den til noen."),
    },
    link: LinkTexts {
        sent_title: "Se i e-posten",
        sent_lead: |email| {
            format!(
                "Du har ikke logget inn fra denne enheten før. Hvis {email} har en konto her, er \
                 en lenke på vei til den adressen."
            )
        },
        sent_hint: |minutes| {
            format!(
                "Åpne lenken i denne nettleseren innen {minutes} minutter. Da sender vi en kode \
                 til telefonen din."
            )
        },
        restart: "Begynn på nytt",
        title: "Fortsett innloggingen",
        lead: "Trykk på knappen, så sender vi en kode til telefonen din.",
        submit: "Send meg koden",
        other_browser: "Åpne lenken i nettleseren der du ba om den, eller begynn på nytt i denne.",
        over: "Den lenken kan ikke brukes lenger. Be om en ny.",
        refused: "Nye enheter kan ikke logge inn akkurat nå",
        refused_lead: "Bruk en enhet du har logget inn fra før, eller prøv igjen senere.",
        mail_subject: |host| format!("Logg inn på {host}"),
        mail: |host, url| {
            format!(
                "Noen, forhåpentligvis du, vil logge inn på {host} fra en ny enhet.\n\n\
                 Åpne denne lenken i samme nettleser innen 10 minutter:\n\n{url}\n\n\
                 Var det ikke deg, så gjør ingenting. Gi aldri denne lenken til noen.\n"
            )
        },
    },
    account: AccountTexts {
        title: "Kontoen din",
        sessions: "Her er du logget inn",
        sessions_lead: "Avslutt det du ikke kjenner igjen. Det virker med en gang.",
        devices: "Enheter du har logget inn fra",
        devices_lead: "En enhet som er glemt, regnes som ny ved neste innlogging.",
        no_devices: "Ingen.",
        this_one: "denne",
        unknown_client: "Ukjent program",
        since: "Siden",
        last_seen: "Sist sett",
        end: "Avslutt",
        end_others: "Avslutt alle andre",
        forget: "Glem",
        logout: "Logg ut",
        start: "Til startsiden",
        failures: |count| {
            let failed = if count == 1 {
                "mislykket"
            } else {
                "mislykkede"
            };
            format!(
                "{count} {failed} forsøk før siste innlogging. Hvis det ikke var deg: avslutt \
                 det du ikke kjenner igjen nedenfor, og si fra til administratoren."
            )
        },
        failures_message: |host, count| {
            let failed = if count == 1 {
                "mislykket"
            } else {
                "mislykkede"
            };
            format!(
                "{host}: {count} {failed} forsøk før innloggingen nå. Hvis det ikke var deg, \
                 si fra til administratoren."
            )
        },
        failures_subject: |host| format!("Mislykkede innloggingsforsøk på {host}"),
    },
    copy: CopyTexts {
        title: |owner| match owner {
            Some(name) => format!("Dette tilhører {name}"),
            None => "Dette tilhører en kollega".to_owned(),
        },
        lead: "Du kan åpne det, men bare eieren kan endre det. \
               Lag en egen kopi, og endre den.",
        submit: "Lag en kopi",
        back: "Gå tilbake uten å kopiere",
    },
    refusals: RefusalTexts {
        malformed: Refusal {
            heading: "Forespørselen kan ikke forstås",
            text: "Sjekk adressen og prøv igjen.",
        },
        forbidden: Refusal {
            heading: "Dette har du ikke lov til",
            text: "Kontoen din gir ikke adgang til dette. Ingenting ble endret.",
        },
        form: Refusal {
            heading: "Skjemaet er utdatert",
            text: "Ingenting ble endret. Åpne siden på nytt, med informasjonskapsler tillatt, \
                   og prøv igjen.",
        },
        missing: Refusal {
            heading: "Her er det ingenting",
            text: "Siden finnes ikke, eller den er ikke din å se.",
        },
        method: Refusal {
            heading: "Dette kan ikke gjøres her",
            text: "Siden finnes, men ikke for denne typen forespørsel.",
        },
        too_large: Refusal {
            heading: "Dette er for stort",
            text: "Det som ble sendt, er større enn vi tar imot.",
        },
        misdirected: Refusal {
            heading: "Dette nettstedet finnes ikke her",
            text: "Sjekk adressen.",
        },
        too_many: Refusal {
            heading: "For mange forsøk",
            text: "For din sikkerhet kan ingen prøve igjen på en stund.",
        },
        too_soon: Refusal {
            heading: "En ny kode kan ikke sendes ennå",
            text: "En kode som har nådd deg, gjelder fortsatt.",
        },
        gateway: Refusal {
            heading: "Programmet svarer ikke",
            text: "Feilen er vår, ikke din. Prøv igjen om en liten stund.",
        },
        unavailable: Refusal {
            heading: "Ikke tilgjengelig akkurat nå",
            text: "Feilen er vår, ikke din. Prøv igjen om en liten stund.",
        },
        slow: Refusal {
            heading: "Programmet brukte for lang tid",
            text: "Det du ba om, kan være gjort eller ikke gjort. Se etter før du prøver igjen.",
        },
        failed: Refusal {
            heading: "Noe gikk galt",
            text: "Feilen er vår, ikke din. Prøv igjen om en liten stund.",
        },
        wait: |wait| {
            let (number, unit) = rounded(wait);
            let unit = match (unit, number) {
                (Unit::Second, 1) => "sekund",
                (Unit::Second, _) => "sekunder",
                (Unit::Minute, 1) => "minutt",
                (Unit::Minute, _) => "minutter",
                (Unit::Hour, 1) => "time",
                (Unit::Hour, _) => "timer",
                (Unit::Day, 1) => "døgn",
                (Unit::Day, _) => "døgn",
            };
            format!("Du kan prøve igjen om {number} {unit}.")
        },
        start: "Til startsiden",
        login: "Til innloggingen",
        code: "Tilbake til koden",
        follows: "Siden holder seg selv oppdatert, og går videre når tiden er inne.",
    },
    safety: safety::NORWEGIAN,
};
