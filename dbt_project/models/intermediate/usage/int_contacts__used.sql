-- What the usage of a contact amounts to at the clock.
with

usage_daily as (

    select * from {{ ref('int_usage__daily') }}

),

final as (

    select
        contact_id,
        min(customer_id) as customer_id,
        max(last_used_at) as last_active_at,
        count(distinct case
            when usage_date > {{ days_before(as_of_date(), 28) }} then usage_date
        end) as active_days_28d,
        count(distinct case
            when usage_date > {{ days_before(as_of_date(), 28) }} and feature <> 'app' then feature
        end) as features_28d,
        count(distinct case
            when usage_date > {{ days_before(as_of_date(), 28) }} and is_key_feature then feature
        end) as key_features_28d,
        count(distinct case
            when usage_date > {{ days_before(as_of_date(), 28) }} then module
        end) as modules_28d,
        sum(case when usage_date > {{ days_before(as_of_date(), 28) }} then sessions else 0 end) as sessions_28d,
        sum(case when usage_date > {{ days_before(as_of_date(), 28) }} then errors else 0 end) as errors_28d,
        min(first_used_at) as first_active_at
    from usage_daily
    where
        contact_id is not null
        and customer_id is not null
    group by contact_id

)

select * from final
