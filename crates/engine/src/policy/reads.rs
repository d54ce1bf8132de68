//! What a slice reads: the parts of a question that its verdict can depend on, over-approximated.
//!
//! A remembered verdict is found again by exactly these parts. One too few is a decision made for somebody else; one too many
//! only costs memory. So every expression counts as reading all it could reach, save for the few forms named here, and
//! a form that Cedar adds one day falls under the rule and not under the exceptions.

use std::fmt;

use cedar_policy::{ActionConstraint, Policy, PrincipalConstraint, ResourceConstraint};
use serde_json::Value;

/// One part of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Which user.
    User,
    Name,
    Profile,
    Email,
    Groups,
    /// How they were recognised now.
    Scheme,
    /// How they logged in.
    Method,
    Level,
    /// Of the user and of the resource: they are one ([`super::Policy::check`]).
    Tenant,
    Route,
    Host,
    Path,
    Operation,
    /// The request's method: the action, and an attribute of the resource.
    Action,
    /// Time and address: what reads them is not remembered.
    Context,
}

use Part::{Action, Context, Email, Groups, Host, Level, Method, Name, Operation, Path, Profile, Route, Scheme, Tenant, User};

const PRINCIPAL: &[Part] = &[User, Name, Profile, Email, Groups, Scheme, Method, Level, Tenant];
const RESOURCE: &[Part] = &[Tenant, Route, Host, Path, Operation, Action];
const ALL: [Part; 15] = [User, Name, Profile, Email, Groups, Scheme, Method, Level, Tenant, Route, Host, Path, Operation, Action, Context];

/// Which parts.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Reads(u16);

impl Reads {
    /// These parts.
    pub(super) fn of(parts: &[Part]) -> Self {
        parts.iter().fold(Self::default(), |reads, part| Self(reads.0 | reads.bit(*part)))
    }

    /// Whether this part is among them.
    pub(super) fn contains(self, part: Part) -> bool {
        self.0 & self.bit(part) != 0
    }

    /// The parts, always in the same order.
    pub(super) fn parts(self) -> impl Iterator<Item = Part> {
        ALL.into_iter().filter(move |part| self.contains(*part))
    }

    /// Adds what this policy reads.
    pub(super) fn add(&mut self, policy: &Policy) {
        // A scope compares identities; the validator has seen to their types.
        match policy.principal_constraint() {
            PrincipalConstraint::Any | PrincipalConstraint::Is(_) => {}
            PrincipalConstraint::Eq(_) => self.read(&[User]),
            PrincipalConstraint::In(of) | PrincipalConstraint::IsIn(_, of) => self.read(ancestors(of.type_name().basename())),
        }
        match policy.action_constraint() {
            ActionConstraint::Any => {}
            ActionConstraint::Eq(_) | ActionConstraint::In(_) => self.read(&[Action]),
        }
        match policy.resource_constraint() {
            ResourceConstraint::Any | ResourceConstraint::Is(_) => {}
            ResourceConstraint::Eq(_) | ResourceConstraint::In(_) | ResourceConstraint::IsIn(..) => self.read(&[Route]),
        }
        match policy.to_json() {
            Ok(json) => json.get("conditions").into_iter().for_each(|conditions| self.walk(conditions)),
            Err(_) => self.read(&ALL),
        }
    }

    fn bit(self, part: Part) -> u16 {
        1 << part as u16
    }

    fn read(&mut self, parts: &[Part]) {
        self.0 |= Self::of(parts).0;
    }

    /// Adds what an expression of Cedar's JSON form reads.
    fn walk(&mut self, json: &Value) {
        match json {
            Value::Object(fields) => fields.iter().for_each(|(operator, operands)| self.operation(operator, operands)),
            Value::Array(values) => values.iter().for_each(|value| self.walk(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn operation(&mut self, operator: &str, operands: &Value) {
        let (left, right) = (operands.get("left"), operands.get("right"));
        match (operator, operands) {
            // Whatever is done with the whole of it.
            ("Var", Value::String(name)) => self.read(whole(name)),
            // An entity named in a policy may be the very one that asks.
            ("__entity", _) => self.read(whole(operands.get("type").and_then(Value::as_str).unwrap_or_default())),
            ("." | "has", Value::Object(_)) => match (left.and_then(variable), operands.get("attr").and_then(Value::as_str)) {
                (Some(name), Some(attribute)) => self.read(attribute_of(name, attribute)),
                (Some(_), None) | (None, _) => self.walk(operands),
            },
            // Identities are compared, attributes are not looked at.
            ("==" | "!=", Value::Object(_)) => match (left, right) {
                (Some(left), Some(right)) => [left, right].into_iter().for_each(|operand| self.identity(operand)),
                (_, _) => self.walk(operands),
            },
            ("in", Value::Object(_)) => match (left.and_then(variable), right.map(entity_types)) {
                (Some("principal"), Some(Some(types))) => types.iter().for_each(|of| self.read(ancestors(of))),
                (_, _) => self.walk(operands),
            },
            (_, _) => self.walk(operands),
        }
    }

    fn identity(&mut self, operand: &Value) {
        let types = entity_types(operand);
        let named = variable(operand).into_iter().chain(types.iter().flatten().map(String::as_str));
        let mut known = false;
        for name in named {
            known = true;
            match name {
                "principal" | "User" => self.read(&[User]),
                "action" | "Action" => self.read(&[Action]),
                "resource" | "Resource" => self.read(&[Route]),
                "Group" => {}
                other => self.read(whole(other)),
            }
        }
        if !known {
            self.walk(operand);
        }
    }
}

impl fmt::Debug for Reads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.parts()).finish()
    }
}

/// All that can be reached from a variable or from an entity of this type.
fn whole(name: &str) -> &'static [Part] {
    match name {
        "principal" | "User" => PRINCIPAL,
        "resource" | "Resource" => RESOURCE,
        "action" | "Action" => &[Action],
        "context" => &[Context],
        // Groups are no entities of ours: nothing hangs on them.
        "Group" => &[],
        _ => &ALL,
    }
}

fn attribute_of(variable: &str, attribute: &str) -> &'static [Part] {
    match (variable, attribute) {
        ("principal" | "resource", "tenant") => &[Tenant],
        ("principal", "name") => &[Name],
        ("principal", "profile") => &[Profile],
        ("principal", "email") => &[Email],
        ("principal", "scheme") => &[Scheme],
        ("principal", "method") => &[Method],
        ("principal", "level") => &[Level],
        ("resource", "route") => &[Route],
        ("resource", "host") => &[Host],
        ("resource", "path") => &[Path],
        ("resource", "operation") => &[Operation],
        ("resource", "method") => &[Action],
        (variable, _) => whole(variable),
    }
}

/// What decides whether a principal is in an entity of this type.
fn ancestors(of: &str) -> &'static [Part] {
    match of {
        "Group" => &[Groups],
        "User" => &[User],
        _ => PRINCIPAL,
    }
}

/// The variable, if that is all the expression is.
fn variable(expression: &Value) -> Option<&str> {
    only(expression, "Var")?.as_str()
}

/// The types of the entities, if the expression is one literal or a set of literals.
fn entity_types(expression: &Value) -> Option<Vec<String>> {
    if let Some(Value::Array(members)) = only(expression, "Set") {
        return members.iter().map(entity_type).collect();
    }
    entity_type(expression).map(|of| vec![of])
}

fn entity_type(expression: &Value) -> Option<String> {
    Some(only(only(expression, "Value")?, "__entity")?.get("type")?.as_str()?.to_owned())
}

/// The value under `name`, if the object holds nothing else.
fn only<'a>(expression: &'a Value, name: &str) -> Option<&'a Value> {
    expression.as_object().filter(|fields| fields.len() == 1)?.get(name)
}
