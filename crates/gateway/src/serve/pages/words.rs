//! Every word of our pages, in every language, side by side: whoever adds one says it in all of them, or it does not compile.
//!
//! A `{}` stands where a name goes. Programs (JSON, SOAP) are answered in English whatever a header says: they compare.

use serde::{Deserialize, Serialize};

/// A language of our pages (BCP 47).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Language {
    /// English.
    #[serde(rename = "en")]
    English,
    /// German.
    #[serde(rename = "de")]
    German,
}

impl Language {
    /// All of them; the first where nobody says anything.
    pub const ALL: [Self; 2] = [Self::English, Self::German];

    /// Its tag.
    pub const fn tag(self) -> &'static str {
        self.words().tag
    }

    /// Its words.
    pub const fn words(self) -> &'static Words {
        match self {
            Self::English => &ENGLISH,
            Self::German => &GERMAN,
        }
    }

    /// Of `offered`, in order of preference, what a browser likes best (RFC 9110 §12.5.4, basic filtering of RFC 4647 §3.3.1).
    pub fn negotiate(accept: Option<&str>, offered: &[Self]) -> Self {
        let usual = offered.first().copied().unwrap_or(Self::English);
        let mut best: Option<(Self, u16)> = None;
        for range in accept.unwrap_or_default().split(',').take(MOST_RANGES) {
            let mut parts = range.split(';');
            let tag = parts.next().unwrap_or_default().trim();
            let weight = parts.find_map(|part| part.trim().strip_prefix("q=")).map_or(Some(1000), weight).unwrap_or(0);
            let meant = |language: &&Self| {
                let primary = tag.split('-').next().unwrap_or_default();
                primary.eq_ignore_ascii_case(language.tag()) || tag == "*"
            };
            if let Some(language) = offered.iter().find(meant)
                && weight > best.map_or(0, |(_, weight)| weight)
            {
                best = Some((*language, weight));
            }
        }
        best.map_or(usual, |(language, _)| language)
    }
}

/// Ranges of one header that we look at.
const MOST_RANGES: usize = 16;

/// A weight (RFC 9110 §12.4.2) in thousandths.
fn weight(text: &str) -> Option<u16> {
    let weight: f32 = text.trim().parse().ok()?;
    // The cast is of a number between 0 and 1000.
    (0.0..=1.0).contains(&weight).then(|| (weight * 1000.0).round() as u16)
}

macro_rules! words {
    ($($name:ident: $english:literal, $german:literal;)+) => {
        /// What our pages say, in one language.
        #[derive(Debug, PartialEq, Eq)]
        pub struct Words { $(pub $name: &'static str),+ }

        const ENGLISH: Words = Words { $($name: $english),+ };
        const GERMAN: Words = Words { $($name: $german),+ };

        impl Words {
            /// What is said in English elsewhere, in this language; as it is, if it is none of ours.
            pub fn of(&self, english: &'static str) -> &'static str {
                $(if english == $english { return self.$name; })+
                english
            }

            #[cfg(test)]
            fn all(&self) -> Vec<(&'static str, &'static str)> {
                vec![$((stringify!($name), self.$name)),+]
            }
        }
    };
}

impl Words {
    /// A sentence with a name in it.
    pub fn fill(sentence: &str, name: &str) -> String {
        sentence.replacen("{}", name, 1)
    }

    /// What stands before the name.
    pub fn before(sentence: &str) -> &str {
        sentence.split_once("{}").map_or(sentence, |(before, _)| before)
    }

    /// What stands after it.
    pub fn after(sentence: &str) -> &str {
        sentence.split_once("{}").map_or("", |(_, after)| after)
    }
}

words! {
    tag: "en", "de";

    // The sign-in form
    sign_in: "Sign in", "Anmelden";
    to_continue_to: "to continue to {}", "um zu {} zu gelangen";
    signed_in_as: "You are signed in as {}.", "Sie sind als {} angemeldet.";
    ends_that_session: "Signing in again ends that session.", "Eine neue Anmeldung beendet diese Sitzung.";
    user_name: "User name", "Benutzername";
    full_user_name: "With the name of your organisation, as in ada@north", "Mit dem Namen Ihrer Organisation, etwa ada@north";
    password: "Password", "Passwort";
    show: "Show", "Zeigen";
    hide: "Hide", "Verbergen";
    show_password: "Show password", "Passwort zeigen";
    hide_password: "Hide password", "Passwort verbergen";
    caps_lock: "Caps Lock is on.", "Die Feststelltaste ist aktiv.";
    copy: "Copy", "Kopieren";
    copied: "Copied", "Kopiert";
    mismatch: "That user name and password do not match", "Benutzername und Passwort passen nicht zusammen";
    mismatch_or_outage: "That user name and password do not match, or cannot be checked right now", "Benutzername und Passwort passen nicht zusammen oder lassen sich gerade nicht prüfen";
    give_number: "Try again, or give your administrator this number:", "Versuchen Sie es noch einmal, oder nennen Sie Ihrer Administration diese Nummer:";
    many_waiting: "Too many sign-ins are waiting", "Zu viele Anmeldungen warten";
    minute: "Try again in a minute; if it lasts, give your administrator this number:", "Versuchen Sie es in einer Minute noch einmal; wenn es anhält, nennen Sie Ihrer Administration diese Nummer:";
    unprotected: "This connection is not protected", "Diese Verbindung ist nicht geschützt";
    use_https: "Nothing was checked. Open this page with https, or give your administrator this number:", "Es wurde nichts geprüft. Öffnen Sie diese Seite mit https, oder nennen Sie Ihrer Administration diese Nummer:";
    page_expired: "This sign-in page had expired", "Diese Anmeldeseite war abgelaufen";
    sign_in_anew: "Nothing was checked. Please sign in again. If it keeps happening, give your administrator this number:", "Es wurde nichts geprüft. Bitte melden Sie sich noch einmal an. Wenn es wieder geschieht, nennen Sie Ihrer Administration diese Nummer:";
    no_cookie: "Your browser did not keep our cookie", "Ihr Browser hat unser Cookie nicht behalten";
    allow_cookies: "Allow cookies for this site, then sign in again. If it keeps happening, give your administrator this number:", "Erlauben Sie Cookies für diese Seite, und melden Sie sich dann noch einmal an. Wenn es wieder geschieht, nennen Sie Ihrer Administration diese Nummer:";
    password_in_address: "A password must not be part of an address", "Ein Passwort gehört nicht in eine Adresse";
    change_that_password: "It is kept in histories and logs. Change that password, and use the sign-in page:", "Adressen bleiben in Verläufen und Protokollen. Ändern Sie dieses Passwort, und benutzen Sie die Anmeldeseite:";
    form_unread: "That form could not be read", "Das Formular konnte nicht gelesen werden";
    open_sign_in: "Open the sign-in page again.", "Öffnen Sie die Anmeldeseite noch einmal.";

    // Other ways in
    choose_account: "Choose your account.", "Wählen Sie Ihr Konto.";
    mail_address: "Mail address", "E-Mail-Adresse";
    go_on: "Continue", "Weiter";
    name_and_password: "User name and password", "Benutzername und Passwort";
    going_to: "Going to {}", "Weiter zu {}";
    sign_in_there: "You sign in there, and come back here afterwards.", "Sie melden sich dort an und kommen danach hierher zurück.";
    taken_there: "You are signed in, and your browser takes you there.", "Sie sind angemeldet, und Ihr Browser bringt Sie dorthin.";
    signed_out_going: "You are signed out here. Your browser goes there to sign you out, too.", "Hier sind Sie abgemeldet. Ihr Browser geht dorthin, um Sie auch dort abzumelden.";
    signed_out_back: "You are signed out. Your browser goes back there.", "Sie sind abgemeldet. Ihr Browser geht dorthin zurück.";
    inspect_saml: "Inspect a SAML response", "Eine SAML-Antwort prüfen";
    inspect_lead: "What an identity provider sent: XML, its base64, or the form that carried it. It is judged as at a login, beside which request it answers; nobody is signed in, and nothing is kept.", "Was ein Identitätsanbieter geschickt hat: XML, dessen Base64 oder das Formular, das es brachte. Es wird beurteilt wie bei einer Anmeldung, nur nicht, auf welche Anfrage es antwortet; niemand wird angemeldet, und nichts wird aufbewahrt.";
    saml_response: "Response", "Antwort";
    inspect: "Inspect", "Prüfen";
    would_be_accepted: "It would be accepted.", "Sie würde angenommen.";
    would_be_refused: "It would be refused: {}.", "Sie würde abgelehnt: {}.";
    check: "Check", "Prüfung";
    found: "Found", "Befund";
    what_helps: "What helps", "Was hilft";
    it_says: "What it says", "Was sie sagt";
    subject: "Subject", "Subjekt";
    passed: "ok", "gut";
    failed: "failed", "gescheitert";
    kept_form: "Your session ended before this was sent", "Ihre Sitzung endete, bevor dies gesendet wurde";
    kept_lead: "It was going to {}. It was kept for you, encrypted. Nothing was done with it yet.", "Es sollte an {} gehen. Es wurde verschlüsselt für Sie aufbewahrt. Noch ist damit nichts geschehen.";
    what_you_sent: "What you filled in", "Was Sie eingetragen haben";
    field_name: "Field", "Feld";
    field_value: "Value", "Wert";
    send_it: "Send it now", "Jetzt senden";
    do_not_send: "Do not send it", "Nicht senden";
    not_kept: "Nothing is kept here for you", "Hier ist nichts für Sie aufbewahrt";
    fill_in_again: "It was sent already, or too much time has passed. If you need it, fill it in again.", "Es wurde schon gesendet, oder es ist zu viel Zeit vergangen. Wenn Sie es brauchen, füllen Sie es noch einmal aus.";
    go_to_application: "Go to the application", "Zur Anwendung";
    as_somebody_else: "Sign in as somebody else", "Als jemand anderes anmelden";
    wants_somebody_else: "{} wants to sign somebody else in here. That ends your session.", "{} möchte hier jemand anderes anmelden. Das beendet Ihre Sitzung.";
    end_and_go_on: "End my session and go on", "Meine Sitzung beenden und fortfahren";
    stay: "Stay signed in", "Angemeldet bleiben";
    no_answer: "That is no answer of an identity provider", "Das ist keine Antwort eines Identitätsanbieters";
    begin_here: "Begin signing in here. If it keeps happening, give your administrator this number:", "Beginnen Sie die Anmeldung hier. Wenn es wieder geschieht, nennen Sie Ihrer Administration diese Nummer:";
    not_signed_in: "You could not be signed in", "Sie konnten nicht angemeldet werden";
    begin_again: "Begin again here. If it keeps happening, give your administrator this number:", "Beginnen Sie hier noch einmal. Wenn es wieder geschieht, nennen Sie Ihrer Administration diese Nummer:";
    too_weak: "A stronger sign-in is needed", "Eine stärkere Anmeldung ist nötig";
    second_factor: "This page asks for more than you showed, such as a second factor. Sign in that way, or give your administrator this number:", "Diese Seite verlangt mehr, als Sie gezeigt haben, etwa einen zweiten Faktor. Melden Sie sich so an, oder nennen Sie Ihrer Administration diese Nummer:";
    round: "Your browser is going round in circles", "Ihr Browser dreht sich im Kreis";
    round_advice: "{} signed you in several times within a minute, and the page still asked who you are. Allow cookies for this site, wait a minute, and open the page again. If it keeps happening, give your administrator this number:", "{} hat Sie innerhalb einer Minute mehrmals angemeldet, und die Seite hat immer noch gefragt, wer Sie sind. Erlauben Sie Cookies für diese Seite, warten Sie eine Minute, und öffnen Sie die Seite noch einmal. Wenn es wieder geschieht, nennen Sie Ihrer Administration diese Nummer:";

    // Signed in
    signed_in: "Signed in", "Angemeldet";
    you_are_in: "You are signed in", "Sie sind angemeldet";
    close_window: "This window can be closed.", "Dieses Fenster kann geschlossen werden.";
    continue_here: "Continue here instead", "Stattdessen hier weitermachen";
    your_applications: "Your applications", "Ihre Anwendungen";
    signed_in_since: "Signed in since", "Angemeldet seit";
    signed_in_as_since: "Signed in as {} since", "Angemeldet als {} seit";
    applications: "Applications", "Anwendungen";
    no_applications: "No applications yet. They appear here when your administrator adds one.", "Noch keine Anwendungen. Sie erscheinen hier, sobald Ihre Administration eine hinzufügt.";
    administration: "Administration", "Administration";
    login_history: "Login history", "Anmeldeverlauf";
    delegated_errors: "Delegated authentication errors", "Fehler der delegierten Anmeldung";

    // Signing out
    sign_out: "Sign out", "Abmelden";
    sign_out_ask: "Sign out?", "Abmelden?";
    sign_out_ends: "Signing out ends this session in all applications.", "Die Abmeldung beendet diese Sitzung in allen Anwendungen.";
    everywhere: "Sign out on all devices", "Auf allen Geräten abmelden";
    signed_out: "Signed out", "Abgemeldet";
    you_are_out: "You are signed out", "Sie sind abgemeldet";
    out_here: "You are signed out here", "Hier sind Sie abgemeldet";
    shared_computer: "On a shared computer, close the browser as well.", "Schließen Sie an einem gemeinsam benutzten Computer auch den Browser.";
    not_confirmed: "Not every application confirmed it. Close the browser to be signed out of the rest.", "Nicht jede Anwendung hat es bestätigt. Schließen Sie den Browser, um auch von den übrigen abgemeldet zu sein.";
    cannot_be_asked: "Cannot be asked", "Kann nicht gefragt werden";
    did_not_confirm: "Did not confirm", "Nicht bestätigt";
    sign_out_at: "Sign out at {}", "Bei {} abmelden";
    sign_in_again: "Sign in again", "Wieder anmelden";
    sign_out_here: "Sign out here", "Hier abmelden";
    out_already_done: "This sign-out is already done", "Diese Abmeldung ist schon geschehen";
    out_used_once: "It was used once, in this tab or another. Nothing more was done. If you did not expect this, give your administrator this number:", "Sie wurde einmal benutzt, in diesem oder einem anderen Tab. Mehr wurde nicht getan. Wenn Sie das nicht erwartet haben, nennen Sie Ihrer Administration diese Nummer:";
    out_unread: "That sign-out could not be read", "Diese Abmeldung konnte nicht gelesen werden";
    out_refused: "The sign-out by {} was refused", "Die Abmeldung durch {} wurde abgelehnt";
    out_not_done: "Nothing was done. Sign out here, or where you came from; if this keeps happening, give its administrator this number:", "Es wurde nichts getan. Melden Sie sich hier ab oder dort, woher Sie kamen; wenn es wieder geschieht, nennen Sie dessen Administration diese Nummer:";

    // Passwords
    change_password: "Change password", "Passwort ändern";
    change_your_password: "Change your password", "Ändern Sie Ihr Passwort";
    set_by_others: "Your password was set by somebody else. Choose one that only you know; then you can go on.", "Ihr Passwort hat jemand anderes gesetzt. Wählen Sie eines, das nur Sie kennen; dann geht es weiter.";
    out_elsewhere: "You will be signed out everywhere else.", "Überall sonst werden Sie abgemeldet.";
    current_password: "Current password", "Jetziges Passwort";
    new_password: "New password", "Neues Passwort";
    new_password_again: "New password again", "Neues Passwort noch einmal";
    password_rule: "At least {} characters. A few unrelated words are good.", "Mindestens {} Zeichen. Einige Wörter ohne Zusammenhang sind gut.";
    cancel: "Cancel", "Abbrechen";
    differ: "The two new passwords differ", "Die beiden neuen Passwörter sind verschieden";
    type_twice: "Type the new password twice, the same each time.", "Geben Sie das neue Passwort zweimal gleich ein.";
    current_wrong: "The current password is not right", "Das jetzige Passwort stimmt nicht";
    choose_another: "Choose another.", "Wählen Sie ein anderes.";
    password_changed: "Your password is changed. You are signed out everywhere else.", "Ihr Passwort ist geändert. Überall sonst sind Sie abgemeldet.";
    too_short: "The new password needs at least {} characters", "Das neue Passwort braucht mindestens {} Zeichen";
    too_long: "The new password is too long", "Das neue Passwort ist zu lang";
    too_uniform: "The new password needs more different characters", "Das neue Passwort braucht mehr verschiedene Zeichen";
    is_the_name: "The new password must not be the user name", "Das neue Passwort darf nicht der Benutzername sein";
    bad_character: "The new password contains a character that cannot be used", "Das neue Passwort enthält ein Zeichen, das nicht möglich ist";
    is_the_same: "The new password is the current one", "Das neue Passwort ist das jetzige";
    kept_elsewhere: "Your password is kept elsewhere", "Ihr Passwort liegt woanders";
    whoever_gave_it: "Another service checks your password. Whoever gave it to you can change it.", "Ein anderer Dienst prüft Ihr Passwort. Wer es Ihnen gegeben hat, kann es ändern.";
    change_it_there: "Change it there", "Dort ändern";

    // What went wrong
    not_possible: "Signing in is not possible right now", "Die Anmeldung ist gerade nicht möglich";
    depend: "Something we depend on does not answer. Try again in a minute; if it lasts, give your administrator this number:", "Etwas, wovon wir abhängen, antwortet nicht. Versuchen Sie es in einer Minute noch einmal; wenn es anhält, nennen Sie Ihrer Administration diese Nummer:";
    no_page: "There is no such page", "Diese Seite gibt es nicht";
    check_address: "Check the address. If a link led here, whoever maintains it needs this number:", "Prüfen Sie die Adresse. Wenn ein Link hierher führte, braucht, wer ihn pflegt, diese Nummer:";
    go_to_applications: "Go to your applications", "Zu Ihren Anwendungen";
    not_that_way: "This page cannot be used that way", "So lässt sich diese Seite nicht benutzen";
    use_link: "Open it from its link instead.", "Öffnen Sie sie über ihren Link.";
    form_invalid: "That form is no longer valid", "Dieses Formular gilt nicht mehr";
    nothing_changed: "Nothing was changed. Open the page again and repeat what you did. If it keeps happening, give your administrator this number:", "Es wurde nichts geändert. Öffnen Sie die Seite noch einmal, und wiederholen Sie, was Sie getan haben. Wenn es wieder geschieht, nennen Sie Ihrer Administration diese Nummer:";
    open_again: "Open the page again", "Die Seite noch einmal öffnen";
    not_brought: "Your browser could not bring your sign-in here", "Ihr Browser konnte Ihre Anmeldung nicht hierher bringen";
    allow_and_open: "Allow cookies for this site, then open the page again. If it keeps happening, give your administrator this number:", "Erlauben Sie Cookies für diese Seite, und öffnen Sie sie dann noch einmal. Wenn es wieder geschieht, nennen Sie Ihrer Administration diese Nummer:";
    request_unread: "The application's request could not be read", "Die Anfrage der Anwendung konnte nicht gelesen werden";
    nothing_done: "Nothing was done. Open the application again; if this keeps happening, give its administrator this number:", "Es wurde nichts getan. Öffnen Sie die Anwendung noch einmal; wenn es wieder geschieht, nennen Sie deren Administration diese Nummer:";
    request_refused: "The request of {} was refused", "Die Anfrage von {} wurde abgelehnt";
    sign_in_expired: "This sign-in has expired", "Diese Anmeldung ist abgelaufen";
    open_application: "Open the application again and sign in from there. If this keeps happening, give your administrator this number:", "Öffnen Sie die Anwendung noch einmal, und melden Sie sich von dort an. Wenn es wieder geschieht, nennen Sie Ihrer Administration diese Nummer:";
    may_not_use: "You may not use {}", "Sie dürfen {} nicht benutzen";
    think_you_should: "If you think you should, give your administrator this number:", "Wenn Sie meinen, Sie sollten es dürfen, nennen Sie Ihrer Administration diese Nummer:";
    cannot_be_signed_in: "You cannot be signed in to {}", "Sie können bei {} nicht angemeldet werden";
    account_has_not: "It asks for something your account has not. Give your administrator this number:", "Es wird etwas verlangt, das Ihr Konto nicht hat. Nennen Sie Ihrer Administration diese Nummer:";
    already_done: "This sign-in to {} is already done", "Diese Anmeldung bei {} ist schon geschehen";
    used_once: "It was used once, in this tab or another. Open the application again; if this keeps happening, give its administrator this number:", "Sie wurde einmal benutzt, in diesem oder einem anderen Tab. Öffnen Sie die Anwendung noch einmal; wenn es wieder geschieht, nennen Sie deren Administration diese Nummer:";
    open_it_again: "Open it again", "Noch einmal öffnen";

    // Refusals on applications' hosts; `serve/answer.rs` says them in English
    access_denied: "Access denied", "Kein Zugang";
    try_signing_in: "Sign in and try again. If that does not help, give your administrator this number:", "Melden Sie sich an, und versuchen Sie es noch einmal. Wenn das nicht hilft, nennen Sie Ihrer Administration diese Nummer:";
    may_not: "You may not do this", "Das dürfen Sie nicht";
    ask_for_access: "If you need to, ask your administrator for access and give them this number:", "Wenn Sie es müssen, bitten Sie Ihre Administration um Zugang, und nennen Sie diese Nummer:";
    not_found: "Not found", "Nicht gefunden";
    unavailable: "Service unavailable", "Gerade nicht verfügbar";
    wait_a_minute: "Wait a minute, then try again. If it lasts, give your administrator this number:", "Warten Sie eine Minute, und versuchen Sie es dann noch einmal. Wenn es anhält, nennen Sie Ihrer Administration diese Nummer:";
    again_in_a_minute: "Try again in a minute. If it lasts, give your administrator this number:", "Versuchen Sie es in einer Minute noch einmal. Wenn es anhält, nennen Sie Ihrer Administration diese Nummer:";
    follow_again: "Go back and follow the link again. If that does not help, give your administrator this number:", "Gehen Sie zurück, und folgen Sie dem Link noch einmal. Wenn das nicht hilft, nennen Sie Ihrer Administration diese Nummer:";
    internal: "Internal error", "Interner Fehler";
    application_silent: "The application did not answer", "Die Anwendung hat nicht geantwortet";
    application_late: "The application did not answer in time", "Die Anwendung hat nicht rechtzeitig geantwortet";
    ended_early: "The request ended early", "Die Anfrage endete zu früh";
    did_not_last: "Signing in did not last. Check that cookies are allowed", "Die Anmeldung hielt nicht. Prüfen Sie, ob Cookies erlaubt sind";
    many_attempts: "Too many attempts", "Zu viele Versuche";
    many_requests: "Too many requests", "Zu viele Anfragen";
    must_change: "The password must be changed", "Das Passwort muss geändert werden";
    csrf: "Missing or invalid Csrf token", "Das CSRF-Token fehlt oder ist ungültig";
    foreign_page: "Pages of that origin may not use this application", "Seiten dieser Herkunft dürfen diese Anwendung nicht benutzen";
    not_carried: "This request cannot be carried this way", "Diese Anfrage lässt sich auf diesem Weg nicht weitergeben";
    unreadable: "The request could not be read", "Die Anfrage konnte nicht gelesen werden";

    // Administrators' lists
    time: "Time", "Zeit";
    user: "User", "Benutzer";
    kind: "Type", "Art";
    verdict: "Status", "Status";
    from: "From", "Von";
    number: "Number", "Nummer";
    vouched: "Checked by", "Geprüft durch";
    endpoint: "Endpoint", "Endpunkt";
    phase: "Phase", "Phase";
    outcome: "Outcome", "Ergebnis";
    filter: "Show", "Anzeigen";
    filter_user: "User name, empty for everybody", "Benutzername, leer für alle";
    export: "Export:", "Ausgeben:";
    no_logins: "No logins yet. Each sign-in, done or refused, appears here.", "Noch keine Anmeldungen. Jede, ob geglückt oder abgelehnt, erscheint hier.";
    no_callouts: "No errors. Each call of a delegated authentication service that failed or was answered with no appears here.", "Keine Fehler. Jeder Aufruf eines Dienstes für delegierte Anmeldung, der scheiterte oder verneint wurde, erscheint hier.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_gets_the_language_it_likes_best_of_those_we_offer() {
        use Language::{English, German};
        let both = [English, German];
        for (accept, offered, expected) in [
            (None, &both[..], English),
            (None, &[German, English], German),
            (Some("de"), &both, German),
            (Some("de-AT,en;q=0.5"), &both, German),
            (Some("en-GB;q=0.4, de-CH;q=0.8"), &both, German),
            (Some("fr, de;q=0.2"), &both, German),
            (Some("fr"), &both, English),
            (Some("*"), &[German, English], German),
            (Some("de;q=0, en"), &both, English),
            (Some("de"), &[English], English),
            (Some("DE;Q=1"), &both, German),
            (Some(";;,,q=,de;q=2,\u{0}"), &both, English),
            (Some(""), &[], English),
        ] {
            assert_eq!(Language::negotiate(accept, offered), expected, "{accept:?} {offered:?}");
        }
        assert_eq!(Language::negotiate(Some(&"x,".repeat(100_000)), &both), English);
    }

    /// What is drawn on a page comes from this file: templates hold no word, and the code behind them no sentence.
    #[test]
    fn no_page_says_anything_that_does_not_stand_here() {
        // Said to a program, by SOAP; and what is not there, for a log.
        const NAMES: [&str; 2] = ["The request was refused", "OpenID provider's session"];
        let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let files = |folder: &str| -> Vec<std::path::PathBuf> {
            std::fs::read_dir(source.join(folder)).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect()
        };
        for file in files("templates") {
            // Outside of tags, expressions and statements; a block that is the value of an attribute has no spaces.
            let text = std::fs::read_to_string(&file).unwrap();
            let (mut said, mut within): (String, Option<&str>) = (String::new(), None);
            let mut rest = text.as_str();
            while let Some(next) = rest.chars().next() {
                let ends = ["{{", "{%", "<"].into_iter().zip(["}}", "%}", ">"]).find(|(begin, _)| rest.starts_with(begin));
                match (within, ends) {
                    (Some(end), _) if rest.starts_with(end) => {
                        within = None;
                        rest = &rest[end.len()..];
                    }
                    (None, Some((begin, end))) => {
                        within = Some(end);
                        rest = &rest[begin.len()..];
                    }
                    (None, None) => {
                        said.push(next);
                        rest = &rest[next.len_utf8()..];
                    }
                    (Some(_), _) => rest = &rest[next.len_utf8()..],
                }
            }
            let words: Vec<&str> = said.split_whitespace().filter(|word| word.contains(|c: char| c.is_alphabetic())).collect();
            // Names of classes in a block, and of SAML.
            assert!(words.iter().all(|word| ["wide", "full", "Format", "SessionIndex"].contains(word)), "{}: {words:?}", file.display());
        }
        for file in files("serve/pages").into_iter().chain(files("serve/pages/saml_idp")) {
            if ["words.rs", "tests.rs"].iter().any(|name| file.ends_with(name)) {
                continue;
            }
            let text = std::fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
                for literal in line.split('"').skip(1).step_by(2) {
                    let mut letters = literal.chars();
                    let begins = letters.next().is_some_and(char::is_uppercase) && letters.next().is_some_and(char::is_lowercase);
                    let sentence = begins && literal.split(' ').count() > 2 && !NAMES.contains(&literal);
                    assert!(!sentence, "{}: {literal}", file.display());
                }
            }
        }
    }

    #[test]
    fn every_language_says_the_same_things() {
        let spaces = |text: &str| (text.starts_with(' '), text.ends_with(' '), text.ends_with(':'), text.ends_with('.'));
        for ((name, english), (_, german)) in ENGLISH.all().into_iter().zip(GERMAN.all()) {
            assert_eq!(english.matches("{}").count(), german.matches("{}").count(), "{name}");
            assert!(!german.is_empty() && !english.contains('!') && !german.contains('!'), "{name}");
            assert_eq!(spaces(english), spaces(german), "{name}");
        }
        assert_eq!(GERMAN.of("Access denied"), GERMAN.access_denied);
        assert_eq!(GERMAN.of("nothing of ours"), "nothing of ours");
    }
}
