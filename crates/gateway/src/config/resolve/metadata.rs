//! Files of metadata. What has run out is read all the same: a partner that publishes nothing new must not keep everybody else's
//! gateway from starting. It is believed nothing, which whoever asks it sees to.

use std::path::{Path, PathBuf};

use vestibule_saml::metadata::{Entity, METADATA_LIMITS, Metadata, Trust};

use super::Resolve;
use crate::config::secrets::reason;
use crate::config::values::At;

impl Resolve<'_> {
    /// What a file of metadata holds, expired or not.
    pub(super) fn metadata_of(&mut self, at: &At<PathBuf>) -> Option<Metadata> {
        let path = self.named_file(at);
        let octets = self.or_error(at, self.octets(&path))?;
        let read = Metadata::read_with_ended(&octets, Trust::Named);
        self.or_error(at, read.map_err(|why| format!("the metadata `{}` cannot be used: {why}", at.value.display())))
    }

    fn octets(&self, path: &Path) -> Result<Vec<u8>, String> {
        let instead = self.instead.filter(|instead| instead.file == path);
        let length = match instead {
            Some(instead) => Ok(u64::try_from(instead.octets.len()).unwrap_or(u64::MAX)),
            None => std::fs::metadata(path).map(|about| about.len()),
        };
        let octets = length.and_then(|length| match instead {
            _ if usize::try_from(length).unwrap_or(usize::MAX) > METADATA_LIMITS.size => {
                Err(std::io::Error::other(format!("it is longer than {} octets", METADATA_LIMITS.size)))
            }
            Some(instead) => Ok(instead.octets.to_vec()),
            None => std::fs::read(path),
        });
        octets.map_err(|why| format!("the metadata `{}` cannot be read: {}", path.display(), reason(&why)))
    }

    /// Those that are meant: what holds, or, where nothing of it does, what has ended.
    pub(super) fn meant<'m>(&self, metadata: &'m Metadata, is_meant: impl Fn(&Entity) -> bool) -> Vec<&'m Entity> {
        let (ended, hold): (Vec<_>, Vec<_>) =
            metadata.entities.iter().filter(|entity| is_meant(entity)).partition(|entity| entity.has_ended(self.now));
        if hold.is_empty() { ended } else { hold }
    }

    /// Warns of what has ended. `so` says what follows.
    pub(super) fn warn_of_end(&mut self, at: &At<PathBuf>, entity: &Entity, so: &str) {
        if let Some(until) = entity.valid_until.filter(|_| entity.has_ended(self.now)) {
            self.warn(at, format!("the metadata of `{}` held until {until}: {so}", entity.entity_id)).help =
                Some("fetch newer ones from where they are published".to_owned());
        }
    }
}
