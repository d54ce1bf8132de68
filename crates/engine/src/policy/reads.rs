//! What a slice reads.

/// What a slice reads beside identity, method, tenant and route, over-approximated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Reads {
    /// Time or address: no decision can be kept.
    pub(super) context: bool,
    pub(super) path: bool,
    pub(super) host: bool,
    pub(super) operation: bool,
}

impl Reads {
    pub(super) fn add(&mut self, policy: &cedar_policy::Policy) {
        match policy.to_json() {
            Ok(json) => self.walk(&json),
            Err(_) => *self = Self { context: true, path: true, host: true, operation: true },
        }
    }

    fn walk(&mut self, json: &serde_json::Value) {
        match json {
            serde_json::Value::Object(fields) => {
                for (name, value) in fields {
                    match (name.as_str(), value.as_str()) {
                        ("Var", Some("context")) => self.context = true,
                        ("attr", Some("path")) => self.path = true,
                        ("attr", Some("host")) => self.host = true,
                        ("attr", Some("operation")) => self.operation = true,
                        _ => self.walk(value),
                    }
                }
            }
            serde_json::Value::Array(values) => values.iter().for_each(|value| self.walk(value)),
            serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) | serde_json::Value::String(_) => {}
        }
    }
}
