//! What can be configured, generated from the types of `file.rs`: a JSON Schema for editors and the reference
//! page for people. Both are committed; a test holds them against the types.

use std::fmt::Write as _;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use crate::config::file::File;
use crate::config::read::SECTIONS;

/// The JSON Schema of a configuration file, draft 2020-12.
pub fn schema() -> String {
    let mut text = format!("{:#}", schema_value());
    text.push('\n');
    text
}

fn schema_value() -> Value {
    let mut root = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<File>().to_value();
    if let Some(root) = root.as_object_mut() {
        root.insert("title".to_owned(), "Vestibule".into());
        if let Some(definitions) = root.get("$defs").cloned() {
            inline_variants(root, &definitions);
        }
        drop_unused(root);
    }
    root
}

/// Variants of a tagged choice refer to tables that refuse unknown keys, so each must list `type` itself.
fn inline_variants(root: &mut Map<String, Value>, definitions: &Value) {
    let tables = root.get_mut("$defs").and_then(Value::as_object_mut);
    for variant in tables.into_iter().flat_map(|all| all.values_mut()).filter_map(|table| table.get_mut("oneOf")?.as_array_mut()).flatten()
    {
        let Some(variant) = variant.as_object_mut() else { continue };
        let Some(table) = variant.remove("$ref").and_then(|name| definition(definitions, &name).cloned()) else { continue };
        let Value::Object(mut table) = table else { continue };
        for key in ["properties", "required"] {
            match (table.get_mut(key), variant.remove(key)) {
                (Some(Value::Object(all)), Some(Value::Object(tag))) => all.extend(tag),
                (Some(Value::Array(all)), Some(Value::Array(tag))) => all.splice(0..0, tag).for_each(drop),
                (None, Some(tag)) => drop(table.insert(key.to_owned(), tag)),
                (Some(_) | None, _) => {}
            }
        }
        table.extend(std::mem::take(variant));
        *variant = table;
    }
}

fn drop_unused(root: &mut Map<String, Value>) {
    let text = Value::Object(root.clone()).to_string();
    if let Some(definitions) = root.get_mut("$defs").and_then(Value::as_object_mut) {
        definitions.retain(|name, _| text.contains(&format!("\"#/$defs/{name}\"")));
    }
}

fn definition<'a>(definitions: &'a Value, reference: &Value) -> Option<&'a Value> {
    definitions.get(reference.as_str()?.strip_prefix("#/$defs/")?)
}

/// The reference page in Markdown.
pub fn reference() -> String {
    let root = schema_value();
    let mut page =
        Page { root: &root, text: INTRODUCTION.replace("{minimal}", include_str!("../../../../examples/minimal/vestibule.toml").trim()) };
    for section in SECTIONS {
        page.section(section);
    }
    page.text
}

const INTRODUCTION: &str = "\
<!-- Generated from crates/gateway/src/config/file.rs: VESTIBULE_WRITE_DOCS=1 cargo test --release -p vestibule config::schema -->

# Configuration

After this page you can write a configuration that `vestibule check` accepts, and you know what each of its keys
does, what it is when you leave it out, and what is refused.

A configuration is one TOML file. Its sections stand in the order in which a request meets them. Unknown keys and
names are errors. Relative paths are found beside the file. `vestibule check FILE` says what is wrong, where, and what
to do; an editor that knows TOML schemas completes and explains keys with `docs/vestibule.schema.json`. A running server reads the file
again when it, or a file it names, changes, and on SIGHUP; a broken file changes nothing, and the log says why.

A small one, complete (`examples/minimal/`):

```toml
{minimal}
```

Durations are written as `\"30s\"`, `\"15m\"`, `\"1h 30m\"`; sizes as `\"64KiB\"`; networks as `\"10.0.0.0/8\"` or a single
address. A secret is never written in the file: `{ file = \"/run/secrets/name\" }` or `{ env = \"NAME\" }` says where it is.
";

struct Page<'a> {
    root: &'a Value,
    text: String,
}

impl<'a> Page<'a> {
    fn section(&mut self, name: &str) {
        let Some(property) = self.root.pointer(&format!("/properties/{name}")) else { return };
        let (heading, table) = if let Some(items) = property.get("items") {
            (format!("[[{name}]]"), items)
        } else if let Some(named) = property.get("additionalProperties") {
            (format!("[{name}.NAME]"), named)
        } else {
            (format!("[{name}]"), property)
        };
        let table = self.follow(table);
        self.write(&format!("\n## `{heading}`\n\n{}\n", describe(property)));
        match table.get("oneOf").and_then(Value::as_array) {
            None => {
                self.write("\n");
                self.keys("", table);
            }
            Some(variants) => {
                for variant in variants {
                    let kind = variant.pointer("/properties/type/const").and_then(Value::as_str).unwrap_or_default();
                    let keys = variant.get("properties").and_then(Value::as_object).is_some_and(|keys| keys.len() > 1);
                    let end = if keys { "\n" } else { "" };
                    self.write(&format!("\n### `type = \"{kind}\"`\n\n{}\n{end}", describe(variant)));
                    self.keys("", variant);
                }
            }
        }
    }

    fn keys(&mut self, prefix: &str, table: &'a Value) {
        let required: Vec<&str> = table.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        for (key, property) in table.get("properties").and_then(Value::as_object).into_iter().flatten().filter(|(key, _)| *key != "type") {
            self.key(prefix, key, property, required.contains(&key.as_str()), table.pointer(&format!("/default/{key}")));
        }
    }

    fn key(&mut self, prefix: &str, key: &str, property: &'a Value, required: bool, default: Option<&Value>) {
        let target = self.follow(property);
        let default = property.get("default").or(default).filter(|value| !value.is_null() && target.get("properties").is_none());
        let mut facts = vec![self.kind(property)];
        match default {
            Some(default) => facts.push(format!("default `{}`", toml_text(default))),
            None if required => facts.push("required".to_owned()),
            None => {}
        }
        let mut line = format!("- **`{prefix}{key}`** ({}). {}", facts.join(", "), describe(property));
        if let Some(example) = property.pointer("/examples/0") {
            let _ = write!(line, " Example: `{key} = {}`.", toml_text(example));
        }
        self.write(&format!("{line}\n"));
        if target.get("properties").is_some() {
            self.keys(&format!("{prefix}{key}."), target);
        } else if let Some(items) = target.get("items").map(|items| self.follow(items)).filter(|items| items.get("properties").is_some()) {
            self.keys(&format!("{prefix}{key}[]."), items);
        }
    }

    /// What kind of value a key has, in words.
    fn kind(&self, property: &'a Value) -> String {
        if let Some(words) = property.get("enum").and_then(Value::as_array) {
            return words
                .iter()
                .filter(|word| !word.is_null())
                .map(|word| format!("`{}`", toml_text(word)))
                .collect::<Vec<_>>()
                .join(" or ");
        }
        if property.get("$ref").is_some_and(|reference| reference == "#/$defs/Secret") {
            return "secret".to_owned();
        }
        let target = self.follow(property);
        if let Some(reference) = property.get("$ref").or_else(|| property.pointer("/anyOf/0/$ref"))
            && reference == "#/$defs/Secret"
        {
            return "secret".to_owned();
        }
        if let Some(words) = target.get("oneOf").and_then(Value::as_array) {
            let words = words.iter().filter_map(|word| word.get("const")).map(|word| format!("`{}`", toml_text(word)));
            return words.collect::<Vec<_>>().join(" or ");
        }
        if target.get("enum").is_some() {
            return self.kind(target);
        }
        if target.get("anyOf").is_some() {
            return "text or list of texts".to_owned();
        }
        let types = match target.get("type") {
            Some(Value::Array(types)) => types.first(),
            other => other,
        };
        let format = target.get("format").and_then(Value::as_str);
        match (types.and_then(Value::as_str).unwrap_or_default(), format) {
            ("string", Some(word @ ("duration" | "size" | "network"))) => word.to_owned(),
            ("string", _) => "text".to_owned(),
            ("boolean", _) => "`true` or `false`".to_owned(),
            ("integer", _) => "number".to_owned(),
            ("array", _) => format!("list of {}s", target.get("items").map_or_else(|| "value".to_owned(), |items| self.kind(items))),
            _ => "table".to_owned(),
        }
    }

    /// The definition behind a reference, through the `null` of optional values.
    fn follow(&self, value: &'a Value) -> &'a Value {
        let reference = value.get("$ref").or_else(|| value.pointer("/anyOf/0/$ref"));
        match (reference, self.root.get("$defs")) {
            (Some(reference), Some(definitions)) => definition(definitions, reference).unwrap_or(value),
            _ => value,
        }
    }

    fn write(&mut self, text: &str) {
        self.text.push_str(text);
    }
}

/// The doc comment as one paragraph.
fn describe(value: &Value) -> String {
    value.get("description").and_then(Value::as_str).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A value as it is written in TOML.
fn toml_text(value: &Value) -> String {
    match value {
        Value::Object(table) if table.is_empty() => "{}".to_owned(),
        Value::Object(table) => {
            let pairs: Vec<String> = table.iter().map(|(key, value)| format!("{key} = {}", toml_text(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(toml_text).collect::<Vec<_>>().join(", ")),
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// `VESTIBULE_WRITE_DOCS=1 cargo test --release -p vestibule config::schema` writes the files anew.
    fn committed_is_generated(name: &str, generated: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
        if std::env::var_os("VESTIBULE_WRITE_DOCS").is_some() {
            std::fs::write(&path, generated).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == generated,
            "docs/{name} is not what the types say; run: VESTIBULE_WRITE_DOCS=1 cargo test --release -p vestibule config::schema"
        );
    }

    #[test]
    fn the_committed_schema_is_the_generated_one() {
        committed_is_generated("vestibule.schema.json", &schema());
    }

    #[test]
    fn the_committed_reference_is_the_generated_one() {
        committed_is_generated("configuration.md", &reference());
    }

    #[test]
    fn every_section_and_every_key_is_explained() {
        fn undescribed(path: &str, value: &Value, found: &mut Vec<String>) {
            let Some(table) = value.as_object() else { return };
            for (key, property) in table.get("properties").and_then(Value::as_object).into_iter().flatten() {
                if key != "type" && property.get("description").is_none() {
                    found.push(format!("{path}.{key}"));
                }
            }
            for (key, below) in table {
                undescribed(&format!("{path}/{key}"), below, found);
                for below in below.as_array().into_iter().flatten() {
                    undescribed(&format!("{path}/{key}"), below, found);
                }
            }
        }
        let root = schema_value();
        let mut found = Vec::new();
        undescribed("", &root, &mut found);
        found.retain(|path| !path.contains("$defs/Secret"));
        assert_eq!(found, Vec::<String>::new());
        let mut sections: Vec<&String> = root["properties"].as_object().unwrap().keys().collect();
        let mut known = SECTIONS.to_vec();
        sections.sort();
        known.sort_unstable();
        assert_eq!(sections, known);
    }
}
