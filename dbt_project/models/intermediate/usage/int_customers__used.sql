-- What the usage of a customer amounts to at the clock.
with

usage_daily as (

    select * from {{ ref('int_usage__daily') }}

),

final as (

    select
        customer_id,
        min(case when is_first_value then first_used_at end) as first_value_at,
        max(last_used_at) as last_active_at,
        count(distinct case
            when usage_date > {{ days_before(as_of_date(), 28) }} then usage_date
        end) as active_days_28d,
        count(distinct case
            when usage_date > {{ days_before(as_of_date(), 28) }} then contact_id
        end) as active_contacts_28d,
        count(distinct case
            when usage_date > {{ days_before(as_of_date(), 90) }} then contact_id
        end) as active_contacts_90d,
        count(distinct case
            when is_key_feature and usage_date > {{ days_before(as_of_date(), 28) }} then feature
        end) as key_features_28d
    from usage_daily
    where customer_id is not null
    group by customer_id

)

select * from final
