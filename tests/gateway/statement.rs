//! The safety statement: every line of it is traced to what it speaks of, by another way than the one
//! that it was written by.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::house::{House, KARI, media_type, repository};
use crate::ran::{portvakt, records};

async fn stated(house: &House) -> Value {
    let ran = portvakt(house, "statement --json").await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    ran.json()
}

/// What openssl says of the certificate that a handshake shows.
async fn shown_certificate(house: &House) -> String {
    let tls = house.tls(&[b"http/1.1"]).await;
    let chain = tls.get_ref().1.peer_certificates().unwrap();
    let mut openssl = tokio::process::Command::new("openssl")
        .args([
            "x509",
            "-inform",
            "DER",
            "-noout",
            "-fingerprint",
            "-sha256",
        ])
        .args(["-subject", "-issuer", "-enddate", "-nameopt", "RFC2253"])
        .args(["-dateopt", "iso_8601"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = openssl.stdin.take().unwrap();
    stdin.write_all(&chain[0]).await.unwrap();
    drop(stdin);
    let said = openssl.wait_with_output().await.unwrap();
    String::from_utf8(said.stdout).unwrap()
}

#[tokio::test]
async fn what_is_said_of_encryption_is_what_a_handshake_shows() {
    let house = House::open().await;
    let told = stated(&house).await;
    let said = shown_certificate(&house).await;
    let line = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name}: {said}"))
            .trim_start_matches('=')
            .to_owned()
    };
    let [certificate] = told["certificates"].as_array().unwrap().as_slice() else {
        panic!("one certificate is shown: {told}");
    };
    assert_eq!(certificate["sha256"], line("sha256 Fingerprint"));
    assert_eq!(certificate["subject"], line("subject"));
    assert_eq!(certificate["issuer"], line("issuer"));
    assert_eq!(
        certificate["not_after"].as_str().unwrap().replace('T', " "),
        line("notAfter")
    );
    assert_eq!(told["without_tls"], json!([]));
    // A client that can do all of it agrees on what is liked best.
    let tls = house.tls(&[b"http/1.1"]).await;
    let agreed = tls.get_ref().1;
    let suite = format!("{:?}", agreed.negotiated_cipher_suite().unwrap().suite());
    assert_eq!(told["tls"]["suites"][0], suite.replace("TLS13_", "TLS_"));
    let group = agreed.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(told["tls"]["groups"][0], format!("{group:?}"));
    assert_eq!(told["tls"]["protocols"], json!(["TLS 1.3", "TLS 1.2"]));
    for (option, taken) in [("-tls1_2", true), ("-tls1_3", true), ("-tls1_1", false)] {
        let address = format!("127.0.0.1:{}", house.port);
        let tried = tokio::process::Command::new("openssl")
            .args([
                "s_client",
                option,
                "-cipher",
                "DEFAULT:@SECLEVEL=0",
                "-connect",
                &address,
            ])
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        assert_eq!(tried.status.success(), taken, "{option}: {tried:?}");
    }
}

#[tokio::test]
async fn what_is_said_of_the_login_is_its_configuration_and_the_arithmetic_of_it() {
    let house = House::open_with(
        |config| {
            config.push_str(
                "[login]\nattempts_per_challenge = 2\n\
                 unknown_device = [{ limit = 4, per = \"1d\" }]\n\
                 [session]\nidle = \"30m\"\n",
            );
        },
        None,
    )
    .await;
    let told = &stated(&house).await["login"];
    assert_eq!(told["attempts_per_challenge"], 2);
    assert_eq!(
        told["unknown_device"],
        json!([{ "limit": 4, "per": 86_400 }])
    );
    assert_eq!(told["session_idle"], 1_800);
    // Four guesses a day at ten thousand codes.
    let missed: f64 = 1.0 - 1.0 / 10_000.0;
    let near = |value: &Value, expected: f64| {
        let value = value.as_f64().unwrap();
        assert!((value - expected).abs() < 1e-9, "{value}, not {expected}");
    };
    near(&told["takeover_per_day"], 1.0 - missed.powf(4.0));
    near(&told["takeover_per_year"], 1.0 - missed.powf(4.0 * 365.0));
    near(
        &told["takeovers_of_all_per_year"],
        (500.0 + 25.0 * 365.0) / 10_000.0,
    );
    assert_eq!(told["shield_raised"], json!({ "shown": false }));
    assert_eq!(portvakt(&house, "shield raise").await.code, 0);
    let told = stated(&house).await;
    assert_eq!(told["login"]["shield_raised"], json!({ "shown": true }));
}

#[tokio::test]
async fn what_is_said_of_access_is_what_the_files_in_force_say() {
    let house = House::open().await;
    let told = stated(&house).await;
    let access = &told["access"];
    let status = portvakt(&house, "status --json").await.json();
    assert_eq!(access["digest"], status["policy"]["digest"]);
    assert_eq!(access["since"], status["policy"]["since"]);
    let read = |name: &str| std::fs::read_to_string(house.policies().join(name)).unwrap();
    let routes = read("routes.toml");
    assert_eq!(
        access["routes"],
        routes
            .lines()
            .filter(|line| line.trim() == "[[route]]")
            .count()
    );
    let public: Vec<&str> = routes
        .split("[[route]]")
        .filter(|route| {
            route
                .lines()
                .any(|line| line.replace(' ', "") == "public=true")
        })
        .filter_map(|route| route.split('"').nth(1))
        .collect();
    assert_eq!(access["public"], json!(public));
    let rules = read("projects.cedar");
    for rule in access["rules"].as_array().unwrap() {
        let words = rule["words"].as_str().unwrap();
        let (file, line) = rule["place"].as_str().unwrap().split_once(':').unwrap();
        assert_eq!(file, "projects.cedar");
        let line: usize = line.parse().unwrap();
        let lines: Vec<&str> = rules.lines().collect();
        assert!(
            lines[line - 1].starts_with(['p', 'f']),
            "a rule begins there"
        );
        assert_eq!(lines[line - 2].trim_start_matches("// "), words);
    }
    let permits = rules
        .lines()
        .filter(|line| line.starts_with("permit") || line.starts_with("forbid"));
    assert_eq!(access["rules"].as_array().unwrap().len(), permits.count());
    let invariants = read("invariants.cedar");
    let holes = invariants
        .lines()
        .filter(|line| line.starts_with("permit"))
        .count();
    assert_eq!(access["proof"], json!({ "shown": holes }));
    assert_eq!(status["policy"]["proof"], "proved");
    let version = portvakt(&house, "--version").await.out;
    assert_eq!(
        version.trim(),
        format!("portvakt {}", told["version"].as_str().unwrap())
    );
    assert_eq!(
        records(&house),
        [""; 0],
        "it tells of nobody, and is not on record"
    );
}

#[tokio::test]
async fn what_cannot_be_shown_is_said_to_be_not_shown() {
    let house = House::open_with(
        |config| {
            *config = config.replace("[policy]\n", "[policy]\nsolver = \"/nowhere/cvc5\"\n");
        },
        None,
    )
    .await;
    let told = stated(&house).await;
    let why = told["access"]["proof"]["not_shown"].as_str().unwrap();
    assert!(why.contains("/nowhere/cvc5"), "{why}");
    for (what, english) in [("backup", "Not shown: "), ("restore", "Not shown: ")] {
        let why = told[what]["not_shown"].as_str().unwrap();
        let text = portvakt(&house, "statement").await.out;
        assert!(
            text.contains(&format!("- {english}{why}\n  Evidence: none")),
            "{text}"
        );
        let norsk = portvakt(&house, "statement --language nb").await.out;
        assert!(
            norsk.contains(&format!("- Ikke vist: {why}\n  Bevis: ingen")),
            "{norsk}"
        );
    }
    let text = portvakt(&house, "statement").await.out;
    assert!(!text.contains("are proved"), "{text}");
}

#[tokio::test]
async fn the_page_is_served_only_where_the_configuration_says_so_and_says_the_same() {
    let closed = House::open().await;
    let kari = closed.logged_in(KARI).await;
    let answer = closed.get(&kari, "/.portvakt/safety").await;
    assert_eq!(answer.status(), 404);

    let house = House::open_with(|config| config.insert_str(0, "safety_page = true\n"), None).await;
    let stranger = house.browser();
    let answer = house.get(&stranger, "/.portvakt/safety").await;
    assert_eq!(answer.status(), 200);
    let read = |told: &Value| {
        let mut told = told.clone();
        // The moments differ, and so does nothing else.
        told["made"] = Value::Null;
        told["trail"] = Value::Null;
        told
    };
    let asked = stranger
        .get(house.url("/.portvakt/safety"))
        .header("accept", "application/json")
        .send()
        .await
        .unwrap();
    assert_eq!(media_type(&asked), "application/json");
    let told: Value = asked.json().await.unwrap();
    assert_eq!(read(&told), read(&stated(&house).await));

    for (language, file) in [("en", "--language en"), ("nb", "--language nb")] {
        let page = stranger
            .get(house.url("/.portvakt/safety"))
            .header("accept", "text/html")
            .header("accept-language", language)
            .send()
            .await
            .unwrap();
        assert!(page.headers().contains_key("content-security-policy"));
        let page = page.text().await.unwrap();
        assert!(
            page.contains(&format!("<html lang=\"{language}\">")),
            "{page}"
        );
        let alone = portvakt(&house, &format!("statement --html {file}"))
            .await
            .out;
        assert!(
            !alone.contains("src=") && !alone.contains("href="),
            "it needs no other file"
        );
        let text = portvakt(&house, &format!("statement {file}")).await.out;
        for line in text.lines().filter_map(|line| line.strip_prefix("- ")) {
            // The moment is in none of these.
            let escaped = line
                .replace('&', "&#38;")
                .replace('<', "&#60;")
                .replace('>', "&#62;");
            let escaped = escaped.replace('"', "&#34;").replace('\'', "&#39;");
            for html in [&page, &alone] {
                assert!(html.contains(&escaped), "{escaped}: {html}");
            }
        }
    }
    let shipped = repository().join("config/portvakt.toml");
    assert!(
        std::fs::read_to_string(shipped)
            .unwrap()
            .contains("safety_page")
    );
}
