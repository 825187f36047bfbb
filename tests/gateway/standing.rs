//! What ops see and lift of what stands in people's way, and the assertion's keys: commands against
//! a running gateway.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::house::{House, KARI, OLA};
use crate::ran::{asked, portvakt, records};

#[tokio::test]
async fn a_spent_account_is_shown_and_unlocked() {
    let house = House::open().await;
    let mut codes = Vec::new();
    for tries in [3, 2] {
        let guesser = house.browser();
        house.ask_for_code(&guesser, OLA).await;
        let code = house.latest_code(OLA).await;
        let wrong = if code == "0000" { "1111" } else { "0000" };
        codes.push(code);
        for _ in 0..tries {
            house.give_code(&guesser, wrong).await;
        }
    }
    let refused = house
        .post_json(
            &house.browser(),
            "/.portvakt/login",
            &json!({ "email": OLA }),
        )
        .await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);

    let shown = asked(&house, &format!("user show {}", OLA.to_uppercase())).await;
    assert_eq!(shown["id"], "u-ola");
    assert_eq!(shown["phone_ends"], "02");
    assert_eq!(shown["failed_since_login"], 5);
    let lane = &shown["lanes"][0];
    assert_eq!(lane["device"], Value::Null);
    let used: Vec<_> = lane["budgets"].as_array().unwrap().iter().collect();
    assert_eq!(
        (&used[0]["used"], &used[0]["limit"]),
        (&json!(5), &json!(5))
    );
    assert_eq!(
        (&used[1]["used"], &used[1]["limit"]),
        (&json!(5), &json!(20))
    );
    assert_eq!(lane["spent_until"], used[0]["frees"]);
    let challenges = lane["challenges"].as_array().unwrap();
    assert!(challenges.iter().any(|one| one["attempts"] == 2), "{lane}");
    let sends = shown["sends"].as_array().unwrap();
    let first = &sends[0];
    assert_eq!(
        (&first["kind"], &first["known_devices"]),
        (&json!("sms"), &json!(false))
    );
    // Two codes were sent; the third was charged for before the lane said no.
    let budget = &first["budgets"][0];
    assert_eq!(
        (&budget["used"], &budget["left"], &budget["limit"]),
        (&json!(3), &json!(99_997), &json!(100_000))
    );
    assert_eq!(sends.len(), 4, "{sends:?}");
    assert_eq!(sends[2]["kind"], "mail");
    assert_eq!(sends[2]["budgets"][0]["used"], 0);
    let for_people = portvakt(&house, &format!("user show {OLA}")).await.out;
    for told in [
        "Ola",
        "suspended  no",
        "5 of 5 in 24 h",
        "5 of 20 in 30 d",
        "unknown devices: locked until ",
        "SMS, unknown devices   99997 of 100000 in 1 h   now",
    ] {
        assert!(for_people.contains(told), "{told}: {for_people}");
    }
    for text in [&for_people, &shown.to_string()] {
        assert!(!text.contains("+4790000002"), "a number is not shown");
        for code in &codes {
            assert!(
                !text.contains(&format!("\"{code}\"")),
                "a code is not shown"
            );
        }
    }

    let unlocked = portvakt(&house, &format!("user unlock {OLA}")).await;
    assert_eq!(
        (unlocked.code, unlocked.out.as_str()),
        (0, "unlocked: 5 failed attempts forgiven\n")
    );
    house.logged_in(OLA).await;
    assert_eq!(
        records(&house)[2..],
        ["admin.user.unlock begun", "admin.user.unlock ok"]
    );
}

#[tokio::test]
async fn the_shield_is_raised_and_lowered_by_hand() {
    let mut house = House::open().await;
    let known = house.logged_in(KARI).await;
    let status = portvakt(&house, "shield status").await;
    assert_eq!(status.code, 0, "{status:?}");
    assert!(
        status.out.starts_with("the shield is down\n500 of 500 "),
        "{status:?}"
    );
    let raised = asked(&house, "shield raise").await;
    assert!(
        raised["raised"].is_string() && raised["by_hand"] == true,
        "{raised}"
    );
    let metrics = house.admin("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("portvakt_login_shield_raised 1"));

    // It survives a restart; an unknown device gets no code, a known one notices nothing.
    house.restart().await;
    assert!(asked(&house, "shield status").await["raised"].is_string());
    house.ask_for_code(&house.browser(), OLA).await;
    let sent = house.outbox().await;
    let olas_phone = sent.iter().any(|message| message["to"] == "+4790000002");
    assert!(!olas_phone, "a link by mail first: {sent:?}");
    house.log_in(&known, KARI).await;

    let lowered = portvakt(&house, "shield lower").await;
    assert!(
        lowered.out.starts_with("the shield is down\n"),
        "{lowered:?}"
    );
    house.logged_in(OLA).await;
    assert_eq!(
        records(&house),
        [
            "admin.shield.status begun",
            "admin.shield.raise begun",
            "admin.shield.raise ok",
            "admin.shield.status begun",
            "admin.shield.lower begun",
            "admin.shield.lower ok",
        ]
    );
}

#[tokio::test]
async fn keys_are_rotated() {
    let house = House::open().await;
    let ids = async || {
        let keys = house.get(&house.browser(), "/.portvakt/jwks.json").await;
        let keys: Value = keys.json().await.unwrap();
        let ids = keys["keys"].as_array().unwrap().iter();
        ids.map(|key| key["kid"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let before = ids().await;
    let told = asked(&house, "keys rotate").await;
    let after = ids().await;
    assert_eq!(after.len(), 3, "previous, current, next");
    assert_eq!(after[0], before[before.len() - 2]);
    assert_eq!(told["current"], after[1].as_str());
    assert_eq!(after[1], before[before.len() - 1]);
    assert_eq!(told["next"], after[2].as_str());
    let said = portvakt(&house, "keys rotate").await.out;
    assert!(
        said.starts_with(&format!("`{}` signs from now on", after[2])),
        "{said}"
    );
}
