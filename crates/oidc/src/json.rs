//! JSON and base64url, read strictly (RFC 7515 §2, §4, RFC 8725 §3).
//!
//! Two readers that disagree about one text are an attack: a name that occurs twice, where one takes the
//! first and the other the last, or base64url with stray bits, so that one token has many spellings.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::jose::Error;

/// Deepest nesting of JSON we accept.
const MAX_DEPTH: usize = 16;

/// Reads a JSON object in which no name occurs twice, at any depth.
pub(crate) fn object(octets: &[u8]) -> Result<Map<String, Value>, Error> {
    let mut reader = serde_json::Deserializer::from_slice(octets);
    let value = Strict { depth: MAX_DEPTH }.deserialize(&mut reader).map_err(|_| Error::Json)?;
    reader.end().map_err(|_| Error::Json)?;
    match value {
        Value::Object(object) => Ok(object),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Err(Error::Json),
    }
}

/// Writes base64url without padding.
pub(crate) fn encode(octets: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(octets)
}

/// Reads base64url: no padding, no white space, unused bits zero.
pub(crate) fn decode(text: &str) -> Result<Vec<u8>, Error> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Error::Encoding)
}

#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        Ok(Self { depth: self.depth.checked_sub(1).ok_or_else(|| E::custom("too deep"))? })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = access.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            let value = access.next_value_seed(inner)?;
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a name occurs twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_occurs_twice_is_refused_at_any_depth() {
        for text in [r#"{"a":1,"a":2}"#, r#"{"x":{"a":1,"a":1}}"#, r#"{"x":[{"a":1,"\u0061":2}]}"#] {
            assert_eq!(object(text.as_bytes()), Err(Error::Json), "{text}");
        }
        assert!(object(br#"{"a":1,"x":{"a":-2,"b":[null,true,1.5,"s"]}}"#).is_ok());
    }

    #[test]
    fn only_one_whole_object_of_bounded_depth_is_read() {
        let nested = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
        assert!(object(nested(MAX_DEPTH).as_bytes()).is_ok());
        for text in ["", "[]", "1", "null", "{} {}", "{}x", "{\"a\":1,}", "{\"a\":\"\u{1}\"}", &nested(MAX_DEPTH + 1), &nested(5000)] {
            assert_eq!(object(text.as_bytes()), Err(Error::Json));
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}"), Err(Error::Json));
    }

    #[test]
    fn base64url_has_one_spelling() {
        assert_eq!(decode("AQ").unwrap(), [1]);
        for text in ["AR", "AQ==", "AQ=", "A", "A Q", "AQ\n", "A+", "A/"] {
            assert_eq!(decode(text), Err(Error::Encoding), "{text:?}");
        }
    }
}
