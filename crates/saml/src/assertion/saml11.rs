//! SAML 1.1 assertions (core §2), element by element.
//!
//! Here every statement has a subject of its own. Two subjects in one assertion are how one user's login could carry
//! another's attributes, so all must have the same name.

use vestibule_xmlsec::{ElementView, Error as XmlError, Fragment, Signed};

use super::{
    AssertionContent, Attribute, AttributeValue, AuthnStatement, Conditions, Confirmation, ConfirmationMethod, NameId, Subject, Version,
    check_id, holder_certificates, write_key_info,
};
use crate::error::Error;
use crate::names::{SAML1, authn_context};
use crate::read;
use crate::time::written;
use crate::write::{self, Writer};

pub(super) fn read(element: &ElementView<'_, Signed>) -> Result<AssertionContent, XmlError> {
    let (major, minor) = (element.attribute("", "MajorVersion"), element.attribute("", "MinorVersion"));
    if major != Some("1") || !matches!(minor, Some("0" | "1")) {
        return Err(element.unreadable("an Assertion of another version than 1.0 and 1.1"));
    }
    let mut authn = Vec::new();
    let mut attributes = Vec::new();
    let mut subjects = Vec::new();
    // The confirmation that counts is that of whoever signed in: statements about the login come first.
    for child in element.children().filter(|child| child.is(SAML1, "AuthenticationStatement")) {
        authn.push(read_authn(&child)?);
        subjects.push(read_subject(&child)?);
    }
    for child in element.children().filter(|child| child.is(SAML1, "AttributeStatement")) {
        for attribute in child.children().filter(|child| child.is(SAML1, "Attribute")) {
            attributes.push(read_attribute(&attribute)?);
        }
        subjects.push(read_subject(&child)?);
    }
    let mut subjects = subjects.into_iter();
    let subject = subjects.next();
    if subjects.any(|other| Some(&other.name_id) != subject.as_ref().map(|subject| &subject.name_id)) {
        return Err(element.unreadable("statements about two subjects"));
    }
    Ok(AssertionContent {
        version: Version::Saml11,
        id: read::required(element, "AssertionID", "an Assertion without AssertionID")?.to_owned(),
        issuer: read::required(element, "Issuer", "an Assertion without Issuer")?.to_owned(),
        issuer_format: None,
        issue_instant: read::required_instant(element, "IssueInstant")?,
        subject,
        conditions: element.child(SAML1, "Conditions")?.map(|conditions| read_conditions(&conditions)).transpose()?,
        authn,
        attributes,
    })
}

fn read_subject(statement: &ElementView<'_, Signed>) -> Result<Subject, XmlError> {
    let element = statement.child(SAML1, "Subject")?.ok_or_else(|| statement.unreadable("a statement without Subject"))?;
    let name = element.child(SAML1, "NameIdentifier")?;
    let mut confirmations = Vec::new();
    if let Some(confirmation) = element.child(SAML1, "SubjectConfirmation")? {
        let holders = holder_certificates(&confirmation)?;
        for method in confirmation.children().filter(|child| child.is(SAML1, "ConfirmationMethod")) {
            let method = ConfirmationMethod::read(&read::token(&method)?, Version::Saml11);
            confirmations.push(Confirmation { holder_certificates: holders.clone(), ..Confirmation::of(method) });
        }
    }
    Ok(Subject { name_id: name.map(|name| NameId::read(&name)).transpose()?, confirmations })
}

fn read_conditions(element: &ElementView<'_, Signed>) -> Result<Conditions, XmlError> {
    let mut conditions = Conditions {
        not_before: read::instant(element, "NotBefore")?,
        not_on_or_after: read::instant(element, "NotOnOrAfter")?,
        ..Conditions::default()
    };
    for child in element.children() {
        match (child.namespace(), child.local()) {
            (SAML1, "AudienceRestrictionCondition") => {
                let audiences = child.children().filter(|child| child.is(SAML1, "Audience"));
                conditions.audiences.push(audiences.map(|audience| read::token(&audience)).collect::<Result<_, _>>()?);
            }
            (SAML1, "DoNotCacheCondition") => conditions.one_time_use = true,
            (_, other) => conditions.unknown.push(other.to_owned()),
        }
    }
    Ok(conditions)
}

fn read_authn(element: &ElementView<'_, Signed>) -> Result<AuthnStatement, XmlError> {
    let class = read::required(element, "AuthenticationMethod", "an AuthenticationStatement without AuthenticationMethod")?;
    let mut statement = AuthnStatement::new(read::required_instant(element, "AuthenticationInstant")?, class);
    statement.address = element.child(SAML1, "SubjectLocality")?.and_then(|locality| read::optional(&locality, "IPAddress"));
    Ok(statement)
}

fn read_attribute(element: &ElementView<'_, Signed>) -> Result<Attribute, XmlError> {
    let values = element.children().filter(|child| child.is(SAML1, "AttributeValue"));
    Ok(Attribute {
        name: read::required(element, "AttributeName", "an Attribute without AttributeName")?.to_owned(),
        format: read::optional(element, "AttributeNamespace"),
        friendly_name: None,
        values: values.map(|value| AttributeValue::read(&value)).collect::<Result<_, _>>()?,
    })
}

pub(super) fn write(content: &AssertionContent) -> Result<Fragment, Error> {
    check_id(&content.id)?;
    let subject = content.subject.as_ref().ok_or(Error::Unwritable("SAML 1.1 has no statement without a subject"))?;
    if content.authn.len() > 1 || (content.authn.is_empty() && content.attributes.is_empty()) {
        return Err(Error::Unwritable("one statement about the login, or one about attributes, or both"));
    }
    let (plain, holders) = subject.confirmations.iter().fold((true, None), |(plain, holders), one| {
        let bare = Confirmation { holder_certificates: one.holder_certificates.clone(), ..Confirmation::of(one.method.clone()) };
        (plain && bare == *one && holders.is_none_or(|known| known == &one.holder_certificates), Some(&one.holder_certificates))
    });
    if !plain {
        return Err(Error::Unwritable("SAML 1.1 confirmations have no data, and share their key"));
    }
    if content.attributes.iter().any(|attribute| attribute.format.is_none()) {
        return Err(Error::Unwritable("SAML 1.1 attributes have a namespace"));
    }
    write::fragment("saml:Assertion", |w| {
        w.declare("saml", SAML1);
        w.attribute("MajorVersion", "1");
        w.attribute("MinorVersion", "1");
        w.attribute("AssertionID", &content.id);
        w.attribute("Issuer", &content.issuer);
        w.attribute("IssueInstant", &written(content.issue_instant));
        if let Some(conditions) = &content.conditions {
            write_conditions(w, conditions);
        }
        for statement in &content.authn {
            w.element("saml:AuthenticationStatement", |w| {
                w.attribute("AuthenticationMethod", statement.class.as_deref().unwrap_or(authn_context::SAML11_UNSPECIFIED));
                w.attribute("AuthenticationInstant", &written(statement.instant));
                write_subject(w, subject, holders);
                if let Some(address) = &statement.address {
                    w.element("saml:SubjectLocality", |w| w.attribute("IPAddress", address));
                }
            });
        }
        if !content.attributes.is_empty() {
            w.element("saml:AttributeStatement", |w| {
                write_subject(w, subject, holders);
                content.attributes.iter().for_each(|attribute| write_attribute(w, attribute));
            });
        }
        w.signature_belongs_here();
    })
}

fn write_conditions(w: &mut Writer, conditions: &Conditions) {
    w.element("saml:Conditions", |w| {
        w.optional("NotBefore", conditions.not_before.map(written).as_deref());
        w.optional("NotOnOrAfter", conditions.not_on_or_after.map(written).as_deref());
        for restriction in &conditions.audiences {
            w.element("saml:AudienceRestrictionCondition", |w| restriction.iter().for_each(|audience| w.leaf("saml:Audience", audience)));
        }
        if conditions.one_time_use {
            w.element("saml:DoNotCacheCondition", |_| {});
        }
    });
}

fn write_subject(w: &mut Writer, subject: &Subject, holders: Option<&Vec<Vec<u8>>>) {
    w.element("saml:Subject", |w| {
        if let Some(name) = &subject.name_id {
            w.element("saml:NameIdentifier", |w| {
                w.optional("NameQualifier", name.name_qualifier.as_deref());
                w.optional("Format", name.format.as_deref());
                w.text(&name.value);
            });
        }
        if !subject.confirmations.is_empty() {
            w.element("saml:SubjectConfirmation", |w| {
                for confirmation in &subject.confirmations {
                    w.leaf("saml:ConfirmationMethod", confirmation.method.uri(Version::Saml11));
                }
                write_key_info(w, holders.map_or(&[], Vec::as_slice));
            });
        }
    });
}

fn write_attribute(w: &mut Writer, attribute: &Attribute) {
    w.element("saml:Attribute", |w| {
        w.attribute("AttributeName", &attribute.name);
        w.optional("AttributeNamespace", attribute.format.as_deref());
        attribute.values.iter().for_each(|value| value.write(w));
    });
}
