-- What the usage of a customer amounts to at the clock.
-- Breadth is what they use, frequency on how many days, depth how much in a day, stickiness how many of them daily.
with

usage_daily as (

    select * from {{ ref('int_usage__daily') }}

),

contact_days as (

    select
        customer_id,
        count(*) as contact_days_28d
    from (
        select distinct
            customer_id,
            contact_id,
            usage_date
        from usage_daily
        where
            contact_id is not null
            and usage_date > {{ days_before(as_of_date(), 28) }}
    ) as active
    group by customer_id

),

summed as (

    select
        customer_id,
        min(first_used_at) as first_active_at,
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
        end) as key_features_28d,
        count(distinct case
            when usage_date > {{ days_before(as_of_date(), 7) }} then usage_date
        end) as active_days_7d,
        count(distinct case
            when feature <> 'app' and usage_date > {{ days_before(as_of_date(), 28) }} then feature
        end) as features_28d,
        count(distinct case
            when usage_date > {{ days_before(as_of_date(), 28) }} then module
        end) as modules_28d,
        sum(case when usage_date > {{ days_before(as_of_date(), 28) }} then uses else 0 end) as uses_28d,
        sum(case when usage_date > {{ days_before(as_of_date(), 28) }} then sessions else 0 end) as sessions_28d,
        sum(case when usage_date > {{ days_before(as_of_date(), 28) }} then errors else 0 end) as errors_28d
    from usage_daily
    where customer_id is not null
    group by customer_id

),

final as (

    select
        summed.*,
        {{ days_between('first_active_at', 'first_value_at') }} as days_to_first_value,
        {{ ratio('summed.uses_28d', 'contact_days.contact_days_28d') }} as uses_per_contact_day_28d,
        {{ ratio('contact_days.contact_days_28d', '28 * summed.active_contacts_28d') }} as stickiness_28d
    from summed
    left join contact_days
        on summed.customer_id = contact_days.customer_id

)

select * from final
