//! SimpleSAMLphp as an identity provider, in PHP's own server on loopback: a real one, with a login page, that speaks SAML 2.0 and 1.1.
//!
//! It takes the metadata of a service provider as they are ([`SimpleSamlPhp::meets`]), and reads them at each request, so that it can
//! be started before there are any.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::peers::{is_there, wait_for};
use crate::support::{Scratch, free_port};

/// Where Debian has it.
const HOME: &str = "/usr/share/simplesamlphp";

/// Who it knows: by the form, or without a question.
const SOURCES: &str = r"<?php
$alice = ['uid' => ['alice'], 'mail' => ['alice@example.org'], 'groups' => ['staff', 'visitors']];
$config = [
    'admin' => ['core:AdminPassword'],
    'silent' => ['exampleauth:StaticSource'] + $alice,
    'form' => ['exampleauth:UserPass', 'alice:wonderland' => $alice, 'mallory:wonderland' => ['uid' => ['mallory']]],
];
";

/// A running one.
#[derive(Debug)]
pub struct SimpleSamlPhp {
    server: Child,
    scratch: Scratch,
    port: u16,
}

/// What it is told beside the usual, as entries of PHP arrays.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settings<'a> {
    /// Of `config.php`.
    pub config: &'a str,
    /// Of `metadata/saml20-idp-hosted.php`; the name is to be its own, and `auth` is to be `form` or `silent`.
    pub idp: &'a str,
    /// Whole files in its folder of metadata, by name.
    pub files: &'a [(&'a str, &'a str)],
}

impl SimpleSamlPhp {
    /// Starts one; `None`, with a word, where it is not installed. `key` and `certificate` are what it signs with, in PEM form.
    pub fn start(key: &str, certificate: &str, settings: Settings<'_>) -> Option<Self> {
        let there = Path::new(HOME).join("www/index.php").exists() && Path::new("/usr/bin/php").exists();
        if !is_there(there, "SimpleSAMLphp") {
            return None;
        }
        let scratch = Scratch::new();
        let folder = scratch.path();
        for name in ["config", "metadata", "cert", "log", "data", "tmp", "sessions", "root"] {
            std::fs::create_dir(folder.join(name)).unwrap();
        }
        std::os::unix::fs::symlink(Path::new(HOME).join("www"), folder.join("root/simplesaml")).unwrap();
        let dir = folder.display();
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        write("cert/idp.key", key);
        write("cert/idp.crt", certificate);
        write("config/authsources.php", SOURCES);
        // A key that stands twice in an array of PHP has its last value.
        write(
            "config/config.php",
            &format!(
                "<?php $config = [
                'baseurlpath' => 'simplesaml/', 'certdir' => '{dir}/cert/', 'loggingdir' => '{dir}/log/', 'datadir' => '{dir}/data/',
                'tempdir' => '{dir}/tmp', 'metadatadir' => '{dir}/metadata/', 'attributenamemapdir' => '{HOME}/config/attributemap/',
                'technicalcontact_name' => 'Lab', 'technicalcontact_email' => 'na@example.org', 'timezone' => 'UTC',
                'secretsalt' => 'of a test and nothing else', 'auth.adminpassword' => 'of a test and nothing else', 'admin.checkforupdates' => false,
                'showerrors' => true, 'errorreporting' => true, 'logging.level' => 7, 'logging.handler' => 'file', 'logging.logfile' => 'log',
                'enable.saml20-idp' => true, 'enable.shib13-idp' => true, 'shib13.signresponse' => true, 'enable.http_post' => true,
                'module.enable' => ['exampleauth' => true, 'core' => true, 'saml' => true],
                'session.cookie.secure' => false, 'session.cookie.samesite' => 'Lax', 'session.phpsession.savepath' => '{dir}/sessions',
                'session.phpsession.cookiename' => 'SSP', 'store.type' => 'sql', 'store.sql.dsn' => 'sqlite:{dir}/data/store.sq3',
                'metadata.sources' => [['type' => 'flatfile']] + (file_exists('{dir}/metadata/sp.xml') ? [1 => ['type' => 'xml', 'file' => '{dir}/metadata/sp.xml']] : []),
                {} ];\n",
                settings.config
            ),
        );
        write(
            "metadata/saml20-idp-hosted.php",
            &format!(
                "<?php $metadata['__DYNAMIC:1__'] = [
                'host' => '__DEFAULT__', 'privatekey' => 'idp.key', 'certificate' => 'idp.crt', 'auth' => 'form',
                'signature.algorithm' => 'http://www.w3.org/2001/04/xmldsig-more#rsa-sha256',
                'saml20.sign.assertion' => true, 'redirect.sign' => true, 'sign.logout' => true, 'validate.logout' => true, 'redirect.validate' => true,
                'SingleSignOnServiceBinding' => ['urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect', 'urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST'],
                'SingleLogoutServiceBinding' => ['urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect', 'urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST'],
                'NameIDFormat' => 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent',
                'authproc' => [3 => ['class' => 'saml:AttributeNameID', 'attribute' => 'uid', 'Format' => 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent']],
                {} ];\n",
                settings.idp
            ),
        );
        for (name, text) in settings.files {
            write(&format!("metadata/{name}"), text);
        }
        let port = free_port();
        let log = std::fs::File::create(folder.join("server.log")).unwrap();
        let mut command = Command::new("php");
        command
            .args(["-d", "display_errors=0", "-d", "error_reporting=0", "-S", &format!("127.0.0.1:{port}"), "-t"])
            .arg(folder.join("root"))
            .env("SIMPLESAMLPHP_CONFIG_DIR", folder.join("config"))
            .env("PHP_CLI_SERVER_WORKERS", "4")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0);
        let server = command.spawn().unwrap();
        let peer = Self { server, scratch, port };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        wait_for("SimpleSAMLphp", || TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok());
        Some(peer)
    }

    /// Takes the metadata of a service provider, as it published them.
    pub fn meets(&self, metadata: &str) {
        std::fs::write(self.scratch.path().join("metadata/sp.xml"), metadata).unwrap();
    }

    /// Writes a file in its folder, which it reads at the next request.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.scratch.path().join(name), text).unwrap();
    }

    /// The origin of its pages.
    pub fn origin(&self) -> String {
        format!("http://idp.localhost:{}", self.port)
    }

    /// An address of one of its pages.
    pub fn at(&self, page: &str) -> String {
        format!("{}/simplesaml/{page}", self.origin())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Which one it is.
    pub fn version(&self) -> String {
        let text = std::fs::read_to_string(Path::new(HOME).join("lib/SimpleSAML/Configuration.php")).unwrap_or_default();
        let (_, rest) = text.split_once("VERSION = '").unwrap_or_default();
        rest.split_once('\'').map_or_else(String::new, |(version, _)| version.to_owned())
    }

    /// What it wrote down, for a test that failed.
    pub fn log(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.scratch.path().join(name)).unwrap_or_default();
        format!("{}\n{}", read("log/log"), read("server.log"))
    }
}

impl Drop for SimpleSamlPhp {
    fn drop(&mut self) {
        // Its workers are of its own group.
        let _ = Command::new("kill").args(["--", &format!("-{}", self.server.id())]).status();
        let _ = self.server.wait();
    }
}
