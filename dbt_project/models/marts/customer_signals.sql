-- What a customer's facts say that somebody should know early: who may leave and what that would cost, who could grow,
-- who struggles without a word, who does not answer people, whose interest fades. Each rule is a line in
-- seeds/rules/thresholds.csv; each condition is a column of its own.
with

customers as (

    select * from {{ ref('int_customers__subscribed') }}

),

health as (

    select * from {{ ref('customer_health') }}

),

revenue as (

    select
        customer_id,
        end_mrr as mrr
    from {{ ref('int_customer_months__summed') }}
    where month = cast({{ dbt.date_trunc('month', as_of_date()) }} as date)

),

measured as (

    select *
    from {{ ref('int_customer_days__measured') }}
    where rules_version = {{ rules_version() }}

),

calibration as (

    select *
    from {{ ref('health_calibration') }}
    where lead_days = 0

),

tickets as (

    select * from {{ ref('int_tickets__attributed') }}

),

answers as (

    select * from {{ ref('int_survey_answers__attributed') }}

),

page_views as (

    select * from {{ ref('int_page_views__attributed') }}

),

overdue as (

    select distinct customer_id
    from {{ ref('int_invoices__overdue') }}
    where due_date < {{ as_of_date() }}

),

contacts as (

    select * from {{ ref('contacts') }}

),

touchpoints as (

    select * from {{ ref('touchpoints') }}

),

-- how many left within 30 days in each tenth of the score, leaning on everybody
base_rate as (

    select {{ ratio('sum(churned)', 'sum(observations)') }} as churn_rate
    from calibration

),

decile_rates as (

    select
        calibration.decile,
        calibration.lowest_score,
        lead(calibration.lowest_score) over (order by calibration.decile) as next_lowest_score,
        (calibration.churned + {{ threshold('churn_rate_prior') }} * base_rate.churn_rate)
        / (calibration.observations + {{ threshold('churn_rate_prior') }}) as churn_rate
    from calibration
    cross join base_rate

),

-- three months are three times thirty days; without a score the whole base speaks
churn_chances as (

    select
        health.customer_id,
        {{ rounded(
            '1 - power(1 - cast(coalesce(decile_rates.churn_rate, base_rate.churn_rate, 0) as double precision), 3)', 5, 4
        ) }} as churn_probability_90d
    from health
    cross join base_rate
    left join decile_rates
        on
            (health.health_score >= decile_rates.lowest_score or decile_rates.decile = 1)
            and (health.health_score < decile_rates.next_lowest_score or decile_rates.next_lowest_score is null)
            and health.health_score is not null

),

today as (

    select *
    from measured
    where as_of_date = {{ as_of_date() }}

),

quarter_ago as (

    select *
    from measured
    where as_of_date = {{ days_before(as_of_date(), 90) }}

),

-- who asked for help or said anything
heard as (

    select
        customer_id,
        max(heard_date) as last_heard_date
    from (
        select
            customer_id,
            created_date as heard_date
        from tickets

        union all

        select
            customer_id,
            answered_date as heard_date
        from answers
    ) as spoken
    group by customer_id

),

visits as (

    select
        customer_id,
        count(case when page_kind = 'upper_plan' then 1 end) as upper_plan_views_30d,
        count(case when page_kind = 'competitor_comparison' then 1 end) as comparison_views_30d
    from page_views
    where
        customer_id is not null
        and cast(occurred_at as date) > {{ days_before(as_of_date(), 30) }}
    group by customer_id

),

people as (

    select
        customer_id,
        count(case when is_champion then 1 end) as champions,
        count(case when active_days_28d > 0 and role <> 'admin' then 1 end) as active_non_admins_28d,
        count(case when active_days_28d > 0 then 1 end) as active_contacts_28d
    from contacts
    group by customer_id

),

-- calls and meetings, and whether anybody took them
human_touches as (

    select
        customer_id,
        count(*) as human_touches_90d,
        count(case when reaction <> 'none' then 1 end) as human_reactions_90d
    from touchpoints
    where
        channel in ('phone', 'meeting')
        and cast(occurred_at as date) > {{ days_before(as_of_date(), 90) }}
    group by customer_id

),

ranked_channels as (

    select
        customer_id,
        channel,
        row_number() over (
            partition by customer_id
            order by count(*) desc, channel
        ) as channel_rank
    from touchpoints
    where
        channel not in ('phone', 'meeting')
        and reaction <> 'none'
        and cast(occurred_at as date) > {{ days_before(as_of_date(), 90) }}
    group by
        customer_id,
        channel

),

joined as (

    select
        customers.customer_id,
        customers.is_live,
        customers.is_paying,
        customers.has_given_notice,
        health.health_band,
        health.usage_score,
        churn_chances.churn_probability_90d,
        coalesce(revenue.mrr, 0) as mrr,
        today.tenure_days,
        today.seat_use_raw,
        today.mail_engagement_raw,
        today.site_visits_raw,
        quarter_ago.mail_engagement_raw as mail_engagement_before,
        quarter_ago.site_visits_raw as site_visits_before,
        {{ days_between('heard.last_heard_date', as_of_date()) }} as days_since_heard,
        coalesce(visits.upper_plan_views_30d, 0) as upper_plan_views_30d,
        coalesce(visits.comparison_views_30d, 0) as comparison_views_30d,
        coalesce(people.champions, 0) as champions,
        coalesce(people.active_non_admins_28d, 0) as active_non_admins_28d,
        coalesce(people.active_contacts_28d, 0) as active_contacts_28d,
        overdue.customer_id is not null as is_overdue,
        coalesce(human_touches.human_touches_90d, 0) as human_touches_90d,
        coalesce(human_touches.human_reactions_90d, 0) as human_reactions_90d,
        case
            when ranked_channels.channel is not null then ranked_channels.channel
            when people.active_contacts_28d > 0 then 'in_app'
        end as responsive_channel
    from customers
    inner join health
        on customers.customer_id = health.customer_id
    inner join churn_chances
        on customers.customer_id = churn_chances.customer_id
    left join revenue
        on customers.customer_id = revenue.customer_id
    left join today
        on customers.customer_id = today.customer_id
    left join quarter_ago
        on customers.customer_id = quarter_ago.customer_id
    left join heard
        on customers.customer_id = heard.customer_id
    left join visits
        on customers.customer_id = visits.customer_id
    left join people
        on customers.customer_id = people.customer_id
    left join overdue
        on customers.customer_id = overdue.customer_id
    left join human_touches
        on customers.customer_id = human_touches.customer_id
    left join ranked_channels
        on
            customers.customer_id = ranked_channels.customer_id
            and ranked_channels.channel_rank = 1

),

conditions as (

    select
        joined.*,
        health_band = 'healthy' as has_healthy_band,
        coalesce(seat_use_raw >= {{ threshold('expansion_min_seat_use') }}, false) as has_seats_nearly_full,
        active_non_admins_28d >= {{ threshold('expansion_min_non_admins') }} as is_spread_beyond_admins,
        upper_plan_views_30d >= {{ threshold('expansion_min_upper_plan_views') }} as has_visited_upper_plans,
        not is_overdue as has_nothing_overdue,
        -- usage sinks, or it never got going: both end low among peers
        coalesce(
            usage_score < {{ threshold('struggler_max_usage_score') }}
            and tenure_days >= {{ threshold('struggler_min_tenure_days') }},
            false
        ) as has_low_usage,
        coalesce(days_since_heard, 100000) >= {{ threshold('struggler_quiet_days') }} as is_quiet,
        -- opens and visits fade together
        coalesce(
            mail_engagement_before > 0
            and site_visits_before > 0
            and mail_engagement_raw <= {{ threshold('loyalty_fade_share') }} * mail_engagement_before
            and site_visits_raw <= {{ threshold('loyalty_fade_share') }} * site_visits_before,
            false
        ) as has_fading_interest
    from joined

),

final as (

    select
        customer_id,
        ---------- who may leave, and what that would cost
        cast(case when is_paying then churn_probability_90d else 0 end as decimal(5, 4)) as churn_probability_90d,
        {{ rounded('case when is_paying then churn_probability_90d * mrr * 12 else 0 end', 18, 2) }} as revenue_at_stake,
        ---------- who could grow
        is_paying
        and not has_given_notice
        and has_healthy_band
        and has_seats_nearly_full
        and is_spread_beyond_admins
        and has_visited_upper_plans
        and has_nothing_overdue as is_expansion_ready,
        has_healthy_band,
        has_seats_nearly_full,
        is_spread_beyond_admins,
        has_visited_upper_plans,
        has_nothing_overdue,
        cast(upper_plan_views_30d as integer) as upper_plan_views_30d,
        cast(comparison_views_30d as integer) as comparison_views_30d,
        ---------- who struggles without a word
        is_paying and not has_given_notice and has_low_usage and is_quiet as is_silent_struggler,
        has_low_usage,
        is_quiet,
        days_since_heard,
        ---------- who does not answer people
        is_live
        and human_touches_90d >= {{ threshold('non_responder_min_touches') }}
        and human_reactions_90d = 0
        and responsive_channel is not null as is_non_responder,
        responsive_channel,
        cast(human_touches_90d as integer) as human_touches_90d,
        ---------- whose interest fades, and who carries it
        is_live and has_fading_interest as is_loyalty_sinking,
        cast(champions as integer) as champions,
        cast(active_contacts_28d as integer) as active_contacts_28d
    from conditions

)

select * from final
