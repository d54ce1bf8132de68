//! A response that an administrator pastes into a page: the checks of `vestibule saml inspect`, and nothing comes of it.

use serde_json::{Value, json};

use super::{ORIGIN, PORTAL, Peer, bring, house, link};
use crate::support::{Answer, Browser, Gateway, USERS, get, hidden_fields};

const PATH: &str = "/saml/inspect";
const SUBJECT: &str = "ada-as-it-stands-in-a-pasted-message";

fn operator(gateway: &Gateway) -> Browser<'_> {
    let file = gateway.scratch.write("glass", "break only in need");
    let arguments = ["user", "add", "glass", "--tenant", "north", "--break-glass", "--password-file", file.to_str().unwrap()];
    assert!(gateway.command(&arguments).status.success());
    let mut browser = gateway.browser();
    assert_eq!(browser.submit_login(&format!("http://{PORTAL}/login?login"), "glass", "break only in need").status, 303);
    browser
}

fn token(page: &Answer) -> String {
    assert_eq!(page.status, 200, "{page:?}");
    hidden_fields(&page.body).into_iter().find(|(name, _)| name == "token").unwrap().1
}

/// The names of the checks of a page, and whether each holds.
fn checks(page: &Answer) -> Vec<(String, bool)> {
    let table = page.body.split("<tbody>").nth(1).unwrap_or_else(|| panic!("{}", page.body)).split("</tbody>").next().unwrap();
    let cells = |row: &str| row.split("<td>").skip(1).map(|cell| cell.split("</td>").next().unwrap().to_owned()).collect::<Vec<_>>();
    table.split("<tr>").skip(1).map(cells).map(|row| (row[1].clone(), row[0] == "ok")).collect()
}

#[test]
fn an_operator_is_shown_every_check_of_a_pasted_response_and_nothing_comes_of_it() {
    let Some(peer) = Peer::new("corp", "idp-rsa2048") else { return };
    let gateway = house(&peer, &format!("unsolicited = true\norigins = [\"{ORIGIN}\"]"));
    let peer = peer.meets(&gateway);
    let base = format!("http://{PORTAL}:{}/saml/sp", gateway.public);
    let (sp, acs) = (format!("{base}/metadata"), format!("{base}/acs"));
    let answer = peer.ask(json!({"do": "unsolicited", "user": SUBJECT, "sp": sp, "acs": acs}));
    let message = answer["fields"]["SAMLResponse"].as_str().unwrap().to_owned();

    let mut glass = operator(&gateway);
    let home = glass.load(&format!("http://{PORTAL}/"));
    assert!(home.body.contains("href=\"/saml/inspect\""), "{}", home.body);
    let page = glass.load(&format!("http://{PORTAL}{PATH}"));
    let token = token(&page);
    let shown = glass.post(PORTAL, PATH, &[("token", &token), ("message", &message)]);
    assert_eq!(shown.status, 200, "{shown:?}");
    assert!(shown.body.contains("It would be accepted.") && shown.body.contains(SUBJECT), "{}", shown.body);
    assert!(!shown.body.contains(message.get(..64).unwrap()), "what was pasted is not shown again");

    // As the command says it, check by check.
    let file = gateway.scratch.write("pasted", &message);
    let metadata = gateway.scratch.path().join("corp.xml");
    let arguments = ["saml", "inspect", file.to_str().unwrap(), "--json", "--idp-metadata", metadata.to_str().unwrap()];
    let said = gateway.command(&[&arguments[..], &["--sp-entity-id", &sp, "--acs-url", &acs, "--allow-unsolicited"]].concat());
    let said: Value = serde_json::from_slice(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
    let said: Vec<(String, bool)> =
        said["checks"].as_array().unwrap().iter().map(|check| (check["name"].as_str().unwrap().to_owned(), check["ok"] == true)).collect();
    assert_eq!(checks(&shown), said);

    // A page of somebody else's, a form without its token or with another's, and who is no operator.
    let fields = [("token", token.as_str()), ("message", message.as_str())];
    assert_eq!(glass.post_from("https://evil.example.net", PORTAL, PATH, &fields).status, 403);
    assert_eq!(glass.post(PORTAL, PATH, &[("message", &message)]).status, 403);
    assert_eq!(glass.post(PORTAL, PATH, &[("token", &"A".repeat(43)), ("message", &message)]).status, 403);
    let mut ada = gateway.browser();
    ada.submit_login(&format!("http://{PORTAL}/login?login"), USERS[0].0, USERS[0].1);
    assert_eq!(ada.load(&format!("http://{PORTAL}{PATH}")).status, 404);
    assert_eq!(ada.post(PORTAL, PATH, &fields).status, 404);
    assert!(!ada.load(&format!("http://{PORTAL}/")).body.contains(PATH));
    let nobody = gateway.send_to(PORTAL, &get(PATH).browser());
    assert_eq!((nobody.status, nobody.header("location")), (303, Some("/login?return_to=%2Fsaml%2Finspect")));
    assert_eq!(gateway.send_to("app.north.localhost", &get(PATH).browser()).status, 303, "at an application it is the application's");

    // Nobody has heard of its subject until now; and nothing was spent: the same message signs them in.
    assert!(!gateway.log().contains(SUBJECT) && !gateway.audit().iter().any(|record| record.to_string().contains(SUBJECT)));
    link(&gateway, &peer, "ada", SUBJECT);
    assert_eq!(bring(&mut gateway.browser(), &answer).status, 303);
}

#[test]
fn what_is_wrong_with_a_pasted_response_is_said_whatever_it_is() {
    let Some(peer) = Peer::new("corp", "idp-rsa2048") else { return };
    let gateway = house(&peer, "");
    let mut glass = operator(&gateway);
    let token = token(&glass.load(&format!("http://{PORTAL}{PATH}")));
    let recorded = super::text("saml/n01_signed_assertion.xml");
    let form = format!("SAMLResponse={}", percent_encoding::utf8_percent_encode("<a/>", percent_encoding::NON_ALPHANUMERIC));
    for (message, reason) in [
        (recorded.as_str(), "wrong_issuer"),
        ("", "malformed"),
        ("neither", "malformed"),
        ("<!DOCTYPE x><x/>", "dtd"),
        ("<x/>", "malformed"),
        (form.as_str(), "malformed"),
        ("<script>alert(1)</script>", "malformed"),
    ] {
        let shown = glass.post(PORTAL, PATH, &[("token", &token), ("message", message)]);
        assert_eq!(shown.status, 200, "{message:.40}");
        assert!(shown.body.contains(&format!("<strong>{reason}</strong>")), "{message:.40}: {reason}\n{}", shown.body);
        assert!(checks(&shown).iter().any(|(_, ok)| !ok) && !shown.body.contains("<script>alert"), "{}", shown.body);
    }
    // What is long is read beside the threads that answer; what is too long not at all.
    let long = format!("<x>{}</x>", "y".repeat(200 * 1024));
    assert_eq!(glass.post(PORTAL, PATH, &[("token", &token), ("message", &long)]).status, 200);
    let longer = "y".repeat(600 * 1024);
    assert_eq!(glass.post(PORTAL, PATH, &[("token", &token), ("message", &longer)]).status, 413);
}
