//! Where to land after a login: a path on this site, and nothing else.

use http::Method;
use http::uri::PathAndQuery;

use crate::target::{Leniency, Target};

/// Longest path to land on, in bytes; it is kept with every challenge.
const MAX_BYTES: usize = 2048;

/// Pages of our own that nobody is to land on.
const NOT_HERE: [&str; 4] = ["/login", "/code", "/resend", "/logout"];

/// The path to land on: `asked` in its normal form if it is a path that the gateway itself would
/// take, `/` otherwise.
pub(super) fn landing(asked: Option<&str>, prefix: &str) -> String {
    asked
        .and_then(|asked| path_here(asked, prefix))
        .unwrap_or_else(|| "/".to_owned())
}

fn path_here(asked: &str, prefix: &str) -> Option<String> {
    // Browsers drop tabs and line feeds from a URL and read `\` as `/` (WHATWG URL, section 4.4).
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\' && byte != b'#';
    if asked.len() > MAX_BYTES || !asked.starts_with('/') || !asked.bytes().all(plain) {
        return None;
    }
    let received = PathAndQuery::try_from(asked).ok()?;
    let target = Target::parse(Method::GET, &received, Leniency::default()).ok()?;
    let own = target.path().strip_prefix(prefix);
    if own.is_some_and(|page| NOT_HERE.contains(&page)) {
        return None;
    }
    Some(target.path_and_query().as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_on_this_site_is_landed_on() {
        for path in [
            "/",
            "/projects/1",
            "/projects/1?tab=tasks&x=%2F",
            "/projects/bl%C3%A5",
            "/.portvakt/account",
            "/?next=https://evil.example",
            "/a@evil.example",
            "/a:b",
        ] {
            assert_eq!(landing(Some(path), "/.portvakt"), path);
        }
        assert_eq!(landing(Some("/%61"), "/.portvakt"), "/a");
    }

    #[test]
    fn anything_else_lands_at_home() {
        for path in [
            "",
            "projects",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/a\\b",
            "https://evil.example",
            "https:evil.example",
            "//evil.example/%2e%2e",
            "javascript:alert(1)",
            "/%2f/evil.example",
            "/%2Fevil.example",
            "/%5cevil.example",
            "/%5Cevil.example",
            "/%252fevil.example",
            "/%09/evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            "\n//evil.example",
            " //evil.example",
            "/ /evil.example",
            "/..//evil.example",
            "/../evil.example",
            "/.//evil.example",
            "/%2e%2e/evil",
            "/;@evil.example",
            "/a#b",
            "/a\0b",
            "/%00",
            "/bl\u{e5}",
            "/\u{2044}evil.example",
            "@evil.example",
            "/.portvakt/login",
            "/.portvakt/login?next=/.portvakt/login",
            "/.portvakt/l%6fgin",
            "/.portvakt/code",
            "/.portvakt/resend",
            "/.portvakt/logout",
            &format!("/{}", "a".repeat(MAX_BYTES)),
        ] {
            assert_eq!(landing(Some(path), "/.portvakt"), "/", "{path:?}");
        }
        assert_eq!(landing(None, "/.portvakt"), "/");
    }
}
