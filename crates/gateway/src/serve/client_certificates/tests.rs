//! Authorities, lists and certificates made for the occasion.

use http::HeaderValue;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};

use super::*;

/// Within the validity of what is made below.
fn now() -> Timestamp {
    "2030-06-01T00:00:00Z".parse().unwrap()
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issued(by: &CertifiedIssuer<'static, KeyPair>, serial: u64, change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "ada");
    params.serial_number = Some(SerialNumber::from(serial));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    (params.not_before, params.not_after) = (date_time_ymd(2030, 1, 1), date_time_ymd(2031, 1, 1));
    change(&mut params);
    params.signed_by(&KeyPair::generate().unwrap(), by).unwrap().der().clone()
}

fn list(by: &CertifiedIssuer<'static, KeyPair>, until: i32, revoked: &[u64]) -> CertificateRevocationListDer<'static> {
    let revoked = revoked.iter().map(|serial| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: date_time_ymd(2030, 1, 2),
        reason_code: None,
        invalidity_date: None,
    });
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2029, 12, 1),
        next_update: date_time_ymd(until, 1, 1),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(by).unwrap().into()
}

fn trust(by: &CertifiedIssuer<'static, KeyPair>, lists: Vec<CertificateRevocationListDer<'static>>) -> ClientTrust {
    ClientTrust::new(&[by.der().clone()], lists, Demand::Optional).unwrap()
}

#[test]
fn what_holds_and_what_does_not_has_a_name() {
    let (north, south) = (authority("North"), authority("South"));
    let hers = issued(&north, 1, |_| {});
    let check = |trust: &ClientTrust, certificate: &CertificateDer<'static>| trust.check(std::slice::from_ref(certificate), now());
    let plain = trust(&north, Vec::new());
    assert_eq!(check(&plain, &hers), Ok(()));
    assert_eq!(check(&plain, &issued(&south, 1, |_| {})), Err(Reason::CertificateUntrusted));
    let server = issued(&north, 1, |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    assert_eq!(check(&plain, &server), Err(Reason::CertificateUntrusted));
    let old = issued(&north, 1, |params| params.not_after = date_time_ymd(2030, 2, 1));
    assert_eq!(check(&plain, &old), Err(Reason::CertificateExpired));
    let early = issued(&north, 1, |params| params.not_before = date_time_ymd(2030, 12, 1));
    assert_eq!(check(&plain, &early), Err(Reason::CertificateExpired));
    assert_eq!(check(&plain, &CertificateDer::from(vec![0x30, 0])), Err(Reason::MalformedCredential));
    assert_eq!(plain.check(&[], now()), Err(Reason::MalformedCredential));

    let watched = trust(&north, vec![list(&north, 2031, &[2])]);
    assert_eq!(check(&watched, &hers), Ok(()));
    assert_eq!(check(&watched, &issued(&north, 2, |_| {})), Err(Reason::CertificateRevoked));
    // A list of somebody else, a list that is over, a list that somebody else signed.
    assert_eq!(check(&trust(&north, vec![list(&south, 2031, &[])]), &hers), Err(Reason::RevocationUnknown));
    assert_eq!(check(&trust(&north, vec![list(&north, 2030, &[])]), &hers), Err(Reason::RevocationUnknown));
    let forged = authority("North");
    assert!(check(&trust(&north, vec![list(&forged, 2031, &[])]), &hers).is_err());
}

#[test]
fn the_whole_chain_is_asked_for_revocation() {
    let root = authority("Root");
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Between");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(SerialNumber::from(9_u64));
    let between = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &root).unwrap();
    let chain = [issued(&between, 1, |_| {}), between.der().clone()];
    let check = |lists| trust(&root, lists).check(&chain, now());
    assert_eq!(check(vec![]), Ok(()));
    assert_eq!(check(vec![list(&root, 2031, &[]), list(&between, 2031, &[])]), Ok(()));
    assert_eq!(check(vec![list(&root, 2031, &[9]), list(&between, 2031, &[])]), Err(Reason::CertificateRevoked));
    assert_eq!(check(vec![list(&root, 2031, &[]), list(&between, 2031, &[1])]), Err(Reason::CertificateRevoked));
    assert_eq!(check(vec![list(&root, 2031, &[])]), Err(Reason::RevocationUnknown));
}

#[test]
fn what_held_once_is_asked_again() {
    let north = authority("North");
    let hers = issued(&north, 1, |_| {});
    let presented = Presented::of(Some(std::slice::from_ref(&hers))).unwrap();
    let before = Arc::new(trust(&north, vec![list(&north, 2032, &[])]));
    assert!(presented.holds(&before, now()).is_ok());
    // A reload brought another list; the time ran out.
    let after = Arc::new(trust(&north, vec![list(&north, 2032, &[1])]));
    assert_eq!(presented.holds(&after, now()).unwrap_err(), Reason::CertificateRevoked);
    let over = "2031-01-01T00:00:01Z".parse().unwrap();
    assert_eq!(presented.holds(&before, over).unwrap_err(), Reason::CertificateExpired);
    assert!(Presented::of(None).is_none() && Presented::of(Some(&[])).is_none());
}

fn pem_text(der: &CertificateDer<'_>) -> String {
    let base64 = STANDARD.encode(der);
    let lines: Vec<&str> = base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

fn shown(forwarded: &ForwardedCertificate, fields: &[(&str, &str)]) -> Shown {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    forwarded.shown(&headers, now())
}

#[test]
fn a_forwarded_certificate_is_read_as_real_proxies_write_it() {
    let (north, south) = (authority("North"), authority("South"));
    let (hers, other) = (issued(&north, 1, |_| {}), issued(&south, 1, |_| {}));
    let escaped = |der| utf8_percent_encode(&pem_text(der), NON_ALPHANUMERIC).to_string();
    // nginx and Envoy leave dashes alone.
    let partly = |der| pem_text(der).replace('\n', "%0A").replace(' ', "%20").replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let plain = STANDARD.encode(&hers);
    let with = |header: &str| ForwardedCertificate::new(HeaderName::try_from(header).unwrap(), trust(&north, Vec::new()));
    let hops = format!("Hash=1;Cert=\"{}\",By=x;Cert=\"{}\";Subject=\"CN=a;b,c\"", partly(&other), escaped(&hers));
    for (header, value) in [
        ("client-cert", format!(":{plain}:")),
        ("x-ssl-client-cert", partly(&hers)),
        ("x-ssl-client-cert", plain.clone()),
        ("x-forwarded-tls-client-cert", format!("{plain},{}", STANDARD.encode(&other))),
        ("x-forwarded-client-cert", hops),
    ] {
        match shown(&with(header), &[(header, &value)]) {
            Shown::Certificate(certificate) => assert_eq!(certificate.common_name.as_deref(), Some("ada"), "{header}"),
            wrong => panic!("{header}: {wrong:?}"),
        }
    }
    let rfc = with("client-cert");
    for (fields, wanted) in [
        (vec![], Shown::Nothing),
        (vec![("client-cert", "")], Shown::Nothing),
        (vec![("client-cert", ":AA==:"), ("client-cert", ":AA==:")], Shown::Refused(Reason::DuplicateCredential)),
        (vec![("client-cert", ":AA==")], Shown::Refused(Reason::MalformedCredential)),
        (vec![("client-cert", ":AA==:")], Shown::Refused(Reason::MalformedCredential)),
        (vec![("client-cert", "%%%")], Shown::Refused(Reason::MalformedCredential)),
    ] {
        assert_eq!(shown(&rfc, &fields), wanted, "{fields:?}");
    }
    let foreign = format!(":{}:", STANDARD.encode(&other));
    assert_eq!(shown(&rfc, &[("client-cert", &foreign)]), Shown::Refused(Reason::CertificateUntrusted));
    let two = format!("{}{}", partly(&hers), partly(&other));
    assert_eq!(shown(&with("x-cert"), &[("x-cert", &two)]), Shown::Refused(Reason::MalformedCredential));
    let doubled = format!("Cert=\"{}\";Cert=\"{}\"", partly(&hers), partly(&hers));
    let xfcc = with("x-forwarded-client-cert");
    assert_eq!(shown(&xfcc, &[("x-forwarded-client-cert", &doubled)]), Shown::Refused(Reason::DuplicateCredential));
    assert_eq!(shown(&xfcc, &[("x-forwarded-client-cert", "By=a;Hash=b")]), Shown::Nothing);
}

#[test]
fn a_chain_that_is_forwarded_is_walked() {
    let root = authority("Root");
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Between");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let between = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &root).unwrap();
    let hers = format!(":{}:", STANDARD.encode(issued(&between, 1, |_| {})));
    let chain = format!(":{}:", STANDARD.encode(between.der()));
    let rfc = ForwardedCertificate::new(HeaderName::from_static(CLIENT_CERT), trust(&root, Vec::new()));
    assert_eq!(shown(&rfc, &[("client-cert", &hers)]), Shown::Refused(Reason::CertificateUntrusted));
    assert!(matches!(shown(&rfc, &[("client-cert", &hers), ("client-cert-chain", &chain)]), Shown::Certificate(_)));
    let many = [chain.as_str(); MAX_CHAIN + 1].join(", ");
    let too_many = shown(&rfc, &[("client-cert", &hers), ("client-cert-chain", &many)]);
    assert_eq!(too_many, Shown::Refused(Reason::MalformedCredential));
}

#[test]
fn every_spelling_of_a_forwarding_header_is_known() {
    let forwarding = ["client-cert", "x-ssl-client-cert"].map(HeaderName::from_static);
    for name in ["client-cert", "client_cert", "client-cert-chain", "x-ssl-client-cert", "x_ssl_client_cert", "x.ssl-client_cert"] {
        assert!(is_forwarding(&HeaderName::try_from(name).unwrap(), &forwarding), "{name}");
    }
    for name in ["client-certs", "x-ssl-client-cert-chain", "x-client-cert"] {
        assert!(!is_forwarding(&HeaderName::try_from(name).unwrap(), &forwarding), "{name}");
    }
}
