//! The waiting time counts down without a script, posts nothing again, and leads nowhere else.

use std::time::Duration;

use http::{StatusCode, header};

use super::world::{Answer, Browser, Changes, KARI, NOBODY, World, another, shipped};

/// Seconds and address of the field that renews a page.
fn refresh(answer: &Answer) -> (u64, String) {
    let field = answer.headers[header::REFRESH].to_str().unwrap();
    let (seconds, address) = field.split_once(";url=").unwrap();
    (seconds.parse().unwrap(), address.to_owned())
}

/// Guesses wrongly until the account's lane is spent, and returns that answer.
async fn spend(browser: &mut Browser, email: &str) -> Answer {
    for _ in 0..2 {
        let fields = [("email", email), ("next", "/projects/1?a=b&c=d")];
        browser.post("/.portvakt/login", &fields).await;
        for guess in ["0000", "0001", "0002"] {
            let fields = [("code", guess), ("email", email)];
            let answer = browser.post("/.portvakt/code", &fields).await;
            if answer.status == StatusCode::TOO_MANY_REQUESTS {
                break;
            }
        }
    }
    let fields = [("email", email), ("next", "/projects/1?a=b&c=d")];
    browser.post("/.portvakt/login", &fields).await
}

#[tokio::test]
async fn the_waiting_page_counts_down_by_gets_and_goes_on_to_the_form() {
    let world = World::new().await;
    let mut browser = world.browser();
    let mut page = spend(&mut browser, NOBODY).await;
    assert_eq!(page.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(page.text.contains("You can try again in 24 hours."));
    let mut said = Vec::new();
    for _ in 0..200 {
        let (seconds, address) = refresh(&page);
        world.clock.advance(Duration::from_secs(seconds));
        page = browser.get(&address).await;
        if page.status == StatusCode::SEE_OTHER {
            break;
        }
        assert_eq!(page.status, StatusCode::OK);
        let (_, rest) = page.text.split_once("<strong>").unwrap();
        let (sentence, _) = rest.split_once("</strong>").unwrap();
        said.push(sentence.to_owned());
    }
    let repeated = said.windows(2).filter(|pair| pair[0] == pair[1]).count();
    assert_eq!(repeated, 0, "{said:?}");
    assert_eq!(said[0], "You can try again in 23 hours.");
    assert!(said.contains(&"You can try again in 60 minutes.".to_owned()));
    assert_eq!(
        page.location(),
        "/.portvakt/login?next=%2Fprojects%2F1%3Fa%3Db%26c%3Dd"
    );
    let form = browser.get(page.location()).await;
    assert!(
        form.text
            .contains("name=\"next\" value=\"/projects/1?a=b&#38;c=d\"")
    );
}

#[tokio::test]
async fn a_waiting_page_that_we_did_not_make_is_not_there() {
    let world = World::new().await;
    let mut browser = world.browser();
    let page = spend(&mut browser, NOBODY).await;
    let (_, address) = refresh(&page);
    assert_eq!(browser.get(&address).await.status, StatusCode::OK);
    let (query, seal) = address.split_once("&seal=").unwrap();
    let evil = query.split_once("&to=").unwrap().0;
    for forged in [
        format!("{evil}&to=https%3A%2F%2Fevil.example%2F&seal={seal}"),
        address.replacen("until=1", "until=2", 1),
        address.replacen("for=login", "for=resend", 1),
        query.to_owned(),
        format!("{query}&seal="),
        format!("{address}&to=%2F%2Fevil.example"),
        "/.portvakt/wait".to_owned(),
    ] {
        let answer = browser.get(&forged).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{forged}");
        assert!(!answer.headers.contains_key(header::REFRESH), "{forged}");
    }
}

#[tokio::test]
async fn the_button_for_a_new_code_counts_from_the_code_before() {
    let world = World::with(Changes {
        login: Some(shipped()),
        ..Changes::default()
    })
    .await;
    let mut browser = world.browser();
    browser.post("/.portvakt/login", &[("email", KARI)]).await;
    let form = browser.get("/.portvakt/code").await;
    assert!(form.text.contains("class=\"resend in-60\""));
    world.clock.advance(Duration::from_secs(18));
    let code = world.code(1).await;
    let fields = [("code", another(&code)), ("email", KARI.to_owned())];
    let fields = fields.each_ref().map(|(name, value)| (*name, &**value));
    let wrong = browser.post("/.portvakt/code", &fields).await;
    assert!(wrong.text.contains("class=\"resend in-45\""));
    world.clock.advance(Duration::from_secs(42));
    let form = browser.get("/.portvakt/code").await;
    assert!(form.text.contains("class=\"resend\""));
    browser.post("/.portvakt/resend", &[("email", KARI)]).await;
    let form = browser.get("/.portvakt/code?sent=again").await;
    assert!(form.text.contains("class=\"resend in-60\""));
}

#[tokio::test]
async fn the_button_waits_as_long_as_the_configured_budget_does() {
    for (seconds, shown) in [(30, "resend in-30"), (45, "resend in-45"), (0, "resend")] {
        let mut login = shipped();
        login.sends.unknown_device[0].per = Duration::from_secs(seconds);
        if seconds == 0 {
            login.sends.unknown_device.remove(0);
        }
        let world = World::with(Changes {
            login: Some(login),
            ..Changes::default()
        })
        .await;
        let mut browser = world.browser();
        browser.post("/.portvakt/login", &[("email", KARI)]).await;
        let form = browser.get("/.portvakt/code").await;
        let class = format!("class=\"{shown}\"");
        assert!(form.text.contains(&class), "{class}: {}", form.text);
        world.clock.advance(Duration::from_secs(seconds));
        let sent = browser.post("/.portvakt/resend", &[("email", KARI)]).await;
        assert_eq!(sent.status, StatusCode::SEE_OTHER, "{seconds}");
    }
}
