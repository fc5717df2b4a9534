//! Names with `*` for any text.

/// Whether `text` is `pattern`, in which each `*` stands for any text.
pub fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(head) else {
        return false;
    };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, fits) in [
            ("*", "", true),
            ("a*", "abc", true),
            ("*.ts", "x.ts", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abde", false),
            ("a", "ab", false),
            ("*temp", "oil_temp", true),
            ("*temp", "temp_oil", false),
            ("ab*ba", "aba", false),
            ("*x*", "axb", true),
            ("ab*b", "ab", false),
        ] {
            assert_eq!(glob(pattern, text), fits, "{pattern} {text}");
        }
    }
}
