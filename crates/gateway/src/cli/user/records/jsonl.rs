//! JSON Lines: an object a line, with the names of the fields that `user show --json` prints, and `password_hash`.

use std::io::{self, BufRead, Write};

use serde_json::{Map, Value, json};

use vestibule_engine::identity::ExternalId;
use vestibule_engine::secret::Secret;

use super::{Entry, Lines, TooLong, nobody, state};
use crate::serve::admin::protocol::{Confidential, ExportedUser, ImportedUser, state_label};

pub(super) fn next(lines: &mut Lines<impl BufRead>) -> io::Result<Option<Entry>> {
    loop {
        let Some((line, text)) = lines.next()? else { return Ok(None) };
        let text = match text {
            Ok(text) if text.iter().all(u8::is_ascii_whitespace) => continue,
            Ok(text) => zeroize::Zeroizing::new(text),
            Err(TooLong) => return Ok(Some(Entry::Bad { line, name: None, why: TooLong::why() })),
        };
        let object = match serde_json::from_slice::<Map<String, Value>>(&text) {
            Ok(object) => object,
            // The parser's own words could quote a hash.
            Err(error) => {
                let why = format!("this is no JSON object (column {})", error.column());
                return Ok(Some(Entry::Bad { line, name: None, why }));
            }
        };
        let name = object.get("name").and_then(Value::as_str).map(str::to_owned);
        return Ok(Some(match read(object) {
            Ok(user) => Entry::User { line, user: Box::new(user) },
            Err(why) => Entry::Bad { line, name, why },
        }));
    }
}

fn read(object: Map<String, Value>) -> Result<ImportedUser, String> {
    let mut user = nobody();
    for (field, value) in object {
        if value.is_null() {
            continue;
        }
        match field.as_str() {
            "name" => user.name = text(value, "name")?,
            "display_name" => user.display_name = Some(text(value, "display_name")?),
            "email" => user.email = Some(text(value, "email")?),
            "groups" => user.groups = serde_json::from_value(value).map_err(|_| "groups is no list of texts".to_owned())?,
            "profile" => user.profile = text(value, "profile")?,
            "state" => user.state = state(&text(value, "state")?)?,
            "must_change_password" => user.must_change_password = truth(&value, "must_change_password")?,
            "break_glass" => user.break_glass = truth(&value, "break_glass")?,
            "external_ids" => {
                let read = serde_json::from_value::<Vec<ExternalId>>(value);
                user.external_ids = read.map_err(|_| "external_ids is no list of objects with issuer and id".to_owned())?;
            }
            "created" => user.created = Some(text(value, "created")?.parse().map_err(|_| "created is no time".to_owned())?),
            "password_hash" => user.password_hash = Some(Confidential(Secret::new(text(value, "password_hash")?))),
            _ => return Err(format!("a field is none of {}", super::FIELDS.join(", "))),
        }
    }
    if user.name.is_empty() {
        return Err("there is no name".to_owned());
    }
    Ok(user)
}

fn text(value: Value, what: &str) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Err(format!("{what} is no text")),
    }
}

fn truth(value: &Value, what: &str) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| format!("{what} is neither true nor false"))
}

pub(super) fn write(to: &mut impl Write, exported: &ExportedUser) -> io::Result<()> {
    let user = &exported.user;
    let mut object = json!({
        "name": user.name,
        "display_name": user.display_name,
        "email": user.email,
        "groups": user.groups,
        "profile": user.profile,
        "state": state_label(user.state),
        "must_change_password": user.must_change_password,
        "break_glass": user.break_glass,
        "external_ids": user.external_ids,
        "created": user.created,
    });
    if let (Some(Confidential(hash)), Some(object)) = (&exported.password_hash, object.as_object_mut()) {
        object.insert("password_hash".to_owned(), Value::String(hash.reveal().clone()));
    }
    serde_json::to_writer(&mut *to, &object)?;
    to.write_all(b"\n")
}
