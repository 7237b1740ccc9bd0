"""Success plans: the goals that each customer set itself with its success manager."""

from typing import TYPE_CHECKING, Final

import numpy as np

from seeds.sample_company.calendar import DAY
from seeds.sample_company.rows import Rows

if TYPE_CHECKING:
    from seeds.sample_company.stories import Story

# metric, baseline, target; less is better where the target lies below the baseline
_GOALS: Final = [
    ("weekly_active_share", 20.0, 70.0),
    ("dashboards_shared", 0.0, 10.0),
    ("hours_of_reporting_saved", 0.0, 20.0),
    ("days_to_close_a_task", 9.0, 5.0),
    ("automations_live", 0.0, 5.0),
]


def add_goals(story: "Story", rows: Rows) -> None:
    """One to three goals of most customers that have an owner; reached when health was good."""
    if story.is_internal or not story.has_owner:
        return
    rng, window, company = story.rng("goals"), story.window, story.company
    count = int(rng.integers(0, 4))
    for serial, place in enumerate(rng.permutation(len(_GOALS))[:count]):
        metric, baseline, target = _GOALS[int(place)]
        created_at = story.started_at + int(rng.integers(5, 60)) * DAY
        due_on = (created_at // DAY + int(rng.integers(60, 200))) * DAY
        luck, keyed, sooner = float(rng.normal(0, 0.15)), rng.random(), int(rng.integers(0, 30))
        until = min(due_on, window.end, story.churned_at or window.end)
        if created_at >= until:
            continue
        days = story.health[
            max(0, window.day_of(created_at)) : int(np.clip(window.day_of(until), 1, window.days))
        ]
        share = (until - created_at) / (due_on - created_at)
        health = float(days.mean()) if len(days) else 0.3
        progress = float(np.clip((health + luck) / 0.6 * share, 0, 1))
        achieved_at = max(created_at + DAY, until - sooner * DAY) if progress >= 1 else None
        missed = until < due_on and story.churned_at is not None
        rows.add(
            "success_plans.goal",
            achieved_at or until,
            id=f"goal{company.key}{serial}",
            # kept by company, by workspace or by both; a few by a workspace that nobody knows
            hubspot_company_id=company.hubspot_id if keyed < 0.7 else None,
            workspace_id="ws_unknown"
            if keyed > 0.99
            else company.workspace_id
            if keyed >= 0.5
            else None,
            metric=metric,
            baseline_value=baseline,
            target_value=target,
            current_value=round(baseline + (target - baseline) * progress, 1),
            due_on=due_on,
            status="achieved"
            if achieved_at
            else "dropped"
            if missed
            else "missed"
            if due_on <= window.end
            else "open",
            achieved_at=achieved_at,
            created_at=created_at,
            updated_at=achieved_at or until,
        )
