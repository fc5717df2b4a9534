//! Names of streams and channels: what may stand as a topic level.

/// Longest stream or channel name, bytes.
pub const MAX_NAME_BYTES: usize = 200;

/// A name that may stand as a topic level.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_NAME_BYTES
        && !text.contains(['/', '+', '#'])
        && !text.chars().any(|c| c.is_control() || is_invisible(c))
}

/// Characters without a shape of their own that make two names look alike, or turn text around: format
/// characters and separators of lines and paragraphs (Unicode's Cf, Zl, Zp, as far as they occur in text).
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
