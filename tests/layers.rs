//! The house has floors, and arrows point only down: this test reads `gateway/src` and says which
//! line does otherwise. The floors are those of `ARCHITECTURE.md`.

use std::fs;
use std::io;
use std::path::Path;

/// A room and its floor.
const FLOORS: &[(&str, u8)] = &[
    ("main", 7),
    ("cli", 7),
    ("app", 6),
    ("listener", 5),
    ("login", 5),
    ("admin", 5),
    ("pipeline", 4),
    ("policy", 3),
    ("upstream", 3),
    ("session", 3),
    ("limit", 3),
    ("pages", 3),
    ("store", 2),
    ("directory", 2),
    ("audit", 2),
    ("metrics", 2),
    ("trace", 2),
    ("config", 1),
    ("principal", 0),
    ("clock", 0),
    ("secret", 0),
    ("target", 0),
    ("body", 0),
    ("client", 0),
    ("cookie", 0),
    ("postgres", 0),
];

/// Floors whose rooms may use each other: the small words, and the commands with their `main`.
const OPEN_FLOORS: &[u8] = &[0, 7];

/// A crate, and the only places of `gateway/src` that may name it.
const KEEPERS: &[(&str, &[&str])] = &[
    ("redis", &["store/redis"]),
    ("cedar_policy", &["policy/"]),
    ("cedar_policy_core", &["policy/"]),
    ("quick_xml", &["policy/reading/xml.rs"]),
    ("cedar_policy_symcc", &["policy/"]),
    (
        "tokio_postgres",
        &[
            "postgres/",
            "directory/postgres",
            "config/resolve/database.rs",
            "config/tests_directory.rs",
        ],
    ),
    ("deadpool_postgres", &["postgres/", "directory/postgres"]),
    // The commands' client is a peer of its own: it speaks HTTP over a Unix socket. Codes leave by
    // one request to an SMS provider, whose wire must know whether it may have been read: hyper says
    // so, a client above it does not.
    (
        "hyper",
        &[
            "upstream/",
            "listener/",
            "body.rs",
            "admin/client.rs",
            "login/delivery/wire.rs",
            "trace/export.rs",
        ],
    ),
    (
        "hyper_util",
        &[
            "upstream/",
            "listener/",
            "admin/client.rs",
            "login/delivery/wire.rs",
            "trace/export.rs",
        ],
    ),
    ("lettre", &["login/delivery/smtp.rs"]),
    ("rustls_native_certs", &["login/delivery/wire.rs"]),
];

/// The most lines that a file may have without saying why.
const LONGEST: usize = 500;

/// What a longer file says in its first twenty lines.
const EXCUSE: &str = "This file is long because";

#[test]
fn arrows_point_only_down() {
    let files = sources().unwrap();
    assert!(files.len() > 5, "gateway/src was not found");
    let faults: Vec<String> = files.iter().flat_map(arrows_not_down).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn a_crate_is_named_only_where_it_is_kept() {
    let files = sources().unwrap();
    let faults: Vec<String> = files.iter().flat_map(strangers).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn a_long_file_says_why() {
    let files = sources().unwrap();
    let faults: Vec<String> = files.iter().filter_map(too_long).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// A file of `gateway/src`.
struct Source {
    /// Relative to `gateway/src`, with `/`.
    path: String,
    text: String,
}

impl Source {
    /// Its path without `.rs` and `mod`, in segments: those of its module.
    fn module(&self) -> Vec<&str> {
        self.path
            .trim_end_matches(".rs")
            .split('/')
            .filter(|segment| *segment != "mod")
            .collect()
    }

    /// Its lines of code, numbered from 1, without comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(at, line)| {
            let code = line.split_once("//").map_or(line, |(code, _)| code);
            (at + 1, code)
        })
    }
}

fn sources() -> io::Result<Vec<Source>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("gateway/src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(&root).map_err(io::Error::other)?;
                found.push(Source {
                    path: relative.to_string_lossy().replace('\\', "/"),
                    text: fs::read_to_string(&path)?,
                });
            }
        }
    }
    Ok(found)
}

fn floor(room: &str) -> Option<u8> {
    FLOORS
        .iter()
        .find(|(name, _)| *name == room)
        .map(|(_, floor)| *floor)
}

/// What is wrong with the rooms that a file knows.
fn arrows_not_down(source: &Source) -> Vec<String> {
    let module = source.module();
    let Some(own) = module.first().copied() else {
        return Vec::new();
    };
    // The map names every room, and knows none.
    if own == "lib" {
        return Vec::new();
    }
    let Some(own_floor) = floor(own) else {
        return vec![format!(
            "{}: the room `{own}` has no floor; give it one in tests/layers.rs and ARCHITECTURE.md",
            source.path
        )];
    };
    known_rooms(source, &module)
        .into_iter()
        .filter(|(_, room)| room != own)
        .filter_map(|(line, room)| {
            let allowed = match floor(&room) {
                Some(other) => {
                    other < own_floor || (other == own_floor && OPEN_FLOORS.contains(&other))
                }
                None => false,
            };
            let place = format!("{}:{line}", source.path);
            (!allowed).then(|| match floor(&room) {
                Some(other) => format!(
                    "{place}: `{own}` (floor {own_floor}) knows `{room}` (floor {other}); arrows point only down"
                ),
                None => format!("{place}: `{room}` is no room with a floor"),
            })
        })
        .collect()
}

/// The rooms that a file names, with the line: by `crate::` and, in `main.rs`, `portvakt::`, in
/// `use` lines and elsewhere, and by as many `super::` as lead to the top.
fn known_rooms(source: &Source, module: &[&str]) -> Vec<(usize, String)> {
    let mut rooms = Vec::new();
    // `super` counts from the module that the line stands in; rustfmt puts the head and the end of
    // an inline module at the start of a line.
    let mut inline = 0;
    let text: Vec<(usize, &str)> = source.code().collect();
    let mut rest = text.as_slice();
    while let Some(((number, line), later)) = rest.split_first() {
        if line.trim_end().ends_with('{') && is_inline_module(line) {
            inline = 1;
        } else if *line == "}" {
            inline = 0;
        }
        let to_the_top = "super::".repeat(module.len() + inline);
        let mut starts = vec!["crate::", to_the_top.as_str()];
        if module == ["main"] {
            starts.push("portvakt::");
        }
        for start in starts {
            for after in after_each(line, start) {
                if let Some(group) = after.strip_prefix('{') {
                    let mut whole = group.to_owned();
                    for (_, line) in later {
                        whole.push('\n');
                        whole.push_str(line);
                    }
                    rooms.extend(group_heads(&whole).into_iter().map(|room| (*number, room)));
                } else {
                    rooms.extend(word(after).map(|room| (*number, room)));
                }
            }
        }
        rest = later;
    }
    // `crate::Item`, `crate::macro!`: what stands in lib.rs is no room.
    rooms.retain(|(_, room)| room.starts_with(|first: char| first.is_ascii_lowercase()));
    rooms
}

fn is_inline_module(line: &str) -> bool {
    ["mod ", "pub mod ", "pub(crate) mod ", "pub(super) mod "]
        .iter()
        .any(|head| line.starts_with(head))
}

/// What follows each place where a path starts with `start`.
fn after_each<'a>(line: &'a str, start: &str) -> Vec<&'a str> {
    line.match_indices(start)
        .filter(|(at, _)| {
            let before = line.get(..*at).unwrap_or_default();
            !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
        })
        .filter_map(|(at, start)| line.get(at + start.len()..))
        .collect()
}

/// The first words of the members of a group, whose opening brace has been read.
fn group_heads(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let mut depth = 0;
    let mut at_member = true;
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_member = true,
            _ if at_member && !character.is_whitespace() => {
                heads.extend(group.get(at..).and_then(word));
                at_member = false;
            }
            _ => {}
        }
    }
    heads
}

/// The identifier at the start of `text`.
fn word(text: &str) -> Option<String> {
    let word: String = text
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    (!word.is_empty()).then_some(word)
}

/// The crates that a file names and is not the place for.
fn strangers(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    for (keeper, places) in KEEPERS {
        if places.iter().any(|place| source.path.starts_with(place)) {
            continue;
        }
        for (number, line) in source.code() {
            let named = !after_each(line, &format!("{keeper}::")).is_empty()
                || line.trim_start().starts_with(&format!("use {keeper};"))
                || line.trim_start().starts_with(&format!("use {keeper} "));
            if named {
                faults.push(format!(
                    "{}:{number}: `{keeper}` is named only in {}",
                    source.path,
                    places.join(", ")
                ));
            }
        }
    }
    faults
}

/// A file that is long and does not say why.
fn too_long(source: &Source) -> Option<String> {
    let lines = source.text.lines().count();
    let excused = source
        .text
        .lines()
        .take(20)
        .any(|line| line.contains(EXCUSE));
    (lines > LONGEST && !excused).then(|| {
        format!(
            "{}: {lines} lines; look for what wants to be a room of its own, or say in the head `{EXCUSE} …`",
            source.path
        )
    })
}

/// The test can fail: each rule, broken on purpose.
mod can_fail {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    /// The lines at which `text` at `path` breaks the floors.
    fn broken(path: &str, text: &str) -> Vec<String> {
        arrows_not_down(&source(path, text))
            .iter()
            .filter_map(|fault| fault.split(": ").next())
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn an_arrow_that_points_up_or_aside_is_found() {
        for (path, text) in [
            ("store/mod.rs", "use crate::session::Sessions;"),
            ("store/mod.rs", "use crate::directory::Directory;"),
            ("policy/facts.rs", "use crate::upstream;"),
            ("login/flow.rs", "pub use crate::admin::Outbox as Box;"),
            ("login/flow.rs", "    let x = crate::listener::accept();"),
            ("clock.rs", "fn f(c: &crate::config::Config) {}"),
            ("pipeline/mod.rs", "use crate::{config::Config, app::App};"),
            ("app.rs", "use crate::cli;"),
            ("store/mod.rs", "use super::session::Sessions;"),
            ("store/embedded/log.rs", "use super::super::super::login;"),
            ("clock.rs", "use super::store;"),
            ("config/mod.rs", "use crate::nowhere::Thing;"),
        ] {
            assert_eq!(broken(path, text), [format!("{path}:1")], "{text}");
        }
    }

    #[test]
    fn a_group_is_read_over_several_lines() {
        let text = "use crate::{\n    config::{Config, store},\n    pipeline,\n    session::{self, Sessions},\n};\nuse crate::login::X;\n";
        assert_eq!(
            broken("store/mod.rs", text),
            ["store/mod.rs:1", "store/mod.rs:1", "store/mod.rs:6"]
        );
    }

    #[test]
    fn an_arrow_that_points_down_or_stays_at_home_is_fine() {
        for (path, text) in [
            ("main.rs", "use portvakt::cli;\nuse portvakt::app;"),
            ("app.rs", "use crate::{login::Login, listener, store};"),
            (
                "login/flow.rs",
                "use crate::login::pages;\nuse crate::store;",
            ),
            ("client.rs", "use crate::secret;"),
            (
                "store/embedded.rs",
                "use super::Store;\nuse super::session;",
            ),
            ("store/mod.rs", "mod tests {\n    use super::session;\n}"),
            (
                "store/mod.rs",
                "// as `crate::login` does\n/// [`crate::app`]",
            ),
            ("store/mod.rs", "pub(crate) fn f() {}\nuse crate::VERSION;"),
            ("lib.rs", "pub use crate::login::Login;"),
        ] {
            assert_eq!(broken(path, text), [""; 0], "{path}: {text}");
        }
    }

    #[test]
    fn a_super_after_an_inline_module_counts_from_the_file_again() {
        let text = "mod a {\n    use super::login;\n}\nuse super::login;\n";
        assert_eq!(broken("store/mod.rs", text), ["store/mod.rs:4"]);
    }

    #[test]
    fn a_room_without_a_floor_is_found() {
        assert_eq!(broken("attic/mod.rs", ""), ["attic/mod.rs"]);
    }

    #[test]
    fn a_crate_out_of_its_place_is_found() {
        for (path, text) in [
            ("session/mod.rs", "use redis::Client;"),
            ("store/mod.rs", "    let c = redis::Client::open(url);"),
            ("pipeline/authorise.rs", "use cedar_policy::Policy;"),
            ("pipeline/mod.rs", "use hyper::body::Incoming;"),
            ("admin/mod.rs", "use hyper_util::rt::TokioIo;"),
            ("login/mod.rs", "use hyper as h;"),
        ] {
            assert_eq!(strangers(&source(path, text)).len(), 1, "{path}: {text}");
        }
        for (path, text) in [
            ("store/redis.rs", "use redis::Client;"),
            ("store/redis/scripts.rs", "use redis::Script;"),
            ("policy/facts.rs", "use cedar_policy::Entity;"),
            (
                "upstream/pool.rs",
                "use hyper::client;\nuse hyper_util::rt;",
            ),
            ("body.rs", "use hyper::body::Incoming;"),
            ("login/mod.rs", "// unlike hyper::Body\nuse my_hyper::x;"),
            ("config/mod.rs", "let kind = \"redis\";\nuse x::hyper::y;"),
        ] {
            assert!(strangers(&source(path, text)).is_empty(), "{path}: {text}");
        }
    }

    #[test]
    fn a_long_file_without_a_reason_is_found() {
        let long = "x\n".repeat(LONGEST + 1);
        assert!(too_long(&source("a.rs", &long)).is_some());
        assert!(too_long(&source("a.rs", &"x\n".repeat(LONGEST))).is_none());
        let excused = format!("//! {EXCUSE} it is a table.\n{long}");
        assert!(too_long(&source("a.rs", &excused)).is_none());
        let late = format!("{}//! {EXCUSE} it is a table.\n{long}", "x\n".repeat(20));
        assert!(too_long(&source("a.rs", &late)).is_some());
    }
}
