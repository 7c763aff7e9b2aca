//! Whether enough people of the right groups agree.

use crate::config::{Requirement, Seats};

/// True if the people, each given by the groups they were in when they agreed, fill all seats of one alternative.
pub(crate) fn is_met(requirement: &Requirement, people: &[&[String]]) -> bool {
    requirement.alternatives.iter().any(|seats| unfilled(seats, people).is_empty())
}

/// For each alternative the seats that are still empty.
pub(crate) fn missing(requirement: &Requirement, people: &[&[String]]) -> Vec<Vec<Seats>> {
    requirement.alternatives.iter().map(|seats| unfilled(seats, people)).collect()
}

/// The requirement in words: `1 of ml-leads and 1 of security, or 2 of admins`.
pub(crate) fn in_words(alternatives: &[Vec<Seats>]) -> String {
    let seats = |seats: &Seats| format!("{} of {}", seats.count, seats.group.escape_debug());
    let all = |alternative: &Vec<Seats>| alternative.iter().map(seats).collect::<Vec<_>>().join(" and ");
    alternatives.iter().map(all).collect::<Vec<_>>().join(", or ")
}

/// The seats that stay empty however people are seated. A person takes one seat, whatever their groups, so this
/// is a matching of people to seats, grown by augmenting paths.
fn unfilled(seats: &[Seats], people: &[&[String]]) -> Vec<Seats> {
    let groups: Vec<&str> = seats
        .iter()
        .flat_map(|seats| std::iter::repeat_n(seats.group.as_str(), seats.count as usize))
        .collect();
    let mut sitting: Vec<Option<usize>> = vec![None; groups.len()];
    for person in 0..people.len() {
        let mut tried = vec![false; groups.len()];
        let _found_a_seat = seat(person, &groups, people, &mut sitting, &mut tried);
    }
    let mut empty: Vec<Seats> = Vec::new();
    for (group, person) in groups.iter().zip(&sitting) {
        if person.is_some() {
            continue;
        }
        match empty.iter_mut().find(|seats| seats.group == *group) {
            Some(seats) => seats.count += 1,
            None => empty.push(Seats::new(*group, 1)),
        }
    }
    empty
}

/// Seats a person, moving others to other seats where that helps.
fn seat(
    person: usize,
    groups: &[&str],
    people: &[&[String]],
    sitting: &mut [Option<usize>],
    tried: &mut [bool],
) -> bool {
    let Some(member_of) = people.get(person) else { return false };
    for (index, group) in groups.iter().enumerate() {
        let (Some(tried_here), true) = (tried.get_mut(index), member_of.iter().any(|g| g == group)) else {
            continue;
        };
        if std::mem::replace(tried_here, true) {
            continue;
        }
        let occupant = sitting.get(index).copied().flatten();
        let free = occupant.is_none_or(|occupant| seat(occupant, groups, people, sitting, tried));
        if free {
            if let Some(place) = sitting.get_mut(index) {
                *place = Some(person);
            }
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn met(alternatives: &[&[(&str, u32)]], people: &[&[&str]]) -> bool {
        let alternatives = alternatives
            .iter()
            .map(|seats| seats.iter().map(|(group, count)| Seats::new(*group, *count)).collect())
            .collect();
        let people: Vec<Vec<String>> =
            people.iter().map(|groups| groups.iter().map(|g| (*g).to_owned()).collect()).collect();
        let people: Vec<&[String]> = people.iter().map(Vec::as_slice).collect();
        is_met(&Requirement::any_of(alternatives), &people)
    }

    #[test]
    fn and_or_and_one_person_one_seat() {
        let both: &[&[(&str, u32)]] = &[&[("leads", 1), ("security", 1)]];
        assert!(!met(both, &[]));
        assert!(!met(both, &[&["leads"]]));
        assert!(!met(both, &[&["leads", "security"]]), "one person, two hats");
        assert!(met(both, &[&["leads"], &["security"]]));
        // Greedy seating would give the first person the leads' seat and find none for the second.
        assert!(met(both, &[&["leads", "security"], &["leads"]]));
        let either: &[&[(&str, u32)]] = &[&[("leads", 2)], &[("admins", 1)]];
        assert!(!met(either, &[&["leads"]]));
        assert!(met(either, &[&["leads"], &["leads"]]));
        assert!(met(either, &[&["admins"]]));
        assert!(met(&[&[("a", 1), ("a", 1)]], &[&["a"], &["a"]]));
        assert!(!met(&[&[("a", 1), ("a", 1)]], &[&["a"]]));
    }

    proptest! {
        /// Against trying every way to seat people.
        #[test]
        fn agrees_with_brute_force(
            seats in prop::collection::vec((0usize..3, 1u32..3), 1..4),
            people in prop::collection::vec(prop::collection::vec(any::<bool>(), 3), 0..5),
        ) {
            const NAMES: [&str; 3] = ["a", "b", "c"];
            let people: Vec<Vec<String>> = people
                .iter()
                .map(|has| NAMES.iter().zip(has).filter(|(_, h)| **h).map(|(n, _)| (*n).to_owned()).collect())
                .collect();
            let seats: Vec<Seats> = seats.iter().map(|(g, c)| Seats::new(NAMES[*g], *c)).collect();
            let flat: Vec<String> =
                seats.iter().flat_map(|s| vec![s.group.clone(); s.count as usize]).collect();
            let people_refs: Vec<&[String]> = people.iter().map(Vec::as_slice).collect();
            let mut used = vec![false; people.len()];
            prop_assert_eq!(
                is_met(&Requirement::all_of(seats), &people_refs),
                brute(&flat, &people, &mut used)
            );
        }
    }

    fn brute(seats: &[String], people: &[Vec<String>], used: &mut [bool]) -> bool {
        let Some((group, rest)) = seats.split_first() else { return true };
        (0..people.len()).any(|p| {
            if used[p] || !people[p].contains(group) {
                return false;
            }
            used[p] = true;
            let found = brute(rest, people, used);
            used[p] = false;
            found
        })
    }
}
