//! The kinds of values a configuration is written in: places, durations, sizes, networks, lists of names.

use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};

/// Longest duration that may be written: a hundred years.
const MAX_PERIOD: Duration = Duration::from_secs(100 * 365 * 86_400);

/// A value and where it was written, in octets.
#[derive(Debug, Clone, Default)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it was written; empty for a default.
    pub span: Range<usize>,
}

impl<T> From<T> for At<T> {
    /// A value that nobody wrote.
    fn from(value: T) -> Self {
        Self { value, span: 0..0 }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = toml::Spanned::<T>::deserialize(deserializer)?;
        Ok(Self { span: spanned.span(), value: spanned.into_inner() })
    }
}

impl<T: Serialize> Serialize for At<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A duration, written like `30m` or `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

impl Period {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis();
        if rest == 0 {
            return f.write_str("0s");
        }
        let mut first = true;
        for (unit, name) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")] {
            let count = rest / unit;
            rest %= unit;
            if count > 0 {
                write!(f, "{}{count}{name}", if first { "" } else { " " })?;
                first = false;
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a duration\nwrite it as text with units, as in \"30s\", \"15m\" or \"1h 30m\"";
        deserializer.deserialize_any(Text { expected, parse: parse_period })
    }
}

/// Days are 24 hours here: a configuration knows no time zones.
fn parse_period(text: &str) -> Result<Period, String> {
    let unreadable = || format!("`{text}` is not a duration\nwrite it with units, as in \"30s\", \"15m\" or \"1h 30m\"");
    let span: jiff::Span = jiff::fmt::friendly::SpanParser::new().parse_span(text).map_err(|_| unreadable())?;
    let duration = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| unreadable())?;
    let duration = Duration::try_from(duration).map_err(|_| "a duration is not negative".to_owned())?;
    if duration > MAX_PERIOD {
        return Err("a duration is at most a hundred years".to_owned());
    }
    Ok(Period(duration))
}

/// A number of octets, written like `64KiB` or as a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, name) in UNITS {
            if self.0 >= unit && self.0.is_multiple_of(unit) {
                return write!(f, "{}{name}", self.0 / unit);
            }
        }
        write!(f, "{}", self.0)
    }
}

const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a size\nwrite it as text with its unit, as in \"64KiB\" or \"10MiB\"";
        deserializer.deserialize_any(Text { expected, parse: parse_size })
    }
}

fn parse_size(text: &str) -> Result<Size, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text.get(digits.len()..).unwrap_or_default().trim();
    let unit = match unit {
        "" | "B" => Some(1),
        _ => UNITS.iter().find(|(_, name)| *name == unit).map(|(unit, _)| *unit),
    };
    let size = unit.zip(digits.parse::<u64>().ok()).and_then(|(unit, count)| count.checked_mul(unit));
    size.map(Size).ok_or_else(|| format!("`{text}` is not a size\nwrite it with one of the units KiB, MiB and GiB, as in \"64KiB\""))
}

/// Addresses: a network like `10.0.0.0/8`, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Net(pub IpNet);

impl<'de> Deserialize<'de> for Net {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a network\nwrite it as \"10.0.0.0/8\", or a single address as \"10.0.0.7\"";
        deserializer.deserialize_any(Text { expected, parse: parse_net })
    }
}

fn parse_net(text: &str) -> Result<Net, String> {
    let net = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    let net = net.ok_or_else(|| format!("`{text}` is not a network\nwrite it as \"10.0.0.0/8\", or a single address as \"10.0.0.7\""))?;
    // `10.0.0.7/8` is read by some as one host and by others as sixteen million.
    if net.addr() != net.network() {
        return Err(format!(
            "`{text}` has address bits beyond its prefix\nwrite \"{}\" for the network or \"{}\" for the address",
            net.trunc(),
            net.addr()
        ));
    }
    Ok(Net(net))
}

/// Reads text through a function whose errors are `what is wrong\nwhat to do`.
struct Text<T> {
    expected: &'static str,
    parse: fn(&str) -> Result<T, String>,
}

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }
}

macro_rules! as_text {
    ($($type:ident, $name:literal, $description:literal, $pattern:literal;)+) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&self)
            }
        }

        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $description, "pattern": $pattern })
            }
        }
    )+};
}

as_text! {
    Period, "Duration", "duration", r"^[0-9]";
    Size, "Size", "size", r"^[0-9]+ *(B|KiB|MiB|GiB)?$";
    Net, "Network", "network", r"^[0-9a-fA-F.:]+(/[0-9]+)?$";
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One text or a list of them.
#[derive(Debug, Clone, Default)]
pub struct OneOrMore(pub Vec<At<String>>);

impl<'de> Deserialize<'de> for OneOrMore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        enum Written {
            One(String),
            More(Vec<At<String>>),
        }
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Written;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or a list of texts")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Written, E> {
                Ok(Written::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Written, A::Error> {
                let mut all = Vec::new();
                while let Some(next) = seq.next_element()? {
                    all.push(next);
                }
                Ok(Written::More(all))
            }
        }
        impl<'de> Deserialize<'de> for Written {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Visit)
            }
        }
        let At { value, span } = At::<Written>::deserialize(deserializer)?;
        Ok(Self(match value {
            Written::One(value) => vec![At { value, span }],
            Written::More(all) => all,
        }))
    }
}

impl Serialize for OneOrMore {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            all => all.serialize(serializer),
        }
    }
}

impl JsonSchema for OneOrMore {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OneOrMore".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }] })
    }
}

/// Texts by text. A key may occur once, but two keys may mean the same; whoever reads them must look.
#[derive(Debug, Clone, Default)]
pub struct Pairs(pub Vec<(At<String>, At<String>)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Visit)
    }
}

impl Serialize for Pairs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl JsonSchema for Pairs {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Pairs".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": { "type": "string" } })
    }
}

/// Named sections, in the order in which they were written.
#[derive(Debug, Clone)]
pub struct Named<T>(pub Vec<(At<String>, T)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Named<T> {
    /// The section of this name.
    pub fn find(&self, name: &str) -> Option<&T> {
        self.0.iter().find(|(at, _)| at.value == name).map(|(_, value)| value)
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.value.as_str())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Visit<T> {
            type Value = Named<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of tables")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named<T>, A::Error> {
                let mut sections = Vec::new();
                while let Some(section) = map.next_entry()? {
                    sections.push(section);
                }
                Ok(Named(sections))
            }
        }
        deserializer.deserialize_map(Visit(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("NamedOf{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let item = generator.subschema_for::<T>();
        json_schema!({ "type": "object", "additionalProperties": item })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_with_units() {
        for (text, seconds) in [("30s", 30), ("15m", 900), ("1h 30m", 5400), ("12h", 43_200), ("90d", 90 * 86_400)] {
            assert_eq!(parse_period(text), Ok(Period::seconds(seconds)), "{text}");
            assert_eq!(parse_period(&Period::seconds(seconds).to_string()), Ok(Period::seconds(seconds)));
        }
        for text in ["30", "", "soon", "-5m", "5 fortnights", "900y"] {
            assert!(parse_period(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_written_in_powers_of_two() {
        for (text, octets) in [("10", 10), ("64KiB", 65_536), ("1 MiB", 1 << 20), ("2GiB", 2 << 30)] {
            assert_eq!(parse_size(text), Ok(Size(octets)), "{text}");
        }
        assert_eq!(Size(65_536).to_string(), "64KiB");
        for text in ["", "KiB", "64KB", "-1", "1.5MiB", "99999999999999999GiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_network_has_no_bits_beyond_its_prefix() {
        assert_eq!(parse_net("10.0.0.7").unwrap().to_string(), "10.0.0.7/32");
        assert_eq!(parse_net("2001:db8::/32").unwrap().to_string(), "2001:db8::/32");
        for text in ["10.0.0.7/8", "ten", "10.0.0.0/33", ""] {
            assert!(parse_net(text).is_err(), "{text}");
        }
    }
}
