//! `authentication-chain.md` §3.4, §9 and §15 with a real OpenLDAP. Each test starts a `slapd` of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::lifecycle::wait_for;
use crate::support::{Answer, Gateway, Scratch, ask, free_port, get, in_every_world};

pub const SERVICE_PASSWORD: &str = "what the service account knows";
pub const ADA: (&str, &str) = ("ada", "directory password of ada");
/// Of ada, kept here.
const INTERNAL: &str = "an old internal password";

pub struct Slapd {
    child: Child,
    port: u16,
    tls_port: u16,
    scratch: Scratch,
}

impl Slapd {
    /// A directory with a few people, or `None` (and a word) if slapd is not installed.
    pub fn start() -> Option<Self> {
        let program =
            ["/usr/sbin/slapd", "/usr/local/sbin/slapd", "/usr/libexec/slapd"].map(PathBuf::from).into_iter().find(|path| path.exists());
        let Some(program) = program.filter(|_| Command::new("ldapmodify").arg("-VV").output().is_ok()) else {
            assert!(std::env::var("VESTIBULE_PEERS").as_deref() != Ok("required"), "slapd is missing");
            println!("SKIPPED: slapd and ldap-utils are not installed");
            return None;
        };
        let (scratch, port, tls_port) = (Scratch::new(), free_port(), free_port());
        let dir = scratch.path().display().to_string();
        std::fs::create_dir(scratch.path().join("db")).unwrap();
        let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let ca_certificate = ca.self_signed(&ca_key).unwrap();
        let issuer = rcgen::Issuer::new(ca, ca_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        scratch.write("ca.pem", &ca_certificate.pem());
        scratch.write("server.pem", &certificate.pem());
        scratch.write("server.key", &key.serialize_pem());
        let modules =
            ["/usr/lib/ldap", "/usr/lib/openldap", "/usr/lib64/openldap"].into_iter().find(|path| std::path::Path::new(path).is_dir());
        let config = SLAPD_CONF.replace("{dir}", &dir).replace("{modules}", modules.unwrap_or("/usr/lib/ldap"));
        let config = scratch.write("slapd.conf", &config);
        let log = std::fs::File::create(scratch.path().join("log")).unwrap();
        let urls = format!("ldap://127.0.0.1:{port} ldaps://127.0.0.1:{tls_port}");
        let child = Command::new(program)
            .args(["-f", config.to_str().unwrap(), "-h", &urls, "-d", "256"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let slapd = Self { child, port, tls_port, scratch };
        for _ in 0..1500 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                slapd.change("ldapadd", PEOPLE);
                return Some(slapd);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("slapd did not start: {}", slapd.log());
    }

    fn change(&self, program: &str, ldif: &str) {
        let file = self.scratch.write("change.ldif", ldif);
        let output = Command::new(program)
            .args(["-x", "-H", &format!("ldap://127.0.0.1:{}", self.port), "-D", "cn=root,dc=example,dc=com", "-w", "root", "-f"])
            .arg(file)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stderr), self.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default()
    }

    /// How often somebody was bound, or tried to be.
    fn binds(&self, who: &str) -> usize {
        let who = format!("BIND dn=\"{who}\" method=128");
        self.log().lines().filter(|line| line.contains(&who)).count()
    }

    fn searches(&self) -> usize {
        self.log().lines().filter(|line| line.contains(" SRCH base=\"ou=people")).count()
    }

    /// Stops it from answering, or lets it go on.
    pub fn freeze(&self, frozen: bool) {
        let signal = if frozen { "-STOP" } else { "-CONT" };
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// Lines of the realm: in the clear, since this is loopback.
    pub fn plain(&self) -> String {
        format!("url = \"ldap://127.0.0.1:{}\"", self.port)
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the directory's log\n{}", self.log());
        }
    }
}

const SLAPD_CONF: &str = r#"
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile {dir}/pid
argsfile {dir}/args
modulepath {modules}
moduleload back_mdb
moduleload memberof
moduleload ppolicy
TLSCACertificateFile {dir}/ca.pem
TLSCertificateFile {dir}/server.pem
TLSCertificateKeyFile {dir}/server.key
# What many servers allow and an attacker hopes for: a name without a password is a success.
allow bind_anon_cred bind_anon_dn
database mdb
suffix "dc=example,dc=com"
rootdn "cn=root,dc=example,dc=com"
rootpw root
directory {dir}/db
maxsize 10485760
overlay memberof
overlay ppolicy
ppolicy_default "cn=policy,dc=example,dc=com"
ppolicy_use_lockout
access to attrs=userPassword by anonymous auth by * none
access to * by * read
"#;

const PEOPLE: &str = "\
dn: dc=example,dc=com
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: ou=people,dc=example,dc=com
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=example,dc=com
objectClass: organizationalUnit
ou: groups

dn: cn=policy,dc=example,dc=com
objectClass: device
objectClass: pwdPolicy
cn: policy
pwdAttribute: userPassword
pwdLockout: TRUE
pwdMaxFailure: 7

dn: cn=strict,dc=example,dc=com
objectClass: device
objectClass: pwdPolicy
cn: strict
pwdAttribute: userPassword
pwdMustChange: TRUE
pwdLockout: TRUE
pwdMaxFailure: 2

dn: cn=vestibule,dc=example,dc=com
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: vestibule
userPassword: what the service account knows

dn: uid=ada,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: ada
cn: Ada Lovelace
sn: Lovelace
mail: ada@example.com
userPassword: directory password of ada

dn: uid=Łucja\\2C \\+ \\22Co\\22,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: Łucja, + \"Co\"
cn: Łucja
sn: Nowak
userPassword: żółw w kapeluszu

dn: uid=bob,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: One
mail: twin@example.com
userPassword: directory password of bob

dn: uid=rob,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: rob
cn: Rob
sn: Two
mail: twin@example.com
userPassword: directory password of bob

dn: uid=locked,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: locked
cn: Locked
sn: Locked
userPassword: directory password of locked
pwdAccountLockedTime: 000001010000Z

dn: uid=strict,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: strict
cn: Strict
sn: Strict
userPassword: directory password of strict
pwdPolicySubentry: cn=strict,dc=example,dc=com

dn: cn=staff,ou=groups,dc=example,dc=com
objectClass: groupOfNames
cn: staff
member: uid=ada,ou=people,dc=example,dc=com
member: uid=Łucja\\2C \\+ \\22Co\\22,ou=people,dc=example,dc=com
member: uid=bob,ou=people,dc=example,dc=com
member: uid=locked,ou=people,dc=example,dc=com
member: uid=strict,ou=people,dc=example,dc=com

dn: cn=admins,dc=example,dc=com
objectClass: groupOfNames
cn: admins
member: uid=ada,ou=people,dc=example,dc=com
";

const ADA_DN: &str = "uid=ada,ou=people,dc=example,dc=com";
const OPEN_CHAIN: &str = "exclusive = false";

/// A gateway whose realm `corp` is reached by these lines.
pub fn gateway(realm: &str) -> Gateway {
    Gateway::with_files(&include_str!("ldap.toml").replace("{{realm}}", realm), &[("service-password", SERVICE_PASSWORD)])
}

/// A user kept here.
pub fn add(gateway: &Gateway, tenant: &str, name: &str, password: &str) {
    let file = gateway.scratch.write("password", password);
    let output = gateway.command(&["user", "add", name, "--tenant", tenant, "--group", "staff", "--password-file", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
}

fn steps(gateway: &Gateway, answer: &Answer) -> Vec<(String, String, Value)> {
    let record = gateway.audit_of(answer).into_iter().find(|record| record["event"] == "request.decided").unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let steps = record["steps"].as_array().unwrap().iter().filter(|step| step["scheme"] != "session" && step["scheme"] != "form");
    steps.map(|step| (text(&step["scheme"]), text(&step["verdict"]), step["reason"].clone())).collect()
}

fn step(scheme: &str, verdict: &str, reason: &str) -> (String, String, Value) {
    let reason = if reason.is_empty() { Value::Null } else { reason.into() };
    (scheme.to_owned(), verdict.to_owned(), reason)
}

/// The reason of the directory's step when this name and password are tried.
fn refusal(gateway: &Gateway, name: &str, password: &str) -> Value {
    let answer = gateway.send(&get("/api/orders").basic(name, password));
    assert_eq!(answer.status, 401, "{name}: {answer:?}");
    steps(gateway, &answer).into_iter().find(|(scheme, _, _)| scheme == "corp").unwrap().2
}

#[test]
fn somebody_of_the_directory_gets_an_account_and_their_groups_follow() {
    let Some(slapd) = Slapd::start() else { return };
    let gateway = gateway(&slapd.plain());
    let answer = gateway.send(&get("/api/orders").basic(ADA.0, ADA.1));
    assert_eq!((answer.status, answer.header("x-vestibule-auth")), (200, Some("corp")), "{answer:?}");
    let received = gateway.application.last();
    assert_eq!(received.header("x-vestibule-user"), Some("ada"));
    assert_eq!(received.header("x-vestibule-groups"), Some("staff"), "a group elsewhere in the directory is not one of ours");
    // The same person by another name is the same account.
    assert_eq!(gateway.send(&get("/api/orders").basic("Ada@Example.com", ADA.1)).status, 200);
    assert_eq!(gateway.application.last().header("x-vestibule-user"), Some("ada"));
    assert_eq!(slapd.binds("cn=vestibule,dc=example,dc=com"), 1, "one connection serves both searches");

    // A session ends when a later login finds that a group is gone (attack 94).
    let session = answer.cookies().remove("vestibule").expect("a session");
    assert_eq!(gateway.send(&get("/api/orders").cookie("vestibule", &session)).status, 200);
    slapd
        .change("ldapmodify", &format!("dn: cn=staff,ou=groups,dc=example,dc=com\nchangetype: modify\ndelete: member\nmember: {ADA_DN}\n"));
    assert_eq!(gateway.send(&get("/api/orders").basic(ADA.0, ADA.1)).status, 403, "signed in, but no longer of the staff");
    assert_eq!(gateway.send(&get("/api/orders").cookie("vestibule", &session)).status, 401);
}

#[test]
fn a_live_session_follows_the_directory_and_ends_with_it() {
    let Some(slapd) = Slapd::start() else { return };
    let gateway = gateway(&format!("{}\nrefresh = \"1s\"", slapd.plain()));
    let sign_in = || gateway.send(&get("/api/orders").basic(ADA.0, ADA.1)).cookies().remove("vestibule").expect("a session");
    let session = sign_in();
    let status = |session: &str| gateway.send(&get("/api/orders").cookie("vestibule", session)).status;
    let group = |change: &str, name: &str| {
        slapd.change(
            "ldapmodify",
            &format!("dn: cn={name},ou=groups,dc=example,dc=com\nchangetype: modify\n{change}: member\nmember: {ADA_DN}\n"),
        );
    };
    assert_eq!(status(&session), 200);
    // A group more is heard of within the session.
    slapd.change(
        "ldapadd",
        &format!("dn: cn=admins,ou=groups,dc=example,dc=com\nobjectClass: groupOfNames\ncn: admins\nmember: {ADA_DN}\n"),
    );
    wait_for(|| status(&session) == 200 && gateway.application.last().header("x-vestibule-groups") == Some("admins,staff"));
    // A group less ends it, and nobody has to sign in for that.
    group("delete", "staff");
    wait_for(|| status(&session) == 401);
    // Whoever may not enter any more is out: locked, and gone.
    group("add", "staff");
    let session = sign_in();
    assert_eq!(status(&session), 200);
    slapd.change(
        "ldapmodify",
        &format!("dn: {ADA_DN}\nchangetype: modify\nadd: pwdAccountLockedTime\npwdAccountLockedTime: 000001010000Z\n"),
    );
    wait_for(|| status(&session) == 401);
    slapd.change("ldapmodify", &format!("dn: {ADA_DN}\nchangetype: modify\ndelete: pwdAccountLockedTime\n"));
    let session = sign_in();
    assert_eq!(status(&session), 200);
    slapd.change("ldapdelete", &format!("{ADA_DN}\n"));
    wait_for(|| status(&session) == 401);
}

#[test]
fn a_live_session_goes_on_while_the_directory_is_down() {
    let Some(slapd) = Slapd::start() else { return };
    let gateway = gateway(&format!("{}\nrefresh = \"1s\"", slapd.plain()));
    let session = gateway.send(&get("/api/orders").basic(ADA.0, ADA.1)).cookies().remove("vestibule").expect("a session");
    drop(slapd);
    let mut last = 0;
    wait_for(|| {
        last = gateway.send(&get("/api/orders").cookie("vestibule", &session)).status;
        last != 200 || gateway.log().contains("goes on with what was read before")
    });
    assert_eq!(last, 200, "an outage is no logout");
}

#[test]
fn chain_06_a_tenant_without_the_directory_never_asks_it() {
    in_every_world(|| {
        let Some(slapd) = Slapd::start() else { return };
        let gateway = gateway(&slapd.plain());
        add(&gateway, "south", "ada", INTERNAL);
        let south = |password| gateway.send_to("app.south.localhost", &get("/api/orders").basic("ada", password));
        assert_eq!(south(INTERNAL).status, 200);
        assert_eq!(south(ADA.1).status, 401);
        assert_eq!((slapd.searches(), slapd.binds(ADA_DN)), (0, 0));
    });
}

#[test]
fn chain_07_an_empty_password_is_refused_though_the_directory_would_accept_it() {
    in_every_world(|| {
        let Some(slapd) = Slapd::start() else { return };
        let accepted = Command::new("ldapwhoami")
            .args(["-x", "-H", &format!("ldap://127.0.0.1:{}", slapd.port), "-D", ADA_DN, "-w", ""])
            .output()
            .unwrap();
        assert!(accepted.status.success(), "this directory must be one that says yes");
        let before = slapd.log().lines().filter(|line| line.contains(" BIND ")).count();
        let gateway = gateway(&slapd.plain());
        assert_eq!(refusal(&gateway, "ada", ""), "empty_password");
        assert_eq!(slapd.log().lines().filter(|line| line.contains(" BIND ")).count(), before);
        let open = gateway.send(&get("/public/page").basic("ada", ""));
        assert_eq!((open.status, open.header("x-vestibule-auth")), (200, Some("anonymous")));
        // RFC 7617 admits a space as a password; it is one, and wrong.
        assert_eq!(refusal(&gateway, "ada", " "), "wrong_password");
    });
}

#[test]
fn chain_08_a_name_is_never_a_filter_and_two_entries_are_nobody() {
    in_every_world(|| {
        let Some(slapd) = Slapd::start() else { return };
        let gateway = gateway(&slapd.plain());
        for name in ["*)(uid=*", "*", "a*", "ada)(|(uid=*", "uid=ada,ou=people,dc=example,dc=com", "ada\\2a", "\\61da"] {
            assert_eq!(refusal(&gateway, name, ADA.1), "unknown_user", "{name}");
        }
        assert_eq!(slapd.binds(ADA_DN), 0);
        assert_eq!(refusal(&gateway, "twin@example.com", "directory password of bob"), "ambiguous_user");
        assert_eq!(slapd.binds("uid=bob,ou=people,dc=example,dc=com") + slapd.binds("uid=rob,ou=people,dc=example,dc=com"), 0);
        // A name full of what means something in names and filters is somebody's.
        let answer = gateway.send(&get("/api/orders").basic("łucja, + \"Co\"", "żółw w kapeluszu"));
        assert_eq!(answer.status, 200, "{answer:?}");
    });
}

#[test]
fn chain_09_a_second_password_survives_only_where_the_directory_is_not_exclusive() {
    in_every_world(|| {
        let Some(slapd) = Slapd::start() else { return };
        let faithful = gateway(&format!("{}\n{OPEN_CHAIN}", slapd.plain()));
        add(&faithful, "north", "ada", INTERNAL);
        let answer = faithful.send(&get("/api/orders").basic("ada", INTERNAL));
        assert_eq!(answer.status, 200);
        assert_eq!(steps(&faithful, &answer), [step("corp", "rejected", "wrong_password"), step("basic", "authenticated", "")]);
        assert!(faithful.audit_of(&answer).iter().any(|record| record["event"] == "login.fell_through"));

        let exclusive = gateway(&slapd.plain());
        add(&exclusive, "north", "ada", INTERNAL);
        add(&exclusive, "north", "only-here", INTERNAL);
        let answer = exclusive.send(&get("/api/orders").basic("ada", INTERNAL));
        assert_eq!(answer.status, 401);
        assert_eq!(steps(&exclusive, &answer), [step("corp", "rejected", "wrong_password"), step("basic", "skipped", "")]);
        assert_eq!(exclusive.send(&get("/api/orders").basic("only-here", INTERNAL)).status, 200);
        // Nor is an account here given to whoever has its name there.
        assert_eq!(refusal(&exclusive, "ada", ADA.1), "no_account");
    });
}

#[test]
fn chain_10_while_the_directory_is_down_nobody_is_locked_out_and_nobody_let_in() {
    in_every_world(|| {
        let Some(mut slapd) = Slapd::start() else { return };
        let gateway = gateway(&format!("{}\n{OPEN_CHAIN}", slapd.plain()));
        add(&gateway, "north", "only-here", INTERNAL);
        assert_eq!(gateway.send(&get("/api/orders").basic(ADA.0, ADA.1)).status, 200);
        slapd.child.kill().unwrap();
        slapd.child.wait().unwrap();
        let answer = gateway.send(&get("/api/orders").basic("only-here", INTERNAL));
        assert_eq!(answer.status, 200);
        assert_eq!(steps(&gateway, &answer), [step("corp", "unavailable", "unavailable"), step("basic", "authenticated", "")]);
        // More often than an account may fail: an outage is no guess.
        for attempt in 0..7 {
            let answer = gateway.send(&get("/api/orders").basic(ADA.0, &format!("{} {attempt}", ADA.1)));
            assert_eq!(answer.status, 503, "{answer:?}");
            assert!(answer.header("www-authenticate").is_none());
        }
        let open = gateway.send(&get("/public/page").basic(ADA.0, ADA.1));
        assert_eq!((open.status, open.header("x-vestibule-auth")), (200, Some("anonymous")));
        assert!(!gateway.audit().iter().any(|record| record["event"] == "gate.closed"));
    });
}

#[test]
fn chain_12_one_guess_at_two_realms_is_counted_once_and_bound_once() {
    in_every_world(|| {
        let Some(slapd) = Slapd::start() else { return };
        let gateway = gateway(&format!("{}\n{OPEN_CHAIN}", slapd.plain()));
        add(&gateway, "north", "ada", INTERNAL);
        for guess in 1..=5 {
            let answer = gateway.send(&get("/api/orders").basic("ada", &format!("guess number {guess}")));
            assert_eq!(answer.status, 401);
            assert_eq!(steps(&gateway, &answer), [step("corp", "rejected", "wrong_password"), step("basic", "rejected", "wrong_password")]);
            assert_eq!(slapd.binds(ADA_DN), guess);
        }
        let closed: Vec<_> = gateway.audit().into_iter().filter(|record| record["event"] == "gate.closed").collect();
        assert_eq!(closed.len(), 1, "five failures, not ten: {closed:?}");
        let searches = slapd.searches();
        let sixth = gateway.send(&get("/api/orders").basic(ADA.0, ADA.1));
        assert_eq!(sixth.status, 401);
        assert_eq!(steps(&gateway, &sixth)[0], step("corp", "rejected", "account_gate_closed"));
        assert_eq!((slapd.binds(ADA_DN), slapd.searches()), (5, searches), "behind a closed gate nobody is asked");
    });
}

#[test]
fn a_locked_account_ends_the_family() {
    let Some(slapd) = Slapd::start() else { return };
    let gateway = gateway(&format!("{}\n{OPEN_CHAIN}", slapd.plain()));
    add(&gateway, "north", "locked", INTERNAL);
    add(&gateway, "north", "strict", INTERNAL);
    let tried = gateway.send(&get("/api/orders").basic("locked", INTERNAL));
    assert_eq!(tried.status, 401);
    assert_eq!(steps(&gateway, &tried), [step("corp", "rejected", "locked"), step("basic", "skipped", "")]);
    assert_eq!(slapd.binds("uid=locked,ou=people,dc=example,dc=com"), 0, "the entry says so itself");

    // The directory's own limit is two: the control says that the third guess met a lock.
    assert_eq!(refusal(&gateway, "strict", "first guess"), "wrong_password");
    refusal(&gateway, "strict", "second guess");
    assert_eq!(refusal(&gateway, "strict", "directory password of strict"), "locked");
}

#[test]
fn the_directory_is_not_asked_for_the_password_of_somebody_who_may_not_enter() {
    let Some(slapd) = Slapd::start() else { return };
    // Somebody asks the other service.
    let asked = |toml: &str| toml.replace("[\"corp\", \"local\"]", "[\"elsewhere\", \"corp\", \"local\"]");
    let with = |profile: &str| {
        let toml = include_str!("ldap.toml").replace("{{realm}}", &slapd.plain());
        let toml = if profile.contains("elsewhere") { asked(&toml) } else { toml };
        Gateway::with_files(&format!("{toml}\n[profile.user]\n{profile}\n"), &[("service-password", SERVICE_PASSWORD)])
    };
    // Not even for one who has no account yet: what a bind says would show by the time, and by what it counts.
    assert_eq!((refusal(&with("level = 20"), ADA.0, ADA.1), slapd.binds(ADA_DN)), ("weak_proof".into(), 0));
    let elsewhere =
        format!("delegated = \"elsewhere\"\n\n[realm.elsewhere]\ntype = \"delegated\"\nurl = \"http://127.0.0.1:{}/\"", free_port());
    assert_eq!((refusal(&with(&elsewhere), ADA.0, ADA.1), slapd.binds(ADA_DN)), ("no_password".into(), 0));
    let gateway = with("level = 10");
    let come = || gateway.send(&get("/api/orders").basic(ADA.0, ADA.1)).status;
    assert_eq!((come(), slapd.binds(ADA_DN)), (200, 1));
    let config = std::fs::read_to_string(gateway.scratch.path().join("vestibule.toml")).unwrap();
    gateway.scratch.write("vestibule.toml", &config.replace("level = 10", "hours = []\ntime_zone = \"UTC\""));
    gateway.signal("HUP");
    wait_for(|| come() == 401);
    let binds = slapd.binds(ADA_DN);
    assert_eq!(refusal(&gateway, ADA.0, ADA.1), "outside_hours");
    let disabled = gateway.command(&["user", "disable", "ada", "--tenant", "north"]);
    assert!(disabled.status.success(), "{disabled:?}");
    assert_eq!(refusal(&gateway, ADA.0, ADA.1), "disabled");
    // Her account is of a profile now whose passwords another service checks: one that the directory has opens nothing.
    let file = gateway.scratch.write("glass", "break only in need");
    let glass = ["user", "add", "glass", "--tenant", "north", "--break-glass", "--password-file", file.to_str().unwrap()];
    assert!(gateway.command(&glass).status.success());
    gateway.scratch.write("vestibule.toml", &asked(&config).replace("level = 10", &elsewhere));
    gateway.signal("HUP");
    wait_for(|| {
        // What is refused until then would close the gate.
        let enabled = gateway.command(&["user", "enable", "ada", "--tenant", "north"]);
        enabled.status.success() && refusal(&gateway, ADA.0, ADA.1) == "no_password"
    });
    assert_eq!(slapd.binds(ADA_DN), binds);
}

#[test]
fn a_password_that_must_be_changed_is_no_way_in() {
    let Some(slapd) = Slapd::start() else { return };
    let gateway = gateway(&slapd.plain());
    // Under `pwdMustChange` a password set by an administrator is good for one thing only.
    slapd.change(
        "ldapmodify",
        "dn: uid=strict,ou=people,dc=example,dc=com\nchangetype: modify\nreplace: userPassword\nuserPassword: set by somebody else\n\
         -\nreplace: pwdReset\npwdReset: TRUE\n",
    );
    assert_eq!(refusal(&gateway, "strict", "set by somebody else"), "must_change_password");
}

#[test]
fn ldaps_and_start_tls_need_the_named_authority() {
    let Some(slapd) = Slapd::start() else { return };
    let ldaps = format!("url = \"ldaps://localhost:{}\"", slapd.tls_port);
    let start_tls = format!("url = \"ldap://localhost:{}\"\nstart_tls = true", slapd.port);
    let ca = format!("ca = \"{}\"", slapd.scratch.path().join("ca.pem").display());
    for realm in [&ldaps, &start_tls] {
        let gateway = gateway(&format!("{realm}\n{ca}"));
        assert_eq!(gateway.send(&get("/api/orders").basic(ADA.0, ADA.1)).status, 200, "{realm}");
    }
    assert!(slapd.log().contains("TLS established"), "TLS was spoken");
    let key = rcgen::KeyPair::generate().unwrap();
    let mut other = rcgen::CertificateParams::new(Vec::new()).unwrap();
    other.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let other = slapd.scratch.write("other.pem", &other.self_signed(&key).unwrap().pem());
    let binds = slapd.binds("cn=vestibule,dc=example,dc=com");
    // Another authority, and the right one for another name.
    let wrong_name = format!("url = \"ldaps://127.0.0.1:{}\"\n{ca}", slapd.tls_port);
    for realm in [format!("{ldaps}\nca = \"{}\"", other.display()), format!("{start_tls}\nca = \"{}\"", other.display()), wrong_name] {
        let gateway = gateway(&realm);
        assert_eq!(gateway.send(&get("/api/orders").basic(ADA.0, ADA.1)).status, 503, "{realm}");
    }
    assert_eq!(slapd.binds("cn=vestibule,dc=example,dc=com"), binds, "no password was sent there");
}

#[test]
fn a_refused_service_account_is_an_outage_and_nobodys_guess() {
    let Some(slapd) = Slapd::start() else { return };
    let template = include_str!("ldap.toml").replace("{{realm}}", &slapd.plain());
    let gateway = Gateway::with_files(&template, &[("service-password", "not what it was")]);
    for attempt in 0..6 {
        assert_eq!(gateway.send(&get("/api/orders").basic(ADA.0, &format!("{attempt}"))).status, 503);
    }
    assert_eq!(gateway.send(&get("/public/page").basic(ADA.0, ADA.1)).status, 200);
    assert!(gateway.log().contains("refuses the service account"));
    assert!(!gateway.audit().iter().any(|record| record["event"] == "gate.closed"));
}

#[test]
fn a_hostile_directory_harms_nobody() {
    // A directory that answers each message with what no directory would.
    let deep = [b"\x30\x84\x00\x00\x20\x00".as_slice(), &b"\x30\x80".repeat(4096)].concat();
    let answers: [&[u8]; 6] = [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"\x30\x84\xff\xff\xff\xff\x02\x01\x01",
        &deep,
        // Result codes that are missing, or are no numbers: what `ldap3` panics on.
        b"\x30\x05\x02\x01\x01\x61\x00",
        b"\x30\x0c\x02\x01\x01\x61\x07\x04\x01\x00\x04\x00\x04\x00",
        b"\x30\x0d\x02\x01\x01\x61\x08\x0a\x01\x31\x04\x01\xff\x04\x00",
    ];
    for octets in answers {
        let directory = liar(octets.to_vec());
        let gateway = gateway(&format!("url = \"ldap://{directory}\"\ntimeout = \"2s\""));
        assert_eq!(gateway.send(&get("/api/orders").basic(ADA.0, ADA.1)).status, 503, "{octets:?}");
        assert_eq!(gateway.send(&ask("GET", "/public/page")).status, 200);
    }
}

/// Answers everything with the same octets.
fn liar(octets: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let octets = octets.clone();
            std::thread::spawn(move || {
                let mut asked = [0; 4096];
                while stream.read(&mut asked).is_ok_and(|length| length > 0) {
                    if stream.write_all(&octets).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}
