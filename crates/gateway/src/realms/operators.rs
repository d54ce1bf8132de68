//! Whether somebody could still sign in here while others check the passwords.
//!
//! Whoever delegates everybody, or takes away the last account that is not delegated, is locked out by the next outage elsewhere.

use vestibule_engine::admission::barred;
use vestibule_engine::identity::{TenantId, UserId};
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::store::DurableStore;

/// Users read at once.
const PAGE: usize = 1000;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operators {
    /// Somebody who could sign in.
    Present,
    /// Users, and nobody among them who could.
    Missing,
    /// No users at all: the installation is new.
    NobodyYet,
}

/// Looks for an administrator or emergency account that may enter and has a password here, other than `except`.
///
/// # Errors
/// [`Unavailable`] when the store does not answer.
pub async fn operators(store: &dyn DurableStore, tenants: &[TenantId], except: Option<UserId>) -> Result<Operators, Unavailable> {
    let mut found = Operators::NobodyYet;
    for tenant in tenants {
        let mut after = None;
        loop {
            let page = store.users(tenant, None, after.as_ref(), PAGE).await?;
            let others = page.iter().filter(|user| Some(user.id) != except);
            if others.clone().any(|user| user.is_operator() && user.password.is_some() && barred(user).is_none()) {
                return Ok(Operators::Present);
            }
            if !page.is_empty() {
                found = Operators::Missing;
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.name.clone()),
                Some(_) | None => break,
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use vestibule_engine::identity::{AccountState, PasswordHash};

    use super::super::shelf::Shelf;
    use super::*;

    #[tokio::test]
    async fn an_operator_counts_who_could_sign_in() {
        let (shelf, north) = (Shelf::default(), [TenantId::from("north")]);
        let hash = || Some(PasswordHash("x".to_owned()));
        assert_eq!(operators(&shelf, &north, None).await, Ok(Operators::NobodyYet));
        shelf.add("ada", hash(), |_| {});
        shelf.add("nohash", None, |user| user.break_glass = true);
        shelf.add("disabled", hash(), |user| (user.break_glass, user.state) = (true, AccountState::Disabled));
        assert_eq!(operators(&shelf, &north, None).await, Ok(Operators::Missing));
        let root = shelf.add("root", hash(), |user| user.profile = "administrator".into());
        assert_eq!(operators(&shelf, &north, None).await, Ok(Operators::Present));
        assert_eq!(operators(&shelf, &north, Some(root)).await, Ok(Operators::Missing));
    }
}
