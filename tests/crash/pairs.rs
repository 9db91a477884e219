//! Two deaths in one scene, at two different places: a sample of all pairs, drawn by a seed.

use crate::steps::Kind;
use crate::{Plan, run_all, wanted};

/// So many pairs without being asked: enough to see that it works.
const FEW: usize = 4;

/// A sequence of numbers that follows from a seed (`SplitMix64`).
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % u64::try_from(bound).expect("a length fits")).expect("below a length")
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// `BRIEFD_TEST_CRASH_PAIRS` says how many, `BRIEFD_TEST_CRASH_SEED` which.
#[test]
fn two_deaths_at_different_places_neither_lose_nor_buy_again() {
    let places = wanted();
    if places.len() < 2 {
        return;
    }
    let most = places.len() * (places.len() - 1) / 2;
    let pairs = number("BRIEFD_TEST_CRASH_PAIRS")
        .map_or(FEW, |pairs| usize::try_from(pairs).expect("it fits"))
        .min(most);
    let seed = number("BRIEFD_TEST_CRASH_SEED").unwrap_or(20_261_122);
    eprintln!("{pairs} of {most} pairs of {} places, seed {seed}", places.len());
    let mut draw = Draw(seed);
    let mut drawn = std::collections::BTreeSet::new();
    while drawn.len() < pairs {
        let (first, second) = (draw.below(places.len()), draw.below(places.len()));
        let are_of_one_scene = Kind::leads_to_both(&places[first], &places[second]);
        if first != second && are_of_one_scene {
            drawn.insert((first, second));
        }
    }
    // Many places are reached only once in a life.
    let mut hit = || [1, 1, 1, 2, 3][draw.below(5)];
    let plans = drawn.into_iter().map(|(first, second)| Plan {
        kills: vec![(places[first].clone(), hit()), (places[second].clone(), hit())],
        // What is left after the first death may not lead past the second place.
        must_hit: false,
    });
    let kills = run_all(plans.collect());
    assert!(kills > 0, "nothing died");
}
