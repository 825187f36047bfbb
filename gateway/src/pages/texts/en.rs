//! English.

use super::{
    AccountTexts, CodeTexts, CopyTexts, LinkTexts, LoginTexts, Refusal, RefusalTexts, Texts, Unit,
    rounded, safety,
};

pub(in crate::pages) const TEXTS: Texts = Texts {
    tags: &["en"],
    request: "Request",
    login: LoginTexts {
        title: "Log in",
        lead: "Type your e-mail address. We will send a four-digit code to your phone.",
        email: "E-mail address",
        submit: "Send me a code",
        malformed: "That is not an e-mail address. It should look like name@company.com.",
        over: "That code can no longer be used. Ask for a new one.",
        last_wrong: "That is not the code, and it was the last try. Ask for a new one.",
        already: |name| format!("You are logged in as {name}."),
    },
    code: CodeTexts {
        title: "Type the code",
        lead: |email| format!("If {email} has an account here, a code is on its way by SMS."),
        label: "Four-digit code",
        hint: |minutes| {
            let unit = if minutes == 1 { "minute" } else { "minutes" };
            format!("The code is good for {minutes} {unit}. Never tell it to anyone.")
        },
        submit: "Log in",
        resend: "Send a new code",
        resend_in: ("No code yet? You can ask for a new one in ", " seconds."),
        resent: "A new code is on its way. The one before it is no longer good.",
        restart: "Use another e-mail address",
        wrong: |left| {
            let tries = if left == 1 { "try" } else { "tries" };
            format!("That is not the code. You have {left} {tries} left.")
        },
        malformed: "A code is four digits. This did not count as a try.",
        message: |host, code| {
            format!("{code} is your code for {host}. Never tell anyone this code.")
        },
    },
    link: LinkTexts {
        sent_title: "Look at your mail",
        sent_lead: |email| {
            format!(
                "You have not logged in from this device before. If {email} has an account here, \
                 a link is on its way to that address."
            )
        },
        sent_hint: |minutes| {
            format!(
                "Open the link in this browser within {minutes} minutes. Then we send a code to \
                 your phone."
            )
        },
        restart: "Start again",
        title: "Go on logging in",
        lead: "Press the button, and we send a code to your phone.",
        submit: "Send me the code",
        other_browser: "Open this link in the browser in which you asked for it, or start again \
                        in this one.",
        over: "That link can no longer be used. Ask for a new one.",
        refused: "New devices cannot log in just now",
        refused_lead: "Use a device that you have logged in from before, or try again later.",
        mail_subject: |host| format!("Log in to {host}"),
        mail: |host, url| {
            format!(
                "Someone, we hope you, wants to log in to {host} from a new device.\n\n\
                 Open this link in the same browser within 10 minutes:\n\n{url}\n\n\
                 If it was not you, do nothing. Never give this link to anyone.\n"
            )
        },
    },
    account: AccountTexts {
        title: "Your account",
        sessions: "Where you are logged in",
        sessions_lead: "End what you do not recognise. It takes effect at once.",
        devices: "Devices you have logged in from",
        devices_lead: "A device that is forgotten is treated as a new one at its next login.",
        no_devices: "None.",
        this_one: "this one",
        unknown_client: "Unknown program",
        since: "Since",
        last_seen: "Last seen",
        end: "End",
        end_others: "End all others",
        forget: "Forget",
        logout: "Log out",
        start: "To the start page",
        failures: |count| {
            let attempts = if count == 1 { "attempt" } else { "attempts" };
            format!(
                "{count} failed {attempts} before your latest login. If that was not you, end \
                 what you do not recognise below, and tell your administrator."
            )
        },
        failures_message: |host, count| {
            let attempts = if count == 1 { "attempt" } else { "attempts" };
            format!(
                "{host}: {count} failed {attempts} before the login just now. If that was not \
                 you, tell your administrator."
            )
        },
        failures_subject: |host| format!("Failed attempts to log in to {host}"),
    },
    copy: CopyTexts {
        title: |owner| match owner {
            Some(name) => format!("This belongs to {name}"),
            None => "This belongs to a colleague".to_owned(),
        },
        lead: "You can open it, but only its owner can change it. \
               Make a copy of your own, and change that.",
        submit: "Make a copy",
        back: "Go back without a copy",
    },
    refusals: RefusalTexts {
        malformed: Refusal {
            heading: "This request cannot be understood",
            text: "Check the address and try again.",
        },
        forbidden: Refusal {
            heading: "You may not do this",
            text: "Your account does not allow it. Nothing was changed.",
        },
        form: Refusal {
            heading: "This form is out of date",
            text: "Nothing was changed. Open the page again, with cookies allowed, and retry.",
        },
        missing: Refusal {
            heading: "There is nothing here",
            text: "The page does not exist, or it is not yours to see.",
        },
        method: Refusal {
            heading: "This cannot be done here",
            text: "The page exists, but not for this kind of request.",
        },
        too_large: Refusal {
            heading: "This is too large",
            text: "What was sent is larger than we accept.",
        },
        misdirected: Refusal {
            heading: "This site is not served here",
            text: "Check the address.",
        },
        too_many: Refusal {
            heading: "Too many attempts",
            text: "For your safety nobody can try again for a while.",
        },
        too_soon: Refusal {
            heading: "A new code cannot be sent yet",
            text: "A code that has reached you is still good.",
        },
        gateway: Refusal {
            heading: "The application does not answer",
            text: "This is our fault, not yours. Try again in a little while.",
        },
        unavailable: Refusal {
            heading: "Not available just now",
            text: "This is our fault, not yours. Try again in a little while.",
        },
        slow: Refusal {
            heading: "The application took too long",
            text: "What you asked for may or may not have been done. Look before you try again.",
        },
        failed: Refusal {
            heading: "Something went wrong",
            text: "This is our fault, not yours. Try again in a little while.",
        },
        wait: |wait| {
            let (number, unit) = rounded(wait);
            let unit = match (unit, number) {
                (Unit::Second, 1) => "second",
                (Unit::Second, _) => "seconds",
                (Unit::Minute, 1) => "minute",
                (Unit::Minute, _) => "minutes",
                (Unit::Hour, 1) => "hour",
                (Unit::Hour, _) => "hours",
                (Unit::Day, 1) => "day",
                (Unit::Day, _) => "days",
            };
            format!("You can try again in {number} {unit}.")
        },
        start: "To the start page",
        login: "To the login page",
        code: "Back to typing the code",
        follows: "This page keeps itself up to date, and goes on when the time has come.",
    },
    safety: safety::ENGLISH,
};
