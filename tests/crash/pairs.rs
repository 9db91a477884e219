//! Two deaths in one scene, at two different places: all pairs, or some of them, drawn by a seed.

use std::ops::Range;

use crate::steps::Kind;
use crate::support::tell;
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
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Which of `all` pairs are wanted: `all`, so many of the first, or those `FROM..TO` of a long run that goes on.
fn which(all: usize) -> Range<usize> {
    let text = std::env::var("BRIEFD_TEST_CRASH_PAIRS").unwrap_or_else(|_unset| FEW.to_string());
    let number =
        |text: &str| text.parse().unwrap_or_else(|_| panic!("BRIEFD_TEST_CRASH_PAIRS: {text} is no number"));
    let (from, to) = match text.split_once("..") {
        Some((from, to)) => (number(from), number(to)),
        None if text == "all" => (0, all),
        None => (0, number(&text)),
    };
    from.min(all)..to.min(all)
}

/// `BRIEFD_TEST_CRASH_PAIRS` says which of them, `BRIEFD_TEST_CRASH_SEED` in which order.
#[test]
fn two_deaths_at_different_places_neither_lose_nor_buy_again() {
    let places = wanted();
    let mut pairs: Vec<[&String; 2]> = Vec::new();
    for (index, first) in places.iter().enumerate() {
        let others = places[index + 1..].iter().filter(|second| Kind::leads_to_both(first, second));
        pairs.extend(others.map(|second| [first, second]));
    }
    let seed = number("BRIEFD_TEST_CRASH_SEED").unwrap_or(20_261_122);
    let (all, mut draw) = (pairs.len(), Draw(seed));
    for last in (1..all).rev() {
        pairs.swap(last, draw.below(last + 1));
    }
    let chosen = which(all);
    tell("crash", &format!("{chosen:?} of {all} pairs of {} places, seed {seed}", places.len()));
    // Many places are reached only once in a life.
    let mut hit = || [1, 1, 1, 2, 3][draw.below(5)];
    let plans: Vec<_> = pairs
        .into_iter()
        // What is left after the first death may not lead past the second place.
        .map(|pair| Plan { kills: pair.map(|place| (place.clone(), hit())).to_vec(), must_hit: false })
        .collect();
    let plans = plans[chosen].to_vec();
    if !plans.is_empty() {
        assert!(run_all(plans) > 0, "nothing died");
    }
}
