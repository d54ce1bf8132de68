//! The page of the scheme is true.

use super::*;
use crate::shown::Shown;
use crate::support::exchange;

/// What the page of the scheme shows of the wire is what goes over it.
#[test]
fn the_page_of_the_scheme_is_true() {
    let gateway = gateway();
    let mut shown = Shown::on("integration.md");
    shown.know("host", &format!("app.north.localhost:{}", gateway.public));
    shown.know("password", ADA.1);
    shown.know("encoded-password", &ADA.1.replace(' ', "%20"));
    let mut next = || shown.next(|octets| exchange(gateway.address, octets));
    let login = next();
    works(&gateway, &id(&login));
    no_session(&next());
    for _ in 0..3 {
        next();
    }
    works(&gateway, &id(&gateway.send(&ssologin(&sso_token(&gateway)))));
    assert_eq!(gateway.send(&ssologin(shown.word("token"))).status, 401, "once");
    shown.end();
}
