//! The scheme `client-certificate`: whoever holds the key of a certificate is the user it belongs to.
//!
//! That the certificate holds was found before (`serve::client_certificates`); here it is only asked whose it is. An
//! attacker with a certificate of the same authority tries to be taken for another: by a second name in it, by a name in
//! another spelling, by a name of another kind. So the kinds that count are configured, two names that mean two people are
//! nobody, and users are never found by their mail address. A certificate is always there, so it never stands against a
//! session or a credential that was put into the request on purpose, and what a page makes a browser send with it is held
//! to the rules for cookies.

use std::sync::Arc;

use async_trait::async_trait;
use quick_cache::sync::Cache;
use vestibule_engine::audit::{Reason, Trail};
use vestibule_engine::identity::{Attributes, ExternalId, Issuer, Level, SchemeName, TenantId, User, UserId, Username};
use vestibule_engine::request::{AlternativeName, CheckRequest, ClientCertificate, Shown};
use vestibule_engine::scheme::{Asked, Outcome, Place, Proof, Rejection, Scheme, Unavailable, Who};
use vestibule_engine::tenant::Tenant;
use vestibule_engine::users::Users;

use super::basic::from_a_page;
use crate::certificate;

/// How strong a proof the possession of a key is.
const KEY: Level = Level(20);
/// Certificates whose users are remembered; each is held against its user again whenever it is shown.
const REMEMBERED: usize = 10_000;

/// By what a user is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mapping {
    /// This very certificate was linked to them.
    Thumbprint,
    /// It was linked by its issuer and serial number.
    IssuerSerial,
    /// The mail address in it is their name.
    Mail,
    /// The user principal name in it is their name.
    Principal,
    /// The URI in it is their name.
    Uri,
    /// The host name in it is their name.
    Dns,
    /// The subject's common name is their name.
    CommonName,
}

/// The scheme.
#[derive(Debug)]
pub struct ClientCertificateScheme {
    name: SchemeName,
    mapping: Vec<Mapping>,
    suffix: String,
    users: Arc<Users>,
    found: Cache<(TenantId, String), UserId>,
}

/// What a mapping says of a certificate.
enum Claim {
    Link(ExternalId),
    Name(Username),
}

impl Claim {
    fn holds(&self, user: &User) -> bool {
        match self {
            Self::Link(id) => user.external_ids.contains(id),
            Self::Name(name) => user.name == *name,
        }
    }
}

impl ClientCertificateScheme {
    /// The scheme of this name; the first mapping that finds somebody counts. Names must end with `suffix`, which is cut off.
    pub fn new(name: SchemeName, mapping: Vec<Mapping>, suffix: String, users: Arc<Users>) -> Self {
        Self { name, mapping, suffix, users, found: Cache::new(REMEMBERED) }
    }

    async fn owner(&self, asked: &Asked<'_>, certificate: &ClientCertificate) -> Result<Result<Arc<User>, Reason>, Unavailable> {
        let tenant = &asked.found.tenant;
        let key = (tenant.id.clone(), certificate.thumbprint.clone());
        for (place, mapping) in self.mapping.iter().enumerate() {
            let claim = match self.claim(*mapping, certificate, tenant) {
                Ok(Some(claim)) => claim,
                Ok(None) => continue,
                Err(reason) => return Ok(Err(reason)),
            };
            // What an earlier mapping would say today only the store knows, so the first alone is remembered.
            if place == 0
                && let Some(id) = self.found.get(&key)
                && let Some(user) = self.users.by_id(id, asked.now).await?
                && user.tenant == tenant.id
                && claim.holds(&user)
            {
                return Ok(Ok(user));
            }
            let user = match &claim {
                Claim::Link(id) => self.users.by_external_id(&tenant.id, id).await?,
                Claim::Name(name) => self.users.by_name(&tenant.id, name).await?,
            };
            if let Some(user) = user {
                if place == 0 {
                    self.found.insert(key, user.id);
                }
                return Ok(Ok(user));
            }
        }
        Ok(Err(Reason::UnknownCertificate))
    }

    fn claim(&self, mapping: Mapping, certificate: &ClientCertificate, tenant: &Tenant) -> Result<Option<Claim>, Reason> {
        let named = |pick: fn(&AlternativeName) -> Option<&str>| self.only(certificate.names.iter().filter_map(pick), tenant);
        match mapping {
            Mapping::Thumbprint => return Ok(Some(Claim::Link(certificate::by_thumbprint(certificate)))),
            Mapping::IssuerSerial => return Ok(Some(Claim::Link(certificate::by_serial(certificate)))),
            Mapping::Mail => named(|name| if let AlternativeName::Mail(mail) = name { Some(mail) } else { None }),
            Mapping::Principal => named(|name| if let AlternativeName::Principal(name) = name { Some(name) } else { None }),
            Mapping::Uri => named(|name| if let AlternativeName::Uri(uri) = name { Some(uri) } else { None }),
            Mapping::Dns => named(|name| if let AlternativeName::Dns(name) = name { Some(name) } else { None }),
            Mapping::CommonName => self.only(certificate.common_name.iter().map(String::as_str), tenant),
        }
        .map(|name| name.map(Claim::Name))
    }

    /// The one user name that these names mean.
    fn only<'a>(&self, names: impl Iterator<Item = &'a str>, tenant: &Tenant) -> Result<Option<Username>, Reason> {
        let mut only: Option<Username> = None;
        for name in names {
            let Some(stem) = name.len().checked_sub(self.suffix.len()).and_then(|at| name.split_at_checked(at)) else { continue };
            if !stem.1.eq_ignore_ascii_case(&self.suffix) {
                continue;
            }
            let Some(name) = Username::parse(tenant.local_name(stem.0)) else { continue };
            if only.as_ref().is_some_and(|other| *other != name) {
                return Err(Reason::AmbiguousUser);
            }
            only = Some(name);
        }
        Ok(only)
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
        let user = match self.owner(asked, certificate).await? {
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
    use std::time::Duration;

    use vestibule_engine::store::DurableStore;
    use vestibule_engine::store::conformance::user;
    use vestibule_engine::store::memory::MemoryDurableStore;

    use super::super::house::{House, request};
    use super::*;

    fn certificate(names: &[AlternativeName]) -> ClientCertificate {
        ClientCertificate {
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
        let scheme = ClientCertificateScheme::new("card".into(), mapping.to_vec(), suffix.to_owned(), users.clone());
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
            Outcome::NotApplicable | Outcome::Resumed(_) => panic!("neither yes nor no"),
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
        let scheme = ClientCertificateScheme::new("card".into(), vec![Mapping::CommonName], String::new(), house.family.users.clone());
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
