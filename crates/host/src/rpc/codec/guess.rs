//! Which call a line was meant to answer that is too long or too deep to be parsed: its caller need not wait in vain.

/// The id in an answer that begins like this, if nothing before it is nested and it is written as the host writes ids. The
/// line may turn out to be anything, so this is only good for ending a call with an error.
pub(crate) fn guess_answer(start: &[u8]) -> Option<u64> {
    let mut rest = start.trim_ascii_start().strip_prefix(b"{")?;
    loop {
        let (name, after) = text(rest.trim_ascii_start())?;
        let value = after.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        match name {
            b"id" => return number(value),
            // What has a method is no answer.
            b"method" => return None,
            _ => {}
        }
        let after = match value.first()? {
            b'"' => text(value)?.1,
            b'{' | b'[' => return None,
            _ => value.get(value.iter().position(|byte| *byte == b',')?..)?,
        };
        rest = after.trim_ascii_start().strip_prefix(b",")?;
    }
}

/// A text without escapes and what follows it.
fn text(from: &[u8]) -> Option<(&[u8], &[u8])> {
    let inside = from.strip_prefix(b"\"")?;
    let end = inside.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    let (text, after) = inside.split_at_checked(end)?;
    Some((text, after.strip_prefix(b"\"")?))
}

fn number(from: &[u8]) -> Option<u64> {
    let end = from.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, after) = from.split_at_checked(end)?;
    let is_whole = matches!(after.trim_ascii_start().first(), Some(b',' | b'}'));
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|_| is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_found_where_it_is_beyond_doubt() {
        for (start, id) in [
            (r#"{"jsonrpc":"2.0","id":7,"result":[[[["#, Some(7)),
            (r#" { "id" : 7 , "result":"#, Some(7)),
            (r#"{"jsonrpc":"2.0","x":null,"id":7}"#, Some(7)),
            (r#"{"id":7"#, None),
            (r#"{"id":7.5,"#, None),
            (r#"{"id":"7","#, None),
            (r#"{"id":-7,"#, None),
            (r#"{"method":"log","id":7,"#, None),
            (r#"{"result":[1,"id",7],"id":8,"#, None),
            (r#"{"a\"":1,"id":7,"#, None),
            ("", None),
            ("[", None),
        ] {
            assert_eq!(guess_answer(start.as_bytes()), id, "{start}");
        }
    }
}
