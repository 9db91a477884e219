use super::*;
use ContainerStatus::{Canceled, Completed, Failed, Lost, Running};

#[expect(clippy::unnecessary_wraps, reason = "it stands where a candidate may have none")]
fn layers(code: &str) -> Option<Code> {
    Some(Code { code: code.to_owned(), source: Source::Layers })
}

#[expect(clippy::unnecessary_wraps, reason = "it stands where a candidate may have none")]
fn ours(code: &str) -> Option<Code> {
    Some(Code { code: code.to_owned(), source: Source::Briefd })
}

fn container(variant: i64, status: ContainerStatus, trouble: Option<Code>) -> Container {
    Container {
        variant,
        named: true,
        status,
        trouble,
        format: "video_remix".to_owned(),
        approved: false,
        rejected: false,
    }
}

fn brief(number: i64, state: BriefState, containers: Vec<Container>) -> Candidate {
    Candidate {
        brief: number,
        identity: Identity {
            project_id: "p".to_owned(),
            batch_id: "b".to_owned(),
            brief_id: format!("b{number}"),
        },
        run: 1,
        state,
        changed_ms: 10,
        received_ms: number,
        priority: 4,
        format: "slideshow_remix".to_owned(),
        variant_count: 2,
        containers,
        trouble: None,
        change: Change::None,
    }
}

fn failed(number: i64) -> Candidate {
    brief(number, BriefState::Failed, vec![container(1, Failed, layers("RENDER_FAILED"))])
}

fn refused(number: i64, code: &str) -> Candidate {
    Candidate { trouble: layers(code), ..brief(number, BriefState::Failed, Vec::new()) }
}

fn wish() -> Wish {
    Wish { run: 1, ..Wish::default() }
}

fn price(format: &str) -> Option<u64> {
    match format {
        "video_remix" => Some(120),
        "slideshow_remix" => Some(50),
        _ => None,
    }
}

/// Brief, deed, variants, credits of what is taken; brief and reason of what is left out.
type Taken = Vec<(i64, Deed, Vec<i64>, Option<u64>)>;

fn planned(candidates: Vec<Candidate>, wish: &Wish) -> (Taken, Vec<(String, Reason)>) {
    let plan = plan(candidates, wish, price);
    let taken =
        plan.steps.into_iter().map(|step| (step.candidate.brief, step.deed, step.taken, step.credits));
    let left_out = plan.left_out.into_iter().map(|(identity, reason)| (identity.brief_id, reason));
    (taken.collect(), left_out.collect())
}

#[track_caller]
fn taken(candidate: Candidate, wish: &Wish) -> (Deed, Vec<i64>) {
    let (mut taken, left_out) = planned(vec![candidate], wish);
    assert_eq!((taken.len(), left_out.as_slice()), (1, &[][..]));
    let (_, deed, variants, _) = taken.remove(0);
    (deed, variants)
}

#[track_caller]
fn left_out(candidate: Candidate, wish: &Wish) -> Reason {
    let (taken, mut left_out) = planned(vec![candidate], wish);
    assert_eq!((taken, left_out.len()), (Vec::new(), 1));
    left_out.remove(0).1
}

#[track_caller]
fn not_meant(candidate: Candidate, wish: &Wish) {
    assert_eq!(planned(vec![candidate], wish), (Vec::new(), Vec::new()));
}

#[test]
fn what_failed_is_regenerated_and_its_completed_sibling_is_not() {
    let half = brief(
        1,
        BriefState::Partial,
        vec![container(1, Completed, None), container(2, Failed, layers("RENDER_FAILED"))],
    );
    assert_eq!(taken(half, &wish()), (Deed::Regenerate, vec![2]));
}

#[test]
fn what_was_given_up_is_looked_at_again_unless_a_sibling_failed() {
    let lost = |variant| container(variant, Lost, ours("GENERATION_LOST"));
    let all = brief(1, BriefState::Failed, vec![lost(1), lost(2)]);
    assert_eq!(taken(all, &wish()), (Deed::LookAgain, vec![1, 2]));
    let one = brief(1, BriefState::Failed, vec![lost(1), container(2, Failed, layers("RENDER_FAILED"))]);
    assert_eq!(taken(one, &wish()), (Deed::Regenerate, vec![1, 2]));
}

#[test]
fn a_brief_that_never_got_a_container_is_submitted_anew_with_all_its_variants() {
    let expired = Candidate { trouble: ours("EXPIRED"), ..brief(1, BriefState::Failed, Vec::new()) };
    let (steps, _) = planned(vec![expired], &wish());
    assert_eq!(steps, [(1, Deed::Anew, Vec::new(), Some(100))]);
}

#[test]
fn what_would_be_refused_again_is_left_out_unless_it_was_changed_or_somebody_insists() {
    let blocked = || refused(1, "MODERATION_BLOCKED");
    let reason = Reason::Refused("MODERATION_BLOCKED".to_owned());
    assert_eq!(left_out(blocked(), &wish()), reason);
    let insists = Wish { include_unchanged: true, ..wish() };
    assert_eq!(taken(blocked(), &insists).0, Deed::Anew);
    let changed = Candidate { change: Change::Changed(vec!["format".to_owned()]), ..blocked() };
    assert_eq!(taken(changed, &wish()).0, Deed::Anew);
    // A regenerate that was refused: the container is there, the refusal was about its brief.
    let existing = brief(1, BriefState::Failed, vec![container(1, Failed, layers("MODERATION_BLOCKED"))]);
    assert_eq!(left_out(existing, &wish()), reason);
}

#[test]
fn each_container_is_judged_by_its_own_trouble() {
    let mixed = brief(
        1,
        BriefState::Failed,
        vec![
            container(1, Failed, layers("MODERATION_BLOCKED")),
            container(2, Failed, layers("RENDER_FAILED")),
            container(3, Failed, None),
        ],
    );
    assert_eq!(taken(mixed, &wish()), (Deed::Regenerate, vec![2, 3]));
}

#[test]
fn a_container_that_the_api_never_named_cannot_be_made_alone() {
    let missing = || Container { named: false, ..container(2, Failed, ours("CONTAINER_MISSING")) };
    let others_completed = brief(1, BriefState::Partial, vec![container(1, Completed, None), missing()]);
    let reason = Reason::NoHelp("CONTAINER_MISSING".to_owned());
    assert_eq!(left_out(others_completed.clone(), &wish()), reason);
    let insists = Wish { include_unchanged: true, ..wish() };
    assert_eq!(left_out(others_completed, &insists), reason);
    // What may have been made and paid for is not bought again by itself.
    let none_named = brief(1, BriefState::Failed, vec![missing()]);
    assert_eq!(left_out(none_named.clone(), &wish()), reason);
    assert_eq!(taken(none_named, &insists).0, Deed::Anew);
    let one_failed =
        brief(1, BriefState::Failed, vec![container(1, Failed, layers("RENDER_FAILED")), missing()]);
    assert_eq!(taken(one_failed, &wish()), (Deed::Regenerate, vec![1]));
}

#[test]
fn what_was_canceled_is_run_again_only_if_asked_for() {
    let all = Wish { canceled: true, ..wish() };
    let whole = || Candidate { trouble: ours("CANCELED"), ..brief(1, BriefState::Canceled, Vec::new()) };
    assert_eq!(left_out(whole(), &wish()), Reason::Canceled);
    assert_eq!(taken(whole(), &all).0, Deed::Anew);
    let half = || {
        let canceled = container(2, Canceled, layers("CANCELED"));
        brief(1, BriefState::Failed, vec![container(1, Failed, layers("RENDER_FAILED")), canceled])
    };
    assert_eq!(taken(half(), &wish()).1, [1]);
    assert_eq!(taken(half(), &all).1, [1, 2]);
}

#[test]
fn what_reviewers_rejected_is_run_again_only_if_asked_for() {
    let rejected = || {
        let one = Container { rejected: true, ..container(1, Completed, None) };
        brief(1, BriefState::Completed, vec![one, container(2, Completed, None)])
    };
    not_meant(rejected(), &wish());
    let too = Wish { rejected: true, ..wish() };
    assert_eq!(taken(rejected(), &too), (Deed::Regenerate, vec![1]));
    not_meant(brief(1, BriefState::Completed, vec![container(1, Completed, None)]), &too);
    let only = Wish { codes: vec![REJECTED.to_owned()], ..too };
    assert_eq!(taken(rejected(), &only), (Deed::Regenerate, vec![1]));
    not_meant(failed(2), &only);
}

#[test]
fn only_containers_and_briefs_with_a_code_that_was_asked_for_are_taken() {
    let only = Wish { codes: vec!["RENDER_FAILED".to_owned(), "EXPIRED".to_owned()], ..wish() };
    assert_eq!(taken(failed(1), &only).1, [1]);
    not_meant(refused(1, "NOT_FOUND"), &only);
    let mixed = brief(
        1,
        BriefState::Failed,
        vec![container(1, Failed, layers("RENDER_FAILED")), container(2, Lost, ours("GENERATION_LOST"))],
    );
    assert_eq!(taken(mixed, &only), (Deed::Regenerate, vec![1]));
}

#[test]
fn what_has_not_ended_or_had_its_rerun_already_is_left_out_with_the_reason() {
    for state in [
        BriefState::Scheduled,
        BriefState::Waiting,
        BriefState::Held,
        BriefState::Submitting,
        BriefState::Running,
        BriefState::Parked,
    ] {
        let open = brief(1, state, vec![container(1, Running, None)]);
        assert_eq!(left_out(open, &wish()), Reason::NotEnded(state));
    }
    let second = Candidate { run: 2, ..failed(1) };
    assert_eq!(left_out(second.clone(), &wish()), Reason::OtherRun(2));
    assert_eq!(taken(second, &Wish { run: 2, ..wish() }).1, [1]);
    not_meant(Candidate { run: 2, ..brief(1, BriefState::Completed, Vec::new()) }, &wish());
}

#[test]
fn where_containers_exist_only_the_brief_may_change() {
    let changed = |paths: &[&str]| Candidate {
        change: Change::Changed(paths.iter().map(|path| (*path).to_owned()).collect()),
        ..failed(1)
    };
    assert_eq!(taken(changed(&[]), &wish()).1, [1]);
    assert_eq!(left_out(changed(&["format"]), &wish()), Reason::OnlyBrief(vec!["format".to_owned()]));
    let invalid = Candidate { change: Change::Invalid("format: no".to_owned()), ..failed(1) };
    assert_eq!(left_out(invalid, &wish()), Reason::Invalid("format: no".to_owned()));
}

#[test]
fn briefs_start_by_priority_and_then_by_age_and_the_budget_is_spent_in_that_order() {
    let urgent = Candidate { priority: 9, ..failed(3) };
    let two = brief(
        2,
        BriefState::Failed,
        vec![container(1, Failed, layers("RENDER_FAILED")), container(2, Failed, layers("RENDER_FAILED"))],
    );
    let all = || vec![failed(1), two.clone(), urgent.clone(), failed(4)];
    let order = |wish: &Wish| planned(all(), wish).0.into_iter().map(|step| step.0).collect::<Vec<_>>();
    assert_eq!(order(&wish()), [3, 1, 2, 4]);
    // Whole briefs only: after two for 120 the one for 240 does not fit into 400, the one after it does.
    let budget = Wish { credits_max: Some(400), ..wish() };
    assert_eq!(order(&budget), [3, 1, 4]);
    assert_eq!(planned(all(), &budget).1, [("b2".to_owned(), Reason::OverBudget)]);
    assert_eq!(order(&Wish { credits_max: Some(480), ..wish() }), [3, 1, 2]);
    assert_eq!(order(&Wish { credits_max: Some(0), ..wish() }), [0_i64; 0]);
}

#[test]
fn what_nobody_knows_the_price_of_does_not_fit_into_a_budget() {
    let mut unknown = failed(1);
    unknown.containers[0].format = "new_format".to_owned();
    let (steps, _) = planned(vec![unknown.clone()], &wish());
    assert_eq!(steps, [(1, Deed::Regenerate, vec![1], None)]);
    let budget = Wish { credits_max: Some(1_000_000), ..wish() };
    assert_eq!(left_out(unknown, &budget), Reason::PriceUnknown("new_format".to_owned()));
}
