-- What became of each customer after the first episode of a trigger that could have reached it: who was held out, who was
-- not, and whether the metric of the playbook came about in time. Analysed as assigned, whatever was then sent.
{% set timestamp = dbt.type_timestamp() %}
with

history as (

    select * from {{ ref('trigger_decisions_history') }}

),

episodes as (

    select * from {{ ref('trigger_episodes') }}

),

playbooks as (

    select * from {{ ref('playbooks') }}

),

experiments as (

    select * from {{ ref('experiments') }}

),

usage_daily as (

    select * from {{ ref('int_usage__daily') }}

),

stages as (

    select * from {{ ref('customer_journey_history') }}

),

spells as (

    select * from {{ ref('int_customer_spells') }}

),

revenue as (

    select * from {{ ref('int_customer_months__summed') }}

),

-- past consent and not merely paused: from here on only the draw decides between the arms
eligible as (

    select
        history.*,
        coalesce(episodes.subject, '') as subject,
        row_number() over (
            partition by history.trigger_name, history.customer_id
            order by history.decided_at, history.event_id
        ) as episode_number
    from history
    left join episodes
        on history.event_id = episodes.event_id
    where history.decision in ('send', 'held_out', 'human_in_touch', 'quiet_hours', 'outranked', 'capped')

),

assigned as (

    select
        eligible.trigger_name,
        eligible.customer_id,
        eligible.contact_id,
        eligible.event_id,
        eligible.subject,
        eligible.decided_at as assigned_at,
        eligible.decision = 'held_out' as is_held_out,
        playbooks.experiment,
        playbooks.success_metric as metric,
        {{ dbt.dateadd('day', 'coalesce(playbooks.window_days, experiments.horizon_days)', 'eligible.decided_at') }} as judged_at
    from eligible
    inner join playbooks
        on eligible.trigger_name = playbooks.trigger_name
    left join experiments
        on playbooks.experiment = experiments.experiment
    where eligible.episode_number = 1

),

-- the person of the episode where it has one, else anybody at the customer; the feature it was about, else any key one
features_used as (

    select distinct assigned.event_id
    from assigned
    inner join usage_daily
        on
            assigned.customer_id = usage_daily.customer_id
            and (assigned.contact_id is null or assigned.contact_id = usage_daily.contact_id)
            and usage_daily.uses > 0
            and usage_daily.last_used_at > assigned.assigned_at
            and usage_daily.first_used_at <= assigned.judged_at
            and (usage_daily.feature = assigned.subject or (assigned.subject = '' and usage_daily.is_key_feature))
    where assigned.metric = 'key_feature_used'

),

values_reached as (

    select distinct assigned.event_id
    from assigned
    inner join usage_daily
        on
            assigned.customer_id = usage_daily.customer_id
            and usage_daily.is_first_value
            and usage_daily.uses > 0
            and usage_daily.last_used_at > assigned.assigned_at
            and usage_daily.first_used_at <= assigned.judged_at
    where assigned.metric = 'first_value_reached'

),

stages_left as (

    select distinct assigned.event_id
    from assigned
    inner join stages
        on
            assigned.customer_id = stages.customer_id
            and stages.entered_at > assigned.assigned_at
            and stages.entered_at <= assigned.judged_at
            and stages.journey_stage in ('onboarding', 'adoption', 'growth')
    where assigned.metric = 'stage_left'

),

-- gone, or on the way out: notice counts from the day it is given
losses as (

    select distinct assigned.event_id
    from assigned
    inner join spells
        on
            assigned.customer_id = spells.customer_id
            and spells.live_from <= assigned.assigned_at
            and (spells.ended_at is null or spells.ended_at > assigned.assigned_at)
            and least(coalesce(spells.notice_at, spells.ended_at), coalesce(spells.ended_at, spells.notice_at)) <= assigned.judged_at
    where assigned.metric in ('retained', 'renewed')

),

revenue_kept as (

    select
        assigned.event_id,
        max(case
            when revenue.month = cast({{ dbt.date_trunc('month', dbt.dateadd('month', -1, 'assigned.assigned_at')) }} as date)
                then revenue.end_mrr
        end) as mrr_before,
        max(case when revenue.month = cast({{ dbt.date_trunc('month', 'assigned.judged_at') }} as date) then revenue.end_mrr end) as mrr_after
    from assigned
    inner join revenue
        on assigned.customer_id = revenue.customer_id
    where assigned.metric = 'nrr'
    group by assigned.event_id

),

final as (

    select
        assigned.trigger_name,
        assigned.customer_id,
        assigned.contact_id,
        assigned.event_id,
        assigned.experiment,
        assigned.metric,
        assigned.is_held_out,
        assigned.assigned_at,
        assigned.judged_at,
        assigned.judged_at <= {{ as_of_at() }} as is_judged,
        cast(case assigned.metric
            when 'key_feature_used' then case when features_used.event_id is null then 0 else 1 end
            when 'first_value_reached' then case when values_reached.event_id is null then 0 else 1 end
            when 'stage_left' then case when stages_left.event_id is null then 0 else 1 end
            when 'nrr' then {{ ratio('revenue_kept.mrr_after', 'revenue_kept.mrr_before') }}
            else case when losses.event_id is null then 1 else 0 end
        end as decimal(18, 6)) as outcome
    from assigned
    left join features_used
        on assigned.event_id = features_used.event_id
    left join values_reached
        on assigned.event_id = values_reached.event_id
    left join stages_left
        on assigned.event_id = stages_left.event_id
    left join losses
        on assigned.event_id = losses.event_id
    left join revenue_kept
        on assigned.event_id = revenue_kept.event_id

)

select * from final
