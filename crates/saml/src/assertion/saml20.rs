//! SAML 2.0 assertions (core §2), element by element.

use vestibule_xmlsec::{Authority, ElementView, Error as XmlError, Fragment, Signed};

use super::{
    AssertionContent, Attribute, AttributeValue, AuthnStatement, Conditions, Confirmation, ConfirmationMethod, NameId, ProxyRestriction,
    Subject, Version, check_id, holder_certificates, write_key_info,
};
use crate::error::Error;
use crate::names::SAML;
use crate::read;
use crate::time::written;
use crate::write::{self, Writer};

pub(super) fn read(element: &ElementView<'_, Signed>) -> Result<AssertionContent, XmlError> {
    if element.attribute("", "Version") != Some("2.0") {
        return Err(element.unreadable("an Assertion of another version than 2.0"));
    }
    let issuer = element.child(SAML, "Issuer")?.ok_or_else(|| element.unreadable("an Assertion without Issuer"))?;
    let mut authn = Vec::new();
    let mut attributes = Vec::new();
    for child in element.children() {
        if child.is(SAML, "AuthnStatement") {
            authn.push(read_authn(&child)?);
        } else if child.is(SAML, "AttributeStatement") {
            read_attributes(&child, &mut attributes)?;
        }
    }
    Ok(AssertionContent {
        version: Version::Saml20,
        id: read::required(element, "ID", "an Assertion without ID")?.to_owned(),
        issuer: read::token(&issuer)?,
        issuer_format: read::optional(&issuer, "Format"),
        issue_instant: read::required_instant(element, "IssueInstant")?,
        subject: element.child(SAML, "Subject")?.map(|subject| read_subject(&subject)).transpose()?,
        conditions: element.child(SAML, "Conditions")?.map(|conditions| read_conditions(&conditions)).transpose()?,
        authn,
        attributes,
    })
}

fn read_subject(element: &ElementView<'_, Signed>) -> Result<Subject, XmlError> {
    let confirmations = element.children().filter(|child| child.is(SAML, "SubjectConfirmation"));
    Ok(Subject {
        name_id: NameId::one_in(element)?,
        confirmations: confirmations.map(|one| read_confirmation(&one)).collect::<Result<_, _>>()?,
    })
}

fn read_confirmation(element: &ElementView<'_, Signed>) -> Result<Confirmation, XmlError> {
    let method = read::required(element, "Method", "a SubjectConfirmation without Method")?;
    let mut confirmation = Confirmation::of(ConfirmationMethod::read(method, Version::Saml20));
    if let Some(data) = element.child(SAML, "SubjectConfirmationData")? {
        confirmation.recipient = read::optional(&data, "Recipient");
        confirmation.in_response_to = read::optional(&data, "InResponseTo");
        confirmation.not_before = read::instant(&data, "NotBefore")?;
        confirmation.not_on_or_after = read::instant(&data, "NotOnOrAfter")?;
        confirmation.address = read::optional(&data, "Address");
        confirmation.holder_certificates = holder_certificates(&data)?;
    }
    Ok(confirmation)
}

fn read_conditions(element: &ElementView<'_, Signed>) -> Result<Conditions, XmlError> {
    let mut conditions = Conditions {
        not_before: read::instant(element, "NotBefore")?,
        not_on_or_after: read::instant(element, "NotOnOrAfter")?,
        ..Conditions::default()
    };
    for child in element.children() {
        match (child.namespace(), child.local()) {
            (SAML, "AudienceRestriction") => conditions.audiences.push(read_audiences(&child)?),
            (SAML, "OneTimeUse") => conditions.one_time_use = true,
            (SAML, "ProxyRestriction") if conditions.proxy.is_none() => {
                conditions.proxy = Some(ProxyRestriction { count: read::number(&child, "Count")?, audiences: read_audiences(&child)? });
            }
            (_, other) => conditions.unknown.push(other.to_owned()),
        }
    }
    Ok(conditions)
}

fn read_audiences(element: &ElementView<'_, Signed>) -> Result<Vec<String>, XmlError> {
    element.children().filter(|child| child.is(SAML, "Audience")).map(|audience| read::token(&audience)).collect()
}

fn read_authn(element: &ElementView<'_, Signed>) -> Result<AuthnStatement, XmlError> {
    let context = element.child(SAML, "AuthnContext")?.ok_or_else(|| element.unreadable("an AuthnStatement without AuthnContext"))?;
    let of = |name| context.child(SAML, name)?.map(|child| read::token(&child)).transpose();
    let authorities = context.children().filter(|child| child.is(SAML, "AuthenticatingAuthority"));
    Ok(AuthnStatement {
        instant: read::required_instant(element, "AuthnInstant")?,
        class: of("AuthnContextClassRef")?,
        declaration: of("AuthnContextDeclRef")?,
        session_index: read::optional(element, "SessionIndex"),
        session_not_on_or_after: read::instant(element, "SessionNotOnOrAfter")?,
        address: element.child(SAML, "SubjectLocality")?.and_then(|locality| read::optional(&locality, "Address")),
        authorities: authorities.map(|authority| read::token(&authority)).collect::<Result<_, _>>()?,
    })
}

fn read_attributes(element: &ElementView<'_, Signed>, attributes: &mut Vec<Attribute>) -> Result<(), XmlError> {
    for child in element.children() {
        if child.is(SAML, "EncryptedAttribute") {
            let attribute = child.child(SAML, "Attribute")?;
            let attribute = attribute.ok_or_else(|| child.unreadable("an EncryptedAttribute that was not decrypted"))?;
            attributes.push(read_attribute(&attribute)?);
        } else if child.is(SAML, "Attribute") {
            attributes.push(read_attribute(&child)?);
        }
    }
    Ok(())
}

pub(crate) fn read_attribute<A: Authority>(element: &ElementView<'_, A>) -> Result<Attribute, XmlError> {
    let values = element.children().filter(|child| child.is(SAML, "AttributeValue"));
    Ok(Attribute {
        name: read::required(element, "Name", "an Attribute without Name")?.to_owned(),
        format: read::optional(element, "NameFormat"),
        friendly_name: read::optional(element, "FriendlyName"),
        values: values.map(|value| AttributeValue::read(&value)).collect::<Result<_, _>>()?,
    })
}

pub(super) fn write(content: &AssertionContent) -> Result<Fragment, Error> {
    check_id(&content.id)?;
    write::fragment("saml:Assertion", |w| {
        w.declare("saml", SAML);
        w.attribute("ID", &content.id);
        w.attribute("Version", "2.0");
        w.attribute("IssueInstant", &written(content.issue_instant));
        w.element("saml:Issuer", |w| {
            w.optional("Format", content.issuer_format.as_deref());
            w.text(&content.issuer);
        });
        w.signature_belongs_here();
        if let Some(subject) = &content.subject {
            write_subject(w, subject);
        }
        if let Some(conditions) = &content.conditions {
            write_conditions(w, conditions);
        }
        for statement in &content.authn {
            write_authn(w, statement);
        }
        if !content.attributes.is_empty() {
            w.element("saml:AttributeStatement", |w| content.attributes.iter().for_each(|attribute| write_attribute(w, attribute)));
        }
    })
}

fn write_subject(w: &mut Writer, subject: &Subject) {
    w.element("saml:Subject", |w| {
        if let Some(name) = &subject.name_id {
            name.write(w);
        }
        for confirmation in &subject.confirmations {
            w.element("saml:SubjectConfirmation", |w| {
                w.attribute("Method", confirmation.method.uri(Version::Saml20));
                if *confirmation != Confirmation::of(confirmation.method.clone()) {
                    w.element("saml:SubjectConfirmationData", |w| write_confirmation_data(w, confirmation));
                }
            });
        }
    });
}

fn write_confirmation_data(w: &mut Writer, confirmation: &Confirmation) {
    w.optional("NotBefore", confirmation.not_before.map(written).as_deref());
    w.optional("NotOnOrAfter", confirmation.not_on_or_after.map(written).as_deref());
    w.optional("Recipient", confirmation.recipient.as_deref());
    w.optional("InResponseTo", confirmation.in_response_to.as_deref());
    w.optional("Address", confirmation.address.as_deref());
    write_key_info(w, &confirmation.holder_certificates);
}

fn write_conditions(w: &mut Writer, conditions: &Conditions) {
    w.element("saml:Conditions", |w| {
        w.optional("NotBefore", conditions.not_before.map(written).as_deref());
        w.optional("NotOnOrAfter", conditions.not_on_or_after.map(written).as_deref());
        for restriction in &conditions.audiences {
            w.element("saml:AudienceRestriction", |w| restriction.iter().for_each(|audience| w.leaf("saml:Audience", audience)));
        }
        if conditions.one_time_use {
            w.element("saml:OneTimeUse", |_| {});
        }
        if let Some(proxy) = &conditions.proxy {
            w.element("saml:ProxyRestriction", |w| {
                w.optional("Count", proxy.count.map(|count| count.to_string()).as_deref());
                proxy.audiences.iter().for_each(|audience| w.leaf("saml:Audience", audience));
            });
        }
    });
}

fn write_authn(w: &mut Writer, statement: &AuthnStatement) {
    w.element("saml:AuthnStatement", |w| {
        w.attribute("AuthnInstant", &written(statement.instant));
        w.optional("SessionIndex", statement.session_index.as_deref());
        w.optional("SessionNotOnOrAfter", statement.session_not_on_or_after.map(written).as_deref());
        if let Some(address) = &statement.address {
            w.element("saml:SubjectLocality", |w| w.attribute("Address", address));
        }
        w.element("saml:AuthnContext", |w| {
            if let Some(class) = &statement.class {
                w.leaf("saml:AuthnContextClassRef", class);
            }
            if let Some(declaration) = &statement.declaration {
                w.leaf("saml:AuthnContextDeclRef", declaration);
            }
            statement.authorities.iter().for_each(|authority| w.leaf("saml:AuthenticatingAuthority", authority));
        });
    });
}

fn write_attribute(w: &mut Writer, attribute: &Attribute) {
    w.element("saml:Attribute", |w| {
        w.attribute("Name", &attribute.name);
        w.optional("NameFormat", attribute.format.as_deref());
        w.optional("FriendlyName", attribute.friendly_name.as_deref());
        attribute.values.iter().for_each(|value| value.write(w));
    });
}
