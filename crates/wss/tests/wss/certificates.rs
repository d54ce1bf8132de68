//! Paths from a message's certificate to an anchor, with dates, usages and revocation lists.

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256, RevokedCertParams, SerialNumber, date_time_ymd,
};
use vestibule_soap::Version as Soap;
use vestibule_wss::{CertificateFault, CertificateStore, Header, KeyReference, Part, Reason, Revocation, TokenKind};
use vestibule_xmlsec::SigningKey;

use crate::common::{World, der};
use crate::roundtrip::{envelope, plain, write};

fn now() -> Timestamp {
    "2026-03-01T12:01:00Z".parse().unwrap()
}

fn params(name: &str, is_ca: bool) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    if is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    }
    params
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn root(name: &str) -> Self {
        Self(CertifiedIssuer::self_signed(params(name, true), KeyPair::generate().unwrap()).unwrap())
    }

    fn below(&self, name: &str) -> Self {
        Self(CertifiedIssuer::signed_by(params(name, true), KeyPair::generate().unwrap(), &self.0).unwrap())
    }

    fn der(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    fn leaf(&self, change: impl FnOnce(&mut CertificateParams)) -> (Vec<u8>, KeyPair) {
        let mut params = params("leaf", false);
        params.serial_number = Some(SerialNumber::from(7));
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().der().to_vec(), key)
    }

    /// A list that revokes these serial numbers, until that day of March 2026.
    fn list(&self, serials: &[u64], until: u8) -> Vec<u8> {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2026, 1, 2),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 2),
            next_update: date_time_ymd(2026, 3, until),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).unwrap().der().to_vec()
    }
}

fn trusting(root: &Authority) -> CertificateStore {
    let mut store = CertificateStore::new();
    store.trust_anchor(&root.der()).unwrap();
    store
}

#[test]
fn a_path_leads_to_an_anchor_or_nobody_is_trusted() {
    let (root, stranger) = (Authority::root("root"), Authority::root("root"));
    let between = root.below("between");
    let (near, _) = root.leaf(|_| {});
    let (far, _) = between.leaf(|_| {});
    let (foreign, _) = stranger.leaf(|_| {});
    let mut store = trusting(&root);
    assert!(store.judge(std::slice::from_ref(&near), now()).is_ok());
    assert_eq!(store.judge(std::slice::from_ref(&foreign), now()).unwrap_err(), CertificateFault::Unknown);
    assert_eq!(store.judge(&[foreign, stranger.der()], now()).unwrap_err(), CertificateFault::Unknown);
    assert_eq!(store.judge(std::slice::from_ref(&far), now()).unwrap_err(), CertificateFault::Unknown);
    assert!(store.judge(&[far.clone(), between.der()], now()).is_ok());
    // A leaf is no authority.
    let (leaf, key) = root.leaf(|_| {});
    let issuer = rcgen::Issuer::new(params("leaf", false), key);
    let below = params("below", false).signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().der().to_vec();
    assert_eq!(store.judge(&[below, leaf], now()).unwrap_err(), CertificateFault::Unknown);
    store.intermediate(&between.der()).unwrap();
    assert!(store.judge(std::slice::from_ref(&far), now()).is_ok());
    assert_eq!(store.judge(&vec![near; 9], now()).unwrap_err(), CertificateFault::TooLong);
    assert_eq!(store.judge(&[], now()).unwrap_err(), CertificateFault::Unreadable);
    assert_eq!(store.judge(&[b"none".to_vec()], now()).unwrap_err(), CertificateFault::Unreadable);
}

#[test]
fn dates_and_usages_count_also_where_a_path_is_remembered() {
    let root = Authority::root("root");
    let store = trusting(&root);
    let (leaf, _) = root.leaf(|params| params.not_after = date_time_ymd(2026, 3, 2));
    let chain = [leaf];
    assert!(store.judge(&chain, now()).is_ok());
    assert!(store.judge(&chain, "2026-03-01T23:59:59Z".parse().unwrap()).is_ok());
    for late in ["2026-03-02T00:00:01Z", "2028-01-01T00:00:00Z", "2025-12-31T23:59:59Z"] {
        assert_eq!(store.judge(&chain, late.parse().unwrap()).unwrap_err(), CertificateFault::Expired, "{late}");
    }
    let (enciphers, _) = root.leaf(|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment]);
    assert_eq!(store.judge(&[enciphers], now()).unwrap_err(), CertificateFault::Usage);
    let (signs, _) = root.leaf(|params| params.key_usages = vec![KeyUsagePurpose::ContentCommitment]);
    assert!(store.judge(&[signs], now()).is_ok());

    let mut known = CertificateStore::new();
    known.know(&chain[0]).unwrap();
    assert!(known.judge(&chain, now()).is_ok());
    assert_eq!(known.judge(&chain, "2026-03-02T00:00:01Z".parse().unwrap()).unwrap_err(), CertificateFault::Expired);
}

#[test]
fn revocation_lists_are_asked_as_told() {
    let root = Authority::root("root");
    let (leaf, _) = root.leaf(|_| {});
    let chain = [leaf];
    let with = |list: Option<Vec<u8>>, revocation| {
        let mut store = trusting(&root).checking(revocation);
        list.iter().for_each(|list| store.revocation_list(list).unwrap());
        store.judge(&chain, now()).map(drop)
    };
    for (list, revocation, expected) in [
        (None, Revocation::Unchecked, Ok(())),
        (None, Revocation::IfKnown, Ok(())),
        (None, Revocation::Required, Err(CertificateFault::Revoked)),
        (Some(root.list(&[8], 30)), Revocation::Required, Ok(())),
        (Some(root.list(&[7], 30)), Revocation::Required, Err(CertificateFault::Revoked)),
        (Some(root.list(&[7], 30)), Revocation::IfKnown, Err(CertificateFault::Revoked)),
        // A list whose time is over.
        (Some(root.list(&[8], 1)), Revocation::Required, Err(CertificateFault::Revoked)),
        (Some(root.list(&[8], 1)), Revocation::IfKnown, Ok(())),
        (Some(Authority::root("another").list(&[7], 30)), Revocation::Required, Err(CertificateFault::Revoked)),
        (Some(Authority::root("another").list(&[7], 30)), Revocation::IfKnown, Ok(())),
    ] {
        let listed = list.is_some();
        assert_eq!(with(list, revocation), expected, "{revocation:?} {listed}");
    }
    assert!(CertificateStore::new().revocation_list(b"none").is_err());
}

#[test]
fn a_message_may_bring_the_path_of_its_certificate() {
    let root = Authority::root("root");
    let between = root.below("between");
    let mut params = params("signer", false);
    params.serial_number = Some(SerialNumber::from(9));
    // A key of the corpus under a certificate of this path.
    let pem = std::fs::read_to_string(crate::common::corpus().join("recorded/keys/client-rsa2048.key")).unwrap();
    let key = KeyPair::from_pkcs8_pem_and_sign_algo(&pem, &PKCS_RSA_SHA256).unwrap();
    let leaf = params.signed_by(&key, &between.0).unwrap().der().to_vec();
    let signing = SigningKey::from_pkcs8("ws-security", &der("client-rsa2048.key"), Some(&leaf)).unwrap();
    let sign = vestibule_wss::SignWith {
        key: &signing,
        certificate: &leaf,
        parts: &[Part::Body, Part::Timestamp],
        reference: KeyReference::Direct,
    };
    let text = write(&Header { sign: Some(sign), ..plain() }, &envelope(Soap::Soap11, "")).unwrap();
    let mut world = World::of(&[TokenKind::X509]);
    world.certificates = trusting(&root);
    assert_eq!(world.judge(text.as_bytes()).unwrap_err().reason, Reason::UnknownKey);

    let inside = [between.der(), leaf.clone()].concat();
    let length = u16::try_from(inside.len()).unwrap().to_be_bytes();
    let path = [&[0x30, 0x82], length.as_slice(), &inside].concat();
    let with_path = text.replace(&base64(&leaf), &base64(&path)).replace("#X509v3\" wsu:Id", "#X509PKIPathv1\" wsu:Id");
    let read = world.judge(with_path.as_bytes()).unwrap();
    assert_eq!(read.certificate.unwrap().serial(), "9");
    // The certificate of another, in its place.
    let swapped = with_path.replace(&base64(&path), &base64(&der("client-rsa2048.crt")));
    assert!(world.judge(swapped.as_bytes()).is_err());
}

fn base64(octets: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(octets)
}
