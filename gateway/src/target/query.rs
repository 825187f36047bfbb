//! Query fields that shall not pass: found under every spelling that some reader takes for the
//! same name.

use super::Triplet;

/// How often a name is decoded: more than any chain of proxies and frameworks does.
const ROUNDS: usize = 4;

/// A field's name as the most lenient reader takes it: decoded, without case, cut where an index
/// (`key[]`) or a NUL begins, with `.` and blanks as `_`, which is how PHP reads them.
#[must_use]
pub fn folded(name: &[u8]) -> String {
    let mut name: Vec<u8> = name.to_vec();
    for _ in 0..ROUNDS {
        let Some(decoded) = decoded(&name) else { break };
        name = decoded;
    }
    let end = name.iter().position(|b| matches!(b, 0 | b'['));
    let name = name.get(..end.unwrap_or(name.len())).unwrap_or_default();
    let fold = |byte: &u8| match byte {
        b'.' | b' ' => '_',
        byte => char::from(byte.to_ascii_lowercase()),
    };
    name.trim_ascii().iter().map(fold).collect()
}

/// The query without the fields of these (folded) names; `None` if it has none of them. `;`
/// divides fields as `&` does, since some readers take it so.
#[must_use]
pub fn without(query: &str, names: &[String]) -> Option<String> {
    let mut kept = String::with_capacity(query.len());
    let mut removed = false;
    let mut any = false;
    let mut start = 0;
    for field in query.split_inclusive(['&', ';']) {
        let end = start + field.len();
        let bare = field.trim_end_matches(['&', ';']);
        let name = bare.split('=').next().unwrap_or_default();
        let folded = folded(name.as_bytes());
        if names.contains(&folded) {
            removed = true;
        } else {
            if any {
                // The divider that stood before this field.
                let before = start.checked_sub(1).and_then(|at| query.get(at..start));
                kept.push_str(before.unwrap_or("&"));
            }
            kept.push_str(bare);
            any = true;
        }
        start = end;
    }
    removed.then_some(kept)
}

/// One round of decoding, with `+` as a blank and IIS's `%uXXXX`; `None` if nothing was encoded.
fn decoded(name: &[u8]) -> Option<Vec<u8>> {
    if !name.iter().any(|b| matches!(b, b'%' | b'+')) {
        return None;
    }
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' => out.push(b' '),
            b'%' => match wide(after) {
                Some(letter) => {
                    let mut utf8 = [0; 4];
                    out.extend_from_slice(letter.encode_utf8(&mut utf8).as_bytes());
                    rest = after.get(5..).unwrap_or_default();
                }
                None => match Triplet::read(after) {
                    Ok(triplet) => {
                        out.push(triplet.value);
                        rest = after.get(2..).unwrap_or_default();
                    }
                    Err(_) => out.push(byte),
                },
            },
            byte => out.push(byte),
        }
    }
    (out != name).then_some(out)
}

/// What follows the `%` of a `%uXXXX`.
fn wide(after: &[u8]) -> Option<char> {
    let digits = after.strip_prefix(b"u").or(after.strip_prefix(b"U"))?;
    let digits = std::str::from_utf8(digits.get(..4)?).ok()?;
    char::from_u32(u32::from_str_radix(digits, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(query: &str) -> Option<String> {
        without(query, &["key".to_owned(), "access_token".to_owned()])
    }

    #[test]
    fn every_spelling_of_a_credential_goes() {
        for evil in [
            "key=x",
            "key",
            "key=",
            "KEY=x",
            "%6bey=x",
            "%6Be%79=x",
            "k%65%79=x",
            "%256bey=x",
            "%25256bey=x",
            "%u006bey=x",
            "key[]=x",
            "key[0]=x",
            "key%5b%5d=x",
            "key%00=x",
            "+key=x",
            "%20key=x",
            "key+=x",
            "%09key=x",
            "key=x&key=y",
            "key=x;key=y",
            "access_token=x",
            "access.token=x",
            "access%2etoken=x",
            "access+token=x",
            "key=a=b",
        ] {
            assert_eq!(stripped(evil).as_deref(), Some(""), "{evil}");
            let between = format!("a=1&{evil}&b=2");
            assert_eq!(stripped(&between).as_deref(), Some("a=1&b=2"), "{evil}");
            let after = format!("a=1;{evil}");
            assert_eq!(stripped(&after).as_deref(), Some("a=1"), "{evil}");
        }
    }

    #[test]
    fn what_is_no_credential_is_left_as_it_came() {
        for query in [
            "",
            "a=1",
            "keys=1",
            "a=key",
            "monkey=1",
            "a=%6bey&b",
            "%zz=1",
            "&&",
            "x[key]=1",
        ] {
            assert_eq!(stripped(query), None, "{query}");
        }
        assert_eq!(
            stripped("a=%20&key=1&&b=%zz").as_deref(),
            Some("a=%20&&b=%zz")
        );
    }
}
