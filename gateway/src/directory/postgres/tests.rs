use tokio_postgres::types::Type;

use super::rows::spellings;
use super::shape::Shape;
use crate::postgres::IdKind;
use crate::principal::EmailAddress;

const LEAST: [(&str, &Type); 6] = [
    ("id", &Type::TEXT),
    ("email", &Type::VARCHAR),
    ("phone", &Type::TEXT),
    ("name", &Type::TEXT),
    ("company", &Type::INT4),
    ("company_name", &Type::TEXT),
];

fn spelt(typed: &str) -> Vec<String> {
    spellings(&EmailAddress::parse(typed).unwrap())
}

/// What is wrong with the least columns and these.
fn faults(more: &[(&str, &Type)]) -> Vec<String> {
    let columns = [&LEAST[..], more].concat();
    match Shape::of("select 1", &columns) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.iter().map(|it| it.message().to_owned()).collect(),
    }
}

#[test]
fn an_ascii_address_is_asked_for_in_one_spelling() {
    assert_eq!(spelt(" Kari@FJORD.example"), ["kari@fjord.example"]);
}

#[test]
fn other_letters_are_asked_for_in_every_form_that_a_table_may_hold() {
    let found = spelt("\u{c5}se@BL\u{c5}.example");
    for local in ["\u{c5}se", "A\u{30a}se", "\u{e5}se", "a\u{30a}se"] {
        for domain in [
            "xn--bl-zia.example",
            "bl\u{e5}.example",
            "bla\u{30a}.example",
        ] {
            let expected = format!("{local}@{domain}");
            assert!(found.contains(&expected), "{expected}: {found:?}");
        }
    }
    assert_eq!(found.len(), 12);
}

#[test]
fn the_parameter_takes_the_columns_type_so_that_an_index_serves() {
    let statement = |id: &Type| {
        let mut columns = LEAST;
        columns[0].1 = id;
        let shape = Shape::of("select 1 -- all", &columns).unwrap();
        assert!(
            shape
                .by_email
                .contains("from (\nselect 1 -- all\n) u where")
        );
        shape.by_id.rsplit(" where ").next().unwrap().to_owned()
    };
    assert_eq!(statement(&Type::INT4), "u.id = any(($1::text[])::int8[])");
    assert_eq!(statement(&Type::UUID), "u.id = any(($1::text[])::uuid[])");
    assert_eq!(statement(&Type::VARCHAR), "u.id::text = any($1::text[])");
}

#[test]
fn columns_that_are_missing_unknown_double_or_of_another_type_are_faults() {
    assert!(faults(&[]).is_empty());
    let all = [
        ("login", &Type::TEXT),
        ("roles", &Type::TEXT_ARRAY),
        ("suspended", &Type::BOOL),
    ];
    assert!(faults(&all).is_empty());
    assert_eq!(
        faults(&[("suspendd", &Type::BOOL)]),
        ["`directory.query` has a column `suspendd`, which means nothing"]
    );
    assert_eq!(
        faults(&[
            ("suspended", &Type::INT4),
            ("roles", &Type::BOOL),
            ("id", &Type::TEXT)
        ]),
        [
            "`directory.query` yields `suspended` as `int4`, not as a boolean",
            "`directory.query` yields `roles` as `bool`, not as an array of texts, or a text with commas",
            "`directory.query` has two columns `id`",
        ]
    );
    let few = Shape::of("select 1", &LEAST[..5]).unwrap_err();
    assert_eq!(
        few[0].message(),
        "`directory.query` has no column `company_name`"
    );
}

#[test]
fn what_is_no_identifier_of_the_table_is_not_asked_for() {
    for (kind, good, bad) in [
        (IdKind::Number, "42", "u-kari"),
        (IdKind::Number, "-1", "99999999999999999999"),
        (
            IdKind::Uuid,
            "8c4a2c1e-0d3b-4e57-9a51-5f2e6f0b7d11",
            "8c4a2c1e00d3b04e5709a5105f2e6f0b7d11",
        ),
        (IdKind::Text, "u-kari", "u\0"),
    ] {
        assert!(kind.takes(good), "{kind:?} {good}");
        assert!(!kind.takes(bad), "{kind:?} {bad}");
    }
}
