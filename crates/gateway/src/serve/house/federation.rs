//! Metadata of identity providers, kept fresh: fetched in the background, and put in the place of the file that the configuration
//! names, which is read again as if an operator had written it. So the file is always the last that was good.
//!
//! What an attacker tries: to answer in the place of the publisher, to bring metadata of yesterday back with a key that was
//! withdrawn since, to let them run out, to publish what no configuration goes with, so that nobody's gateway starts any more. What
//! is fetched has to be signed by a pinned key (unsigned is a concession), describe the same entity, hold for no shorter than what
//! is there, say an end if it comes without TLS, and be accepted by the configuration; new keys and new origins are told to the
//! operator once they are believed.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use metrics::{counter, gauge};
use tokio::runtime::Handle;
use vestibule_engine::Timestamp;
use vestibule_engine::audit::{Event, Recorded, Sink, VERSION};
use vestibule_engine::clock::Clock;
use vestibule_saml::metadata::{Entity, IdpRole, Metadata, Trust, signing_keys};
use vestibule_saml::sp::TrustedIdp;
use vestibule_xmlsec::{Profile, TrustedKeys};

use super::owners::InForce;
use crate::call::{Caller, Limits, Reach};
use crate::config::checked::{Checked, IdentityProvider, Refresh, Scheme};
use crate::config::{self, Unfetched};
use crate::forward::{HttpVersion, client_tls};

/// A whole federation may stand in one file.
const LIMITS: Limits = Limits { connect: Duration::from_secs(5), whole: Duration::from_secs(60), octets: 32 << 20 };
/// How often it is looked whether something is due.
const TICK: Duration = Duration::from_secs(1);
/// How long to wait after a failure, at most.
const AGAIN: Duration = Duration::from_secs(300);

/// Keeps the metadata of the configuration in force fresh, for as long as the server runs.
pub async fn run(server: Arc<dyn InForce>, clock: Arc<dyn Clock>, sink: Arc<dyn Sink>, control: Handle) {
    let mut due: HashMap<Arc<str>, Duration> = HashMap::new();
    // In their files, and not in force yet.
    let mut written: HashMap<Arc<str>, Renewed> = HashMap::new();
    loop {
        tokio::time::sleep(TICK).await;
        let providers = providers(&server.checked());
        for provider in &providers {
            let Some(renewed) = written.remove(&provider.name) else { continue };
            if renewed.entity != provider.entity {
                written.insert(provider.name.clone(), renewed);
                continue;
            }
            for change in &renewed.changes {
                alarm(provider, change, clock.now(), &*sink);
            }
        }
        let refreshed: Vec<_> = providers.into_iter().filter_map(|provider| Some((provider.clone(), provider.refresh.clone()?))).collect();
        due.retain(|name, _| refreshed.iter().any(|(provider, _)| provider.name == *name));
        for (provider, refresh) in refreshed {
            let now = clock.monotonic();
            if due.get(&provider.name).is_some_and(|due| now < *due) {
                continue;
            }
            let wait = match renew(&provider, &refresh, written.get(&provider.name), clock.now(), &server, &control).await {
                Ok((wait, renewed)) => {
                    written.extend(renewed.map(|renewed| (provider.name.clone(), renewed)));
                    wait
                }
                Err(why) => {
                    counter!("vestibule_saml_metadata_failures_total", "identity_provider" => provider.name.to_string()).increment(1);
                    let valid_until = provider.entity.valid_until.map(|until| until.to_string());
                    tracing::warn!(identity_provider = %provider.name, why, valid_until, "the metadata were not renewed; those that are there stay");
                    refresh.every.min(AGAIN)
                }
            };
            due.insert(provider.name.clone(), clock.monotonic().saturating_add(wait));
        }
    }
}

/// Every identity provider once.
fn providers(checked: &Checked) -> Vec<Arc<IdentityProvider>> {
    let mut found: Vec<Arc<IdentityProvider>> = Vec::new();
    for scheme in checked.schemes.values() {
        if let Scheme::Saml(saml) = scheme {
            found.extend(
                saml.providers.iter().filter(|provider| found.iter().all(|known| known.name != provider.name)).cloned().collect::<Vec<_>>(),
            );
        }
    }
    found
}

/// Fetches the metadata files that the configuration at `path` names and that are not there yet: their first trust is the key that
/// is pinned for them. What cannot be had is said when the configuration is read.
pub async fn fetch_missing(path: &Path, now: Timestamp, control: &Handle) {
    let first = |one: Unfetched| async move {
        match begin(&one, now, control).await {
            Ok(()) => {
                tracing::warn!(identity_provider = %one.name, file = %one.refresh.file.display(), "its metadata were fetched for the first time; the pinned key has signed them")
            }
            Err(why) => tracing::error!(identity_provider = %one.name, why, "its metadata are not there and could not be fetched"),
        }
    };
    futures_util::future::join_all(config::unfetched(path, now).into_iter().map(first)).await;
}

/// Fetches and judges what is not there yet, and puts it there.
async fn begin(one: &Unfetched, now: Timestamp, control: &Handle) -> Result<(), String> {
    let octets = fetch(&one.refresh, control).await?;
    let (read, keys, entity_id, tls) = (octets.clone(), one.refresh.keys.clone(), one.entity_id.clone(), one.refresh.origin.tls);
    let judged = tokio::task::spawn_blocking(move || judge_first(entity_id.as_deref(), &read, &keys, tls, now)).await;
    judged.map_err(|why| why.to_string())??;
    replace(&one.refresh.file, &octets).map_err(|why| format!("{} cannot be written: {why}", one.refresh.file.display()))
}

/// Whether what was fetched may be the first that is believed: signed by a pinned key, and about one identity provider. `tls`: nobody
/// on the way can have put it in the place of something newer.
fn judge_first(entity_id: Option<&str>, octets: &[u8], keys: &[Vec<u8>], tls: bool, now: Timestamp) -> Result<(), String> {
    let pinned = pinned(keys)?;
    if keys.is_empty() {
        return Err("no key is pinned for them".to_owned());
    }
    let trust = Trust::Signed { keys: &pinned, profile: &Profile::SAML };
    let metadata = Metadata::read(octets, trust, now).map_err(|why| why.to_string())?;
    let mut fitting = metadata.entities.iter().filter(|entity| match entity_id {
        Some(id) => entity.entity_id == id,
        None => entity.idp.is_some(),
    });
    let (Some(entity), None) = (fitting.next(), fitting.next()) else {
        return Err("they do not describe one identity provider".to_owned());
    };
    // Nothing is there to hold them against: what was signed years ago, with a key that was withdrawn since, would be the first.
    if !tls && entity.valid_until.is_none() {
        return Err("they say no end, and come without TLS: they could be of any age".to_owned());
    }
    TrustedIdp::from_metadata(entity).map(drop).map_err(|why| why.to_string())
}

fn pinned(keys: &[Vec<u8>]) -> Result<TrustedKeys, String> {
    let mut pinned = TrustedKeys::new();
    for certificate in keys {
        pinned.add_certificate(certificate).map_err(|why| why.to_string())?;
    }
    Ok(pinned)
}

async fn fetch(refresh: &Refresh, control: &Handle) -> Result<Bytes, String> {
    let tls = client_tls(&refresh.authorities, None, HttpVersion::Http1)?;
    let caller = Caller::new(tls, Reach::Any, LIMITS, control.clone());
    let request = Request::get(&refresh.target).body(Bytes::new()).map_err(|why| why.to_string())?;
    let answer = caller.call(&refresh.origin, request).await.map_err(|why| why.to_string())?;
    if answer.status() != StatusCode::OK {
        return Err(format!("the answer was {}", answer.status()));
    }
    Ok(answer.into_body())
}

/// Fetches, judges and replaces. Returns after how long to come again, and what was written. `written` stands in the file already.
async fn renew(
    provider: &IdentityProvider,
    refresh: &Refresh,
    written: Option<&Renewed>,
    now: Timestamp,
    server: &Arc<dyn InForce>,
    control: &Handle,
) -> Result<(Duration, Option<Renewed>), String> {
    let octets = fetch(refresh, control).await?;
    let (entity, keys, profile, tls) = (provider.entity.clone(), refresh.keys.clone(), provider.profile(), refresh.origin.tls);
    let read = octets.clone();
    // A federation's file is long: not on a thread that others wait for.
    let judged = tokio::task::spawn_blocking(move || judge(&entity, &read, &keys, &profile, tls, now)).await;
    let renewed = judged.map_err(|why| why.to_string())??;
    if let Some(until) = renewed.entity.valid_until {
        let left = until.duration_since(now).as_secs_f64();
        gauge!("vestibule_saml_metadata_valid_seconds", "identity_provider" => provider.name.to_string()).set(left);
    }
    let wait = renewed
        .entity
        .cache_duration
        .and_then(|cache| Duration::try_from(cache).ok())
        .map_or(refresh.every, |cache| cache.min(refresh.every));
    let wait = wait.max(TICK);
    if renewed.entity == provider.entity || written.is_some_and(|written| written.entity == renewed.entity) {
        return Ok((wait, None));
    }
    let (server, file, read) = (server.clone(), refresh.file.clone(), octets.clone());
    let accepted = tokio::task::spawn_blocking(move || server.would_accept(&file, &read)).await;
    accepted.map_err(|why| why.to_string())?.map_err(|why| format!("the configuration does not go with them:\n{why}"))?;
    replace(&refresh.file, &octets).map_err(|why| format!("{} cannot be written: {why}", refresh.file.display()))?;
    tracing::info!(identity_provider = %provider.name, file = %refresh.file.display(), "its metadata were renewed");
    Ok((wait, Some(renewed)))
}

/// What an operator should know of.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    KeyAdded(String),
    KeyGone(String),
    /// No key of before is left: who has an old message has one that nobody believes.
    NoOverlap,
    NewOrigin(String),
}

#[derive(Debug)]
struct Renewed {
    entity: Entity,
    changes: Vec<Change>,
}

/// Whether what was fetched may take the place of what is there. `keys` empty: nobody has to have signed it. `tls`: nobody on the way
/// can have put it in the place of something newer.
fn judge(held: &Entity, octets: &[u8], keys: &[Vec<u8>], profile: &Profile, tls: bool, now: Timestamp) -> Result<Renewed, String> {
    let pinned = pinned(keys)?;
    let trust = if keys.is_empty() { Trust::Named } else { Trust::Signed { keys: &pinned, profile } };
    let metadata = Metadata::read(octets, trust, now).map_err(|why| why.to_string())?;
    let entity = metadata.entity(&held.entity_id).map_err(|_| format!("they do not describe {:?}", held.entity_id))?.clone();
    TrustedIdp::from_metadata(&entity).map_err(|why| why.to_string())?;
    // Older metadata that somebody kept end sooner, and may hold keys that were withdrawn since.
    match (held.valid_until, entity.valid_until) {
        (Some(before), Some(until)) if until < before => {
            return Err(format!("they hold until {until}, and those that are there until {before}: these are older"));
        }
        (Some(before), None) => return Err(format!("they say no end, and those that are there end at {before}")),
        (Some(before), Some(until)) if !tls && until == before && entity != *held => {
            return Err(format!("they hold until {until} like those that are there, and come without TLS: they could be older"));
        }
        (None, None) if !tls => {
            return Err("they say no end, and come without TLS: they could be older than those that are there".to_owned());
        }
        (Some(_) | None, Some(_)) | (None, None) => {}
    }
    let changes = changes(held, &entity);
    Ok(Renewed { entity, changes })
}

fn changes(held: &Entity, entity: &Entity) -> Vec<Change> {
    let ids = |entity: &Entity| -> BTreeSet<String> {
        let keys = entity.idp.as_ref().map(|role| signing_keys(&role.keys)).unwrap_or_default();
        keys.ids().iter().map(ToString::to_string).collect()
    };
    let (before, after) = (ids(held), ids(entity));
    let mut changes: Vec<Change> = after.difference(&before).cloned().map(Change::KeyAdded).collect();
    changes.extend(before.difference(&after).cloned().map(Change::KeyGone));
    if before.is_disjoint(&after) {
        changes.push(Change::NoOverlap);
    }
    changes.extend(origins(entity).difference(&origins(held)).cloned().map(Change::NewOrigin));
    changes
}

/// Where browsers and we would be sent.
fn origins(entity: &Entity) -> BTreeSet<String> {
    let of = |role: &IdpRole| -> Vec<String> {
        let plain = role.sso.iter().chain(&role.slo).flat_map(|one| std::iter::once(&one.location).chain(&one.response_location));
        plain.chain(role.artifact_resolution.iter().map(|one| &one.location)).cloned().collect()
    };
    let locations = entity.idp.iter().flat_map(of);
    locations.filter_map(|location| Some(url::Url::parse(&location).ok()?.origin().ascii_serialization())).collect()
}

fn alarm(provider: &IdentityProvider, change: &Change, now: Timestamp, sink: &dyn Sink) {
    let name = &provider.name;
    let purpose = format!("identity provider {name}");
    let event = match change {
        Change::KeyAdded(key) => {
            tracing::warn!(identity_provider = %name, key, "its metadata have a new key, which is believed from now on");
            Event::KeyRotated { purpose, key: key.clone(), state: "believed".to_owned() }
        }
        Change::KeyGone(key) => {
            tracing::warn!(identity_provider = %name, key, "a key is not in its metadata any more, and is not believed any more");
            Event::KeyRotated { purpose, key: key.clone(), state: "gone".to_owned() }
        }
        Change::NoOverlap => {
            tracing::error!(identity_provider = %name, "none of its keys of before is in its new metadata: ask it whether that was meant");
            return;
        }
        Change::NewOrigin(origin) => {
            tracing::warn!(identity_provider = %name, origin, "its metadata name an origin that they did not name before");
            Event::AdminChanged {
                by: format!("metadata of {name}"),
                action: "identity_provider.origin".to_owned(),
                subject: origin.clone(),
            }
        }
    };
    sink.record(&Recorded { v: VERSION, time: now, request_id: None, client: None, tenant: None, event });
}

/// Puts a file in another's place, whole or not at all.
fn replace(path: &Path, octets: &[u8]) -> io::Result<()> {
    let mode = std::fs::metadata(path).map_or(0o644, |about| about.permissions().mode() & 0o777);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = path.with_file_name(name);
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&fresh)?;
    file.write_all(octets)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "2026-03-01T12:00:00Z";

    fn recorded(name: &str) -> Vec<u8> {
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/recorded/keys").join(name)).unwrap()
    }

    fn certificate(name: &str) -> Vec<u8> {
        use base64::Engine as _;
        let text = String::from_utf8(recorded(name)).unwrap();
        let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
        base64::engine::general_purpose::STANDARD.decode(body).unwrap()
    }

    fn entity(keys: &[&str], valid_until: Option<&str>, origin: &str) -> Entity {
        use vestibule_saml::metadata::{Endpoint, KeyDescriptor, Protocols, Usage};
        let keys = keys.iter().map(|name| KeyDescriptor {
            usage: Usage::Signing,
            certificates: vec![certificate(name)],
            encryption_methods: Vec::new(),
        });
        Entity {
            entity_id: "https://idp.example.org".to_owned(),
            valid_until: valid_until.map(|until| until.parse().unwrap()),
            idp: Some(IdpRole {
                protocols: Protocols { saml20: true, saml11: false },
                keys: keys.collect(),
                sso: vec![Endpoint::new(vestibule_saml::names::binding::REDIRECT, &format!("{origin}/sso"))],
                ..IdpRole::default()
            }),
            ..Entity::default()
        }
    }

    fn held(entity: &Entity) -> Entity {
        let text = entity.unsigned().unwrap();
        Metadata::read(text.as_str().as_bytes(), Trust::Named, now()).unwrap().entities.remove(0)
    }

    fn now() -> Timestamp {
        OLD.parse().unwrap()
    }

    fn judged(before: &Entity, after: &Entity) -> Result<Vec<Change>, String> {
        judged_over(true, before, after)
    }

    fn judged_over(tls: bool, before: &Entity, after: &Entity) -> Result<Vec<Change>, String> {
        let text = after.unsigned().unwrap();
        judge(&held(before), text.as_str().as_bytes(), &[], &Profile::SAML, tls, now()).map(|renewed| renewed.changes)
    }

    const ORIGIN: &str = "https://idp.example.org";

    #[test]
    fn what_is_fetched_is_never_older_than_what_is_there() {
        let until = |day: &str| entity(&["idp-rsa2048.crt"], Some(day), ORIGIN);
        let endless = entity(&["idp-rsa2048.crt"], None, ORIGIN);
        let (april, may) = (until("2026-04-01T00:00:00Z"), until("2026-05-01T00:00:00Z"));
        assert_eq!(judged(&april, &may), Ok(vec![]));
        assert_eq!(judged(&april, &april), Ok(vec![]));
        assert!(judged(&may, &april).unwrap_err().contains("these are older"));
        assert!(judged(&may, &endless).unwrap_err().contains("they say no end"));
        assert_eq!(judged(&endless, &may), Ok(vec![]));
        assert!(judged(&endless, &until("2026-02-01T00:00:00Z")).is_err(), "they have ended");
    }

    /// A withdrawn key comes back with last month's metadata, which its publisher did sign.
    #[test]
    fn without_tls_nothing_is_taken_that_could_be_older() {
        let with = |key: &str, day| entity(&[key], day, ORIGIN);
        let (one, other) = ("idp-rsa2048.crt", "idp-rsa4096.crt");
        let (april, may) = (Some("2026-04-01T00:00:00Z"), Some("2026-05-01T00:00:00Z"));
        for (before, after, refused) in [
            (with(one, None), with(other, None), true),
            (with(one, None), with(one, None), true),
            (with(one, april), with(other, april), true),
            (with(one, april), with(one, april), false),
            (with(one, april), with(other, may), false),
            (with(one, None), with(other, april), false),
        ] {
            assert_eq!(judged_over(false, &before, &after).is_err(), refused, "{before:?} {after:?}");
            assert!(judged_over(true, &before, &after).is_ok(), "{before:?} {after:?}");
        }
    }

    #[test]
    fn new_keys_and_origins_are_told() {
        let one = entity(&["idp-rsa2048.crt"], None, ORIGIN);
        let both = entity(&["idp-rsa2048.crt", "idp-rsa4096.crt"], None, ORIGIN);
        let other = entity(&["idp-rsa4096.crt"], None, "https://login.example.org");
        assert!(matches!(judged(&one, &both).unwrap().as_slice(), [Change::KeyAdded(_)]));
        assert!(matches!(judged(&both, &one).unwrap().as_slice(), [Change::KeyGone(_)]));
        let all = judged(&one, &other).unwrap();
        assert!(matches!(all.as_slice(), [Change::KeyAdded(_), Change::KeyGone(_), Change::NoOverlap, Change::NewOrigin(_)]), "{all:?}");
        let stranger = Entity { entity_id: "https://other.example.org".to_owned(), ..one.clone() };
        assert!(judged(&one, &stranger).unwrap_err().contains("do not describe"));
        let nobody = entity(&[], None, ORIGIN);
        assert!(judged(&one, &nobody).is_err(), "without keys nobody could sign in any more");
    }

    /// Attacks D1 in what a publisher, or whoever answers in its place, may send.
    #[test]
    fn hostile_metadata_never_take_the_place_of_what_is_there_nor_are_the_first() {
        let key = |name: &str| {
            vestibule_xmlsec::SigningKey::<vestibule_xmlsec::IdentityProvider>::from_pkcs8(
                "idp",
                &certificate(&format!("{name}.key")),
                None,
            )
            .unwrap()
        };
        let one = entity(&["idp-rsa2048.crt"], Some("2026-04-01T00:00:00Z"), ORIGIN);
        let evil = entity(&["idp-rsa4096.crt"], Some("2026-05-01T00:00:00Z"), "https://evil.example.net");
        let signed = |entity: &Entity, by: &str| entity.signed("_m1", &key(by)).unwrap().as_str().to_owned();
        let good = signed(&one, "idp-rsa2048");
        let forged = evil.unsigned().unwrap().as_str().to_owned();
        let pinned = [certificate("idp-rsa2048.crt")];
        let verdict = |octets: &[u8]| {
            let again = judge(&held(&one), octets, &pinned, &Profile::SAML, true, now()).map(drop);
            let first = judge_first(None, octets, &pinned, true, now());
            (again, first)
        };
        assert_eq!(verdict(good.as_bytes()), (Ok(()), Ok(())), "what they are made from is good");

        let root = |text: &str| text.get(text.find("<md:EntityDescriptor").unwrap_or_default()..).unwrap_or_default().to_owned();
        let signature = {
            let begin = good.find("<ds:Signature").unwrap();
            let end = good.find("</ds:Signature>").unwrap() + "</ds:Signature>".len();
            good[begin..end].to_owned()
        };
        let wrapper = |inside: &str| {
            format!("<md:EntitiesDescriptor xmlns:md=\"urn:oasis:names:tc:SAML:2.0:metadata\">{inside}</md:EntitiesDescriptor>")
        };
        let bare = root(&forged);
        let inside = |text: &str, what: &str| {
            let end = text.find('>').unwrap() + 1;
            format!("{}{what}{}", &text[..end], &text[end..])
        };
        let cases: Vec<(&str, Vec<u8>)> = vec![
            ("24 unsigned", forged.clone().into()),
            ("23 signed by a key of its own", signed(&evil, "idp-rsa4096").into()),
            ("24 the signature taken out", good.replace(&signature, "").into()),
            ("10 another key under a good signature", good.replacen(ORIGIN, "https://evil.example.net", 1).into()),
            (
                "10 another address under a good signature",
                good.replace("https://idp.example.org/sso", "https://evil.example.net/sso").into(),
            ),
            ("1 somebody else's signature", inside(&bare, &signature).into()),
            ("1 wrapped beside", wrapper(&format!("{}{bare}", root(&good))).into()),
            ("1 wrapped before", wrapper(&format!("{bare}{}", root(&good))).into()),
            ("1 wrapped in an extension", inside(&bare, &format!("<md:Extensions>{}</md:Extensions>", root(&good))).into()),
            (
                "1 wrapped in the signature's object",
                inside(&bare, &signature.replace("</ds:Signature>", &format!("<ds:Object>{}</ds:Object></ds:Signature>", root(&good))))
                    .into(),
            ),
            ("12 two roots", format!("{good}{bare}").into()),
            ("13 a comment in the name", good.replacen("entityID=\"https://idp", "entityID=\"https://idp<!---->", 1).into()),
            ("30 a document type", format!("<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]>{}", root(&good)).into()),
            (
                "30 billion laughs",
                format!("<!DOCTYPE x [<!ENTITY a \"{}\"><!ENTITY b \"&a;&a;&a;\">]>{}", "x".repeat(1000), root(&good)).into(),
            ),
            ("30 UTF-16", good.encode_utf16().flat_map(u16::to_be_bytes).collect()),
            ("32 a reference to the whole document", good.replace("URI=\"#_m1\"", "URI=\"\"").into()),
            ("31 a reference elsewhere", good.replace("URI=\"#_m1\"", "URI=\"https://evil.example.net/m.xml\"").into()),
            ("33 one id twice", wrapper(&format!("{}{}", root(&good), root(&good))).into()),
            ("35 nesting", format!("{}{}", "<a>".repeat(10_000), "</a>".repeat(10_000)).into()),
            ("51 an address that is none", signed_with("javascript:alert(1)", &one, &good).into()),
            ("36 cut short", good[..good.len() - 20].to_owned().into()),
            ("36 nothing", Vec::new()),
            ("no metadata", b"<html>Not today</html>".to_vec()),
        ];
        for (name, octets) in cases {
            let (again, first) = verdict(&octets);
            assert!(again.is_err() && first.is_err(), "{name}: {again:?} {first:?}");
        }
        // Of another entity, or of none that signs anybody in.
        let stranger = Entity { entity_id: "https://other.example.org".to_owned(), ..one.clone() };
        let stranger = signed(&stranger, "idp-rsa2048");
        assert!(judge(&held(&one), stranger.as_bytes(), &pinned, &Profile::SAML, true, now()).is_err());
        assert!(judge_first(Some("https://idp.example.org"), stranger.as_bytes(), &pinned, true, now()).is_err());
        let over = signed(&entity(&["idp-rsa2048.crt"], Some("2026-02-01T00:00:00Z"), ORIGIN), "idp-rsa2048");
        assert!(judge_first(None, over.as_bytes(), &pinned, true, now()).is_err(), "they have ended");
        assert!(judge_first(None, good.as_bytes(), &[], true, now()).is_err(), "nobody vouches for the first");
        // And the project's corpus.
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/attacks/saml");
        let mut seen = 0;
        for file in std::fs::read_dir(corpus).unwrap() {
            let octets = std::fs::read(file.unwrap().path()).unwrap();
            let (again, first) = verdict(&octets);
            assert!(again.is_err() && first.is_err());
            seen += 1;
        }
        assert!(seen > 100, "{seen}");
    }

    /// Whoever is on the way could begin with what was signed long ago.
    #[test]
    fn without_tls_the_first_say_until_when_they_hold() {
        let key =
            vestibule_xmlsec::SigningKey::<vestibule_xmlsec::IdentityProvider>::from_pkcs8("idp", &certificate("idp-rsa2048.key"), None);
        let key = key.unwrap();
        let pinned = [certificate("idp-rsa2048.crt")];
        for (until, tls, taken) in [
            (Some("2026-04-01T00:00:00Z"), false, true),
            (None, false, false),
            (None, true, true),
            (Some("2026-02-01T00:00:00Z"), false, false),
        ] {
            let text = entity(&["idp-rsa2048.crt"], until, ORIGIN).signed("_m1", &key).unwrap();
            let found = judge_first(None, text.as_str().as_bytes(), &pinned, tls, now());
            assert_eq!(found.is_ok(), taken, "{until:?} {tls} {found:?}");
        }
    }

    /// The same with an address in the place of its own.
    fn signed_with(address: &str, one: &Entity, good: &str) -> String {
        let location = &one.idp.as_ref().unwrap().sso[0].location;
        good.replace(location.as_str(), address)
    }

    #[test]
    fn unsigned_or_signed_by_another_is_refused_where_a_key_is_pinned() {
        let one = entity(&["idp-rsa2048.crt"], None, ORIGIN);
        let text = one.unsigned().unwrap();
        let pinned = [certificate("idp-rsa4096.crt")];
        assert!(judge(&held(&one), text.as_str().as_bytes(), &pinned, &Profile::SAML, true, now()).is_err());
        assert!(judge(&held(&one), b"<html/>", &[], &Profile::SAML, true, now()).is_err());
    }

    #[test]
    fn hostile_metadata_take_nobodys_place() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/attacks/saml");
        let held = Entity { entity_id: "https://gw.example.com/saml/sp".to_owned(), ..entity(&["idp-rsa2048.crt"], None, ORIGIN) };
        let judged = |octets: &[u8]| judge(&held, octets, &[], &Profile::SAML, true, "2026-03-01T12:01:00Z".parse().unwrap());
        judged(held.unsigned().unwrap().as_str().as_bytes()).unwrap();
        for name in ["script-endpoint", "doctype", "expired", "without-entity-id"] {
            let octets = std::fs::read(folder.join(format!("metadata-{name}.xml"))).unwrap();
            let why = judged(&octets).unwrap_err();
            assert!(!why.contains("do not describe"), "{name}: it is read and believed: {why}");
        }
    }
}
