//! Receipts: what Twilio says became of a message, believed only with its signature, and once.

use reqwest::{Client, StatusCode};

use crate::house::House;
use crate::provider::twilio_signature;
use crate::sms::house_with;

const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
const TOKEN: &str = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f";
const SMS: &str = r#"kind = "twilio"
account_sid = "AC0123456789abcdef0123456789abcdef"
auth_token = "file:DIR/token"
from = "+15017122661"
base_url = "http://127.0.0.1:9""#;

/// A form's fields.
type Form<'a> = &'a [(&'a str, &'a str)];

fn receipt(sid: &'static str, state: &'static str) -> Vec<(&'static str, &'static str)> {
    vec![
        ("SmsSid", sid),
        ("SmsStatus", state),
        ("MessageStatus", state),
        ("To", "+4790000001"),
        ("MessageSid", sid),
        ("AccountSid", ACCOUNT),
        ("From", "+15017122661"),
        ("ApiVersion", "2010-04-01"),
    ]
}

async fn deliver(
    house: &House,
    form: &[(&str, &str)],
    signature: Option<&str>,
) -> reqwest::Response {
    let mut request = Client::builder()
        .add_root_certificate(reqwest::Certificate::from_pem(&house.root_certificate()).unwrap())
        .build()
        .unwrap()
        .post(house.url("/.portvakt/sms/status"))
        .form(form);
    if let Some(signature) = signature {
        request = request.header("X-Twilio-Signature", signature);
    }
    request.send().await.unwrap()
}

async fn counted(house: &House, status: &str) -> u64 {
    let metrics = house.admin("/metrics").await.text().await.unwrap();
    let start = format!("portvakt_sms_receipts_total{{status=\"{status}\"}} ");
    let mut lines = metrics.lines();
    lines
        .find_map(|line| line.strip_prefix(&start))
        .map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn a_receipt_counts_once_and_a_forged_one_never() {
    let (house, _secrets) = house_with(SMS, None).await;
    let url = house.url("/.portvakt/sms/status");
    let form = receipt("SM01", "delivered");
    let good = twilio_signature(TOKEN, &url, &form);

    let mut moved = form.clone();
    moved[3].1 = "+4790000002";
    let mut foreign = form.clone();
    foreign[5].1 = "AC00000000000000000000000000000000";
    let foreign_signature = twilio_signature(TOKEN, &url, &foreign);
    let mut longer = form.clone();
    longer.push(("ErrorCode", "30003"));
    let other_token = twilio_signature("1f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f", &url, &form);
    let other_path = twilio_signature(TOKEN, &format!("{url}/"), &form);
    let forged: [(Form<'_>, Option<&str>); 9] = [
        (&form, None),
        (&form, Some("")),
        (&form, Some("not base64!")),
        (&form, Some(&other_token)),
        (&form, Some(&other_path)),
        (&moved, Some(&good)),
        (&longer, Some(&good)),
        (&foreign, Some(&foreign_signature)),
        (&[], Some(&good)),
    ];
    for (form, signature) in forged {
        let answer = deliver(&house, form, signature).await;
        assert_eq!(
            answer.status(),
            StatusCode::FORBIDDEN,
            "{form:?} {signature:?}"
        );
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        assert!(answer.text().await.unwrap().is_empty());
    }
    assert_eq!(counted(&house, "forged").await, forged.len() as u64);
    assert_eq!(counted(&house, "delivered").await, 0);

    for _ in 0..3 {
        let answer = deliver(&house, &form, Some(&good)).await;
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    }
    assert_eq!(counted(&house, "delivered").await, 1);
    assert_eq!(counted(&house, "duplicate").await, 2);

    // Another state of the same message is news; Twilio may sign the URL without its port.
    let sent = receipt("SM01", "sent");
    let bare = "https://localhost/.portvakt/sms/status";
    let signature = twilio_signature(TOKEN, bare, &sent);
    let answer = deliver(&house, &sent, Some(&signature)).await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    // So is a state that nobody has heard of: the number of labels stays bounded.
    let odd = receipt("SM02", "teleported");
    let signature = twilio_signature(TOKEN, &url, &odd);
    assert_eq!(
        deliver(&house, &odd, Some(&signature)).await.status(),
        StatusCode::NO_CONTENT
    );
    for (status, count) in [
        ("sent", 1),
        ("other", 1),
        ("delivered", 1),
        ("teleported", 0),
    ] {
        assert_eq!(counted(&house, status).await, count, "{status}");
    }
}

#[tokio::test]
async fn what_is_no_receipt_at_all_is_refused() {
    let (house, _secrets) = house_with(SMS, None).await;
    let browser = house.browser();
    let answer = house.get(&browser, "/.portvakt/sms/status").await;
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    let long = "x".repeat(20_000);
    let answer = deliver(&house, &[("Body", &long)], None).await;
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);

    let house = House::open().await;
    let answer = deliver(&house, &receipt("SM01", "delivered"), None).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
}
