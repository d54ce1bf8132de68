//! Names that the standards give: namespaces, bindings, formats, methods, status codes.

/// SAML 2.0 assertions.
pub const SAML: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
/// SAML 2.0 messages.
pub const SAMLP: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
/// SAML 2.0 metadata.
pub const MD: &str = "urn:oasis:names:tc:SAML:2.0:metadata";
/// SAML 1.1 assertions; the name says 1.0 in both.
pub const SAML1: &str = "urn:oasis:names:tc:SAML:1.0:assertion";
/// SAML 1.1 messages; the name says 1.0 in both.
pub const SAMLP1: &str = "urn:oasis:names:tc:SAML:1.0:protocol";
/// How metadata say that a role speaks SAML 1.1. Never the namespace of an element.
pub const SUPPORTS_SAML11: &str = "urn:oasis:names:tc:SAML:1.1:protocol";
/// How metadata say that a role takes the requests of Shibboleth 1. Never the namespace of an element.
pub const SUPPORTS_SHIBBOLETH: &str = "urn:mace:shibboleth:1.0";
/// XML Signature.
pub const DS: &str = "http://www.w3.org/2000/09/xmldsig#";
/// XML Encryption.
pub const XENC: &str = "http://www.w3.org/2001/04/xmlenc#";
/// SOAP 1.1, which both SOAP bindings use.
pub const SOAP11: &str = "http://schemas.xmlsoap.org/soap/envelope/";
/// `xsi:nil`.
pub const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";
/// Scopes in metadata, an extension that many federations share.
pub const SHIBMD: &str = "urn:mace:shibboleth:metadata:1.0";

/// Bindings (SAML bindings §3).
pub mod binding {
    /// Deflated, in the query.
    pub const REDIRECT: &str = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect";
    /// In a form.
    pub const POST: &str = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST";
    /// A reference in the query, the message by SOAP.
    pub const ARTIFACT: &str = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Artifact";
    /// SOAP 1.1.
    pub const SOAP: &str = "urn:oasis:names:tc:SAML:2.0:bindings:SOAP";
    /// SAML 1.1 Browser/POST.
    pub const SAML11_POST: &str = "urn:oasis:names:tc:SAML:1.0:profiles:browser-post";
    /// SAML 1.1 Browser/Artifact.
    pub const SAML11_ARTIFACT: &str = "urn:oasis:names:tc:SAML:1.0:profiles:artifact-01";
    /// How the service providers of Shibboleth ask for a login of SAML 1.1, which has no request of its own.
    pub const SHIBBOLETH: &str = "urn:mace:shibboleth:1.0:profiles:AuthnRequest";
    /// SAML 1.1 over SOAP.
    pub const SAML11_SOAP: &str = "urn:oasis:names:tc:SAML:1.0:bindings:SOAP-binding";
}

/// What a NameID is (SAML core §8.3).
pub mod name_id {
    /// Nothing is said.
    pub const UNSPECIFIED: &str = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified";
    /// An address of mail.
    pub const EMAIL: &str = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress";
    /// A pseudonym that stays, one for each service provider.
    pub const PERSISTENT: &str = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent";
    /// A pseudonym for one session.
    pub const TRANSIENT: &str = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient";
    /// An entity, the format of issuers.
    pub const ENTITY: &str = "urn:oasis:names:tc:SAML:2.0:nameid-format:entity";
}

/// How an attribute's name is meant (SAML core §8.2).
pub mod attribute {
    /// SAML 1.1, as Shibboleth named it and everybody after: the name is a URI, or a plain one.
    pub const SAML11: &str = "urn:mace:shibboleth:1.0:attributeNamespace:uri";
    /// Nothing is said.
    pub const UNSPECIFIED: &str = "urn:oasis:names:tc:SAML:2.0:attrname-format:unspecified";
    /// A plain name.
    pub const BASIC: &str = "urn:oasis:names:tc:SAML:2.0:attrname-format:basic";
    /// A URI.
    pub const URI: &str = "urn:oasis:names:tc:SAML:2.0:attrname-format:uri";
}

/// How somebody signed in (SAML authentication context; SAML 1.1 core §7.1).
pub mod authn_context {
    /// Nothing is said.
    pub const UNSPECIFIED: &str = "urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified";
    /// A password over TLS.
    pub const PASSWORD_PROTECTED_TRANSPORT: &str = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport";
    /// A password.
    pub const PASSWORD: &str = "urn:oasis:names:tc:SAML:2.0:ac:classes:Password";
    /// A certificate in TLS.
    pub const TLS_CLIENT: &str = "urn:oasis:names:tc:SAML:2.0:ac:classes:TLSClient";
    /// A certificate.
    pub const X509: &str = "urn:oasis:names:tc:SAML:2.0:ac:classes:X509";
    /// SAML 1.1: a password.
    pub const SAML11_PASSWORD: &str = "urn:oasis:names:tc:SAML:1.0:am:password";
    /// SAML 1.1: a certificate in TLS.
    pub const SAML11_TLS_CLIENT: &str = "urn:ietf:rfc:2246";
    /// SAML 1.1: nothing is said.
    pub const SAML11_UNSPECIFIED: &str = "urn:oasis:names:tc:SAML:1.0:am:unspecified";
}

/// Status codes (SAML core §3.2.2.2).
pub mod status {
    /// It worked.
    pub const SUCCESS: &str = "urn:oasis:names:tc:SAML:2.0:status:Success";
    /// The requester's fault.
    pub const REQUESTER: &str = "urn:oasis:names:tc:SAML:2.0:status:Requester";
    /// The responder's fault.
    pub const RESPONDER: &str = "urn:oasis:names:tc:SAML:2.0:status:Responder";
    /// Another version is spoken.
    pub const VERSION_MISMATCH: &str = "urn:oasis:names:tc:SAML:2.0:status:VersionMismatch";
    /// Signing in failed.
    pub const AUTHN_FAILED: &str = "urn:oasis:names:tc:SAML:2.0:status:AuthnFailed";
    /// The format of name that was asked for is not offered.
    pub const INVALID_NAME_ID_POLICY: &str = "urn:oasis:names:tc:SAML:2.0:status:InvalidNameIDPolicy";
    /// The authentication context that was asked for is not offered.
    pub const NO_AUTHN_CONTEXT: &str = "urn:oasis:names:tc:SAML:2.0:status:NoAuthnContext";
    /// Nobody could be asked, and nobody is signed in.
    pub const NO_PASSIVE: &str = "urn:oasis:names:tc:SAML:2.0:status:NoPassive";
    /// Some participants of a session could not be reached.
    pub const PARTIAL_LOGOUT: &str = "urn:oasis:names:tc:SAML:2.0:status:PartialLogout";
    /// Refused.
    pub const REQUEST_DENIED: &str = "urn:oasis:names:tc:SAML:2.0:status:RequestDenied";
    /// Not offered.
    pub const REQUEST_UNSUPPORTED: &str = "urn:oasis:names:tc:SAML:2.0:status:RequestUnsupported";
    /// Nobody of that name.
    pub const UNKNOWN_PRINCIPAL: &str = "urn:oasis:names:tc:SAML:2.0:status:UnknownPrincipal";
}
