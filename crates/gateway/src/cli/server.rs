//! `vestibule status` and `vestibule reload`.

use super::client::{ask, unexpected};
use super::output::{Cell, Output, Tone};
use super::{Answer, Common, Failure, FailureKind};
use crate::serve::admin::protocol::{AdminReply, AdminRequest};

/// Shows how the running server is. No, if it judges nothing at the moment.
pub fn status(common: &Common, output: &mut Output) -> Result<Answer, Failure> {
    let AdminReply::Status(status) = ask(common, AdminRequest::Status)? else { return Err(unexpected()) };
    let answer = if status.stopped.is_some() { Answer::No } else { Answer::Yes };
    if output.is_json() {
        output.json(&status);
        return Ok(answer);
    }
    let judging = match &status.stopped {
        None => Cell::new("yes", Tone::Good),
        Some(why) => Cell::new(format!("no: {why}"), Tone::Bad),
    };
    let lost = match status.audit_lost {
        0 => Cell::new("0", Tone::Quiet),
        lost => Cell::new(lost.to_string(), Tone::Bad),
    };
    let name = |name: &str| Cell::new(name, Tone::Quiet);
    output.table(
        &[],
        vec![
            vec![name("judging"), judging],
            vec![name("version"), status.version.into()],
            vec![name("process"), status.pid.to_string().into()],
            vec![name("since"), status.started.to_string().into()],
            vec![name("tenants"), status.tenants.join(", ").into()],
            vec![name("routes"), status.routes.to_string().into()],
            vec![name("audit records lost"), lost],
            vec![name("audit sealed by"), status.audit_key.unwrap_or_else(|| "nothing: it goes to no file".to_owned()).into()],
        ],
    );
    Ok(answer)
}

/// Makes the running server read its configuration again.
pub fn reload(common: &Common, output: &mut Output) -> Result<Answer, Failure> {
    match ask(common, AdminRequest::Reload) {
        Ok(AdminReply::Reloaded) => {}
        Ok(_) => return Err(unexpected()),
        Err(failure) if failure.kind == FailureKind::Refused => {
            return Err(failure.fix("nothing was changed; see what `vestibule check` says"));
        }
        Err(failure) => return Err(failure),
    }
    if output.is_json() {
        output.json(&serde_json::json!({ "reloaded": true }));
    } else {
        output.line("The configuration was read again and is in force.");
    }
    Ok(Answer::Yes)
}
