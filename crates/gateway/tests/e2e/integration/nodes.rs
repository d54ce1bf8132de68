//! Old integration clients at two nodes that share a store.

use super::*;
use crate::cluster::{FILES, over};
use crate::peers::Postgres;

/// Two nodes on PostgreSQL, with these settings of the tenant.
fn two(postgres: &Postgres, settings: &str) -> [Gateway; 2] {
    let route = "[[route]]\nmatch = \"/Services/Integration/**\"\npolicies = [\"crm.cedar\"]\nbody = { limit = \"1MiB\", types = [\"text/xml\"] }\ninject = [\"headers\"]\nforward = \"http://{{app}}\"\n\n[[route]]";
    let tenant = format!("[tenant.north.integration]\ncompany = \"NORTH\"\nquota = 1000\nspacing = \"0s\"\n{settings}\n\n{route}");
    let template = over(postgres.port, None)
        .replace("chain = [\"session\", \"basic\", \"form\"]", "chain = [\"session\", \"crm\", \"basic\", \"form\"]")
        .replacen("[[route]]", &tenant, 1)
        + "\n[scheme.crm]\ntype = \"integration\"\nrealm = \"local\"\n";
    let files: Vec<(&str, &str)> = FILES.into_iter().chain([POLICY]).collect();
    let one = Gateway::with_files(&template, &files).with_users();
    let other = one.beside(&template, &files);
    [one, other]
}

#[test]
fn concurrency_of_100_redemptions_at_two_nodes_on_postgres_exactly_one_wins() {
    let Some(postgres) = Postgres::start() else { return };
    let [one, other] = two(&postgres, "");
    let nodes = [&one, &other];
    for _ in 0..3 {
        let token = sso_token(&one);
        let won: Vec<Answer> = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..100)
                .map(|number| {
                    let (node, token) = (nodes[number % 2], &token);
                    scope.spawn(move || node.send(&ssologin(token)))
                })
                .collect();
            tries.into_iter().map(|attempt| attempt.join().unwrap()).filter(|answer| answer.status == 200).collect()
        });
        assert_eq!(won.len(), 1, "{won:?}");
        // What one node opened holds at the other.
        works(&one, &id(&won[0]));
        works(&other, &id(&won[0]));
        assert_eq!(other.send(&in_session(command("logoff"), &id(&won[0]))).status, 200);
        crate::lifecycle::wait_for(|| one.send(&in_session(data(), &id(&won[0]))).status == 500);
    }
}

#[test]
fn an_allotment_is_one_for_two_nodes() {
    let Some(postgres) = Postgres::start() else { return };
    let nodes = two(&postgres, "allotment = 20");
    let ids = nodes.each_ref().map(|node| id(&login(node)));
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..40)
            .map(|number| {
                let (node, id) = (&nodes[number % 2], &ids[number / 2 % 2]);
                scope.spawn(move || node.send(&in_session(data(), id)))
            })
            .collect();
        asked.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let over = |answer: &&Answer| answer.status == 500 && answer.body.contains("<ErrorCode>SBL-SBL-70172</ErrorCode>");
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 20, "{answers:?}");
    assert_eq!(answers.iter().filter(over).count(), 20, "{answers:?}");
}
