//! A JSON document as a tree that borrows its texts, and pointers into it.
//!
//! Members keep their order. The other readers (line protocol, separated text, SenML, Sparkplug)
//! build the same tree, so that one mapping serves them all.

use std::borrow::Cow;
use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::{Reject, believable, number};

/// A value of a document.
#[derive(Clone, Debug, PartialEq)]
pub enum Node<'a> {
    /// null.
    Null,
    /// true or false.
    Bool(bool),
    /// A whole number.
    Whole(i64),
    /// Any other number.
    Number(f64),
    /// A text.
    Text(Cow<'a, str>),
    /// An array.
    Array(Vec<Node<'a>>),
    /// An object, in the document's order.
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

impl<'a> Node<'a> {
    /// A member of an object (the last of its name) or an element of an array.
    pub fn get(&self, token: &str) -> Option<&Node<'a>> {
        match self {
            Node::Object(members) => {
                let mut found = members.iter().rev();
                found.find(|(name, _)| name == token).map(|(_, node)| node)
            }
            Node::Array(items) => {
                // As in RFC 6901: no sign, no leading zero.
                let plain = token == "0" || !token.starts_with(['0', '+']);
                plain.then(|| items.get(token.parse::<usize>().ok()?))?
            }
            _ => None,
        }
    }

    /// The node that a pointer names.
    pub fn at(&self, pointer: &Pointer) -> Option<&Node<'a>> {
        pointer
            .tokens
            .iter()
            .try_fold(self, |node, token| node.get(token))
    }

    /// Neither an array nor an object.
    pub fn is_scalar(&self) -> bool {
        !matches!(self, Node::Array(_) | Node::Object(_))
    }

    /// As a measurement: a number, a boolean (0 or 1), or a text that is a number.
    ///
    /// # Errors
    /// Why it is none.
    #[expect(clippy::cast_precision_loss, reason = "measurements are f64")]
    pub fn measurement(&self, lenient: bool) -> Result<f64, Reject> {
        match self {
            Node::Null => Err(Reject::NoValue),
            Node::Bool(x) => Ok(f64::from(u8::from(*x))),
            Node::Whole(n) => believable(*n as f64),
            Node::Number(x) => believable(*x),
            Node::Text(text) => number::parse(text.trim(), lenient),
            Node::Array(_) | Node::Object(_) => Err(Reject::Malformed),
        }
    }

    /// Appends a scalar as it stands in a name. False where it is none.
    pub fn write(&self, out: &mut String) -> bool {
        use std::fmt::Write;
        // Writing to a string cannot fail.
        match self {
            Node::Bool(x) => out.push_str(if *x { "true" } else { "false" }),
            Node::Whole(n) => {
                let _ = write!(out, "{n}");
            }
            Node::Number(x) => {
                let _ = write!(out, "{x}");
            }
            Node::Text(text) => out.push_str(text),
            Node::Null | Node::Array(_) | Node::Object(_) => return false,
        }
        true
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Node<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node<'a>, D::Error> {
        let seed = NodeSeed {
            with_contents: true,
        };
        seed.deserialize(deserializer)
    }
}

/// Reads a value of a document.
pub(super) struct NodeSeed {
    /// Arrays and objects come with what is in them, else empty.
    with_contents: bool,
}

impl NodeSeed {
    /// Skips the contents of arrays and objects without building them.
    pub(super) const WITHOUT_CONTENTS: NodeSeed = NodeSeed {
        with_contents: false,
    };
}

impl<'de> DeserializeSeed<'de> for NodeSeed {
    type Value = Node<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NodeSeed {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node<'de>, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, x: bool) -> Result<Node<'de>, E> {
        Ok(Node::Bool(x))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Node<'de>, E> {
        Ok(Node::Whole(n))
    }

    #[expect(clippy::cast_precision_loss, reason = "measurements are f64")]
    fn visit_u64<E>(self, n: u64) -> Result<Node<'de>, E> {
        Ok(i64::try_from(n).map_or(Node::Number(n as f64), Node::Whole))
    }

    fn visit_f64<E>(self, x: f64) -> Result<Node<'de>, E> {
        Ok(Node::Number(x))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node<'de>, A::Error> {
        let mut items = Vec::new();
        if !self.with_contents {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Node::Array(items));
        }
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node<'de>, A::Error> {
        if !self.with_contents {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Node::Object(Vec::new()));
        }
        let mut members = Vec::with_capacity(8);
        while let Some(Name(name)) = map.next_key()? {
            members.push((name, map.next_value()?));
        }
        Ok(Node::Object(members))
    }
}

/// A member's name, borrowed where it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Name<'a>, D::Error> {
        struct AnyName;
        impl<'de> Visitor<'de> for AnyName {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(AnyName)
    }
}

/// A JSON pointer (RFC 6901), checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pointer {
    tokens: Vec<String>,
}

impl Pointer {
    /// A pointer such as `/value` or `/data/0/v`; the empty pointer is the document itself.
    ///
    /// # Errors
    /// The allowed form, where `text` is no pointer.
    pub fn new(text: &str) -> Result<Pointer, String> {
        let allowed = || "a JSON pointer such as /value or /data/0/v".to_owned();
        let Some(rest) = text.strip_prefix('/') else {
            return match text.is_empty() {
                true => Ok(Pointer::default()),
                false => Err(allowed()),
            };
        };
        let mut escapes = text.split('~').skip(1);
        if escapes.any(|after| !after.starts_with(['0', '1'])) {
            return Err(allowed());
        }
        let tokens = rest
            .split('/')
            .map(|token| token.replace("~1", "/").replace("~0", "~"));
        Ok(Pointer {
            tokens: tokens.collect(),
        })
    }

    /// The pointer names the document itself.
    pub fn is_root(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The member's name where the pointer names a member of the root.
    pub(super) fn member(&self) -> Option<&str> {
        match self.tokens.as_slice() {
            [token] => Some(token),
            _ => None,
        }
    }

    /// The names and indices on the way.
    pub(super) fn tokens(&self) -> impl Iterator<Item = &str> {
        self.tokens.iter().map(String::as_str)
    }

    /// The last name on the way.
    pub fn last(&self) -> Option<&str> {
        self.tokens.last().map(String::as_str)
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for token in &self.tokens {
            write!(f, "/{}", token.replace('~', "~0").replace('/', "~1"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_keeps_its_order_and_borrows_its_texts() {
        let text = r#"{"b":1,"a":[true,null,2.5,"x","y\n"],"b":-3}"#;
        let node: Node<'_> = serde_json::from_str(text).unwrap();
        let at = |pointer| node.at(&Pointer::new(pointer).unwrap());
        assert_eq!(at("/b"), Some(&Node::Whole(-3)));
        assert_eq!(at("/a/2"), Some(&Node::Number(2.5)));
        assert!(matches!(at("/a/3"), Some(Node::Text(Cow::Borrowed("x")))));
        assert!(matches!(at("/a/4"), Some(Node::Text(Cow::Owned(_)))));
        assert_eq!((at("/a/02"), at("/a/9"), at("/c")), (None, None, None));
        assert_eq!(at(""), Some(&node));
    }

    #[test]
    fn escaped_member_names_are_understood() {
        let node: Node<'_> = serde_json::from_str(r#"{"a/b~c":7}"#).unwrap();
        let pointer = Pointer::new("/a~1b~0c").unwrap();
        assert_eq!(node.at(&pointer), Some(&Node::Whole(7)));
        assert!(Pointer::new("value").is_err());
        assert!(Pointer::new("/a~2").is_err());
    }
}
