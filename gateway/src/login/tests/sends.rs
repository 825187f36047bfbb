//! Toll fraud, and what a stranger can use up: the budgets of messages as they are shipped.

use std::net::IpAddr;
use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use super::world::{Answer, Browser, Changes, KARI, NOBODY, OLA, PEOPLE, World, another, shipped};

const TOO_MANY: StatusCode = StatusCode::TOO_MANY_REQUESTS;
const ACCEPTED: StatusCode = StatusCode::ACCEPTED;

async fn strict() -> World {
    with(shipped(), None).await
}

async fn with(login: crate::config::Login, people: Option<String>) -> World {
    World::with(Changes {
        login: Some(login),
        people,
        ..Changes::default()
    })
    .await
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(world: &World, place: &str) -> Browser {
    Browser {
        address: address(place),
        ..world.program()
    }
}

async fn ask(browser: &mut Browser, email: &str) -> Answer {
    let asked = json!({ "email": email });
    browser.post_json("/.portvakt/login", &asked).await
}

fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

/// A directory of so many people of one company, with numbers one after another.
fn crowd(count: usize) -> String {
    let person = |n: usize| {
        format!(
            "[[user]]\nid = \"u-{n}\"\nemail = \"p{n}@fjord.example\"\nphone = \"+47900{n:05}\"\n\
             name = \"P {n}\"\ncompany = \"fjord\"\n"
        )
    };
    let people: String = (0..count).map(person).collect();
    format!("[[company]]\nid = \"fjord\"\nname = \"Fjord AS\"\n{people}")
}

#[tokio::test]
async fn an_unknown_device_gets_one_message_a_minute_three_a_quarter_five_a_day() {
    for (email, sent) in [(KARI, 5), (NOBODY, 0)] {
        let world = strict().await;
        let mut waits = Vec::new();
        let mut stranger = at(&world, "192.0.2.1");
        let mut accepted = 0;
        for _ in 0..11 {
            let answer = ask(&mut stranger, email).await;
            if answer.status == ACCEPTED {
                accepted += 1;
                continue;
            }
            assert_eq!(answer.status, TOO_MANY);
            let wait = answer.headers["retry-after"].to_str().unwrap();
            let wait: u64 = wait.parse().unwrap();
            waits.push(wait);
            world.clock.advance(Duration::from_secs(wait));
        }
        // Told alike, whether there is anyone or not.
        assert_eq!(waits, [60, 60, 780, 60, 85_440], "{email}");
        assert_eq!(accepted, 6);
        let expected = if sent == 0 { 0 } else { 6 };
        if expected > 0 {
            world.message(expected).await;
        }
        assert_eq!(world.outbox.messages().len(), expected);
    }
}

#[tokio::test]
async fn resending_is_charged_like_asking_and_resets_nothing() {
    let world = strict().await;
    let mut program = world.program();
    assert_eq!(ask(&mut program, KARI).await.status, ACCEPTED);
    let wrong = json!({ "code": another(&world.code(1).await) });
    program.post_json("/.portvakt/code", &wrong).await;
    let mut resend = async || program.post_json("/.portvakt/resend", &json!({})).await;
    let early = resend().await;
    assert_eq!(early.status, TOO_MANY);
    assert_eq!(early.headers["retry-after"], "60");
    for sent in [2, 3] {
        world.clock.advance(minutes(1));
        assert_eq!(resend().await.status, ACCEPTED);
        world.message(sent).await;
    }
    world.clock.advance(minutes(1));
    assert_eq!(resend().await.status, TOO_MANY);
    let open = program.get("/.portvakt/code").await.json();
    assert_eq!(open["challenge"]["attempts_left"], 2);
}

#[tokio::test]
async fn a_stranger_uses_up_no_message_of_a_known_device() {
    let world = strict().await;
    let mut owner = at(&world, "192.0.2.1");
    ask(&mut owner, KARI).await;
    let code = json!({ "code": world.code(1).await });
    assert_eq!(
        owner.post_json("/.portvakt/code", &code).await.status,
        StatusCode::OK
    );
    // The stranger spends the account's messages, and the owner's own address's.
    let mut stranger = at(&world, "192.0.2.1");
    for n in 0..40 {
        world.clock.advance(minutes(1));
        ask(&mut stranger, KARI).await;
        ask(&mut stranger, &format!("nobody{n}@fjord.example")).await;
    }
    assert_eq!(ask(&mut stranger, OLA).await.status, TOO_MANY);
    world.message(5).await;
    assert_eq!(ask(&mut owner, KARI).await.status, ACCEPTED);
    let code = json!({ "code": world.code(6).await });
    assert_eq!(
        owner.post_json("/.portvakt/code", &code).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn three_browsers_have_a_code_each_and_a_fourth_waits() {
    let world = strict().await;
    let mut browsers: Vec<Browser> = (0..4).map(|_| world.program()).collect();
    let mut codes = Vec::new();
    for (n, browser) in browsers.iter_mut().take(3).enumerate() {
        assert_eq!(ask(browser, KARI).await.status, ACCEPTED);
        codes.push(world.code(n + 1).await);
        world.clock.advance(minutes(1));
    }
    assert_eq!(ask(&mut browsers[3], KARI).await.status, TOO_MANY);
    for (browser, code) in browsers.iter_mut().zip(&codes) {
        let code = json!({ "code": code });
        let done = browser.post_json("/.portvakt/code", &code).await;
        assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    }
}

#[tokio::test]
async fn one_person_has_one_counter_however_they_are_spelt() {
    let world = strict().await;
    assert_eq!(ask(&mut world.program(), KARI).await.status, ACCEPTED);
    for spelt in [
        "KARI@FJORD.EXAMPLE",
        " Kari@fjord.example ",
        "kari@ｆｊｏｒｄ.example",
    ] {
        let again = ask(&mut world.program(), spelt).await;
        assert_eq!(again.status, TOO_MANY, "{spelt}");
    }
    // A plus-tag is another address, which is nobody's: it brings no message.
    assert_eq!(
        ask(&mut world.program(), "kari+1@fjord.example")
            .await
            .status,
        ACCEPTED
    );
    assert_eq!(world.message(1).await, world.outbox.messages()[0].text);
}

#[tokio::test]
async fn an_address_asks_thirty_times_an_hour_whomever_it_asks_for() {
    let world = with(shipped(), Some(crowd(20))).await;
    let mut stranger = at(&world, "2001:db8::1");
    for n in 0..30 {
        let email = if n % 2 == 0 {
            format!("p{n}@fjord.example")
        } else {
            format!("nobody{n}@fjord.example")
        };
        // All of the /64 is one client.
        stranger.address = address(&format!("2001:db8::{n:x}:1"));
        assert_eq!(ask(&mut stranger, &email).await.status, ACCEPTED);
    }
    for email in ["p1@fjord.example", "nobody@fjord.example"] {
        let refused = ask(&mut stranger, email).await;
        assert_eq!(refused.status, TOO_MANY, "{email}");
        assert_eq!(refused.headers["retry-after"], "3600");
    }
    stranger.address = address("2001:db8:0:1::1");
    assert_eq!(
        ask(&mut stranger, "p1@fjord.example").await.status,
        ACCEPTED
    );
    stranger.address = address("2001:db8::1");
    world.clock.advance(minutes(60));
    assert_eq!(
        ask(&mut stranger, "p3@fjord.example").await.status,
        ACCEPTED
    );
}

#[tokio::test]
async fn an_address_submits_sixty_codes_an_hour_whatever_they_are() {
    let world = strict().await;
    let mut owner = world.program();
    ask(&mut owner, KARI).await;
    let code = json!({ "code": world.code(1).await });
    assert_eq!(
        owner.post_json("/.portvakt/code", &code).await.status,
        StatusCode::OK
    );
    world.clock.advance(minutes(1));
    ask(&mut owner, KARI).await;

    let mut stranger = world.program();
    let submit = json!({ "code": "0000" });
    // One went to the owner's first login.
    for n in 0..59 {
        let typed = if n % 2 == 0 {
            json!({})
        } else {
            submit.clone()
        };
        let answer = stranger.post_json("/.portvakt/code", &typed).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{n}");
    }
    let spent = stranger.post_json("/.portvakt/code", &submit).await;
    assert_eq!(spent.status, TOO_MANY);
    // A known device at the same address is not touched.
    let code = json!({ "code": world.code(2).await });
    assert_eq!(
        owner.post_json("/.portvakt/code", &code).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_block_of_numbers_gets_thirty_messages_an_hour_and_nobody_is_told() {
    let world = with(shipped(), Some(crowd(45))).await;
    for n in 0..45 {
        let mut stranger = at(&world, &format!("192.0.2.{n}"));
        let answer = ask(&mut stranger, &format!("p{n}@fjord.example")).await;
        assert_eq!(answer.status, ACCEPTED, "{n}");
        // Those that are held back have a counter that rises all the same.
        let again = ask(&mut stranger, &format!("p{n}@fjord.example")).await;
        assert_eq!(again.status, TOO_MANY, "{n}");
    }
    world.message(30).await;
    assert_eq!(world.outbox.messages().len(), 30);
    let held = world.metrics.messages_held.with_label_values(&["prefix"]);
    assert_eq!(held.get(), 15);
}

#[tokio::test]
async fn a_companys_cap_keeps_a_tenth_for_known_devices() {
    let mut login = shipped();
    login.sends.company[0].limit = 10;
    let world = with(login, Some(crowd(20))).await;
    let mut owner = at(&world, "192.0.2.200");
    ask(&mut owner, "p0@fjord.example").await;
    let code = json!({ "code": world.code(1).await });
    owner.post_json("/.portvakt/code", &code).await;
    for n in 1..20 {
        let mut stranger = at(&world, &format!("192.0.2.{n}"));
        let answer = ask(&mut stranger, &format!("p{n}@fjord.example")).await;
        assert_eq!(answer.status, ACCEPTED);
    }
    world.message(9).await;
    assert_eq!(world.outbox.messages().len(), 9);
    for _ in 0..2 {
        // The second is beyond the cap even for who is known, and is told as little.
        let answer = ask(&mut owner, "p0@fjord.example").await;
        assert_eq!(answer.status, ACCEPTED);
        world.message(10).await;
        world.clock.advance(minutes(1));
    }
}

#[tokio::test]
async fn messages_go_to_the_directorys_countries_at_load_or_to_those_listed() {
    let abroad = PEOPLE.replace("+4790000002", "+46701234567");
    let asks_for = |listed: Option<&'static str>| {
        let mut login = shipped();
        login.sends.countries = listed.map(|country| vec![country.to_owned()]);
        login
    };
    for (listed, people, later, sent) in [
        (None, PEOPLE, PEOPLE, 2),
        (None, PEOPLE, &*abroad, 1),
        (None, &*abroad, &*abroad, 2),
        (Some("SE"), &*abroad, &*abroad, 1),
        (Some("FI"), &*abroad, &*abroad, 0),
    ] {
        let world = with(asks_for(listed), Some(people.to_owned())).await;
        world.people(later);
        for email in [KARI, OLA] {
            assert_eq!(ask(&mut world.program(), email).await.status, ACCEPTED);
        }
        if sent > 0 {
            world.message(sent).await;
        }
        assert_eq!(world.outbox.messages().len(), sent, "{listed:?}");
        let held = world.metrics.messages_held.with_label_values(&["country"]);
        assert_eq!(held.get(), 2 - sent as u64);
    }
}

#[tokio::test]
async fn a_spray_from_many_addresses_gets_five_messages_per_account_and_day() {
    let world = with(shipped(), Some(crowd(5))).await;
    for round in 0..30_u8 {
        for n in 0..5 {
            let place = format!("198.51.{round}.{n}");
            ask(&mut at(&world, &place), &format!("p{n}@fjord.example")).await;
        }
        world.clock.advance(minutes(10));
    }
    world.message(25).await;
    assert_eq!(world.outbox.messages().len(), 25);
}

/// Kari's owner logs in on a new device `pause` after their code was sent, after two guesses of a
/// stranger's; returns what was sent to whom, and who logged in.
async fn login_after_failures(changes: Changes, pause: Duration) -> (World, Browser) {
    let world = World::with(changes).await;
    let mut stranger = at(&world, "192.0.2.1");
    ask(&mut stranger, KARI).await;
    let wrong = json!({ "code": another(&world.code(1).await) });
    for _ in 0..2 {
        stranger.post_json("/.portvakt/code", &wrong).await;
    }
    world.clock.advance(minutes(1));
    let mut owner = at(&world, "192.0.2.2");
    ask(&mut owner, KARI).await;
    let code = json!({ "code": world.code(2).await });
    world.clock.advance(pause);
    let done = owner.post_json("/.portvakt/code", &code).await;
    assert_eq!(done.status, StatusCode::OK);
    (world, owner)
}

async fn told(world: &World) -> Vec<serde_json::Value> {
    let records = world.records().await;
    let told = |record: &&serde_json::Value| record["event"] == "login.failures_told";
    let results = records.iter().filter(told);
    results.map(|record| record["result"].clone()).collect()
}

#[tokio::test]
async fn telling_of_failures_is_a_message_like_any_other() {
    let shipped = || Changes {
        login: Some(shipped()),
        ..Changes::default()
    };
    // Within the minute of the code's own message there is room for a mail only.
    let (world, _) = login_after_failures(shipped(), Duration::from_secs(20)).await;
    world.message(3).await;
    let mail = world.outbox.messages().pop().unwrap();
    assert_eq!(mail.to, KARI);
    assert!(mail.text.contains("2 failed attempts"), "{}", mail.text);
    assert_eq!(told(&world).await, ["mail"]);

    // After it, there is room for a message, which takes the room of another.
    let (world, _) = login_after_failures(shipped(), minutes(1)).await;
    world.message(3).await;
    assert_eq!(world.outbox.messages().pop().unwrap().to, "+4790000001");
    assert_eq!(told(&world).await, ["sms"]);
    let early = ask(&mut at(&world, "192.0.2.3"), KARI).await;
    assert_eq!(early.status, TOO_MANY);

    // Where nothing has room, the account page tells.
    let no_mail = Changes {
        no_mail_server: true,
        ..shipped()
    };
    let (world, mut owner) = login_after_failures(no_mail, Duration::from_secs(20)).await;
    assert_eq!(told(&world).await, ["page"]);
    assert_eq!(world.outbox.messages().len(), 2);
    owner.headers = vec![("accept", "text/html".to_owned())];
    let page = owner.get("/.portvakt/account").await;
    assert!(page.text.contains("2 failed attempts"), "{}", page.text);
}
