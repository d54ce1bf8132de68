//! What an audit record can say, generated from `engine/src/audit.rs`: a JSON Schema for programs and a page for people.
//! Both are committed; a test holds them against the types, so that a word that changes is a visible change.

use std::fmt::Write as _;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use vestibule_engine::audit::{Recorded, VERSION};

/// The JSON Schema of a record, draft 2020-12.
fn schema() -> Value {
    let mut root = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Recorded>().to_value();
    if let Some(root) = root.as_object_mut() {
        root.insert("title".to_owned(), format!("Audit record of Vestibule, version {VERSION}").into());
        if let Some(common) = root.get_mut("properties").and_then(Value::as_object_mut) {
            common.insert("v".to_owned(), json!({ "const": VERSION, "description": "Format version." }));
            common
                .insert("seq".to_owned(), json!({ "type": "integer", "minimum": 1, "description": "In files: its number in the chain." }));
            common.insert(
                "hash".to_owned(),
                json!({ "type": "string", "description": "In files: SHA-256, in base64url, over the hash before it and this line up to here." }),
            );
        }
    }
    root
}

const INTRODUCTION: &str = "\
<!-- Generated from crates/engine/src/audit.rs: VESTIBULE_WRITE_DOCS=1 cargo test --release -p vestibule audit::schema -->

# Audit records

After this page you can write the rules of a SIEM for Vestibule. How records get there, and how files are held against forgery, is in
[operations.md](operations.md#audit-and-siem).

A record is one line of JSON. `v` is the version of the format: it changes when a field changes its meaning or goes. Events, fields
and words of a list may be added without, so ignore what you do not know. `docs/audit.schema.json` is the same as a JSON Schema.
Nothing in a record can be a password, an assertion or a session id. Control characters, and those that turn or hide text, are `\\uXXXX`.

## Every record
";

/// The page.
fn page() -> String {
    let root = schema();
    let mut text = INTRODUCTION.to_owned();
    let keys = |value: &Value| value.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    table(&mut text, &keys(&root), &required(&root));
    text.push_str("\n## Events\n");
    for event in root.get("oneOf").and_then(Value::as_array).into_iter().flatten() {
        let own = definition(&root, event);
        let mut properties = keys(own);
        properties.extend(keys(event));
        let name = properties.remove("event").and_then(|name| name.get("const")?.as_str().map(str::to_owned)).unwrap_or_default();
        write!(text, "\n### `{name}`\n\n{}\n", about(event)).unwrap();
        table(&mut text, &properties, &[required(event), required(own)].concat());
    }
    text.push_str(
        "\n## Words\n\nA word is written as it stands here; one with a second part as an object, as `{\"malformed\":\"host\"}`.\n",
    );
    for (name, list) in root.get("$defs").and_then(Value::as_object).into_iter().flatten() {
        let words = words(&root, list);
        if !words.is_empty() {
            write!(text, "\n### {name}\n\n{}\n\n| word | meaning |\n|---|---|\n", about(list)).unwrap();
            for (word, meaning) in words {
                writeln!(text, "| `{word}` | {meaning} |").unwrap();
            }
        }
    }
    text
}

fn table(text: &mut String, properties: &Map<String, Value>, required: &[String]) {
    text.push_str("\n| field | what | always |\n|---|---|---|\n");
    for (name, property) in properties {
        let always = if required.contains(name) { "yes" } else { "" };
        writeln!(text, "| `{name}` | {} | {always} |", about(property)).unwrap();
    }
}

fn required(value: &Value) -> Vec<String> {
    let names = value.get("required").and_then(Value::as_array).into_iter().flatten();
    names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

/// What a reference leads to, or the thing itself.
fn definition<'a>(root: &'a Value, value: &'a Value) -> &'a Value {
    let name = value.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix("#/$defs/"));
    name.and_then(|name| root.pointer(&format!("/$defs/{name}"))).unwrap_or(value)
}

fn words(root: &Value, list: &Value) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for word in list.get("oneOf").and_then(Value::as_array).into_iter().flatten() {
        if let Some(plain) = word.get("const").and_then(Value::as_str) {
            all.push((plain.to_owned(), about(word)));
        }
        for (name, second) in word.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if second.get("type").and_then(Value::as_str) == Some("integer") {
                all.push((format!("{name}:number"), about(word)));
                continue;
            }
            let which = second.get("$ref").and_then(Value::as_str).and_then(|name| name.rsplit('/').next()).unwrap_or_default();
            assert!(!words(root, definition(root, second)).is_empty(), "{name} has words of its own");
            all.push((format!("{name}:{which}"), about(word)));
        }
    }
    all
}

fn about(value: &Value) -> String {
    value.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " ").replace('|', "\\|")
}

#[test]
fn the_words_of_the_audit_are_those_of_its_documents() {
    let at = |name: &str| format!("{}/../../docs/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut document = format!("{:#}", schema());
    document.push('\n');
    for (path, text) in [(at("audit.schema.json"), document), (at("audit.md"), page())] {
        if std::env::var_os("VESTIBULE_WRITE_DOCS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == text,
            "{path} is not what the types say: VESTIBULE_WRITE_DOCS=1 cargo test --release -p vestibule audit::schema"
        );
    }
}
