//! Reading metadata, the same from a signed element and from a named file.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use vestibule_xmlsec::{Authority, Document, ElementView, Error as XmlError, FromClaimed, FromSigned, Signed, SignedElement, Unsigned};

use super::{
    Endpoint, Entity, IdpRole, IndexedEndpoint, KeyDescriptor, METADATA_LIMITS, Metadata, Protocols, RequestedAttribute, Scope, SpRole,
    Trust, Usage,
};
use crate::binding::is_endpoint;
use crate::error::{Error, MetadataFault};
use crate::names::{DS, MD, SHIBMD};
use crate::{read, time};

pub(super) fn read(octets: &[u8], trust: Trust<'_>, now: Option<Timestamp>) -> Result<Metadata, Error> {
    let document = Document::parse(octets, &METADATA_LIMITS)?;
    let Tree(mut metadata) = match trust {
        Trust::Named => document.claim::<Tree>()?.sender_says().clone(),
        Trust::Signed { keys, profile } => {
            let root = if document.claim::<IsList>()?.sender_says().0 { "EntitiesDescriptor" } else { "EntityDescriptor" };
            document.verify(SignedElement::Path(&[(MD, root)]), keys, profile)?.read::<Tree>()?.into_value()
        }
    };
    let Some(now) = now else { return Ok(metadata) };
    let has_ended = |end: Option<Timestamp>| end.is_some_and(|end| end <= now);
    if has_ended(metadata.valid_until) {
        return Err(Error::Metadata(MetadataFault::Expired));
    }
    let (expired, entities): (Vec<_>, Vec<_>) = metadata.entities.into_iter().partition(|entity| has_ended(entity.valid_until));
    if entities.is_empty() && !expired.is_empty() {
        return Err(Error::Metadata(MetadataFault::Expired));
    }
    metadata.entities = entities;
    metadata.skipped.extend(expired.into_iter().map(|entity| (entity.entity_id, MetadataFault::Expired.to_string())));
    Ok(metadata)
}

struct IsList(bool);

impl FromClaimed for IsList {
    fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, XmlError> {
        Ok(Self(root.is(MD, "EntitiesDescriptor")))
    }
}

#[derive(Debug, Clone)]
struct Tree(Metadata);

impl FromClaimed for Tree {
    fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, XmlError> {
        read_root(&root).map(Self)
    }
}

impl FromSigned for Tree {
    fn from_signed(element: ElementView<'_, Signed>) -> Result<Self, XmlError> {
        read_root(&element).map(Self)
    }
}

/// What is inherited from a list.
#[derive(Clone, Copy)]
struct Validity {
    until: Option<Timestamp>,
    cache: Option<SignedDuration>,
}

impl Validity {
    fn within<A: Authority>(self, element: &ElementView<'_, A>) -> Result<Self, XmlError> {
        let own = read::instant(element, "validUntil")?;
        let cache = element.attribute("", "cacheDuration").and_then(time::duration);
        // The shorter of two, where both are there.
        let least = |one: Option<Timestamp>, other: Option<Timestamp>| one.into_iter().chain(other).min();
        Ok(Self { until: least(self.until, own), cache: self.cache.into_iter().chain(cache).min() })
    }
}

fn read_root<A: Authority>(root: &ElementView<'_, A>) -> Result<Metadata, XmlError> {
    let validity = Validity { until: None, cache: None }.within(root)?;
    let mut metadata = Metadata { entities: Vec::new(), skipped: Vec::new(), valid_until: validity.until, cache_duration: validity.cache };
    if root.is(MD, "EntityDescriptor") {
        metadata.entities.push(read_entity(root, validity)?);
    } else if root.is(MD, "EntitiesDescriptor") {
        read_list(root, validity, &mut metadata)?;
    } else {
        return Err(root.unreadable("a document that is no metadata"));
    }
    Ok(metadata)
}

fn read_list<A: Authority>(list: &ElementView<'_, A>, validity: Validity, metadata: &mut Metadata) -> Result<(), XmlError> {
    for child in list.children() {
        if child.is(MD, "EntitiesDescriptor") {
            read_list(&child, validity.within(&child)?, metadata)?;
        } else if child.is(MD, "EntityDescriptor") {
            // One partner's slip must not take the others away.
            match validity.within(&child).and_then(|validity| read_entity(&child, validity)) {
                Ok(entity) if metadata.entities.iter().any(|known| known.entity_id == entity.entity_id) => {
                    return Err(XmlError::Ambiguous("EntityDescriptor of one entityID".to_owned()));
                }
                Ok(entity) => metadata.entities.push(entity),
                Err(error) => {
                    let id = child.attribute("", "entityID").unwrap_or("no entityID");
                    metadata.skipped.push((id.chars().take(LONGEST_ENTITY_ID).collect(), error.to_string()));
                }
            }
        }
    }
    Ok(())
}

/// Metadata §2.2.1.
const LONGEST_ENTITY_ID: usize = 1024;

fn read_entity<A: Authority>(element: &ElementView<'_, A>, validity: Validity) -> Result<Entity, XmlError> {
    let entity_id = read::required(element, "entityID", "an EntityDescriptor without entityID")?;
    if entity_id.len() > LONGEST_ENTITY_ID {
        return Err(element.unreadable("an entityID longer than the limit"));
    }
    let scopes = read_scopes(element)?;
    let mut idp = role(element, "IDPSSODescriptor").map(|role| read_idp(&role)).transpose()?;
    if let Some(idp) = &mut idp {
        idp.scopes.extend(scopes);
    }
    let display_name = match element.child(MD, "Organization")? {
        Some(organization) => {
            organization.children().find(|child| child.is(MD, "OrganizationDisplayName")).map(|name| read::token(&name)).transpose()?
        }
        None => None,
    };
    Ok(Entity {
        entity_id: entity_id.to_owned(),
        valid_until: validity.until,
        cache_duration: validity.cache,
        display_name,
        idp,
        sp: role(element, "SPSSODescriptor").map(|role| read_sp(&role)).transpose()?,
    })
}

/// The role of this name; of several, for several protocols, the one for SAML 2.0.
fn role<'t, A: Authority>(entity: &ElementView<'t, A>, name: &str) -> Option<ElementView<'t, A>> {
    let roles = entity.children().filter(|child| child.is(MD, name));
    let mut known: Vec<_> = roles.filter(|role| protocols(role) != Protocols::default()).collect();
    known.sort_by_key(|role| !protocols(role).saml20);
    known.first().copied()
}

fn protocols<A: Authority>(role: &ElementView<'_, A>) -> Protocols {
    Protocols::read(role.attribute("", "protocolSupportEnumeration").unwrap_or_default())
}

fn read_idp<A: Authority>(role: &ElementView<'_, A>) -> Result<IdpRole, XmlError> {
    Ok(IdpRole {
        protocols: protocols(role),
        keys: read_keys(role)?,
        want_authn_requests_signed: read::boolean(role, "WantAuthnRequestsSigned")?.unwrap_or(false),
        scopes: read_scopes(role)?,
        sso: read_endpoints(role, "SingleSignOnService")?,
        slo: read_endpoints(role, "SingleLogoutService")?,
        artifact_resolution: read_indexed(role, "ArtifactResolutionService")?,
        name_id_formats: read_formats(role)?,
    })
}

fn read_sp<A: Authority>(role: &ElementView<'_, A>) -> Result<SpRole, XmlError> {
    let services = role.children().filter(|child| child.is(MD, "AttributeConsumingService"));
    let requested = services.flat_map(|service| service.children()).filter(|child| child.is(MD, "RequestedAttribute"));
    Ok(SpRole {
        protocols: protocols(role),
        keys: read_keys(role)?,
        authn_requests_signed: read::boolean(role, "AuthnRequestsSigned")?.unwrap_or(false),
        want_assertions_signed: read::boolean(role, "WantAssertionsSigned")?.unwrap_or(false),
        acs: read_indexed(role, "AssertionConsumerService")?,
        slo: read_endpoints(role, "SingleLogoutService")?,
        name_id_formats: read_formats(role)?,
        requested_attributes: requested.map(|attribute| read_requested(&attribute)).collect::<Result<_, _>>()?,
    })
}

fn read_requested<A: Authority>(element: &ElementView<'_, A>) -> Result<RequestedAttribute, XmlError> {
    Ok(RequestedAttribute {
        name: read::required(element, "Name", "a RequestedAttribute without Name")?.to_owned(),
        format: read::optional(element, "NameFormat"),
        friendly_name: read::optional(element, "FriendlyName"),
        required: read::boolean(element, "isRequired")?.unwrap_or(false),
    })
}

fn read_keys<A: Authority>(role: &ElementView<'_, A>) -> Result<Vec<KeyDescriptor>, XmlError> {
    let mut keys = Vec::new();
    for descriptor in role.children().filter(|child| child.is(MD, "KeyDescriptor")) {
        let usage = match descriptor.attribute("", "use") {
            None => Usage::Both,
            Some("signing") => Usage::Signing,
            Some("encryption") => Usage::Encryption,
            Some(_) => return Err(descriptor.unreadable("a use of a key that does not exist")),
        };
        let info = descriptor.child(DS, "KeyInfo")?.ok_or_else(|| descriptor.unreadable("a KeyDescriptor without KeyInfo"))?;
        let mut certificates = Vec::new();
        for data in info.children().filter(|child| child.is(DS, "X509Data")) {
            for certificate in data.children().filter(|child| child.is(DS, "X509Certificate")) {
                let text: String = certificate.text()?.split_ascii_whitespace().collect();
                certificates.push(STANDARD.decode(text).map_err(|_| certificate.unreadable("a certificate that is not base64"))?);
            }
        }
        let methods = descriptor.children().filter(|child| child.is(MD, "EncryptionMethod"));
        let encryption_methods = methods.filter_map(|method| read::optional(&method, "Algorithm")).collect();
        keys.push(KeyDescriptor { usage, certificates, encryption_methods });
    }
    Ok(keys)
}

fn read_endpoints<A: Authority>(role: &ElementView<'_, A>, name: &str) -> Result<Vec<Endpoint>, XmlError> {
    let endpoints = role.children().filter(|child| child.is(MD, name));
    endpoints
        .map(|endpoint| {
            Ok(Endpoint {
                binding: read::required(&endpoint, "Binding", "an endpoint without Binding")?.to_owned(),
                location: location(&endpoint, "Location")?.ok_or_else(|| endpoint.unreadable("an endpoint without Location"))?,
                response_location: location(&endpoint, "ResponseLocation")?,
            })
        })
        .collect()
}

fn read_indexed<A: Authority>(role: &ElementView<'_, A>, name: &str) -> Result<Vec<IndexedEndpoint>, XmlError> {
    let endpoints = role.children().filter(|child| child.is(MD, name));
    let endpoints: Vec<_> = endpoints
        .map(|endpoint| {
            Ok(IndexedEndpoint {
                index: read::number(&endpoint, "index")?.ok_or_else(|| endpoint.unreadable("an indexed endpoint without index"))?,
                is_default: read::boolean(&endpoint, "isDefault")?,
                binding: read::required(&endpoint, "Binding", "an endpoint without Binding")?.to_owned(),
                location: location(&endpoint, "Location")?.ok_or_else(|| endpoint.unreadable("an endpoint without Location"))?,
            })
        })
        .collect::<Result<_, XmlError>>()?;
    let mut indexes: Vec<_> = endpoints.iter().map(|endpoint| endpoint.index).collect();
    indexes.sort_unstable();
    indexes.dedup();
    if indexes.len() == endpoints.len() { Ok(endpoints) } else { Err(XmlError::Ambiguous(format!("{name} of one index"))) }
}

fn location<A: Authority>(endpoint: &ElementView<'_, A>, name: &str) -> Result<Option<String>, XmlError> {
    match endpoint.attribute("", name) {
        None => Ok(None),
        Some(location) if is_endpoint(location) => Ok(Some(location.to_owned())),
        Some(_) => Err(endpoint.unreadable("an address that is no plain one of http or https")),
    }
}

fn read_formats<A: Authority>(role: &ElementView<'_, A>) -> Result<Vec<String>, XmlError> {
    role.children().filter(|child| child.is(MD, "NameIDFormat")).map(|format| read::token(&format)).collect()
}

fn read_scopes<A: Authority>(element: &ElementView<'_, A>) -> Result<Vec<Scope>, XmlError> {
    let extensions = element.children().filter(|child| child.is(MD, "Extensions"));
    let scopes = extensions.flat_map(|extensions| extensions.children()).filter(|child| child.is(SHIBMD, "Scope"));
    scopes.map(|scope| Ok(Scope { value: read::token(&scope)?, regexp: read::boolean(&scope, "regexp")?.unwrap_or(false) })).collect()
}
