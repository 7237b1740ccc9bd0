-- The stage of a customer, from facts and never from the score. Read the cases from the top: the first that holds.
with

customers as (

    select * from {{ ref('int_customers__subscribed') }}

),

customer_usage as (

    select * from {{ ref('int_customers__used') }}

),

-- what the stages are decided on
facts as (

    select
        customers.customer_id,
        customers.is_live,
        customers.is_paying,
        customers.first_started_at,
        customers.live_since,
        customers.live_paid_from,
        customers.ended_at,
        customers.first_paid_at is null as is_never_paid,
        customer_usage.first_value_at,
        -- onboarding starts with the first paid day of the present spell and ends by itself
        cast(
            {{ dbt.dateadd('day', 'cast(' ~ threshold('onboarding_max_days') ~ ' as integer)', 'customers.live_paid_from') }}
            as {{ dbt.type_timestamp() }}
        ) as onboarding_until,
        {{ ratio('coalesce(customer_usage.active_contacts_90d, 0)', 'customers.seats_bought') }} as seat_use,
        coalesce(customer_usage.key_features_28d, 0) as key_features_28d,
        customers.renewal_date,
        {{ days_between(as_of_date(), 'customers.renewal_date') }} as days_to_renewal,
        {{ days_between(dbt.dateadd('month', '-1 * customers.term_months', 'customers.renewal_date'), 'customers.renewal_date') }}
            as term_days
    from customers
    left join customer_usage
        on customers.customer_id = customer_usage.customer_id

),

staged as (

    select
        facts.*,
        case
            when not is_live then 'churned'
            when not is_paying then 'presales'
            when first_value_at is null and onboarding_until > {{ as_of_at() }} then 'onboarding'
            when
                seat_use >= {{ threshold('growth_min_seat_use') }}
                and key_features_28d >= {{ threshold('growth_min_key_features') }}
                then 'growth'
            else 'adoption'
        end as journey_stage
    from facts

),

final as (

    select
        customer_id,
        journey_stage,
        case journey_stage
            when 'churned' then ended_at
            when 'presales' then live_since
            when 'onboarding' then live_paid_from
            -- first value may have come before the first paid day
            when 'adoption' then greatest(live_paid_from, least(coalesce(first_value_at, onboarding_until), onboarding_until))
        end as stage_entered_at,
        first_started_at,
        first_value_at,
        {{ days_between('live_since', as_of_date()) }} as days_since_start,
        is_live and is_paying and first_value_at is null and onboarding_until <= {{ as_of_at() }} as is_not_activated,
        not is_live and is_never_paid as is_lapsed_trial,
        renewal_date,
        days_to_renewal,
        -- the window scales with the term; short terms have none
        coalesce(
            term_days >= {{ threshold('renewal_min_term_days') }}
            and days_to_renewal <= least(
                {{ threshold('renewal_window_days') }},
                {{ threshold('renewal_window_share') }} * term_days
            ),
            false
        ) as is_in_renewal_window
    from staged

)

select * from final
