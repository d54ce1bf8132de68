//! Which routes take the same requests.
//!
//! Two policies for one request is a question that must not be answered by the order of a file, so routes
//! that overlap without one being more specific are refused.

use std::collections::HashMap;

use http::Method;

use vestibule_engine::route::Scope;

/// What of a route decides which requests it takes.
#[derive(Debug)]
pub struct Taken<'a> {
    /// The scope.
    pub scope: &'a Scope,
    /// The pattern, in canonical form as `Pattern::parse` demands.
    pub pattern: &'a str,
    /// The methods; empty means all.
    pub methods: &'a [Method],
}

/// Pairs of places in `routes`, the later route first, that take some request with equal right.
///
/// The engine ranks by depth, exactness, literal segments, scope and method; so only patterns equal in these can
/// collide, and of those only patterns with `*` in different places need to be compared.
pub fn overlaps(routes: &[Taken<'_>]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut same: HashMap<(&Scope, &str), Vec<usize>> = HashMap::new();
    let mut shapes: HashMap<Shape<'_>, ByPlaces> = HashMap::new();
    for (index, route) in routes.iter().enumerate() {
        let twins = same.entry((route.scope, route.pattern)).or_default();
        found.extend(twins.iter().filter(|twin| collide(routes, **twin, index)).map(|twin| (index, *twin)));
        twins.push(index);

        let segments: Vec<&str> = route.pattern.split('/').collect();
        let stars: Vec<usize> = (0..segments.len()).filter(|at| segments.get(*at) == Some(&"*")).collect();
        if stars.is_empty() {
            continue;
        }
        let shape = (route.scope, segments.len(), segments.last() == Some(&"**"), stars.len());
        let group = shapes.entry(shape).or_default();
        for (_, others) in group.iter().filter(|(places, _)| **places != stars) {
            let meets = |other: &&usize| {
                let pattern = routes.get(**other).map_or("", |route| route.pattern);
                meet(&segments, pattern) && collide(routes, **other, index)
            };
            found.extend(others.iter().filter(meets).map(|other| (index, *other)));
        }
        group.entry(stars).or_default().push(index);
    }
    found.sort_unstable();
    found
}

/// Scope, number of segments, whether everything below is taken, number of `*`.
type Shape<'a> = (&'a Scope, usize, bool, usize);
/// Routes by the places of their `*`.
type ByPlaces = HashMap<Vec<usize>, Vec<usize>>;

/// Whether some method is listed by both, or both take all.
fn collide(routes: &[Taken<'_>], one: usize, other: usize) -> bool {
    let methods = |index: usize| routes.get(index).map(|route| route.methods).unwrap_or_default();
    let (one, other) = (methods(one), methods(other));
    (one.is_empty() && other.is_empty()) || one.iter().any(|method| other.contains(method))
}

/// Whether one path can match both patterns. A `*` matches no empty segment.
fn meet(segments: &[&str], pattern: &str) -> bool {
    segments.iter().zip(pattern.split('/')).all(|(a, b)| *a == b || (*a == "*" && !b.is_empty()) || (b == "*" && !a.is_empty()))
}

#[cfg(test)]
mod tests {
    use vestibule_engine::request::Host;

    use super::*;

    fn overlap(routes: &[(&str, &[Method])]) -> Vec<(usize, usize)> {
        let taken: Vec<Taken<'_>> = routes.iter().map(|(pattern, methods)| Taken { scope: &Scope::Everywhere, pattern, methods }).collect();
        overlaps(&taken)
    }

    #[test]
    fn equal_patterns_collide_where_they_share_a_method() {
        assert_eq!(overlap(&[("/a/**", &[]), ("/a/**", &[])]), [(1, 0)]);
        assert_eq!(overlap(&[("/a", &[Method::GET, Method::PUT]), ("/a", &[Method::PUT])]), [(1, 0)]);
        assert_eq!(overlap(&[("/a", &[Method::GET]), ("/a", &[Method::PUT]), ("/a", &[])]), []);
        assert_eq!(overlap(&[("/a", &[]), ("/a/**", &[]), ("/a/", &[])]), []);
    }

    #[test]
    fn wildcards_in_different_places_collide_where_a_path_matches_both() {
        assert_eq!(overlap(&[("/a/*/c", &[]), ("/*/b/c", &[])]), [(1, 0)]);
        assert_eq!(overlap(&[("/a/*/**", &[]), ("/*/b/**", &[])]), [(1, 0)]);
        assert_eq!(overlap(&[("/a/*/c", &[]), ("/*/b/d", &[])]), []);
        assert_eq!(overlap(&[("/a/*", &[]), ("/*/*", &[])]), []);
        assert_eq!(overlap(&[("/a/*", &[]), ("/*/b", &[Method::GET])]), []);
        assert_eq!(overlap(&[("/a/*", &[]), ("/*/", &[])]), []);
    }

    #[test]
    fn scopes_are_apart() {
        let host = Scope::Host(Host::parse("a").unwrap());
        let taken = [Taken { scope: &host, pattern: "/a", methods: &[] }, Taken { scope: &Scope::Everywhere, pattern: "/a", methods: &[] }];
        assert_eq!(overlaps(&taken), []);
    }
}
