//! What a file of briefs will cost, for a person who decides about it.

use std::collections::BTreeMap;

use super::table::{counted, thousands};
use crate::app::survey::Survey;

/// Containers and credits of a file.
pub(super) struct Quote {
    briefs: i64,
    /// Format, containers, credits for one.
    rows: Vec<(String, i64, Option<i64>)>,
}

impl Quote {
    pub(super) fn new(survey: &Survey, prices: &BTreeMap<String, u64>) -> Self {
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let mut rows: Vec<_> = survey
            .containers
            .iter()
            .map(|(format, n)| (format.clone(), number(*n), prices.get(format).copied().map(number)))
            .collect();
        rows.sort_by_key(|(_, n, _)| std::cmp::Reverse(*n));
        Self { briefs: number(survey.briefs), rows }
    }

    /// `spring.jsonl: 24 briefs, 33 containers`, and what the API may charge for them.
    pub(super) fn sentence(&self, file: &str, origin: &str) -> String {
        let costs = match self.credits() {
            Some(credits) => format!("about {} credits for them", thousands(credits)),
            None => "for each of them".to_owned(),
        };
        format!("{file}: {}, {}\n{origin} may charge {costs}", self.briefs(), self.containers())
    }

    /// One line a format.
    pub(super) fn table(&self) -> String {
        let line = |(format, n, price): &(String, i64, Option<i64>)| match price {
            Some(price) => format!(
                "  {format:<16} {:>7} × {price:>3} = {:>9} credits\n",
                thousands(*n),
                thousands(n.saturating_mul(*price))
            ),
            None => format!("  {format:<16} {:>7}, credits unknown\n", thousands(*n)),
        };
        self.rows.iter().map(line).collect()
    }

    /// `33 containers`
    pub(super) fn containers(&self) -> String {
        counted(self.rows.iter().map(|(_, n, _)| n).sum(), "container")
    }

    /// `24 briefs`
    pub(super) fn briefs(&self) -> String {
        counted(self.briefs, "brief")
    }

    /// All credits; `None` when the price of a format is unknown.
    pub(super) fn credits(&self) -> Option<i64> {
        self.rows
            .iter()
            .map(|(_, n, price)| Some(n.saturating_mul((*price)?)))
            .try_fold(0_i64, |sum, credits| Some(sum.saturating_add(credits?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey() -> Survey {
        let containers = [("ugc_remix", 8), ("video_remix", 1_400)];
        Survey {
            briefs: 1_201,
            containers: containers.map(|(format, n)| (format.to_owned(), n)).into(),
            ..Survey::default()
        }
    }

    #[test]
    fn a_quote_names_credits_where_prices_are_known_and_never_guesses() {
        let prices = BTreeMap::from([("video_remix".to_owned(), 120)]);
        let part = Quote::new(&survey(), &prices);
        insta::assert_snapshot!(format!("{}\n{}", part.sentence("spring.csv", "https://api.layers.com"), part.table()), @r"
        spring.csv: 1,201 briefs, 1,408 containers
        https://api.layers.com may charge for each of them
          video_remix        1,400 × 120 =   168,000 credits
          ugc_remix              8, credits unknown
        ");
        let all = prices.into_iter().chain([("ugc_remix".to_owned(), 50)]).collect();
        insta::assert_snapshot!(Quote::new(&survey(), &all).sentence("spring.csv", "https://api.layers.com"), @r"
        spring.csv: 1,201 briefs, 1,408 containers
        https://api.layers.com may charge about 168,400 credits for them
        ");
    }
}
