//! Whether the time of an answer tells who has an account: thousands of interleaved trials against
//! the running binary, quiet and under load.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rand::seq::SliceRandom;
use reqwest::Client;
use serde_json::{Value, json};

use crate::house::House;
use crate::ledger::Row;
use crate::strategies::Outcome;
use crate::wire::Running;

/// Trials that run at once.
const AT_ONCE: u32 = 8;

/// Requests that run beside them, under load.
const LOAD: u32 = 16;

/// What an address may be; each trial takes an address of the kind that nobody tried before.
const KINDS: [&str; 4] = ["known", "unknown", "locked", "suspended"];

const STEPS: [&str; 3] = ["login", "code", "resend"];

/// Times in microseconds, by step and kind.
type Times = BTreeMap<(&'static str, &'static str), Vec<u64>>;

/// Measures `trials` of each kind; only whole measurements are held to the bound.
pub(crate) async fn tells_nothing(trials: u32, held: bool) -> Vec<Outcome> {
    let running = Running::start(|config| config.push_str(NO_SHIELD)).await;
    let directory = running.house.dir.path().join("directory.toml");
    std::fs::write(directory, people(trials * 2 + AT_ONCE)).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let house = Arc::new(running.house);
    let _process = running.process;
    lock(&house).await;
    let mut outcomes = Vec::new();
    for (name, loaded, first) in [("quiet", false, 0), ("under load", true, trials)] {
        let over = Arc::new(AtomicBool::new(false));
        let load: Vec<_> = (0..if loaded { LOAD } else { 0 })
            .map(|n| tokio::spawn(knock(Arc::clone(&house), Arc::clone(&over), n)))
            .collect();
        let times = measure(&house, first, trials).await;
        over.store(true, Ordering::SeqCst);
        for task in load {
            task.await.unwrap();
        }
        outcomes.push(compare(name, &times, held));
    }
    outcomes
}

/// The fleet's budget would be spent by the trials, and everyone would need a mail first.
const NO_SHIELD: &str = "\n[login.fleet]\nburst = 100000\n[login.sends]\n\
     unknown_device = [{ limit = 1000000, per = \"1h\" }]\n\
     company = [{ limit = 1000000, per = \"1h\" }]\nall = [{ limit = 1000000, per = \"1h\" }]\n";

/// Accounts whose lanes are spent before anything is measured.
const LOCKED: u32 = 20;

fn people(each: u32) -> String {
    let mut text = "[[company]]\nid = \"town\"\nname = \"Town\"\n".to_owned();
    for n in 0..each {
        for (kind, number) in [("known", 4), ("locked", 5), ("suspended", 9)] {
            let suspended = kind == "suspended";
            text.push_str(&format!(
                "[[user]]\nid = \"{kind}-{n}\"\nemail = \"{}\"\n\
                 phone = \"+47{number}{n:04}000\"\nname = \"Person {n}\"\ncompany = \"town\"\n\
                 suspended = {suspended}\n",
                email(kind, n)
            ));
        }
    }
    text
}

/// Addresses of all kinds are of one length.
fn email(kind: &str, n: u32) -> String {
    format!("{kind:x<9}{n:06}@town.example")
}

async fn measure(house: &Arc<House>, first: u32, trials: u32) -> Times {
    let mut order: Vec<(&'static str, u32)> = KINDS
        .into_iter()
        .flat_map(|kind| (first..first + trials).map(move |n| (kind, n)))
        .collect();
    order.shuffle(&mut rand::rng());
    let order = Arc::new(order);
    let next = Arc::new(AtomicU32::new(0));
    let workers: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (house, order, next) = (Arc::clone(house), Arc::clone(&order), Arc::clone(&next));
            tokio::spawn(async move {
                let client = house.browser_over(|builder| builder.cookie_store(false));
                let mut times = Times::new();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(&(kind, n)) = order.get(at as usize) else {
                        return times;
                    };
                    trial(&house, &client, kind, n, &mut times).await;
                }
            })
        })
        .collect();
    let mut all = Times::new();
    for worker in workers {
        for (key, mut times) in worker.await.unwrap() {
            all.entry(key).or_default().append(&mut times);
        }
    }
    all
}

/// An address, a wrong code, and another code, as far as the kind comes.
async fn trial(house: &House, client: &Client, kind: &'static str, n: u32, times: &mut Times) {
    let mut keep = |step, time| times.entry((step, kind)).or_default().push(time);
    let locked = kind == "locked";
    let whose = if locked { n % LOCKED } else { n };
    let body = json!({ "email": email(kind, whose) });
    let (time, status, cookie) = timed(house, client, "login", "", &body, n).await;
    keep("login", time);
    assert_eq!(status, if locked { 429 } else { 202 }, "{kind}");
    let Some(cookie) = cookie else {
        return;
    };
    let body = json!({ "code": "0000" });
    let (time, ..) = timed(house, client, "code", &cookie, &body, n).await;
    keep("code", time);
    let (time, ..) = timed(house, client, "resend", &cookie, &json!({}), n).await;
    keep("resend", time);
}

async fn timed(
    house: &House,
    client: &Client,
    step: &str,
    cookie: &str,
    body: &Value,
    n: u32,
) -> (u64, u16, Option<String>) {
    let request = client
        .post(house.url(&format!("/.portvakt/{step}")))
        .header("accept", "application/json")
        .header("cookie", cookie)
        .header("x-forwarded-for", format!("10.9.{}.{}", n / 250, n % 250))
        .json(body)
        .build()
        .unwrap();
    let begun = Instant::now();
    let answer = client.execute(request).await.unwrap();
    let status = answer.status().as_u16();
    let set = answer.headers().get("set-cookie").map(|value| {
        let text = value.to_str().unwrap();
        text.split(';').next().unwrap().to_owned()
    });
    answer.bytes().await.unwrap();
    let time = u64::try_from(begun.elapsed().as_micros()).unwrap();
    (time, status, set)
}

/// Spends the lanes of those who are to be locked.
async fn lock(house: &House) {
    let client = house.browser_over(|builder| builder.cookie_store(false));
    for n in 0..LOCKED {
        let body = json!({ "email": email("locked", n) });
        for _ in 0..2 {
            let asked = timed(house, &client, "login", "", &body, 61_000 + n).await;
            let cookie = asked.2.unwrap_or_default();
            // One of them might be the code; then the account is asked again below.
            for guess in ["0000", "1111", "2222"] {
                let code = json!({ "code": guess });
                timed(house, &client, "code", &cookie, &code, 61_000 + n).await;
            }
        }
        let (_, status, _) = timed(house, &client, "login", "", &body, 61_000 + n).await;
        assert_eq!(status, 429, "{} is not locked", email("locked", n));
    }
}

/// Knocks without pause, as one of many strangers.
async fn knock(house: Arc<House>, over: Arc<AtomicBool>, n: u32) {
    let client = house.browser_over(|builder| builder.cookie_store(false));
    let mut round = 0;
    while !over.load(Ordering::SeqCst) {
        round += 1;
        let body = json!({ "email": format!("knock{n}x{round}@town.example") });
        timed(&house, &client, "login", "", &body, 60_000 + n).await;
    }
}

fn compare(name: &'static str, times: &Times, held: bool) -> Outcome {
    let mut rows = Vec::new();
    for step in STEPS {
        let of_step: Vec<(&str, Vec<u64>)> = KINDS
            .into_iter()
            .filter_map(|kind| Some((kind, times.get(&(step, kind))?.clone())))
            .collect();
        for (what, share) in [("median", 50), ("90th percentile", 90)] {
            let found: Vec<(&str, u64)> = of_step
                .iter()
                .map(|(kind, times)| (*kind, percentile(times, share)))
                .collect();
            rows.push(Row::spread(&format!("{step}, {what}"), &found, held));
        }
    }
    Outcome { name, rows }
}

fn percentile(times: &[u64], share: usize) -> u64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[(times.len() - 1) * share / 100]
}
