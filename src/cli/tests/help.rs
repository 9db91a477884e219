//! What `--help` says, and the words for numbers and times.

use super::*;

/// Every command and every part of one, by its words.
fn tree(command: &clap::Command) -> Vec<(String, clap::Command)> {
    let parts = command.get_subcommands().filter(|part| part.get_name() != "help");
    let below = parts.flat_map(|part| {
        let name = part.get_name().to_owned();
        let whole = move |(words, part): (String, _)| (format!("{name} {words}").trim_end().to_owned(), part);
        tree(part).into_iter().map(whole)
    });
    std::iter::once((String::new(), command.clone())).chain(below).collect()
}

#[test]
fn the_help_of_every_command_says_what_it_does_and_gives_an_example() {
    let mut program = crate::cli::command().term_width(80);
    program.build();
    let all = tree(&program);
    assert!(all.len() > 15, "{}", all.len());
    for (words, mut part) in all {
        let help = part.render_long_help().to_string();
        let is_group = part.get_subcommands().next().is_some();
        assert!(is_group || help.contains("Example"), "briefd {words} --help gives no example");
        let suffix = if words.is_empty() { "briefd".to_owned() } else { words.replace(' ', "-") };
        insta::with_settings!({ snapshot_suffix => suffix, omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!("help", help);
        });
    }
}

#[test]
fn numbers_ages_and_estimates_read_well() {
    use crate::cli::table::{cut, thousands};
    use crate::cli::times::{age, roughly};
    assert_eq!(
        [0, 999, 1_000, 1_234_567, -5_000].map(thousands),
        ["0", "999", "1,000", "1,234,567", "-5,000"]
    );
    assert_eq!(cut("spring", 6), "spring");
    assert_eq!(cut("springs", 6), "sprin…");
    let ages = [0, 119, 120, 7_200, 172_800].map(|seconds| age(0, seconds * 1_000));
    assert_eq!(ages, ["0s", "119s", "2m", "2h", "2d"]);
    let left = [1, 1_257, 15_000, 172_801].map(|seconds| roughly(Duration::from_secs(seconds)));
    assert_eq!(left, ["1 min", "21 min", "4.1 h", "3 days"]);
}
