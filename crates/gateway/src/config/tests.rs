//! What is refused and how it is said; and that every example is accepted.

use std::path::{Path, PathBuf};

use super::problem::{Colour, Problem};
use super::*;

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

mod documents;

fn no_findings(_: &Checked) -> Vec<Problem> {
    Vec::new()
}

fn manifest(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(text: &str) -> Result<(Checked, Vec<Problem>), Vec<Problem>> {
    let source = Source::new(manifest("tests/configurations/v.toml"), text.to_owned());
    check(source, Purpose::Serve, now(), no_findings, None)
}

/// Every `NAME.toml` is refused, or warned of, as `NAME.txt` says, to the letter.
/// `VESTIBULE_WRITE_DOCS=1` writes the texts anew; read them before they are committed.
#[test]
fn broken_configurations_are_explained_to_the_letter() {
    let folder = manifest("tests/configurations");
    let mut names: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    names.sort();
    assert!(names.len() > 20, "the table of broken configurations is gone");
    let mut differ = Vec::new();
    for path in names {
        let problems = match load(&path, Purpose::Serve, now(), no_findings) {
            Ok((_, warnings)) => warnings,
            Err(problems) => problems,
        };
        let said: String = problems.iter().map(|problem| problem.render(Colour::Off)).collect();
        let said = said.replace(&format!("{}/", folder.display()), "");
        assert!(!said.is_empty(), "{} is accepted without a word", path.display());
        assert!(!said.contains("hunter2"), "{} shows a secret", path.display());
        let expected = path.with_extension("txt");
        if std::env::var_os("VESTIBULE_WRITE_DOCS").is_some() {
            std::fs::write(&expected, &said).unwrap();
        }
        if std::fs::read_to_string(&expected).unwrap_or_default() != said {
            differ.push(format!("{}:\n{said}", path.display()));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn a_configuration_that_is_not_there_is_advised_about() {
    for path in ["tests/configurations/nowhere.toml", "tests/configurations"] {
        let problems = load(&manifest(path), Purpose::Serve, now(), no_findings).unwrap_err();
        let said: String = problems.iter().map(|problem| problem.render(Colour::Off)).collect();
        assert!(said.contains("the configuration cannot be read") && said.contains("help: `--config FILE` says where it is"), "{said}");
    }
}

#[test]
fn a_store_that_forgot_waits_for_the_longest_window() {
    let house = |name: &str, scheme: &str| {
        let text = format!(
            "[[listen]]\naddress = \"127.0.0.1:8080\"\n[tenant.north]\nhosts = [\"north.example\"]\nchain = [\"{name}\"]\n[[route]]\n\
             match = \"/**\"\npolicies = [\"app.cedar\"]\nbody = {{ limit = \"1MiB\", types = [\"text/xml\"] }}\n\
             forward = \"http://127.0.0.1:9000\"\n[scheme.{name}]\ntype = \"{name}\"\n{scheme}\n"
        );
        read(&text).unwrap_or_else(|problems| panic!("{problems:#?}")).0.once_for().as_secs()
    };
    assert_eq!(house("basic", "realm = \"local\""), 600);
    assert_eq!(house("session-ticket", "max_age = \"1h\""), 3600 + 60 + 2 * 30);
    assert_eq!(house("session-ticket", "max_age = \"1h\"\nsigned = false"), 600, "there is nothing to remember");
    let window = "max_age = \"40m\"\nfuture = \"2m\"\nskew = \"1m\"";
    assert_eq!(house("ws-security", &format!("token = \"username\"\nrealm = \"local\"\n{window}")), 44 * 60);
}

#[test]
fn every_example_is_accepted_without_a_warning() {
    let mut seen = 0;
    for entry in std::fs::read_dir(manifest("../../examples")).unwrap() {
        let path = entry.unwrap().path().join("vestibule.toml");
        if !path.is_file() {
            continue;
        }
        let (_, warnings) = load(&path, Purpose::Serve, now(), build::policy_problems).unwrap_or_else(|problems| panic!("{problems:#?}"));
        assert_eq!(warnings, [], "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 2);
}

#[test]
fn the_two_tenants_mean_what_they_say() {
    let (checked, _) = load(&manifest("../../examples/two-tenants/vestibule.toml"), Purpose::Serve, now(), no_findings).unwrap();
    let north = &checked.tenants[0];
    assert_eq!(north.portal_origin.as_deref(), Some("https://login.north.example.com"));
    assert_eq!(north.origins, ["https://north.example.com", "https://orders.north.example.com"]);
    assert_eq!(north.chain.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["session", "basic", "form"]);
    assert_eq!(north.brand.accent, Some([0x0b, 0x5f, 0xff]));
    assert_eq!(checked.tenants[1].portal_origin, None);
    assert_eq!(checked.upstreams.keys().map(|name| &**name).collect::<Vec<_>>(), ["http://127.0.0.1:9003", "orders", "portal"]);
    assert_eq!(checked.session, vestibule_engine::session::Settings::default());
    let limits = vestibule_engine::realm::Limits { operators_from: checked.administrators.clone(), ..Default::default() };
    assert_eq!(checked.limits, limits);
    let files: Vec<_> = checked.files.iter().filter_map(|path| path.file_name()?.to_str()).collect();
    assert_eq!(files, ["north.svg", "orders.cedar", "staff.cedar"]);
    assert!(checked.store.path.ends_with("two-tenants/data") && checked.server.control_socket.ends_with("data/control.sock"));
}

/// `oracle-stateful-sessions.md` §3.2 (test 7), §3.3 and §6.2: what a company sets, and what then holds.
#[test]
fn what_a_company_sets_for_its_old_clients_holds_within_limits() {
    let company = |settings: &str| {
        let text = format!(
            "[[listen]]\naddress = \"127.0.0.1:8080\"\ntrusted_proxies = [\"127.0.0.0/8\"]\n\n[tenant.north]\nhosts = [\"north.example\"]\nchain = [\"session\", \"crm\"]\n\n\
             [tenant.north.integration]\n{settings}\n\n[scheme.session]\ntype = \"session\"\n\n[scheme.crm]\ntype = \"integration\"\nrealm = \"local\"\n\n[[route]]\n\
             match = \"/Services/Integration/**\"\npolicies = [\"app.cedar\"]\nbody = {{ limit = \"1MiB\", types = [\"text/xml\"] }}\nforward = \"http://127.0.0.1:9000\"\n"
        );
        let (checked, _) = read(&text).unwrap_or_else(|problems| panic!("{settings}: {problems:#?}"));
        checked.tenants[0].integration.clone().unwrap()
    };
    let minutes = |minutes: u64| std::time::Duration::from_secs(60 * minutes);
    for (written, idle) in [("idle = \"5m\"", 5), ("idle = \"10m\"", 10), ("idle = \"30m\"", 10), ("", 10)] {
        assert_eq!(company(written).idle, minutes(idle), "{written}");
    }
    for (written, absolute) in
        [("", None), ("duration = \"0s\"", None), ("duration = \"8h\"", Some(8)), ("duration = \"9999h\"", Some(9999))]
    {
        assert_eq!(company(written).absolute, absolute.map_or(std::time::Duration::MAX, |hours| minutes(60 * hours)), "{written}");
    }
    let by_default = company("");
    assert_eq!((by_default.programs.quota, by_default.programs.spacing), (10, std::time::Duration::from_millis(50)));
    assert_eq!((by_default.allotment, by_default.tokens.lifetime, by_default.tokens.strict), (None, minutes(1), false));
    assert_eq!(company("allotment = 50000").allotment, Some(50_000));
    for (written, seconds) in [("token_lifetime = \"10s\"", 10), ("token_lifetime = \"5m\"", 300)] {
        assert_eq!(company(written).tokens.lifetime.as_secs(), seconds);
    }
}

#[test]
fn the_headers_that_are_sent_without_being_written_are_ours() {
    let (checked, _) = load(&manifest("../../examples/minimal/vestibule.toml"), Purpose::Serve, now(), no_findings).unwrap();
    let map = crate::inject::headers::HeadersInjector::default_rules();
    assert_eq!(checked.injectors.get("headers"), Some(&checked::Injector::Headers { map }));
}

#[test]
fn memory_is_for_demonstrations_only() {
    let text = std::fs::read_to_string(manifest("tests/configurations/store-memory.toml")).unwrap();
    let source = || Source::new(manifest("tests/configurations/v.toml"), text.clone());
    assert!(check(source(), Purpose::Serve, now(), no_findings, None).is_err());
    assert!(check(source(), Purpose::Demo, now(), no_findings, None).is_ok());
}

#[test]
fn findings_of_policies_refuse_the_configuration() {
    fn finding(checked: &Checked) -> Vec<Problem> {
        let policy = &checked.routes[0].policies[0];
        let source = Source::new(policy.path.clone(), policy.text.clone());
        vec![source.problem(&(0..2), "no")]
    }
    let path = manifest("../../examples/minimal/vestibule.toml");
    let problems = load(&path, Purpose::Serve, now(), finding).unwrap_err();
    assert!(problems[0].file.ends_with("app.cedar"), "{problems:?}");
}

#[test]
fn secrets_are_fetched_and_not_shown() {
    let folder = std::env::temp_dir().join(format!("vestibule-secrets-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let key = folder.join("kek");
    std::fs::write(&key, "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n").unwrap();
    let text = minimal().replace("[store]", &format!("[keys]\nkey_encryption_key = {{ file = {:?} }}\n[store]", key.display().to_string()));
    for (mode, warnings) in [(0o600, 0), (0o644, 1)] {
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        let (checked, warned) = read(&text).unwrap();
        assert_eq!(checked.keys.key_encryption_key.as_ref().unwrap().reveal(), b"0123456789abcdef0123456789abcdef");
        assert!(!format!("{checked:?}").contains("0123456789abcdef"));
        assert_eq!(warned.len(), warnings, "{warned:?}");
        assert!(checked.files.contains(&key));
    }
    std::fs::write(&key, "c2hvcnQ=").unwrap();
    assert!(read(&text).unwrap_err()[0].message.contains("not 32 octets"));
}

#[test]
fn a_certificate_and_its_key_belong_together() {
    let folder = std::env::temp_dir().join(format!("vestibule-certificates-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let made =
        |names: &[&str]| rcgen::generate_simple_self_signed(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    let (own, other) = (made(&["app.example.com", "*.sso.example.com"]), made(&["other.example.com"]));
    let certificate = write("own.pem", &own.cert.pem());
    let key = write("own.key", &own.signing_key.serialize_pem());
    let foreign = write("other.key", &other.signing_key.serialize_pem());
    let text = |key: &str| {
        minimal()
            .replace(
                "\"127.0.0.1:8080\"",
                &format!("\"0.0.0.0:8443\"\ntls.certificates = [{{ certificate = {certificate:?}, key = {{ file = {key:?} }} }}]"),
            )
            .replace("app.localhost", "app.example.com")
            .replace("login.localhost", "login.sso.example.com")
    };
    let (checked, warnings) = read(&text(&key)).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(checked.listeners[0].certificates[0].names, ["app.example.com", "*.sso.example.com"]);
    assert_eq!(checked.tenants[0].portal_origin.as_deref(), Some("https://login.sso.example.com:8443"));

    assert!(read(&text(&foreign)).unwrap_err()[0].message.contains("does not belong"));
    assert!(read(&text(&certificate)).unwrap_err()[0].message.contains("not a private key"));
    let (_, warnings) = read(&text(&key).replace("login.sso", "login.elsewhere")).unwrap();
    assert!(warnings[0].message.contains("no certificate is made for"), "{warnings:?}");

    let twice = text(&key).replace(" }]", &format!(" }}, {{ certificate = {certificate:?}, key = {{ file = {key:?} }} }}]"));
    assert!(read(&twice).unwrap_err()[0].message.contains("made for `app.example.com` already"));
    let nameless = made(&[]);
    std::fs::write(&certificate, nameless.cert.pem()).unwrap();
    std::fs::write(&key, nameless.signing_key.serialize_pem()).unwrap();
    assert!(read(&text(&key)).unwrap_err()[0].message.contains("made for no host"));
    // What a reload would find while the file is being written: it changes nothing.
    std::fs::write(&certificate, "no certificate").unwrap();
    assert!(read(&text(&key)).unwrap_err()[0].message.contains("holds no certificate"));
}

fn minimal() -> String {
    std::fs::read_to_string(manifest("../../examples/minimal/vestibule.toml"))
        .unwrap()
        .replace("policies/app.cedar", "../../../../examples/minimal/policies/app.cedar")
        + "\n[store]\npath = \"data\"\n"
}
