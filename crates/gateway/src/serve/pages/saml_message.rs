//! SAML messages through a browser: how they come, and the pages by which they go (SAML bindings §3.4, §3.5).

use bytes::Bytes;
use http::{Method, Response};
use http_body_util::Full;
use vestibule_engine::request::Body;
use vestibule_engine::scheme::Unavailable;
use vestibule_saml::Incoming;
use vestibule_saml::binding::{Kind, Post, PostForm, Redirect, RelayState};
use vestibule_saml::names::binding;

use super::view::{GoingPage, LeavingPage};
use super::{Visit, reply};

/// A message as it came.
pub(super) enum Arrived {
    Redirect(Redirect),
    Post(Post),
}

impl Arrived {
    /// The message in a query or a form.
    pub(super) fn of(visit: &Visit<'_>) -> Result<Self, vestibule_saml::Error> {
        match &visit.request.body {
            Body::Whole(octets) if visit.request.method == Method::POST => {
                // What is no text is no form: the reader says so.
                Post::read(std::str::from_utf8(octets).unwrap_or_default()).map(Self::Post)
            }
            Body::Whole(_) | Body::Unread => Redirect::read(visit.request.target.query().unwrap_or_default()).map(Self::Redirect),
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Redirect(redirect) => redirect.kind,
            Self::Post(post) => post.kind,
        }
    }

    pub(super) fn incoming(&self) -> Incoming<'_> {
        match self {
            Self::Redirect(redirect) => Incoming::Redirect(redirect),
            Self::Post(post) => Incoming::Document(&post.message),
        }
    }

    pub(super) fn relay_state(&self) -> Option<&RelayState> {
        match self {
            Self::Redirect(redirect) => redirect.relay_state.as_ref(),
            Self::Post(post) => post.relay_state.as_ref(),
        }
    }

    pub(super) fn binding(&self) -> &'static str {
        match self {
            Self::Redirect(_) => binding::REDIRECT,
            Self::Post(_) => binding::POST,
        }
    }
}

/// A page that posts itself.
pub(super) fn post(visit: &Visit<'_>, form: PostForm, to: &str, lead: &str) -> Response<Full<Bytes>> {
    let mut fields = vec![(form.field.to_owned(), form.value)];
    if let Some(state) = &form.relay_state {
        fields.push((form.relay_field.to_owned(), state.as_str().to_owned()));
    }
    let page = LeavingPage { shell: visit.shell(), host: to, action: &form.action, fields: &fields, lead };
    reply::page_to(visit, &page, &form.action)
}

/// A page that leads on by itself. No redirect: Chromium would hold it against the form of ours that came before.
pub(super) fn go(visit: &Visit<'_>, location: &str, to: &str, lead: &str) -> Response<Full<Bytes>> {
    reply::page_on(visit, &GoingPage { shell: visit.shell(), to, location, lead }, location)
}

/// A failure of ours to write or sign; never the sender's.
pub(super) fn unwritten(why: vestibule_saml::Error) -> Unavailable {
    Unavailable::new("SAML message", why)
}
