use std::collections::BTreeMap;

use super::figures::Figures;
use super::follow::Far;
use super::*;
use crate::app::credits::Credits;
use crate::brief::Identity;
use crate::job::BriefState;
use crate::job::plan::{Candidate, Change, Code, Container, ContainerStatus, plan};
use crate::layers::Numbers;
use crate::ledger::{PlanEnds, PlanRow, StoredPlan};
use crate::record::Source;

fn candidate(n: i64, code: &str, source: Source, status: Option<ContainerStatus>) -> Candidate {
    let trouble = Some(Code { code: code.to_owned(), source });
    let container = |status| Container {
        variant: 1,
        named: true,
        status,
        trouble: trouble.clone(),
        format: "video_remix".to_owned(),
        approved: n == 1,
        rejected: false,
    };
    Candidate {
        brief: n,
        identity: Identity {
            project_id: "p".to_owned(),
            batch_id: "2026-05-spring".to_owned(),
            brief_id: format!("spring-{n:03}"),
        },
        run: 1,
        state: BriefState::Failed,
        changed_ms: 0,
        received_ms: n,
        priority: 4,
        format: "slideshow_remix".to_owned(),
        variant_count: 2,
        containers: status.map(container).into_iter().collect(),
        trouble: if status.is_none() { trouble.clone() } else { None },
        change: Change::None,
    }
}

/// 340 of 5,000 failed.
fn made(balance: Option<i64>, credits_max: Option<u64>) -> (Made, Figures) {
    let mut candidates = Vec::new();
    for n in 1..=340 {
        candidates.push(match n {
            1..=260 => candidate(n, "RENDER_FAILED", Source::Layers, Some(ContainerStatus::Failed)),
            261..=270 => candidate(n, "GENERATION_LOST", Source::Briefd, Some(ContainerStatus::Lost)),
            271..=290 => candidate(n, "EXPIRED", Source::Briefd, None),
            291..=330 => candidate(n, "MODERATION_BLOCKED", Source::Layers, None),
            331..=337 => candidate(n, "NOT_FOUND", Source::Layers, None),
            _ => Candidate {
                change: Change::Invalid("variantCount: 9 is more than 5".to_owned()),
                ..candidate(n, "INVALID_BRIEF", Source::Briefd, None)
            },
        });
    }
    let prices = BTreeMap::from([("video_remix".to_owned(), 120), ("slideshow_remix".to_owned(), 50)]);
    let wish = Wish { run: 1, credits_max, ..Wish::default() };
    let plan = plan(candidates, &wish, |format| prices.get(format).copied());
    let made = Made {
        plan,
        looked_at: 5_000,
        credits: Credits { prices, available: balance },
        unknown: vec!["line 7: spring-999".to_owned()],
        ..Made::default()
    };
    let figures = Figures::of(&made, Some(Numbers::STANDARD));
    (made, figures)
}

#[track_caller]
fn fits(text: &str) {
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn a_plan_tells_what_is_left_out_what_happens_what_it_costs_and_what_to_do_next() {
    let (made, figures) = made(Some(100_000), None);
    let text = text::plan(&made, &figures, (Some(8), true));
    fits(&text);
    insta::assert_snapshot!("plan", text);
    insta::assert_snapshot!("cost", text::cost(&figures, 8, "https://api.layers.com"));
    let json = json::plan(&made, &figures, Some(8));
    assert_eq!(json["creditsMax"], 34_400);
    assert_eq!(json["steps"].as_array().unwrap().len(), 290);
    assert_eq!(json["leftOut"][0]["reason"], "would be refused again");
    let stored: Figures = serde_json::from_str(&serde_json::to_string(&figures).unwrap()).unwrap();
    assert_eq!(stored, figures);
}

#[test]
fn a_balance_that_does_not_reach_is_told_first_with_what_it_pays_for() {
    let (plan, figures) = made(Some(1_000), None);
    let text = text::plan(&plan, &figures, (Some(8), false));
    fits(&text);
    assert!(text.contains("! the balance of 1,000 credits does not pay for all of it"), "{text}");
    let (plan, figures) = made(Some(1_000), Some(1_000));
    let text = text::plan(&plan, &figures, (Some(9), true));
    fits(&text);
    assert_eq!((figures.briefs, figures.credits_max), (8, 960));
    assert!(text.contains("! 282 briefs left out: over --max-credits"), "{text}");
}

#[test]
fn nothing_to_run_again_says_why() {
    let (mut made, _) = made(None, None);
    made.plan.steps.clear();
    let figures = Figures::of(&made, Some(Numbers::STANDARD));
    let text = text::plan(&made, &figures, (None, true));
    fits(&text);
    insta::assert_snapshot!("nothing", text);
}

fn far(state: PlanState, (pending, started, left_out): (i64, i64, i64), ends: PlanEnds) -> Far {
    let rows = (1..=left_out).map(|n| PlanRow {
        place: n,
        brief: n,
        project_id: "p".to_owned(),
        batch_id: "b".to_owned(),
        brief_id: format!("spring-{n:03}"),
        state: "left_out".to_owned(),
        run: None,
        run_state: None,
        why: Some("run 2 was started since".to_owned()),
    });
    Far {
        plan: StoredPlan {
            id: 8,
            at_ms: 0,
            who: "ana".to_owned(),
            reason: String::new(),
            shown: "{}".to_owned(),
            state,
            canary: 10,
            changed_ms: 0,
            pending,
            started,
            left_out,
        },
        ends,
        left_out: rows.collect(),
        has_worker: true,
    }
}

#[test]
fn how_far_a_plan_is_ends_with_the_next_command() {
    let projects = BTreeMap::new();
    let projects = Projects(&projects);
    let open = PlanEnds { open: 10, ..PlanEnds::default() };
    let failed = PlanEnds { completed: 9, not_completed: 1, ..PlanEnds::default() };
    let over = PlanEnds { completed: 288, ..PlanEnds::default() };
    let told = [
        text::progress(&far(PlanState::Canary, (280, 10, 0), open), projects, true),
        text::progress(&far(PlanState::Stopped, (280, 10, 0), failed), projects, false),
        text::progress(&far(PlanState::Started, (0, 288, 2), over), projects, true),
        text::progress(&far(PlanState::Started, (0, 290, 0), open), projects, false),
        text::progress(
            &Far { has_worker: false, ..far(PlanState::Starting, (200, 90, 0), open) },
            projects,
            true,
        ),
    ];
    let told = told.join("\n");
    fits(&told);
    insta::assert_snapshot!("progress", told);
}

#[test]
fn a_field_is_set_by_its_path_and_says_which_brief_it_is_never() {
    assert_eq!(assignment("brief.hook=a=b").unwrap(), ("brief.hook".to_owned(), "a=b".into()));
    assert_eq!(assignment("priority=9").unwrap().1, 9);
    assert_eq!(assignment("brief.themeTags=a|b").unwrap().1, serde_json::json!(["a", "b"]));
    assert_eq!(assignment("expiresAt=").unwrap().1, serde_json::Value::Null);
    assert!(assignment("briefId=x").unwrap_err().contains("cannot be changed"));
    assert!(assignment("hook").is_err());
}
