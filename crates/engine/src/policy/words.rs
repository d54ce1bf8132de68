//! The words of a policy: the schema, and the names made from it.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use cedar_policy::{Entity, EntityId, EntityTypeName, EntityUid, Schema};
use http::Method;

/// The words of a policy. Users are named by their number, which survives renames and is never given twice;
/// a policy that means a name writes `principal.name == "ada"`. Groups are those of the user's own tenant.
///
/// `time` is in seconds since 1970, `hour` is 0–23, `weekday` 1 (Monday) to 7, all UTC.
pub const SCHEMA: &str = r#"
entity Group;
entity User in [Group] = {
    name: String,
    tenant: String,
    profile: String,
    scheme: String,
    method: String,
    level: Long,
    email?: String,
};
entity Resource = {
    tenant: String,
    route: String,
    host: String,
    method: String,
    path: String,
    operation?: String,
};
type Circumstances = { time: Long, hour: Long, weekday: Long, client: ipaddr };

action "read", "write";
action "GET", "HEAD", "OPTIONS", "TRACE" in ["read"]
    appliesTo { principal: User, resource: Resource, context: Circumstances };
action "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OTHER" in ["write"]
    appliesTo { principal: User, resource: Resource, context: Circumstances };
"#;

/// The schema, and the names made from it once.
pub(super) struct Words {
    pub(super) schema: Schema,
    pub(super) user: EntityTypeName,
    pub(super) group: EntityTypeName,
    pub(super) resource: EntityTypeName,
    actions: HashMap<Method, Entity>,
    other: Entity,
}

#[expect(clippy::expect_used, reason = "INVARIANT: the schema is a constant of this file, and a test reads it")]
pub(super) static WORDS: LazyLock<Words> = LazyLock::new(|| Words::read().expect("the schema is well-formed"));

impl Words {
    pub(super) fn read() -> Result<Self, String> {
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA).map_err(|error| error.to_string())?;
        let name = |text: &str| text.parse::<EntityTypeName>().map_err(|error| error.to_string());
        let kind = name("Action")?;
        let action = |method: &str, group: &str| Entity::new_no_attrs(uid(&kind, method), HashSet::from([uid(&kind, group)]));
        let reading = [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE];
        let writing = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::CONNECT];
        let reading = reading.into_iter().map(|method| (action(method.as_str(), "read"), method));
        let writing = writing.into_iter().map(|method| (action(method.as_str(), "write"), method));
        Ok(Self {
            schema,
            user: name("User")?,
            group: name("Group")?,
            resource: name("Resource")?,
            actions: reading.chain(writing).map(|(action, method)| (method, action)).collect(),
            other: action("OTHER", "write"),
        })
    }

    /// The action of a method; a method nobody knows is taken to write.
    pub(super) fn action(&self, method: &Method) -> &Entity {
        self.actions.get(method).unwrap_or(&self.other)
    }
}

pub(super) fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}
