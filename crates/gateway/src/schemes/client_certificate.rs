//! The scheme `client-certificate`: whoever holds the key of a certificate is the user it belongs to.
//!
//! That the certificate holds was found before (`serve::client_certificates`); here it is only asked whose it is. It is always
//! there, so it never stands against a session or a credential that was put into the request on purpose, and what a page
//! makes a browser send with it is held to the rules for cookies.

use async_trait::async_trait;
use vestibule_engine::audit::Trail;
use vestibule_engine::identity::{Attributes, Issuer, Level, SchemeName};
use vestibule_engine::request::{CheckRequest, Shown};
use vestibule_engine::scheme::{Asked, Outcome, Place, Proof, Rejection, Scheme, Unavailable, Who};

use super::basic::from_a_page;
use super::owners::Owners;
use crate::certificate;

/// How strong a proof the possession of a key is.
pub const KEY: Level = Level(20);
/// The scheme.
#[derive(Debug)]
pub struct ClientCertificateScheme {
    name: SchemeName,
    owners: Owners,
}

impl ClientCertificateScheme {
    /// The scheme of this name, over these owners.
    pub fn new(name: SchemeName, owners: Owners) -> Self {
        Self { name, owners }
    }
}

#[async_trait]
impl Scheme for ClientCertificateScheme {
    fn name(&self) -> &SchemeName {
        &self.name
    }

    fn presents(&self, request: &CheckRequest) -> bool {
        request.client.certificate != Shown::Nothing
    }

    fn explicit(&self) -> bool {
        false
    }

    /// The headers in which proxies forward certificates reach no scheme at all.
    fn consumes(&self) -> &[Place] {
        &[]
    }

    async fn authenticate(&self, asked: &Asked<'_>, _trail: &mut Trail) -> Result<Outcome, Unavailable> {
        let certificate = match &asked.request.client.certificate {
            Shown::Nothing => return Ok(Outcome::NotApplicable),
            Shown::Refused(reason) => return Ok(Outcome::Rejected(Rejection::next(*reason))),
            Shown::Certificate(certificate) => certificate,
        };
        let user = match self.owners.find(&asked.found.tenant, certificate, asked.now).await? {
            Ok(user) => user,
            Err(reason) => return Ok(Outcome::Rejected(Rejection::next(reason))),
        };
        let attributes = [("certificate-subject", &certificate.subject), ("certificate-thumbprint", &certificate.thumbprint)];
        let attributes: Attributes = attributes.map(|(name, value)| (name.to_owned(), vec![value.clone()])).into();
        Ok(Outcome::Authenticated(Box::new(Proof {
            tenant: asked.found.tenant.id.clone(),
            who: Who::User(user.id),
            scheme: self.name.clone(),
            issuer: Issuer::from(certificate::ISSUER),
            level: KEY,
            authenticated_at: asked.now,
            replay: Vec::new(),
            attributes,
            ambient: from_a_page(asked.request),
        })))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use vestibule_engine::audit::Reason;
    use vestibule_engine::request::{AlternativeName, ClientCertificate};
    use vestibule_engine::store::DurableStore;
    use vestibule_engine::store::conformance::user;
    use vestibule_engine::store::memory::MemoryDurableStore;

    use vestibule_engine::users::Users;

    use super::super::house::{House, request};
    use super::super::owners::Mapping;
    use super::*;

    fn certificate(names: &[AlternativeName]) -> ClientCertificate {
        ClientCertificate {
            der: Arc::default(),
            thumbprint: "ab".repeat(32),
            subject: "CN=Ada".to_owned(),
            common_name: Some("Ada".to_owned()),
            names: names.to_vec(),
            issuer: "CN=North".to_owned(),
            serial: "07".to_owned(),
        }
    }

    /// Who is recognised by this certificate: their name, or the reason.
    async fn whose(users: &Arc<Users>, mapping: &[Mapping], suffix: &str, certificate: ClientCertificate) -> Result<String, Reason> {
        let scheme = ClientCertificateScheme::new("card".into(), Owners::new(mapping.to_vec(), suffix.to_owned(), users.clone()));
        let (house, mut request) = (House::new(), request(&[]));
        request.client.certificate = Shown::Certificate(Arc::new(certificate));
        assert!(scheme.presents(&request) && !scheme.explicit());
        let asked = Asked { request: &request, found: &house.found, now: vestibule_engine::Timestamp::UNIX_EPOCH };
        match scheme.authenticate(&asked, &mut house.trail()).await.unwrap() {
            Outcome::Authenticated(proof) => {
                let Who::User(id) = proof.who else { panic!("an external subject") };
                assert_eq!((proof.issuer.as_str(), proof.level), (certificate::ISSUER, KEY));
                Ok(users.by_id(id, asked.now).await.unwrap().unwrap().name.to_string())
            }
            Outcome::Rejected(rejection) => Err(rejection.reason),
            Outcome::NotApplicable | Outcome::Resumed(_) | Outcome::Opening(..) => panic!("neither yes nor no"),
        }
    }

    async fn users() -> Arc<Users> {
        let store = Arc::new(MemoryDurableStore::default());
        for name in ["ada", "ada@mail.example", "host.example"] {
            assert!(store.insert_user(&user(&"north".into(), name).unwrap()).await.unwrap());
        }
        let mut bob = user(&"north".into(), "bob").unwrap();
        bob.external_ids.push(certificate::by_serial(&certificate(&[])));
        assert!(store.insert_user(&bob).await.unwrap());
        Arc::new(Users::new(store, Duration::from_secs(1)))
    }

    #[tokio::test]
    async fn a_certificate_is_its_owners_by_the_configured_kinds_only() {
        use AlternativeName::{Dns, Mail, Principal, Uri};
        let users = users().await;
        let names = [Mail("ada@mail.example".into()), Principal("ADA@north".into()), Uri("urn:x".into()), Dns("host.example".into())];
        for (mapping, owner) in [
            (&[Mapping::IssuerSerial][..], Ok("bob")),
            (&[Mapping::Thumbprint], Err(Reason::UnknownCertificate)),
            (&[Mapping::Thumbprint, Mapping::Principal], Ok("ada")),
            (&[Mapping::Mail], Ok("ada@mail.example")),
            (&[Mapping::Principal], Ok("ada")),
            (&[Mapping::CommonName], Ok("ada")),
            (&[Mapping::Dns], Ok("host.example")),
            (&[Mapping::Uri], Err(Reason::UnknownCertificate)),
            (&[], Err(Reason::UnknownCertificate)),
        ] {
            assert_eq!(whose(&users, mapping, "", certificate(&names)).await, owner.map(str::to_owned), "{mapping:?}");
        }
    }

    #[tokio::test]
    async fn a_suffix_is_demanded_and_cut_off() {
        use AlternativeName::Mail;
        let users = users().await;
        let by_mail = |mails: &[&str]| certificate(&mails.iter().map(|mail| Mail((*mail).to_owned())).collect::<Vec<_>>());
        for (mails, owner) in [
            (&["ada@North.example"][..], Ok("ada")),
            (&["ada@evil.example"], Err(Reason::UnknownCertificate)),
            (&["ada@evil.example", "ada@north.example"], Ok("ada")),
            (&["@north.example"], Err(Reason::UnknownCertificate)),
            (&["ada@north.example", "bob@north.example"], Err(Reason::AmbiguousUser)),
            (&["ada@north.example", "ADA@north.example"], Ok("ada")),
        ] {
            assert_eq!(whose(&users, &[Mapping::Mail], "@north.example", by_mail(mails)).await, owner.map(str::to_owned), "{mails:?}");
        }
    }

    #[tokio::test]
    async fn what_does_not_hold_is_rejected_with_its_reason() {
        let house = House::new();
        let scheme =
            ClientCertificateScheme::new("card".into(), Owners::new(vec![Mapping::CommonName], String::new(), house.family.users.clone()));
        let mut request = request(&[]);
        assert!(!scheme.presents(&request));
        request.client.certificate = Shown::Refused(Reason::CertificateRevoked);
        assert!(scheme.presents(&request));
        let asked = Asked { request: &request, found: &house.found, now: vestibule_engine::Timestamp::UNIX_EPOCH };
        match scheme.authenticate(&asked, &mut house.trail()).await.unwrap() {
            Outcome::Rejected(rejection) => assert_eq!(rejection, Rejection::next(Reason::CertificateRevoked)),
            other => panic!("{other:?}"),
        }
    }
}
