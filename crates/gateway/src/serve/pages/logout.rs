//! Signing out: a POST with a token, since a link or an image on a foreign page must not do it.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use vestibule_engine::audit::Ending;
use vestibule_engine::scheme::Unavailable;

use super::guard::Form;
use super::view::{Display, Dress, GoingPage, LogoutPage};
use super::way_out::WayOut;
use super::{Portal, Visit, cookie, reply};

pub(super) const PURPOSE: &str = "logout";

impl Portal {
    /// GET `/logout` and `/.vestibule/logout`: asks, or says that it is done.
    pub(super) async fn show_logout(&self, visit: &mut Visit<'_>) -> Result<Response<Full<Bytes>>, Unavailable> {
        if let Some(run) = visit.request.target.query_values("run").first()
            && visit.dress == Dress::Linked
        {
            return self.resume_logout(visit, run).await;
        }
        let session = self.session(visit).await?;
        let Some(identity) = session else {
            // An application's host cannot know whether the login lives; the portal can.
            if visit.dress == Dress::Inline
                && let Some(portal) = &visit.tenant.portal_origin
            {
                return Ok(reply::redirect(&format!("{portal}/logout")));
            }
            return Ok(signed_out(visit));
        };
        let token = self.token(&identity, PURPOSE);
        let session = Some((identity.user.name.as_str(), token.as_str()));
        Ok(reply::page(
            visit,
            StatusCode::OK,
            &LogoutPage { shell: visit.shell(), session, action: visit.request.target.path(), login: "/login" },
        ))
    }

    /// POST `/logout` and `/.vestibule/logout`.
    pub(super) async fn sign_out(&self, visit: &mut Visit<'_>) -> Result<Response<Full<Bytes>>, Unavailable> {
        let Ok(form) = Form::read(visit.request) else { return Ok(visit.forged()) };
        visit.display = Display::parse(form.text("display")).unwrap_or(visit.display);
        let path = visit.request.target.path();
        // Already signed out, in another tab or by time: what was asked for is so.
        let Some(identity) = self.session(visit).await? else { return Ok(reply::redirect(path)) };
        if !self.allows(visit, &form, &identity, PURPOSE) {
            return Ok(visit.forged());
        }
        let everywhere = !form.text("everywhere").is_empty();
        if everywhere {
            self.engine.sessions.end_all(&visit.tenant.id, identity.user.id, Ending::LogoutEverywhere, &mut visit.trail).await?;
        } else {
            self.engine.sessions.end(&identity, Ending::Logout, &mut visit.trail).await?;
        }
        let out = self.way_out(visit, &identity, everywhere).await?;
        let told = match &identity.session {
            Some(session) => self.tell_participants(visit, session.login, out.as_ref()).await?,
            None => None,
        };
        let mut response = match (told, out) {
            // A page of its own: browsers hold our `form-action` against a redirect after a form.
            (None, Some(out)) => going(visit, &out),
            (told, _) => reply::redirect(told.as_deref().unwrap_or(path)),
        };
        reply::set_cookie(&mut response, &cookie::clear_session(visit.request));
        forget_partner(visit, &mut response);
        Ok(response)
    }
}

/// On the way to sign out at an OpenID provider.
pub(super) fn going(visit: &Visit<'_>, WayOut { to, location }: &WayOut) -> Response<Full<Bytes>> {
    let lead = visit.words.signed_out_going;
    reply::page_on(visit, &GoingPage { shell: visit.shell(), to, location, lead }, location)
}

fn signed_out(visit: &Visit<'_>) -> Response<Full<Bytes>> {
    let page = LogoutPage { shell: visit.shell(), session: None, action: "", login: "/login" };
    let mut response = reply::page(visit, StatusCode::OK, &page);
    if visit.request.cookies(cookie::session_name(visit.request)).next().is_some() {
        reply::set_cookie(&mut response, &cookie::clear_session(visit.request));
    }
    forget_partner(visit, &mut response);
    response
}

/// Takes the name of the identity provider to which this browser would be led without being asked: whoever signed out, or wants our
/// own form, chooses anew (`login-saml-delegated.md` §5.3).
pub(super) fn forget_partner(visit: &Visit<'_>, response: &mut Response<Full<Bytes>>) {
    if visit.request.cookies(cookie::provider_name(visit.request)).next().is_some() {
        reply::set_cookie(response, &cookie::set_provider(visit.request, ""));
    }
}
