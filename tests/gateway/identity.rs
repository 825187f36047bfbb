//! Identity comes from the gateway alone, whatever the client sends.

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::Value;

use crate::house::{House, KARI, OLA};

/// What the echo saw of the header fields that fold to a name.
fn seen(echo: &Value, name: &str) -> Vec<String> {
    let fold = |text: &str| text.to_ascii_lowercase().replace('_', "-");
    let fields = echo["headers"].as_array().unwrap().iter();
    fields
        .filter(|field| fold(field[0].as_str().unwrap()) == name)
        .map(|field| field[1].as_str().unwrap().to_owned())
        .collect()
}

/// The JSON body of an answer that came raw.
fn body(answer: &[u8]) -> Value {
    let text = String::from_utf8_lossy(answer);
    let start = text
        .find("\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer: {text:?}"))
        + 4;
    let rest = &text[start..];
    let (open, close) = (rest.find('{').expect(&text), rest.rfind('}').unwrap());
    serde_json::from_str(&rest[open..=close]).unwrap()
}

/// A house whose application's cookies pass as they are.
async fn passing_cookies() -> House {
    let pass = |config: &mut String| {
        *config = config.replace("[policy]", "cookies = \"pass\"\n\n[policy]");
    };
    House::open_with(pass, None).await
}

#[tokio::test]
async fn every_spelling_of_an_identity_header_is_replaced() {
    let house = House::open().await;
    let cookie = house.session_cookie(KARI).await;
    let names = [
        "x-user-id",
        "x-user-email",
        "x-company-id",
        "x-portvakt-assertion",
    ];
    let expected = ["u-kari", KARI, "fjord"];
    let mut spellings = Vec::new();
    for name in names {
        let upper = name.to_ascii_uppercase();
        spellings.push(format!("{name}: evil\r\n"));
        spellings.push(format!("{upper}: evil\r\n"));
        spellings.push(format!("{}: evil\r\n", name.replace('-', "_")));
        spellings.push(format!("{}: evil\r\n", upper.replacen('-', "_", 1)));
        spellings.push(format!("{name}: evil\r\n{name}: evil2\r\n"));
        spellings.push(format!("Connection: {name}\r\n{name}: evil\r\n"));
        spellings.push(format!("Connection: close, {upper}\r\n"));
        spellings.push(format!(
            "Connection: {}\r\n{}: evil\r\n",
            name.replace('-', "_"),
            name.replace('-', "_")
        ));
    }
    for spelling in spellings {
        let request =
            format!("GET /echo HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n{spelling}\r\n");
        let echo = body(&house.raw(request.as_bytes()).await);
        for (name, value) in names.iter().zip(expected) {
            assert_eq!(seen(&echo, name), [value], "after {spelling:?}");
        }
        let assertion = seen(&echo, "x-portvakt-assertion");
        assert_eq!(assertion.len(), 1, "after {spelling:?}");
        assert_eq!(assertion[0].split('.').count(), 3, "after {spelling:?}");
    }
}

#[tokio::test]
async fn trailers_carry_no_identity() {
    let house = House::open().await;
    let cookie = house.session_cookie(KARI).await;
    let request = format!(
        "POST /echo HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\nTransfer-Encoding: chunked\r\n\
         Trailer: X-User-Id\r\n\r\n2\r\nhi\r\n0\r\nX-User-Id: evil\r\nx_user_id: evil\r\n\r\n"
    );
    let echo = body(&house.raw(request.as_bytes()).await);
    assert_eq!(echo["body"], "hi");
    assert_eq!(seen(&echo, "x-user-id"), ["u-kari"]);
    assert!(!echo.to_string().contains("evil"), "{echo}");
}

#[tokio::test]
async fn what_only_the_gateway_may_tell_is_told_by_it() {
    let house = passing_cookies().await;
    let cookie = house.session_cookie(KARI).await;
    let request = format!(
        "GET /echo HTTP/1.1\r\nHost: localhost:{}\r\nCookie: a=1; {cookie}; b=2\r\nX-Forwarded-For: 6.6.6.6\r\n\
         X-Forwarded-Host: evil\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Prefix: /evil\r\nForwarded: for=evil\r\n\
         X-Request-Id: evil\r\ntraceparent: evil\r\nX-Original-URL: /evil\r\nX-Rewrite-Url: /evil\r\n\
         X-HTTP-Method-Override: POST\r\nAuthorization: Bearer evil\r\nX-Real-IP: evil\r\n\r\n",
        house.port
    );
    let echo = body(&house.raw(request.as_bytes()).await);
    assert!(!echo.to_string().contains("evil"), "{echo}");
    assert_eq!(seen(&echo, "cookie"), ["a=1; b=2"]);
    assert_eq!(seen(&echo, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen(&echo, "x-forwarded-proto"), ["https"]);
    assert_eq!(
        seen(&echo, "x-forwarded-host"),
        [format!("localhost:{}", house.port)]
    );
    let forwarded = format!(
        "for=127.0.0.1;host=\"localhost:{}\";proto=https",
        house.port
    );
    assert_eq!(seen(&echo, "forwarded"), [forwarded]);
    assert_eq!(seen(&echo, "x-request-id").len(), 1);
    assert!(seen(&echo, "traceparent")[0].starts_with("00-"));
    assert!(seen(&echo, "x-http-method-override").is_empty());
}

#[tokio::test]
async fn the_assertion_verifies_with_the_published_keys() {
    let house = House::open().await;
    let ola = house.logged_in(OLA).await;
    let echo: Value = house.get(&ola, "/echo").await.json().await.unwrap();
    let token = &seen(&echo, "x-portvakt-assertion")[0];
    let header = decode_header(token).unwrap();
    assert_eq!(
        (header.alg, header.typ.as_deref()),
        (Algorithm::ES256, Some("JWT"))
    );
    let keys: jsonwebtoken::jwk::JwkSet = house
        .get(&house.browser(), "/.portvakt/jwks.json")
        .await
        .json()
        .await
        .unwrap();
    let key = keys
        .find(header.kid.as_deref().unwrap())
        .expect("the key is published");
    let mut rules = Validation::new(Algorithm::ES256);
    rules.set_audience(&["projects"]);
    rules.set_issuer(&[format!("https://localhost:{}", house.port)]);
    rules.validate_nbf = true;
    let claims = decode::<Value>(token, &DecodingKey::from_jwk(key).unwrap(), &rules)
        .unwrap()
        .claims;
    assert_eq!(claims["sub"], "u-ola");
    assert_eq!(claims["email"], OLA);
    assert_eq!(claims["company"], "fjord");
    let life = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
    assert!(life <= 60, "{life}");
    for claim in ["name", "roles", "sid", "nbf", "jti"] {
        assert!(!claims[claim].is_null(), "{claim}");
    }
}

#[tokio::test]
async fn http2_crumbs_arrive_as_one_cookie_field() {
    let house = passing_cookies().await;
    let cookie = house.session_cookie(KARI).await;
    let browser = house.browser_over(|builder| builder.http2_prior_knowledge().cookie_store(false));
    let mut request = browser.get(house.url("/echo"));
    for crumb in ["a=1", cookie.as_str(), "b=2"] {
        request = request.header("cookie", crumb);
    }
    let answer = request.send().await.unwrap();
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
    let echo: Value = answer.json().await.unwrap();
    assert_eq!(seen(&echo, "cookie"), ["a=1; b=2"]);
    assert_eq!(seen(&echo, "host"), [format!("localhost:{}", house.port)]);
    assert_eq!(seen(&echo, "x-user-id"), ["u-kari"]);
}
