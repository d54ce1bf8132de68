//! What the documents show must be accepted: an example that is refused teaches nobody.

use super::*;

/// The fenced blocks of a language in a Markdown file.
fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    let begin = format!("\n```{language}\n");
    text.split(begin.as_str()).skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect()
}

#[test]
fn the_door_of_the_readme_can_be_built_as_it_stands() {
    let text = std::fs::read_to_string(manifest("../../README.md")).unwrap();
    let ([configuration], [policy]) = (&blocks(&text, "toml")[..], &blocks(&text, "cedar")[..]) else { panic!("one of each is shown") };
    let folder = std::env::temp_dir().join(format!("vestibule-readme-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("policy.cedar"), policy).unwrap();
    let source = Source::new(folder.join("vestibule.toml"), (*configuration).to_owned());
    let (checked, warnings) =
        check(source, Purpose::Serve, now(), build::policy_problems, None).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert_eq!(warnings, []);
    assert_eq!(checked.files.len(), 1, "the policy was read");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn examples_of_schemes_are_accepted_once_the_rest_is_written() {
    let rest = [
        ("[[listen]]", "address = \"127.0.0.1:8080\"\ntrusted_proxies = [\"127.0.0.0/8\"]"),
        ("[[route]]", "match = \"/**\"\npolicies = [\"app.cedar\"]\nforward = \"http://127.0.0.1:9000\""),
        ("[tenant.north]", "hosts = [\"north.example\"]\nchain = [SCHEMES]"),
    ];
    let mut seen = 0;
    for entry in std::fs::read_dir(manifest("../../docs/schemes")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for block in blocks(&text, "toml") {
            let names = block.lines().filter_map(|line| line.strip_prefix("[scheme.")?.strip_suffix(']'));
            let schemes = names.map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
            let mut whole = block.to_owned();
            for (head, body) in rest.iter().filter(|(head, _)| !block.contains(head)) {
                whole.push_str(&format!("\n\n{head}\n{}", body.replace("SCHEMES", &schemes)));
            }
            let (_, warnings) = read(&whole).unwrap_or_else(|problems| panic!("{}: {problems:#?}", path.display()));
            assert_eq!(warnings, [], "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 3);
}
