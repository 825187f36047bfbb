//! Whom the directory in a real PostgreSQL finds, by which address, and as whom.

use portvakt::directory::Directory;
use portvakt::principal::{EmailAddress, UserId};
use reqwest::StatusCode;

use crate::cluster::{Cluster, QUERY};
use crate::house::{KARI, OLA};
use crate::postgres::{ask, directory, directory_of, house, messages_to};

#[tokio::test]
async fn an_address_that_two_rows_have_is_nobodys() {
    let cluster = Cluster::start().await;
    cluster
        .sql(
            "insert into users (handle, mail, mobile, full_name, company_id)
             values ('u-eve', 'OLA@fjord.example', '+4790000099', 'Eve', 'tinde')",
        )
        .await;
    let (house, clock) = house(&cluster, "").await;
    assert_eq!(ask(&house, OLA).await, StatusCode::ACCEPTED);
    assert_eq!(messages_to(&house, "+4790000002").await, 0);
    assert_eq!(house.outbox().await.len(), 1, "only Nils's");
    // The same for an identifier.
    cluster
        .sql("update users set mail = 'eve@tinde.example', handle = 'u-ola' where handle = 'u-eve'")
        .await;
    let directory = directory(&house, &clock);
    let by_id = |id: &str| UserId::from(id);
    assert!(directory.by_id(&by_id("u-ola")).await.unwrap().is_none());
    assert!(directory.by_id(&by_id("u-kari")).await.unwrap().is_some());
}

#[tokio::test]
async fn an_address_is_found_as_people_mean_it_and_never_as_sql() {
    let cluster = Cluster::start().await;
    // Decomposed, with capitals, the domain in letters; and one with a quote.
    cluster
        .sql(
            "insert into users (handle, mail, mobile, full_name, company_id) values
               ('u-ase', U&'A\\030Ase@Bla\\030Abar.example', '+4790000004', 'Åse', 'fjord'),
               ('u-brien', 'o''brien@fjord.example', '+4790000005', 'O''Brien', 'fjord'),
               ('u-none', 'no address', '+4790000006', 'None', 'fjord'),
               ('u-mute', 'mute@fjord.example', 'ask the office', 'Mute', 'fjord')",
        )
        .await;
    let (house, clock) = house(&cluster, "").await;
    let directory = directory(&house, &clock);
    let find = async |typed: &str| {
        let email = EmailAddress::parse(typed).unwrap();
        let person = directory.by_email(&email).await.unwrap();
        person.map(|person| person.principal.id.as_str().to_owned())
    };
    for typed in [
        "Åse@blåbar.example",
        "A\u{30a}se@BLA\u{30a}BAR.example",
        "Åse@xn--blbar-nra.example",
    ] {
        assert_eq!(find(typed).await.as_deref(), Some("u-ase"), "{typed}");
    }
    assert_eq!(find("åse@blåbar.example").await, None, "another local part");
    assert_eq!(
        find("o'brien@fjord.example").await.as_deref(),
        Some("u-brien")
    );
    for typed in [
        "'or''='@fjord.example",
        "x'or'1'='1@fjord.example",
        "%@fjord.example",
        "k_ri@fjord.example",
        "'/**/or/**/true--@fjord.example",
        "mute@fjord.example",
    ] {
        assert_eq!(find(typed).await, None, "{typed}");
    }
    assert_eq!(find(KARI).await.as_deref(), Some("u-kari"));
    let kari = directory
        .by_id(&UserId::from("u-kari"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(kari.phone.as_e164(), "+4790000001");
    assert_eq!(&*kari.principal.company.name, "Fjord AS");
}

#[tokio::test]
async fn identifiers_may_be_numbers_or_uuids_and_roles_a_text() {
    let cluster = Cluster::start().await;
    let (house, clock) = house(&cluster, "").await;
    let numbered = QUERY
        .replace("u.handle as id", "u.number as id, u.handle as login")
        .replace("u.roles", "' editor,viewer'::varchar as roles");
    let directory = directory_of(&house, &clock, &numbered);
    let ola = directory.by_id(&UserId::from("2")).await.unwrap().unwrap();
    assert_eq!(&*ola.principal.login, "u-ola");
    assert_eq!(
        ola.principal.roles,
        [
            std::sync::Arc::from("editor"),
            std::sync::Arc::from("viewer")
        ]
    );
    assert!(!ola.principal.suspended);
    for id in ["02", "u-ola", "4", "99999999999999999999", ""] {
        let found = directory.by_id(&UserId::from(id)).await.unwrap();
        assert!(found.is_none(), "{id}");
    }
    let by_uuid = QUERY
        .replace("u.handle as id", "md5(u.handle)::uuid as id")
        .replace("u.suspended_at is not null", "null::boolean");
    let directory = directory_of(&house, &clock, &(by_uuid + " -- all of them"));
    let email = EmailAddress::parse(OLA).unwrap();
    let ola = directory.by_email(&email).await.unwrap().unwrap();
    let again = directory.by_id(&ola.principal.id).await.unwrap().unwrap();
    assert_eq!(again.principal, ola.principal);
    assert!(ola.principal.suspended, "null is not `no`");
}
