//! Users who come from another system, and users who leave.
//!
//! An import is written in batches, one commit each, and may be begun again after whatever broke it off: who is there
//! already, as the file has them, is left alone. Password hashes rest sealed until they are wrapped (`realms/hashing`).

use std::collections::{HashMap, HashSet};

use vestibule_engine::identity::{ExternalId, GroupName, ProfileName, TenantId, User, UserId, Username};
use vestibule_engine::request::RequestId;

use super::protocol::{AdminReply, BATCH, Confidential, ExportedUser, Fate, ImportedUser, PAGE, Refusal};
use super::{Desk, MAX_IDS, fits, fitting, groups};

impl Desk<'_> {
    pub(super) async fn import(&self, tenant: Option<&str>, imported: Vec<ImportedUser>, dry_run: bool) -> Result<AdminReply, Refusal> {
        self.may_change()?;
        let tenant = self.tenant(tenant)?;
        if imported.len() > BATCH {
            return Err(Refusal::Invalid(format!("at most {BATCH} users are imported at once")));
        }
        let mut fates: Vec<Fate> = Vec::with_capacity(imported.len());
        let mut wanted = Vec::new();
        for (place, one) in imported.into_iter().enumerate() {
            // Overwritten by what becomes of those that may be added.
            fates.push(Fate::Present);
            match self.user_of(&tenant, one) {
                Ok(user) => wanted.push((place, user)),
                // It is ours to do better, and no word on the user.
                Err(down @ Refusal::Unavailable(_)) => return Err(down),
                Err(why) => set(&mut fates, place, Fate::Refused(why.to_string())),
            }
        }

        let store = self.admin.users.store();
        let names: Vec<Username> = wanted.iter().map(|(_, user)| user.name.clone()).collect();
        let held: HashMap<Username, User> =
            store.users_by_name(&tenant, &names).await?.into_iter().map(|user| (user.name.clone(), user)).collect();
        let mut new: Vec<(usize, User)> = Vec::new();
        let mut met = HashSet::new();
        for (place, user) in wanted {
            match held.get(&user.name) {
                Some(held) => set(&mut fates, place, compared(held, &user)),
                None if met.insert(user.name.clone()) => new.push((place, user)),
                None => set(&mut fates, place, Fate::Refused("this name stands in the file before".to_owned())),
            }
        }
        if dry_run {
            for (place, user) in &new {
                set(&mut fates, *place, self.foretold(user).await?);
            }
            return Ok(AdminReply::Imported(fates));
        }

        let (places, users): (Vec<usize>, Vec<User>) = new.into_iter().unzip();
        let added = store.insert_users(&users).await?;
        for (place, added) in places.into_iter().zip(&added) {
            let fate = if *added { Fate::Added } else { Fate::Refused("one of its external ids is another user's".to_owned()) };
            set(&mut fates, place, fate);
        }
        let all: Vec<&User> = users.iter().zip(&added).filter(|(_, added)| **added).map(|(user, _)| user).collect();
        if let (Some(first), Some(last)) = (all.first(), all.last()) {
            let subject = format!("{tenant}: {} users, from {} to {}", all.len(), first.name, last.name);
            self.changed(Some(&tenant), "user.import", subject);
        }
        Ok(AdminReply::Imported(fates))
    }

    /// The user that would be added.
    fn user_of(&self, tenant: &TenantId, imported: ImportedUser) -> Result<User, Refusal> {
        let (name, now) = (self.username(&imported.name)?, self.engine.clock.now());
        fitting(imported.groups.iter().chain([&imported.profile]).chain(&imported.display_name).chain(&imported.email))?;
        if imported.external_ids.len() > MAX_IDS {
            return Err(Refusal::Invalid(format!("a user is known by at most {MAX_IDS} names of issuers")));
        }
        imported.external_ids.iter().try_for_each(fits)?;
        let hash = imported.password_hash.map(|Confidential(text)| self.admin.passwords.seal(&text)).transpose()?;
        Ok(User {
            id: UserId(RequestId::new(now)?.0),
            tenant: tenant.clone(),
            name,
            display_name: imported.display_name,
            email: imported.email,
            groups: groups(&imported.groups)?,
            profile: ProfileName::from(imported.profile.as_str()),
            state: imported.state,
            must_change_password: imported.must_change_password,
            break_glass: imported.break_glass,
            epoch: 0,
            password: hash,
            external_ids: imported.external_ids,
            created: imported.created.filter(|created| *created < now).unwrap_or(now),
        })
    }

    /// What would become of a user whose name is free.
    async fn foretold(&self, user: &User) -> Result<Fate, Refusal> {
        for id in &user.external_ids {
            if let Some(other) = self.admin.users.store().user_by_external_id(&user.tenant, id).await? {
                return Ok(Fate::Refused(format!("one of its external ids is that of `{}`", other.name)));
            }
        }
        Ok(Fate::Added)
    }

    pub(super) async fn export(
        &self,
        tenant: Option<&str>,
        group: Option<&str>,
        after: Option<&str>,
        hashes: bool,
    ) -> Result<AdminReply, Refusal> {
        let tenant = self.tenant(tenant)?;
        let (group, after) = (group.map(GroupName::from), after.and_then(Username::parse));
        if hashes {
            self.may_change()?;
        }
        let mut users = self.admin.users.store().users(&tenant, group.as_ref(), after.as_ref(), PAGE + 1).await?;
        let more = users.len() > PAGE;
        users.truncate(PAGE);
        let mut exported = Vec::with_capacity(users.len());
        for mut user in users {
            let stored = user.password.take().filter(|_| hashes);
            let password_hash = match &stored {
                None => None,
                Some(stored) => match self.admin.passwords.reveal(stored) {
                    Some(text) => Some(Confidential(text)),
                    None => return Err(Refusal::Unavailable(format!("the password hash of `{}` cannot be opened", user.name))),
                },
            };
            exported.push(ExportedUser { user, password_hash });
        }
        if hashes && let (Some(first), Some(last)) = (exported.first(), exported.last()) {
            let subject = format!("{tenant}: {} hashes, from {} to {}", exported.len(), first.user.name, last.user.name);
            self.changed(Some(&tenant), "user.export", subject);
        }
        Ok(AdminReply::Exported { users: exported, more })
    }
}

fn set(fates: &mut [Fate], place: usize, fate: Fate) {
    if let Some(slot) = fates.get_mut(place) {
        *slot = fate;
    }
}

/// Whether who is there is who would be added. The password is not compared: its owner may have changed it since.
fn compared(held: &User, user: &User) -> Fate {
    let ids = |user: &User| user.external_ids.iter().cloned().collect::<HashSet<ExternalId>>();
    let differing: Vec<&str> = [
        ("name to show", held.display_name != user.display_name),
        ("mail address", held.email != user.email),
        ("groups", held.groups != user.groups),
        ("profile", held.profile != user.profile),
        ("state", held.state != user.state),
        ("emergency mark", held.break_glass != user.break_glass),
        ("external ids", ids(held) != ids(user)),
    ]
    .into_iter()
    .filter_map(|(what, differs)| differs.then_some(what))
    .collect();
    match differing.is_empty() {
        true => Fate::Present,
        false => Fate::Refused(format!("a user of this name is there, and differs in: {}", differing.join(", "))),
    }
}
