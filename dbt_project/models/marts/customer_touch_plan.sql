-- How every customer is helped now. Tech touch by stage for all; low and high touch are added by potential, stage and
-- risk, within the hours that each success manager has: a ranked queue by what is at stake and what a talk would change.
with

customers as (

    select * from {{ ref('customers') }}

),

journey as (

    select * from {{ ref('customer_journey') }}

),

signals as (

    select * from {{ ref('customer_signals') }}

),

health as (

    select * from {{ ref('customer_health') }}

),

history as (

    select *
    from {{ ref('customer_health_history') }}
    where rules_version = {{ rules_version() }}

),

programs as (

    select * from {{ ref('touch_programs') }}

),

levels as (

    select * from {{ ref('touch_levels') }}

),

reasons as (

    select * from {{ ref('touch_reasons') }}

),

team as (

    select * from {{ ref('success_team') }}

),

-- what the managers did or planned: talks, and tasks that they put off
owner_acts as (

    select * from {{ ref('int_owner_acts__attributed') }}

),

feature_adoption as (

    select * from {{ ref('feature_adoption') }}

),

-- risk keeps a customer escalated until it has been away for a while
risk_days as (

    select
        customer_id,
        max(as_of_date) as last_risk_date
    from history
    where
        health_band = 'risk'
        and as_of_date <= {{ as_of_date() }}
    group by customer_id

),

fallback as (

    select min(owner_id) as owner_id
    from team
    where is_fallback

),

in_hand as (

    select
        customer_id,
        max(case
            when
                is_talk
                and occurred_at <= {{ as_of_at() }}
                then cast(occurred_at as date)
        end) as last_talk_date,
        min(case
            when
                act_type = 'meeting'
                and not is_completed
                and coalesce(outcome, 'scheduled') = 'scheduled'
                and occurred_at > {{ as_of_at() }}
                then cast(occurred_at as date)
        end) as next_talk_date,
        max(case
            when
                act_type = 'task'
                and task_status in ('waiting', 'deferred')
                and cast(due_at as date) > {{ as_of_date() }}
                then cast(due_at as date)
        end) as snoozed_until_date
    from owner_acts
    group by customer_id

),

-- the module a customer works in most: with its industry, the user group it belongs to
ranked_modules as (

    select
        customer_id,
        module,
        row_number() over (
            partition by customer_id
            order by sum(uses_28d) desc, module
        ) as use_rank
    from feature_adoption
    where
        uses_28d > 0
        and module is not null
    group by
        customer_id,
        module

),

assessed as (

    select
        customers.customer_id,
        customers.customer_name,
        coalesce(customers.csm_owner_id, fallback.owner_id) as owner_id,
        customers.csm_owner_id is null as is_fallback_owner,
        customers.journey_stage,
        customers.tier,
        customers.potential,
        customers.industry,
        customers.mrr,
        ranked_modules.module,
        journey.is_in_renewal_window,
        journey.stage_progress,
        signals.revenue_at_stake,
        signals.is_silent_struggler,
        signals.is_expansion_ready,
        signals.is_loyalty_sinking,
        health.drivers_en,
        health.drivers_ja,
        coalesce(risk_days.last_risk_date > {{ days_before(as_of_date(), 'cast(' ~ threshold('escalation_days') ~ ' as integer)') }}, false)
        or signals.is_silent_struggler as is_at_risk,
        in_hand.snoozed_until_date,
        in_hand.next_talk_date,
        in_hand.last_talk_date
    from customers
    cross join fallback
    inner join journey
        on customers.customer_id = journey.customer_id
    inner join signals
        on customers.customer_id = signals.customer_id
    inner join health
        on customers.customer_id = health.customer_id
    left join risk_days
        on customers.customer_id = risk_days.customer_id
    left join in_hand
        on customers.customer_id = in_hand.customer_id
    left join ranked_modules
        on
            customers.customer_id = ranked_modules.customer_id
            and ranked_modules.use_rank = 1

),

-- the first reason that holds
reasoned as (

    select
        assessed.*,
        case
            when journey_stage = 'churned' then null
            when is_at_risk and not is_silent_struggler then 'risk'
            when is_silent_struggler then 'silent_struggler'
            when is_in_renewal_window then 'renewal'
            when journey_stage = 'onboarding' and stage_progress in ('behind', 'stuck') then 'onboarding_stuck'
            when is_loyalty_sinking then 'loyalty_sinking'
            when is_expansion_ready then 'expansion_ready'
        end as reason
    from assessed

),

levelled as (

    select
        reasoned.*,
        levels.touch_calm,
        case when reasoned.is_at_risk then levels.touch_at_risk else levels.touch_calm end as human_touch
    from reasoned
    inner join levels
        on
            reasoned.journey_stage = levels.journey_stage
            and reasoned.potential = levels.potential

),

-- what a talk is expected to bring
weighed as (

    select
        levelled.*,
        {{ rounded(
            "case when levelled.reason = 'expansion_ready' then levelled.mrr * 12 * " ~ threshold('expansion_gain_share')
            ~ " else levelled.revenue_at_stake end * reasons.expected_effect", 18, 2
        ) }} as expected_value,
        case levelled.human_touch when 'high' then reasons.hours when 'low' then reasons.low_touch_hours end as hours,
        case
            when levelled.human_touch = 'none' or levelled.reason is null then null
            when levelled.snoozed_until_date is not null then 'snoozed'
            when levelled.next_talk_date <= {{ days_before(as_of_date(), '-1 * cast(' ~ threshold('in_touch_days') ~ ' as integer)') }}
                then 'in_touch'
            when levelled.last_talk_date > {{ days_before(as_of_date(), 'cast(' ~ threshold('in_touch_days') ~ ' as integer)') }}
                then 'in_touch'
            else 'open'
        end as standing
    from levelled
    left join reasons
        on levelled.reason = reasons.reason

),

ranked as (

    select
        weighed.*,
        row_number() over (
            partition by owner_id, standing
            order by expected_value / nullif(hours, 0) desc, customer_id
        ) as open_rank,
        sum(hours) over (
            partition by owner_id, standing
            order by expected_value / nullif(hours, 0) desc, customer_id
            rows between unbounded preceding and current row
        ) as hours_so_far
    from weighed

),

final as (

    select
        ---------- ids
        ranked.customer_id,
        ranked.owner_id,
        ranked.is_fallback_owner,
        ---------- who it is
        ranked.customer_name,
        ranked.journey_stage,
        ranked.tier,
        ranked.potential,
        {{ dbt.concat(['ranked.tier', "' x '", 'ranked.potential']) }} as size_potential,
        ---------- tech touch, for everybody
        programs.program as tech_touch,
        programs.name_en as tech_touch_en,
        programs.name_ja as tech_touch_ja,
        programs.channel as tech_touch_channel,
        ---------- community touch
        {{ dbt.concat(["coalesce(ranked.industry, 'All industries')", "' / '", "coalesce(ranked.module, 'getting started')"]) }}
            as user_group,
        ---------- human touch, added
        ranked.human_touch,
        ranked.human_touch <> ranked.touch_calm as is_escalated,
        ranked.is_at_risk,
        ranked.reason,
        reasons.name_en as reason_en,
        reasons.name_ja as reason_ja,
        reasons.action_en,
        reasons.action_ja,
        ranked.drivers_en,
        ranked.drivers_ja,
        ---------- the queue
        case
            when ranked.standing <> 'open' then ranked.standing
            when ranked.hours_so_far <= coalesce(own_team.hours_per_week, any_team.hours_per_week) then 'this_week'
            when ranked.standing = 'open' then 'waiting'
        end as queue_status,
        cast(case when ranked.standing = 'open' then ranked.open_rank end as integer) as queue_rank,
        cast(case when ranked.standing is not null then ranked.revenue_at_stake end as decimal(18, 2)) as revenue_at_stake,
        cast(case when ranked.standing is not null then ranked.expected_value end as decimal(18, 2)) as expected_value,
        cast(case when ranked.standing is not null then ranked.hours end as decimal(9, 2)) as hours,
        ranked.snoozed_until_date,
        ranked.next_talk_date,
        ranked.last_talk_date
    from ranked
    inner join programs
        on ranked.journey_stage = programs.journey_stage
    left join reasons
        on ranked.reason = reasons.reason
    left join team as own_team
        on ranked.owner_id = own_team.owner_id
    left join team as any_team
        on any_team.owner_id = 'any'

)

select * from final
