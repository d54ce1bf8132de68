//! Writing our own metadata.

use vestibule_xmlsec::{Placement, Purpose, SigningKey};

use super::{Endpoint, Entity, IdpRole, IndexedEndpoint, KeyDescriptor, Protocols, SpRole, Usage};
use crate::assertion::check_id;
use crate::binding::is_endpoint;
use crate::error::{BindingFault, Error};
use crate::issued::Issued;
use crate::names::{DS, MD, SHIBMD, SUPPORTS_SHIBBOLETH, binding};
use crate::time::written;
use crate::write::{self, Writer};

impl Entity {
    /// The metadata, unsigned.
    ///
    /// # Errors
    /// [`Error::Unwritable`] without a role or an address it needs, [`Error::Binding`] for an address that is none.
    pub fn unsigned(&self) -> Result<Issued, Error> {
        self.to_xml(None).map(Issued::unsigned)
    }

    /// The metadata with an enveloped signature. `id` is what it refers to; see [`message_id`](crate::protocol::message_id).
    ///
    /// # Errors
    /// As [`Entity::unsigned`], and [`Error::Xml`] if the key cannot sign.
    pub fn signed<P: Purpose>(&self, id: &str, key: &SigningKey<P>) -> Result<Issued, Error> {
        check_id(id)?;
        Issued::signed(&self.to_xml(Some(id))?, (MD, "EntityDescriptor"), Placement::First, key)
    }

    fn to_xml(&self, id: Option<&str>) -> Result<String, Error> {
        if self.entity_id.is_empty() || (self.idp.is_none() && self.sp.is_none()) {
            return Err(Error::Unwritable("metadata need an entity id and a role"));
        }
        if self.idp.as_ref().is_some_and(|idp| idp.sso.is_empty()) || self.sp.as_ref().is_some_and(|sp| sp.acs.is_empty()) {
            return Err(Error::Unwritable("a role needs an address for requests or responses"));
        }
        if self.locations().any(|location| !is_endpoint(location)) {
            return Err(Error::Binding(BindingFault::Location));
        }
        write::document("md:EntityDescriptor", |w| {
            w.declare("md", MD);
            w.optional("ID", id);
            w.attribute("entityID", &self.entity_id);
            w.optional("validUntil", self.valid_until.map(written).as_deref());
            w.optional("cacheDuration", self.cache_duration.map(|cache| format!("PT{}S", cache.as_secs())).as_deref());
            if let Some(idp) = &self.idp {
                write_idp(w, idp);
            }
            if let Some(sp) = &self.sp {
                write_sp(w, sp, self.display_name.as_deref().unwrap_or(&self.entity_id));
            }
            if let Some(name) = &self.display_name {
                w.element("md:Organization", |w| {
                    for element in ["md:OrganizationName", "md:OrganizationDisplayName"] {
                        w.element(element, |w| {
                            w.attribute("xml:lang", "en");
                            w.text(name);
                        });
                    }
                    w.element("md:OrganizationURL", |w| {
                        w.attribute("xml:lang", "en");
                        w.text(&self.entity_id);
                    });
                });
            }
        })
    }

    fn locations(&self) -> impl Iterator<Item = &str> {
        let idp = self.idp.iter().flat_map(|idp| {
            let indexed = idp.artifact_resolution.iter().map(|endpoint| endpoint.location.as_str());
            idp.sso.iter().chain(&idp.slo).map(|endpoint| endpoint.location.as_str()).chain(indexed)
        });
        let sp = self.sp.iter().flat_map(|sp| {
            let indexed = sp.acs.iter().map(|endpoint| endpoint.location.as_str());
            sp.slo.iter().map(|endpoint| endpoint.location.as_str()).chain(indexed)
        });
        idp.chain(sp)
    }
}

fn write_idp(w: &mut Writer, idp: &IdpRole) {
    w.element("md:IDPSSODescriptor", |w| {
        if idp.want_authn_requests_signed {
            w.attribute("WantAuthnRequestsSigned", "true");
        }
        let mut protocols = supported(idp.protocols);
        if idp.sso.iter().any(|endpoint| endpoint.binding == binding::SHIBBOLETH) {
            protocols = format!("{protocols} {SUPPORTS_SHIBBOLETH}");
        }
        w.attribute("protocolSupportEnumeration", &protocols);
        if !idp.scopes.is_empty() {
            w.element("md:Extensions", |w| {
                for scope in &idp.scopes {
                    w.element("shibmd:Scope", |w| {
                        w.declare("shibmd", SHIBMD);
                        w.attribute("regexp", if scope.regexp { "true" } else { "false" });
                        w.text(&scope.value);
                    });
                }
            });
        }
        write_keys(w, &idp.keys);
        idp.artifact_resolution.iter().for_each(|endpoint| write_indexed(w, "md:ArtifactResolutionService", endpoint));
        idp.slo.iter().for_each(|endpoint| write_endpoint(w, "md:SingleLogoutService", endpoint));
        idp.name_id_formats.iter().for_each(|format| w.leaf("md:NameIDFormat", format));
        idp.sso.iter().for_each(|endpoint| write_endpoint(w, "md:SingleSignOnService", endpoint));
    });
}

fn write_sp(w: &mut Writer, sp: &SpRole, name: &str) {
    w.element("md:SPSSODescriptor", |w| {
        w.attribute("AuthnRequestsSigned", if sp.authn_requests_signed { "true" } else { "false" });
        w.attribute("WantAssertionsSigned", if sp.want_assertions_signed { "true" } else { "false" });
        w.attribute("protocolSupportEnumeration", &supported(sp.protocols));
        write_keys(w, &sp.keys);
        sp.slo.iter().for_each(|endpoint| write_endpoint(w, "md:SingleLogoutService", endpoint));
        sp.name_id_formats.iter().for_each(|format| w.leaf("md:NameIDFormat", format));
        sp.acs.iter().for_each(|endpoint| write_indexed(w, "md:AssertionConsumerService", endpoint));
        if !sp.requested_attributes.is_empty() {
            w.element("md:AttributeConsumingService", |w| {
                w.attribute("index", "0");
                w.element("md:ServiceName", |w| {
                    w.attribute("xml:lang", "en");
                    w.text(name);
                });
                for attribute in &sp.requested_attributes {
                    w.element("md:RequestedAttribute", |w| {
                        w.attribute("Name", &attribute.name);
                        w.optional("NameFormat", attribute.format.as_deref());
                        w.optional("FriendlyName", attribute.friendly_name.as_deref());
                        w.attribute("isRequired", if attribute.required { "true" } else { "false" });
                    });
                }
            });
        }
    });
}

fn supported(protocols: Protocols) -> String {
    let said = if protocols == Protocols::default() { Protocols { saml20: true, saml11: false } } else { protocols };
    said.enumeration()
}

fn write_keys(w: &mut Writer, keys: &[KeyDescriptor]) {
    for key in keys {
        w.element("md:KeyDescriptor", |w| {
            match key.usage {
                Usage::Signing => w.attribute("use", "signing"),
                Usage::Encryption => w.attribute("use", "encryption"),
                Usage::Both => {}
            }
            w.element("ds:KeyInfo", |w| {
                w.declare("ds", DS);
                w.element("ds:X509Data", |w| {
                    key.certificates.iter().for_each(|certificate| w.element("ds:X509Certificate", |w| w.base64(certificate)));
                });
            });
            for method in &key.encryption_methods {
                w.element("md:EncryptionMethod", |w| w.attribute("Algorithm", method));
            }
        });
    }
}

fn write_endpoint(w: &mut Writer, name: &'static str, endpoint: &Endpoint) {
    w.element(name, |w| {
        w.attribute("Binding", &endpoint.binding);
        w.attribute("Location", &endpoint.location);
        w.optional("ResponseLocation", endpoint.response_location.as_deref());
    });
}

fn write_indexed(w: &mut Writer, name: &'static str, endpoint: &IndexedEndpoint) {
    w.element(name, |w| {
        w.attribute("Binding", &endpoint.binding);
        w.attribute("Location", &endpoint.location);
        w.attribute("index", &endpoint.index.to_string());
        w.optional("isDefault", endpoint.is_default.map(|default| if default { "true" } else { "false" }));
    });
}
