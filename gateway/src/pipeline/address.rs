//! Addresses in header fields: an absolute URL, and whose it is.

/// An absolute URL over HTTP, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Absolute<'a> {
    /// Lower case, without the scheme's own port and without a trailing dot.
    pub(super) authority: String,
    /// Path, query and fragment; begins with `/`, `?` or `#`, or is empty.
    pub(super) rest: &'a str,
}

impl<'a> Absolute<'a> {
    /// Reads `http://…`, `https://…` or `//…`; `None` for anything else, and for a URL with a
    /// user's name in it, which is no address of ours.
    pub(super) fn read(url: &'a str) -> Option<Self> {
        let url = url.trim();
        let (scheme, rest) = url.split_once("//")?;
        let port = match scheme.to_ascii_lowercase().as_str() {
            "http:" => ":80",
            "https:" => ":443",
            "" => "",
            _ => return None,
        };
        let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at_checked(end)?;
        if authority.is_empty() || authority.contains('@') {
            return None;
        }
        let lower = authority.to_ascii_lowercase();
        let bare = if port.is_empty() {
            &lower
        } else {
            lower.strip_suffix(port).unwrap_or(&lower)
        };
        Some(Self {
            authority: without_dot(bare),
            rest,
        })
    }

    /// Whether it is at this authority.
    pub(super) fn is_at(&self, authority: &str) -> bool {
        let own = authority.to_ascii_lowercase();
        let bare = own.strip_suffix(":443").or(own.strip_suffix(":80"));
        self.authority == without_dot(bare.unwrap_or(&own))
    }
}

/// `host.:80` is `host:80`.
fn without_dot(authority: &str) -> String {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            format!("{}:{port}", host.strip_suffix('.').unwrap_or(host))
        }
        _ => authority.strip_suffix('.').unwrap_or(authority).to_owned(),
    }
}

/// The value of a `Refresh` field with its URL rewritten; `None` if there is nothing to rewrite.
pub(super) fn refresh(text: &str, rewrite: impl FnOnce(&str) -> Option<String>) -> Option<String> {
    let at = text.to_ascii_lowercase().find("url")?;
    let (before, rest) = text.split_at_checked(at)?;
    let url = rest.get(3..)?.trim_start().strip_prefix('=')?.trim();
    let url = url.trim_matches(['"', '\'']);
    Some(format!("{before}url={}", rewrite(url)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absolute_url_is_taken_apart() {
        for (url, authority, rest) in [
            ("http://127.0.0.1:3000/x?y#z", "127.0.0.1:3000", "/x?y#z"),
            ("HTTPS://App.Internal.:443", "app.internal", ""),
            ("http://app:80?x", "app", "?x"),
            ("https://app:80/", "app:80", "/"),
            ("//app:3000/x", "app:3000", "/x"),
            ("http://[::1]:3000/", "[::1]:3000", "/"),
            ("http://[::1]/", "[::1]", "/"),
        ] {
            let read = Absolute::read(url).unwrap();
            assert_eq!(
                (read.authority.as_str(), read.rest),
                (authority, rest),
                "{url}"
            );
        }
        for url in [
            "/x",
            "x",
            "ftp://a/",
            "http:///x",
            "http://u@a/",
            "mailto:a//b",
            "",
        ] {
            assert_eq!(Absolute::read(url), None, "{url}");
        }
    }

    #[test]
    fn a_refresh_keeps_its_time() {
        let all = |url: &str| Some(format!("<{url}>"));
        assert_eq!(
            refresh("5; URL=\"http://a/\"", all).unwrap(),
            "5; url=<http://a/>"
        );
        assert_eq!(
            refresh("0;url = http://a/", all).unwrap(),
            "0;url=<http://a/>"
        );
        assert_eq!(refresh("5", all), None);
    }
}
