use super::*;
use crate::principal::Company;

const GOOD: &str = r#"
[[company]]
id = "fjord"
name = "Fjord AS"

[[company]]
id = "tinde"
name = "Tinde AS"

[[user]]
id = "u-kari"
email = "Kari@FJORD.example"
phone = "+4790000001"
name = "Kari Nordmann"
company = "fjord"

[[user]]
id = "u-ola"
email = "ola@fjord.example"
phone = "+4790000002"
name = "Ola Nordmann"
company = "fjord"
login = "ola"
roles = ["editor", "auditor"]
suspended = true
"#;

struct Written {
    folder: tempfile::TempDir,
}

impl Written {
    fn new(text: &str) -> Self {
        let written = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        written.rewrite(text);
        written
    }

    fn rewrite(&self, text: &str) {
        std::fs::write(self.path(), text).unwrap();
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("directory.toml")
    }

    fn load(&self) -> FileDirectory {
        FileDirectory::load(&self.path()).unwrap()
    }
}

/// The faults of a text, each as `line:column: message`.
fn faults(text: &str) -> Vec<String> {
    let written = Written::new(text);
    let path = written.path().display().to_string();
    FileDirectory::load(&written.path())
        .unwrap_err()
        .iter()
        .map(|fault| {
            let place = fault.location().unwrap();
            let place = place.strip_prefix(&path).unwrap();
            let message = fault.message().replace(&path, "");
            format!("{}: {message}", place.strip_prefix(':').unwrap())
        })
        .collect()
}

fn email(text: &str) -> EmailAddress {
    EmailAddress::parse(text).unwrap()
}

#[tokio::test]
async fn everybody_is_found_by_address_and_by_id() {
    let directory = Written::new(GOOD).load();
    let kari = directory.by_email(&email("kari@fjord.example")).await;
    let kari = kari.unwrap().unwrap();
    let fjord = Company {
        id: "fjord".into(),
        name: "Fjord AS".into(),
    };
    assert_eq!(kari.principal.id.as_str(), "u-kari");
    assert_eq!(*kari.principal.company, fjord);
    assert_eq!(&*kari.principal.name, "Kari Nordmann");
    assert_eq!(&*kari.principal.login, "kari@fjord.example");
    assert_eq!(kari.phone.as_e164(), "+4790000001");
    assert!(kari.principal.roles.is_empty() && !kari.principal.suspended);

    let ola = directory.by_id(&"u-ola".into()).await.unwrap().unwrap();
    assert_eq!(&*ola.principal.login, "ola");
    assert_eq!(
        ola.principal.roles,
        [Arc::from("editor"), Arc::from("auditor")]
    );
    assert!(ola.principal.suspended, "found all the same");
    assert!(Arc::ptr_eq(&ola.principal.company, &kari.principal.company));

    let nobody = directory.by_email(&email("nils@tinde.example")).await;
    assert!(nobody.unwrap().is_none());
    assert!(directory.by_id(&"U-KARI".into()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_reload_that_fails_leaves_the_last_good_in_force() {
    let written = Written::new(GOOD);
    let directory = written.load();
    let (first, kari) = (directory.generation(), UserId::from("u-kari"));

    written.rewrite("[[user]]\nid = 1\n");
    assert!(directory.reload().is_err());
    std::fs::remove_file(written.path()).unwrap();
    assert!(directory.reload().is_err());
    assert_eq!(directory.generation(), first);
    assert!(directory.by_id(&kari).await.unwrap().is_some());

    written.rewrite(&GOOD.replace("u-kari", "u-kari-2"));
    directory.reload().unwrap();
    assert_ne!(directory.generation(), first);
    assert!(directory.by_id(&kari).await.unwrap().is_none());
    let renamed = directory.by_email(&email("kari@fjord.example")).await;
    assert_eq!(renamed.unwrap().unwrap().principal.id.as_str(), "u-kari-2");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let faults = FileDirectory::load(Path::new("/nowhere/directory.toml")).unwrap_err();
    assert!(faults[0].message().contains("`/nowhere/directory.toml`"));
}

#[test]
fn every_fault_is_shown_at_once_in_the_order_of_the_text() {
    let text = r#"companies = 1
[[company]]
id = "fj ord"
name = ""
[[company]]
id = "tinde"
name = "Tinde AS"
colour = "red"
[[user]]
id = "å"
email = "a@x@y.example"
phone = "90000001"
name = "Kari\nNordmann"
company = "fjell"
login = ""
roles = ["a,b", 7]
suspended = "no"
[[user]]
phone = 4790000001
"#;
    assert_eq!(
        faults(text),
        [
            "1:1: the directory has no key `companies`",
            "3:6: `fj ord` cannot be a company id",
            "4:8: `` cannot be a name",
            "8:1: company has no key `colour`",
            "10:6: `å` cannot be a user id",
            "11:9: `a@x@y.example` is no e-mail address: an e-mail address has exactly one `@`",
            "12:9: `90000001` is no telephone number",
            r"13:8: `Kari\nNordmann` cannot be a name",
            "14:11: there is no company `fjell`",
            "15:9: `` cannot be a login",
            "16:10: `a,b` cannot be a role",
            "16:17: `roles` is a list of texts, not integer",
            "17:13: `suspended` is true or false, not string",
            "18:1: this user has no `id`",
            "18:1: this user has no `email`",
            "18:1: this user has no `name`",
            "18:1: this user has no `company`",
            "19:9: `phone` is a text, not integer",
        ]
    );
}

#[test]
fn whatever_must_be_unique_names_both_places() {
    let user = |id: &str, email: &str, more: &str| {
        format!(
            "[[user]]\nid = \"{id}\"\nemail = \"{email}\"\n{more}\n\
             phone = \"+4790000001\"\nname = \"N\"\ncompany = \"fjord\"\n"
        )
    };
    let text = [
        "[[company]]\nid = \"fjord\"\nname = \"A\"\n".to_owned(),
        "[[company]]\nid = \"fjord\"\nname = \"B\"\n".to_owned(),
        user("u-1", "kari@fjord.example", "login = \"kari\""),
        user("u-1", "ola@fjord.example", ""),
        user("u-3", "KARI@fjord.example", ""),
        user("u-4", "nils@fjord.example", "login = \"Kari\""),
        user("u-5", "eva@fjord.example", "login = \"ola@fjord.example\""),
    ]
    .concat();
    assert_eq!(
        faults(&text),
        [
            "5:6: company id `fjord` is taken, at :2:6",
            "15:6: user id `u-1` is taken, at :8:6",
            "23:9: e-mail address `kari@fjord.example` is taken, at :9:9",
            "31:9: login `Kari` is taken, at :10:9",
            "38:9: login `ola@fjord.example` is taken, at :16:9",
        ]
    );
}

#[test]
fn broken_toml_is_shown_where_it_breaks() {
    let broken = faults("[[company]]\nid = \"fjord\nname = \"Fjord AS\"\n[[user]\nid = 1\n");
    assert!(broken.len() >= 2, "{broken:?}");
    assert!(broken[0].starts_with("2:"), "{broken:?}");
}

#[test]
fn an_entry_that_is_no_table_of_a_list_is_refused() {
    let wanted = "each user is written as [[user]]";
    assert_eq!(faults("user = 1\n"), [format!("1:8: {wanted}")]);
    assert_eq!(faults("user = [1]\n"), [format!("1:9: {wanted}")]);
    assert_eq!(faults("[user]\nid = \"u\"\n"), [format!("1:1: {wanted}")]);
}

#[test]
fn an_identifier_fits_a_header() {
    let with_id = |id: &str| GOOD.replace("u-kari", id);
    for good in ["u", "7", "auth0|5f7", &"u".repeat(64)] {
        Written::new(&with_id(good)).load();
    }
    for bad in ["", "u kari", r"u\tkari", "kåri", &"u".repeat(65)] {
        assert_eq!(faults(&with_id(bad)).len(), 1, "{bad:?}");
    }
}

#[test]
fn what_is_shown_for_debugging_names_nobody() {
    let shown = format!("{:?}", Written::new(GOOD).load());
    assert!(!shown.contains("kari") && !shown.contains("+47"), "{shown}");
}
