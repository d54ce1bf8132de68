//! Client certificates (X.509, RFC 5280) as plain data, and the external ids under which users are known by them.
//!
//! Whoever made a certificate chose its text, so names are written in the one escaped form of RFC 4514: unescaped, one
//! issuer's name could be spelt like another's, and its serial numbers with it.

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use vestibule_engine::identity::ExternalId;
use vestibule_engine::request::{AlternativeName, ClientCertificate};
use x509_parser::asn1_rs::{Any, Class, FromDer, Oid, Tag, oid};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Who calls a user by a certificate. With colons, so that no realm has this name.
pub const ISSUER: &str = "urn:vestibule:certificate";
/// The attribute of an identity with the certificate (DER, base64) whose key its holder used.
pub const ATTRIBUTE: &str = "certificate";
/// Most alternative names of one certificate.
const MAX_NAMES: usize = 64;
/// Microsoft's user principal name, an `otherName`.
const UPN: Oid<'static> = oid!(1.3.6.1.4.1.311.20.2.3);

/// Reads a certificate. Nothing is validated here.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn read(der: &CertificateDer<'_>) -> Result<ClientCertificate, String> {
    let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| "this is not an X.509 certificate".to_owned())?;
    if !rest.is_empty() {
        return Err("something follows the certificate".to_owned());
    }
    let alternative = parsed.subject_alternative_name().map_err(|_| "the certificate's names cannot be read".to_owned())?;
    let names = alternative.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    if names.len() > MAX_NAMES {
        return Err(format!("the certificate has more than {MAX_NAMES} names"));
    }
    let mut common = parsed.subject().iter_common_name();
    let common_name = match (common.next(), common.next()) {
        (Some(only), None) => only.as_str().ok().map(str::to_owned),
        // Which of two is meant nobody can say.
        (_, _) => None,
    };
    Ok(ClientCertificate {
        der: der.as_ref().into(),
        thumbprint: hex(digest(&SHA256, der).as_ref()),
        subject: name(parsed.subject()),
        common_name,
        names: names.iter().filter_map(alternative_name).collect(),
        issuer: name(parsed.issuer()),
        serial: hex(parsed.raw_serial()),
    })
}

/// The id of the user to whom this very certificate was linked.
pub fn by_thumbprint(certificate: &ClientCertificate) -> ExternalId {
    ExternalId { issuer: ISSUER.into(), id: format!("sha256:{}", certificate.thumbprint) }
}

/// The id of the user to whom it was linked by its issuer and serial number.
pub fn by_serial(certificate: &ClientCertificate) -> ExternalId {
    ExternalId { issuer: ISSUER.into(), id: format!("serial:{};{}", certificate.serial, certificate.issuer) }
}

fn alternative_name(name: &GeneralName<'_>) -> Option<AlternativeName> {
    match name {
        GeneralName::RFC822Name(mail) => Some(AlternativeName::Mail((*mail).to_owned())),
        GeneralName::DNSName(name) => Some(AlternativeName::Dns(name.to_ascii_lowercase())),
        GeneralName::URI(uri) => Some(AlternativeName::Uri((*uri).to_owned())),
        GeneralName::OtherName(kind, value) if *kind == UPN => principal(value).map(AlternativeName::Principal),
        _ => None,
    }
}

/// `[0] EXPLICIT UTF8String`.
fn principal(value: &[u8]) -> Option<String> {
    let (_, outer) = Any::from_der(value).ok()?;
    if outer.class() != Class::ContextSpecific || outer.tag() != Tag(0) {
        return None;
    }
    let (_, inner) = Any::from_der(outer.data).ok()?;
    let text = std::str::from_utf8(inner.data).ok().filter(|_| inner.tag() == Tag::Utf8String)?;
    Some(text.to_owned())
}

/// A distinguished name as text (RFC 4514 §2).
fn name(name: &X509Name<'_>) -> String {
    let parts: Vec<String> = name.iter().map(|part| part.iter().map(attribute).collect::<Vec<_>>().join("+")).collect();
    parts.iter().rev().map(String::as_str).collect::<Vec<_>>().join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let kind = attribute.attr_type();
    match (oid2abbrev(kind, oid_registry()), attribute.as_str()) {
        (Ok(short), Ok(text)) if !short.is_empty() => format!("{short}={}", escaped(text)),
        // §2.4: what has no short name, or is no text, stands there as its octets.
        (_, _) => format!("{}=#{}", kind.to_id_string(), hex(attribute.as_slice())),
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let last = text.chars().count().saturating_sub(1);
    for (at, c) in text.chars().enumerate() {
        let outside = (at == 0 && matches!(c, ' ' | '#')) || (at == last && c == ' ');
        if c.is_control() {
            let mut octets = [0; 4];
            for octet in c.encode_utf8(&mut octets).bytes() {
                escaped.push_str(&format!("\\{octet:02x}"));
            }
            continue;
        }
        if outside || matches!(c, '"' | '+' | ',' | ';' | '<' | '>' | '=' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, CustomExtension, DistinguishedName, DnType, KeyPair, OtherNameValue, SanType, SerialNumber};

    use super::*;

    fn made(change: impl FnOnce(&mut CertificateParams)) -> ClientCertificate {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        change(&mut params);
        read(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der()).unwrap()
    }

    #[test]
    fn a_certificate_is_read_as_what_it_says() {
        let certificate = made(|params| {
            params.distinguished_name.push(DnType::OrganizationName, "North, Ltd");
            params.distinguished_name.push(DnType::CommonName, "Ada");
            params.serial_number = Some(SerialNumber::from(0x1234_u64));
            params.subject_alt_names = vec![
                SanType::Rfc822Name("ada@north.example".try_into().unwrap()),
                SanType::DnsName("Ada.north.example".try_into().unwrap()),
                SanType::URI("urn:ada".try_into().unwrap()),
                SanType::OtherName((vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 3], OtherNameValue::Utf8String("ada@NORTH".to_owned()))),
                SanType::OtherName((vec![1, 2, 3], OtherNameValue::Utf8String("eve".to_owned()))),
            ];
        });
        assert_eq!(certificate.subject, "CN=Ada,O=North\\, Ltd");
        assert_eq!(certificate.issuer, certificate.subject);
        assert_eq!(certificate.common_name.as_deref(), Some("Ada"));
        assert_eq!(certificate.serial, "1234");
        assert_eq!(certificate.thumbprint.len(), 64);
        let names = [
            AlternativeName::Mail("ada@north.example".to_owned()),
            AlternativeName::Dns("ada.north.example".to_owned()),
            AlternativeName::Uri("urn:ada".to_owned()),
            AlternativeName::Principal("ada@NORTH".to_owned()),
        ];
        assert_eq!(certificate.names, names);
        assert_eq!(by_serial(&certificate).id, "serial:1234;CN=Ada,O=North\\, Ltd");
        assert_eq!(by_thumbprint(&certificate).issuer.as_str(), ISSUER);
    }

    #[test]
    fn no_issuer_can_spell_itself_like_another() {
        let one = made(|params| {
            params.distinguished_name.push(DnType::OrganizationName, "A");
            params.distinguished_name.push(DnType::CommonName, "B");
        });
        let other = made(|params| params.distinguished_name.push(DnType::CommonName, "B,O=A"));
        assert_eq!((one.issuer.as_str(), other.issuer.as_str()), ("CN=B,O=A", "CN=B\\,O\\=A"));
        let odd = made(|params| params.distinguished_name.push(DnType::CommonName, " #a\u{7}+ "));
        assert_eq!(odd.subject, "CN=\\ #a\\07\\+\\ ");
        let unknown = made(|params| params.distinguished_name.push(DnType::CustomDnType(vec![1, 2, 3]), "x"));
        assert_eq!(unknown.subject, "1.2.3=#78");
    }

    #[test]
    fn two_common_names_are_none() {
        // rcgen keeps one of each type; two are made by hand: CN=a, CN=b.
        let octets =
            [0x30, 0x18, 0x31, 0x0a, 0x30, 0x08, 6, 3, 0x55, 4, 3, 0x0c, 1, b'a', 0x31, 0x0a, 0x30, 0x08, 6, 3, 0x55, 4, 3, 0x0c, 1, b'b'];
        let (_, both) = X509Name::from_der(&octets).unwrap();
        assert_eq!(name(&both), "CN=b,CN=a");
        assert_eq!(both.iter_common_name().count(), 2);
    }

    #[test]
    fn what_is_no_certificate_is_said_to_be_none() {
        assert!(read(&CertificateDer::from(vec![0x30, 0])).is_err());
        let mut params = CertificateParams::default();
        params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 17], vec![0xff])];
        assert!(read(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der()).is_err());
        let mut followed = CertificateParams::default().self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
        followed.push(0);
        assert!(read(&followed.into()).is_err());
    }
}
