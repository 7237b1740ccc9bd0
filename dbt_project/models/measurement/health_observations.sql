-- What was known of a customer on a day, and whether it left in the 30 days that begin some days later. The windows of
-- one lead time follow each other without overlap, back from the clock, so that each churn is looked for once.
{% set window_days = 30 %}
{% set timestamp = dbt.type_timestamp() %}
with

history as (

    select *
    from {{ ref('customer_health_history') }}
    where
        rules_version = {{ rules_version() }}
        and health_score is not null

),

spells as (

    select * from {{ ref('int_customer_spells') }}

),

activity as (

    select * from {{ ref('customer_activity_daily') }}

),

numbers as (

    {{ dbt.generate_series(130) }}

),

leads as (

    select cast(30 * (cast(generated_number as integer) - 1) as integer) as lead_days
    from numbers
    where generated_number <= 4

),

windows as (

    select
        leads.lead_days,
        {{ days_before(as_of_date(), '(' ~ window_days ~ ' * cast(numbers.generated_number as integer) - 1)') }} as window_start
    from numbers
    cross join leads

),

observed_days as (

    select
        lead_days,
        window_start,
        {{ days_before('window_start', 'lead_days') }} as as_of_date
    from windows

),

-- the ends of fixed terms, past and to come
term_ends as (

    select
        spells.customer_id,
        spells.spell_number,
        cast({{ dbt.dateadd('month', 'spells.term_months * (cast(numbers.generated_number as integer) - 65)', 'spells.term_anchor_date') }} as date)
            as term_end_date
    from spells
    cross join numbers
    where
        spells.term_months > 1
        and abs(spells.term_months * (cast(numbers.generated_number as integer) - 65)) <= 180

),

-- who paid on the day, had not given notice by then, and was still there when the window began
exposed as (

    select
        observed_days.lead_days,
        observed_days.window_start,
        history.as_of_date,
        history.customer_id,
        spells.spell_number,
        history.tier,
        history.health_score,
        history.health_band,
        {{ days_between('spells.live_from', 'history.as_of_date') }} as tenure_days,
        spells.term_months,
        spells.end_kind,
        coalesce(
            cast(spells.ended_at as date) < {{ days_before('observed_days.window_start', -1 * window_days) }},
            false
        ) as has_churned
    from observed_days
    inner join history
        on observed_days.as_of_date = history.as_of_date
    inner join spells
        on
            history.customer_id = spells.customer_id
            and cast(spells.live_from as date) <= history.as_of_date
            and (spells.ended_at is null or cast(spells.ended_at as date) > history.as_of_date)
    where
        cast(spells.paid_from as date) <= history.as_of_date
        and (spells.notice_at is null or cast(spells.notice_at as date) > history.as_of_date)
        and (spells.ended_at is null or cast(spells.ended_at as date) >= observed_days.window_start)

),

-- a fixed term that does not end in the window cannot be left in it
free_to_go as (

    select distinct
        exposed.lead_days,
        exposed.as_of_date,
        exposed.customer_id
    from exposed
    left join term_ends
        on
            exposed.customer_id = term_ends.customer_id
            and exposed.spell_number = term_ends.spell_number
            and term_ends.term_end_date >= exposed.window_start
            and term_ends.term_end_date < {{ days_before('exposed.window_start', -1 * window_days) }}
    where
        exposed.term_months <= 1
        or exposed.has_churned
        or term_ends.term_end_date is not null

),

volumes as (

    select
        exposed.lead_days,
        exposed.as_of_date,
        exposed.customer_id,
        sum(activity.events) as events_28d
    from exposed
    inner join activity
        on
            exposed.customer_id = activity.customer_id
            and activity.activity_date <= exposed.as_of_date
            and activity.activity_date > {{ days_before('exposed.as_of_date', 28) }}
    group by
        exposed.lead_days,
        exposed.as_of_date,
        exposed.customer_id

),

final as (

    select
        exposed.lead_days,
        exposed.as_of_date,
        exposed.customer_id,
        exposed.tier,
        exposed.health_score,
        exposed.health_band,
        coalesce(volumes.events_28d, 0) as events_28d,
        exposed.tenure_days,
        exposed.has_churned,
        case when exposed.has_churned then exposed.end_kind end as churn_kind
    from exposed
    inner join free_to_go
        on
            exposed.lead_days = free_to_go.lead_days
            and exposed.as_of_date = free_to_go.as_of_date
            and exposed.customer_id = free_to_go.customer_id
    left join volumes
        on
            exposed.lead_days = volumes.lead_days
            and exposed.as_of_date = volumes.as_of_date
            and exposed.customer_id = volumes.customer_id

)

select * from final
