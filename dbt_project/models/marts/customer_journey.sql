-- Where a customer stands at the clock: the stage, from facts and never from the score; beside it the phase of the
-- contract, and how it gets on against its peers.
with

customers as (

    select * from {{ ref('int_customers__subscribed') }}

),

customer_usage as (

    select * from {{ ref('int_customers__used') }}

),

stages as (

    select *
    from {{ ref('customer_journey_history') }}
    where exited_at is null

),

curves as (

    select * from {{ ref('int_stages__curved') }}

),

tiers as (

    select * from {{ ref('int_customers__valued') }}

),

deals as (

    select
        customer_id,
        max(case when not is_closed and not is_renewal then 1 else 0 end) = 1 as has_open_deal
    from {{ ref('int_deals__attributed') }}
    group by customer_id

),

proficiency as (

    select * from {{ ref('int_customers__proficient') }}

),

facts as (

    select
        customers.customer_id,
        -- who only ever tried and has a deal open is being sold to, not lost
        case
            when stages.journey_stage = 'churned' and customers.first_paid_at is null and coalesce(deals.has_open_deal, false)
                then 'presales'
            else coalesce(stages.journey_stage, 'churned')
        end as journey_stage,
        stages.entered_at as stage_entered_at,
        stages.days_in_stage,
        coalesce(stages.is_not_activated, false) as has_not_activated,
        customers.first_started_at,
        customers.first_paid_at,
        customers.is_live,
        customers.live_since,
        customer_usage.first_value_at,
        customers.renewal_date,
        {{ days_between(as_of_date(), 'customers.renewal_date') }} as days_to_renewal,
        {{ days_between(dbt.dateadd('month', '-1 * customers.term_months', 'customers.renewal_date'), 'customers.renewal_date') }}
            as term_days
    from customers
    left join stages
        on customers.customer_id = stages.customer_id
    left join customer_usage
        on customers.customer_id = customer_usage.customer_id
    left join deals
        on customers.customer_id = deals.customer_id

),

-- the window scales with the term; short terms have none
windowed as (

    select
        facts.*,
        coalesce(
            term_days >= {{ threshold('renewal_min_term_days') }}
            and days_to_renewal <= least(
                {{ threshold('renewal_window_days') }},
                {{ threshold('renewal_window_share') }} * term_days
            ),
            false
        ) as is_in_renewal_window
    from facts

),

-- the share of peers that had moved on after as many days
compared as (

    select
        windowed.customer_id,
        max(curves.share_moved_on) as share_moved_on
    from windowed
    inner join tiers
        on windowed.customer_id = tiers.customer_id
    inner join curves
        on
            windowed.journey_stage = curves.journey_stage
            and tiers.tier = curves.tier
            and windowed.days_in_stage >= curves.days_in_stage
    group by windowed.customer_id

),

final as (

    select
        windowed.customer_id,
        windowed.journey_stage,
        windowed.stage_entered_at,
        windowed.days_in_stage,
        case
            when windowed.journey_stage in ('growth', 'churned') then null
            when coalesce(compared.share_moved_on, 0) >= {{ threshold('stage_stuck_share') }} then 'stuck'
            when coalesce(compared.share_moved_on, 0) >= {{ threshold('stage_behind_share') }} then 'behind'
            else 'on_track'
        end as stage_progress,
        {{ rounded('coalesce(compared.share_moved_on, 0)', 5, 4) }} as peers_moved_on_share,
        case
            when not windowed.is_live then null
            when windowed.journey_stage in ('presales', 'onboarding') then 'introduction'
            when windowed.is_in_renewal_window then 'pre_renewal'
            else 'operation'
        end as operating_phase,
        coalesce(proficiency.proficiency, 'novice') as proficiency,
        windowed.first_started_at,
        windowed.first_value_at,
        {{ days_between('windowed.live_since', as_of_date()) }} as days_since_start,
        windowed.is_live and windowed.has_not_activated and windowed.first_value_at is null as is_not_activated,
        not windowed.is_live and windowed.first_paid_at is null as is_lapsed_trial,
        windowed.renewal_date,
        windowed.days_to_renewal,
        windowed.is_in_renewal_window
    from windowed
    left join compared
        on windowed.customer_id = compared.customer_id
    left join proficiency
        on windowed.customer_id = proficiency.customer_id

)

select * from final
